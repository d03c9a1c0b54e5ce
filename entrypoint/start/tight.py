"""Looks whether there is room for a server to start, and loads what makes room only if there may be none."""

from __future__ import annotations

from entrypoint.server.context import Context
from entrypoint.volume import reserve


def make_room(context: Context) -> None:
    """Let what is ours give way if the server's disk is full."""
    if reserve.may_be_short(context.settings.data_folder):
        from entrypoint.full_disk import at_start

        at_start.make_room(context)
