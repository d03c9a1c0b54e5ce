"""A cluster of another major version than the image's server; pure."""

from __future__ import annotations

from entrypoint.errors import Problem


def wrong_major(data: str, binary: str) -> Problem:
    """Return that the image's server cannot serve the data, and the way out.

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
    hint = (
        f"use the image of major {data}, as before: nothing was changed. To move the data to {binary}, use "
        "pg_upgrade, or load a pg_dumpall of the old server into a new one"
    )
    return Problem(what, hint, docs="upgrade-to-a-newer-major")
