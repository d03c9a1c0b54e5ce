"""Our variables that cannot be set together with Patroni; pure."""

from __future__ import annotations

from entrypoint.errors import Problem
from entrypoint.settings.for_dcs import PAGE
from entrypoint.settings.patroni_variables import SCOPE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_LATER = {
    "STANDBY": "Patroni decides which node follows which one",
    "POSTGRES_UPGRADE": "an upgrade of several nodes is not supported yet",
    "POSTGRES_INITDB_WALDIR": "a standby could not have its write-ahead log there",
}
"""The beginnings of variables that cannot be set together with Patroni, and why."""


def objections(values: Mapping[str, str]) -> Iterator[Problem]:
    """Return the variables that contradict what Patroni does."""
    for beginning, why in _LATER.items():
        names = sorted(name for name, value in values.items() if value and name.startswith(beginning))
        if names:
            hint = f"remove {', '.join(names)}"
            if beginning == "STANDBY":
                hint += "; to change the leader: patronictl switchover"
            yield Problem(f"{', '.join(names)} cannot be set together with {SCOPE}: {why}", hint, docs=PAGE)
    action = values.get("RESTORE_TARGET_ACTION", "")
    if action in ("pause", "shutdown"):
        yield Problem(
            f"RESTORE_TARGET_ACTION={action} cannot be set together with {SCOPE}: Patroni serves what was "
            "restored",
            f"remove RESTORE_TARGET_ACTION; to look at the data first, restore without {SCOPE}",
            docs=PAGE,
        )
    if values.get("ARCHIVE_FORK") == "readonly":
        yield Problem(
            f"ARCHIVE_FORK=readonly cannot be set together with {SCOPE}: Patroni decides who takes writes",
            "remove ARCHIVE_FORK; to look at a node's data, start its volume alone, without Patroni",
            docs=PAGE,
        )
