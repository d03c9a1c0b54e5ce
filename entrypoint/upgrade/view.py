"""The old cluster as pg_upgrade and its own server see it: a folder of links.

pg_upgrade runs the old server, reads its settings, and with --link renames its control file away. So it gets
a folder next to the new cluster, whose entries lead to those of the data folder: its settings and its
pg_hba.conf are ours, and the data folder's own are not read and not changed. Once the old server has replayed
all WAL and was shut down, the folder `global` becomes a real one with hard links: the server writes the
control file in place, so what it writes reaches the cluster, but a renamed name does not. So the old cluster
starts as ever until the commit, whatever is killed, and when.
"""

from __future__ import annotations

import os
import stat

from entrypoint import own
from entrypoint.postgres.sql import conf_value
from entrypoint.system import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_OURS = ("postgresql.conf", "postgresql.auto.conf", "pg_hba.conf", "pg_ident.conf")
_NOT_SHARED = (
    *_OURS,
    "postmaster.pid",
    "postmaster.opts",
    "lost+found",
    own.KEPT,
    "current_logfiles",
)

_REAL = ("global", "pg_xact", "pg_commit_ts")
"""The folders that become real ones."""


def make(data: str, view: str, settings: Mapping[str, str]) -> None:
    """Make the folder; it is on the filesystem of the data folder, and its mode decides that of new files."""
    os.mkdir(view)
    os.chmod(view, stat.S_IMODE(os.stat(data).st_mode) & 0o750)
    for name in os.listdir(data):
        if name not in _NOT_SHARED and not own.is_ours(name):
            os.symlink(f"{data}/{name}", f"{view}/{name}")
    configure(view, settings)


def close(data: str, view: str) -> None:
    """Make the folder ready for pg_upgrade, once the server has replayed all WAL and was shut down.

    pg_upgrade renames the control file, and calls `cp -R` for the others, which would copy a link instead of
    the files. Only now, because a replay makes new files in all of them, and renames a new map of the shared
    catalogs into place, and these have to be the cluster's own.
    """
    for folder in _REAL:
        os.unlink(f"{view}/{folder}")
        os.mkdir(f"{view}/{folder}", 0o700)
        for name in os.listdir(f"{data}/{folder}"):
            if name != "pg_internal.init":
                os.link(f"{data}/{folder}/{name}", f"{view}/{folder}/{name}")


def separate(data: str, view: str) -> None:
    """Give the folder a tree of hard links for the databases: pg_upgrade --swap takes their folders.

    So the old cluster keeps its names until the commit, whatever is killed.
    """
    os.unlink(f"{view}/base")
    os.mkdir(f"{view}/base", 0o700)
    for database in os.listdir(f"{data}/base"):
        if database == own.KEPT:
            continue
        os.mkdir(f"{view}/base/{database}", 0o700)
        for name in os.listdir(f"{data}/base/{database}"):
            os.link(f"{data}/base/{database}/{name}", f"{view}/base/{database}/{name}")


def shared(cluster: str) -> list[str]:
    """Return the links in a new cluster, by which it would share files with the old one."""
    return sorted(
        name for name in os.listdir(cluster) if name != "pg_wal" and os.path.islink(f"{cluster}/{name}")
    )


def configure(cluster: str, settings: Mapping[str, str]) -> None:
    """Give a cluster settings of our own, and let the server's own user in through its socket."""
    files.write_atomically(f"{cluster}/postgresql.conf", _lines(settings))
    files.write_atomically(f"{cluster}/postgresql.auto.conf", "")
    files.write_atomically(f"{cluster}/pg_hba.conf", "local all all trust\n")
    files.write_atomically(f"{cluster}/pg_ident.conf", "")


def adjust(cluster: str, settings: Mapping[str, str]) -> None:
    """Change some of these settings."""
    path = f"{cluster}/postgresql.conf"
    files.write_atomically(path, files.read_text(path) + _lines(settings))


def _lines(settings: Mapping[str, str]) -> str:
    return "".join(f"{name} = {conf_value(value)}\n" for name, value in settings.items())
