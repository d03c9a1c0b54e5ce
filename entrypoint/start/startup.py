"""The first half of a start: from the environment to a server that can be handed over."""

from __future__ import annotations

import os

from entrypoint import log, own
from entrypoint.archive import fork
from entrypoint.collation import remembered
from entrypoint.config import render, rendered, when_full
from entrypoint.errors import Ended, Stopped
from entrypoint.pid1 import status, stops
from entrypoint.pid1.handoff import HelperSpec, ServerSpec, hand_over
from entrypoint.server import control_file, leftover, login, opening
from entrypoint.server.context import (
    OUR_PROGRAM,
    Context,
    is_guarded,
    server_environment,
    withheld_variables,
    write_down_settings,
)
from entrypoint.settings import serving
from entrypoint.settings.values import Settings
from entrypoint.start import folders, helpers, objections, plan, skipped, tight
from entrypoint.system import files, identity, kernel
from entrypoint.system.children import Children, find_program, replace_process
from entrypoint.system.identity import Identity
from entrypoint.system.signals import Signals
from entrypoint.volume import holder, installing, notes
from entrypoint.volume.facts import Facts
from entrypoint.volume.unfinished import Unfinished

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Literal, NoReturn

    from entrypoint.errors import Problem
    from entrypoint.logs.keeper import Keeper

    Only = Literal["", "restore", "upgrade"]
    """Whether the program ends before a server starts, and after what."""


def start(
    arguments: Sequence[str],
    *,
    only: Only = "",
    refused: Callable[[Context, Exception], object] | None = None,
) -> NoReturn:
    """Become the server's PID 1; `arguments` are the arguments of postgres.

    `only`: end after a restore or an upgrade; a restore needs an empty volume.
    `refused` is called if the start fails and somebody wants messages; it may raise Ended.
    """
    logs = _begin_json()
    log.never_wait()  # while we are root, who may open anybody's log
    children = Children(Signals())
    kernel.keep_descriptors_to_ourselves()
    kernel.adopt_orphans()
    wanted, problems = opening.open_settings(os.environ, arguments)
    log.debugging = wanted.serving.debug
    kernel.hide_environment(_start_alone(wanted))
    folders.make_door(wanted)
    # As early as possible: we must not judge a folder in which another start is working, nor empty its
    # runtime folder.
    lock = _lock_early(wanted.data_folder, opening.server_identity())
    held: list[int] = []
    context = opening.make_context(wanted, children, held)
    try:
        _start(context, problems, lock, held, logs, only=only)
    except Exception as error:
        if refused is not None and wanted.watching is not None and not isinstance(error, Stopped):
            refused(context, error)
        raise


def _start(
    context: Context,
    problems: list[Problem],
    lock: int | None,
    held: list[int],
    logs: Keeper | None,
    *,
    only: Only,
) -> NoReturn:
    wanted, who = context.settings, context.who
    with identity.Acting(who):
        status.enter(context.runtime_folder, status.BOOT)
        if logs is not None:
            logs.run(context.children, [OUR_PROGRAM, "internal", "log"], context.runtime_folder, who)
    if lock is not None:
        context = objections.settled(context)
        wanted = context.settings
    facts = objections.look(wanted)
    decided = objections.check(context, facts, problems, restore_only=only == "restore")
    if only == "restore":
        from entrypoint.start import only_restore

        only_restore.refuse_others(wanted, decided.kind)
    folders.prepare(wanted, who, context.children)
    identity.become(who)
    if wanted.serving.no_new_privileges:
        kernel.forbid_new_privileges()
    if lock is None:
        lock = holder.lock_folder(wanted.data_folder)
        context = objections.settled(context)
        wanted = context.settings
        decided = objections.refuse_if_changed(context, decided)
    holder.sign_folder(wanted.data_folder)
    context = tight.make_room(context)
    notes.migrate(wanted.data_folder)
    watch = helpers.start_watch(context, alone=bool(only))
    if wanted.failover is not None and wanted.server.is_server:
        from entrypoint.start import under_patroni

        under_patroni.run(context, facts, decided, [lock, *held], watch=watch, alone=bool(only))
    if only == "restore":
        context = only_restore.as_its_major(_settle(context), decided.kind)
    elif wanted.upgrade is not None and wanted.upgrade.asked:
        context, lock, watch = _upgrade(context, lock, decided, watch, only=only == "upgrade")
    context, done, given = act(context, decided, facts)
    lock = _complete(context, lock) if decided.kind == plan.INITIALIZE else lock
    if only == "restore":
        status.enter(context.runtime_folder, status.BOOT)
        raise Ended(0)
    check_collations(context, done, given)
    run_server(context, given, [lock, *held], first=done.kind == plan.INITIALIZE, watch=watch)


def _complete(context: Context, lock: int) -> int:
    """Report a first start, and return the lock on the folder, which init files may have made again."""
    from entrypoint.first_start import initialize

    initialize.say_complete()
    lock = holder.keep_locked(lock, context.settings.data_folder)
    holder.sign_folder(context.settings.data_folder)
    return lock


def _upgrade(
    context: Context, lock: int, decided: plan.Plan, watch: HelperSpec | None, *, only: bool
) -> tuple[Context, int, HelperSpec | None]:
    from entrypoint.start import newer

    context, lock = newer.upgrade(_settle(context), lock, decided, only=only)
    return context, lock, newer.for_new_cluster(context, watch)


def _begin_json() -> Keeper | None:
    """Begin a log in JSON if one is wanted, before the settings are read: they may be wrong."""
    if os.environ.get(serving.LOG_FORMAT) != serving.JSON:
        return None
    from entrypoint.logs import keeper

    return keeper.begin()


def _lock_early(folder: str, who: Identity) -> int | None:
    """Lock the data folder if it exists, with the rights of the server's user if they suffice."""
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


def _start_alone(wanted: Settings) -> set[str]:
    """Return the variables to hide in PID 1 from now on, since a first start or a restore may take long."""
    names = {name for name in wanted.values if name.startswith(serving.CONF_PREFIX)}
    if is_guarded(wanted):
        names |= wanted.values.keys() - server_environment(wanted, wanted.values).keys()
    return opening.secret_names(wanted.values) | names


def act(context: Context, decided: plan.Plan, facts: Facts) -> tuple[Context, plan.Plan, list[str]]:
    """Carry out the plan; return the context, what was done, and the arguments for the server.

    If init files have replaced the new cluster with another one, that cluster is served like any other.
    """
    context = _settle(context)
    wanted = context.settings
    if os.path.lexists(f"{wanted.drill.folder}/{own.DRILL_SCRATCH}"):
        from entrypoint.drill import scratch

        scratch.clear(context)
    if wanted.archive is not None:
        from entrypoint.archive import calls  # loaded only if it is needed
        from entrypoint.archive.opened import OpenedArchive

        calls.forget(context.runtime_folder, wanted.data_folder)
        OpenedArchive(context, wanted.archive).render()
    if rendered.renders(context):
        write_down_settings(context)
    if wanted.files and wanted.archive is not None:
        from entrypoint.archive import rotation

        rotation.write_down(context)
    given = render.arguments(context)
    if decided.kind == plan.START:
        if facts.data_folder.unfinished is not None:
            from entrypoint.restore import replay

            replay.complete(context)
        Unfinished(wanted.data_folder).remove_finished()
        stops.look_back(wanted.data_folder)
        skipped.say(facts)
    else:
        context, decided, recovering = _make(context, decided, given)
        context = _settle(context)  # init files or a backup may contain the user's own archive_command
        wanted = context.settings
        if wanted.archive is not None:
            from entrypoint.archive.opened import OpenedArchive

            # Only now does the cluster exist, with its segment size.
            OpenedArchive(context, wanted.archive).render()
        # Init files may have changed its configuration file.
        given = [*render.arguments(context), *recovering]
    superseded = objections.gives_way(wanted)
    given = _follow(context, given, superseded=superseded)
    context, given = _open_archive(context, given, first=decided.kind == plan.INITIALIZE)
    if wanted.standby is not None and wanted.standby.conninfo and not status.in_recovery(wanted.data_folder):
        from entrypoint.standby import peer

        peer.check(context, wanted.standby.conninfo)
    return context, decided, given


def _settle(context: Context) -> Context:
    """Return the context after deciding who archives: the entrypoint or the user's own command."""
    if context.settings.archive is None and context.settings.source is None:
        return context
    from entrypoint.config import charge

    return charge.settle(context)


def _open_archive(context: Context, given: list[str], *, first: bool) -> tuple[Context, list[str]]:
    """Claim the archive for this cluster, and look for another writer; return what `act` does."""
    wanted = context.settings.archive
    if wanted is None:
        return context, given
    from entrypoint.config import charge

    charge.say(context)
    if wanted.by_user:
        # A command that came with a backup must not write next to the original; the command line may.
        on_command_line = "archive_command" in context.settings.server.settings
        if not on_command_line and fork.refusal(context.settings.data_folder) is not None:
            given = [*given, "-c", "archive_mode=off"]
        return context, given
    from entrypoint.archive import calls, claim
    from entrypoint.archive.opened import OpenedArchive
    from entrypoint.standby import takeover

    opened = OpenedArchive(context, wanted)
    near = claim.prepare(opened, must_work=first)
    given = takeover.gate(opened, given)
    context = context._replace(near=near)
    files.write_atomically(f"{context.runtime_folder}/{calls.LOOK}", claim.script(context, "look-first"))
    if fork.refusal(context.settings.data_folder) is not None:
        # Off rather than a command that fails: WAL that nobody may archive would fill the volume.
        given = [*given, "-c", "archive_mode=off"]
    return context, given


def _follow(context: Context, given: list[str], *, superseded: bool) -> list[str]:
    """Return the arguments for the server, with those of a standby if it is one."""
    wanted = context.settings
    if wanted.standby is not None and not superseded and control_file.is_half_promoted(context):
        log.warning(
            "a promotion was interrupted: this is a standby again",
            "promote it: entrypoint promote",
            docs="run-a-standby",
        )
        files.write_atomically(f"{wanted.data_folder}/standby.signal", control_file.OURS)
    if os.path.exists(f"{wanted.data_folder}/standby.signal"):
        from entrypoint.config import follow

        given = [*render.arguments(context, follow.settings(context)), *follow.ruling_words(context)]
    elif wanted.standby is not None:
        log.info("STANDBY=on has no effect: this database is a primary; once promoted, it stays one")
    return given


def _make(context: Context, decided: plan.Plan, given: list[str]) -> tuple[Context, plan.Plan, list[str]]:
    """Create the cluster: from scratch, from a backup, or by continuing a restore.

    Returns what `act` does, with the settings with which the server itself continues a recovery.
    """
    from entrypoint.start import cleared  # loaded only if it is needed

    wanted = context.settings
    phases: dict[plan.Kind, status.Phase] = {plan.INITIALIZE: status.INIT, plan.RESTORE: status.RESTORE}
    status.enter(context.runtime_folder, phases.get(decided.kind, status.RECOVERY))
    if decided.kind == plan.INITIALIZE:
        if wanted.our_archive is not None:
            from entrypoint.archive import claim
            from entrypoint.archive.opened import OpenedArchive

            claim.check_unused(OpenedArchive(context, wanted.our_archive))
        cleared.clear(context, decided)
        from entrypoint.first_start import initialize

        context, is_new = initialize.initialize(context, given)
        return context, decided if is_new else decided._replace(kind=plan.START), []
    from entrypoint.restore import fetch, planning, replay, whereabouts  # loaded only if they are needed

    if decided.kind == plan.RECOVER or wanted.restore is None:
        log.info("resuming an interrupted restore")
        return context, decided, replay.recover(context, given)
    planned = planning.look(context, wanted.restore)
    context = whereabouts.follow(context, planned.source)
    for line in planning.describe(planned):
        log.info(line)
    cleared.clear(context, decided)
    return context, decided, fetch.restore(context, planned, given)


def check_collations(context: Context, decided: plan.Plan, given: list[str]) -> None:
    """Before clients connect, check that text still sorts as before; raises Failure by COLLATION_POLICY."""
    if not context.settings.server.is_server:
        return
    if decided.kind == plan.INITIALIZE:
        remembered.remember_match(context)
    elif not remembered.is_settled(context):
        from entrypoint.collation import policy  # loaded only if it is needed

        policy.gate(context, given)


def run_server(
    context: Context, given: list[str], held: list[int], *, first: bool, watch: HelperSpec | None
) -> NoReturn:
    """Hand over to the supervisor, or to postgres itself if its arguments make it no server.

    `held` are the descriptors of locks; the first one is the data folder's. `watch` runs already.
    """
    wanted = context.settings
    environ = server_environment(wanted, context.environment)
    arguments = wanted.server
    if is_guarded(wanted) and (names := withheld_variables(wanted, context.environment)):
        log.info(f"hidden from the server: {', '.join(names)}; POSTGRES_ENVIRONMENT can pass variables to it")
    if not arguments.is_server:
        os.set_inheritable(held[0], True)  # noqa: FBT003 - the name says what is true
        context.children.raise_if_stopped()
        context.children.signals.give_back()
        execute(["postgres", *arguments.given], environ)
    if not first and context.environment.get("PGPASSWORD") and "PGPASSWORD" not in environ:
        from entrypoint.start import withheld

        withheld.say_password(context)
    environ |= leftover.clear(context, given)
    login.keep_password(context)
    if rendered.renders(context) or rendered.has_usual_shared_memory(context):
        from entrypoint.config import memory

        memory.say(context)
    if wanted.serving.json_log:
        from entrypoint.config import collector

        collector.say(context)
    context.children.raise_if_stopped()
    stop = wanted.serving.stop
    spec = ServerSpec(
        argv=["postgres", *given],
        environment=environ,
        timeouts=[stop.smart, stop.fast, stop.immediate],
        helpers=[*helpers.specs(context, first=first), *helpers.continued(context, watch)],
        runtime_folder=context.runtime_folder,
        data_folder=wanted.data_folder,
        cluster=notes.cluster(wanted.data_folder),
        archive_status=f"{wanted.data_folder}/pg_wal/archive_status" if helpers.archives(context) else "",
        disks=when_full.disks(wanted.data_folder),
        segment=installing.segment_bytes(wanted.data_folder),
        debug=wanted.serving.debug,
    )
    kept = context.children.kept
    hand_over(context.children.signals, spec, held, ([], []) if kept is None else kept.handed())


def execute(argv: Sequence[str], environ: Mapping[str, str]) -> NoReturn:
    """Replace this process with a command; if that fails, with the exit codes of a shell."""
    log.drain()
    replace_process(find_program(argv[0], environ), argv, environ)
