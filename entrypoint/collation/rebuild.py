"""Rebuilds the indexes that depend on changed collations, and records the present versions."""

from __future__ import annotations

from entrypoint import log
from entrypoint.collation import dependents, queries, remembered
from entrypoint.collation.asking import LEAST, Session, Turns, ask
from entrypoint.collation.dependents import Dependent, Finding, Report, finding
from entrypoint.collation.examine import UNSAFE, look, misplaced
from entrypoint.collation.remembered import CHANGED, MATCHED, Memory
from entrypoint.errors import Failure, Problem
from entrypoint.light import NamedTuple
from entrypoint.postgres import sql
from entrypoint.system import progress
from entrypoint.system.locks import Alone

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from entrypoint.server.context import Context

_LOCK = "collation.lock"
_LOCKED = 3600
"""Seconds for which a rebuild waits for locks of others."""
_ROUNDS = 5
"""The number of looks for indexes that were created in the meantime."""


class Outcome(NamedTuple):
    """The result of a repair."""

    rebuilt: tuple[Dependent, ...]
    refreshed: tuple[str, ...]
    """Databases whose present versions are recorded."""
    findings: tuple[Finding, ...]
    """What a person still has to do."""


def fix(session: Session, report: Report, memory: Memory, mark: str, *, accept: bool = False) -> Outcome:
    """Rebuild the indexes that depend on a changed collation, then record the present versions.

    Each rebuilt index is remembered, so that a killed run resumes where it stopped. The version of a
    collation stays as it is if an index with it could not be rebuilt, or (unless `accept`) if rows are or may
    be misplaced by it.
    """
    data = session.context.settings.data_folder
    rebuilt = set(memory.rebuilt) if (memory.state, memory.fingerprint) == (CHANGED, mark) else set()
    # Even before clients can connect: for the old libraries, a rebuilt index is a broken one.
    remembered.write(data, Memory(CHANGED, mark, frozenset(rebuilt)))
    _remove_leftovers(session, report)
    turns = Turns(session)
    done: list[Dependent] = []
    failed = {
        (each.database, each.oid): finding(each, *UNSAFE, broken=False)
        for each in report.indexes
        if each.unsafe
    }
    session.context.children.tied = True
    try:
        # Repeat until none is left, since new ones may have been created meanwhile; but not forever.
        for _ in range(_ROUNDS):
            todo = [
                each
                for each in dependents.waiting(report, rebuilt)
                if (each.database, each.oid) not in failed and not each.unsafe
            ]
            if not todo:
                break
            built = 0
            shown = progress.Progress("rebuilding", sum(each.bytes for each in todo), lambda: built)  # noqa: B023
            for number, index in enumerate(todo, 1):
                log.info(f"rebuilding {number} of {len(todo)}: {index.words} in {index.database}")
                try:
                    made = _rebuild(session, turns, index, report, shown)
                    rebuilt.add(made)
                    remembered.remember_rebuilt(data, made)
                    done.append(index)
                except Failure as failure:
                    words = f"cannot be rebuilt: {failure.problems[0].what}"
                    hint = "look for duplicates: entrypoint collation check; then: entrypoint collation fix"
                    failed[index.database, index.oid] = finding(index, words, hint)
                built += index.bytes
            shown.close()
            report = look(session, report.mixed, everything=report.everything)
    finally:
        session.context.children.tied = False
    findings = [*failed.values(), *dependents.unseen_findings(report)]
    if not accept:
        findings += misplaced(turns, report)
    refreshed, refused = _refresh(session, report, findings)
    findings += refused
    if not findings:
        remembered.write(data, Memory(MATCHED, mark))
    return Outcome(tuple(done), refreshed, tuple(findings))


def _rebuild(
    session: Session, turns: Turns, index: Dependent, report: Report, shown: progress.Progress
) -> tuple[str, int, int]:
    """Rebuild one index; return its database, oid and new file node, which later show that it was rebuilt."""
    if session.serving and index.exclusion:
        what = f"{index.name} implements an exclusion constraint"
        log.info(f"{what}: {index.table} accepts no writes until it is rebuilt")
    settings: dict[str, str | None] = {"lock_timeout": f"{_LOCKED}s"} if session.serving else {}
    if not index.privileged:
        # The owner's functions run as the owner, and must find the objects that they usually find.
        settings["search_path"] = None
    try:
        turns.ask(
            index,
            queries.statement(index, serving=session.serving),
            limited=index.foreign or (index.written and not session.serving),
            # A concurrent rebuild waits for the end of the clients' transactions.
            least=_LOCKED if session.serving else LEAST,
            writes=True,
            settings=settings,
            shown=shown,
        )
    except Failure:
        there = look(session, report.mixed, everything=report.everything, only=[index.database])
        _remove_leftovers(session, there)
        raise
    name = sql.literal(index.name)
    answer = ask(
        session,
        index.database,
        f"SELECT {name}::regclass::oid, pg_relation_filenode({name}::regclass)",
    )
    oid, filenode = answer.split("|")
    return index.database, int(oid), int(filenode)


def _remove_leftovers(session: Session, report: Report) -> None:
    concurrently = " CONCURRENTLY" if session.serving else ""
    for each in report.leftovers:
        log.info(f"removing {each.name} in {each.database}, which an interrupted REINDEX has left behind")
        try:
            ask(session, each.database, f"DROP INDEX{concurrently} IF EXISTS {each.name}", writes=True)
        except Failure as failure:
            log.warning(f"{each.name} in {each.database} is still there: {failure.problems[0].what}")


def _refresh(
    session: Session, report: Report, findings: Sequence[Finding]
) -> tuple[tuple[str, ...], list[Finding]]:
    """Record the present versions of all collations without a finding.

    Returns the databases in which a version had changed, and findings for versions that cannot be recorded.
    """
    refreshed, refused = [], []
    answer = ask(session, None, queries.databases_query(session.major, mixed=False))
    for each in dependents.parse_databases(answer):
        ours = [found for found in findings if found.database == each.name]
        if any(not found.collations for found in ours):
            continue
        spoiled = {name for found in ours for name in found.collations}
        try:
            if each.connects:
                ask(session, each.name, queries.refresh(spoiled), writes=True)
            if each.changed and "default" not in spoiled:
                ask(session, None, queries.refresh_database(each.name), writes=True)
        except Failure as failure:
            words = f"the versions of database {each.name} cannot be recorded: {failure.problems[0].what}"
            refused.append(Finding(each.name, "database", each.name, words, "entrypoint collation fix"))
            continue
        if any(one.database == each.name and one.collation not in spoiled for one in report.changes):
            refreshed.append(each.name)
    return tuple(refreshed), refused


def alone(context: Context) -> Alone:
    """Keep other processes from repairing during a block; raises Failure if one already is."""

    def refuse() -> None:
        raise Failure(
            Problem("another entrypoint collation fix is running", "wait for it to finish: see its output")
        )

    return Alone(f"{context.runtime_folder}/{_LOCK}", refuse)
