"""Checks of memory, processors and kernel features."""

import os

from entrypoint.checks import Finding
from entrypoint.checks import memory as judge
from entrypoint.effects.checkup.sight import Check, Sight


def _shared_memory(_: Sight) -> list[Finding]:
    room = os.statvfs("/dev/shm")  # noqa: S108 - only looked at
    return judge.shared_memory(room.f_blocks * room.f_frsize)


CHECKS = (
    Check(
        "shared memory",
        "a parallel query that finds /dev/shm too small ends with “could not resize shared memory segment”",
        "the size of /dev/shm against what the settings can ask for",
        _shared_memory,
    ),
)
