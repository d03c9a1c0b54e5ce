"""How `doctor` judges what it has seen: evidence in, findings out; pure.

There is one module for each subject. The modules of look/ gather the evidence, and hold the entries of the
table of all checks.
"""

from entrypoint.doctor.judge import (
    archive,
    databases,
    disk,
    memory,
    nodes,
    notifying,
    places,
    secrets,
    server,
)

__all__ = ["archive", "databases", "disk", "memory", "nodes", "notifying", "places", "secrets", "server"]
