"""A first start: the cluster, pg_hba.conf, the user's database and init files; all or nothing."""

from __future__ import annotations

import os

from entrypoint import log
from entrypoint.config import rendered
from entrypoint.errors import Failure, Problem, Stopped
from entrypoint.first_start import init_files, initdb, replication
from entrypoint.light import re
from entrypoint.postgres import sql
from entrypoint.server import sessions, temporary
from entrypoint.server.context import Context, at_port, server_environment, with_password
from entrypoint.settings.starting import AUTH_METHODS, PLAIN_METHODS
from entrypoint.system import files
from entrypoint.system.children import memory_file, read_back
from entrypoint.volume import notes, probe
from entrypoint.volume.unfinished import Unfinished

TYPE_CHECKING = False
if TYPE_CHECKING:
    from entrypoint.first_start.copy import Template


def say_complete() -> None:
    """Print the line that other programs wait for; the official docker-ensure-initdb.sh does not print it."""
    log.say("\nPostgreSQL init process complete; ready for start up.\n\n")


def append_hba(context: Context, given: list[str], source: Template | None) -> None:
    """Append the line for TCP connections to pg_hba.conf; the default method is the server's own.

    For a copy of `source` that method is known, if nobody has configured anything.
    """
    data_folder = context.settings.data_folder
    method = context.settings.init.auth_method
    if not method and source is not None and not rendered.is_configured(context):
        method = source.encryption
    if not method:
        method = replication.encryption(context, given)
    with open(f"{data_folder}/pg_hba.conf", "a", encoding="utf-8", errors="surrogateescape") as file:
        file.write(_hba_lines(method))
        file.flush()
        os.fsync(file.fileno())


def _hba_lines(method: str) -> str:
    lines = ["", f"host all all all {method}", ""]
    if method.split(maxsplit=1)[0] == "trust":
        lines[1:1] = [
            "# warning trust is enabled for all connections",
            "# see https://www.postgresql.org/docs/current/auth-trust.html",
        ]
    return "\n".join(lines)


_HBA_ERRORS = "SELECT line_number, error FROM pg_hba_file_rules WHERE error IS NOT NULL ORDER BY 1"


def check_hba(context: Context, unfinished: Unfinished) -> None:
    """Let the server's own parser check POSTGRES_HOST_AUTH_METHOD, in the cluster that is still being made.

    Raises Failure with the parser's messages; the volume is then empty again.
    """
    method = context.settings.init.auth_method
    if method in PLAIN_METHODS:
        return
    path = f"{context.runtime_folder}/pg_hba.conf"
    files.write_atomically(path, _hba_lines(method).lstrip("\n"))
    argv = ["postgres", "--single", "-D", unfinished.cluster, "-c", f"hba_file={path}", "-j", "template1"]
    environment = server_environment(context.settings, context.environment) | {"LC_ALL": "C"}
    question = memory_file(f"{_HBA_ERRORS};\n\n")
    answer = memory_file("")
    try:
        code = context.children.run(argv, environment, descriptors={0: question, 1: answer, 2: answer})
        text = read_back(answer)
    finally:
        os.close(question)
        os.close(answer)
        os.unlink(path)
    wrong = re.findall(r'line_number = "(\d+)"[^\n]*\n[^\n]*error = "(.*)"\t\(typeid', text)
    if code == 0 and not wrong:
        return
    unfinished.discard()
    raise Failure(
        Problem(
            "the server does not accept POSTGRES_HOST_AUTH_METHOD after `host all all all`"
            + "".join(f"\nline {number}: {_without_words_of(method, error)}" for number, error in wrong),
            "give a method with its options; further lines must be complete lines of pg_hba.conf",
            docs="finish-a-first-start",
        )
    )


def _without_words_of(method: str, error: str) -> str:
    """Return a server message without the words that it quotes, which may be a misplaced password."""
    for word in re.findall(r'"([^"]*)"', error):
        if word in method and word not in AUTH_METHODS:
            error = error.replace(f'"{word}"', '"***"')
    return error


def create_database(context: Context) -> None:
    """Create POSTGRES_DB unless initdb has created it; raises Failure with psql's exit code."""
    name = context.settings.init.database
    if name in ("postgres", "template0", "template1"):
        return
    try:
        sessions.query(context, f"CREATE DATABASE {sql.identifier(name)}", writes=True, seconds=None)
        print("CREATE DATABASE", flush=True)
    except Failure as failure:
        code = 2 if isinstance(failure, sessions.Unreachable) else 3
        raise Failure(*(each._replace(code=code) for each in failure.problems)) from None


def _create_objects(context: Context) -> None:
    create_database(context)
    if context.settings.failover is not None:
        replication.create_role(context, context.settings.failover)
    if context.settings.every_start.extensions:
        from entrypoint.every_start import extensions

        extensions.create(at_port(context, context.settings.port))


def initialize(context: Context, given: list[str]) -> tuple[Context, bool]:
    """Make the database; return the context with the environment from the init files, and a flag.

    The flag says whether the cluster is still the one that was made: init files may replace it by another
    one. On any failure the record stays, so that the next start knows.
    """
    unfinished = Unfinished(context.settings.data_folder)
    arguments = initdb.evaluate_arguments(context)
    unfinished.begin()
    source = initdb.make_cluster(context, unfinished, arguments)
    check_hba(context, unfinished)
    unfinished.move_into_place()
    made = notes.cluster(unfinished.data_folder)
    append_hba(context, given, source)
    if context.settings.failover is not None:
        replication.append_hba(context, context.settings.failover, given)
    helper = context._replace(environment=with_password(context))
    in_reach = [*given, "-c", "listen_addresses=", "-p", context.settings.port]
    if context.settings.our_archive is not None:
        in_reach += ["-c", "archive_mode=off"]  # the archive is not prepared yet
    if initdb.syncs_late(source, arguments):
        in_reach += ["-c", "fsync=off"]  # a power cut before the end of a first start loses it anyway
    try:
        with temporary.serve(context, in_reach):
            _create_objects(context)
            if probe.init_files():
                unfinished.enter("files")
            environment = init_files.run(helper, unfinished)
    except Stopped:
        log.warning("stopped before the first start was finished; the next start says how to continue")
        raise
    now = notes.cluster(unfinished.data_folder)
    if not now:
        raise Failure(
            Problem(
                f"the init files left no database in {unfinished.data_folder}",
                "correct the init files: if they remove the new database, they must put another one there",
            )
        )
    notes.migrate(unfinished.data_folder)
    if probe.init_files():
        init_files.note(unfinished.data_folder, probe.INIT_FOLDER)
    if initdb.syncs_late(source, arguments):
        initdb.make_durable(context)
    unfinished.finish()
    if now != made:
        log.info("the init files replaced the new database by another one, which is served as it is")
    return context._replace(environment=environment), now == made
