"""Collations whose library has changed: looked at, checked, and mended by rebuilding what depends on them.

`gate` is what a start does, `look`, `check` and `mend` what the commands do with the running server.
"""

import fcntl
import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import NamedTuple

from entrypoint import collation, exits, log
from entrypoint.collation import Dependent, Finding, Report, finding
from entrypoint.effects import collation as memories
from entrypoint.effects import files, history, progress, server, sessions, temporary
from entrypoint.effects.collation import CHANGED, MATCHED, Memory
from entrypoint.effects.server import Context
from entrypoint.errors import Failure, Problem

_RUNTIME = "collation"
"""Below the runtime folder: the socket of the server that only looks, and its log."""
_LOCK = "collation.lock"
_LIBRARY = 15
"""The first major with archive_library."""
RECENT = 2 * 86400
"""Seconds: how old the last base backup may be when indexes are rebuilt. A nightly one may fail once."""


class Session(NamedTuple):
    """A server that can be asked."""

    context: Context
    host: str = ""
    """Folder of its socket; empty: libpq's own."""
    serving: bool = True
    """Clients are at work."""

    @property
    def major(self) -> int:
        """PostgreSQL's major."""
        return server.data_major(self.context.settings.data_folder)


class Outcome(NamedTuple):
    """What mending has done."""

    rebuilt: tuple[Dependent, ...]
    refreshed: tuple[str, ...]
    """Databases whose versions are noted anew."""
    findings: tuple[Finding, ...]
    """What is still to be done by somebody."""


# A start


def gate(context: Context, given: list[str], memory: Memory, mark: str) -> None:
    """Look by a server that nobody else can reach, and do what COLLATION_POLICY says."""
    data, policy = context.settings.data_folder, context.settings.collation_policy
    mixed = memory.mixed(mark)
    log.info(f"looking whether text still sorts as it did when it was indexed ({memories.libraries()})")
    try:
        with _private_server(context, given) as session:
            found = look(session, mixed)
            outcome = None
            if not found.matches and policy == "reindex":
                _demand_backup(session)
                outcome = mend(session, found, memory, mark)
    except Failure as failure:
        if policy == "warn":
            log.warning(
                f"the collations could not be looked at: {failure.problems[0].what}",
                "see its own words; once it serves: entrypoint collation show",
            )
            return
        raise Failure(*(each.but(code=exits.COLLATION_CHANGED) for each in failure.problems)) from failure
    if found.matches:
        memories.write(data, Memory(MATCHED, mark))
    elif outcome is not None:
        if outcome.findings:
            raise Failure(_unfinished(outcome))
    elif policy == "refuse":
        raise Failure(
            Problem(
                "\n".join([collation.headline(found), *collation.describe(found)]),
                "start the image that it was built with; or have all rebuilt before anybody can connect: "
                "COLLATION_POLICY=reindex; or serve at once with COLLATION_POLICY=warn, then: "
                "docker exec CONTAINER entrypoint collation fix",
                exits.COLLATION_CHANGED,
            )
        )
    else:
        _note_serving(data, memory, mark)
        log.warning(
            "\n".join([collation.headline(found), *collation.describe(found)]),
            "docker exec CONTAINER entrypoint collation fix (rows may not be found until then); "
            "COLLATION_POLICY=reindex does it before anybody can connect",
        )


def _note_serving(data: str, memory: Memory, mark: str) -> None:
    """Note that it is served as it is; what was rebuilt for other libraries no longer counts."""
    if memory.mixed(mark):
        memories.write(data, memory._replace(rebuilt=frozenset()))
    elif (memory.state, memory.fingerprint) != (CHANGED, mark):
        memories.write(data, Memory(CHANGED, mark))


def _unfinished(outcome: Outcome) -> Problem:
    lines = [f"{each.words}: {each.mend}" for each in outcome.findings]
    return Problem(
        "\n".join(["not everything that depends on the changed collations could be mended:", *lines]),
        "serve it with COLLATION_POLICY=warn, mend what is named, then: docker exec CONTAINER entrypoint "
        "collation fix; what is rebuilt already is not rebuilt again",
        exits.COLLATION_CHANGED,
    )


@contextmanager
def _private_server(context: Context, given: list[str]) -> Iterator[Session]:
    """Run the server for a block, out of everybody's reach.

    archive_mode stays as it is: switched off, the server would remove segments that still wait to be
    archived. With an empty command they go on waiting.
    """
    folder = f"{context.runtime_folder}/{_RUNTIME}"
    files.ensure_folder(folder, context.who.uid, 0o700)
    try:
        files.write_atomically(f"{folder}/pg_hba.conf", "local all all trust\n")
        files.write_atomically(f"{folder}/pg_ident.conf", "")
        session = Session(context, folder, serving=False)
        closed = {
            "listen_addresses": "",
            "port": server.port(context.settings),
            "unix_socket_directories": folder,
            "hba_file": f"{folder}/pg_hba.conf",
            "ident_file": f"{folder}/pg_ident.conf",
            "archive_command": "",
            "max_logical_replication_workers": "0",
            "autovacuum": "off",
            "logging_collector": "off",
            "log_destination": "stderr",
        }
        if session.major >= _LIBRARY:
            closed["archive_library"] = ""
        arguments = [word for name, value in closed.items() for word in ("-c", f"{name}={value}")]
        output = os.open(f"{folder}/log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            # After a crash it replays as long as it takes.
            with temporary.serve(context, [*given, *arguments], seconds=None, output=output):
                yield session
        except Failure as failure:
            words = "\n".join(files.read_text(f"{folder}/log").splitlines()[-8:])
            raise Failure(*(each.but(what=f"{each.what}\n{words}") for each in failure.problems)) from failure
        finally:
            os.close(output)
    finally:
        files.remove_tree(folder)


# Looking


def look(session: Session, mixed: str = "", *, everything: bool = False) -> Report:
    """Return what has changed and what depends on it.

    With `mixed` (other libraries under which it was served) or `everything` all collations with a version
    count as changed.
    """
    assume = bool(mixed) or everything
    answer = ask(session, None, collation.databases_query(session.major, mixed=assume))
    databases = collation.parse_databases(answer)
    query = collation.dependents_query(session.major, mixed=assume)
    found = [
        collation.parse_database(each.name, ask(session, each.name, query))
        for each in databases
        if each.connects
    ]
    return collation.report(databases, found, mixed, everything=assume)


def found(context: Context, memory: Memory, mark: str) -> Problem | str:
    """Return what is wrong by the running server, or in words that all is well."""
    try:
        report = look(Session(context), memory.mixed(mark))
    except Failure as failure:
        return failure.problems[0]
    if report.matches:
        return f"all match ({memories.libraries()})"
    return Problem(
        "\n".join([collation.headline(report), *collation.describe(report, most=5)]),
        "entrypoint collation check --amcheck says what is broken, entrypoint collation fix mends it",
    )


def ask(
    session: Session,
    database: str | None,
    text: str,
    *,
    writes: bool = False,
    settings: Mapping[str, str | None] | None = None,
    verbose: bool = False,
    shown: progress.Progress | None = None,
) -> str:
    """Return what a database answers, however long that takes; raises Failure with its words."""
    return sessions.query(
        session.context,
        text,
        database=database,
        host=session.host,
        writes=writes,
        settings=settings,
        seconds=None,
        verbose=verbose,
        shown=shown,
    )


# Checking


def check(session: Session, report: Report, *, amcheck: bool) -> list[Finding]:
    """Return what is really broken: rows where they do not belong, keys twice, and with `amcheck` B-trees."""
    found = _misplaced(session, report)
    done = 0
    shown = progress.Progress("check", sum(each.bytes for each in report.indexes), lambda: done)
    try:
        for index in report.indexes:
            words = _amcheck(session, index, shown) if amcheck and index.method == "btree" else ""
            if words:
                found.append(finding(index, f"is broken: {words}", "entrypoint collation fix"))
            if index.unique:
                found += _duplicates(session, index, shown)
            done += index.bytes
    finally:
        shown.close()
    return found


def _amcheck(session: Session, index: Dependent, shown: progress.Progress) -> str:
    """Return what amcheck says against an index, or nothing."""
    installed = ask(
        session,
        index.database,
        "SELECT quote_ident(nspname) FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace "
        "WHERE extname = 'amcheck'",
    )
    schema = installed or "entrypoint_amcheck"
    # Nothing of it stays: the transaction is rolled back.
    install = "" if installed else f"CREATE SCHEMA {schema}; CREATE EXTENSION amcheck SCHEMA {schema}; "
    text = (
        f"BEGIN; {install}SELECT {schema}.bt_index_check(index => {index.oid}::oid::regclass, "
        "heapallindexed => true); ROLLBACK"
    )
    try:
        ask(session, index.database, text, writes=True, verbose=True, shown=shown)
    except Failure as failure:
        words = failure.problems[0].what
        corrupted = re.search(r"ERROR:  XX00[12]: (.*)", words)  # data_corrupted and index_corrupted
        if corrupted is None:
            raise
        return corrupted[1]
    return ""


def _duplicates(session: Session, index: Dependent, shown: progress.Progress) -> list[Finding]:
    """Return the keys that are more than once in the table of a unique index."""
    answer = json.loads(ask(session, index.database, collation.duplicates_query(index), shown=shown))
    if not answer["keys"]:
        return []
    count = f"{answer['keys']} key{'' if answer['keys'] == 1 else 's'}"
    words = f"has let duplicates in: {count} more than once, for example {answer['example']}"
    mend = "delete all but one row of each key (with enable_indexscan = off), then: entrypoint collation fix"
    return [finding(index, words, mend)]


_VERBS = {
    collation.CHECK: "against it",
    collation.PARTITION: "of another partition",
    collation.RANGE: "with a range that ends before it begins",
}


def _misplaced(session: Session, report: Report) -> list[Finding]:
    """Return what no reindex mends: rows against a CHECK, in a wrong partition, ranges upside down."""
    found = []
    for each in report.others:
        if each.kind == collation.VIEW:
            continue
        if not each.test:
            words = "is not checked here: its values lie inside others"
            mend = f"look at the values of {each.domain} in column {each.column} of {each.table}"
            found.append(finding(each, words, mend))
        elif count := int(ask(session, each.database, collation.count_query(each))):
            words = f"is violated: {count} row{'' if count == 1 else 's'} {_VERBS[each.kind]}"
            mend = f"correct them: SELECT * FROM {each.source} WHERE {each.test}"  # noqa: S608 - shown
            found.append(finding(each, words, mend))
    return found


# Mending


def mend(session: Session, report: Report, memory: Memory, mark: str, *, accept: bool = False) -> Outcome:
    """Rebuild the indexes that depend on a changed collation, then note the present versions.

    Each rebuilt one is remembered, so that a killed run goes on where it was. In a database where an index
    could not be rebuilt, or a row is where it does not belong (unless `accept`), no version is noted anew.
    """
    data = session.context.settings.data_folder
    rebuilt = memory.rebuilt if (memory.state, memory.fingerprint) == (CHANGED, mark) else frozenset()
    # Also before anybody is served: a mended index is a broken one for the old libraries.
    memories.write(data, Memory(CHANGED, mark, rebuilt))
    _remove_leftovers(session, report)
    done: list[Dependent] = []
    failed: dict[tuple[str, int], Finding] = {}
    session.context.children.tied = True
    try:
        # Until none is left: somebody may have made one meanwhile.
        while todo := [
            each for each in collation.waiting(report, rebuilt) if (each.database, each.oid) not in failed
        ]:
            built = 0
            shown = progress.Progress("rebuilding", sum(each.bytes for each in todo), lambda: built)  # noqa: B023
            for number, index in enumerate(todo, 1):
                log.info(f"rebuilding {number} of {len(todo)}: {index.words} in {index.database}")
                try:
                    rebuilt |= {_rebuild(session, index, report, shown)}
                    memories.write(data, Memory(CHANGED, mark, rebuilt))
                    done.append(index)
                except Failure as failure:
                    words = f"cannot be rebuilt: {failure.problems[0].what}"
                    mend = "entrypoint collation check finds duplicates; then: entrypoint collation fix"
                    failed[index.database, index.oid] = finding(index, words, mend)
                built += index.bytes
            shown.close()
            report = look(session, report.mixed, everything=report.everything)
    finally:
        session.context.children.tied = False
    findings = [*failed.values(), *collation.unseen_findings(report)]
    if not accept:
        findings += _misplaced(session, report)
    refreshed = _refresh(session, report, {each.database for each in findings})
    if not findings:
        memories.write(data, Memory(MATCHED, mark))
    return Outcome(tuple(done), refreshed, tuple(findings))


def _rebuild(
    session: Session, index: Dependent, report: Report, shown: progress.Progress
) -> tuple[str, int, int]:
    """Rebuild one index; return what tells later that it was."""
    if session.serving and index.exclusion:
        log.info(f"{index.name} serves an exclusion constraint: {index.table} takes no writes meanwhile")
    try:
        ask(
            session,
            index.database,
            collation.statement(index, serving=session.serving),
            writes=True,
            # The owner's functions find what they always found; they run as the owner.
            settings={"search_path": None},
            shown=shown,
        )
    except Failure:
        _remove_leftovers(session, look(session, report.mixed, everything=report.everything))
        raise
    name = index.name.replace("'", "''")
    answer = ask(
        session,
        index.database,
        f"SELECT '{name}'::regclass::oid, pg_relation_filenode('{name}'::regclass)",
    )
    oid, filenode = answer.split("|")
    return index.database, int(oid), int(filenode)


def _remove_leftovers(session: Session, report: Report) -> None:
    concurrently = " CONCURRENTLY" if session.serving else ""
    for each in report.leftovers:
        log.info(f"removing {each.name} in {each.database}, which an interrupted REINDEX has left")
        ask(session, each.database, f"DROP INDEX{concurrently} IF EXISTS {each.name}", writes=True)


def _refresh(session: Session, report: Report, spoiled: set[str]) -> tuple[str, ...]:
    """Note the present versions in all databases but the spoiled ones; return those that had changed."""
    answer = ask(session, None, collation.databases_query(session.major, mixed=False))
    refreshed = []
    for each in collation.parse_databases(answer):
        if each.name in spoiled:
            continue
        if each.connects:
            ask(session, each.name, collation.REFRESH, writes=True)
        if each.changed:
            ask(session, None, collation.refresh_database(each.name), writes=True)
        if any(change.database == each.name for change in report.changes):
            refreshed.append(each.name)
    return tuple(refreshed)


@contextmanager
def alone(context: Context) -> Iterator[None]:
    """Let nobody else mend during a block; raises Failure if somebody does."""
    descriptor = os.open(f"{context.runtime_folder}/{_LOCK}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Failure(
                Problem(
                    "another entrypoint collation fix is at work", "wait for its end, it says what it does"
                )
            ) from None
        yield
    finally:
        os.close(descriptor)


# The backup before


def has_recent_backup(context: Context) -> bool:
    """Tell whether a base backup that was good has been taken within RECENT, or none is asked for."""
    archive = context.settings.archive
    if archive is None or archive.by_user:
        return True
    last = history.last_runs(context.settings.data_folder).success
    if last is None or last.url != archive.storage.url:
        return False
    began = datetime.fromisoformat(last.started)
    return time.time() - began.timestamp() < RECENT + last.seconds


def _demand_backup(session: Session) -> None:
    if not has_recent_backup(session.context):
        raise Failure(
            Problem(
                "indexes are to be rebuilt, and no base backup of the last "
                f"{RECENT // 3600} hours is in the archive (now {datetime.now(UTC):%Y-%m-%d %H:%M} UTC)",
                "take one with the image of before (entrypoint backup push); or start with "
                "COLLATION_POLICY=warn, then: docker exec CONTAINER entrypoint collation fix takes one first",
                exits.COLLATION_CHANGED,
            )
        )
