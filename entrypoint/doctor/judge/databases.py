"""What is in the cluster: slots, ages, extensions, locales, collations, the password; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from entrypoint.errors import Problem
from entrypoint.finding import Finding, error, ok, several, warning
from entrypoint.light import NamedTuple
from entrypoint.postgres import passwords
from entrypoint.postgres.argv import first_line
from entrypoint.shown import spell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from entrypoint.settings.serving import Policy

_IDLE_SLOT = 256 * 1024**2
"""Bytes: sixteen segments, more than a restart of whoever reads the slot lets pile up."""
_LATE_SLOT = 10 * 1024**3
"""Bytes that a slot in use may be behind: ten times max_wal_size as it is by default."""

_FORCED = 1.5
"""Times autovacuum_freeze_max_age: autovacuum begins at once that, and has not got through by then."""
_FAILSAFE = 1_600_000_000
"""Of 2^31 transactions: from here on VACUUM itself leaves everything else out (vacuum_failsafe_age)."""


class Slot(NamedTuple):
    """A replication slot."""

    name: str
    active: bool
    status: str
    """`reserved`, `extended`, `unreserved` or `lost`."""
    held: int
    """Bytes of WAL that are kept for it."""


def slots(found: Sequence[Slot], limit: int, free: int | None) -> list[Finding]:
    """Judge what slots hold.

    `limit` is max_slot_wal_keep_size in bytes (negative: none), `free` the room that is left.
    """
    told = [finding for slot in found for finding in _slot(slot, limit, free)]
    return told or [ok(f"{len(found)} replication slots, none holds much WAL")]


def _slot(slot: Slot, limit: int, free: int | None) -> list[Finding]:
    drop = f"SELECT pg_drop_replication_slot('{slot.name}')"
    if slot.status in ("lost", "unreserved"):
        what = f"slot {slot.name} has lost WAL, or loses it with the next checkpoint ({slot.status})"
        return [error(what, f"build its standby or subscription anew; where nobody needs it: {drop}")]
    reader = "" if slot.active else ", which nobody reads"
    what = f"{spell(slot.held)} of WAL are kept for slot {slot.name}{reader}"
    until = f"up to max_slot_wal_keep_size ({spell(limit)})" if limit >= 0 else "without a limit"
    hint = f"let its reader catch up; where nobody needs it: {drop}; limit it by max_slot_wal_keep_size"
    if slot.held > (_LATE_SLOT if slot.active else _IDLE_SLOT):
        # Does the volume end before the limit does?
        soon = free is not None and slot.held > free and (limit < 0 or limit - slot.held > free)
        return [(error if soon else warning)(f"{what}, {until}", hint)]
    return []


def wraparound(ages: Mapping[str, tuple[int, int]], limits: tuple[int, int]) -> list[Finding]:
    """Judge the ages of each database's oldest transaction and multixact.

    `limits` are autovacuum_freeze_max_age and autovacuum_multixact_freeze_max_age.
    """
    told = []
    for name, pair in ages.items():
        for what, age, limit in zip(("transaction", "multixact"), pair, limits, strict=True):
            words = f"the oldest {what} of database {name} is {age / 1e6:.1f} million back, of 2147 million"
            hint = (
                "end what holds it: old sessions (pg_stat_activity.backend_xmin), prepared transactions, "
                f"slots; then: vacuumdb --freeze --dbname={name}"
            )
            if age >= _FAILSAFE:
                told.append(error(f"{words}: the server stops taking writes before that", hint))
            elif age > limit * _FORCED:
                told.append(warning(f"{words}; autovacuum was to begin at {limit / 1e6:.1f}", hint))
    oldest = max((pair[0] for pair in ages.values()), default=0)
    return told or [ok(f"the oldest transaction is {oldest / 1e6:.1f} million back, of 2147 million")]


def restart(pending: Sequence[str]) -> list[Finding]:
    """Judge settings that were changed and not taken over yet."""
    if not pending:
        return [ok("no setting waits for a restart")]
    what = f"changed, but only in effect after a restart: {several(list(pending))}"
    return [warning(what, "restart the container when it suits; a mistake in them shows only then")]


class Extension(NamedTuple):
    """An extension of a database."""

    name: str
    installed: str
    available: str | None
    """The version that the image would create; None: it has none."""


class Unlooked(NamedTuple):
    """What a check has not seen."""

    late: Sequence[str] = ()
    """Databases for which there was no time."""
    silent: Mapping[str, str] = {}
    """Databases that gave no answer, and their words."""
    total: int = 0
    """Databases there are."""
    seconds: float = 0
    """There were."""

    def __bool__(self) -> bool:
        """Tell whether there is anything."""
        return bool(self.late or self.silent)


NOTHING = Unlooked()


def unlooked(check: str, found: Unlooked) -> list[Finding]:
    """Tell what was not looked at, and how it is."""
    told = []
    if found.late:
        # As fast as it went, and once more as long, for the machine may have been idle.
        looked = max(1, found.total - len(found.late))
        enough = 10 * int(1 + max(2.0, found.seconds) * found.total / looked / 5)
        what = f"not looked at within {found.seconds:g} s: {len(found.late)} of {found.total} databases"
        hint = f"entrypoint doctor --seconds {enough} {check}"
        told.append(warning(f"{what} ({several(list(found.late))})", hint))
    by_words: dict[str, list[str]] = {}
    for name, words in found.silent.items():
        by_words.setdefault(words, []).append(name)
    for words, names in by_words.items():
        what = f"not looked at, for there was no answer: {several(names)}: {words}"
        told.append(warning(what, f"see its own words, then: entrypoint doctor {check}"))
    return told


def libraries(who: str, missing: Sequence[str]) -> list[Finding]:
    """Judge the libraries that functions need and that are `missing`."""
    if not missing:
        return []
    what = f"{who} needs libraries that the image lacks: {several(list(missing))}"
    return [error(what, "use an image that has them; until then what calls them fails")]


def extensions(database: str, found: Sequence[Extension], missing: Sequence[str]) -> list[Finding]:
    """Judge the extensions of a database; `missing` are libraries that its functions need."""
    told = libraries(f"database {database}", missing)
    for each in found:
        if each.available is None:
            what = f"extension {each.name} {each.installed} of database {database} is not in the image"
            told.append(error(what, f"use an image that has {each.name}"))
        elif each.available != each.installed:
            what = f"extension {each.name} of {database} is {each.installed}, the image has {each.available}"
            hint = f'in {database}: ALTER EXTENSION "{each.name}" UPDATE; its notes tell what changes'
            told.append(warning(what, hint))
    return told


def locales(
    missing: Mapping[str, Sequence[str]], unreachable: Sequence[str], late: Unlooked = NOTHING
) -> list[Finding]:
    """Judge locales that the image lacks, by what needs them, and databases that cannot be connected to.

    Of those that are `late` it is not known.
    """
    told = [
        error(
            f"the image has no locale {name}, which is needed by {several(list(places))}",
            "use an image with the locales of the one that made the database, or add it by localedef",
        )
        for name, places in missing.items()
    ]
    left = [name for name in unreachable if not any(f"database {name}" in each for each in missing.values())]
    if left:
        what = f"cannot be connected to, and so not looked into: {several(left)}"
        told.append(warning(what, "psql tells why: psql --dbname=NAME"))
    if told or late:
        return [*told, *unlooked("locales", late)]
    return [ok("all databases can be connected to, and their locales are in the image")]


def collations(told: Problem | str | None, policy: Policy, missed: Unlooked = NOTHING) -> list[Finding]:
    """Judge what the look at the collations has told: a problem, or in words that all is well.

    Of those that were `missed` it is not known.
    """
    rest = unlooked("collations", missed)
    if isinstance(told, Problem):
        return [(error if policy == "refuse" else warning)(told.what, told.hint), *rest]
    if rest:
        return rest
    return [ok(told)] if told else []


def password(user: str, given: str, verifier: str | None) -> list[Finding]:
    """Judge whether the password that is given is the one that is stored, without a login."""
    if not given:
        return []
    hint = "set POSTGRES_PASSWORD_UPDATE=on to store it at the next start, or correct POSTGRES_PASSWORD"
    why = "the variable is only used by a first start"
    if verifier is None:
        return [warning(f"POSTGRES_PASSWORD is set, but role {user} has no password: {why}", hint)]
    right = passwords.is_stored(verifier, first_line(given), user)
    if right is None:
        return []
    if right:
        return [ok(f"POSTGRES_PASSWORD is the password of {user}")]
    return [warning(f"POSTGRES_PASSWORD is not the password of {user}: {why}", hint)]
