"""`/metrics`: what the watch saw in the text format of Prometheus, or in that of OpenMetrics.

The library is loaded at the first scrape. It escapes labels, whose values come from whoever may create a
database or a slot.
"""

from __future__ import annotations

from entrypoint.noted.seen import Sample
from entrypoint.web import measure
from entrypoint.web.live import PHASES
from entrypoint.web.metric_list import METRICS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from prometheus_client.metrics_core import Metric as Family

    from entrypoint.noted.seen import Seen
    from entrypoint.web.live import State
    from entrypoint.web.passing import Passed


def expose(
    seen: Seen | None, state: State, accept: str, passed: Sequence[Passed] | None = None
) -> tuple[str, bytes]:
    """Return the content type and the text; `seen` is None before the first look.

    `state` is that of this moment; `accept` is the request's header. `passed` are Patroni's metrics: none if
    it does not answer, and None without Patroni.
    """
    from prometheus_client.exposition import choose_encoder
    from prometheus_client.registry import Collector, CollectorRegistry

    class Collected(Collector):
        """The families of one scrape."""

        def collect(self) -> Iterator[Family]:
            """Return the families."""
            yield from _families(_samples(seen, state, passed))
            yield from _passed_on(passed or ())

    registry = CollectorRegistry()
    registry.register(Collected())
    encode, kind = choose_encoder(accept)
    return kind, encode(registry)


def _samples(seen: Seen | None, state: State, passed: Sequence[Passed] | None) -> Iterator[Sample]:
    """Yield the values of this moment, then those of the last look."""
    yield Sample("pg_up", (), float(state.ready))
    yield Sample("nixpg_ready", (), float(state.ready))
    if state.role == "primary":
        yield Sample("nixpg_writes_refused", (), float(state.refused_since is not None))
    for each in PHASES:
        yield Sample("nixpg_phase", (("phase", each),), float(each == state.phase))
    if passed is not None:
        yield Sample("nixpg_patroni_up", (), float(bool(passed)))
    if seen is not None:
        yield from measure.samples(seen)


def _families(samples: Iterable[Sample]) -> Iterator[Family]:
    """Yield each metric that has a value, in the order of the list."""
    from prometheus_client.metrics_core import Metric as Family

    found: dict[str, list[Sample]] = {}
    for sample in samples:
        found.setdefault(sample.name, []).append(sample)
    for metric in METRICS.values():
        if metric.name in found:
            family = Family(metric.name.removesuffix("_total"), metric.text, metric.kind)
            for sample in found[metric.name]:
                family.add_sample(sample.name, dict(sample.labels), sample.value)
            yield family


def _passed_on(passed: Sequence[Passed]) -> Iterator[Family]:
    from prometheus_client.metrics_core import Metric as Family

    for metric in passed:
        family = Family(metric.name, metric.text, metric.kind)
        for sample in metric.samples:
            family.add_sample(sample.name, dict(sample.labels), sample.value)
        yield family
