"""How near a filesystem is to being full."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from entrypoint.volume import room
from entrypoint.volume.room import FULL, NORMAL, TIGHT, Room, look, marks, next_look

MB = 1024**2
SEGMENT = 16 * MB
SIZES = st.integers(64, 10**7).map(lambda megabytes: megabytes * MB)


def _fill(size: int, rate: int, *, until: str, step: float = 0.1) -> Room:
    """Return the room when it has reached a level, filled at this many bytes a second from half of its size."""
    found = Room(size, SEGMENT)
    now, free = 0.0, float(size // 2)
    while found.level != until:
        found = look(found, int(free), now)
        now, free = now + step, max(0.0, free - rate * step)
    return found


@given(SIZES, st.floats(0, 10**9))
def test_the_marks_are_in_their_order(size: int, rate: float) -> None:
    """Each level ends above where it begins, also at the end of a rate."""
    found, calm = marks(size, SEGMENT, rate), marks(size, SEGMENT)
    assert found.end < found.full < found.tight
    assert calm.full <= calm.calm <= calm.normal
    assert calm.tight < calm.normal or size < 8 * SEGMENT


def test_it_begins_before_it_is_too_late() -> None:
    """At 300 MB a second there is time for a reload, and for a helper to start."""
    slow, fast = _fill(2 * 1024 * MB, MB, until=FULL), _fill(2 * 1024 * MB, 300 * MB, until=FULL)
    assert 127 * MB <= slow.free <= 130 * MB
    assert fast.free >= 300 * MB
    assert _fill(2 * 1024 * MB, 300 * MB, until=TIGHT).free >= fast.free + 300 * MB


def test_one_segment_is_no_rate() -> None:
    """WAL grows by whole segments: a new one within a tenth of a second is not 160 MB a second."""
    found = look(look(Room(10**11, SEGMENT), 10**9, 0.0), 10**9 - SEGMENT, 0.1)
    assert found.rate == SEGMENT
    for number in range(50):
        found = look(found, 10**9 - SEGMENT, 0.2 + number / 10)
    assert found.rate == 0


def test_it_comes_back_only_with_more_space() -> None:
    """What a checkpoint frees for a moment does not let everybody write again."""
    found = look(Room(10**11, SEGMENT), 100 * MB, 0.0)
    assert found.level == FULL
    for number, (free, level) in enumerate(
        ((200, FULL), (225, TIGHT), (130, TIGHT), (127, FULL), (319, TIGHT), (321, NORMAL), (257, NORMAL))
    ):
        found = look(found, free * MB, 1000.0 * (number + 1))
        assert level == found.level, free


def test_it_looks_more_often_the_sooner_it_can_be_full() -> None:
    """A server that writes 2 GB a second passes no mark unseen."""
    calm = look(Room(10**12, SEGMENT), 10**11, 0.0)
    near = look(Room(10**12, SEGMENT), 10**9, 0.0)
    assert (next_look(calm), next_look(look(Room(10**12, SEGMENT), 200 * MB, 0.0))) == (room.SELDOM, 0.1)
    assert near.free - next_look(near) * room.FASTEST >= near.marks.tight - 1


@given(SIZES, st.lists(st.tuples(st.floats(0.1, 60), st.floats(0, 1)), min_size=1, max_size=40))
def test_a_full_disk_is_never_called_normal(size: int, steps: list[tuple[float, float]]) -> None:
    """Whatever came before."""
    found, now = Room(size, SEGMENT), 0.0
    for seconds, part in steps:
        now += seconds
        found = look(found, int(part * size), now)
        assert found.level == FULL or found.free >= found.marks.full
        assert found.level != NORMAL or found.free >= found.marks.tight
        assert 0 < next_look(found) <= room.SELDOM


def test_inodes() -> None:
    """They are counted in the same way, in files."""
    found = Room(32768, room.FILES, fastest=room.FASTEST_FILES)
    levels = [look(found, free, 0.0).level for free in (1000, 100, 60)]
    assert [NORMAL, TIGHT, FULL] == levels
