"""Collations that sort otherwise than before, and what depends on them; pure.

PostgreSQL notes for each collation, and from 15 on for each database, the version of the library (libc or
ICU) that sorted it. With another library the order may be another one: an index that was built by the old
order is then searched by the new one, rows are not found, and a unique index takes duplicates.

What depends on a collation is asked by `queries`. What of it is read by a superuser, and not only rebuilt,
is what `harmless` allows; what may run code of users is named, with the SQL by which its owner can look.
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
    """One database, as the cluster knows it."""

    name: str
    connects: bool
    recorded: str | None
    """Version of its own collation; None: it has none, or PostgreSQL 14 and older, which notes none."""
    actual: str | None
    changed: bool
    """Its own collation."""
    trusted: bool = False
    """As of a change."""


class Dependent(NamedTuple):
    """One object that depends on a changed collation."""

    kind: Kind
    database: str
    name: str
    """Quoted and with its schema, as SQL wants it; of a constraint or a column without."""
    table: str
    collations: tuple[str, ...]
    """The changed ones, as SQL wants them; `default` is the database's own."""
    oid: int = 0
    filenode: int = 0
    bytes: int = 0
    method: str = ""
    """Of an index: btree, gist, …"""
    constraint: str = ""
    """Of an index: the constraint that it serves."""
    unique: bool = False
    exclusion: bool = False
    test: str = ""
    """Of what no reindex mends: the condition, as SQL, that a row meets which does not belong there."""
    keys: str = ""
    """Of a unique index: what must differ between two rows, as SQL."""
    predicate: str = ""
    """Of a unique index: which rows count, as SQL."""
    domain: str = ""
    """Of a CHECK: the domain that it is of, as SQL wants it; it is then told once for each column."""
    column: str = ""
    """The column that holds the domain's values."""
    values: str = ""
    """What has these values as its column `value`, as SQL."""
    written: bool = False
    """Of an index: it has expressions or a predicate."""
    foreign: bool = False
    """To evaluate it may run code of users."""
    unsafe: bool = False
    """Of an index: to rebuild it would run code of others as the superuser."""
    owner: str = ""
    """Of the table, as SQL wants it."""
    privileged: bool = False
    """The owner is a superuser."""
    stored: int = 0
    """Bytes of the table."""
    shape: str = ""
    """What `harmless.guard` wants to see again."""

    @property
    def rows(self) -> str:
        """The table that holds its rows, as SQL wants it."""
        return self.name if self.kind == PARTITION else self.table

    @property
    def source(self) -> str:
        """What `test` is asked of, as SQL wants it."""
        return self.values or f"ONLY {self.rows}"

    @property
    def words(self) -> str:
        """What it is, for people."""
        notes = [f"constraint {self.constraint}"] if self.constraint else []
        notes += ["unique"] if self.unique else []
        notes += [f"column {self.column}, domain {self.domain}"] if self.domain else []
        where = "" if self.kind == VIEW else f" on {self.table}"
        told = f" ({', '.join(notes)})" if notes else ""
        return f"{self.kind} {self.name}{where}{told}"


class Change(NamedTuple):
    """One collation whose version is another one now."""

    database: str
    collation: str
    """As SQL wants it; `default` is the database's own."""
    recorded: str | None
    actual: str | None
    trusted: bool = False
    """A superuser has noted the same version; other ones may be made up."""


class Unlooked(NamedTuple):
    """A database that could not be looked into."""

    database: str
    words: str


class Leftover(NamedTuple):
    """An invalid index that an interrupted REINDEX CONCURRENTLY has left."""

    database: str
    name: str


class Report(NamedTuple):
    """What was found in the whole cluster."""

    changes: tuple[Change, ...] = ()
    """Of databases, and of collations that something depends on."""
    dependents: tuple[Dependent, ...] = ()
    leftovers: tuple[Leftover, ...] = ()
    unseen: tuple[str, ...] = ()
    """Databases that nobody can connect to, so that what depends on their collation is not known."""
    unlooked: tuple[Unlooked, ...] = ()
    late: tuple[str, ...] = ()
    """Databases that were not looked at for time."""
    mixed: str = ""
    """Other libraries with which it was served for a while, whatever the versions say."""
    everything: bool = False
    """All collations with a version count as changed."""

    @property
    def indexes(self) -> tuple[Dependent, ...]:
        """What a reindex mends."""
        return tuple(each for each in self.dependents if each.kind == INDEX)

    @property
    def others(self) -> tuple[Dependent, ...]:
        """What no reindex mends."""
        return tuple(each for each in self.dependents if each.kind != INDEX)

    @property
    def matches(self) -> bool:
        """Whether nothing is to be done."""
        return not (self.changes or self.dependents or self.unlooked)

    @property
    def weighs(self) -> bool:
        """Whether it is more than what a role without rights can make up for its own objects.

        Anybody may note any version for a collation of his own, and make tables that depend on it.
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
    """What is broken, or what was not mended."""

    database: str
    kind: Kind | Literal["database", "server"]
    name: str
    words: str
    hint: str
    collations: tuple[str, ...] = ()
    """Whose versions are not noted anew until it is mended; none: those of the whole database."""
    broken: bool = True
    """It was looked at."""


def finding(dependent: Dependent, words: str, hint: str, *, broken: bool = True) -> Finding:
    """Return what a closer look at one object has found; `words` follow its name."""
    what = f"{dependent.words} in {dependent.database} {words}"
    return Finding(
        dependent.database, dependent.kind, dependent.name, what, hint, dependent.collations, broken
    )


def unseen_findings(found: Report) -> list[Finding]:
    """Return the databases that could not be looked at."""
    return [
        Finding(
            database,
            "database",
            database,
            f"database {database} could not be looked into: {words}",
            "see its own words; then: entrypoint collation fix",
            broken=False,
        )
        for database, words in found.unlooked
    ] + [
        Finding(
            name,
            "database",
            name,
            f"nobody can connect to database {name}, so what depends on its collation is not known",
            f"ALTER DATABASE {sql.identifier(name)} ALLOW_CONNECTIONS true, then: entrypoint collation fix",
            broken=False,
        )
        for name in found.unseen
    ]


def parse_databases(text: str) -> list[Database]:
    """Read what DATABASES answers."""
    return [Database(**json.loads(line)) for line in sql.lines(text)]


def parse_database(name: str, text: str) -> tuple[list[Change], list[Dependent], list[Leftover]]:
    """Read what DEPENDENTS answers in one database."""
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
    """Put together what was found.

    Changed collations that nothing depends on do not count: every database has hundreds of them, and a new
    one inherits those of template0, which nobody can mend there. A database's own always counts, since
    PostgreSQL warns at each connection.
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
    # template0 holds nothing of anybody's.
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
    """Return the indexes still to be rebuilt; `rebuilt` has database, oid and file node of the others."""
    return [each for each in found.indexes if (each.database, each.oid, each.filenode) not in rebuilt]


def version(change: Change) -> str:
    """Return what has changed, for people."""
    return f"{change.recorded or 'none'} is noted, {change.actual or 'none'} is here"


SHOWN = 15


def describe(found: Report, most: int = SHOWN) -> list[str]:
    """Return the list for people: each collation, what depends on it, and how large that is."""
    lines = [
        f"database {each.database}, collation {each.collation}: {version(each)}" for each in found.changes
    ]
    if found.mixed:
        lines.append(f"it was served with {found.mixed} meanwhile, which wrote by another order")
    lines += [
        f"database {each.database}: {each.words}, {spell(each.bytes)}, by {', '.join(each.collations)}"
        for each in found.dependents
    ]
    lines += [each.words for each in unseen_findings(found)]
    if len(lines) > most:
        lines[most:] = [f"and {len(lines) - most} more: entrypoint collation show"]
    return lines


def headline(found: Report) -> str:
    """Return in one sentence what is wrong."""
    count = len(found.indexes)
    what = f"{count} index{'' if count == 1 else 'es'} ({spell(sum(each.bytes for each in found.indexes))})"
    if found.others:
        what += f" and {len(found.others)} other object{'' if len(found.others) == 1 else 's'}"
    return f"a library that sorts text has changed, and what depends on the old order is {what}"


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
