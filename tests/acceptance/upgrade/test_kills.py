"""SIGKILL of the container over an upgrade and its undoing: the old cluster, or the new one, and no row lost."""

from __future__ import annotations

import os
import random
import time
from contextlib import ExitStack

import pytest

from upgrades import EXPECTED, Home

MODES = ("copy", "clone", "link")


def _examine(home: Home, before: str, after: str) -> str:
    """Return the major that serves; programs of another one, or of any while names change, do not start."""
    unfinished, major = home.unfinished, home.major
    served = home.served()
    if major == before:
        # Until the one rename, the cluster starts as ever, whatever is left next to it.
        assert f"{before}:{EXPECTED}" == served
    else:
        assert major == after
        assert served in {f"{after}:{EXPECTED}", *([""] if unfinished else [])}
        assert f"{after}:{EXPECTED}" == home.settled()
        assert not home.unfinished
    return major


def _run_again(home: Home, mode: str) -> None:
    """An upgrade that was killed before it counted is done again, from whatever it has left."""
    done = home.upgrade("run", mode)
    assert 0 == done.code, done.output
    assert f"17:{EXPECTED}" == home.served()


def _undo(home: Home) -> None:
    done = home.upgrade("undo")
    assert 0 == done.code, done.output
    assert f"15:{EXPECTED}" == home.served()


def _points(home: Home, word: str, mode: str, count: int) -> list[int]:
    """Return changes to kill before: the commit and the one after it, some before, and most behind."""
    with home.copy() as copy:
        made = copy.changes(word, mode)
    commit = next(
        each.number
        for each in made
        if each.what.endswith("upgrade/PG_VERSION /var/lib/postgresql/data/PG_VERSION")
    )
    early = count // 4 if word == "run" else 1
    late = count - early - 2
    last = made[-1].number
    before = [1 + (commit - 2) * each // max(1, early) for each in range(early)]
    behind = [commit + 2 + (last - commit - 2) * each // max(1, late - 1) for each in range(late)]
    return sorted({*before, commit, commit + 1, *behind})


def _sweep_run(old: Home, mode: str, count: int) -> set[str]:
    """Kill an upgrade before changes that it makes; afterwards do it again, or undo it."""
    seen = set()
    for number, point in enumerate(_points(old, "run", mode, count)):
        with old.copy() as home:
            home.killed_before(point, "run", mode)
            major = _examine(home, "15", "17")
            print(f"{mode}: killed before change {point}: {major}")
            seen.add(major)
            if number % 3 == 0 and major == "15":
                _run_again(home, mode)
            if number % 3 == 0 and major == "17" and mode != "link":
                _undo(home)
    return seen


def _sweep_undo(old: Home, mode: str, count: int) -> set[str]:
    """Kill an undoing before changes that it makes."""
    seen = set()
    with old.copy() as new:
        _run_again(new, mode)
        for point in _points(new, "undo", mode, count):
            with new.copy() as home:
                home.killed_before(point, "undo", mode)
                major = _examine(home, "17", "15")
                print(f"{mode}: undo killed before change {point}: {major}")
                seen.add(major)
    return seen


def _sweep_times(old: Home, mode: str, count: int, chance: random.Random) -> set[str]:
    """Kill an upgrade at random times, which meets pg_upgrade and both servers as well."""
    with old.copy() as home:
        began = time.monotonic()
        _run_again(home, mode)
        length = time.monotonic() - began
    seen = set()
    for _ in range(count):
        with old.copy() as home:
            home.killed_after(chance.random() * length, "run", mode)
            seen.add(_examine(home, "15", "17"))
            if home.major == "15":
                _run_again(home, mode)
    return seen


def test_killed_with_links_it_is_old_or_new(old: Home) -> None:
    """With links, the files of both clusters are the same ones."""
    assert {"15", "17"} == _sweep_run(old, "link", 3)


@pytest.mark.long
def test_an_undoing_that_is_killed_is_old_or_new(old: Home) -> None:
    """What was undone is whole, or the newer cluster still is."""
    assert {"15", "17"} == _sweep_undo(old, "copy", 4)


@pytest.mark.long
@pytest.mark.parametrize("mode", MODES)
def test_killed_at_sixty_points_it_is_old_or_new(old: Home, mode: str) -> None:
    """As above, 20 times for each mode, over the upgrade and its undoing."""
    seed = int(os.environ.get("SEED", time.time()))
    print(f"SEED={seed}")
    with ExitStack() as stack:
        stack.callback(print, f"mode {mode}")
        assert {"15", "17"} == _sweep_run(old, mode, 10)
        if mode != "link":
            assert {"15", "17"} == _sweep_undo(old, mode, 6)
        assert {"15", "17"} >= _sweep_times(old, mode, 4 if mode != "link" else 10, random.Random(seed))
