"""How the server's last stops went."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import pytest

from entrypoint import own
from entrypoint.pid1 import stops
from unit import made

SHUT_DOWN, IN_PRODUCTION = 1, 6


def _cluster(folder: Path, state: int) -> str:
    path = made.cluster(folder) / "global" / "pg_control"
    content = bytearray(path.read_bytes())
    content[16:20] = state.to_bytes(4, sys.byteorder)
    path.write_bytes(content)
    return str(folder)


def test_a_stop_is_recorded(tmp_path: Path) -> None:
    """One line each: the time, the duration, and the step."""
    data = _cluster(tmp_path, SHUT_DOWN)
    stops.note(data, 0.44, "fast")
    stops.note(data, None, stops.KILLED)
    rows = [line.split() for line in stops.read(data).splitlines()]
    assert [["0.4", "fast"], ["-", "killed"]] == [row[1:] for row in rows]
    assert all(row[0].isdigit() for row in rows)


@pytest.mark.parametrize(
    ("state", "expected"), [(SHUT_DOWN, True), (2, True), (IN_PRODUCTION, False), (0, False)]
)
def test_the_next_start_notices_a_killed_server(tmp_path: Path, state: int, expected: bool) -> None:
    """It reads the control file; the server could leave no line of its own."""
    data = _cluster(tmp_path, state)
    assert expected == stops.is_clean(data)
    stops.look_back(data)
    assert expected == (stops.read(data) == "")


def test_without_a_cluster_nothing_is_known(tmp_path: Path) -> None:
    """Nothing is written either."""
    assert stops.is_clean(str(tmp_path)) is None
    stops.look_back(str(tmp_path))
    assert [] == list(tmp_path.iterdir())


def test_the_file_stays_small(tmp_path: Path) -> None:
    """The newest lines stay, and each of them is complete."""
    data = _cluster(tmp_path, SHUT_DOWN)
    text = "".join(f"{1_795_364_442 + number} 0.4 fast\n" for number in range(400))
    (tmp_path / own.STOPS).write_text(text)
    stops.look_back(data)
    kept = stops.read(data)
    assert len(kept) <= 2048
    assert text.endswith(kept)
    assert kept.startswith("17953")


def test_a_full_disk_does_not_prevent_a_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the line about a killed server nor the shorter file has to be written."""
    data = _cluster(tmp_path, IN_PRODUCTION)
    text = "1795364442 0.4 fast\n" * 400
    (tmp_path / own.STOPS).write_text(text)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", full)
    monkeypatch.setattr(os, "fsync", full)
    stops.look_back(data)
    assert text == stops.read(data)
