"""Collations whose library has changed: looked at, checked, and mended by rebuilding what depends on them.

`gate` is what a start does, `look`, `check` and `mend` what the commands do with the running server.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

from entrypoint import collation, dependents, exits, log, sql
from entrypoint.collation import Dependent, Finding, Report, Unlooked, finding
from entrypoint.effects import collation as memories
from entrypoint.effects import files, history, progress, server, sessions, temporary, tour
from entrypoint.effects.collation import CHANGED, MATCHED, Memory
from entrypoint.effects.context import Context, server_port
from entrypoint.effects.locks import Alone
from entrypoint.errors import Failure, Problem
from entrypoint.light import NamedTuple, re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_RUNTIME = "collation"
"""Below the runtime folder: the socket of the server that only looks, and its log."""
_LOCK = "collation.lock"
_LIBRARY = 15
"""The first major with archive_library."""
RECENT = 2 * 86400
"""Seconds: how old the last base backup may be when indexes are rebuilt. A nightly one may fail once."""


_LEAST = 60
"""Seconds that the expressions of one object may take in any case."""
_LOCKS = {"lock_timeout": f"{_LEAST}s"}
"""What somebody holds for ever hinders one object, and not all."""
_LOCKED = 3600
"""Seconds for which a rebuild waits for others."""
_SLOWEST = 2**20
"""Bytes of a table and its index for which there is a second more."""
_STRIKES = 3
"""How often an owner's objects may take longer."""
_ROUNDS = 5
"""How often what was made meanwhile is looked for."""


_Found = tuple[list[collation.Change], list[Dependent], list[collation.Leftover]]
"""What one database has answered."""

_ODD = (ValueError, TypeError, LookupError, ArithmeticError, RecursionError)
"""What is raised where an answer is another one than we know, whatever somebody has put into a name."""


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
    """Look by a server that nobody else can reach, and do what COLLATION_POLICY says.

    What a role can bring about by objects of its own never keeps the server down: where an object cannot be
    mended the server starts, and says so; `refuse` counts what is more than that (`Report.weighs`). Where
    nothing can be known at all, only `warn` starts.
    """
    data, policy = context.settings.data_folder, context.settings.collation_policy
    mixed = memory.mixed(mark)
    same = memories.same_libraries(data, memory, mark)  # before a server leaves its traces
    log.info(f"looking whether text still sorts as it did when it was indexed ({memories.libraries()})")
    try:
        with _private_server(context, given) as session:
            found = look(session, mixed)
            outcome = None
            if not found.matches and policy == "reindex":
                if found.weighs:
                    _demand_backup(session)
                outcome = _mend_what_can_be(session, found, memory, mark)
    except (Failure, OSError, *_ODD) as error:
        failure = error if isinstance(error, Failure) else Failure(Problem(repr(error), "report it"))
        _not_looked(failure)
        if policy == "warn":
            return
        raise Failure(
            *(each._replace(code=exits.COLLATION_CHANGED) for each in failure.problems)
        ) from failure
    if found.matches:
        memories.write(data, Memory(MATCHED, mark))
    elif outcome is not None:
        if outcome.findings:
            _tell_unfinished(outcome)
    elif policy == "refuse" and found.weighs and not same:
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


def _not_looked(failure: Failure) -> None:
    log.warning(
        f"the collations could not be looked at: {failure.problems[0].what}",
        "see its own words; once it serves: entrypoint collation show",
    )


def _mend_what_can_be(session: Session, found: Report, memory: Memory, mark: str) -> Outcome:
    """Mend; what ends it half way becomes a finding, and what is rebuilt by then stays rebuilt."""
    try:
        return mend(session, found, memory, mark)
    except Failure as failure:
        words = f"not all could be looked through: {failure.problems[0].what}"
        return Outcome((), (), (Finding("", "server", "", words, "entrypoint collation fix"),))


def _tell_unfinished(outcome: Outcome) -> None:
    lines = [f"{each.words}: {each.mend}" for each in outcome.findings[: collation.SHOWN]]
    if len(outcome.findings) > len(lines):
        lines.append(f"and {len(outcome.findings) - len(lines)} more: entrypoint collation check")
    log.warning(
        "\n".join(["not everything that depends on the changed collations could be mended:", *lines]),
        "it is served as it is; mend what is named, then: docker exec CONTAINER entrypoint collation fix; "
        "what is rebuilt already is not rebuilt again",
    )


@contextmanager
def _private_server(context: Context, given: list[str]) -> Iterator[Session]:
    """Run the server for a block, out of everybody's reach.

    archive_mode stays as it is: switched off, the server would remove segments that still wait to be
    archived. With an empty command they go on waiting.
    """
    folder = f"{context.runtime_folder}/{_RUNTIME}"
    files.ensure_folder(folder, 0o700)
    try:
        files.write_atomically(f"{folder}/pg_hba.conf", "local all all trust\n")
        files.write_atomically(f"{folder}/pg_ident.conf", "")
        session = Session(context, folder, serving=False)
        closed = {
            "listen_addresses": "",
            "port": server_port(context.settings),
            "unix_socket_directories": folder,
            "hba_file": f"{folder}/pg_hba.conf",
            "ident_file": f"{folder}/pg_ident.conf",
            "archive_command": "",
            "max_logical_replication_workers": "0",
            "autovacuum": "off",
            # Nobody follows this server, and a file beside the data is the real server's.
            "synchronous_standby_names": "",
            "external_pid_file": "",
            "logging_collector": "off",
            "log_destination": "stderr",
        }
        if session.major >= _LIBRARY:
            closed["archive_library"] = ""
        if _preloads(context, given):
            # Libraries are kept, for tables and WAL may need them, but nothing that works in the background.
            closed["max_worker_processes"] = "0"
        arguments = [word for name, value in closed.items() for word in ("-c", f"{name}={value}")]
        output = os.open(f"{folder}/log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            # After a crash it replays as long as it takes.
            with temporary.serve(context, [*given, *arguments], seconds=None, output=output):
                yield session
        except Failure as failure:
            words = "\n".join(files.read_text(f"{folder}/log").split("\n")[-9:])
            raise Failure(
                *(each._replace(what=f"{each.what}\n{words}") for each in failure.problems)
            ) from failure
        finally:
            os.close(output)
    finally:
        files.remove_tree(folder)


def _preloads(context: Context, given: Sequence[str]) -> bool:
    code, text = server.ask(context, "shared_preload_libraries", given, context.settings.data_folder)
    return code != 0 or bool(text)


# Looking


def look(
    session: Session,
    mixed: str = "",
    *,
    everything: bool = False,
    only: Collection[str] | None = None,
    seconds: float | None = None,
) -> Report:
    """Return what has changed and what depends on it.

    With `mixed` (other libraries under which it was served) or `everything` all collations with a version
    count as changed. Looked into are all databases, or `only` these; after so many `seconds` no further ones.
    """
    assume = bool(mixed) or everything
    answer = ask(session, None, dependents.databases_query(session.major, mixed=assume))
    databases = collation.parse_databases(answer)
    names = [each.name for each in databases if each.connects and (only is None or each.name in only)]
    began = time.monotonic()
    found: dict[str, _Found] = {}
    unlooked: dict[str, str] = {}
    late: set[str] = set()
    if not assume:
        # What takes long to ask, and longer to plan, is asked only where something has changed.
        counted = {"collations": dependents.changed_query(session.major)}
        for name, answered in _tour(session, names, counted, seconds):
            if answered.late:
                late.add(name)
            elif "collations" not in answered.answers:
                unlooked[name] = answered.words
            elif answered.answers["collations"] == "0":
                found[name] = ([], [], [])
    query = {"dependents": dependents.dependents_query(session.major, mixed=assume)}
    rest = [name for name in names if name not in found and name not in unlooked and name not in late]
    left = None if seconds is None else max(0.0, began + seconds - time.monotonic())
    for name, answered in _tour(session, rest, query, left):
        if answered.late:
            late.add(name)
        elif "dependents" not in answered.answers:
            unlooked[name] = answered.words
        else:
            try:
                found[name] = collation.parse_database(name, answered.answers["dependents"])
            except _ODD as error:
                # Whatever somebody has written into his database, the others are still looked at.
                unlooked[name] = f"its answer is not understood: {error}"
    return collation.report(
        databases,
        [found[name] for name in names if name in found],
        mixed,
        everything=assume,
        unlooked=[Unlooked(name, unlooked[name]) for name in names if name in unlooked],
        late=[name for name in names if name in late],
    )


def _tour(
    session: Session, names: Sequence[str], questions: Mapping[str, str], seconds: float | None
) -> Iterator[tuple[str, tour.Look]]:
    return tour.ask(
        session.context,
        names,
        questions,
        host=session.host,
        settings=_LOCKS,
        seconds=seconds,
        patience=_patience(session),
    )


def found(
    context: Context,
    memory: Memory,
    mark: str,
    *,
    only: Collection[str] | None = None,
    seconds: float | None = None,
) -> tuple[Problem | str, tuple[str, ...]]:
    """Return what is wrong by the running server, or in words that all is well.

    Beside it are the databases that were not looked at for time; `only` and `seconds` are as of `look`.
    """
    try:
        report = look(Session(context), memory.mixed(mark), only=only, seconds=seconds)
    except Failure as failure:
        return failure.problems[0], ()
    if report.matches:
        return f"all match ({memories.libraries()})", report.late
    problem = Problem(
        "\n".join([collation.headline(report), *collation.describe(report, most=5)]),
        "entrypoint collation check --amcheck says what is broken, entrypoint collation fix mends it",
    )
    return problem, report.late


def ask(
    session: Session,
    database: str | None,
    text: str,
    *,
    writes: bool = False,
    settings: Mapping[str, str | None] | None = None,
    seconds: float | None = None,
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
        settings={**_LOCKS, **(settings or {})},
        seconds=seconds,
        patience=_patience(session),
        verbose=verbose,
        shown=shown,
    )


def _patience(session: Session) -> float:
    """Return the seconds for a session: after a crash it replays first, and nobody else can ask meanwhile."""
    return 0 if session.serving else sessions.PATIENCE


# Checking


class _Turns:
    """How long expressions of users may take; an owner who was too slow too often is waited for no more."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._slow: Counter[str] = Counter()

    def ask(
        self, each: Dependent, text: str, *, limited: bool = True, least: float = _LEAST, **how: Any
    ) -> str:
        """Ask about one object; raises Failure, also where it took too long."""
        if limited and self._slow[each.owner] >= _STRIKES:
            words = f"{_STRIKES} other objects of {each.owner} took too long, so this one was not tried"
            raise Failure(Problem(words, "see the others"))
        seconds = least + (each.bytes + each.stored) / _SLOWEST
        began = time.monotonic()
        try:
            return ask(self._session, each.database, text, seconds=seconds if limited else None, **how)
        except Failure:
            if limited and time.monotonic() - began > _LEAST / 2:
                self._slow[each.owner] += 1
            raise


def check(session: Session, report: Report, *, amcheck: bool) -> list[Finding]:
    """Return what is really broken: rows where they do not belong, keys twice, and with `amcheck` B-trees.

    What cannot be looked at is named as well, and hinders nothing else.
    """
    turns = _Turns(session)
    found = [*collation.unseen_findings(report), *_misplaced(turns, report)]
    done = 0
    shown = progress.Progress("check", sum(each.bytes for each in report.indexes), lambda: done)
    try:
        for index in report.indexes:
            if amcheck and index.method == "btree":
                found += _checked(index, lambda each: _amcheck(turns, session, each, shown))
            if index.unique:
                found += _checked(index, lambda each: _duplicates(turns, each, shown))
            done += index.bytes
    finally:
        shown.close()
    return found


def _checked(index: Dependent, look: Callable[[Dependent], list[Finding]]) -> list[Finding]:
    try:
        return look(index)
    except Failure as failure:
        words = f"cannot be checked: {failure.problems[0].what}"
        return [
            finding(index, words, "see its own words; or rebuild it: entrypoint collation fix", broken=False)
        ]


def _amcheck(turns: _Turns, session: Session, index: Dependent, shown: progress.Progress) -> list[Finding]:
    """Return what amcheck says against an index; to evaluate something it becomes the table's owner."""
    if index.unsafe:
        return [finding(index, *_UNSAFE, broken=False)]
    answer = ask(session, index.database, collation.AMCHECK)
    recovers, _, installed = answer.partition("|")
    # Below a name that nobody can know before, and gone with the transaction: in a schema of others there may
    # be a function that is called in place of the right one.
    schema = f"entrypoint_{secrets.token_hex(16)}"
    how = (
        f"ALTER EXTENSION amcheck SET SCHEMA {schema}"
        if installed
        else f"CREATE EXTENSION amcheck SCHEMA {schema}"
    )
    own = f"CREATE SCHEMA {schema}; {how}; "
    if recovers == "t":
        schema, own = installed, ""
    call = f"{schema}.bt_index_check(index => {index.oid}::oid::regclass, heapallindexed => true)"
    try:
        turns.ask(
            index,
            f"BEGIN; {own}SELECT {call}; ROLLBACK",
            limited=index.written,
            writes=bool(own),
            verbose=True,
            shown=shown,
        )
    except Failure as failure:
        words = failure.problems[0].what
        corrupted = re.search(r"ERROR:  XX00[12]: (.*)", words)  # data_corrupted and index_corrupted
        if corrupted is None:
            raise
        return [finding(index, f"is broken: {corrupted[1]}", "entrypoint collation fix")]
    return []


_FOREIGN = "is not checked: to evaluate it may run code of users, and would do so as the superuser"
_UNSAFE = (
    "is left as it is: to rebuild or to read it would run code of others as the superuser",
    "give its functions to the superuser, or its table to another role; then: entrypoint collation fix",
)


def _duplicates(turns: _Turns, index: Dependent, shown: progress.Progress) -> list[Finding]:
    """Return the keys that are more than once in the table of a unique index."""
    if index.foreign:
        words = f"{_FOREIGN}; a rebuild finds duplicates"
        return [finding(index, words, _look_by_hand(index, collation.twice_query(index)), broken=False)]
    query = collation.guarded(index, collation.duplicates_query(index))
    answer = json.loads(turns.ask(index, query, limited=index.written, shown=shown))
    if not answer["keys"]:
        return []
    count = f"{answer['keys']} key{'' if answer['keys'] == 1 else 's'}"
    words = f"has let duplicates in: {count} more than once, for example {answer['example']}"
    mend = "delete all but one row of each key (with enable_indexscan = off), then: entrypoint collation fix"
    return [finding(index, words, mend)]


def _look_by_hand(each: Dependent, query: str) -> str:
    who = "a role without rights that may read it" if each.privileged else each.owner
    return f"let {who} look: {query}"


_VERBS = {
    collation.CHECK: "against it",
    collation.PARTITION: "of another partition",
    collation.RANGE: "with a range that ends before it begins",
}


def _misplaced(turns: _Turns, report: Report) -> list[Finding]:
    """Return what no reindex mends: rows against a CHECK, in a wrong partition, ranges upside down."""
    return [
        told for each in report.others if each.kind != collation.VIEW for told in _misplaced_of(turns, each)
    ]


def _misplaced_of(turns: _Turns, each: Dependent) -> list[Finding]:
    if not each.test:
        words = "is not checked here: its values lie inside others"
        mend = f"look at the values of {each.domain} in column {each.column} of {each.table}"
        return [finding(each, words, mend, broken=False)]
    look = collation.rows_query(each)
    if each.foreign:
        return [finding(each, _FOREIGN, _look_by_hand(each, look), broken=False)]
    try:
        count = int(turns.ask(each, collation.guarded(each, collation.count_query(each))))
    except Failure as failure:
        words = f"cannot be checked: {failure.problems[0].what}"
        how = f"mend what it complains of, or {_look_by_hand(each, look)}"
        return [finding(each, words, how, broken=False)]
    if not count:
        return []
    words = f"is violated: {count} row{'' if count == 1 else 's'} {_VERBS[each.kind]}"
    return [finding(each, words, f"correct them: {look}")]


# Mending


def mend(session: Session, report: Report, memory: Memory, mark: str, *, accept: bool = False) -> Outcome:
    """Rebuild the indexes that depend on a changed collation, then note the present versions.

    Each rebuilt one is remembered, so that a killed run goes on where it was. No version is noted anew of a
    collation by which an index could not be rebuilt, or rows are, or may be, where they do not belong (unless
    `accept`).
    """
    data = session.context.settings.data_folder
    rebuilt = set(memory.rebuilt) if (memory.state, memory.fingerprint) == (CHANGED, mark) else set()
    # Also before anybody is served: a mended index is a broken one for the old libraries.
    memories.write(data, Memory(CHANGED, mark, frozenset(rebuilt)))
    _remove_leftovers(session, report)
    turns = _Turns(session)
    done: list[Dependent] = []
    failed = {
        (each.database, each.oid): finding(each, *_UNSAFE, broken=False)
        for each in report.indexes
        if each.unsafe
    }
    session.context.children.tied = True
    try:
        # Until none is left, for somebody may have made one meanwhile; but not for ever.
        for _ in range(_ROUNDS):
            todo = [
                each
                for each in collation.waiting(report, rebuilt)
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
                    memories.remember_rebuilt(data, made)
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
        findings += _misplaced(turns, report)
    refreshed, refused = _refresh(session, report, findings)
    findings += refused
    if not findings:
        memories.write(data, Memory(MATCHED, mark))
    return Outcome(tuple(done), refreshed, tuple(findings))


def _rebuild(
    session: Session, turns: _Turns, index: Dependent, report: Report, shown: progress.Progress
) -> tuple[str, int, int]:
    """Rebuild one index; return what tells later that it was."""
    if session.serving and index.exclusion:
        log.info(f"{index.name} serves an exclusion constraint: {index.table} takes no writes meanwhile")
    settings: dict[str, str | None] = {"lock_timeout": f"{_LOCKED}s"} if session.serving else {}
    if not index.privileged:
        # The owner's functions find what they always found; they run as the owner.
        settings["search_path"] = None
    try:
        turns.ask(
            index,
            collation.statement(index, serving=session.serving),
            limited=index.foreign or (index.written and not session.serving),
            # While clients work it waits for the end of their transactions.
            least=_LOCKED if session.serving else _LEAST,
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
        log.info(f"removing {each.name} in {each.database}, which an interrupted REINDEX has left")
        try:
            ask(session, each.database, f"DROP INDEX{concurrently} IF EXISTS {each.name}", writes=True)
        except Failure as failure:
            log.warning(f"{each.name} in {each.database} is still there: {failure.problems[0].what}")


def _refresh(
    session: Session, report: Report, findings: Sequence[Finding]
) -> tuple[tuple[str, ...], list[Finding]]:
    """Note the present versions of all collations that no finding is about.

    Returns the databases in which some had changed, and what could not be noted.
    """
    refreshed, refused = [], []
    answer = ask(session, None, dependents.databases_query(session.major, mixed=False))
    for each in collation.parse_databases(answer):
        ours = [found for found in findings if found.database == each.name]
        if any(not found.collations for found in ours):
            continue
        spoiled = {name for found in ours for name in found.collations}
        try:
            if each.connects:
                ask(session, each.name, collation.refresh(spoiled), writes=True)
            if each.changed and "default" not in spoiled:
                ask(session, None, collation.refresh_database(each.name), writes=True)
        except Failure as failure:
            words = f"the versions of database {each.name} cannot be noted: {failure.problems[0].what}"
            refused.append(Finding(each.name, "database", each.name, words, "entrypoint collation fix"))
            continue
        if any(one.database == each.name and one.collation not in spoiled for one in report.changes):
            refreshed.append(each.name)
    return tuple(refreshed), refused


def alone(context: Context) -> Alone:
    """Let nobody else mend during a block; raises Failure if somebody does."""

    def refuse() -> None:
        raise Failure(
            Problem("another entrypoint collation fix is at work", "wait for its end, it says what it does")
        )

    return Alone(f"{context.runtime_folder}/{_LOCK}", refuse)


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
