"""Makes a new cluster: copies the image's own cluster, or runs initdb."""

from __future__ import annotations

import os

from entrypoint import log
from entrypoint.errors import Ended, Failure, Problem
from entrypoint.light import re
from entrypoint.logs import places
from entrypoint.server import programs
from entrypoint.server.context import Context, server_environment
from entrypoint.system import files
from entrypoint.system.children import memory_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from entrypoint.first_start.copy import Template
    from entrypoint.volume.unfinished import Unfinished


def evaluate_arguments(context: Context, *extra: str) -> list[str]:
    """Return POSTGRES_INITDB_ARGS, evaluated by a shell as in the official image, and our further arguments.

    Raises Failure with the shell's exit code if the shell cannot evaluate it.
    """
    text = context.settings.init.initdb_args
    wal_folder = context.settings.init.wal_folder
    # Ours come last, so that they override a --waldir in POSTGRES_INITDB_ARGS.
    last = [*(("--waldir", wal_folder) if wal_folder else ()), *extra]
    if re.fullmatch(r"[\w\s=./:,+@-]*", text, re.ASCII):
        return [*text.split(), *last]
    # stderr is discarded: bash repeats a line that it cannot parse, and the line may contain a password.
    script = '{ eval "set -- $POSTGRES_INITDB_ARGS"; } 2>/dev/null && printf "%s\\0" "$@"'
    code, out = context.children.output(
        ["bash", "-c", script, "POSTGRES_INITDB_ARGS"], context.environment, become=context.who
    )
    if code:
        raise Failure(
            Problem(
                "the shell cannot evaluate POSTGRES_INITDB_ARGS",
                "correct the quotes in POSTGRES_INITDB_ARGS",
                code,
            )
        )
    return [*out.split("\0")[:-1], *last]


def make_cluster(context: Context, unfinished: Unfinished, arguments: list[str]) -> Template | None:
    """Make a cluster in the work folder: copy the image's own cluster, or run initdb.

    Return the template if it was copied, else None. A copy is not synced yet.
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
    """Warn if the documented sample of postgresql.conf has no effect.

    In a Nix image it is a link to the sample that initdb reads; a COPY in a Dockerfile replaces the link.
    """
    documented = f"/usr/share/postgresql/{programs.SAMPLE}"
    read = f"{programs.folder_with(programs.SAMPLE, context)}/{programs.SAMPLE}"
    try:
        if os.path.samefile(documented, read):
            return
    except OSError:
        return  # other distributions have it elsewhere
    log.warning(
        f"{documented} has no effect: initdb reads {read} in this image",
        f"put your settings into {read}",
        docs="configure-the-server",
    )


def syncs_late(source: Template | None, arguments: list[str]) -> bool:
    """Return whether to sync the cluster at the end: if it is a copy, unless initdb must not sync."""
    return source is not None and not {"-N", "--no-sync"} & {*arguments}


def make_durable(context: Context) -> None:
    """Sync all files of a new cluster, as initdb does; raises Failure."""
    argv = ["initdb", "--sync-only", "-D", context.settings.data_folder]
    code, text = context.children.output(argv, context.environment)
    if code:
        raise Failure(
            Problem(
                f"cannot sync the new database: initdb --sync-only ended with code {code}\n{text}",
                "check the disk, then empty the volume",
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
    log.now_from(places.INITDB)
    try:
        code = context.children.run(argv, environment, descriptors={_PASSWORD_DESCRIPTOR: password})
    finally:
        os.close(password)
        log.now_from(places.INIT)
    if code:
        log.problem(Problem("initdb failed: see its output above", "correct POSTGRES_INITDB_ARGS"))
        raise Ended(code)
    if not os.path.exists(f"{unfinished.cluster}/PG_VERSION"):
        raise Failure(
            Problem("initdb made the cluster in another folder", "remove -D from POSTGRES_INITDB_ARGS")
        )


_PASSWORD_DESCRIPTOR = 9


def _unknown_user(context: Context, unfinished: Unfinished) -> dict[str, str]:
    """Return the variables that make initdb accept a uid without a name, as in the official image."""
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
