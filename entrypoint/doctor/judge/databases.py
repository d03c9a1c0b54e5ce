"""The contents of the cluster: slots, ages, extensions, locales, collations, the password; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from entrypoint.errors import Problem
from entrypoint.finding import Finding, error, ok, several, warning
from entrypoint.full_disk.parts import drop
from entrypoint.light import NamedTuple
from entrypoint.postgres import passwords
from entrypoint.postgres.argv import first_line
from entrypoint.shown import inline, iso, spell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from entrypoint.settings.serving import Policy

_IDLE_SLOT = 256 * 1024**2
"""Bytes: sixteen segments, more than piles up while the slot's reader restarts."""
_LATE_SLOT = 10 * 1024**3
"""Bytes by which an active slot may be behind: ten times the default of max_wal_size."""

_FORCED = 1.5
"""Multiple of autovacuum_freeze_max_age: autovacuum starts at 1.0, and should have finished by then."""
_LIMIT = "and the limit is 2147 million"
_FAILSAFE = 1_600_000_000
"""Of 2^31 transactions: from this age on VACUUM skips all other work (vacuum_failsafe_age)."""


class Slot(NamedTuple):
    """A replication slot."""

    name: str
    active: bool
    status: str
    """`reserved`, `extended`, `unreserved` or `lost`."""
    held: int
    """Bytes of WAL that the server keeps for it."""
    still_since: float | None = None
    """When the server last noted that it has moved, in seconds since 1970."""


def slots(found: Sequence[Slot], limit: int, free: int | None, size: int | None = None) -> list[Finding]:
    """Judge how much WAL the slots hold.

    `limit` is max_slot_wal_keep_size in bytes (negative: none). `free` are the bytes that are free on the
    filesystem of the WAL, and `size` all of them.
    """
    told = [finding for slot in found for finding in _slot(slot, limit, free, size)]
    if size is not None and limit > size // 2:
        what = f"max_slot_wal_keep_size ({spell(limit)}) is more than half of the disk of the WAL"
        hint = f"set SLOT_WAL_LIMIT={size // 2 // 1024**2}MB or less, or make the disk ({spell(size)}) larger"
        told.append(warning(what, hint))
    return told or [ok(f"{len(found)} replication slots, and none of them holds much WAL")]


def _slot(slot: Slot, limit: int, free: int | None, size: int | None) -> list[Finding]:
    name, command = inline(slot.name), drop(slot.name)
    if slot.status in ("lost", "unreserved"):
        what = f"slot {name} has lost WAL that its reader needs"
        if slot.status == "unreserved":
            what = f"slot {name} will lose WAL that its reader needs at the next checkpoint"
        why = "" if limit < 0 else f": it was further behind than max_slot_wal_keep_size ({spell(limit)})"
        return [error(f"{what}{why}", f"rebuild its standby or subscription, or drop the slot: {command}")]
    reader = "" if slot.active else ", which nobody reads"
    still = "" if slot.still_since is None else f" and has not moved since {iso(slot.still_since)}"
    what = f"{spell(slot.held)} of WAL are kept for slot {name}{reader}{still}"
    until = f"up to max_slot_wal_keep_size ({spell(limit)})" if limit >= 0 else "without a limit"
    hint = f"let its reader catch up; if nobody needs the slot: {command}; SLOT_WAL_LIMIT limits all slots"
    most = _LATE_SLOT if slot.active else _IDLE_SLOT
    if slot.held > (most if size is None else min(most, size // 4)):
        # Does the volume fill up before the slot reaches the limit?
        soon = free is not None and slot.held > free and (limit < 0 or limit - slot.held > free)
        return [(error if soon else warning)(f"{what}, {until}", hint)]
    return []


_BEHIND = 300
_FAR_BEHIND = 3600
"""Seconds since the last replayed transaction was committed, if there is WAL to replay."""


def standby(*, paused: bool, streaming: bool, behind: int | None, seconds: int) -> list[Finding]:
    """Judge how a standby follows.

    `streaming`: it is set to stream from another server. `behind`: bytes of WAL which that server has and
    which are not replayed here; None: it does not stream now. `seconds`: the age of the last replayed
    transaction.
    """
    if paused:
        return [warning("replay is paused, so it does not follow", "SELECT pg_wal_replay_resume()")]
    if streaming and behind is None:
        what = "it receives nothing from the server in primary_conninfo; it only follows the archive, if any"
        return [warning(what, "look for “could not connect to the primary server” or “FATAL” in its log")]
    if behind and seconds > _BEHIND:
        judge = error if seconds > _FAR_BEHIND else warning
        what = f"it is {spell(behind)} of WAL behind, and its last transaction is {seconds} s old"
        hint = "look for long queries here (max_standby_streaming_delay), a slow disk or a slow network"
        return [judge(what, hint)]
    return [ok("it follows" if behind is None else f"it follows: {spell(behind)} of WAL behind")]


def wraparound(ages: Mapping[str, tuple[int, int]], limits: tuple[int, int]) -> list[Finding]:
    """Judge the ages of each database's oldest transaction and multixact.

    `limits` are autovacuum_freeze_max_age and autovacuum_multixact_freeze_max_age.
    """
    told = []
    for name, pair in ages.items():
        for what, age, limit in zip(("transaction", "multixact"), pair, limits, strict=True):
            words = f"the oldest {what} of database {name} is {age / 1e6:.1f} million {what}s old, {_LIMIT}"
            hint = (
                "end what prevents freezing: old sessions (pg_stat_activity.backend_xmin), prepared "
                f"transactions, slots; then: vacuumdb --freeze --dbname={name}"
            )
            if age >= _FAILSAFE:
                told.append(error(f"{words}: the server stops accepting writes before that", hint))
            elif age > limit * _FORCED:
                told.append(warning(f"{words}; autovacuum should start at {limit / 1e6:.1f} million", hint))
    oldest = max((pair[0] for pair in ages.values()), default=0)
    return told or [ok(f"the oldest transaction is {oldest / 1e6:.1f} million transactions old, {_LIMIT}")]


def restart(pending: Sequence[str]) -> list[Finding]:
    """Judge settings whose change has not taken effect yet."""
    if not pending:
        return [ok("no setting waits for a restart")]
    what = f"changed, but without effect until a restart: {several(list(pending))}"
    return [warning(what, "restart the container at a convenient time; a mistake in them shows only then")]


class Extension(NamedTuple):
    """An extension of a database."""

    name: str
    installed: str
    available: str | None
    """The version that the image would create; None: the image lacks the extension."""


class Unlooked(NamedTuple):
    """The databases that a check has not looked into."""

    late: Sequence[str] = ()
    """Databases for which there was no time."""
    silent: Mapping[str, str] = {}
    """Databases that gave no answer, and their error messages."""
    total: int = 0
    """The number of all databases."""
    seconds: float = 0
    """The time limit for all databases."""

    def __bool__(self) -> bool:
        """Return whether any database was not looked into."""
        return bool(self.late or self.silent)


NOTHING = Unlooked()


def unlooked(check: str, found: Unlooked) -> list[Finding]:
    """Return what was not looked at, and the command that looks at it."""
    told = []
    if found.late:
        # Extrapolated from the databases that were looked into, and doubled: the machine may be busier then.
        looked = max(1, found.total - len(found.late))
        enough = 10 * int(1 + max(2.0, found.seconds) * found.total / looked / 5)
        what = f"not looked at within {found.seconds:g} s: {len(found.late)} of {found.total} databases"
        hint = f"entrypoint doctor --seconds {enough} {check}"
        told.append(warning(f"{what} ({several(list(found.late))})", hint))
    by_words: dict[str, list[str]] = {}
    for name, words in found.silent.items():
        by_words.setdefault(words, []).append(name)
    for words, names in by_words.items():
        what = f"not looked at, since there was no answer: {several(names)}: {words}"
        told.append(warning(what, f"fix the cause that the message names, then: entrypoint doctor {check}"))
    return told


def libraries(who: str, missing: Sequence[str]) -> list[Finding]:
    """Judge the libraries that functions need and that the image lacks (`missing`)."""
    if not missing:
        return []
    what = f"{who} needs libraries that the image lacks: {several(list(missing))}"
    return [error(what, "use an image that has them; until then every function that calls them fails")]


def extensions(database: str, found: Sequence[Extension], missing: Sequence[str]) -> list[Finding]:
    """Judge the extensions of a database; its functions need the `missing` libraries."""
    told = libraries(f"database {database}", missing)
    for each in found:
        if each.available is None:
            what = f"extension {each.name} {each.installed} of database {database} is not in the image"
            told.append(error(what, f"use an image that has {each.name}"))
        elif each.available != each.installed:
            what = f"extension {each.name} of {database} is {each.installed}, the image has {each.available}"
            hint = f'in {database}: ALTER EXTENSION "{each.name}" UPDATE; its release notes say what changes'
            told.append(warning(what, hint))
    return told


def locales(
    missing: Mapping[str, Sequence[str]], unreachable: Sequence[str], late: Unlooked = NOTHING
) -> list[Finding]:
    """Judge locales that the image lacks, with what needs them, and databases that refuse connections.

    Nothing is known about databases that are `late`.
    """
    told = [
        error(
            f"the image has no locale {name}, which is needed by {several(list(places))}",
            "use an image with the locales of the image that made the database, or add it with localedef",
        )
        for name, places in missing.items()
    ]
    left = [name for name in unreachable if not any(f"database {name}" in each for each in missing.values())]
    if left:
        what = f"no connection is possible, so these databases were not looked into: {several(left)}"
        told.append(warning(what, "psql shows why: psql --dbname=NAME"))
    if told or late:
        return [*told, *unlooked("locales", late)]
    return [ok("all databases accept connections, and the image has their locales")]


def collations(told: Problem | str | None, policy: Policy, missed: Unlooked = NOTHING) -> list[Finding]:
    """Judge the result of the look at the collations: a problem, or a text that says that all is well.

    Nothing is known about databases that were `missed`.
    """
    rest = unlooked("collations", missed)
    if isinstance(told, Problem):
        return [(error if policy == "refuse" else warning)(told.what, told.hint), *rest]
    if rest:
        return rest
    return [ok(told)] if told else []


def password(user: str, given: str, verifier: str | None) -> list[Finding]:
    """Judge whether the given password is the stored one, without a login."""
    if not given:
        return []
    hint = "set POSTGRES_PASSWORD_UPDATE=on to store it at the next start, or correct POSTGRES_PASSWORD"
    why = "only a first start uses the variable"
    if verifier is None:
        return [warning(f"POSTGRES_PASSWORD is set, but role {user} has no password: {why}", hint)]
    right = passwords.is_stored(verifier, first_line(given), user)
    if right is None:
        return []
    if right:
        return [ok(f"POSTGRES_PASSWORD is the password of {user}")]
    return [warning(f"POSTGRES_PASSWORD is not the password of {user}: {why}", hint)]
