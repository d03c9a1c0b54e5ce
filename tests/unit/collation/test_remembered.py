"""What is remembered of collations."""

from __future__ import annotations

from pathlib import Path

import pytest

from entrypoint import own
from entrypoint.collation import remembered
from entrypoint.collation.remembered import CHANGED, MATCHED, Memory
from unit import made

HERE = "glibc 2.41, libicui18n.so.72; cluster 1, catalog 2, timeline 3; /bin/postgres 4 5"
THERE = HERE.replace("2.41", "2.36")


def test_memory_survives(tmp_path: Path) -> None:
    """What is written is read, with names of databases that hold blanks."""
    memory = Memory(CHANGED, HERE, frozenset({("my app", 1, 2), ("a\nrebuilt 1 2 \u2028\\n ł", 3, 4)}))
    remembered.write(str(made.cluster(tmp_path)), memory)
    assert memory == remembered.read(str(tmp_path))
    assert f"{CHANGED} {HERE}" == (tmp_path / own.COLLATION).read_text().splitlines()[0]


def test_what_is_rebuilt_is_added_to_the_memory(tmp_path: Path) -> None:
    """One line each; a last one that was not written to its end is none, and what is written next is."""
    first, second = ("my app", 1, 2), ("a\nb", 3, 4)
    remembered.write(str(made.cluster(tmp_path)), Memory(CHANGED, HERE))
    remembered.remember_rebuilt(str(tmp_path), first)
    remembered.remember_rebuilt(str(tmp_path), second)
    assert Memory(CHANGED, HERE, frozenset({first, second})) == remembered.read(str(tmp_path))
    path = tmp_path / own.COLLATION
    path.write_bytes(path.read_bytes()[:-3])
    assert Memory(CHANGED, HERE, frozenset({first})) == remembered.read(str(tmp_path))
    path.unlink()
    remembered.remember_rebuilt(str(tmp_path), first)
    assert Memory() == remembered.read(str(tmp_path))


@pytest.mark.parametrize("text", ["", "\n", "matched x\nrebuilt 1\n", "matched x\nrebuilt a b c\n", "\0"])
def test_a_torn_memory_is_none(tmp_path: Path, text: str) -> None:
    """Whatever is there, a start looks anew and never fails by it."""
    (tmp_path / own.COLLATION).write_text(text)
    assert MATCHED != remembered.read(str(tmp_path)).state


@pytest.mark.parametrize(
    ("memory", "expected"),
    [
        (Memory(), ""),
        (Memory(MATCHED, THERE), ""),
        (Memory(CHANGED, HERE), ""),
        (Memory(CHANGED, HERE.replace("postgres 4", "postgres 6")), ""),
        (Memory(CHANGED, THERE), "glibc 2.36, libicui18n.so.72"),
    ],
)
def test_what_others_have_sorted(memory: Memory, expected: str) -> None:
    """Only a cluster that was served although its versions did not match, and by other libraries, is mixed."""
    assert expected == memory.mixed(HERE)


@pytest.mark.parametrize(
    ("memory", "expected"),
    [
        (Memory(), False),
        (Memory(MATCHED, THERE), False),
        (Memory(CHANGED, HERE), False),
        (Memory(MATCHED, HERE), True),
        (Memory(MATCHED, HERE.replace("postgres 4", "postgres 6")), True),
        (Memory(MATCHED, HERE.replace("timeline 3", "timeline 4")), False),
    ],
)
def test_the_same_libraries_have_changed_nothing(tmp_path: Path, memory: Memory, expected: bool) -> None:
    """Where all matched with them on this cluster and timeline, whatever does not match now was made up."""
    assert expected == remembered.same_libraries(str(tmp_path), memory, HERE)
