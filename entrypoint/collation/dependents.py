"""Collations whose sort order may have changed, and the objects that depend on them; pure.

PostgreSQL records for each collation, and from 15 on for each database, the version of the library (libc or
ICU) that defines its order. Another library may sort differently: an index that was built in the old order
is then searched in the new one, so rows are not found, and a unique index admits duplicates.

`queries` finds the dependent objects. A superuser reads an object, instead of only rebuilding it, if
`harmless` allows that. An object that may run users' code is named, with the SQL that its owner can run.
"""

from __future__ import annotations

import json

from entrypoint.light import NamedTuple
from entrypoint.postgres import sql
from entrypoint.shown import spell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from typing import Literal

    Kind = Literal["index", "check", "partition", "range column", "materialized view"]

INDEX: Literal["index"] = "index"
CHECK: Literal["check"] = "check"
PARTITION: Literal["partition"] = "partition"
RANGE: Literal["range column"] = "range column"
VIEW: Literal["materialized view"] = "materialized view"


class Database(NamedTuple):
    """One database, from pg_database."""

    name: str
    connects: bool
    recorded: str | None
    """The recorded version of its default collation; None: there is none, or in PostgreSQL 14 and older."""
    actual: str | None
    changed: bool
    """Whether the version of its default collation has changed."""
    trusted: bool = False
    """As in `Change`."""


class Dependent(NamedTuple):
    """One object that depends on a changed collation."""

    kind: Kind
    database: str
    name: str
    """Quoted for SQL, with its schema; the name of a constraint or a column has no schema."""
    table: str
    collations: tuple[str, ...]
    """The changed ones, quoted for SQL; `default` is the database's default collation."""
    oid: int = 0
    filenode: int = 0
    bytes: int = 0
    method: str = ""
    """The access method of an index: btree, gist, …"""
    constraint: str = ""
    """The constraint that an index implements."""
    unique: bool = False
    exclusion: bool = False
    test: str = ""
    """For an object that no reindex repairs: the SQL condition that holds for misplaced rows."""
    keys: str = ""
    """The keys of a unique index, as SQL."""
    predicate: str = ""
    """The predicate of a unique index, as SQL."""
    domain: str = ""
    """The domain of a CHECK, quoted for SQL; the CHECK is then listed once for each column."""
    column: str = ""
    """The column that holds the domain's values."""
    values: str = ""
    """A table expression, as SQL, that has these values as its column `value`."""
    written: bool = False
    """Whether an index has expressions or a predicate."""
    foreign: bool = False
    """Whether evaluating it may run users' code."""
    unsafe: bool = False
    """Whether rebuilding the index would run other users' code as the superuser."""
    owner: str = ""
    """The owner of the table, quoted for SQL."""
    privileged: bool = False
    """Whether the owner is a superuser."""
    stored: int = 0
    """The bytes of the table."""
    shape: str = ""
    """The shape of the table, which `harmless.guard` checks again."""

    @property
    def rows(self) -> str:
        """The table that holds its rows, quoted for SQL."""
        return self.name if self.kind == PARTITION else self.table

    @property
    def source(self) -> str:
        """The table expression to which `test` applies, as SQL."""
        return self.values or f"ONLY {self.rows}"

    @property
    def words(self) -> str:
        """A description of the object, for people."""
        notes = [f"constraint {self.constraint}"] if self.constraint else []
        notes += ["unique"] if self.unique else []
        notes += [f"column {self.column}, domain {self.domain}"] if self.domain else []
        where = "" if self.kind == VIEW else f" on {self.table}"
        more = f" ({', '.join(notes)})" if notes else ""
        return f"{self.kind} {self.name}{where}{more}"


class Change(NamedTuple):
    """One collation whose version has changed."""

    database: str
    collation: str
    """Quoted for SQL; `default` is the database's default collation."""
    recorded: str | None
    actual: str | None
    trusted: bool = False
    """Whether a superuser has recorded the same version; any other version may be made up."""


class Unlooked(NamedTuple):
    """A database that could not be looked into."""

    database: str
    words: str


class Leftover(NamedTuple):
    """An invalid index that an interrupted REINDEX CONCURRENTLY has left behind."""

    database: str
    name: str


class Report(NamedTuple):
    """The findings in the whole cluster."""

    changes: tuple[Change, ...] = ()
    """Changed default collations of databases, and changed collations on which an object depends."""
    dependents: tuple[Dependent, ...] = ()
    leftovers: tuple[Leftover, ...] = ()
    unseen: tuple[str, ...] = ()
    """Databases that accept no connections, so that the dependents of their collation are unknown."""
    unlooked: tuple[Unlooked, ...] = ()
    late: tuple[str, ...] = ()
    """Databases that were not looked into for lack of time."""
    mixed: str = ""
    """Other libraries with which the cluster was served for a while, whatever the versions say."""
    everything: bool = False
    """Whether all collations with a version count as changed."""

    @property
    def indexes(self) -> tuple[Dependent, ...]:
        """The objects that a reindex repairs."""
        return tuple(each for each in self.dependents if each.kind == INDEX)

    @property
    def others(self) -> tuple[Dependent, ...]:
        """The objects that no reindex repairs."""
        return tuple(each for each in self.dependents if each.kind != INDEX)

    @property
    def matches(self) -> bool:
        """Whether there is nothing to do."""
        return not (self.changes or self.dependents or self.unlooked)

    @property
    def weighs(self) -> bool:
        """Whether the report holds more than a role without privileges can make up with its own objects.

        Every role may record any version for its own collation, and create tables that depend on it.
        """
        trusted = {(each.database, each.collation) for each in self.changes if each.trusted}
        own = any(collation == "default" for _, collation in trusted)
        return bool(
            own
            or self.mixed
            or self.unlooked
            or any(
                each.stored and (each.database, name) in trusted
                for each in self.dependents
                for name in each.collations
            )
        )


class Finding(NamedTuple):
    """An object that is broken, or that was not repaired or not checked."""

    database: str
    kind: Kind | Literal["database", "server"]
    name: str
    words: str
    hint: str
    collations: tuple[str, ...] = ()
    """Their new versions are recorded only after the repair; if empty, this holds for the whole database."""
    broken: bool = True
    """Whether it is known to be broken; otherwise it could not be checked."""


def finding(dependent: Dependent, words: str, hint: str, *, broken: bool = True) -> Finding:
    """Return a finding about one object; `words` follow its name."""
    what = f"{dependent.words} in {dependent.database} {words}"
    return Finding(
        dependent.database, dependent.kind, dependent.name, what, hint, dependent.collations, broken
    )


def unseen_findings(found: Report) -> list[Finding]:
    """Return a finding for each database that could not be looked into."""
    return [
        Finding(
            database,
            "database",
            database,
            f"database {database} could not be looked into: {words}",
            "fix the cause that the message names, then: entrypoint collation fix",
            broken=False,
        )
        for database, words in found.unlooked
    ] + [
        Finding(
            name,
            "database",
            name,
            f"nobody can connect to database {name}, so it is not known what depends on its collation",
            f"ALTER DATABASE {sql.identifier(name)} ALLOW_CONNECTIONS true, then: entrypoint collation fix",
            broken=False,
        )
        for name in found.unseen
    ]


def parse_databases(text: str) -> list[Database]:
    """Parse the answer to `queries.databases_query`."""
    return [Database(**json.loads(line)) for line in sql.lines(text)]


def parse_database(name: str, text: str) -> tuple[list[Change], list[Dependent], list[Leftover]]:
    """Parse the answer of one database to `queries.dependents_query`."""
    changes, dependents, leftovers = [], [], []
    for line in sql.lines(text):
        row = json.loads(line)
        row |= row.pop("fields", {})
        kind = row.pop("kind")
        if kind == "changed":
            changes.append(Change(name, **row))
        elif kind == "leftover":
            leftovers.append(Leftover(name, **row))
        else:
            row["collations"] = tuple(row["collations"])
            dependents.append(Dependent(kind=kind, database=name, **row))
    return changes, dependents, leftovers


def report(
    databases: Sequence[Database],
    found: Iterable[tuple[Sequence[Change], Sequence[Dependent], Sequence[Leftover]]],
    mixed: str = "",
    *,
    everything: bool = False,
    unlooked: Iterable[Unlooked] = (),
    late: Iterable[str] = (),
) -> Report:
    """Combine the findings.

    Changed collations without dependents do not count: every database has hundreds of them, and a new
    database inherits those of template0, where nobody can fix them. A database's default collation always
    counts, since PostgreSQL warns at each connection.
    """
    changes = {
        (each.name, "default"): Change(each.name, "default", each.recorded, each.actual, each.trusted)
        for each in databases
        if each.changed
    }
    dependents: list[Dependent] = []
    leftovers: list[Leftover] = []
    for collations, objects, remains in found:
        used = {name for each in objects for name in each.collations}
        for each in collations:
            place = (each.database, each.collation)
            if (each.trusted and place in changes) or (place not in changes and each.collation in used):
                changes[place] = each
        dependents += objects
        leftovers += remains
    # template0 holds no objects of users.
    unseen = [
        each.name for each in databases if not each.connects and each.changed and each.name != "template0"
    ]
    return Report(
        tuple(changes.values()),
        tuple(dependents),
        tuple(leftovers),
        tuple(unseen),
        tuple(unlooked),
        tuple(late),
        mixed,
        everything,
    )


def waiting(found: Report, rebuilt: Collection[tuple[str, int, int]]) -> list[Dependent]:
    """Return the indexes still to be rebuilt; `rebuilt` holds database, oid and file node of the others."""
    return [each for each in found.indexes if (each.database, each.oid, each.filenode) not in rebuilt]


def version(change: Change) -> str:
    """Return both versions, for people."""
    return f"{change.recorded or 'none'} is recorded, {change.actual or 'none'} is here"


SHOWN = 15


def describe(found: Report, most: int = SHOWN) -> list[str]:
    """Return the list for people: the collations, and the objects that depend on them, with their sizes."""
    lines = [
        f"database {each.database}, collation {each.collation}: {version(each)}" for each in found.changes
    ]
    if found.mixed:
        lines.append(f"for a while it was served with {found.mixed}, which writes in another order")
    lines += [
        f"database {each.database}: {each.words}, {spell(each.bytes)}, by {', '.join(each.collations)}"
        for each in found.dependents
    ]
    lines += [each.words for each in unseen_findings(found)]
    if len(lines) > most:
        lines[most:] = [f"and {len(lines) - most} more: entrypoint collation show"]
    return lines


def headline(found: Report) -> str:
    """Return the problem in one sentence."""
    count = len(found.indexes)
    what = f"{count} index{'' if count == 1 else 'es'} ({spell(sum(each.bytes for each in found.indexes))})"
    if found.others:
        what += f" and {len(found.others)} other object{'' if len(found.others) == 1 else 's'}"
    return f"a library that sorts text has changed, and these depend on the old order: {what}"


def as_json(found: Report) -> dict[str, object]:
    """Return the report for machines."""
    hidden = ("test", "keys", "predicate", "values", "written", "unsafe", "stored", "shape")
    return {
        "matches": found.matches,
        "mixed": found.mixed or None,
        "changes": [each._asdict() for each in found.changes],
        "dependents": [
            {name: value for name, value in each._asdict().items() if name not in hidden}
            for each in found.dependents
        ],
        "leftovers": [each._asdict() for each in found.leftovers],
        "unseen": list(found.unseen),
        "unlooked": [each._asdict() for each in found.unlooked],
    }
