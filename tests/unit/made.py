"""Values that several unit tests start from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

from entrypoint.archivers.known import TOOLS
from entrypoint.archivers.terms import Backup, Server
from entrypoint.errors import Problem
from entrypoint.settings import loading
from entrypoint.settings.values import Settings
from entrypoint.system.children import Children
from entrypoint.system.identity import Identity
from entrypoint.volume.facts import DataFolder, Facts, Unfinished

TYPE_CHECKING = False
if TYPE_CHECKING:
    from entrypoint.volume.facts import Place, Stage

__all__ = [
    "BOTH",
    "INITDB_MAKES",
    "NO_CHILDREN",
    "PLAIN",
    "POSTGRES",
    "SERVER",
    "cluster",
    "data_folder",
    "facts",
    "load",
    "sample",
    "settings",
    "unfinished",
]

PLAIN: Mapping[str, str] = {"PGDATA": "/data", "POSTGRES_PASSWORD": "secret"}
"""The variables of every start: the data folder and a password."""

POSTGRES = Identity(999, 999, (999,), "/var/lib/postgresql", "postgres")
NO_CHILDREN = cast("Children", None)
"""A program for tests that start nothing: it would fail at once."""

BOTH: Mapping[str, bool] = dict.fromkeys(TOOLS, True)
"""An image with every archiver."""

SERVER = Server(
    data_folder="/var/lib/postgresql/data",
    socket_folder="/var/run/postgresql",
    port="5432",
    user="postgres",
    runtime_folder="/run/entrypoint",
    processes=2,
    client="",
    segment_bytes=16 * 1024**2,
)

INITDB_MAKES = tuple(
    """
    PG_VERSION base global pg_commit_ts pg_dynshmem pg_hba.conf pg_ident.conf pg_logical pg_multixact
    pg_notify pg_replslot pg_serial pg_snapshots pg_stat pg_stat_tmp pg_subtrans pg_tblspc pg_twophase
    pg_wal pg_xact postgresql.auto.conf postgresql.conf
    """.split()
)
"""The entries that initdb of PostgreSQL 15 creates in a data folder."""

_SAMPLES = Path(__file__).parent / "samples"


def cluster(folder: Path, identifier: int = 7) -> Path:
    """Make a folder look like a cluster's, as far as our notes in it require that."""
    (folder / "global").mkdir(parents=True, exist_ok=True)
    (folder / "PG_VERSION").write_text("15\n")
    (folder / "global" / "pg_control").write_bytes(identifier.to_bytes(8, "little") + bytes(200))
    return folder


def sample(name: str) -> str:
    """Return the output of a real program; only the paths and the host's name were changed."""
    return (_SAMPLES / name).read_text(encoding="utf-8")


def load(
    values: Mapping[str, str], arguments: Sequence[str] = (), programs: Mapping[str, bool] = BOTH
) -> tuple[Settings, list[Problem]]:
    """Return the settings of a normal start with these values added, and their problems."""
    return loading.load({**PLAIN, **values}, arguments, programs)


def settings(
    values: Mapping[str, str] | None = None,
    arguments: Sequence[str] = (),
    programs: Mapping[str, bool] = BOTH,
) -> Settings:
    """Return valid settings with these values added."""
    found, problems = load(values or {}, arguments, programs)
    assert [] == problems
    return found


def backup(number: int, *, kind: str = "full", timeline: int = 1, cluster: str = "7") -> Backup:
    """Return a backup that begins in the segment of this number."""
    return Backup(
        name=f"b{number}",
        kind=kind,  # type: ignore[arg-type]
        started="1970-01-01T00:01:30+00:00",
        finished="1970-01-01T00:01:40+00:00",
        size_bytes=1,
        start_lsn=f"0/{number:X}000028",
        stop_lsn=f"0/{number:X}000100",
        permanent=False,
        system_identifier=cluster,
        timeline=timeline,
        first_segment=f"{timeline:08X}00000000{number:08X}",
    )


def data_folder(
    *,
    path: str = "/data",
    exists: bool = True,
    readable: bool = True,
    has_cluster: bool = False,
    unfinished: Unfinished | None = None,
    foreign: Sequence[str] = (),
    owner: int | None = 999,
    place: Place = "volume",
    mount_point: str = "/data",
    filesystem: str = "ext4",
    standby: bool = False,
) -> DataFolder:
    """Return an empty data folder on a volume, changed by these values."""
    return DataFolder(
        path=path,
        exists=exists,
        readable=readable,
        has_cluster=has_cluster,
        unfinished=unfinished,
        foreign=tuple(foreign),
        owner=owner,
        place=place,
        mount_point=mount_point,
        filesystem=filesystem,
        standby=standby,
    )


def facts(
    folder: DataFolder | None = None,
    *,
    uid: int = 999,
    old_databases: Sequence[str] = (),
    stray_mounts: Sequence[str] = (),
    init_files: Sequence[str] = (),
) -> Facts:
    """Return the facts of a first start on an empty volume, changed by these values."""
    return Facts(
        uid=uid,
        data_folder=folder or data_folder(),
        old_databases=tuple(old_databases),
        stray_mounts=tuple(stray_mounts),
        init_files=tuple(init_files),
    )


def unfinished(stage: Stage, detail: str = "", *, has_cluster: bool = True) -> Facts:
    """Return the facts of a start that finds an interrupted one."""
    return facts(data_folder(has_cluster=has_cluster, unfinished=Unfinished(stage, detail)))
