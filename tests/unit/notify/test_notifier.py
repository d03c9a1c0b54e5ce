"""A week of messages and pings on a simulated clock: none is missing, and none arrives twice."""

from __future__ import annotations

import errno
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from entrypoint import own
from entrypoint.backup.runs import Run
from entrypoint.drill.drills import Drill
from entrypoint.noted.conditions import BEGAN, ENDED, HAPPENED, RANK, Condition, Event, Noted
from entrypoint.notify import outbox
from entrypoint.notify.flights import Result
from entrypoint.notify.notifier import Notifier, read
from entrypoint.notify.outbox import Mark
from entrypoint.server.context import Context
from entrypoint.volume import notes
from unit import made

URLS = ("ntfy://ntfy.sh/topic-one", "mailto://me:pa55word@example.com", "json://example.com/hook-two")
NAMES = ("ntfy://ntfy.sh", "mailto://example.com", "json://example.com")
DAY = 86400
START = 1_800_000_000.0
TYPE_CHECKING = False
if TYPE_CHECKING:
    from entrypoint.noted.conditions import Serious

ARCHIVE = {"ARCHIVE_URL": "file:///archive", "ARCHIVE_TOOL": "pgbackrest"}
SECRETS = ("topic-one", "pa55word", "hook-two", "ping-uuid")


class World:
    """The time, which targets work, and what has reached them."""

    def __init__(self) -> None:
        self.now = START
        self.down: Callable[[str, float], bool] = lambda _url, _now: False
        self.taken: dict[str, list[int]] = {url: [] for url in URLS}
        self.pings: list[tuple[float, str, str | None]] = []
        self.flying: list[Sender] = []
        self.tasks: list[Mapping[str, Any]] = []

    def launch(self, _: object, task: Mapping[str, Any]) -> Sender:
        """Start a sender."""
        self.tasks.append(task)
        return Sender(self, task)


class Sender:
    """A sender that takes two seconds, and reports at its end."""

    def __init__(self, world: World, task: Mapping[str, Any]) -> None:
        self.world, self.task, self.at = world, task, world.now
        self.numbers = [each["number"] for each in task.get("messages", ())]
        world.flying.append(self)

    def deliver(self) -> list[Result]:
        """Deliver what the task says, unless the target is down."""
        url, down = self.task["url"], self.world.down(self.task["url"], self.world.now)
        if "messages" not in self.task:
            if not down:
                self.world.pings.append((self.world.now, url, self.task["body"]))
            return [Result(0, "HTTP 500" if down else "")]
        if not down:
            self.world.taken[url] += self.numbers
        return [Result(number, "refused" if down else "") for number in self.numbers]

    def poll(self) -> tuple[list[Result], bool]:
        """Deliver after two seconds."""
        if self.world.now < self.at + 2:
            return [], False
        self.world.flying.remove(self)
        return self.deliver(), True

    def end(self) -> list[Result]:
        """Deliver nothing."""
        self.world.flying.remove(self)
        return []


@pytest.fixture
def world() -> World:
    return World()


def _context(folder: Path, **values: str) -> Context:
    made.cluster(folder)
    wanted = made.settings({"PGDATA": str(folder), "NOTIFY_URLS": " ".join(URLS), **values})
    return Context(wanted, made.NO_CHILDREN, made.POSTGRES, "/nowhere", {})


def _notifier(context: Context, world: World) -> Notifier:
    assert context.settings.watching is not None
    return Notifier(context, context.settings.watching, world.launch)


def _run_until(notifier: Notifier, world: World, end: float, errors: tuple[Condition, ...] = ()) -> None:
    """Let time pass: tick at once, and whenever the notifier asks for it."""
    while True:
        notifier.tick(world.now, errors)
        wake = notifier.wake_at(world.now)
        if wake is None or wake >= end:
            break
        world.now = max(world.now + 1, wake)
    world.now = max(world.now, end)


def _began(noted: Noted, name: str, at: float, level: str = "error") -> Noted:
    noted = noted.add(Event(0, at, BEGAN, name, level, f"{name} fails", at))  # type: ignore[arg-type]
    return noted._replace(conditions=(*noted.conditions, Condition(name, level, at, f"{name} fails")))  # type: ignore[arg-type]


def _ended(noted: Noted, name: str, at: float) -> Noted:
    known = next(each for each in noted.conditions if each.check == name)
    noted = noted.add(Event(0, at, ENDED, name, known.level, known.found, known.since))
    return noted._replace(conditions=tuple(each for each in noted.conditions if each.check != name))


def _outages(chance: random.Random) -> Callable[[str, float], bool]:
    """Return whether a target is down at a time: some hours here and there, and never in the last day."""
    spans = [
        (url, begin, begin + chance.uniform(60, 12 * 3600))
        for url in URLS
        for begin in (START + chance.uniform(0, 5 * DAY) for _ in range(chance.randrange(6)))
    ]
    return lambda url, now: any(each == url and begin <= now < end for each, begin, end in spans)


class Week:
    """A week in which everything happens at random, and what must have arrived at its end."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.world, self.chance = World(), random.Random(seed)
        self.world.down = _outages(self.chance)
        self.level: Serious = self.chance.choice(["error", "warning", "info"])
        self.context = _context(folder, NOTIFY_LEVEL=self.level)
        self.notifier = _notifier(self.context, self.world)
        self.noted = Noted()
        self.wanted: list[Event] = []
        self.begun: set[str] = set()
        self.excused: set[int] = set()
        """What was on its way, or was not recorded yet, when the container was killed."""
        self.recorded = 0.0
        """When all is recorded after the disk was full."""

    def run(self) -> None:
        """Let the week pass, with a quiet end."""
        happens = [self.stop, self.kill, self.fill, self.crash, self.change]
        for moment in sorted(START + self.chance.uniform(0, 6 * DAY) for _ in range(90)):
            _run_until(self.notifier, self.world, moment)
            self.chance.choices(happens, [12, 8, 5, 10, 65])[0]()
            self.notifier.note(self.noted, self.world.now)
            self.notifier.note(self.noted, self.world.now)
        _run_until(self.notifier, self.world, START + 8 * DAY)

    def stop(self) -> None:
        """Stop and start the container."""
        self.notifier.close()
        self.notifier = _notifier(self.context, self.world)

    def kill(self) -> None:
        """Kill and start the container: half of what was on its way has arrived."""
        for sender in self.world.flying:
            self.excused |= set(sender.numbers)
            if self.chance.random() < 0.5:
                sender.deliver()
        if self.world.now < self.recorded:
            self.excused |= set(range(self.noted.total + 1))
        self.world.flying.clear()
        self.notifier = _notifier(self.context, self.world)

    def fill(self) -> None:
        """Fill the volume for a while."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(notes, "write", _refuse)
            self.change()
            self.notifier.note(self.noted, self.world.now)
            _run_until(self.notifier, self.world, self.world.now + self.chance.uniform(0, 1800))
        self.recorded = self.world.now + 31

    def crash(self) -> None:
        """Note something that just happens."""
        level: Serious = self.chance.choice(["info", "error"])
        self.add(
            self.noted.add(Event(0, self.world.now, HAPPENED, "crash", level, "crashed", self.world.now))
        )

    def change(self) -> None:
        """Begin or end something."""
        name, now = self.chance.choice(["archive", "space", "backups", "drills"]), self.world.now
        exists = any(each.check == name for each in self.noted.conditions)
        level = self.chance.choice(["warning", "error"])
        self.add(_ended(self.noted, name, now) if exists else _began(self.noted, name, now, level))

    def add(self, noted: Noted) -> None:
        """Note an event, and whether people want to hear of it."""
        self.noted, event = noted, noted.events[-1]
        heard = RANK[event.level] >= RANK[self.level]
        if event.kind == ENDED:
            heard = event.name in self.begun
            self.begun.discard(event.name)
        elif event.kind == BEGAN and heard:
            self.begun.add(event.name)
        self.wanted += [event] if heard else []

    def is_merged(self, event: Event) -> bool:
        """Return whether nobody has heard of a begin, because the message about its end says everything."""
        ends = [each for each in self.wanted if (each.kind, each.name) == (ENDED, event.name)]
        return (
            event.kind == BEGAN
            and any(each.number > event.number for each in ends)
            and not any(event.number in taken for taken in self.world.taken.values())
        )


def _refuse(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("seed", range(8))
def test_a_week(tmp_path: Path, seed: int) -> None:
    """Whatever fails and restarts, each target gets each message exactly once.

    Only what was on its way, or could not be recorded, when the container was killed may arrive twice. A begin
    that could not be sent to anybody before the end is part of the message about the end.
    """
    week = Week(tmp_path, seed)
    week.run()
    assert 0 == week.notifier.unsent
    for url in URLS:
        counts = Counter(week.world.taken[url])
        assert set() == set(counts) - {event.number for event in week.wanted}, "nobody asked for it"
        assert set() == {number for number, count in counts.items() if count > 1} - week.excused
        missing = [event for event in week.wanted if not counts[event.number]]
        assert [] == [event for event in missing if not week.is_merged(event)]


def test_one_target_does_not_hide_another(tmp_path: Path, world: World) -> None:
    """Two targets take a message at once; the one that fails is tried again alone, ever more rarely, until it takes it."""
    world.down = lambda url, now: url == URLS[1] and now < START + 2 * 3600
    notifier = _notifier(_context(tmp_path), world)
    notifier.note(_began(Noted(), "archive", world.now), world.now)
    _run_until(notifier, world, START + 60)
    assert [[1], [], [1]] == [world.taken[url] for url in URLS]
    assert (1, 1) == (notifier.unsent, notifier.failed_sends)
    _run_until(notifier, world, START + 3 * 3600)
    assert [[1], [1], [1]] == [world.taken[url] for url in URLS]
    tries = [task for task in world.tasks if task["url"] == URLS[1]]
    assert 8 == len(tries), "after 1, 2, 4, 8, 16, 32 and 60 minutes"
    assert (0, {}) == (notifier.unsent, dict(read(str(tmp_path)).failing))


def test_what_is_unsent_survives_a_restart(tmp_path: Path, world: World) -> None:
    """Another process sends what waits, and does not send again what was sent; the file holds no secret."""
    world.down = lambda _, now: now < START + 60
    context = _context(tmp_path, NOTIFY_HEARTBEAT_URL="https://hc-ping.com/ping-uuid")
    first = _notifier(context, world)
    noted = _began(Noted(), "archive", world.now)
    first.note(noted, world.now)
    _run_until(first, world, START + 30)
    first.close()
    text = (tmp_path / own.NOTIFY).read_text()
    assert [] == [secret for secret in SECRETS if secret in text]
    second = _notifier(context, world)
    second.note(noted, world.now)
    assert 1 == second.unsent
    _run_until(second, world, START + 3600)
    assert [[1]] * 3 == [world.taken[url] for url in URLS]
    third = _notifier(context, world)
    third.note(noted, world.now)
    assert 0 == third.unsent


def test_without_a_cluster_the_queue_is_in_memory(tmp_path: Path, world: World) -> None:
    """Nothing is written into a folder without a cluster, and the message is sent; later the file is written."""
    context = _context(tmp_path)
    (tmp_path / "PG_VERSION").rename(tmp_path / "aside")
    notifier = _notifier(context, world)
    notifier.note(_began(Noted(), "archive", world.now), world.now)
    _run_until(notifier, world, START + 60)
    assert [[1]] * 3 == [world.taken[url] for url in URLS]
    assert not (tmp_path / own.NOTIFY).exists()
    (tmp_path / "aside").rename(tmp_path / "PG_VERSION")
    notifier.tick(world.now)
    assert (tmp_path / own.NOTIFY).exists()


def test_a_full_disk_is_not_tried_all_the_time(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Messages are sent from memory, and the volume is tried again every half minute."""
    tries: list[float] = []

    def full(*_: object) -> None:
        tries.append(world.now)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(notes, "write", full)
    notifier = _notifier(_context(tmp_path), world)
    notifier.note(_began(Noted(), "space", world.now), world.now)
    for _ in range(60):
        notifier.tick(world.now)
        world.now += 1
    assert [[1]] * 3 == [world.taken[url] for url in URLS]
    assert [START, START + 30] == tries


@pytest.mark.parametrize("text", ["", "{}", "[" * 9999, '{"queued": "x"}', "\0"])
def test_a_damaged_file_is_no_obstacle(tmp_path: Path, world: World, text: str) -> None:
    """Whatever is in the file's place, messages are sent."""
    context = _context(tmp_path)
    (tmp_path / own.NOTIFY).write_text(text)
    notifier = _notifier(context, world)
    notifier.note(_began(Noted(), "archive", world.now), world.now)
    _run_until(notifier, world, START + 60)
    assert [[1]] * 3 == [world.taken[url] for url in URLS]


def test_the_end_of_what_another_process_has_reported(tmp_path: Path, world: World) -> None:
    """It is one message at any level, as for what this process has reported; without a begin it is none."""
    ends = Event(0, world.now, ENDED, "start", "error", "2 starts were refused", world.now - 60)
    other = ends._replace(name="other")
    notifier = _notifier(_context(tmp_path), world)
    notifier.began("start")
    notifier.note(Noted().add(ends).add(other), world.now)
    _run_until(notifier, world, START + 60)
    assert [[1]] * 3 == [world.taken[url] for url in URLS]


def test_what_another_node_reports(tmp_path: Path, world: World) -> None:
    """It is no message here, neither its begin nor its end, until this node reports it itself."""
    noted = Noted().add(Event(0, world.now, BEGAN, "dcs", "error", "away", world.now, elsewhere=True))
    noted = noted.add(Event(0, world.now, HAPPENED, "fail-over", "error", "db2", world.now, elsewhere=True))
    noted = noted.add(Event(0, world.now, ENDED, "dcs", "error", "away", world.now))
    noted = _began(noted, "dcs", world.now)
    notifier = _notifier(_context(tmp_path), world)
    notifier.note(_ended(noted, "dcs", world.now + 60), world.now)
    _run_until(notifier, world, START + 60)
    assert [[5]] * 3 == [world.taken[url] for url in URLS], "one short message for the last begin and end"


def test_the_queue_of_another_node(tmp_path: Path, world: World) -> None:
    """What waits in a copy of another node's folder is that node's to send."""
    world.down = lambda _, now: now < START + 60
    context = _context(tmp_path)
    first = _notifier(context, world)
    first.note(_began(Noted(), "archive", world.now), world.now)
    first.close()
    second = _notifier(context, world)
    second.start_over()
    second.note(Noted(), world.now)
    assert 0 == second.unsent


def test_old_news_is_no_news(tmp_path: Path, world: World) -> None:
    """Who asks for messages today hears what is wrong now, and not what happened and ended last week."""
    noted = _ended(_began(Noted(), "space", START - 9 * DAY), "space", START - 8 * DAY)
    noted = _began(noted, "archive", START - 3 * DAY)
    notifier = _notifier(_context(tmp_path), world)
    notifier.note(noted, world.now)
    _run_until(notifier, world, START + 60)
    assert [[3]] * 3 == [world.taken[url] for url in URLS]


def test_numbers_that_begin_again(tmp_path: Path, world: World) -> None:
    """If the record of the watch was lost, its events have small numbers again, and are sent all the same."""
    notifier = _notifier(_context(tmp_path), world)
    noted = Noted()
    for name in ("archive", "space", "backups"):
        noted = _began(noted, name, world.now)
    notifier.note(noted, world.now)
    _run_until(notifier, world, START + 60)
    world.now = START + 120
    notifier.note(_began(Noted(), "drills", world.now), world.now)
    _run_until(notifier, world, START + 180)
    assert [[1, 2, 3, 1]] * 3 == [world.taken[url] for url in URLS]


def _beats(world: World) -> Iterator[tuple[float, str]]:
    return ((at - START, url.removeprefix("https://hc-ping.com/ping-uuid")) for at, url, _ in world.pings)


def test_the_heartbeat(tmp_path: Path, world: World) -> None:
    """It begins with the first look, changes at once with an error, and stops when nobody looks any more."""
    context = _context(tmp_path, NOTIFY_URLS="", NOTIFY_HEARTBEAT_URL="https://hc-ping.com/ping-uuid")
    notifier = _notifier(context, world)
    notifier.note(Noted(), world.now)
    notifier.tick(world.now)
    assert [] == world.tasks
    notifier.looked(world.now)
    _run_until(notifier, world, START + 310)
    notifier.looked(world.now)
    broken = (Condition("archive", "error", world.now, "no access with password=xyz"),)
    _run_until(notifier, world, START + 340, broken)
    assert [(2, ""), (304, ""), (312, "/fail")] == [*_beats(world)]
    body = world.pings[-1][2]
    assert body is not None
    assert "ERROR archive: no access with password=***\nsince 2027-01-15 08:05 UTC" in body
    world.pings.clear()
    world.now = START + 340
    _run_until(notifier, world, START + 5000)
    assert [(342, "")] == [*_beats(world)][:1]
    assert 310 + 3 * 60 + 300 >= [*_beats(world)][-1][0], (
        "a look is 480 s old: nobody knows how the server is"
    )


def test_pings_of_backups(tmp_path: Path, world: World) -> None:
    """Start and end of each run are reported once, as a pair, also across a restart; an old run is not."""
    context = _context(tmp_path, NOTIFY_URLS="", **ARCHIVE, BACKUP_PING_URL="https://hc-ping.com/ping-uuid")
    old = Run("full", "2027-01-14T03:00:00+00:00", "schedule", "ok", 5.0)
    run = Run("full", "2027-01-15T03:00:00+00:00", "schedule")
    notifier = _notifier(context, world)
    notifier.note(Noted(), world.now)
    notifier.journals([old], [])
    notifier.journals([old, run], [])
    _run_until(notifier, world, START + 60)
    notifier.close()
    notifier = _notifier(context, world)
    done = run._replace(outcome="ok", seconds=7800.0, name="b1", holes=(("A", "C"),))
    notifier.note(Noted(), world.now)
    notifier.journals([old, done], [])
    _run_until(notifier, world, START + 120)
    notifier.journals([old, done], [])
    _run_until(notifier, world, START + 180)
    urls = [url for _, url, _ in world.pings]
    paths = [url.partition("?")[0] for url in urls]
    assert ["https://hc-ping.com/ping-uuid/start", "https://hc-ping.com/ping-uuid/fail"] == paths
    assert 1 == len({url.partition("?rid=")[2] for url in urls})
    assert "missing WAL: A to C" in str(world.pings[-1][2])


FAILED_DRILL = Drill("2027-01-15T03:00:00+00:00", "schedule", "failed", words="no space")


def _drilled(folder: Path, world: World, *drills: Drill) -> Notifier:
    """Return a notifier with pings of drills, after these drills."""
    context = _context(folder, NOTIFY_URLS="", **ARCHIVE, DRILL_PING_URL="https://hc-ping.com/ping-uuid")
    notifier = _notifier(context, world)
    notifier.note(Noted(), world.now)
    notifier.journals([], [])
    notifier.journals([], drills)
    return notifier


def test_a_ping_is_given_up(tmp_path: Path, world: World) -> None:
    """A service that never answers is tried 8 times for a report; doctor still knows that it fails."""
    world.down = lambda _url, _now: True
    _run_until(_drilled(tmp_path, world, FAILED_DRILL), world, START + DAY)
    assert [*_paths(world.tasks)] == ["/start", "/fail"] * 8
    assert 8 == read(str(tmp_path)).failing["DRILL_PING_URL"].failures


def test_each_report_has_its_own_attempts(tmp_path: Path, world: World) -> None:
    """The attempts of a begin, while its run lasts, are not counted as those of the end."""
    world.down = lambda _url, _now: True
    notifier = _drilled(tmp_path, world, FAILED_DRILL._replace(outcome="running"))
    _run_until(notifier, world, START + 300)
    assert [*_paths(world.tasks)] == ["/start"] * 3
    notifier.journals([], [FAILED_DRILL])
    _run_until(notifier, world, START + DAY)
    assert [*_paths(world.tasks)] == ["/start"] * 3 + ["/start", "/fail"] * 8


def test_a_late_begin_precedes_its_end(tmp_path: Path, world: World) -> None:
    """A run that has ended before anybody saw it is a pair; a service that was away gets it once, and in order."""
    world.down = lambda _url, now: now < START + 600
    notifier = _drilled(tmp_path, world, FAILED_DRILL)
    _run_until(notifier, world, START + DAY)
    assert ["/start", "/fail"] == [*_paths({"url": url} for _, url, _ in world.pings)]
    assert 1 == len({url.partition("?rid=")[2] for _, url, _ in world.pings})
    assert {} == dict(read(str(tmp_path)).failing)


def test_a_service_without_begins(tmp_path: Path, world: World) -> None:
    """If it refuses the late begin, the end follows at once, and the service counts as one that works."""
    world.down = lambda url, _now: "/start" in url
    _run_until(_drilled(tmp_path, world, FAILED_DRILL), world, START + 10)
    assert ["/start", "/fail"] == [*_paths(world.tasks)]
    assert {} == dict(read(str(tmp_path)).failing)
    _run_until(_drilled(tmp_path, world, FAILED_DRILL), world, START + DAY)
    assert 2 == len(world.tasks)


def test_a_kill_between_begin_and_end(tmp_path: Path, world: World) -> None:
    """A begin that was taken is recorded before the end is sent, so it is not sent again after a kill."""
    recorded = []
    launch = world.launch

    def look(context: object, task: Mapping[str, Any]) -> Sender:
        recorded.append(read(str(tmp_path)).marks["DRILL_PING_URL"])
        return launch(context, task)

    world.launch = look  # type: ignore[method-assign, assignment]
    notifier = _drilled(tmp_path, world, FAILED_DRILL)
    for _ in range(3):
        notifier.tick(world.now)
        world.now += 1
    assert [Mark("", ended=True), Mark(FAILED_DRILL.started, ended=False)] == recorded
    world.flying.clear()  # killed
    _run_until(_drilled(tmp_path, world, FAILED_DRILL), world, START + DAY)
    assert ["/start", "/fail", "/fail"] == [*_paths(world.tasks)]


def _paths(tasks: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    return (each["url"].removeprefix("https://hc-ping.com/ping-uuid").partition("?")[0] for each in tasks)


def test_what_is_over_before_anybody_heard_of_it(tmp_path: Path, world: World) -> None:
    """If no target has taken the begin before the end, there is one message about both; otherwise there are two."""
    world.down = lambda url, now: now < START + 600 and (url != URLS[0] or now < START + 200)
    notifier = _notifier(_context(tmp_path), world)
    noted = _began(Noted(), "archive", world.now)
    notifier.note(noted, world.now)
    _run_until(notifier, world, START + 100)
    noted = _began(_ended(noted, "archive", world.now), "space", world.now)
    notifier.note(noted, world.now)
    assert 2 == notifier.unsent
    _run_until(notifier, world, START + 550)
    notifier.note(_ended(noted, "space", world.now), world.now)
    _run_until(notifier, world, START + 7200)
    assert [[2, 3, 4]] * 3 == [sorted(world.taken[url]) for url in URLS]
    bodies = {each["number"]: each["body"] for task in world.tasks for each in task["messages"]}
    assert "no message could be sent before it ended" in bodies[2]
    assert "no message could be sent" not in bodies[4]


def test_no_process_can_be_started(tmp_path: Path, world: World) -> None:
    """A sender that cannot be started is tried again like a target that fails, and ends nothing."""
    context = _context(tmp_path, NOTIFY_HEARTBEAT_URL="https://hc-ping.com/ping-uuid")
    launch = world.launch

    def refuse(*_: object) -> Sender:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    world.launch = refuse  # type: ignore[method-assign, assignment]
    notifier = _notifier(context, world)
    notifier.note(_began(Noted(), "archive", world.now), world.now)
    notifier.looked(world.now)
    for _ in range(5):
        notifier.tick(world.now)
    assert {1} == {each.failures for each in read(str(tmp_path)).failing.values()}
    world.launch = launch  # type: ignore[method-assign]
    second = _notifier(context, world)
    second.note(Noted(), world.now)
    _run_until(second, world, START + 600)
    assert [[1]] * 3 == [world.taken[url] for url in URLS]


def test_the_queue_is_bounded(tmp_path: Path, world: World) -> None:
    """The oldest message gives way, and the number of these is known until a target works again."""
    world.down = lambda _, now: now < START + DAY
    notifier = _notifier(_context(tmp_path), world)
    noted = Noted()
    for number in range(outbox.MOST + 7):
        noted = noted.add(Event(0, world.now, HAPPENED, "crash", "error", f"crash {number}", world.now))
        notifier.note(noted, world.now)
    assert (outbox.MOST, 7) == (notifier.unsent, read(str(tmp_path)).dropped)
    _run_until(notifier, world, START + 2 * DAY)
    assert [[*range(8, outbox.MOST + 8)]] * 3 == [sorted(world.taken[url]) for url in URLS]
    assert 0 == read(str(tmp_path)).dropped
