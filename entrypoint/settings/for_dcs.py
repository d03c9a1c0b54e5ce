"""What all nodes of a cluster under Patroni share: it goes into the DCS when the cluster is created; pure."""

from __future__ import annotations

from entrypoint.errors import Problem
from entrypoint.settings.fields import FALSE, TRUE, Variable, is_whole
from entrypoint.settings.patroni_variables import DCS_PREFIX

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from entrypoint.settings.patroni_variables import Value

PAGE = "fail-over"
"""The page about Patroni in docs/how-to/."""

VARIABLES = (
    Variable(
        "PATRONI_DCS_TTL",
        "30",
        "Seconds after which the lock of a leader that does not renew it ends, so that another node takes "
        "over. At least 20. This and the following variables only count when the cluster is created; later "
        "`patronictl edit-config` changes them.",
    ),
    Variable("PATRONI_DCS_LOOP_WAIT", "10", "Seconds between two looks of Patroni."),
    Variable(
        "PATRONI_DCS_RETRY_TIMEOUT",
        "10",
        "Seconds for which Patroni tries again to reach the DCS or the server before the leader gives way.",
    ),
    Variable(
        "PATRONI_DCS_MAXIMUM_LAG_ON_FAILOVER",
        "16777216",
        "Bytes of WAL that a standby may lack and still take over: what may be lost without "
        "`PATRONI_DCS_SYNCHRONOUS_MODE`.",
    ),
    Variable(
        "PATRONI_DCS_SYNCHRONOUS_MODE",
        "off",
        "`on`: a commit waits for a standby, and only such a standby takes over by itself. `quorum`: it "
        "waits for any of several standbys.",
    ),
    Variable(
        "PATRONI_DCS_SYNCHRONOUS_MODE_STRICT",
        "off",
        "`on`: commits wait even while no standby is there.",
    ),
    Variable("PATRONI_DCS_SYNCHRONOUS_NODE_COUNT", "1", "How many standbys a commit waits for."),
    Variable(
        "PATRONI_DCS_FAILSAFE_MODE",
        "on",
        "`on`: while the DCS is away, the leader stays the leader if it reaches all other nodes.",
    ),
)
_NUMBERS = {
    "PATRONI_DCS_TTL": 20,
    "PATRONI_DCS_LOOP_WAIT": 1,
    "PATRONI_DCS_RETRY_TIMEOUT": 3,
    "PATRONI_DCS_MAXIMUM_LAG_ON_FAILOVER": 0,
    "PATRONI_DCS_SYNCHRONOUS_NODE_COUNT": 1,
}
"""The least value of each number that is for the DCS."""


def parse(values: Mapping[str, str], problems: list[Problem]) -> dict[str, Value]:
    """Return what goes into the DCS, by Patroni's names."""
    found: dict[str, Value] = {}
    for variable in VARIABLES:
        text = variable.of(values)
        key = variable.name.removeprefix(DCS_PREFIX).lower()
        least = _NUMBERS.get(variable.name)
        if least is not None:
            if not (is_whole(text, 12) and int(text) >= least):
                problems.append(
                    Problem(
                        f"{variable.said(text)} is not a whole number of at least {least}",
                        f"give a number, for example {variable.name}={variable.default}",
                        docs=PAGE,
                    )
                )
                text = variable.default
            found[key] = int(text)
        elif key == "synchronous_mode" and text == "quorum":
            found[key] = text
        elif text.lower() in TRUE + FALSE:
            found[key] = text.lower() in TRUE
        else:
            words = "on, off or quorum" if key == "synchronous_mode" else "on or off"
            problems.append(
                Problem(
                    f"{variable.said(text)} is not a valid value",
                    f"set {variable.name} to {words}",
                    docs=PAGE,
                )
            )
    ttl, wait, again = (int(found[key]) for key in ("ttl", "loop_wait", "retry_timeout"))  # type: ignore[arg-type]
    if wait + 2 * again > ttl:
        problems.append(
            Problem(
                f"PATRONI_DCS_TTL={ttl} is less than PATRONI_DCS_LOOP_WAIT={wait} and twice "
                f"PATRONI_DCS_RETRY_TIMEOUT={again}",
                f"raise PATRONI_DCS_TTL to {wait + 2 * again}, or lower the others",
                docs=PAGE,
            )
        )
    return found
