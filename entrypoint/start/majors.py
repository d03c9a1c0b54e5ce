"""A cluster of another major version than the image's server; pure."""

from __future__ import annotations

from entrypoint import exits
from entrypoint.errors import Problem
from entrypoint.upgrade.parameters import STANDBYS


def wrong_major(data: str, binary: str, *, upgrades: bool = False, standby: bool = False) -> Problem:
    """Return that the image's server cannot serve the data, and the way out.

    `upgrades`: the image has the programs of the data's major too, so it can upgrade the cluster. `standby`:
    the data is a standby's.

    PostgreSQL refuses it as well, but names no way out. Its own message is part of this one, since people
    search for it.

    >>> wrong_major("17", "15").hint
    'use the image of major 17: a database cannot go back to an older major'
    """
    what = (
        f"the data is from PostgreSQL {data}, the image has {binary}: the server will not start "
        "(database files are incompatible with server)"
    )
    if data.isdigit() and int(data) > int(binary):
        return Problem(what, f"use the image of major {data}: a database cannot go back to an older major")
    if standby:
        hint = f"use the image of major {data}, as before: nothing was changed. Or {STANDBYS}"
        return Problem(f"{what}; it is a standby", hint, docs="upgrade-to-a-newer-major")
    if upgrades:
        hint = (
            f"look what an upgrade to {binary} needs: entrypoint upgrade check; then start with -e "
            f"POSTGRES_UPGRADE=on. Or use the image of major {data}, as before: nothing was changed"
        )
        return Problem(what, hint, docs="upgrade-to-a-newer-major")
    hint = (
        f"use the image of major {data}, as before: nothing was changed. To move the data to {binary}, use "
        f'an image with the programs of both (make image MAJOR={binary} UPGRADE_FROM="{data}", or the tag '
        f"{binary}-upgrade), or pg_upgrade, or load a pg_dumpall of the old server into a new one"
    )
    return Problem(what, hint, docs="upgrade-to-a-newer-major")


def unfinished_restore(data: str, binary: str) -> Problem:
    """Return that a restore of an older major version is not finished; the image has that one's programs."""
    return Problem(
        f"the restore of a cluster of PostgreSQL {data} is not finished, and the image's server has {binary}",
        "finish it in a container of its own, with the same volumes and variables: entrypoint restore; then "
        "start with -e POSTGRES_UPGRADE=on",
        exits.UNFINISHED_RESTORE,
        docs="restore-a-lost-volume",
    )
