"""The tables of the page: backups, runs, drills, standbys, helpers, space and events; pure.

What a table shows is text. Whoever wrote it, the template escapes it.
"""

from __future__ import annotations

from entrypoint.backup import journal
from entrypoint.finding import ERROR, OK, WARNING
from entrypoint.light import NamedTuple
from entrypoint.noted.conditions import BEGAN, ENDED
from entrypoint.shown import ago, spell
from entrypoint.web.times import at, lasting, minute, second
from entrypoint.web.verdict import SYMBOLS, UNKNOWN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from entrypoint.archivers.terms import Backup
    from entrypoint.noted.conditions import Event
    from entrypoint.noted.seen import Seen
    from entrypoint.web.verdict import State

_MOST = 15
"""Rows of a table."""
_STATES: dict[str, State] = {
    journal.OK: OK,
    journal.DAMAGED: ERROR,
    journal.FAILED: ERROR,
    journal.INTERRUPTED: WARNING,
    journal.STOPPED: WARNING,
}
_NONE = "-"


class Cell(NamedTuple):
    """A cell of a table."""

    text: str
    state: State | None = None
    """Its colour and symbol."""

    @property
    def symbol(self) -> str:
        """See `verdict.SYMBOLS`; empty: the cell has no state."""
        return SYMBOLS[self.state] if self.state else ""


class Table(NamedTuple):
    """A table."""

    caption: str
    heads: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    """The first cell is what the row is about."""
    more: int = 0
    """How many rows are left out."""


def _table(caption: str, heads: str, rows: list[tuple[Cell | str, ...]], most: int = _MOST) -> Table:
    cells = tuple(
        tuple(each if isinstance(each, Cell) else Cell(each) for each in row) for row in rows[:most]
    )
    return Table(caption, tuple(heads.split("|")), cells, max(0, len(rows) - most))


def backups(seen: Seen) -> Table:
    """Return the base backups in the archive, the newest first."""
    rows = [
        (
            each.name,
            _kind(each),
            _minute(each.finished),
            _took(each),
            spell(each.stored_bytes) if each.stored_bytes else _NONE,
            spell(each.size_bytes),
            f"{each.timeline}",
        )
        for each in reversed(seen.backups or ())
    ]
    heads = "Name|Kind|Finished (UTC)|Took|In the archive|Database|Timeline"
    return _table("Base backups in the archive", heads, list(rows))


def _kind(backup: Backup) -> Cell:
    if backup.damaged:
        return Cell(f"{backup.kind}, with damaged pages of the database", ERROR)
    return Cell(f"{backup.kind}, kept for good" if backup.permanent else backup.kind)


def _took(backup: Backup) -> str:
    start, end = at(backup.started), at(backup.finished)
    return _NONE if start is None or end is None else lasting(end - start)


def runs(seen: Seen) -> Table:
    """Return the last backup runs, the newest first, without those whose backup the list of backups shows."""
    listed = {each.name for each in seen.backups or ()}
    rows = [
        (
            _minute(each.started),
            each.kind,
            each.why,
            _outcome(each.outcome),
            _NONE if each.outcome == journal.RUNNING else lasting(each.seconds),
            spell(each.bytes) if each.bytes else _NONE,
            each.name or _first_line(each.words) or _NONE,
        )
        for each in reversed(seen.runs)
        if each.outcome != journal.OK or each.name not in listed
    ]
    heads = "Started (UTC)|Kind|Reason|Outcome|Took|In the archive|Backup, or what went wrong"
    return _table("Other backup runs", heads, list(rows), 8)


def drills(seen: Seen) -> Table:
    """Return the last drills, the newest first."""
    rows = [
        (
            _minute(each.started),
            _outcome(each.outcome),
            each.backup or _NONE,
            spell(each.bytes) if each.bytes else _NONE,
            lasting(each.fetch_seconds + each.replay_seconds) if each.outcome == journal.OK else _NONE,
            _NONE if each.outcome == journal.RUNNING else lasting(each.seconds),
            ", ".join(each.checks) or _first_line(each.words) or _NONE,
        )
        for each in reversed(seen.drills)
    ]
    heads = "Started (UTC)|Outcome|Backup|Database|Restored in|Took in all|Checks, or what went wrong"
    return _table("Last drills", heads, list(rows), 8)


def standbys(seen: Seen) -> Table:
    """Return the standbys that follow this server."""
    rows = [
        (
            each.get("application_name") or _NONE,
            each.get("client_addr") or "a socket",
            each.get("state") or _NONE,
            each.get("sync_state") or _NONE,
            each.get("replay_lsn") or _NONE,
            each.get("replay_lag") or _NONE,
        )
        for each in (seen.server.standbys if seen.server else ())
    ]
    return _table("Standbys", "Name|Address|State|Synchronous|Replayed up to|Replay lag", list(rows))


def helpers(seen: Seen) -> Table:
    """Return the helpers of PID 1."""
    rows = []
    for each in seen.helpers:
        state: State = WARNING if each.failures else OK
        failures = f"{each.failures} times in a row" if each.failures else _NONE
        code = _NONE if each.last_code is None else f"{each.last_code}"
        rows.append((each.role, Cell(each.state, state), failures, code))
    return _table("Helpers", "Name|State|Failed|Last exit code", list(rows))


def volumes(seen: Seen) -> Table:
    """Return the filesystems, with the time until each is full."""
    rows = []
    for each in seen.volumes:
        full = "it does not fill up" if each.full_seconds is None else f"in {lasting(each.full_seconds)}"
        share = f"{100 * each.free / each.size:.0f} %" if each.size > 0 else _NONE
        inodes = _NONE if each.files is None else f"{100 - each.files_percent:.0f} %"
        rows.append((each.name, each.folder, spell(each.size), f"{spell(each.free)} ({share})", inodes, full))
    return _table("Space", "Holds|Folder|Size|Free|Inodes free|Full", list(rows))


def filling(seen: Seen) -> Table:
    """Return what fills the filesystems that are nearly full, the largest part first."""
    rows = [
        (
            part.what,
            volume.name,
            f"{'' if part.counted else 'at least '}{spell(part.bytes)}",
            part.hint or _NONE,
        )
        for volume in seen.volumes
        for part in seen.filling.get(volume.folder, ())
    ]
    return _table("What fills the disk", "What|Disk|Size|What to do", list(rows))


def events(seen: Seen) -> Table:
    """Return the last events, the newest first."""
    rows = [
        (second(each.at), Cell(f"{each.name}: {_event(each)}", _state(each)), _first_line(each.found))
        for each in reversed(seen.events)
    ]
    return _table("What happened last", "When (UTC)|What|Found", list(rows))


def _event(event: Event) -> str:
    if event.kind == ENDED:
        return f"ended after {lasting(event.at - event.since)}"
    return "began" if event.kind == BEGAN else "happened"


def _state(event: Event) -> State:
    if event.kind == ENDED:
        return OK
    return UNKNOWN if event.level == "info" else event.level


def server(seen: Seen, now: float) -> Iterator[tuple[str, Cell]]:
    """Yield what the server is, as names and values."""
    found = seen.server
    if found is not None:
        yield "Role", Cell(found.role)
        yield "Version", Cell(found.version)
        yield "Timeline", Cell(f"{found.timeline}")
        yield "Started", Cell(f"{second(found.started)} UTC, {ago(now - found.started)}")
        if found.lag_bytes is not None:
            yield "Behind", Cell(spell(found.lag_bytes))
        yield "Identifier", Cell(found.identifier)
    if seen.unsent or seen.failed_sends:
        yield (
            "Messages",
            Cell(f"{seen.unsent} wait to be sent, {seen.failed_sends} attempts have failed", WARNING),
        )
    following = seen.following
    if following is not None:
        yield "Follows by", Cell(following.by)
        yield "Replayed up to", Cell(following.replayed_lsn or "nothing yet")
        if following.seconds_since_transaction is not None:
            yield "Last commit", Cell(f"{lasting(following.seconds_since_transaction)} ago, on the primary")


def cluster(seen: Seen) -> Iterator[tuple[str, Cell]]:
    """Yield this node's place in a cluster under Patroni at the last look, as names and values."""
    if seen.member is None:
        return
    from entrypoint.failover import member  # only under Patroni

    for name, text in member.rows(seen.member, seen.at):
        yield name[:1].upper() + name[1:], Cell(text, WARNING if name in member.WRONG else None)


def archive(seen: Seen, now: float) -> Iterator[tuple[str, Cell]]:
    """Yield the state of archiving, as names and values."""
    state = seen.archive
    if state is None:
        return
    yield "Archive", Cell(f"{' '.join(filter(None, (state.tool, seen.tool_version)))} to {state.url}")
    if state.last_archived:
        moment = at(state.last_archived_at or "")
        when = "" if moment is None else f", {ago(now - moment)}"
        yield "Last segment", Cell(f"{state.last_archived}{when}")
    else:
        yield "Last segment", Cell("none yet")
    if state.backlog_segments:
        since = lasting(state.oldest_ready_seconds or 0)
        backlog = f"{state.backlog_segments} files, {spell(state.backlog_bytes)}, the oldest for {since}"
        yield "Waits", Cell(backlog, WARNING if state.failing_since else None)
    else:
        yield "Waits", Cell("nothing")
    yield "Rate", Cell(f"{state.archived_per_minute:.1f} files a minute")
    if state.failing_since:
        yield "Fails since", Cell(_minute(state.failing_since), ERROR)
        yield "The archiver says", Cell(state.last_error or _NONE)
    if state.fork_refused:
        yield "Archives nothing", Cell(state.fork_refused, ERROR)
    if state.own_command:
        yield "archive_command", Cell(state.own_command)


def _outcome(outcome: str) -> Cell:
    return Cell(outcome, _STATES.get(outcome))


def _minute(text: str) -> str:
    moment = at(text)
    return text if moment is None else minute(moment)


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0]
