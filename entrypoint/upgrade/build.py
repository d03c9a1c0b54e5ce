"""Builds the new cluster next to the old one, as far as pg_upgrade can check both."""

from __future__ import annotations

import os
from contextlib import contextmanager

from entrypoint import log, own
from entrypoint.errors import Failure, Problem
from entrypoint.finding import ERROR, Finding, ok, problem
from entrypoint.light import NamedTuple
from entrypoint.server import control_file, programs
from entrypoint.server.data_folder import data_version
from entrypoint.settings.upgrading import Upgrade
from entrypoint.system import leash
from entrypoint.upgrade import (
    admission,
    afoot,
    hurdles,
    means,
    older,
    parameters,
    pgupgrade,
    settle,
    sorting,
    stored,
    trial,
    underway,
    view,
)
from entrypoint.upgrade.parameters import Asked
from entrypoint.upgrade.underway import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from entrypoint.collation.remembered import Memory
    from entrypoint.server.context import Context
    from entrypoint.upgrade.parameters import Old, Transfer
    from entrypoint.upgrade.stored import Stored


class Built(NamedTuple):
    """A new, empty cluster next to the old one, both of which pg_upgrade has checked."""

    old: Old
    control: dict[str, str]
    """What pg_controldata says of the old cluster."""
    record: Record
    spaces: tuple[str, ...]
    mode: Transfer | None
    findings: tuple[Finding, ...]
    memory: Memory | None = None
    """What the new cluster must remember of the libraries that sorted its text."""
    bytes: int = 0
    """The bytes of all databases."""
    stored: tuple[Stored, ...] = ()
    """The settings of roles, databases and functions."""


_ORIGIN = 16
"""Bytes of an origin in the file of all of them."""
_SPARE = 10
"""Slots more than the old cluster has."""


def was_stopped(control: Mapping[str, str]) -> bool:
    """Return whether a server was shut down cleanly, by what pg_controldata says."""
    return control.get("Database cluster state") == "shut down"


def wanted(context: Context) -> Upgrade:
    """Return how to upgrade, by the variables or their defaults."""
    return context.settings.upgrade or Upgrade(asked=False, mode="auto", without_backup=False)


@contextmanager
def built(context: Context, before: str, after: str, *, checks: bool) -> Iterator[Built]:
    """Build the new cluster for a block, as far as pg_upgrade can check both; go back if the block fails.

    `checks`: let pg_upgrade check both; it does so anyway when it upgrades, and nothing is changed by then.
    """
    data = context.settings.data_folder
    refuse(afoot.servers(data))
    made = Record(before, after, data=data)
    underway.begin(data, made)
    tied, context.children.tied = context.children.tied, True  # nothing may write there once we are killed
    try:
        leash.hold(context.children, underway.leash(data))
        underway.make_work(data)
        yield _build(context, made, checks=checks)
    except BaseException:
        settle.end_servers(data)
        leash.drop(context.children, underway.leash(data))
        leash.end_all(underway.leash(data))
        left = underway.read(data) if underway.exists(data) else None
        if left is not None and data_version(data) == before:
            settle.back(data, left)
        raise
    finally:
        leash.drop(context.children, underway.leash(data))
        context.children.tied = tied


def asked(here: Context) -> Asked:
    """Return what the old cluster's own configuration says."""
    data = here.settings.data_folder

    def answer(name: str) -> str:
        code, text = programs.ask(here, name, [], data)
        return text if code == 0 else ""

    slots, libraries = answer("max_replication_slots"), answer("shared_preload_libraries")
    try:
        origins = os.path.getsize(f"{data}/pg_logical/replorigin_checkpoint") // _ORIGIN
    except OSError:
        origins = 0
    least = max(len(os.listdir(f"{data}/pg_replslot")), origins) + _SPARE
    of_sessions = answer("session_preload_libraries")
    return Asked(max(least, int(slots) if slots.isdigit() else 0), libraries, of_sessions)


def _build(context: Context, made: Record, *, checks: bool) -> Built:
    data, before, after = context.settings.data_folder, made.before, made.after
    seen = underway.view(data)
    old_context = older.context_of(context, before, seen)
    here = older.context_of(context, before, data)
    control, needs = control_file.read_control(here), asked(here)
    findings = [*hurdles.shape(control, after), *hurdles.preloaded(context, needs.libraries)]
    refuse(findings)  # the old server does not start without its libraries either
    findings += hurdles.preloaded(context, needs.of_sessions, "session_preload_libraries")
    # Libraries are needed for a replay; our questions need none, and some write at each stop.
    quiet = needs._replace(libraries="") if was_stopped(control) else needs
    view.make(data, seen, parameters.of_old(control, quiet))
    with older.private_server(old_context) as host:
        known = hurdles.server(context, old_context, host, before)
        sorts = sorting.look(context, old_context, host, known.databases, before)
        settings = stored.ask(old_context, host, known.databases, before)
    view.close(data, seen)
    findings += [*known.findings, *sorts.findings]
    control = control_file.read_control(old_context)
    group = bool(os.stat(data).st_mode & 0o050)
    old = parameters.old(int(before), control, known.superuser, group=group)
    count = len(known.databases) + 1  # nobody connects to template0
    room = means.room(context, known.spaces, int(after), count)
    mode, told = means.transfer(wanted(context).mode, room)
    findings.append(told)
    needs = needs._replace(locks=known.tables)
    raised = parameters.for_dump(control, needs)
    findings += hurdles.locks(known.tables, raised)
    if mode is not None and checks:
        findings.append(means.duration(context, mode, room, count, known.tables))
    if any(each.level == ERROR for each in findings):
        return Built(old, control, made, known.spaces, mode, tuple(findings))
    if not checks:
        view.configure(seen, parameters.of_old(control, needs) | raised)
    outside = wal_folder(data)
    source = f"{outside}/{own.UPGRADE}" if outside else None
    made = made._replace(made=(source,) if source else ())
    underway.write(data, made)
    log.info(f"building the cluster of PostgreSQL {after} next to that of {before}")
    pgupgrade.initdb(context, underway.cluster(data), parameters.initdb_arguments(old, int(after), source))
    view.configure(underway.cluster(data), parameters.of_new(control, needs, int(after)))
    findings += admission.look(context, here, underway.cluster(data))
    findings += stored.tried(context, underway.cluster(data), old.superuser, settings)
    findings += trial.archiver(context, underway.cluster(data))
    made = _with_tablespaces(context, made, known.spaces)
    if checks:
        findings += _checked(context, before, after, old)
    return Built(
        old, control, made, known.spaces, mode, tuple(findings), sorts.memory, room.total, tuple(settings)
    )


def _with_tablespaces(context: Context, made: Record, spaces: Iterable[str]) -> Record:
    """Note the folders that pg_upgrade makes in tablespaces; raises Failure if there are any already."""
    data = context.settings.data_folder
    number = control_of(context, underway.cluster(data))["Catalog version number"]
    new = tuple(f"{each}/PG_{made.after}_{number}" for each in spaces)
    if occupied := [each for each in new if os.path.lexists(each)]:
        raise Failure(
            Problem(
                f"{', '.join(occupied)} exists already, from an upgrade that another program did",
                "remove it if no cluster uses it",
                docs=underway.PAGE,
            )
        )
    made = made._replace(made=(*made.made, *new))
    underway.write(data, made)
    return made


def _checked(context: Context, before: str, after: str, old: Old) -> list[Finding]:
    """Return what pg_upgrade says against the upgrade."""
    try:
        warned = pgupgrade.run(context, before, old.superuser, ["--check"])
    except Failure as failure:
        return [problem(each) for each in failure.problems]
    return [ok(f"pg_upgrade --check: {before} can be upgraded to {after}"), *warned]


def refuse(found: Iterable[Finding]) -> None:
    """Raise Failure with all errors among the findings, if there are any."""
    wrong = [each for each in found if each.level == ERROR]
    if wrong:
        raise Failure(*(Problem(each.found, each.hint, docs=each.docs) for each in wrong))


def control_of(context: Context, data: str) -> dict[str, str]:
    """Return what pg_controldata of the new major says of a cluster."""
    return control_file.read_control(context._replace(settings=context.settings._replace(data_folder=data)))


def wal_folder(data: str) -> str:
    """Return the folder of the WAL outside the data folder; empty: it is inside."""
    path = f"{data}/pg_wal"
    return os.path.realpath(path) if os.path.islink(path) else ""
