"""Patroni's own metrics, passed on under their own names; pure.

Only what is well-formed, finite and Patroni's by its name is passed on, once, and not without end: whatever
else answers at Patroni's port neither replaces a metric of the watch nor makes Prometheus refuse the scrape.
"""

from __future__ import annotations

from entrypoint.light import NamedTuple, re
from entrypoint.noted.seen import Sample

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    Kind = Literal["gauge", "unknown"]

PREFIX = "patroni_"
_MOST = 200
"""Metrics, and values of each, that are passed on."""
_LONGEST = 200
"""Characters of a description, and of a label."""
_ABOUT = re.compile(r"# (HELP|TYPE) (patroni_[a-z0-9_]{1,60}) (.*)")
_VALUE = re.compile(
    r"(patroni_[a-z0-9_]{1,60}) ?(?:\{((?:[a-z_]{1,30}=\"[^\"\\]{0,200}\",?){0,9})\})? "
    r"([+-]?[0-9]{1,25}(?:\.[0-9]{1,25})?(?:e[+-]?[0-9]{1,2})?)"
)
_LABEL = re.compile(r"([a-z_]{1,30})=\"([^\"\\]{0,200})\"")
_RESERVED = ("_total", "_created", "_bucket", "_count", "_sum", "_info")
"""The ends of names that have a meaning in OpenMetrics."""


class Passed(NamedTuple):
    """A metric of Patroni."""

    name: str
    kind: Kind
    """Patroni's counters have no `_total`, which a counter needs in OpenMetrics, so they are `unknown`."""
    text: str
    """Its description."""
    samples: tuple[Sample, ...]


def read(body: bytes) -> tuple[Passed, ...]:
    r"""Return the metrics in Patroni's answer; nothing else in it does harm.

    >>> (found,) = read(b'# TYPE patroni_primary gauge\npatroni_primary{name="db1"} 1\npg_up 0\n')
    >>> found.name, found.kind, [(tuple(each.labels), each.value) for each in found.samples]
    ('patroni_primary', 'gauge', [((('name', 'db1'),), 1.0)])
    """
    texts: dict[str, str] = {}
    gauges = set()
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for line in body.decode("utf-8", "replace").split("\n"):
        about, value = _ABOUT.fullmatch(line), _VALUE.fullmatch(line)
        if about is not None and about[1] == "HELP":
            texts[about[2]] = about[3][:_LONGEST]
        elif about is not None and about[3] == "gauge":
            gauges.add(about[2])
        elif value is not None and not value[1].endswith(_RESERVED):
            if value[1] not in found and len(found) == _MOST:
                continue
            values = found.setdefault(value[1], {})
            labels = tuple(sorted(dict(_LABEL.findall(value[2] or "")).items()))
            if len(values) < _MOST:
                values.setdefault(labels, float(value[3]))
    return tuple(
        Passed(
            name,
            "gauge" if name in gauges else "unknown",
            texts.get(name, "Of Patroni."),
            tuple(Sample(name, labels, value) for labels, value in values.items()),
        )
        for name, values in found.items()
    )
