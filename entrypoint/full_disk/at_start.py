"""A start on a full disk: what is ours makes room for the server, which then starts as ever."""

from __future__ import annotations

from entrypoint import log
from entrypoint.full_disk import spare
from entrypoint.server import control_file
from entrypoint.server.context import Context
from entrypoint.shown import spell
from entrypoint.system import refusal
from entrypoint.volume import reserve


def make_room(context: Context) -> None:
    """Give up what can be made again, and then the reserve, if there is no room for a server to start."""
    data = context.settings.data_folder
    segment = control_file.segment_bytes(context)
    full = reserve.short(data, segment)
    if not full:
        return
    before = refusal.free(full)
    given = [(what, size) for what, size in spare.give_up(context) if size]
    if reserve.short(data, segment) and (freed := reserve.give_up(data)):
        given.append(("the reserve", freed))
    words = ", ".join(f"{what} ({spell(size)})" for what, size in given)
    log.warning(
        f"the disk of {full} is full: {before}; "
        + (f"given up for this start: {words}" if given else "there is nothing to give up for this start"),
        f"make room there, but never delete files in pg_wal yourself; du -xh {full} shows what takes it",
        docs="when-the-disk-fills",
    )
