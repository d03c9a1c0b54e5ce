"""Text that may sort differently after an upgrade: what depends on it, and what the new cluster must know."""

from __future__ import annotations

import json
import os

from entrypoint.collation import dependents, examine, policy, remembered
from entrypoint.collation.asking import Session
from entrypoint.collation.remembered import CHANGED, Memory
from entrypoint.errors import Failure
from entrypoint.finding import Finding, error, ok, several, warning
from entrypoint.light import NamedTuple
from entrypoint.server import sessions, tour
from entrypoint.system.children import find_program

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from entrypoint.collation.dependents import Report
    from entrypoint.server.context import Context

_ICU = b"libicui18n.so."
_UNKNOWN = "other libraries"
_FIX = "docker exec CONTAINER entrypoint collation fix"
_INDEXES = """\
SELECT coalesce(json_agg(format('%I.%I', n.nspname, c.relname) ORDER BY n.nspname, c.relname), '[]')
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE """
_OF_WORDS = """\
EXISTS (SELECT FROM unnest(i.indclass::oid[]) AS class JOIN pg_opclass o ON o.oid = class
        WHERE o.opcintype = 'tsvector'::regtype"""
_NOT_LIBC = "(SELECT datlocprovider FROM pg_database WHERE datname = current_database()) <> 'c' AND "
_OF_FUZZY = """\
EXISTS (SELECT FROM pg_depend f JOIN pg_depend e ON e.objid = f.refobjid AND e.classid = f.refclassid
            JOIN pg_extension x ON x.oid = e.refobjid
        WHERE f.classid = 'pg_class'::regclass AND f.objid = i.indexrelid
            AND f.refclassid = 'pg_proc'::regclass AND e.deptype = 'e' AND x.extname = 'fuzzystrmatch')
"""


class _Change(NamedTuple):
    """What a major version changes by itself in what indexes hold."""

    since: int
    what: str
    query: str
    """Which indexes hold it."""
    hint: str = ""


_BY_PROVIDER = "full-text search and pg_trgm read words by the provider of the database, which is not libc"
_STEMS = "full-text search stems some words differently, among them English and German ones"
_STORED = "; a column that stores the tsvector has to be computed again"
_WORDS = (
    *(
        _Change(
            since,
            _BY_PROVIDER,
            f"{_INDEXES}{_NOT_LIBC}{_OF_WORDS} OR o.opcname IN ('gin_trgm_ops', 'gist_trgm_ops'))",
        )
        for since in (18, 19)
    ),
    *(_Change(since, _STEMS, f"{_INDEXES}{_OF_WORDS})", _STORED) for since in (18, 19)),
    _Change(19, "fuzzystrmatch reads letters other than ASCII differently", f"{_INDEXES}{_OF_FUZZY}"),
)
"""No collation's version shows them. Both 18 and 19 brought newer stemmers."""


class Sorting(NamedTuple):
    """How text sorts after an upgrade."""

    memory: Memory | None
    """What the new cluster must remember of the libraries that sorted its text; None: nothing.

    pg_upgrade does not take over the versions of the collations that initdb makes, so only this shows that
    other libraries have sorted what depends on them.
    """
    findings: tuple[Finding, ...]


def look(context: Context, old_context: Context, host: str, databases: Sequence[str], before: str) -> Sorting:
    """Ask the private server of the old cluster what depends on libraries that the new server does not have.

    `context` is that of the new server.
    """
    known = remembered.read(context.settings.data_folder)
    here = remembered.libraries()
    other = others(known.libraries, here, _icu(old_context), _icu(context))
    mixed = other or known.mixed(here)
    words = _by_words(context, old_context, host, databases, before)
    try:
        found = examine.look(Session(old_context, host, serving=False), mixed)
    except (Failure, OSError, *examine.ODD) as reason:
        what = reason.problems[0].what if isinstance(reason, Failure) else repr(reason)
        told = warning if context.settings.serving.collation_policy == "warn" else error
        failed = told(
            f"the collations could not be checked: {what}",
            "fix the cause that the message names, with the old image",
            examine.PAGE,
        )
        return Sorting(known._replace(rebuilt=frozenset()) if known.state else None, (failed, *words))
    if found.matches:
        return Sorting(None, (ok(f"text sorts as before ({here})"), *words))
    libraries = mixed or (known.libraries if known.libraries != here else "") or _UNKNOWN
    return Sorting(Memory(CHANGED, f"{libraries}; "), (_finding(context, found), *words))


def others(known: str, here: str, old_icu: str, new_icu: str) -> str:
    """Return the libraries, noted as `known`, that have sorted the text, if the new server has others.

    The image of an upgrade may have the ICU of two majors, so each program names its own.

    >>> both = "glibc 2.41, libicui18n.so.72, libicui18n.so.72.1, libicui18n.so.76, libicui18n.so.76.1"
    >>> others("glibc 2.41, libicui18n.so.72, libicui18n.so.72.1", both, "72", "76")
    'glibc 2.41, libicui18n.so.72, libicui18n.so.72.1'
    >>> others("glibc 2.41, libicui18n.so.76, libicui18n.so.76.1", both, "72", "76")
    ''
    >>> others("", both, "72", "76"), others("", both, "76", "76")
    ('other libraries', '')
    """
    new_libc = here.partition(", ")[0]
    libc, *icu = known.split(", ") if known else (new_libc,)
    majors = {each.partition(".so.")[2].partition(".")[0] for each in icu}
    sorted_by = majors.pop() if len(majors) == 1 else old_icu
    if libc == new_libc and (sorted_by == new_icu or not new_icu):
        return ""  # what the program does not show, the versions of the collations do
    return known or _UNKNOWN


def _icu(context: Context) -> str:
    """Return the version of the ICU that a server's program loads; empty: it loads none."""
    with open(os.path.realpath(find_program("postgres", context.environment)), "rb") as file:
        rest = file.read().partition(_ICU)[2]
    return rest.partition(b"\0")[0][:8].decode("ascii", "replace")


def _finding(context: Context, found: Report) -> Finding:
    wanted = context.settings.serving.collation_policy
    what = "\n".join([dependents.headline(found), *dependents.describe(found, most=5)])
    asked = context.settings.upgrade
    unbacked = asked is not None and asked.without_backup and not policy.has_recent_backup(context)
    if wanted == "refuse" and found.weighs:
        hint = (
            "COLLATION_POLICY=refuse would not let the new server start: use an image with the old "
            f"libraries; or COLLATION_POLICY=reindex; or COLLATION_POLICY=warn, and after the upgrade: {_FIX}"
        )
        return error(what, hint, examine.PAGE)
    if wanted == "reindex" and found.weighs and unbacked:
        hint = (
            "COLLATION_POLICY=reindex needs a base backup of the last two days: remove "
            f"UPGRADE_WITHOUT_BACKUP; or set COLLATION_POLICY=warn, and after the upgrade: {_FIX}"
        )
        return error(what, hint, examine.PAGE)
    if wanted == "reindex":
        return warning(
            what,
            "the first start rebuilds them before clients can connect (COLLATION_POLICY=reindex), which adds "
            "to the downtime",
            examine.PAGE,
        )
    return warning(
        what,
        f"after the upgrade: {_FIX} (until then, rows may not be found); COLLATION_POLICY=reindex rebuilds "
        "before clients can connect",
        examine.PAGE,
    )


def _by_words(
    context: Context, old_context: Context, host: str, databases: Sequence[str], before: str
) -> list[Finding]:
    """Return the indexes on words that the new major version reads or stems differently by itself."""
    after = context.environment.get("PG_MAJOR", "")
    changes = [each for each in _WORDS if int(before) < each.since <= int(after)]
    if not changes:
        return []
    found = []
    asked = {str(number): each.query for number, each in enumerate(changes)}
    for name, answered in tour.ask(
        old_context, databases, asked, each=sessions.QUICK, host=host, patience=sessions.PATIENCE
    ):
        told: set[str] = set()
        for number, each in enumerate(changes):
            names = json.loads(answered.answers.get(str(number), "[]"))
            if names and each.what not in told:
                told.add(each.what)
                found.append(
                    warning(
                        f"from PostgreSQL {each.since} on, {each.what}; in {name}, these indexes are from "
                        f"before: {several(names)}",
                        f"after the upgrade, in the database {name}: REINDEX INDEX CONCURRENTLY {names[0]}"
                        + ("; and so each of them" if len(names) > 1 else "")
                        + each.hint,
                        examine.PAGE,
                    )
                )
    return found
