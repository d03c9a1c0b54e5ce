"""Which base backup fits a target, and why none does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from entrypoint.archive.given_up import Gap
from entrypoint.archivers.terms import Backup
from entrypoint.postgres import segments
from entrypoint.restore.choose import Choice, Refusal, Wal, choose, history_of, unreached, worded
from entrypoint.restore.record import record, recorded
from entrypoint.settings.restoring import Request

if TYPE_CHECKING:
    from entrypoint.settings.restoring import Kind

SIZE = 16 * 1024**2
START = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def _names(timeline: int, first: int, last: int) -> frozenset[str]:
    return frozenset(segments.name(timeline, count, SIZE) for count in range(first, last + 1))


def _backup(name: str, hour: int, segment: int, *, timeline: int = 1) -> Backup:
    at = (START + timedelta(hours=hour)).isoformat()
    start, stop = f"0/{segment * SIZE + 40:X}", f"0/{segment * SIZE + 256:X}"
    return Backup(
        name, "full", at, at, 1, start, stop, permanent=False, system_identifier="1", timeline=timeline
    )


BACKUPS = [_backup("first", 0, 2), _backup("second", 2, 10), _backup("third", 4, 20)]
WAL = Wal(1, (), _names(1, 1, 30), SIZE, START + timedelta(hours=6))
NOW = START + timedelta(hours=9)


def _choose(request: Request, wal: Wal = WAL, backups: list[Backup] | None = None) -> Choice | Refusal:
    return choose(request, backups or BACKUPS, wal, NOW)


def _chosen(request: Request, wal: Wal = WAL, backups: list[Backup] | None = None) -> Choice:
    found = _choose(request, wal, backups)
    assert isinstance(found, Choice), found
    return found


def _refused(request: Request, wal: Wal = WAL, backups: list[Backup] | None = None) -> str:
    found = _choose(request, wal, backups)
    assert isinstance(found, Refusal)
    problem = worded(found, request, wal)
    return f"{problem.what}; {problem.hint}"


@pytest.mark.parametrize(
    ("hours", "backup"),
    [(0.01, "first"), (1.99, "first"), (2.01, "second"), (3.9, "second"), (4.01, "third"), (5.9, "third")],
)
def test_a_time_takes_the_newest_backup_before_it(hours: float, backup: str) -> None:
    """Only a backup that ended before the target leads to it."""
    found = _chosen(Request("LATEST", "time", (START + timedelta(hours=hours)).isoformat()))
    assert backup == found.backup.name
    assert found.value.endswith("+00")


def test_a_relative_time_becomes_absolute() -> None:
    """`4 hours ago` becomes a moment, and an interrupted restore continues with the same moment."""
    request = Request("LATEST", "time", "4 hours ago")
    found = _chosen(request)
    assert ("third", "2026-11-22 17:00:00.000000+00") == (found.backup.name, found.value)
    noted = recorded(record(found, request))
    assert noted.is_for(request._replace(action="pause"))
    assert not noted.is_for(request._replace(value="3 hours ago"))
    assert "2026-11-22 17:00:00.000000+00" == noted.options["recovery_target_time"]


@pytest.mark.parametrize(
    ("lsn", "backup"), [(2 * SIZE + 256, "first"), (10 * SIZE + 255, "first"), (10 * SIZE + 256, "second")]
)
def test_an_lsn_takes_the_newest_backup_before_it(lsn: int, backup: str) -> None:
    """The end of a backup counts, since the backup is consistent there."""
    assert backup == _chosen(Request("LATEST", "lsn", f"0/{lsn:X}")).backup.name


@pytest.mark.parametrize(
    ("kind", "value", "word"),
    [
        ("time", "2026-11-22T11:59:59+00:00", "before"),
        ("time", "2026-11-22T18:00:01+00:00", "after"),
        ("time", "2026-11-22T13:00:00+02:00", "before"),
        ("lsn", f"0/{2 * SIZE:X}", "before"),
        ("lsn", f"0/{31 * SIZE:X}", "after"),
    ],
)
def test_a_target_out_of_range_is_refused(kind: Kind, value: str, word: str) -> None:
    """The refusal shows the range that the archive covers."""
    text = _refused(Request("LATEST", kind, value))
    assert f"is {word} the" in text
    assert "2026-11-22T12:00:00+00:00 (0/2000100) to 2026-11-22T18:00:00+00:00 (0/1F000000)" in text


@pytest.mark.parametrize("kind", ["", "name", "xid"])
def test_other_targets_take_the_newest_backup(kind: Kind) -> None:
    """The end, a name or a transaction takes the newest backup, or the backup that is named."""
    assert "third" == _chosen(Request("LATEST", kind, "745")).backup.name
    assert "first" == _chosen(Request("first", kind, "745")).backup.name


def test_a_named_backup_after_the_target_is_refused() -> None:
    """The hint names the backup that fits."""
    text = _refused(Request("third", "lsn", f"0/{11 * SIZE:X}"))
    assert "backup third ended after the target" in text
    assert "RESTORE_FROM=LATEST would take second" in text


def test_a_gap_on_the_way_is_found_before_anything_is_fetched() -> None:
    """A gap would end the replay, so it is refused; a newer backup or an earlier target avoids it."""
    torn = WAL._replace(names=WAL.names - _names(1, 15, 16))
    assert "third" == _chosen(Request("LATEST"), torn).backup.name
    text = _refused(Request("second"), torn)
    assert f"lacks the WAL segments {segments.name(1, 15, SIZE)} to {segments.name(1, 16, SIZE)}" in text
    assert f"RESTORE_TARGET_LSN=0/{14 * SIZE:X}" in text
    assert "second" == _chosen(Request("LATEST", "lsn", f"0/{14 * SIZE:X}"), torn).backup.name
    assert "second" == _chosen(Request("LATEST", "lsn", f"0/{15 * SIZE - 1:X}"), torn).backup.name
    found = _chosen(Request("second", "xid", "745"), torn)
    assert (segments.name(1, 15, SIZE), segments.name(1, 16, SIZE)) == found.hole
    assert _chosen(Request("second", "immediate", "immediate"), torn).hole is None


def test_a_backup_without_its_own_wal_is_not_used() -> None:
    """The newest backup that can become consistent is chosen."""
    torn = WAL._replace(names=WAL.names - _names(1, 20, 20))
    assert "second" == _chosen(Request("LATEST", "lsn", f"0/{19 * SIZE:X}"), torn).backup.name
    assert "third does not lead to timeline 1, or segments" in _refused(Request("third"), torn)
    assert "no base backup on the way to timeline 1" in _refused(Request("LATEST"), torn, BACKUPS[2:])


FORKED = Wal(2, ((1, 12 * SIZE + 500),), WAL.names | _names(2, 12, 14), SIZE, START + timedelta(hours=6))
"""Timeline 2 started in segment 12 of timeline 1, which continued up to segment 30."""


def test_a_backup_of_the_abandoned_timeline_does_not_lead_to_the_new_one() -> None:
    """The old timeline's backups after the fork belong to another history."""
    assert "second" == _chosen(Request("LATEST"), FORKED).backup.name
    assert "third does not lead to timeline 2" in _refused(Request("third"), FORKED)
    assert f"{15 * SIZE:X}" == f"{FORKED.end_lsn:X}"
    assert _chosen(Request("LATEST"), FORKED).hole is None
    newer = _backup("newer", 5, 13, timeline=2)
    assert "newer" == _chosen(Request("LATEST"), FORKED, [*BACKUPS, newer]).backup.name


def test_a_timeline_without_a_segment_ends_where_it_began() -> None:
    """Its first segment is not missing: it has not been archived yet."""
    young = FORKED._replace(names=WAL.names)
    assert segments.name(1, 12, SIZE) == young.last
    assert "second" == _chosen(Request("LATEST"), young).backup.name


@pytest.mark.parametrize(
    ("asked", "backup", "expected"),
    [("latest", "LATEST", 2), ("current", "first", 1), ("current", "LATEST", 2), ("7", "LATEST", 7)],
)
def test_the_request_decides_the_timeline_to_follow(asked: str, backup: str, expected: int) -> None:
    """It is the newest timeline, the backup's, or the one that is named."""
    backups = [*BACKUPS, _backup("newer", 5, 13, timeline=2)]
    request = Request(backup, timeline=asked)
    assert expected == history_of({*WAL.names, "00000002.history"}, request, backups)


def _at(hours: float) -> float:
    return (START + timedelta(hours=hours)).timestamp()


GAP = Gap(
    cluster="1",
    first=segments.name(1, 13, SIZE),
    last=segments.name(1, 15, SIZE),
    segments=3,
    bytes=3 * SIZE,
    begun=_at(3.5),
    ended=_at(3.6),
    why="no route to host",
    reached=_at(3),
    lsn=f"0/{13 * SIZE - 500:X}",
    xid=700,
    next_xid=800,
    backup="third",
    back=_at(4) + 1,
    back_lsn=f"0/{20 * SIZE + 256:X}",
)
"""Between the second backup and the third."""
WITH_GAP = WAL._replace(names=WAL.names - _names(1, 13, 15), gaps=(GAP,))
NOT_YET = WITH_GAP._replace(gaps=(GAP._replace(backup="", back=0.0, back_lsn=""),))


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("time", (START + timedelta(hours=3)).isoformat()),
        ("time", (START + timedelta(hours=3.9)).isoformat()),
        ("lsn", f"0/{13 * SIZE:X}"),
        ("lsn", f"0/{17 * SIZE:X}"),
        ("xid", "701"),
        ("xid", str(2**32 + 799)),
    ],
)
def test_a_target_in_a_gap_is_refused_by_name(kind: Kind, value: str) -> None:
    """The refusal says why there is a gap, and names the last point before it and the first after it."""
    words = _refused(Request("LATEST", kind, value), WITH_GAP)
    assert (
        "is in a gap of the archive: 00000001000000000000000D to 00000001000000000000000F were given up"
        in words
    )
    assert (
        "archiving failed: no route to host; nothing between 2026-11-22T15:00:00+00:00 and 2026-11-22T16:00:01"
        in words
    )
    assert (
        f"RESTORE_TARGET_LSN={GAP.lsn}; the first moment after it: RESTORE_TARGET_TIME=2026-11-22T16:00:01+00:00"
        in words
    )


@pytest.mark.parametrize(
    ("kind", "value", "backup"),
    [
        ("time", (START + timedelta(hours=2.99)).isoformat(), "second"),
        ("time", (START + timedelta(hours=4, seconds=1)).isoformat(), "third"),
        ("lsn", GAP.lsn, "second"),
        ("lsn", GAP.back_lsn, "third"),
        ("xid", "700", "second"),
        ("xid", "800", "third"),
        ("", "", "third"),
        ("name", "here", "third"),
        ("immediate", "", "third"),
    ],
)
def test_both_sides_of_a_gap(kind: Kind, value: str, backup: str) -> None:
    """Before a gap and after it, everything can be restored, each from a backup on that side."""
    assert backup == _chosen(Request("LATEST", kind, value), WITH_GAP).backup.name


@pytest.mark.parametrize(
    ("kind", "value"), [("", ""), ("time", (START + timedelta(hours=5)).isoformat()), ("xid", "900")]
)
def test_no_restore_ends_silently_before_a_gap(kind: Kind, value: str) -> None:
    """A backup before the gap was named, but the target is behind it."""
    words = _refused(Request("second", kind, value), WITH_GAP)
    assert "there is a gap between backup second and " in words
    assert "everything: RESTORE_FROM=LATEST without a target" in words


@pytest.mark.parametrize("last", [30, 12])
def test_a_gap_without_a_backup_behind_it(last: int) -> None:
    """Nothing after it can be restored yet, even if the archive ends there; what is before it can, by its LSN."""
    wal = NOT_YET._replace(
        names=frozenset(each for each in WITH_GAP.names if segments.number(each, SIZE) <= last)
    )
    words = _refused(Request("LATEST", "", ""), wal, BACKUPS[:2])
    assert "and the next full backup, which is not there yet can be restored" in words
    assert words.endswith(f"restore one of these: everything before it: RESTORE_TARGET_LSN={GAP.lsn}")
    assert "second" == _chosen(Request("LATEST", "lsn", GAP.lsn), wal, BACKUPS[:2]).backup.name
    assert "is in a gap" in _refused(Request("LATEST", "time", "1 minute ago"), wal, BACKUPS[:2])
    unknown = wal._replace(gaps=(wal.gaps[0]._replace(lsn="", xid=0),))
    assert f"RESTORE_TARGET_LSN=0/{12 * SIZE:X}" in _refused(Request("LATEST", "", ""), unknown, BACKUPS[:2])


@pytest.mark.parametrize("kind", ["name", "xid"])
def test_a_target_that_was_not_found_before_a_gap(kind: Kind) -> None:
    """Nobody knows where a restore point is, so the end of the replay says that there is a gap, and the ways out."""
    found = unreached(Request("second", kind, "900"), BACKUPS, WITH_GAP)
    assert found is not None
    assert (
        f"the target ({kind} 900) was not found between backup second and a gap of the archive: "
        in found.what
    )
    assert "nothing between 2026-11-22T15:00:00+00:00 and 2026-11-22T16:00:01+00:00 can" in found.what
    ways = (
        f"everything before it: RESTORE_TARGET_LSN={GAP.lsn}",
        "RESTORE_TARGET_TIME=",
        "older than this backup: RESTORE_FROM=first",
        "behind the gap: RESTORE_FROM=third",
    )
    assert [] == [each for each in ways if each not in found.hint]
    assert found == unreached(Request("second", kind, "900"), BACKUPS, WITH_GAP, GAP.first)
    assert unreached(Request("second", kind, "900"), BACKUPS, WITH_GAP, segments.name(1, 16, SIZE)) is None
    assert unreached(Request("second", kind, "900"), BACKUPS, WAL) is None


@pytest.mark.parametrize("kind", ["name", "xid"])
def test_a_gap_that_was_not_on_the_way(kind: Kind) -> None:
    """A target that was not found behind the gap, up to the end of the archive, is most likely misspelt."""
    assert unreached(Request("third", kind, "900"), BACKUPS, WITH_GAP) is None


def test_a_target_that_was_not_found_before_an_open_gap() -> None:
    """There is no backup behind it yet."""
    found = unreached(Request("second", "name", "here"), BACKUPS[:2], NOT_YET)
    assert found is not None
    assert "the next full backup, which is not there yet" in found.what
    assert "behind the gap" not in found.hint
