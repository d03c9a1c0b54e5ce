"""The first half of a start: from the environment to a server that is ready to be handed over."""

import os
import sys
from collections.abc import Mapping, Sequence
from typing import NoReturn

from entrypoint import archivers, environment, lifecycle, plan, settings
from entrypoint.argv import NOT_A_SERVER, psql
from entrypoint.effects import (
    archive,
    files,
    first_start,
    folders,
    identity,
    probe,
    restore,
    server,
    status,
    supervisor,
)
from entrypoint.effects.children import Children, find_program
from entrypoint.effects.identity import Identity
from entrypoint.effects.server import Context
from entrypoint.effects.signals import Signals
from entrypoint.errors import Failure, Problem
from entrypoint.facts import DONE_FOLDER, Facts
from entrypoint.log import info, problem, warning
from entrypoint.settings import Settings

SERVER_USER = "postgres"


def start(arguments: Sequence[str]) -> NoReturn:
    """Become the server's PID 1: `arguments` are those of postgres."""
    children = Children(Signals())
    wanted = load_settings(os.environ, arguments)
    context = make_context(wanted, children)
    status.enter(context.runtime_folder, status.BOOT)
    facts = probe.look(wanted)
    decided = check(context, facts)
    folders.prepare(wanted, context.who, children)
    identity.become(context.who)
    lock = files.lock_folder(wanted.data_folder)
    if decided.kind != plan.START:
        decided = check(context, probe.look(wanted), quiet=True)
    context, given = act(context, decided, facts)
    run_server(context, given, lock)


def load_settings(raw: Mapping[str, str], arguments: Sequence[str]) -> Settings:
    """Return the settings, or raise Failure with everything that is wrong with them."""
    read = environment.read(raw, files.read_text)
    programs = {name: has_program(archivers.get(name, {}).program, raw) for name in archivers.NAMES}
    wanted, problems = settings.load(read.values, arguments, programs)
    if read.problems or problems:
        raise Failure(*read.problems, *problems)
    for doubt in read.warnings:
        warning(doubt.what, doubt.mend)
    return wanted


def has_program(name: str, environ: Mapping[str, str]) -> bool:
    """Tell whether the image has this program."""
    try:
        find_program(name, environ)
    except Failure:
        return False
    return True


def make_context(wanted: Settings, children: Children) -> Context:
    """Return the context of a start, of which a folder under /run is made."""
    who = server_identity()
    return Context(
        settings=wanted,
        children=children,
        who=who,
        runtime_folder=folders.make_runtime_folder(who, children),
        environment=server.helper_environment(wanted, who, stepped_down=os.getuid() == 0),
    )


def server_identity() -> Identity:
    """Return the user that the server runs as: `postgres` if we are root, else ourselves."""
    if os.getuid() != 0:
        return identity.current()
    try:
        return identity.resolve(SERVER_USER)
    except ValueError:
        raise Failure(
            Problem(
                f"the image has no user {SERVER_USER}",
                "add it to /etc/passwd, or start with --user UID:GID",
            )
        ) from None


def check(context: Context, facts: Facts, *, quiet: bool = False) -> plan.Plan:
    """Return what to do; raises Failure, before anything is touched, with all that speaks against it."""
    decided = plan.decide(context.settings, facts)
    if decided.refusals:
        raise Failure(*decided.refusals)
    if quiet:
        return decided
    for doubt in decided.warnings:
        warning(doubt.what, doubt.mend)
    shell = server.check_shell(context)
    if shell is not None:
        if context.settings.archive is not None or decided.kind != plan.START:
            raise Failure(shell)
        problem(shell)
    if decided.kind == plan.INITIALIZE:
        first_start.check_init_folder(context)
        first_start.initdb_arguments(context)
    if decided.kind != plan.START:
        server.check_configuration(context)
    return decided


def act(context: Context, decided: plan.Plan, facts: Facts) -> tuple[Context, list[str]]:
    """Do what was decided; return the context and the arguments for the server."""
    wanted = context.settings
    if wanted.archive is not None:
        archive.render(context, wanted.archive)
    given = server.arguments(context)
    if decided.kind == plan.START:
        done = f"{wanted.data_folder}/{DONE_FOLDER}"
        if os.path.exists(done):
            files.remove_tree(done)
        _say_skipped(facts)
    else:
        context = _make(context, decided, given)
        if wanted.archive is not None:
            # Now there is a cluster, with its own segment size.
            archive.render(context, wanted.archive)
            given = server.arguments(context)
    if wanted.archive is not None and not wanted.archive.by_user:
        archive.prepare(context, wanted.archive, must_work=decided.kind == plan.INITIALIZE)
    return context, given


def _make(context: Context, decided: plan.Plan, given: list[str]) -> Context:
    """Make the cluster: anew, from a backup, or by going on with a restore."""
    wanted = context.settings
    phases = {plan.INITIALIZE: status.INIT, plan.RESTORE: status.RESTORE, plan.RECOVER: status.RECOVERY}
    status.enter(context.runtime_folder, phases[decided.kind])
    if decided.kind == plan.INITIALIZE:
        if wanted.archive is not None and not wanted.archive.by_user:
            archive.check_unused(context, wanted.archive)
        return first_start.initialize(context, given, discard=decided.discard, move_aside=decided.move_aside)
    if wanted.archive is None:
        raise AssertionError("the plan refuses a restore without an archive")
    if decided.kind == plan.RESTORE:
        backup = wanted.restore_from or "LATEST"
        restore.restore(context, wanted.archive, backup, given, discard=decided.discard)
    else:
        info("going on with a restore that was interrupted")
        restore.recover(context, wanted.archive, given)
    return context


def _say_skipped(facts: Facts) -> None:
    print(
        "\nPostgreSQL Database directory appears to contain a database; Skipping initialization\n",
        flush=True,
    )
    if facts.init_files:
        since = _made(facts.data_folder.path)
        names = ", ".join(facts.init_files[:5]) + (", …" if len(facts.init_files) > 5 else "")
        info(f"init files do not run, since the database exists since {since}: {names}")


def _made(folder: str) -> str:
    """Return when a cluster was made: initdb writes PG_VERSION, and nothing does later."""
    from time import gmtime, strftime

    return strftime("%Y-%m-%d %H:%M:%S UTC", gmtime(os.stat(f"{folder}/PG_VERSION").st_mtime))


def run_server(context: Context, given: list[str], lock: int) -> NoReturn:
    """Hand over to the supervisor, or to postgres itself where it is no server."""
    wanted = context.settings
    environ = server.server_environment(wanted, context.environment)
    arguments = wanted.server
    if arguments.prints_a_setting or (arguments.given and arguments.given[0] in NOT_A_SERVER):
        os.set_inheritable(lock, True)  # noqa: FBT003 - the name says what is true
        execute(["postgres", *arguments.given], environ)
    environ |= server.stale_pid_environment(wanted.data_folder)
    supervisor.hand_over(
        context.children.signals,
        {
            "argv": ["postgres", *given],
            "environment": environ,
            "timeouts": list(wanted.stop),
            "helpers": helpers(context, environ),
            "runtime_folder": context.runtime_folder,
        },
        lock,
    )


def helpers(context: Context, environ: dict[str, str]) -> list[dict[str, object]]:
    """Return the auxiliary processes that PID 1 keeps beside the server."""
    user = context.settings.init.user
    checkpoint = {
        "role": lifecycle.CHECKPOINT,
        "argv": psql(user, "postgres", "--quiet", "--command", "CHECKPOINT"),
        "environment": {**environ, "PGHOST": "", "PGHOSTADDR": "", "PGPORT": context.settings.port},
        "after_server": False,
        "keep": False,
    }
    return [checkpoint]


def execute(argv: Sequence[str], environ: Mapping[str, str]) -> NoReturn:
    """Replace this process by a command, with the exit codes of a shell where that fails."""
    program = find_program(argv[0], environ)
    sys.stdout.flush()
    try:
        os.execve(program, list(argv), dict(environ))
    except OSError as error:
        from entrypoint.effects.children import cannot_execute

        raise Failure(cannot_execute(program, error)) from error
