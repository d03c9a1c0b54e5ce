"""What waits to be archived, and why."""

from __future__ import annotations

from pathlib import Path

import pytest

from entrypoint.archive import backlog, calls


def test_the_order_of_what_waits(tmp_path: Path) -> None:
    """PostgreSQL's own: histories first, then the oldest segment; without a folder nothing waits."""
    assert [] == backlog.waiting(str(tmp_path))
    status = tmp_path / "pg_wal/archive_status"
    status.mkdir(parents=True)
    for name in ("000000020000000000000007", "000000010000000000000009", "00000002.history"):
        (status / f"{name}.ready").touch()
    (status / "000000010000000000000008.done").touch()
    assert ["00000002.history", "000000010000000000000009", "000000020000000000000007"] == backlog.waiting(
        str(tmp_path)
    )


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["INFO: files will be uploaded", "ERROR: cannot reach it", "  dial tcp: refused"], "ERROR: cannot reach it dial tcp: refused"),
        (["ERROR: [103]: unable to find a repository", "HINT: is there one?", ""], "ERROR: [103]: unable to find a repository"),
        (["Error: 1", "2", "3", "4"], "Error: 1 2 3"),
        (["it ended", "killed"], "killed"),
        (["", " "], None),
        ([], None),
    ],
)  # fmt: skip
def test_why(words: list[str], reason: str | None) -> None:
    """From the first error on, without hints and blank lines; without one the last line."""
    assert reason == backlog._reason(words)


def test_the_last_segment(tmp_path: Path) -> None:
    """As archive-segment has noted it; else the newest one of this timeline that is done."""
    data, run = tmp_path / "data", tmp_path / "run"
    (data / "pg_wal/archive_status").mkdir(parents=True)
    run.mkdir()
    assert backlog.last_segment(str(data), str(run), "00000001") is None
    for name in ("000000020000000000000007", "00000002.history", "000000010000000000000003"):
        (data / f"pg_wal/archive_status/{name}.done").touch()
    found = backlog.last_segment(str(data), str(run), "00000001")
    assert found is not None
    assert "000000010000000000000003" == found[0]
    (run / calls.ARCHIVED).write_text("000000010000000000000009\n")
    found = backlog.last_segment(str(data), str(run), "00000001")
    assert found is not None
    assert "000000010000000000000009" == found[0]
