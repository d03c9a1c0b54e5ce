"""A copy of the cluster for a rehearsal without an archive: of a running server, or of a stopped one's files.

Tablespaces are copied next to it, and nothing of the copy leads to the original.
"""

from __future__ import annotations

import json
import os
from contextlib import contextmanager

from entrypoint import log, own
from entrypoint.drill.rehearse import MARGIN, refuse_without_room
from entrypoint.drill.scratch import begin_kept_in, configure
from entrypoint.errors import Failure, Problem
from entrypoint.light import NamedTuple, re
from entrypoint.server import control_file, programs, temporary
from entrypoint.server.data_folder import data_version, forget_original
from entrypoint.standby import peer
from entrypoint.system import files, progress
from entrypoint.upgrade import afoot, build, older, pgupgrade, underway

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from entrypoint.server.context import Context

_ASKED = """\
SELECT json_build_object(
    'major', current_setting('server_version_num')::int / 10000,
    'spaces', (SELECT coalesce(json_agg(pg_tablespace_location(oid) ORDER BY oid), '[]') FROM pg_tablespace
               WHERE spcname NOT IN ('pg_default', 'pg_global')),
    'bytes', (SELECT sum(pg_database_size(oid)) FROM pg_database),
    'segment', pg_size_bytes(current_setting('wal_segment_size')))
"""
_WAL = 64 * 1024**2
"""Bytes that the WAL of a base backup takes at least."""
_START = re.compile(r"(?m)^START WAL LOCATION: ([0-9A-F]+/[0-9A-F]+) \(file ([0-9A-F]{8})")
_SERVER_HINT = (
    "name the server, from a container in its network (docker run --network container:NAME …): entrypoint "
    "upgrade rehearse --server 'host=127.0.0.1 user=postgres'; PGPASSWORD has the password. Or stop it"
)


class Original(NamedTuple):
    """The server that is copied, as it describes itself."""

    major: str
    spaces: tuple[str, ...]
    bytes: int
    segment_bytes: int


def of_server(
    context: Context, environment: Mapping[str, str], found: Original, scratch: Context, deadline: float
) -> None:
    """Copy a running server, and recover the copy to the end of its WAL; raises Failure."""
    data = scratch.settings.data_folder
    need = found.bytes + found.bytes // MARGIN + _WAL
    refuse_without_room(context, need, "a copy of the server", found.segment_bytes)
    places = [f"{_spaces(data)}/{number}" for number in range(len(found.spaces))]
    pairs = zip(found.spaces, places, strict=True)
    argv = [
        *("pg_basebackup", f"--pgdata={data}", "--format=plain", "--wal-method=stream", "--checkpoint=fast"),
        *("--no-password", "--no-sync", f"--dbname={peer.SERVICE}"),
        *(f"--tablespace-mapping={_escaped(each)}={_escaped(place)}" for each, place in pairs),
    ]
    log.info("rehearsal: copying the running server with pg_basebackup")
    shown = progress.Progress("copy", found.bytes, lambda: progress.size_of(data))
    code, said = pgupgrade.output(context, argv, environment, shown)
    if code:
        raise Failure(
            Problem(
                f"pg_basebackup cannot copy the server (exit code {code}):\n{said.strip()}",
                "fix what it names; the user needs REPLICATION, and pg_hba.conf a line for replication",
                docs=underway.PAGE,
            )
        )
    forget_original(data)
    _refuse_new_tablespaces(scratch)
    with own_configuration(data):
        configure(scratch)
        temporary.stop(scratch, begin_kept_in(scratch, deadline))


def ask(context: Context, environment: Mapping[str, str]) -> Original:
    """Return how the server describes itself; raises Failure."""
    code, said = peer.query(context, environment, _ASKED)
    if code:
        raise Failure(
            Problem(
                f"the server of --server does not answer:\n{said.strip()}",
                "check the connection string; PGPASSWORD or PGPASSFILE has the password",
                docs=underway.PAGE,
            )
        )
    found = json.loads(said)
    spaces = tuple(str(each) for each in found["spaces"] if str(each).startswith("/"))
    return Original(str(found["major"]), spaces, int(found["bytes"]), int(found["segment"]))


def of_folder(context: Context, before: str, scratch: Context) -> None:
    """Copy the files of a stopped cluster, sharing blocks where the filesystem can; raises Failure."""
    data, cluster = context.settings.data_folder, scratch.settings.data_folder
    control = control_file.read_control(context)
    refuse_in_use(data)
    if not build.was_stopped(control):
        raise Failure(
            Problem(
                f"the server of {data} was not shut down cleanly ({control.get('Database cluster state')})",
                "start the old image, and stop it cleanly: docker stop -t 120",
                docs=underway.PAGE,
            )
        )
    size, segment = progress.size_of(data), int(control["Bytes per WAL segment"])
    refuse_without_room(context, size + size // MARGIN + _WAL, f"a copy of {data}", segment)
    log.info(f"rehearsal: copying the files of {data}")
    kept = (own.KEPT, own.UPGRADE, "lost+found", "pg_wal", "pg_tblspc")
    _copy(context, [f"{data}/{name}" for name in os.listdir(data) if name not in kept], cluster)
    _copy(context, [os.path.realpath(f"{data}/pg_wal") + "/."], f"{cluster}/pg_wal")
    os.mkdir(f"{cluster}/pg_tblspc", 0o700)
    for name in os.listdir(f"{data}/pg_tblspc"):
        location, place = os.path.realpath(f"{data}/pg_tblspc/{name}"), f"{_spaces(cluster)}/{name}"
        if not os.path.isdir(location):
            raise Failure(
                Problem(
                    f"the tablespace in {location} is not there",
                    "mount its volume as for the server",
                    docs=underway.PAGE,
                )
            )
        inside = [f"{location}/{each}" for each in os.listdir(location) if each.startswith(f"PG_{before}_")]
        _copy(context, inside, place)
        os.symlink(place, f"{cluster}/pg_tblspc/{name}")
    forget_original(cluster)


def refuse_tablespaces(data: str) -> None:
    """Raise Failure for a cluster with tablespaces, before it is restored from an archive."""
    if os.path.isdir(f"{data}/pg_tblspc") and os.listdir(f"{data}/pg_tblspc"):
        raise Failure(
            Problem(
                "the cluster has tablespaces, and a restored copy would write to their folders",
                _SERVER_HINT,
                docs=underway.PAGE,
            )
        )


def refuse_in_use(data: str) -> None:
    """Raise Failure if a server runs on the data folder, or nothing is there."""
    if not data_version(data):
        raise Failure(
            Problem(
                f"no archive is set, and {data} holds no cluster: there is nothing to rehearse with",
                _SERVER_HINT,
                docs=underway.PAGE,
            )
        )
    if afoot.servers(data):
        raise Failure(in_use(data))


def in_use(data: str) -> Problem:
    """Return the problem of a running server whose files would be copied."""
    return Problem(
        f"no archive is set, and a server uses {data}: a copy of its files would be none of a moment",
        _SERVER_HINT,
        docs=underway.PAGE,
    )


@contextmanager
def own_configuration(data: str) -> Iterator[None]:
    """Give a copied cluster its own configuration again after a block."""
    paths = [f"{data}/{name}" for name in ("postgresql.conf", "postgresql.auto.conf")]
    texts = {path: files.read_text(path) if os.path.isfile(path) else "" for path in paths}
    yield
    for path, text in texts.items():
        files.write_atomically(path, text)


def _spaces(cluster: str) -> str:
    return f"{os.path.dirname(cluster)}/spaces"


def _escaped(path: str) -> str:
    r"""Return a path for --tablespace-mapping.

    >>> print(_escaped("/a=b"))
    /a\=b
    """
    return path.replace("=", "\\=")


def _copy(context: Context, paths: list[str], folder: str) -> None:
    """Copy files and folders into a folder, which is made if it is missing."""
    os.makedirs(folder, mode=0o700, exist_ok=True)
    if not paths:
        return
    argv = ["cp", "--archive", "--reflink=auto", f"--target-directory={folder}", "--", *paths]
    code, said = context.children.output(argv, context.environment, errors=True)
    if code:
        raise Failure(
            Problem(
                f"the cluster cannot be copied to {folder}:\n{said.strip()}",
                "fix what the message names",
                docs=underway.PAGE,
            )
        )


def _refuse_new_tablespaces(scratch: Context) -> None:
    """Raise Failure if the WAL of the copy makes a tablespace: a replay would write to the original's."""
    data = scratch.settings.data_folder
    with open(f"{data}/backup_label", encoding="ascii", errors="replace") as file:
        found = _START.search(file.read())
    if found is None:
        raise Failure(Problem(f"{data}/backup_label names no begin of its WAL", "rehearse again"))
    folder = programs.of_major(data_version(data))
    argv = [f"{folder}/pg_waldump", f"--path={data}/pg_wal", f"--start={found[1]}", "--rmgr=Tablespace"]
    argv.append(f"--timeline={int(found[2], 16)}")
    _, said = scratch.children.output(argv, scratch.environment, errors=True)  # ends with an error at the end
    if "desc: CREATE" in said:
        raise Failure(
            Problem(
                "a tablespace was made while the server was copied, and a replay would write to it",
                "rehearse again",
                docs=underway.PAGE,
            )
        )


def with_programs(context: Context, major: str) -> Context:
    """Return the context with the older server's programs; raises Failure if the image has none."""
    if not programs.of_major(major):
        raise Failure(
            Problem(
                f"the image has no programs of PostgreSQL {major}, which the rehearsal needs",
                f'use an image that has them: make image UPGRADE_FROM="{major}"',
                docs=underway.PAGE,
            )
        )
    return older.with_programs(context, major)
