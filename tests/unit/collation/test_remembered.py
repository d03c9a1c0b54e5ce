"""The memory of the state of collations."""

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
    """A memory is read as it was written, even with blanks in the names of databases."""
    memory = Memory(CHANGED, HERE, frozenset({("my app", 1, 2), ("a\nrebuilt 1 2 \u2028\\n ł", 3, 4)}))
    remembered.write(str(made.cluster(tmp_path)), memory)
    assert memory == remembered.read(str(tmp_path))
    assert f"{CHANGED} {HERE}" == (tmp_path / own.COLLATION).read_text().splitlines()[0]


def test_rebuilt_indexes_are_added_to_the_memory(tmp_path: Path) -> None:
    """Each index has a line; an incomplete last line does not count."""
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
def test_a_torn_memory_does_not_count(tmp_path: Path, text: str) -> None:
    """Whatever the file contains, a start checks the collations again and does not fail."""
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
def test_mixed_libraries(memory: Memory, expected: str) -> None:
    """A cluster is mixed only if other libraries served it although its versions did not match."""
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
def test_the_same_libraries_change_nothing(tmp_path: Path, memory: Memory, expected: bool) -> None:
    """If all matched with these libraries on this cluster and timeline, a change now was made up."""
    assert expected == remembered.same_libraries(str(tmp_path), memory, HERE)
