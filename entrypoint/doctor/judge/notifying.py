"""Messages and pings: those that could not be sent; pure."""

from __future__ import annotations

from entrypoint.finding import Finding, ok, warning
from entrypoint.notify import pings, wording
from entrypoint.notify.outbox import Outbox

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_ENOUGH = 2
"""Failures in a row: one alone is a short outage, and is tried again within a minute."""


def notifications(box: Outbox, addresses: Mapping[str, str]) -> list[Finding]:
    """Judge the queue of messages; `addresses` has what people are shown of the addresses of pings."""
    found = []
    for name, target in box.failing.items():
        if target.failures < _ENOUGH:
            continue
        is_ping = name in pings.VARIABLES
        waiting = 0 if is_ping else sum(name not in each.sent for each in box.waiting)
        held = f"; {waiting} message{'' if waiting == 1 else 's'} for it wait" if waiting else ""
        address = f" ({addresses[name]})" if name in addresses else ""
        found.append(
            warning(
                f"{name}{address} has failed {target.failures} times in a row "
                f"since {wording.moment(target.since)}: {target.words}{held}",
                f"correct the address in {name}, and recreate the container"
                if is_ping
                else "correct its URL in NOTIFY_URLS, recreate the container, and run: "
                "docker exec CONTAINER entrypoint notify test",
            )
        )
    if box.dropped:
        found.append(
            warning(
                f"{box.dropped} messages were dropped, because too many waited",
                "make a target of NOTIFY_URLS work: docker exec CONTAINER entrypoint notify test",
            )
        )
    return found or [ok("no message and no ping has failed lately")]
