"""Data at the places where the official image has had it in other versions (docker-library/postgres#1259).

Health checks use this module too, so it loads almost nothing.
"""

from __future__ import annotations

import os

from entrypoint.postgres import cluster

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping


def usual(major: str) -> str:
    """Return the data folder of the official image from PostgreSQL 18 on."""
    return f"{cluster.HOME}/{major}/docker"


def holding(denied: Callable[[OSError], object]) -> list[str]:
    """Return the folders that hold data, of any layout; `denied` is called for one that we may not look into.

    This looks one level deeper than the official image: `data/<major>/docker` (docker-library/postgres#1400).
    """
    places = [cluster.HOME, f"{cluster.HOME}/data"]
    for parent in (cluster.HOME, f"{cluster.HOME}/data"):
        try:
            places += [f"{parent}/{name}/docker" for name in sorted(os.listdir(parent))]
        except OSError as error:
            denied(error)
    found = []
    for place in places:
        try:
            if os.stat(f"{place}/PG_VERSION").st_size:
                found.append(place)
        except OSError as error:
            denied(error)
    return list(dict.fromkeys(found))


def follow(environ: MutableMapping[str, str]) -> None:
    """Let PGDATA be where the data of another layout is, if a start is to upgrade it (POSTGRES_UPGRADE=on).

    It takes the place of the image's own folder only if nothing is there, and if no other folder holds data:
    otherwise the start refuses, and names them all.
    """
    path = environ.get("PGDATA", "")
    if environ.get("POSTGRES_UPGRADE") != "on" or path != usual(environ.get("PG_MAJOR", "")):
        return
    try:
        if os.listdir(path):
            return
    except FileNotFoundError:
        pass
    except OSError:
        return
    found = holding(lambda _: None)
    if len(found) == 1:
        environ["PGDATA"] = found[0]
