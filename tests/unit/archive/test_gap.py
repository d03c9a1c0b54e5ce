"""The gaps between the shim's record, the note in the data folder and the archive, whatever comes in between."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from entrypoint import own
from entrypoint.archive import calls, gap, given_up, known_gaps, pending
from entrypoint.archive.given_up import Gap
from entrypoint.archive.opened import OpenedArchive
from entrypoint.archivers.terms import Answer, Command
from entrypoint.errors import Failure
from entrypoint.server import control_file, sessions
from entrypoint.server.context import Context
from entrypoint.volume import notes
from unit import made
from unit.made import NO_CHILDREN, POSTGRES

SIZE = 16 * 1024**2
URL = "file:///archive"
CLUSTER = "7"


class Crash(BaseException):
    """The end of this process at this moment."""


def _name(number: int, timeline: int = 1) -> str:
    return f"{timeline:08X}00000000{number:08X}"


class World:
    """A cluster that gives WAL up, and the archive's record of it."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = made.cluster(folder / "data")
        (self.folder / "pg_wal" / "archive_status").mkdir(parents=True)
        self.objects: dict[str, str] = {}
        self.away = False
        self.steps = 0
        """How many changes were made that outlive a crash."""
        self.last = 10**9
        """The change after which everything ends."""
        self.position = _name(30)
        self.timeline = 1
        settings = made.settings(
            {"ARCHIVE_URL": URL, "ARCHIVE_TOOL": "pgbackrest", "PGDATA": str(self.folder)}
        )
        assert settings.archive is not None
        context = Context(settings, NO_CHILDREN, POSTGRES, str(folder), {})
        self.opened = OpenedArchive(context, settings.archive)
        write = notes.write

        def noted(*words: str) -> None:
            self._step(lambda: write(*words))

        def unknown(*_: object) -> None:
            raise OSError

        monkeypatch.setattr(notes, "write", noted)
        monkeypatch.setattr(pending, "copy_of", unknown)
        monkeypatch.setattr(OpenedArchive, "ask", lambda _, command, **given: self._ask(command, **given))
        monkeypatch.setattr(calls, "describe_server", lambda _: made.SERVER)
        monkeypatch.setattr(control_file, "read_control", lambda _: self._control())
        monkeypatch.setattr(sessions, "query", lambda _, text: self._query(text))

    def _step(self, change: Callable[[], None]) -> None:
        if self.steps == self.last:
            raise Crash
        change()
        self.steps += 1

    def _control(self) -> dict[str, str]:
        return {
            "Database system identifier": CLUSTER,
            "Bytes per WAL segment": str(SIZE),
            "Latest checkpoint's TimeLineID": str(self.timeline),
        }

    def _query(self, text: str) -> str:
        return "900" if "xmin" in text else self.position

    def _ask(self, command: Command, *, given: str = "", **_: object) -> Answer:
        if self.away:
            return Answer(1, "", "no route to host")
        path = command.argv[-1]
        if "repo-put" in command.argv:
            self._step(lambda: self.objects.update({path: given}))
        if "repo-get" in command.argv:
            return Answer(0, self.objects[path], "")
        return Answer(0, "\n".join(each.rpartition("/")[2] for each in self.objects), "")

    def give_up(self, *lines: str) -> None:
        """Add lines to the record, as archive-segment does."""
        with (self.folder / own.GIVEN_UP).open("a", encoding="ascii") as record:
            record.writelines(f"\n{line}" for line in lines)

    def drop(self, first: int, last: int, timeline: int = 1) -> None:
        """Give these segments up."""
        self.give_up(
            "begin 1000000050 1000000040 no route", f"drop {_name(first, timeline)} {_name(last, timeline)}"
        )

    @property
    def here(self) -> list[Gap]:
        """The gaps of the note."""
        return list(known_gaps.read(str(self.folder)).gaps)

    @property
    def there(self) -> list[Gap]:
        """The gaps of the archive's record."""
        texts = [text for path, text in self.objects.items() if path.endswith(own.GAPS)]
        return [each._replace(url=URL) for text in texts for each in given_up.parse(text)]

    @property
    def owed(self) -> list[str]:
        """The gaps for which a full backup is owed."""
        return [each.first for each in known_gaps.owed(self.opened.context, URL)]

    def put(self, *gaps: Gap) -> None:
        """Let somebody else write the archive's record."""
        gap._store(self.opened, gaps)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A cluster that has given up nothing yet."""
    return World(tmp_path, monkeypatch)


def _two_gaps(world: World) -> None:
    """One gap with its backup, then another one that grows while its backup is taken."""
    world.drop(5, 7)
    gap.settle(world.opened)
    gap.close(world.opened, made.backup(9))
    world.drop(12, 13)
    gap.settle(world.opened)
    world.drop(14, 16)
    gap.close(world.opened, made.backup(15))
    gap.settle(world.opened)
    gap.close(world.opened, made.backup(18))


WHOLE = [(_name(5), _name(7), 3, "b9"), (_name(12), _name(16), 5, "b18")]


def _shown(gaps: list[Gap]) -> list[tuple[str, str, int, str]]:
    return [(each.first, each.last, each.segments, each.backup) for each in gaps]


def test_two_gaps(world: World) -> None:
    """Each has its own backup; one that began before the end of the second gap does not lead over it."""
    _two_gaps(world)
    assert WHOLE == _shown(world.here) == _shown(world.there)
    assert all(each.stored for each in world.here)
    assert [] == world.owed


def test_the_archive_knows_what_was_forgotten_here(world: World) -> None:
    """Without the note, the record is read once more, and changes nothing; what was ended elsewhere has ended."""
    world.drop(5, 7)
    gap.settle(world.opened)
    gap.close(world.opened, made.backup(9))
    (world.folder / own.GAPS).unlink()
    gap.settle(world.opened)
    assert WHOLE[:1] == _shown(world.here) == _shown(world.there)
    noted = known_gaps.read(str(world.folder))
    opened = tuple(each._replace(backup="", back=0.0, back_lsn="") for each in noted.gaps)
    known_gaps.write(str(world.folder), noted._replace(gaps=opened))
    gap.settle(world.opened)
    assert WHOLE[:1] == _shown(world.here)


def test_a_crash_between_any_two_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever was given up stays known, its backup stays owed, and the next attempt does the rest."""
    other = Gap("file:///other", CLUSTER, _name(1), _name(2), 2, 2 * SIZE, 50.0, 60.0, stored=True)

    def step_by_step(world: World, last: int) -> int:
        known_gaps.write(str(world.folder), known_gaps.Known((other,)))
        world.steps, world.last = 0, last
        for first, end, number in ((5, 7, 9), (12, 16, 18)):
            world.drop(first, end)
            for _ in range(3):  # a crash, the next attempt, and one more that must change nothing
                try:
                    gap.settle(world.opened)
                except Crash:
                    world.last = 10**9
                    assert _name(first) in world.owed
                assert other in world.here
            made_backup = made.backup(number)
            try:
                gap.close(world.opened, made_backup)
            except Crash:
                # It is not known here that the backup was made, so another one is owed, or it is.
                world.last = 10**9
                assert [] == world.owed or [_name(first)] == world.owed
                gap.settle(world.opened)
                if world.owed:
                    gap.close(world.opened, made_backup)
        return world.steps

    count = step_by_step(World(tmp_path / "whole", monkeypatch), 10**9)
    assert count >= 8
    for last in range(count):
        world = World(tmp_path / f"{last}", monkeypatch)
        step_by_step(world, last)
        assert world.last == 10**9, "no crash"
        assert WHOLE == _shown([each for each in world.here if each != other]) == _shown(world.there), last
        assert all(each.stored for each in world.here), last


def test_nothing_is_forgotten_while_the_storage_is_away(world: World) -> None:
    """The record stays, and so does the note; what was put off is archived then."""
    world.drop(5, 7)
    world.give_up("later 00000002.history")
    (world.folder / "pg_wal" / "00000002.history").touch()
    world.away = True
    for _ in range(2):
        with pytest.raises(Failure):
            gap.settle(world.opened)
    assert [_name(5)] == world.owed
    assert known_gaps.is_unstored(world.opened.context, URL)
    world.away = False
    gap.settle(world.opened)
    assert WHOLE[:1] == [(*each[:3], "b9") for each in _shown(world.there)]
    assert (world.folder / "pg_wal" / "archive_status" / "00000002.history.ready").exists()


def test_gaps_on_two_timelines(world: World) -> None:
    """Both are this server's; the other server may have given up more than it ever sees, but not without end."""
    world.drop(5, 9)
    world.drop(8, 9, timeline=2)
    (world.folder / "pg_wal" / "00000002.history").write_text("1\t0/7000000\tno recovery target specified\n")
    world.timeline = 2
    gap.settle(world.opened)
    assert [_name(5), _name(8, 2)] == world.owed
    gap.close(world.opened, made.backup(8, timeline=2))
    assert [_name(8, 2)] == world.owed
    gap.close(world.opened, made.backup(11, timeline=2))
    assert [] == world.owed
    assert ["b8", "b11"] == [each.backup for each in world.there]


def test_a_gap_of_an_abandoned_timeline(world: World) -> None:
    """It is kept for those who restore there, and nobody owes a backup for it."""
    world.put(Gap(URL, CLUSTER, _name(9), _name(12), 4, 4 * SIZE, 50.0, 60.0))
    (world.folder / "pg_wal" / "00000002.history").write_text("1\t0/7000000\tno recovery target specified\n")
    world.timeline = 2
    gap.settle(world.opened)
    assert [] == world.owed
    gap.close(world.opened, made.backup(20, timeline=2))
    assert [True] == [each.is_open for each in world.there]


def test_what_retention_has_made_needless_goes(world: World) -> None:
    """A gap goes when no backup leads to it, here and in the archive; an open one and another archive's stay."""
    _two_gaps(world)
    other = world.here[0]._replace(url="file:///other")
    noted = known_gaps.read(str(world.folder))
    known_gaps.write(str(world.folder), noted._replace(gaps=(other, *noted.gaps)))
    world.drop(20, 21)
    gap.settle(world.opened)
    world.away = True
    with pytest.raises(Failure):
        gap.prune(world.opened, [made.backup(9)])
    assert 4 == len(world.here)
    world.away = False
    world.last = world.steps + 1
    with pytest.raises(Crash):
        gap.prune(world.opened, [made.backup(9)])
    world.last = 10**9
    gap.settle(world.opened)
    gap.prune(world.opened, [made.backup(9)])
    assert [_name(12), _name(20)] == [each.first for each in world.there]
    assert [other, *world.there] == [each._replace(stored=each == other) for each in world.here]
    gap.prune(world.opened, [])
    assert [_name(20)] == [each.first for each in world.there] == world.owed


NONSENSE = (
    "",
    "\x00\xff",
    "[" * 100_000,
    '{"gaps": 1}',
    '{"gaps": [{"first": "../../etc", "last": "x"}]}',
    json.dumps({"gaps": [Gap(URL, CLUSTER, _name(5), _name(7), 3, SIZE, 1e99)._asdict()]}),
    json.dumps({"gaps": [{**Gap(URL, CLUSTER, _name(5), _name(7))._asdict(), "segments": "3"}]}),
)


@pytest.mark.parametrize("text", NONSENSE, ids=range(len(NONSENSE)))
def test_nonsense_in_the_archive(world: World, text: str, capfd: pytest.CaptureFixture[str]) -> None:
    """It counts as nothing, is said, and is replaced by what is known here."""
    _two_gaps(world)
    (path,) = world.objects
    world.objects[path] = text
    gap.settle(world.opened)
    assert WHOLE == _shown(world.here) == _shown(world.there)
    assert "cannot be parsed, and counts as empty" in capfd.readouterr().err


def _from_elsewhere(world: World) -> Any:
    return Gap(world.opened.url, CLUSTER, _name(29), _name(2**31), 3, 3 * SIZE, 50.0, 60.0)


@pytest.mark.parametrize("known", [False, True])
def test_nobody_makes_us_take_backups_for_ever(
    world: World, capfd: pytest.CaptureFixture[str], *, known: bool
) -> None:
    """A gap in WAL that was not written yet would be ended by no backup, so each would be owed another one."""
    if known:
        _two_gaps(world)
    world.put(*world.here, _from_elsewhere(world), _from_elsewhere(world)._replace(cluster="8"))
    gap.settle(world.opened)
    gap.close(world.opened, made.backup(29))
    assert [] == world.owed
    assert (WHOLE if known else []) == _shown([each for each in world.here if each.cluster == CLUSTER])
    assert "which this server has not written yet: ignored" in capfd.readouterr().err


def test_a_past_gap_that_only_the_archive_knows(world: World) -> None:
    """After a restore or a takeover, it is taken over, and a backup is owed for it if none has followed."""
    world.put(Gap(URL, CLUSTER, _name(5), _name(7), 3, 3 * SIZE, 50.0, 60.0))
    gap.settle(world.opened)
    assert [_name(5)] == world.owed
    gap.close(world.opened, made.backup(9, kind="incremental"))
    assert [_name(5)] == world.owed
    gap.close(world.opened, made.backup(10))
    assert [] == world.owed
