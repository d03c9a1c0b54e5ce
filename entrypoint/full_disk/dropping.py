"""Gives WAL up that cannot be archived, with ARCHIVE_WHEN_FULL=drop, before a disk is full of it."""

from __future__ import annotations

import os

from entrypoint.archive import backlog, calls, gap
from entrypoint.volume import room

TYPE_CHECKING = False
if TYPE_CHECKING:
    from entrypoint.server.context import Context
    from entrypoint.volume.room import Level

_LEAST = 4
"""Segments that wait: with fewer, it is not the backlog that fills the disk."""


class Dropping:
    """Whether archive-segment may give WAL up."""

    def __init__(self, context: Context) -> None:
        self.context = context
        settings = context.settings
        self.wanted = settings.serving.when_full == "drop" and settings.our_archive is not None
        self.active = os.path.exists(f"{context.runtime_folder}/{calls.DROP}")

    def step(self, level: Level) -> None:
        """Begin when a disk is about to be full while archiving fails; end when it no longer is."""
        if self.active and level == room.NORMAL:
            gap.end(self.context)
            self.active = False
        elif self.wanted and not self.active and level != room.NORMAL and self._must():
            gap.begin(self.context)
            self.active = True

    def _must(self) -> bool:
        data = self.context.settings.data_folder
        failing, _ = calls.outage(self.context.runtime_folder, data)
        return bool(failing) and len(backlog.waiting(data)) >= _LEAST
