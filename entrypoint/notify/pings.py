"""The requests to services that notice silence, in the form of healthchecks.io or of Uptime Kuma; pure."""

from __future__ import annotations

import hashlib
from datetime import datetime
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from entrypoint.backup.journal import DAMAGED, FAILED, INTERRUPTED, OK, RUNNING, STOPPED
from entrypoint.light import NamedTuple
from entrypoint.notify import wording
from entrypoint.notify.outbox import Mark
from entrypoint.settings.hiding import hide_within
from entrypoint.shown import inline, printable, spell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Literal

    from entrypoint.backup.runs import Run
    from entrypoint.drill.drills import Drill
    from entrypoint.settings.watching import Watching

    Signal = Literal["start", "success", "failure"]

START: Signal = "start"
SUCCESS: Signal = "success"
FAILURE: Signal = "failure"
HEARTBEAT = "NOTIFY_HEARTBEAT_URL"
BACKUP = "BACKUP_PING_URL"
DRILL = "DRILL_PING_URL"
VARIABLES = (HEARTBEAT, BACKUP, DRILL)

_KUMA = "/api/push/"
_MOST_BODY = 20_000
"""Characters of a report: healthchecks.io keeps the first 100 kB."""
_MOST_NOTE = 200
"""Characters of a report in an address."""


def addresses(watching: Watching) -> dict[str, str]:
    """Return the addresses of pings by their variables; empty: not set."""
    return {HEARTBEAT: watching.heartbeat, BACKUP: watching.backup_ping, DRILL: watching.drill_ping}


class Request(NamedTuple):
    """What is sent to a service."""

    url: str
    body: str | None
    """None: a request without a body (GET)."""


class Report(NamedTuple):
    """The begin or the end of a backup or a drill."""

    mark: Mark
    signal: Signal
    body: str
    seconds: float = 0.0
    is_late: bool = False
    """A begin that was not reported before the end."""


def request(url: str, signal: Signal, body: str, *, run: str = "", seconds: float = 0.0) -> Request | None:
    """Return the request for a signal; None: the service has none. `run` pairs a start with its end.

    >>> request("https://hc-ping.com/1234", FAILURE, "no space").url
    'https://hc-ping.com/1234/fail'
    >>> request("https://kuma.example.com/api/push/abc?status=up&msg=OK&ping=", FAILURE, "no space").url
    'https://kuma.example.com/api/push/abc?status=down&msg=no+space'
    """
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    if _KUMA in parts.path:
        if signal == START:
            return None
        query |= {"status": "up" if signal == SUCCESS else "down", "msg": inline(body)[:_MOST_NOTE] or "OK"}
        query.pop("ping", None)
        if seconds:
            query["ping"] = f"{seconds * 1000:.0f}"
        return Request(urlunsplit(parts._replace(query=urlencode(query), fragment="")), None)
    path = parts.path.rstrip("/") + {START: "/start", SUCCESS: "", FAILURE: "/fail"}[signal]
    if run:
        query["rid"] = _pair(run)
    return Request(
        urlunsplit(parts._replace(path=path, query=urlencode(query), fragment="")), body[:_MOST_BODY]
    )


def _pair(run: str) -> str:
    """Return a UUID for a run: always the same."""
    digits = hashlib.sha256(run.encode()).hexdigest()
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-8{digits[17:20]}-{digits[20:32]}"


def first_mark(entries: Sequence[Run | Drill]) -> Mark:
    """Return the mark of a journal of which nothing was reported yet: only a running entry is news."""
    ended = [each for each in entries if each.outcome != RUNNING]
    return Mark(ended[-1].started, ended=True) if ended else Mark("", ended=True)


def due(entries: Sequence[Run | Drill], mark: Mark, secrets: Sequence[str] = ()) -> list[Report]:
    """Return what has happened since the mark, oldest first; the last report has the newest mark.

    A run that has ended before its begin was reported has both reports: people want a begin for each end.
    """
    after = _moment(mark.started)
    found: list[Report] = []
    for each in entries:
        began = _moment(each.started)
        is_known = each.started == mark.started
        is_old = mark.ended if is_known else began <= after
        if is_old or each.outcome == STOPPED:
            continue
        has_ended = each.outcome != RUNNING
        if not is_known:
            late = "; it has ended since, so this report is late" if has_ended else ""
            what = f"{_name(each)} has begun at {each.started}{late}"
            found.append(Report(Mark(each.started, ended=False), START, what, is_late=has_ended))
        if has_ended:
            signal = SUCCESS if _is_good(each) else FAILURE
            body = printable(hide_within("\n".join(_lines(each)), secrets))
            found.append(Report(Mark(each.started, ended=True), signal, body, each.seconds))
    return found


def _moment(started: str) -> float:
    try:
        return datetime.fromisoformat(started).timestamp()
    except ValueError:
        return float("-inf")


def _is_good(entry: Run | Drill) -> bool:
    """Return whether a run is good: a backup in an archive with a hole is not."""
    return entry.outcome == OK and not getattr(entry, "holes", ()) and not getattr(entry, "broken", ())


_HOW: dict[str, str] = {FAILED: "failed", INTERRUPTED: "was killed"}


def _name(entry: Run | Drill) -> str:
    kind = getattr(entry, "kind", "")
    return f"a {kind} backup" if kind else "a drill"


def _lines(entry: Run | Drill) -> list[str]:
    how = "succeeded" if _is_good(entry) else _HOW.get(entry.outcome, "is not sound: it ended")
    lines = [f"{_name(entry)} {how} after {wording.span(entry.seconds)}", f"begun at {entry.started}"]
    name = getattr(entry, "name", "") or getattr(entry, "backup", "")
    if name:
        lines.append(f"backup: {name}, {spell(entry.bytes)}")
    if entry.outcome == DAMAGED:
        lines.append("the database has damaged pages, and the backup contains them")
    lines += [f"missing WAL: {first} to {last}" for first, last in getattr(entry, "holes", ())]
    lines += [f"{name}: {why}" for name, why in getattr(entry, "broken", {}).items()]
    checks = getattr(entry, "checks", ())
    if checks:
        lines.append(f"checks passed: {', '.join(checks)}")
    return [*lines, *([entry.words] if entry.words else [])]
