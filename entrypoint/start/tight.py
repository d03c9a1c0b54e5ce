"""Looks whether there is room for a server to start, and loads what makes room only if there may be none."""

from __future__ import annotations

from entrypoint.server.context import Context
from entrypoint.volume import reserve


def make_room(context: Context) -> Context:
    """Let what is ours give way if the server's disk is full; return the context of this start."""
    if not reserve.may_be_short(context.settings.data_folder):
        return context
    from entrypoint.full_disk import at_start

    return at_start.make_room(context)
