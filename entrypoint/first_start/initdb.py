"""A new cluster: a copy of the image's own, or what initdb makes."""

from __future__ import annotations

import os

from entrypoint import log
from entrypoint.errors import Ended, Failure, Problem
from entrypoint.light import re
from entrypoint.server import programs
from entrypoint.server.context import Context, server_environment
from entrypoint.system import files
from entrypoint.system.children import memory_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from entrypoint.first_start.copy import Template
    from entrypoint.volume.unfinished import Unfinished


def evaluate_arguments(context: Context, *extra: str) -> list[str]:
    """Return POSTGRES_INITDB_ARGS, evaluated by a shell as the official image does, and what follows it.

    Raises Failure with the shell's exit code where it cannot be evaluated.
    """
    text = context.settings.init.initdb_args
    wal_folder = context.settings.init.wal_folder
    # Later, so that it wins over a --waldir in the arguments.
    last = [*(("--waldir", wal_folder) if wal_folder else ()), *extra]
    if re.fullmatch(r"[\w\s=./:,+@-]*", text, re.ASCII):
        return [*text.split(), *last]
    # bash repeats a line that it cannot read, and a password may be in it.
    script = '{ eval "set -- $POSTGRES_INITDB_ARGS"; } 2>/dev/null && printf "%s\\0" "$@"'
    code, out = context.children.output(
        ["bash", "-c", script, "POSTGRES_INITDB_ARGS"], context.environment, become=context.who
    )
    if code:
        raise Failure(
            Problem(
                "POSTGRES_INITDB_ARGS cannot be evaluated by the shell",
                "correct the quotes in POSTGRES_INITDB_ARGS",
                code,
            )
        )
    return [*out.split("\0")[:-1], *last]


def make_cluster(context: Context, unfinished: Unfinished, arguments: list[str]) -> Template | None:
    """Make a cluster in the work folder: a copy of the image's own, or what initdb makes.

    Returns what was copied, if it was; that is not synced yet.
    """
    from entrypoint.config import memory
    from entrypoint.first_start import copy

    _warn_of_other_sample(context)
    source = copy.find(context, arguments)
    if source is not None:
        copy.fill(context, source, unfinished.cluster)
    else:
        _run_initdb(context, unfinished, arguments)
    memory.adapt(context, unfinished.cluster)
    return source


def _warn_of_other_sample(context: Context) -> None:
    """Say that the documented sample of postgresql.conf has no effect.

    In a Nix image it is a link to the one that initdb reads, and a COPY puts a file in the link's place.
    """
    documented = f"/usr/share/postgresql/{programs.SAMPLE}"
    read = f"{programs.folder_with(programs.SAMPLE, context)}/{programs.SAMPLE}"
    try:
        if os.path.samefile(documented, read):
            return
    except OSError:
        return  # other distributions have other places
    log.warning(f"{documented} is not what initdb reads here, but {read}", f"put your settings into {read}")


def syncs_late(source: Template | None, arguments: list[str]) -> bool:
    """Tell whether the cluster is to be synced in the end: a copy, where initdb would sync."""
    return source is not None and not {"-N", "--no-sync"} & {*arguments}


def make_durable(context: Context) -> None:
    """Sync all of a new cluster, as initdb does."""
    argv = ["initdb", "--sync-only", "-D", context.settings.data_folder]
    code, text = context.children.output(argv, context.environment)
    if code:
        raise Failure(
            Problem(
                f"the new database could not be synced: initdb --sync-only ended with {code}\n{text}",
                "look after the disk, then empty the volume",
                code,
            )
        )


def _run_initdb(context: Context, unfinished: Unfinished, arguments: list[str]) -> None:
    settings = context.settings
    password = memory_file(settings.init.password + "\n")
    argv = [
        "initdb",
        f"--username={settings.init.user}",
        f"--pwfile=/dev/fd/{_PASSWORD_DESCRIPTOR}",
        "--no-instructions",
        *arguments,
    ]
    environment = server_environment(settings, context.environment)
    environment["PGDATA"] = unfinished.cluster
    environment |= _unknown_user(context, unfinished)
    try:
        code = context.children.run(argv, environment, descriptors={_PASSWORD_DESCRIPTOR: password})
    finally:
        os.close(password)
    if code:
        log.problem(Problem("initdb failed, see its own words above", "correct POSTGRES_INITDB_ARGS"))
        raise Ended(code)
    if not os.path.exists(f"{unfinished.cluster}/PG_VERSION"):
        raise Failure(
            Problem("initdb made its cluster somewhere else", "remove -D from POSTGRES_INITDB_ARGS")
        )


_PASSWORD_DESCRIPTOR = 9


def _unknown_user(context: Context, unfinished: Unfinished) -> dict[str, str]:
    """Return what makes initdb accept a uid that has no name, as the official image does."""
    if context.who.name:
        return {}
    import glob

    for wrapper in sorted(
        path
        for pattern in ("/lib/", "/lib/*/", "/usr/lib/", "/usr/lib/*/")
        for path in glob.glob(pattern + "libnss_wrapper.so")
    ):
        if os.path.getsize(wrapper):
            break
    else:
        return {}
    uid, gid = context.who.uid, context.who.gid
    home = context.settings.data_folder
    lines = {
        "passwd": f"postgres:x:{uid}:{gid}:PostgreSQL:{home}:/bin/false\n",
        "group": f"postgres:x:{gid}:\n",
    }
    for name, line in lines.items():
        files.write_atomically(f"{unfinished.folder}/{name}", line)
    return {
        "LD_PRELOAD": wrapper,
        "NSS_WRAPPER_PASSWD": f"{unfinished.folder}/passwd",
        "NSS_WRAPPER_GROUP": f"{unfinished.folder}/group",
    }
