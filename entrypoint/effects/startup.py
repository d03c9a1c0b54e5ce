"""The first half of a start: from the environment to a server that is ready to be handed over."""

from __future__ import annotations

import os

from entrypoint import (
    environment,
    exits,
    foreign,
    lifecycle,
    limits,
    log,
    plan,
    settings,
    variables,
)
from entrypoint.archivers import tool_variables
from entrypoint.archivers.known import TOOLS
from entrypoint.argv import NOT_A_SERVER
from entrypoint.effects import (
    archive,
    capacity,
    collation,
    files,
    folders,
    fork,
    holder,
    identity,
    kernel,
    leftover,
    notes,
    probe,
    server,
    sessions,
    status,
    stops,
    walk,
)
from entrypoint.effects.children import (
    DOOR,
    DOOR_FOLDER,
    Children,
    find_program,
    memory_file,
    path_without,
    replace_process,
)
from entrypoint.effects.context import (
    HIDDEN_VALUE,
    OUR_PROGRAM,
    SETTINGS_FILE,
    SETTINGS_VARIABLE,
    Context,
    handed_on_folder,
    helper_environment,
    is_guarded,
    later_environment,
    server_environment,
    withheld_variables,
    write_down_settings,
)
from entrypoint.effects.handoff import HelperSpec, ServerSpec, hand_over
from entrypoint.effects.identity import Identity
from entrypoint.effects.signals import Signals
from entrypoint.effects.unfinished import Unfinished
from entrypoint.errors import Ended, Failure, Problem
from entrypoint.facts import Facts
from entrypoint.foreign import FILE_SUFFIX
from entrypoint.settings import Settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import NoReturn

    from entrypoint.effects.planning import Plan

_FIRST_LOOK = 10
"""Seconds after the server's start until it is looked again whether another one was promoted."""


def start(arguments: Sequence[str], *, restore_only: bool = False) -> NoReturn:
    """Become the server's PID 1: `arguments` are those of postgres.

    With `restore_only` end before the server starts; a volume with a database is refused then.
    """
    log.never_wait()  # while we are root, who may open a log of anybody
    children = Children(Signals())
    kernel.keep_descriptors_to_ourselves()
    kernel.adopt_orphans()
    wanted, problems = open_settings(os.environ, arguments)
    log.debugging = wanted.debug
    kernel.hide_environment(_start_alone(wanted))
    _make_door(wanted)
    who = server_identity()
    # As early as it can be taken: what is in the folder of a running start is not ours to judge.
    lock = _lock_early(wanted.data_folder, who)
    held: list[int] = []
    context = make_context(wanted, children, held)
    with identity.Acting(who):
        status.enter(context.runtime_folder, status.BOOT)
    facts = look(wanted)
    decided = check(context, facts, problems)
    if restore_only and decided.kind not in (plan.RESTORE, plan.RECOVER):
        raise Failure(_nothing_to_restore(wanted))
    folders.prepare(wanted, context.who, children)
    identity.become(context.who)
    if wanted.no_new_privileges:
        kernel.forbid_new_privileges()
    if lock is None:
        lock = holder.lock_folder(wanted.data_folder)
        decided = refuse_if_changed(context, decided)
    holder.sign_folder(wanted.data_folder)
    notes.migrate(wanted.data_folder)
    context, done, given = act(context, decided, facts)
    if decided.kind == plan.INITIALIZE:
        from entrypoint.effects import first_start

        first_start.say_complete()
        lock = holder.keep_locked(lock, wanted.data_folder)
        holder.sign_folder(wanted.data_folder)
    if restore_only:
        status.enter(context.runtime_folder, status.BOOT)
        raise Ended(0)
    check_collations(context, done, given)
    run_server(context, given, [lock, *held], first=done.kind == plan.INITIALIZE)


def _lock_early(folder: str, who: Identity) -> int | None:
    """Lock the data folder, if it is there, with the rights of the server's user where they suffice."""
    try:
        with identity.Acting(who):
            return holder.lock_folder(folder)
    except PermissionError:
        pass
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        return holder.lock_folder(folder)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None


def _make_door(wanted: Settings) -> None:
    """Where an image of others has brought the archiver, put our door to it before it, for people."""
    tool = wanted.archive and wanted.archive.tool
    if os.getuid() != 0 or tool is None or not has_program(tool.name, os.environ):
        return
    try:
        os.symlink(DOOR, f"{DOOR_FOLDER}/{tool.name}")
    except OSError:
        pass  # it is there, or something of somebody else's; or nothing can be written


def look(wanted: Settings) -> Facts:
    """Return what a start finds; changes nothing."""
    return probe.look(wanted, server_identity())


def secret_names(values: Mapping[str, str]) -> set[str]:
    """Return the variables that hold secrets: ours by their declaration, the archivers' all."""
    declared = {name for name, variable in variables.ALL.items() if variable.secret}
    return declared | {
        name for name in values if tool_variables.is_own(name.removeprefix(settings.SOURCE_PREFIX), {})
    }


def _start_alone(wanted: Settings) -> set[str]:
    """Return the variables that nobody is to see in PID 1, however long a first start or a restore takes."""
    names = {name for name in wanted.values if name.startswith(variables.CONF_PREFIX)}
    if is_guarded(wanted):
        names |= wanted.values.keys() - server_environment(wanted, wanted.values).keys()
    return secret_names(wanted.values) | names


def environ() -> Mapping[str, str]:
    """Return the variables: the environment's, or for what PID 1 starts those that it has written down."""
    path = os.environ.get(SETTINGS_VARIABLE)
    if not path:
        return os.environ
    import json

    values: dict[str, str] = json.loads(files.read_text(path))
    return {**os.environ, **values}


def in_force() -> dict[str, str] | None:
    """Return what the PID 1 beside us has written down of its variables, for root and its own user."""
    folder = status.at_work()
    if SETTINGS_VARIABLE in os.environ or folder is None:
        return None
    if os.getuid() not in (0, status.owner_of(folder)):
        return None
    with identity.Acting(user_beside()):
        return written_down(folder)


def beside(known: Mapping[str, str] | None) -> Mapping[str, str]:
    """Return the variables of a command, where `known` are those in force: this call's own win.

    But for the archiver's, whose settings file is the server's. What comes from a file was read by the start,
    with rights that we may not have.
    """
    if known is None:
        return environ()
    archives = foreign.has_storage(known)
    given = {
        name: value
        for name, value in os.environ.items()
        if (value or name not in known) and not (archives and tool_variables.is_own(name, known))
        if not is_from_file(name) or (name[: -len(FILE_SUFFIX)] not in known and os.access(value, os.R_OK))
    }
    return {**known, **given}


def is_as_known(name: str, value: str, known: Mapping[str, str]) -> bool:
    """Tell whether a variable is as the start had it, as far as that is written down."""
    return is_from_file(name) or known.get(name) in (value, HIDDEN_VALUE)


def is_from_file(name: str) -> bool:
    """Tell whether a variable names the file that holds the value of another one."""
    base = name.removesuffix(FILE_SUFFIX)
    return base != name and environment.may_come_from_file(base, name, archives=True)


def written_down(folder: str) -> dict[str, str] | None:
    """Return the variables that a PID 1 has written down in its runtime folder, if it has."""
    import json

    try:
        values: dict[str, str] = json.loads(files.read_text(f"{folder}/{SETTINGS_FILE}"))
    except FileNotFoundError:
        return None
    return values


def open_settings(raw: Mapping[str, str], arguments: Sequence[str]) -> tuple[Settings, list[Problem]]:
    """Return the settings of a start, and what is wrong with them.

    Raises Failure where the data folder itself is not known.
    """
    wanted, problems, doubts = read_settings(raw, arguments)
    if not wanted.values.get("PGDATA", "").startswith("/"):
        raise Failure(*problems)
    for doubt in doubts:
        log.warning(doubt.what, doubt.mend)
    return wanted, problems


def read_settings(
    raw: Mapping[str, str], arguments: Sequence[str]
) -> tuple[Settings, list[Problem], tuple[Problem, ...]]:
    """Return the settings, everything that is wrong with them, and what is doubtful."""
    read = environment.read(raw, read_named)
    programs = {name: has_program(name, raw) for name in TOOLS}
    wanted, problems = settings.load(read.values, arguments, programs)
    return wanted._replace(files=read.files), [*read.problems, *problems], read.warnings


def read_named(path: str) -> str:
    """Return the text of a file that a variable names, also of a FIFO that somebody writes to.

    The server's user reads it where he may, else root does: a secret is often for root alone.
    """
    if os.getuid() == 0:
        try:
            with identity.Acting(server_identity()):
                return walk.read_named(os.open(path, walk.NAMED), path)
        except PermissionError:
            # What the caller has opened for us has no path.
            if not path.startswith(("/dev/fd/", "/dev/std", "/proc/self/fd/")):
                return walk.read_named(walk.open_named(path), path)
    return walk.read_named(os.open(path, walk.NAMED), path)


def load_settings(raw: Mapping[str, str], arguments: Sequence[str]) -> Settings:
    """Return the settings, or raise Failure with everything that is wrong with them.

    What PID 1 starts does not judge them again: the start has, and what was handed on lacks the secrets.
    """
    wanted, problems, _ = read_settings(raw, arguments)
    if problems and handed_on_folder() is None:
        raise Failure(*problems)
    return wanted


def has_program(name: str, environ: Mapping[str, str]) -> bool:
    """Tell whether the image has this program itself."""
    folders, _ = path_without([name], environ.get("PATH", ""))
    try:
        find_program(name, {**environ, "PATH": ":".join(folders)})
    except Failure:
        return False
    return True


def make_context(wanted: Settings, children: Children, held: list[int] | None = None) -> Context:
    """Return the context of a start, of which a folder under /run is made; `held` as for that."""
    who = server_identity()
    return Context(
        settings=wanted,
        children=children,
        who=who,
        runtime_folder=folders.make_runtime_folder(who, held),
        environment=helper_environment(wanted, who, stepped_down=os.getuid() == 0),
    )


def command_context(wanted: Settings) -> Context:
    """Return the context of a command, beside a running server or alone.

    As root the rights are given up: what an archiver writes belongs to that user.
    """
    who = user_beside()
    children = Children(Signals())
    context = Context(
        settings=wanted,
        children=children,
        who=who,
        runtime_folder=handed_on_folder() or status.own_folder(who.uid) or folders.make_runtime_folder(who),
        environment=helper_environment(wanted, who, stepped_down=os.getuid() == 0),
    )
    identity.become(who)
    return context


def user_beside() -> Identity:
    """Return the user of the server beside us, for root; without one, as whom root would start it."""
    folder = status.at_work()
    if os.getuid() != 0 or folder is None:
        return server_identity()
    found = os.stat(folder)
    known = identity.resolve(str(found.st_uid))
    return known if known.name else identity.resolve(f"{found.st_uid}:{found.st_gid}")


def server_identity() -> Identity:
    """Return the user that the server runs as: `postgres` if we are root, else ourselves."""
    if os.getuid() != 0:
        return identity.current()
    try:
        return identity.resolve(status.SERVER_USER)
    except ValueError:
        raise Failure(
            Problem(
                f"the image has no user {status.SERVER_USER}",
                "add it to /etc/passwd, or start with --user UID:GID",
            )
        ) from None


def check(context: Context, facts: Facts, problems: Sequence[Problem] = ()) -> plan.Plan:
    """Return what to do; raises Failure, before anything is touched, with all that speaks against it."""
    with identity.Acting(context.who):
        return _checked(context, facts, problems)


def _checked(context: Context, facts: Facts, problems: Sequence[Problem]) -> plan.Plan:
    decided = plan.decide(context.settings, facts)
    refusals = [*problems, *decided.refusals]
    shell = server.check_shell(context)
    if shell is not None and (context.settings.archive is not None or decided.kind != plan.START):
        refusals.append(shell)
    elif shell is not None:
        log.problem(shell)
    refusals += objections(context, decided)
    if refusals:
        raise Failure(*refusals)
    for doubt in decided.warnings:
        log.warning(doubt.what, doubt.mend)
    return decided


def objections(context: Context, decided: plan.Plan) -> list[Problem]:
    """Return what programs of the image have to say against a plan; `doctor` asks for it too."""
    found: list[Problem] = []
    if decided.kind == plan.INITIALIZE:
        from entrypoint.effects import first_start

        found += _first(first_start.check_init_folder, context)
        found += _first(first_start.initdb_arguments, context)
    if _has_startdb(context.settings):
        from entrypoint.effects import startdb

        found += _first(startdb.check, context)
    if decided.kind == plan.INITIALIZE:
        configured = server.is_configured(context)
    else:
        configured = decided.kind != plan.START or server.has_own_configuration(context)
    if configured:
        found += _first(server.check_configuration, context)
    if not found and "huge_pages" in {**context.settings.conf, **context.settings.server.settings}:
        from entrypoint.effects import configuration

        found += _first(configuration.check_huge_pages, context)
    return found


def _first(look: Callable[[Context], object], context: Context) -> tuple[Problem, ...]:
    try:
        look(context)
    except Failure as failure:
        return failure.problems
    return ()


def refuse_if_changed(context: Context, decided: plan.Plan) -> plan.Plan:
    """Look again after the lock was taken: nobody else may have begun a start meanwhile."""
    again = plan.decide(context.settings, look(context.settings))
    if again.kind == decided.kind and not again.refusals:
        return again
    raise Failure(
        Problem(
            f"{context.settings.data_folder} was changed by somebody else while this start looked at it",
            "start again",
            exits.VOLUME_IN_USE,
        )
    )


def act(context: Context, decided: plan.Plan, facts: Facts) -> tuple[Context, plan.Plan, list[str]]:
    """Do what was decided; return the context, what was done, and the arguments for the server.

    Where init files have put another cluster in the place of the new one, that is served as any other is.
    """
    context = _settle(context)
    wanted = context.settings
    if os.path.lexists(f"{wanted.drill.folder}/{folders.DRILL_SCRATCH}"):
        from entrypoint.effects import drill

        drill.clear(context)
    if wanted.archive is not None:
        archive.forget(context.runtime_folder, wanted.data_folder)
        archive.render(context, wanted.archive)
    if server.renders(context):
        write_down_settings(context)
    if wanted.files and wanted.archive is not None:
        from entrypoint.effects import rotation

        rotation.write_down(context)
    given = server.arguments(context)
    if decided.kind == plan.START:
        if facts.data_folder.unfinished is not None:
            from entrypoint.effects import replay

            replay.complete(context)
        Unfinished(wanted.data_folder).remove_finished()
        stops.look_back(wanted.data_folder)
        _say_skipped(facts)
    else:
        context, decided, recovering = _make(context, decided, given)
        context = _settle(context)  # init files, or a backup, may have brought a command of the user's own
        wanted = context.settings
        if wanted.archive is not None:
            # Now there is a cluster, with its own segment size.
            archive.render(context, wanted.archive)
        # Init files may have changed its configuration file.
        given = [*server.arguments(context), *recovering]
    superseded = fork.is_superseded(wanted.data_folder)
    if superseded:
        fork.end_reading(wanted.data_folder)
    given = _follow(context, given, superseded=superseded)
    context, given = _open_archive(context, given, first=decided.kind == plan.INITIALIZE)
    if wanted.standby is not None and wanted.standby.conninfo and not status.in_recovery(wanted.data_folder):
        from entrypoint.effects import peer

        peer.check(context, wanted.standby.conninfo)
    return context, decided, given


def _settle(context: Context) -> Context:
    """Return the context in which it is decided who archives."""
    if context.settings.archive is None and context.settings.source is None:
        return context
    from entrypoint.effects import charge

    return charge.settle(context)


def _open_archive(context: Context, given: list[str], *, first: bool) -> tuple[Context, list[str]]:
    """Make the archive this cluster's, and see who else goes on in it; return what `act` does."""
    wanted = context.settings.archive
    if wanted is None:
        return context, given
    from entrypoint.effects import charge

    refused = fork.refusal(context.settings.data_folder) is not None
    charge.say(context)
    if wanted.by_user:
        # What came with a backup does not write beside the original; the command line was meant for now.
        told = "archive_command" in context.settings.server.settings
        return context, given if told or not refused else [*given, "-c", "archive_mode=off"]
    from entrypoint.effects import claim, writer

    near = claim.prepare(context, wanted, must_work=first)
    context = context._replace(near=near)
    given = writer.gate(context, wanted, given)
    files.write_atomically(f"{context.runtime_folder}/{archive.LOOK}", claim.script(context, "look-first"))
    if fork.refusal(context.settings.data_folder) is not None:
        # Off, and not a command that fails: WAL that nobody may archive would fill the volume.
        given = [*given, "-c", "archive_mode=off"]
    return context, given


def _follow(context: Context, given: list[str], *, superseded: bool) -> list[str]:
    """Return the arguments of a standby where this is one."""
    wanted = context.settings
    if wanted.standby is not None and not superseded and server.is_half_promoted(context):
        log.warning("a promotion was interrupted: this is a standby again", "promote it: entrypoint promote")
        files.write_atomically(f"{wanted.data_folder}/standby.signal", server.OURS)
    if os.path.exists(f"{wanted.data_folder}/standby.signal"):
        from entrypoint.effects import standby

        given = [*server.arguments(context, standby.settings(context)), *standby.ruling_words(context)]
    elif wanted.standby is not None:
        log.info("STANDBY=on has no effect: this database is a primary; once promoted, it stays one")
    return given


def _nothing_to_restore(wanted: Settings) -> Problem:
    if wanted.restore is None:
        return Problem("nothing says what is to be restored", "give --from LATEST or a backup's name")
    return Problem(
        f"{wanted.data_folder} holds a database already",
        "restore onto an empty volume; this one stays as it is",
    )


def _make(context: Context, decided: plan.Plan, given: list[str]) -> tuple[Context, plan.Plan, list[str]]:
    """Make the cluster: anew, from a backup, or by going on with a restore.

    Returns as `act` does, with the settings with which the server itself goes on with a recovery.
    """
    wanted = context.settings
    phases: dict[plan.Kind, status.Phase] = {
        plan.INITIALIZE: status.INIT,
        plan.RESTORE: status.RESTORE,
        plan.RECOVER: status.RECOVERY,
    }
    status.enter(context.runtime_folder, phases[decided.kind])
    if decided.kind == plan.INITIALIZE:
        if wanted.archive is not None and not wanted.archive.by_user:
            from entrypoint.effects import claim

            claim.check_unused(context, wanted.archive)
        clear(context, decided)
        from entrypoint.effects import first_start

        context, is_new = first_start.initialize(context, given)
        return context, decided if is_new else decided._replace(kind=plan.START), []
    from entrypoint.effects import fetch, planning, replay  # what they take is loaded only where it is needed

    if decided.kind == plan.RECOVER or wanted.restore is None:
        log.info("going on with a restore that was interrupted")
        return context, decided, replay.recover(context, given)
    planned = planning.look(context, wanted.restore)
    for line in planning.describe(planned):
        log.info(line)
    clear(context, decided)
    return context, decided, fetch.restore(context, planned, given)


def plan_restore(raw: Mapping[str, str]) -> Plan:
    """Return what a restore would do; writes only below /run, beside whatever runs there."""
    import tempfile

    from entrypoint.effects import planning

    wanted = load_settings(raw, ())
    if wanted.restore is None or wanted.source is None:
        raise Failure(_nothing_to_restore(wanted))
    context = command_context(wanted)
    with tempfile.TemporaryDirectory(dir=context.runtime_folder, prefix="plan-") as folder:
        return planning.look(context._replace(runtime_folder=folder), wanted.restore)


def clear(context: Context, decided: plan.Plan) -> None:
    """Make room for a new cluster, where an interrupted start or an earlier cluster has left what is ours."""
    unfinished = Unfinished(context.settings.data_folder)
    if decided.discard:
        unfinished.discard()
    if decided.move_aside:
        unfinished.move_aside()
    notes.clear(context.settings.data_folder)


def _say_skipped(facts: Facts) -> None:
    log.say("\nPostgreSQL Database directory appears to contain a database; Skipping initialization\n\n")
    if facts.init_files:
        since = _made(facts.data_folder.path)
        names = ", ".join(facts.init_files[:5]) + (", …" if len(facts.init_files) > 5 else "")
        log.info(f"init files do not run, since the database exists since {since}: {names}")


def _made(folder: str) -> str:
    """Return when a cluster was made: initdb writes PG_VERSION, and nothing does later."""
    from time import gmtime, strftime

    return strftime("%Y-%m-%d %H:%M:%S UTC", gmtime(os.stat(f"{folder}/PG_VERSION").st_mtime))


def check_collations(context: Context, decided: plan.Plan, given: list[str]) -> None:
    """Look, before clients come in, whether text sorts as it did; raises Failure by COLLATION_POLICY."""
    arguments = context.settings.server
    if arguments.prints_a_setting or (arguments.given and arguments.given[0] in NOT_A_SERVER):
        return
    if decided.kind == plan.INITIALIZE:
        collation.remember_match(context)
    else:
        collation.gate(context, given)


def run_server(context: Context, given: list[str], held: list[int], *, first: bool) -> NoReturn:
    """Hand over to the supervisor, or to postgres itself where it is no server.

    `held` are the descriptors of locks: first that of the data folder.
    """
    wanted = context.settings
    environ = server_environment(wanted, context.environment)
    arguments = wanted.server
    if is_guarded(wanted) and (names := withheld_variables(wanted, context.environment)):
        log.info(f"not in the server's environment: {', '.join(names)}; POSTGRES_ENVIRONMENT can name them")
    if arguments.prints_a_setting or (arguments.given and arguments.given[0] in NOT_A_SERVER):
        os.set_inheritable(held[0], True)  # noqa: FBT003 - the name says what is true
        context.children.raise_if_stopped()
        context.children.signals.give_back()
        execute(["postgres", *arguments.given], environ)
    if not first and context.environment.get("PGPASSWORD") and "PGPASSWORD" not in environ:
        from entrypoint.effects import withheld

        withheld.say_password(context)
    environ |= leftover.clear(context, given)
    sessions.keep_password(context)
    if server.renders(context) or server.has_usual_shared_memory(context):
        from entrypoint.effects import configuration

        configuration.say(context)
    context.children.raise_if_stopped()
    spec = ServerSpec(
        argv=["postgres", *given],
        environment=environ,
        timeouts=[*wanted.stop],
        helpers=[*helpers(context), *_start_helper(context, first=first)],
        runtime_folder=context.runtime_folder,
        data_folder=wanted.data_folder,
        cluster=notes.cluster(wanted.data_folder),
        archive_status=f"{wanted.data_folder}/pg_wal/archive_status" if _archives(context) else "",
        debug=wanted.debug,
    )
    hand_over(context.children.signals, spec, held)


def helpers(context: Context) -> list[HelperSpec]:
    """Return the auxiliary processes that PID 1 keeps beside the server."""
    argv, environment_ = sessions.checkpoint(context)
    checkpoint = HelperSpec(lifecycle.CHECKPOINT, [*argv], {**environment_})
    return [checkpoint, *_reload_helpers(context), *_archive_helpers(context), *_scheduled_helpers(context)]


def _reload_helpers(context: Context) -> list[HelperSpec]:
    """Return the short-lived process that SIGHUP starts where something is rendered; it reloads."""
    if not server.renders(context):
        return []
    return [HelperSpec(lifecycle.RELOAD, [OUR_PROGRAM, "internal", "reload"], later_environment(context))]


def _has_startdb(wanted: Settings) -> bool:
    """Tell whether anything has to be done at this start before the server counts as ready."""
    asked = wanted.every_start
    return bool(
        asked.extensions or asked.update_extensions or asked.update_password or probe.has_start_files()
    )


def _start_helper(context: Context, *, first: bool) -> list[HelperSpec]:
    """Return the process for what is done once at each start, if there is anything to be done.

    It has the environment of init files, which PID 1 must not keep: it is handed on in a file in memory.
    """
    wanted = context.settings
    holds = _has_startdb(wanted)
    if not holds and (first or not wanted.init.password):
        return []
    if status.in_recovery(wanted.data_folder):
        if holds:
            log.info(
                f"not on a standby: {probe.STARTDB_FOLDER}, POSTGRES_EXTENSIONS, POSTGRES_PASSWORD_UPDATE"
            )
        return []
    secrets = memory_file(environment.pack(context.environment))
    return [
        HelperSpec(
            lifecycle.STARTDB if holds else lifecycle.PASSWORD,
            # A comparison that nobody waits for gives way to the server, which starts at the same time.
            [*(() if holds else ("nice", "-n", "19")), OUR_PROGRAM, "internal", "startdb"],
            later_environment(context),
            stdin=secrets,
        )
    ]


def _archives(context: Context) -> bool:
    """Tell whether the server is to archive at all."""
    return context.settings.archive is not None and fork.refusal(context.settings.data_folder) is None


def _archive_helpers(context: Context) -> list[HelperSpec]:
    archive_ = context.settings.archive
    if archive_ is None or archive_.by_user or not _archives(context):
        return []
    command = archive_.tool.helper(
        server.describe(context), limits.push(capacity.memory(), near=context.near)
    )
    if command is None or not archive.can_help(context, archive_):
        return []
    made = archive.environment(context, command)
    made.pop("PGPASSWORD", None)
    role = lifecycle.daemon_role(archive_.tool.name)
    return [HelperSpec(role, [*command.argv], {**made}, after_server=True, keep=True)]


def _scheduled_helpers(context: Context) -> list[HelperSpec]:
    """Return the short-lived processes for scheduled work; each says when it is to be called again.

    Without a schedule the one for backups takes the backup that a restored cluster needs, once.
    """
    wanted = context.settings
    if wanted.archive is None or wanted.archive.by_user or not _archives(context):
        return []
    schedules = {lifecycle.BACKUPS: wanted.backup.schedule, lifecycle.DRILLS: wanted.drill.schedule}
    wanted_once = {lifecycle.BACKUPS} if fork.awaits_backup(wanted.data_folder) else set()
    handed_on = later_environment(context)
    look_at_others = HelperSpec(
        lifecycle.LOOK,
        [OUR_PROGRAM, "internal", lifecycle.LOOK],
        handed_on,
        keep=True,
        delay=min(_FIRST_LOOK, wanted.archive.fork_interval),
    )
    scheduled = [
        HelperSpec(role, [OUR_PROGRAM, "internal", role], handed_on, keep=schedule is not None)
        for role, schedule in schedules.items()
        if schedule is not None or role in wanted_once
    ]
    return [look_at_others, *scheduled]


def execute(argv: Sequence[str], environ: Mapping[str, str]) -> NoReturn:
    """Replace this process by a command, with the exit codes of a shell where that fails."""
    log.drain()
    replace_process(find_program(argv[0], environ), argv, environ)
