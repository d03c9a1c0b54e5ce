"""What a start finds, and the objections to what it would do."""

from __future__ import annotations

import os

from entrypoint import exits, log, own
from entrypoint.archive import fork
from entrypoint.config import rendered
from entrypoint.errors import Failure, Problem
from entrypoint.server import opening, programs
from entrypoint.server.context import Context
from entrypoint.server.data_folder import data_version
from entrypoint.settings.values import Settings
from entrypoint.start import plan
from entrypoint.system import identity
from entrypoint.volume import probe
from entrypoint.volume.facts import Facts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def settled(context: Context) -> Context:
    """Return the context after what was interrupted of an upgrade is finished; the data folder is locked."""
    if not os.path.lexists(f"{context.settings.data_folder}/{own.UPGRADE}"):
        return context
    from entrypoint.start import newer

    return newer.settle(context)


def look(wanted: Settings) -> Facts:
    """Return the facts that a start decides by; changes nothing."""
    return probe.look(wanted, opening.server_identity())


def check(
    context: Context, facts: Facts, problems: Sequence[Problem] = (), *, restore_only: bool = False
) -> plan.Plan:
    """Return the plan of a start; raises Failure with all objections before anything is changed."""
    with identity.Acting(context.who):
        return _checked(context, facts, problems, restore_only=restore_only)


def without_ours(facts: Facts) -> Facts:
    """Return the facts without our own standby.signal: the cluster is an old primary, not a standby."""
    folder = facts.data_folder
    if not folder.standby or not fork.shows_old_primary(folder.path):
        return facts
    return facts._replace(data_folder=folder._replace(standby=False))


def gives_way(wanted: Settings) -> bool:
    """Return whether another server was promoted; standby/takeover.py then decides about this one.

    Raises Failure if we do not archive: nobody would ask the archive, and the old primary would take writes.
    """
    data = wanted.data_folder
    if not fork.is_superseded(data):
        return False
    refused = fork.refusal(data)
    if wanted.our_archive is None and refused is not None and not fork.is_standby_now(data):
        raise Failure(
            refused._replace(
                hint=f"start it with its archive again, where the entrypoint archives; then {refused.hint}; "
                "or, if it goes its own way as a copy, give it an ARCHIVE_URL of its own"
            )
        )
    fork.end_reading(data)
    return True


def _checked(context: Context, facts: Facts, problems: Sequence[Problem], *, restore_only: bool) -> plan.Plan:
    decided = plan.decide(context.settings, without_ours(facts))
    refusals = [*problems, *decided.refusals]
    shell = programs.check_shell(context)
    if shell is not None and (context.settings.archive is not None or decided.kind != plan.START):
        refusals.append(shell)
    elif shell is not None:
        log.problem(shell)
    refusals += objections(context, decided, restore_only=restore_only)
    if refusals:
        raise Failure(*refusals)
    for doubt in decided.warnings:
        log.warning(doubt.what, doubt.hint, doubt.docs)
    return decided


def objections(context: Context, decided: plan.Plan, *, restore_only: bool = False) -> list[Problem]:
    """Return the objections of the image's programs to a plan; `doctor` uses it too."""
    try:
        if restore_only and decided.kind == plan.RECOVER and _has_programs_of_data(context):
            return []  # its own major's server continues it
        wrong = wrong_major(context, decided.kind)
    except Failure as failure:
        return [*failure.problems]  # the image's server cannot be asked
    if wrong is not None:
        return [wrong]  # the other objections would be those of another major's server
    node = context.settings.failover
    if node is not None and context.settings.server.is_server:
        from entrypoint.failover import patroni

        refused = patroni.objections(context, node)
        if refused:
            return refused
    return _of_programs(context, decided)


def _of_programs(context: Context, decided: plan.Plan) -> list[Problem]:
    """Return what the image's programs say against the settings and files of a plan."""
    found: list[Problem] = []
    if decided.kind == plan.INITIALIZE:
        from entrypoint.every_start import user_files
        from entrypoint.first_start import initdb

        found += _first(user_files.check_folder, context)
        found += _first(initdb.evaluate_arguments, context)
    if probe.asks_for_startdb(context.settings):
        from entrypoint.every_start import startdb

        found += _first(startdb.check, context)
    if decided.kind == plan.INITIALIZE:
        configured = rendered.is_configured(context)
    else:
        configured = decided.kind != plan.START or rendered.has_own_configuration(context)
    if configured:
        from entrypoint.config import accept

        found += _first(accept.check_configuration, context)
    if not found and "huge_pages" in {**context.settings.conf, **context.settings.server.settings}:
        from entrypoint.config import memory

        found += _first(memory.check_huge_pages, context)
    return found


def _has_programs_of_data(context: Context) -> bool:
    """Return whether the cluster is of an older major version whose programs the image has, for upgrades."""
    data = data_version(context.settings.data_folder)
    if not data or data == context.environment.get("PG_MAJOR"):
        return False
    return data != str(programs.binary_major(context)) and bool(programs.of_major(data))


def wrong_major(context: Context, kind: plan.Kind = plan.START) -> Problem | None:
    """Return the problem of a cluster of another major version than the image's server; None: there is none.

    PG_MAJOR of the image saves calling the server, but refuses nothing by itself.
    """
    data = data_version(context.settings.data_folder)
    if not data or data == context.environment.get("PG_MAJOR"):
        return None
    binary = programs.binary_major(context)
    if not binary or data == str(binary):
        return None
    wanted = context.settings.upgrade
    asked = wanted is not None and wanted.asked
    if asked and kind == plan.START and data.isdigit() and int(data) < binary:
        return None  # the upgrade itself looks what speaks against it
    from entrypoint.start import majors

    upgrades = bool(programs.of_major(data))
    if kind == plan.RECOVER and upgrades:
        return majors.unfinished_restore(data, str(binary))
    standby = os.path.lexists(f"{context.settings.data_folder}/standby.signal")
    return majors.wrong_major(data, str(binary), upgrades=upgrades, standby=standby)


def _first(look: Callable[[Context], object], context: Context) -> tuple[Problem, ...]:
    try:
        look(context)
    except Failure as failure:
        return failure.problems
    return ()


def refuse_if_changed(context: Context, decided: plan.Plan) -> plan.Plan:
    """Decide again after the lock was taken, since another process may have begun a start in between."""
    again = plan.decide(context.settings, look(context.settings))
    if again.kind == decided.kind and not again.refusals:
        return again
    raise Failure(
        Problem(
            f"another process changed {context.settings.data_folder} while this start examined it",
            "start the container again",
            exits.VOLUME_IN_USE,
            docs="mount-the-volume",
        )
    )
