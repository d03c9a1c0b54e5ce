"""Finds the objects that depend on changed collations, and checks which are broken; changes nothing."""

from __future__ import annotations

import json
import secrets
import time

from entrypoint.collation import dependents, queries, remembered
from entrypoint.collation.asking import Session, Turns, ask, ask_each
from entrypoint.collation.dependents import Dependent, Finding, Report, Unlooked, finding
from entrypoint.errors import Failure, Problem
from entrypoint.light import re
from entrypoint.server.data_folder import live_postmaster
from entrypoint.system import progress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from entrypoint.collation.remembered import Memory
    from entrypoint.server.context import Context

    _Found = tuple[list[dependents.Change], list[Dependent], list[dependents.Leftover]]
    # The answer of one database.

PAGE = "fix-collations"
"""The page about collations in docs/how-to/."""
ODD = (ValueError, TypeError, LookupError, ArithmeticError, RecursionError)
"""The exceptions of an answer that we do not understand, whatever a user has put into a name."""


def look(
    session: Session,
    mixed: str = "",
    *,
    everything: bool = False,
    only: Collection[str] | None = None,
    seconds: float | None = None,
) -> Report:
    """Return the changed collations and their dependents.

    With `mixed` (other libraries with which the cluster was served) or `everything`, all collations with a
    version count as changed. All databases are looked into, or `only` the given ones; after `seconds`, no
    further database is.
    """
    assume = bool(mixed) or everything
    answer = ask(session, None, queries.databases_query(session.major, mixed=assume))
    databases = dependents.parse_databases(answer)
    names = [each.name for each in databases if each.connects and (only is None or each.name in only)]
    began = time.monotonic()
    found: dict[str, _Found] = {}
    unlooked: dict[str, str] = {}
    late: set[str] = set()
    if not assume:
        # The long query is slow, and slower to plan, so only databases with a change get it.
        counted = {"collations": queries.changed_query(session.major)}
        for name, answered in ask_each(session, names, counted, seconds):
            if answered.late:
                late.add(name)
            elif "collations" not in answered.answers:
                unlooked[name] = answered.words
            elif answered.answers["collations"] == "0":
                found[name] = ([], [], [])
    query = {"dependents": queries.dependents_query(session.major, mixed=assume)}
    rest = [name for name in names if name not in found and name not in unlooked and name not in late]
    left = None if seconds is None else max(0.0, began + seconds - time.monotonic())
    for name, answered in ask_each(session, rest, query, left):
        if answered.late:
            late.add(name)
        elif "dependents" not in answered.answers:
            unlooked[name] = answered.words
        else:
            try:
                found[name] = dependents.parse_database(name, answered.answers["dependents"])
            except ODD as error:
                # Whatever a user has written into one database, the others are still looked into.
                unlooked[name] = f"its answer is not understood: {error}"
    return dependents.report(
        databases,
        [found[name] for name in names if name in found],
        mixed,
        everything=assume,
        unlooked=[Unlooked(name, unlooked[name]) for name in names if name in unlooked],
        late=[name for name in names if name in late],
    )


def found(
    context: Context,
    *,
    all_match: bool = False,
    only: Collection[str] | None = None,
    seconds: float | None = None,
    late: list[str] | None = None,
) -> Problem | str | None:
    """Return the problem with the collations, or a text that says that all is well; None without a database.

    Queries the running server, unless it is known (`all_match`) that the versions of all collations in all
    databases match; `only` names the databases that may have changed, if they are known. Without a server,
    returns the result of the last start. Adds databases that were not looked into within `seconds` to `late`.
    Changes nothing.
    """
    data = context.settings.data_folder
    mark = remembered.fingerprint(context)
    if not mark:
        return None
    memory = remembered.read(data)
    running = live_postmaster(data)
    if all_match and not memory.mixed(mark):
        return f"all match ({remembered.libraries()})"
    if running is not None and running.status in ("ready", "standby"):
        # No version shows what other libraries have written.
        only = None if memory.mixed(mark) else only
        told, missed = _by_server(context, memory, mark, only=only, seconds=seconds)
        if late is not None:
            late += missed
        return told
    if (memory.state, memory.fingerprint) == (remembered.MATCHED, mark):
        return f"all match, by the last start ({remembered.libraries()})"
    if memory.libraries and memory.libraries != remembered.libraries():
        return Problem(
            remembered.elsewhere(memory, mark),
            "the next start looks at the collations, and does what COLLATION_POLICY says",
            docs=PAGE,
        )
    return "not looked at yet: the next start does that"


def _by_server(
    context: Context,
    memory: Memory,
    mark: str,
    *,
    only: Collection[str] | None = None,
    seconds: float | None = None,
) -> tuple[Problem | str, tuple[str, ...]]:
    """Return the problem in the running server, or a text that says that all is well.

    Also returns the databases that were not looked into for lack of time. `look` explains the arguments.
    """
    try:
        report = look(Session(context), memory.mixed(mark), only=only, seconds=seconds)
    except Failure as failure:
        return failure.problems[0], ()
    if report.matches:
        return f"all match ({remembered.libraries()})", report.late
    problem = Problem(
        "\n".join([dependents.headline(report), *dependents.describe(report, most=5)]),
        "entrypoint collation check --amcheck shows what is broken, entrypoint collation fix repairs it",
        docs=PAGE,
    )
    return problem, report.late


def check(session: Session, report: Report, *, amcheck: bool) -> list[Finding]:
    """Return what is really broken: misplaced rows, duplicate keys, and with `amcheck` B-tree indexes.

    Objects that cannot be checked are named as well, and do not prevent the other checks.
    """
    turns = Turns(session)
    found = [*dependents.unseen_findings(report), *misplaced(turns, report)]
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
            finding(
                index, words, "fix that cause, or rebuild the index: entrypoint collation fix", broken=False
            )
        ]


def _amcheck(turns: Turns, session: Session, index: Dependent, shown: progress.Progress) -> list[Finding]:
    """Return what amcheck finds in an index; it switches to the table's owner to evaluate expressions."""
    if index.unsafe:
        return [finding(index, *UNSAFE, broken=False)]
    answer = ask(session, index.database, queries.AMCHECK)
    recovers, _, installed = answer.partition("|")
    # In a schema whose name nobody can know in advance, and which ends with the transaction: another user's
    # schema could hold a function that is called in place of the right one.
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


_FOREIGN = "is not checked: evaluating it may run users' code, and would run it as the superuser"
UNSAFE = (
    "is left as it is: rebuilding or reading it would run other users' code as the superuser",
    "give its functions to the superuser, or its table to another role; then: entrypoint collation fix",
)


def _duplicates(turns: Turns, index: Dependent, shown: progress.Progress) -> list[Finding]:
    """Return the keys that occur more than once in the table of a unique index."""
    if index.foreign:
        words = f"{_FOREIGN}; a rebuild does find duplicates"
        return [finding(index, words, _look_by_hand(index, queries.twice_query(index)), broken=False)]
    query = queries.guarded(index, queries.duplicates_query(index))
    answer = json.loads(turns.ask(index, query, limited=index.written, shown=shown))
    if not answer["keys"]:
        return []
    count = f"{answer['keys']} key{'' if answer['keys'] == 1 else 's'}"
    words = f"has admitted duplicates: {count} more than once, for example {answer['example']}"
    hint = "delete all but one row of each key (with enable_indexscan = off), then: entrypoint collation fix"
    return [finding(index, words, hint)]


def _look_by_hand(each: Dependent, query: str) -> str:
    who = "a role that may read it and has no other privileges" if each.privileged else each.owner
    return f"let {who} run: {query}"


_VERBS = {
    dependents.CHECK: "against it",
    dependents.PARTITION: "of another partition",
    dependents.RANGE: "with a range that ends before it begins",
}


def misplaced(turns: Turns, report: Report) -> list[Finding]:
    """Return what no reindex repairs: rows that violate a CHECK or a partition, and reversed ranges."""
    return [
        told for each in report.others if each.kind != dependents.VIEW for told in _misplaced_of(turns, each)
    ]


def _misplaced_of(turns: Turns, each: Dependent) -> list[Finding]:
    if not each.test:
        words = "is not checked here: its values are stored inside others"
        hint = f"look at the values of {each.domain} in column {each.column} of {each.table}"
        return [finding(each, words, hint, broken=False)]
    look = queries.rows_query(each)
    if each.foreign:
        return [finding(each, _FOREIGN, _look_by_hand(each, look), broken=False)]
    try:
        count = int(turns.ask(each, queries.guarded(each, queries.count_query(each))))
    except Failure as failure:
        words = f"cannot be checked: {failure.problems[0].what}"
        how = f"fix that cause, or {_look_by_hand(each, look)}"
        return [finding(each, words, how, broken=False)]
    if not count:
        return []
    words = f"is violated: {count} row{'' if count == 1 else 's'} {_VERBS[each.kind]}"
    return [finding(each, words, f"correct them: {look}")]
