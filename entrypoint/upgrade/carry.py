"""The configuration and the user's own files of the old cluster, for the new one."""

from __future__ import annotations

import os
import stat

from entrypoint import own
from entrypoint.archive import fork
from entrypoint.config import accept, collect, complaints, sources
from entrypoint.config.sources import Source
from entrypoint.errors import Failure, Problem
from entrypoint.light import NamedTuple
from entrypoint.postgres.cluster import SERVER_ENTRIES
from entrypoint.server import programs
from entrypoint.system import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from entrypoint.server.context import Context

_FILES = ("postgresql.conf", "postgresql.auto.conf", "pg_hba.conf", "pg_ident.conf")
_STAYS = (own.KEPT, "lost+found", "pg_log", "delete_old_cluster.sh", "pg_upgrade_output.d")


class Refused(NamedTuple):
    """A line of the old cluster's configuration that the new server does not accept."""

    file: str
    line: int
    name: str
    why: str
    hint: str


def refused(context: Context, data: str) -> list[Refused]:
    """Return the lines of a cluster's own configuration files that this image's server refuses.

    The server stops at unknown names before it judges values, so it is asked again without those that are
    known to be wrong. Settings that a line further down repeats count as well: the server reads all of them.
    """
    rest = [
        entry
        for name in _FILES[:2]
        for entry in collect.read_entries(f"{data}/{name}")
        if entry.name not in ("config_file", "data_directory")
    ]
    found: list[Refused] = []
    with programs.ScratchFolder(context) as scratch:
        while True:
            given = [Source(each.name, each.value, sources.FILE, each.where) for each in rest]
            accept.write_settings(f"{scratch}/postgresql.conf", given)
            code, text = programs.ask(context, "port", [], scratch)
            said = {each.name: each for each in complaints.complaints(text)} if code else {}
            bad = [each for each in rest if each.name in said]
            if not bad:
                return found
            found += [
                Refused(each.file, each.line, each.name, said[each.name].words, said[each.name].hint)
                for each in bad
            ]
            rest = [each for each in rest if each not in bad]


def users_files(data: str) -> list[str]:
    """Return what people have put into a data folder, such as certificates and folders of settings."""
    return sorted(
        name
        for name in os.listdir(data)
        if name not in SERVER_ENTRIES and not own.is_ours(name) and name not in _STAYS
    )


def is_inside(path: str, data: str) -> bool:
    """Return whether a file is in the data folder, wherever a link leads there from."""
    return os.path.realpath(path).startswith(f"{os.path.realpath(data)}/")


def carry(context: Context, data: str, cluster: str, lines: list[Refused]) -> None:
    """Copy the configuration and the user's files; comment out the lines that the new server refuses.

    A link to a file outside, such as a mounted one, stays a link, so that its later changes still count.
    """
    for name in users_files(data):
        argv = ["cp", "--archive", "--reflink=auto", f"{data}/{name}", f"{cluster}/{name}"]
        code, text = context.children.output(argv, context.environment, errors=True)
        if code:
            raise Failure(
                Problem(
                    f"cannot copy {data}/{name} to the new cluster: {text.strip()}",
                    "fix what the message names, or move the file out of the data folder",
                    docs="upgrade-to-a-newer-major",
                )
            )
    if note := fork.carried(data):
        files.write_atomically(f"{cluster}/{own.FORK}", note)
    for name in _FILES:
        path = f"{data}/{name}"
        if os.path.islink(path) and not is_inside(path, data):
            os.unlink(f"{cluster}/{name}")
            os.symlink(os.readlink(path), f"{cluster}/{name}")
            continue
        there = os.path.exists(path)
        mode = stat.S_IMODE(os.stat(path).st_mode) if there else 0o600
        files.write_atomically(f"{cluster}/{name}", files.read_text(path) if there else "", mode)
    for file in {each.file for each in lines}:
        path = cluster + file.removeprefix(data)
        if is_inside(file, data) and os.path.isfile(path):
            here = [each for each in lines if each.file == file]
            text = commented(files.read_text(path), here, context.environment.get("PG_MAJOR", ""))
            files.write_atomically(path, text, stat.S_IMODE(os.stat(path).st_mode))


def commented(text: str, lines: list[Refused], major: str) -> str:
    r"""Return a configuration file in which the refused lines are comments, each with the reason.

    >>> commented("a = 1\nb = 2\n", [Refused("f", 2, "b", "unrecognized", "")], "17")
    'a = 1\n#b = 2  # refused by PostgreSQL 17: unrecognized\n'
    """
    rows = text.split("\n")
    for each in lines:
        why = " ".join(each.why.split())
        rows[each.line - 1] = f"#{rows[each.line - 1]}  # refused by PostgreSQL {major}: {why}"
    return "\n".join(rows)
