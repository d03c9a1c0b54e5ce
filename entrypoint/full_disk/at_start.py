"""A start on a full disk: what is ours makes room for the server, which then starts as ever."""

from __future__ import annotations

from entrypoint import log
from entrypoint.full_disk import spare
from entrypoint.postgres.argv import parse_server
from entrypoint.server.context import Context
from entrypoint.shown import spell
from entrypoint.system import refusal
from entrypoint.volume import installing, reserve

SPARSE = ("-c", "wal_init_zero=off")
"""Lets the server create a WAL segment that takes space only as it is written."""


def make_room(context: Context) -> Context:
    """Give up what can be made again, and then the reserve, if there is no room for a server to start.

    Returns the context of this start: if that is not enough, the server does without room for whole segments.
    """
    data = context.settings.data_folder
    segment = installing.segment_bytes(data)
    full = reserve.short(data, segment)
    if not full:
        return context
    before = refusal.free(full)
    given = [(what, size) for what, size in spare.give_up(context) if size]
    if reserve.short(data, segment) and (freed := reserve.give_up(data)):
        given.append(("the reserve", freed))
    words = ", ".join(f"{what} ({spell(size)})" for what, size in given)
    log.warning(
        f"the disk of {full} is full: {before}; "
        + (f"given up for this start: {words}" if given else "there is nothing to give up for this start"),
        "make the volume larger, or make room on it, but never in pg_wal; what fills it: docker exec "
        "CONTAINER entrypoint doctor",
        docs="when-the-disk-fills",
    )
    if not reserve.short(data, segment) or not context.settings.server.is_server:
        return context
    log.info("until the next start, WAL segments take space only as they are written (wal_init_zero=off)")
    server = parse_server((*context.settings.server.given, *SPARSE))
    return context._replace(settings=context.settings._replace(server=server))
