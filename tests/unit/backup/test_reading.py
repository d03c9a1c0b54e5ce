"""The plan of what to read of an archive after a backup."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from entrypoint.archivers.terms import Object
from entrypoint.backup import reading
from entrypoint.backup.reading import Note, Plan, State

DAY = 86400
URL = "file:///archive"
NOW = 20_000 * DAY


def _backup(day: int, sizes: Sequence[int] = (60, 40)) -> list[Object]:
    return [
        Object(f"backup/b{day:04}/{index}", size, NOW + day * DAY + index, f"backup/b{day:04}", closed=True)
        for index, size in enumerate(sizes)
    ]


def _plan(objects: Sequence[Object], state: State | None, day: float, days: int = 30, made: str = "") -> Plan:
    return reading.plan(objects, state, url=URL, made=made, now=NOW + day * DAY, days=days)


def _carry_out(plan: Plan, now: float, limit: int = 10**9) -> tuple[State, list[Object]]:
    """Read at most `limit` objects, in the same way as backup/contents.py."""
    notes, credit = dict(plan.state.notes), plan.state.credit
    read: list[Object] = []

    def take(name: str, chosen: Sequence[Object], *, slice_of: bool) -> bool:
        nonlocal credit
        for each in chosen:
            if len(read) >= limit or (slice_of and credit <= 0):
                return False
            read.append(each)
            notes[name] = notes[name]._replace(at=each.path)
            credit -= each.size if name in plan.old else 0
        return True

    for name, chosen in plan.new.items():
        found = plan.groups[name]
        newest = max(each.modified for each in found)
        note = notes.get(name, Note(name))
        if note.newest < 0 and not note.at:
            note = note._replace(since=now, upto=newest)
        notes[name] = note
        if take(name, chosen, slice_of=False):
            begun = note.newest < 0
            notes[name] = Note(name, note.since if begun else note.read, newest, len(found))
    for name in plan.old:
        if credit <= 0 and name not in plan.due:
            break
        note = notes[name] if notes[name].at else notes[name]._replace(since=now)
        notes[name] = note
        rest = [each for each in plan.groups[name] if each.path > note.at]
        if take(name, rest, slice_of=name not in plan.due):
            notes[name] = notes[name]._replace(read=note.since, at="", since=0.0)
    return plan.state._replace(credit=credit, notes=notes), read


def _size(objects: Sequence[Object]) -> int:
    return sum(each.size for each in objects)


@pytest.mark.parametrize("seed", range(20))
def test_everything_is_read_once_in_a_period(seed: int) -> None:
    """Whatever is added, removed or large: new objects at once, and never much more than a day's share."""
    chance = random.Random(seed)
    period, keep = chance.choice([3, 7, 30]), chance.choice([5, 20, 60])
    objects: list[Object] = []
    last: dict[str, float] = {}
    state = None
    for day in range(3 * period + keep):
        if chance.random() < 0.1:
            continue  # a backup that failed, or a container that was down
        new = _backup(day, [chance.randint(1, 100) for _ in range(chance.randint(1, 30))])
        gone = {each.group for each in objects if each.modified < NOW + (day - keep) * DAY}
        objects = [each for each in objects if each.group not in gone] + new
        made = new[0].group.rpartition("/")[2]
        # Sometimes the reading is killed halfway and runs again.
        for limit in [chance.randint(0, 40)] * (chance.random() < 0.3) + [10**9]:
            plan = _plan(objects, state, day, period, made)
            state, read = _carry_out(plan, NOW + day * DAY, limit)
            state = reading.parse(reading.write(state))
            assert state is not None
            last |= {each.path: day for each in read}
        assert {each.path for each in new} <= set(last)
        assert all(day - last[each.path] <= period + 1 for each in objects)
    assert state is not None
    assert {each.group for each in objects} == set(state.notes)


def test_each_night_reads_new_objects_and_a_share_of_the_others() -> None:
    """With 30 backups of the same size, a night reads two of them, not thirty."""
    objects = [each for day in range(30) for each in _backup(day, [10] * 10)]
    state = None
    sizes = []
    for day in range(30, 120):
        objects = [each for each in objects if each.modified >= NOW + (day - 30) * DAY] + _backup(
            day, [10] * 10
        )
        state, read = _carry_out(_plan(objects, state, day, 30, f"b{day:04}"), NOW + day * DAY)
        sizes.append(_size(read))
    assert (100, 300) >= (min(sizes), max(sizes))
    assert 210 >= sum(sizes) / len(sizes)


def test_without_a_state_all_is_read_evenly() -> None:
    """The new backup is read at once, nothing else that night, and every other backup within a period."""
    objects = [each for day in range(11) for each in _backup(day)]
    first = _plan(objects, None, 10, made="b0010")
    assert (["backup/b0010"], set()) == (list(first.new), first.due)
    state, read = _carry_out(first, NOW + 10 * DAY)
    assert 100 == _size(read)
    seen: set[str] = {each.path for each in read}
    for day in range(11, 41):
        state, read = _carry_out(_plan(objects, state, day), NOW + day * DAY)
        assert _size(read) <= 100
        seen |= {each.path for each in read}
    assert {each.path for each in objects} == seen


def test_without_a_state_segments_since_the_begin_of_the_backup_are_new() -> None:
    """Earlier segments of the same group are not new."""
    wal = [Object(f"wal/a/{at}", 1, NOW + 5 * DAY + at, "wal/a", closed=False) for at in range(-3, 3)]
    plan = _plan([*wal, *_backup(5)], None, 6, made="b0005")
    assert [wal[3:], _backup(5)] == [plan.new["wal/a"], plan.new["backup/b0005"]]
    assert 3 == plan.state.notes["wal/a"].objects


def test_without_a_state_doubtful_objects_are_read_at_once() -> None:
    """Otherwise a lost state would make a broken backup count as good."""
    wal = [Object(f"wal/a/{at:024X}-0.lz4", 1, NOW + at, "wal/a", closed=False) for at in range(5)]
    objects = [*wal, *(each for day in range(4) for each in _backup(day))]
    doubtful = {"b0001", f"{3:024X}"}
    plan = reading.plan(objects, None, url=URL, made="b0003", now=NOW + 3 * DAY, days=30, doubtful=doubtful)
    assert {"wal/a", "backup/b0001", "backup/b0003"} == set(plan.new)


def test_another_archive_has_another_state() -> None:
    """Readings of one archive do not count for another."""
    objects = [each for day in range(3) for each in _backup(day)]
    state, _ = _carry_out(_plan(objects, None, 2, made="b0002"), NOW + 2 * DAY)
    assert "backup/b0002" in _plan(objects, state._replace(url="s3://other"), 3, made="b0002").new
    assert {} == _plan(objects, state, 3).new


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda found: [found[0], found[1]._replace(modified=found[1].modified + 1)], 1),
        (lambda found: [*found, found[1]._replace(path="backup/b0000/old-date")], 3),
        (lambda found: found[:1], 1),
        (lambda found: found, 0),
    ],
    ids=["rewritten", "added with an old date", "one is missing", "the same"],
)
def test_a_backup_that_changed(change: object, expected: int) -> None:
    """Rewritten objects are read again; the whole backup is if it is unclear which object changed."""
    assert callable(change)
    state, _ = _carry_out(_plan(_backup(0), State(URL, NOW), 0), NOW)
    assert expected == len(_plan(change(_backup(0)), state, 1).new.get("backup/b0000", ()))


def test_segments_that_retention_removed_change_nothing() -> None:
    """A segment that is added with an old date is still found."""
    wal = [Object(f"wal/a/{at}", 1, NOW + at, "wal/a", closed=False) for at in range(5)]
    state, _ = _carry_out(_plan(wal, State(URL, NOW), 0), NOW)
    later = _plan(wal[2:], state, 1)
    assert {} == later.new
    back = _plan([*wal[2:], wal[0]], later.state, 2)
    assert 4 == len(back.new["wal/a"])


def test_a_clock_that_is_set_back() -> None:
    """A reading dated in the future counts as read now: it is repeated in time, but not at once."""
    objects = [each for day in range(3) for each in _backup(day)]
    state, _ = _carry_out(_plan(objects, State(URL, NOW), 400), NOW + 400 * DAY)
    back = _plan(objects, state, 3)
    assert ({}, set(), 0) == (back.new, back.due, back.state.credit)
    assert 3 == len(_plan(objects, back.state, 33).due)


def test_what_was_found_damaged_is_read_again_each_time() -> None:
    """It is read again until it is gone; the rest of its backup does not count as new."""
    state, _ = _carry_out(_plan(_backup(0), State(URL, NOW), 0), NOW)
    (name,) = state.notes
    damaged = state._replace(notes={name: state.notes[name]._replace(damaged={"backup/b0000/1": "x"})})
    plan = _plan(_backup(0), reading.parse(reading.write(damaged)), 1)
    assert ["backup/b0000/1"] == [each.path for each in plan.new[name]]
    gone = [*_backup(0)[:1], *_backup(0)[1:2]]
    gone[1] = gone[1]._replace(path="backup/b0000/2")
    assert {} == _plan(gone, damaged, 1).state.notes[name].damaged


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[]", '{"url": "u", "when": "x", "credit": 1}', '{"url": "u", "when": 1, "credit": 1}\n[1]'],
)
def test_an_invalid_state(text: str) -> None:
    """An invalid state counts as none, which starts an even round."""
    assert reading.parse(text) is None


def test_the_state_is_small() -> None:
    """It stays small with 1,000 backups of 500 objects and 1,000 groups of segments."""
    objects = [each for day in range(1000) for each in _backup(day, [1] * 500)]
    state, _ = _carry_out(_plan(objects, State(URL, NOW), 1000), NOW + 1000 * DAY)
    assert len(reading.write(state)) < 200 * 1000
