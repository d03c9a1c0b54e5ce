"""Which backups are removed, which are kept, and why."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrypoint.archivers.terms import Backup
from entrypoint.backup import retention

NOW = datetime(2026, 11, 22, tzinfo=UTC)


def backup(name: str, days: float, parent: str | None = None, *, permanent: bool = False) -> Backup:
    """Return a backup that ended this many days ago."""
    time = (NOW - timedelta(days=days)).isoformat()
    return Backup(
        name, "incremental" if parent else "full", time, time, 1, "0/1", "0/2", permanent, "1", parent
    )


def _restores(each: Backup, backups: Sequence[Backup], broken: Collection[str] = ()) -> bool:
    """Return whether a backup restores, as far as is known."""
    needed = retention.chain(each, backups)
    return needed is not None and not any(one.name in broken or one.damaged for one in needed)


@st.composite
def archives(draw: st.DrawFn) -> list[Backup]:
    """Make an archive of full backups and incremental ones on any older one; some permanent, some orphans."""
    made: list[Backup] = []
    ages = draw(st.lists(st.integers(0, 60), max_size=10, unique=True))
    for number, days in enumerate(sorted(ages, reverse=True)):
        # Names do not show ages: wal-g/wal-g#636.
        name = f"{(number * 7) % 11}-{number}"
        parent = draw(st.sampled_from([None, None, "gone", *(each.name for each in made)]))
        made.append(backup(name, days, parent, permanent=draw(st.booleans())))
    return draw(st.permutations(made))


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[Backup], set[str], retention.Decision]:
    """Make an archive, the names of its broken backups, and a decision about it."""
    found = draw(archives())
    broken = draw(st.sets(st.sampled_from([each.name for each in found]))) if found else set()
    full = draw(st.none() | st.integers(1, 4))
    days = draw(st.none() | st.integers(1, 40))
    return found, broken, retention.decide(found, full=full, days=days, now=NOW, broken=broken)


def _kept(decision: retention.Decision) -> set[str]:
    return {each.name for each, _ in decision.keep}


def _by_age(backups: Sequence[Backup]) -> list[Backup]:
    return sorted(backups, key=lambda each: datetime.fromisoformat(each.finished))


@given(cases())
def test_each_backup_is_removed_or_kept(case: tuple[list[Backup], set[str], retention.Decision]) -> None:
    """No backup is both or neither, and each kept one has a reason."""
    found, _, decision = case
    gone = {each.name for each in decision.remove}
    assert {each.name for each in found} == gone | _kept(decision)
    assert not gone & _kept(decision)
    assert all(reason for _, reason in decision.keep)


@given(cases())
def test_the_newest_is_kept(case: tuple[list[Backup], set[str], retention.Decision]) -> None:
    """The newest by the time of its end is kept, whatever is wrong with it."""
    found, _, decision = case
    assert {each.name for each in _by_age(found)[-1:]} <= _kept(decision)


@given(cases())
def test_the_last_that_restores_is_kept(case: tuple[list[Backup], set[str], retention.Decision]) -> None:
    """It is kept even if every newer backup is broken or lacks its parent."""
    found, broken, decision = case
    good = [each for each in _by_age(found) if _restores(each, found, broken)]
    assert {each.name for each in good[-1:]} <= _kept(decision)


@given(cases())
def test_the_parents_of_a_kept_backup_are_kept(
    case: tuple[list[Backup], set[str], retention.Decision],
) -> None:
    """So a full backup is removed only with every backup that builds on it."""
    found, _, decision = case
    names = {each.name for each in found}
    parents = {each.parent for each, _ in decision.keep}
    assert (parents & names) <= _kept(decision)


@given(cases())
def test_permanent_backups_are_kept(case: tuple[list[Backup], set[str], retention.Decision]) -> None:
    """They are kept whatever their age."""
    found, _, decision = case
    assert {each.name for each in found if each.permanent} <= _kept(decision)


@given(cases())
def test_the_root_is_a_full_backup_that_is_kept(
    case: tuple[list[Backup], set[str], retention.Decision],
) -> None:
    """All WAL since the root is kept, so no backup kept for more than its own moment is older."""
    _, _, decision = case
    if decision.root is not None:
        assert "full" == decision.root.kind
        assert decision.root.name in _kept(decision)


@given(archives(), st.integers(1, 4))
def test_this_many_full_backups_that_restore_are_kept(found: list[Backup], full: int) -> None:
    """The newest full backups are kept, with every backup that builds on them."""
    decision = retention.decide(found, full=full, days=None, now=NOW)
    fulls = [each.name for each in _by_age(found) if each.kind == "full"][-full:]
    kept = _kept(decision)
    assert set(fulls) <= kept
    for each in found:
        needed = retention.chain(each, found)
        if needed and needed[-1].name in fulls:
            assert each.name in kept


@given(archives(), st.integers(1, 40), st.integers(0, 40))
def test_any_moment_of_the_window_can_be_restored(found: list[Backup], days: int, moment: int) -> None:
    """For each moment, the newest backup that restores and ended before is kept, with all WAL since."""
    decision = retention.decide(found, full=None, days=days, now=NOW)
    time = NOW - timedelta(days=min(moment, days))
    before = [
        each
        for each in _by_age(found)
        if datetime.fromisoformat(each.finished) <= time and _restores(each, found)
    ]
    if before:
        assert before[-1].name in _kept(decision)
        assert decision.root is not None
        needed = retention.chain(before[-1], found)
        assert needed is not None
        assert decision.root.finished <= needed[-1].finished


@given(archives(), st.integers(1, 4), st.integers(1, 40))
def test_a_backup_that_either_rule_keeps_is_kept(found: list[Backup], full: int, days: int) -> None:
    """Both settings together keep everything that each of them would keep."""
    both = _kept(retention.decide(found, full=full, days=days, now=NOW))
    assert _kept(retention.decide(found, full=full, days=None, now=NOW)) <= both
    assert _kept(retention.decide(found, full=None, days=days, now=NOW)) <= both


@given(archives())
def test_without_settings_nothing_is_removed(found: list[Backup]) -> None:
    """Removal needs a setting."""
    assert () == retention.decide(found, full=None, days=None, now=NOW).remove


@given(cases())
def test_removing_the_roots_removes_all(case: tuple[list[Backup], set[str], retention.Decision]) -> None:
    """The roots and every backup that builds on them are exactly the chosen backups."""
    found, _, decision = case
    gone = {each.name for each in retention.roots(decision.remove)}
    while True:
        more = {each.name for each in found if each.parent in gone} | gone
        if more == gone:
            break
        gone = more
    assert {each.name for each in decision.remove} == gone


WEEKS = [
    backup("full-3", 21),
    backup("incr-3", 17, "full-3"),
    backup("full-2", 14),
    backup("incr-2", 10, "full-2"),
    backup("full-1", 7),
    backup("incr-1", 3, "full-1"),
]


@pytest.mark.parametrize(
    ("full", "days", "gone"),
    [
        (1, None, ["full-3", "incr-3", "full-2", "incr-2"]),
        (2, None, ["full-3", "incr-3"]),
        (9, None, []),
        (None, 2, ["full-3", "incr-3", "full-2", "incr-2"]),
        (None, 5, ["full-3", "incr-3", "full-2", "incr-2"]),
        (None, 8, ["full-3", "incr-3"]),
        (None, 30, []),
        (1, 8, ["full-3", "incr-3"]),
    ],
)
def test_a_calendar(full: int | None, days: int | None, gone: list[str]) -> None:
    """The example takes a full backup each week and an incremental one between."""
    decision = retention.decide(WEEKS, full=full, days=days, now=NOW)
    assert gone == [each.name for each in decision.remove]


def test_broken_backups_count_for_nothing() -> None:
    """With two to keep, a broken backup is not counted, so an older one is kept."""
    decision = retention.decide(WEEKS, full=1, days=None, now=NOW, broken={"full-1"})
    assert ["full-3", "incr-3"] == [each.name for each in decision.remove]
    assert decision.root is not None
    assert "full-2" == decision.root.name


def test_a_permanent_backup_does_not_keep_later_wal() -> None:
    """It is kept with its own WAL only."""
    found = [backup("old", 99, permanent=True), *WEEKS]
    decision = retention.decide(found, full=1, days=None, now=NOW)
    assert ["old", "full-1", "incr-1"] == [each.name for each, _ in decision.keep]
    assert decision.root is not None
    assert "full-1" == decision.root.name


def test_a_backup_dated_in_the_future_does_not_count() -> None:
    """It is neither the newest nor one of the backups to keep."""
    made = [backup("old", 2), backup("today", 1), backup("ahead", -365)]
    decision = retention.decide(made, full=1, days=None, now=NOW)
    assert ["old"] == [each.name for each in decision.remove]
    kept = {"today": "one of the last 1 full backups, or newer", "ahead": retention.AHEAD}
    assert kept == {each.name: why for each, why in decision.keep}
    assert ["ahead"] == [each.name for each in decision.ahead]
    assert () == retention.decide(made, full=None, days=None, now=NOW).ahead
    assert ["old"] == [each.name for each in retention.decide(made, full=None, days=1, now=NOW).remove]


def test_a_circle_ends() -> None:
    """Backups that name each other as parent do not restore, and cause no endless loop."""
    parents = (("a", "b"), ("b", "a"), ("c", "a"), ("d", "d"), ("e", "gone"))
    made = [backup(name, 2, parent) for name, parent in parents]
    assert {"a", "b", "c", "d", "e"} == retention.unsound(made)
    assert [None] * 5 == [retention.chain(each, made) for each in made]
    assert retention.decide(made, full=1, days=1, now=NOW).root is None


def test_a_long_chain_is_decided_in_one_pass() -> None:
    """With thousands of backups that build on each other, no chain is walked more than once."""
    made = [backup("0", 2)] + [backup(str(number), 1, str(number - 1)) for number in range(1, 20000)]
    decided = retention.decide(made, full=1, days=1, now=NOW)
    assert (made[0], ()) == (decided.root, decided.remove)
