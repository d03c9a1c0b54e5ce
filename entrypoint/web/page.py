"""The page at `/`, which answers whether people can sleep; pure.

jinja2 takes long to load and much memory, so the watch calls this in a process of its own.
"""

from __future__ import annotations

import base64
import hashlib

from entrypoint import templates
from entrypoint.backup import runs
from entrypoint.drill import drills
from entrypoint.light import NamedTuple
from entrypoint.shown import ago, spell
from entrypoint.web import band, moment, tables, verdict
from entrypoint.web.exchange import Response
from entrypoint.web.times import at, lasting, minute, second
from entrypoint.web.verdict import SYMBOLS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from entrypoint.backup.journal import Entry
    from entrypoint.backup.window import Gap, Window
    from entrypoint.noted.conditions import Condition
    from entrypoint.noted.seen import Seen
    from entrypoint.web.moment import Picked
    from entrypoint.web.tables import Cell, Table
    from entrypoint.web.verdict import State

_NAME = 64
"""Characters of the host's name that are shown."""


class Tile(NamedTuple):
    """A fact that is seen at a glance."""

    name: str
    value: str
    more: str
    place: str
    """The part of the page that has the details."""


class Wrong(NamedTuple):
    """A condition as it is shown."""

    state: State
    symbol: str
    check: str
    found: str
    since: str
    hint: str
    why: str
    docs: str


def render(
    seen: Seen | None,
    phase: str,
    now: float,
    query: Mapping[str, str],
    *,
    interval: int = 60,
    host: str = "",
) -> Response:
    """Return the page.

    `seen` is None before the first look. `phase` is PID 1's. `interval` are the seconds between two looks.
    `host` is the container's host name. With `at` in the query, the page shows how to restore that moment.
    """
    style = templates.render("page.css")
    window = None if seen is None else seen.window
    asked = query.get("at", "")
    picked = moment.pick(asked, seen, window, host, now) if asked else None
    drawn = None
    if seen is not None and window is not None:
        drawn = band.draw(seen, window, now, picked and picked.moment)
    words = verdict.judge(seen, phase, now, interval)
    body = templates.html(
        "page.html",
        style=style,
        verdict=words,
        host=host[:_NAME],
        phase=phase,
        now=second(now),
        looked="" if seen is None else ago(now - seen.at),
        tiles=() if seen is None else tuple(_tiles(seen, now)),
        wrong=() if seen is None else tuple(_wrong(each, host, now) for each in reversed(seen.conditions)),
        band=drawn,
        window=window and {"start": second(window.start), "end": second(window.end)},
        gaps=() if window is None else tuple(_gap(gap) for gap in window.gaps),
        asked=asked,
        suggested=_suggested(picked, window, now),
        picked=picked,
        facts=() if seen is None else tuple(_facts(seen, now)),
        tables=() if seen is None else tuple(_tables(seen)),
    )
    return Response(200, "text/html; charset=utf-8", body.encode(), _headers(style))


def _headers(style: str) -> tuple[tuple[str, str], ...]:
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; form-action 'self'; "
        "frame-ancestors 'none'; base-uri 'none'"
    )
    return ("Content-Security-Policy", policy), ("Referrer-Policy", "no-referrer")


def _suggested(picked: Picked | None, window: Window | None, now: float) -> str:
    """Return the moment that the form shows: the one that was picked, or the newest that can be restored."""
    chosen = picked.moment if picked is not None and picked.moment is not None else None
    if chosen is None:
        chosen = now if window is None else window.end
    return second(chosen).replace(" ", "T")


def _gap(gap: Gap) -> str:
    end = "the next full backup" if gap.end is None else f"{minute(gap.end)} UTC"
    why = gap.why or f"segments {gap.first} to {gap.last} are missing"
    return f"Between {minute(gap.start)} UTC and {end}: {why}."


def _wrong(condition: Condition, host: str, now: float) -> Wrong:
    state: State = verdict.UNKNOWN if condition.level == "info" else condition.level
    since = f"since {minute(condition.since)} UTC, {lasting(now - condition.since)}"
    return Wrong(
        state,
        SYMBOLS[state],
        condition.check,
        condition.found,
        since,
        condition.hint.replace(" CONTAINER", f" {moment.container(host) or 'CONTAINER'}"),
        condition.why,
        condition.docs,
    )


def _tiles(seen: Seen, now: float) -> Iterator[Tile]:
    server, window = seen.server, seen.window
    if server is not None:
        version = server.version.partition(" ")[0]
        more = f"PostgreSQL {version}, timeline {server.timeline}, up {lasting(now - server.started)}"
        yield Tile("Server", server.role, more, "server")
    if window is not None:
        yield Tile("Restorable", f"to {ago(now - window.end)}", f"from {minute(window.start)} UTC", "window")
    last = runs.last(seen.runs)
    if seen.next_backup is not None or last.success:
        run = last.success
        value = _ended(run, now)
        size = "" if run is None else f"{spell(run.bytes)} in {lasting(run.seconds)}"
        yield Tile("Backup", value, _joined(size, _due(seen.next_backup, now)), "backups")
    rehearsed = drills.last(seen.drills)
    if seen.next_drill is not None or rehearsed.success:
        drill = rehearsed.success
        value = _ended(drill, now)
        took = "" if drill is None else f"restored in {lasting(drill.fetch_seconds + drill.replay_seconds)}"
        yield Tile("Drill", value, _joined(took, _due(seen.next_drill, now)), "drills")
    if seen.volumes:
        least = max(seen.volumes, key=lambda each: max(each.percent, each.files_percent))
        full = "does not fill up" if least.full_seconds is None else f"full in {lasting(least.full_seconds)}"
        yield Tile("Space", f"{spell(least.free)} free", f"{least.name}: {full}", "space")


def _ended(entry: Entry | None, now: float) -> str:
    if entry is None:
        return "none yet"
    moment = at(entry.started)
    return "at an unknown time" if moment is None else ago(now - moment - entry.seconds)


def _facts(seen: Seen, now: float) -> Iterator[tuple[str, str, tuple[tuple[str, Cell], ...]]]:
    """Yield the lists of names and values that are not empty, each with its place and its title."""
    found = (
        ("server", "Server", tuple(tables.server(seen, now))),
        ("cluster", "Cluster", tuple(tables.cluster(seen))),
        ("archive", "Archive", tuple(tables.archive(seen, now))),
    )
    yield from (each for each in found if each[2])


def _due(moment: float | None, now: float) -> str:
    return "" if moment is None else f"next {ago(now - moment)}"


def _joined(*texts: str) -> str:
    return ", ".join(text for text in texts if text)


def _tables(seen: Seen) -> Iterator[tuple[str, Table]]:
    """Yield the tables that have rows, each with the name of its place on the page."""
    found = {
        "space": tables.volumes(seen),
        "filling": tables.filling(seen),
        "backups": tables.backups(seen),
        "runs": tables.runs(seen),
        "drills": tables.drills(seen),
        "standbys": tables.standbys(seen),
        "helpers": tables.helpers(seen),
        "events": tables.events(seen),
    }
    yield from ((place, table) for place, table in found.items() if table.rows)
