"""The files that wait to be archived, and the reason."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from entrypoint.archive import backlog, calls
from entrypoint.settings.archiving import Archive
from entrypoint.volume.facts import ArchiveState
from unit import made


def test_files_wait_in_postgresqls_order(tmp_path: Path) -> None:
    """Histories come first, then the oldest segment; without a folder nothing waits."""
    assert [] == backlog.waiting(str(tmp_path))
    status = tmp_path / "pg_wal/archive_status"
    status.mkdir(parents=True)
    for name in ("000000020000000000000007", "000000010000000000000009", "00000002.history"):
        (status / f"{name}.ready").touch()
    (status / "000000010000000000000008.done").touch()
    assert ["00000002.history", "000000010000000000000009", "000000020000000000000007"] == backlog.waiting(
        str(tmp_path)
    )


def _look(folder: Path) -> ArchiveState:
    archive = made.settings({"ARCHIVE_URL": "file:///archive"}).archive
    assert isinstance(archive, Archive)
    return backlog.look(archive, str(folder), str(folder / "run"))


@pytest.mark.parametrize(
    ("left", "prepared"),
    [
        ((), True),
        (("run/prepare-archive",), False),
        # A standby leaves it to its promotion, although the storage is available.
        (("run/prepare-archive", "standby.signal"), True),
        (("run/prepare-archive", "recovery.signal"), True),
    ],
)
def test_only_a_primary_is_not_prepared(tmp_path: Path, left: tuple[str, ...], *, prepared: bool) -> None:
    """Only there the next segment has something to do first."""
    made.cluster(tmp_path)
    (tmp_path / "run").mkdir()
    for name in left:
        (tmp_path / name).touch()
    assert prepared == _look(tmp_path).prepared


def test_the_last_error_is_the_message_alone(tmp_path: Path) -> None:
    """A message of the entrypoint is shown in one line, so neither its level nor its hint is part of it."""
    made.cluster(tmp_path)
    (tmp_path / "run").mkdir()
    message = "uid 999 cannot write to /archive"
    logged = f"entrypoint: error: {message}\n  hint: chown it\n  docs: run-without-root\n"
    (tmp_path / "run" / calls.FAILING).write_text(f"entrypoint: error: {message}\n1796017241\n")
    (tmp_path / "run" / calls.WORDS).write_text(logged)
    assert message == _look(tmp_path).last_error
    (tmp_path / "run" / calls.WORDS).unlink()
    assert message == _look(tmp_path).last_error


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (
            [
                "entrypoint: error: pgbackrest cannot use the archive (exit code 29):",
                "    INFO: stanza-create command begin 2.45: --repo1-path=/archive",
                "    ERROR: [029]: unable to load info file",
                "    HINT: archive.info cannot be opened",
            ],
            "pgbackrest cannot use the archive (exit code 29): ERROR: [029]: unable to load info file",
        ),
        (["INFO: files will be uploaded", "ERROR: cannot reach it", "  dial tcp: refused"], "ERROR: cannot reach it dial tcp: refused"),
        (["ERROR: [103]: unable to find a repository", "HINT: is there one?", ""], "ERROR: [103]: unable to find a repository"),
        (["Error: 1", "2", "3", "4"], "Error: 1 2 3"),
        (["entrypoint: error: no", "  because", "  hint: do", "  docs: x"], "no because"),
        (["entrypoint: warning: slow", "entrypoint: error: no", "  hint: do", "entrypoint: error: 2"], "no"),
        (["INFO: news", "panic: open /key: permission denied", "", "goroutine 1 [running]:", "main.main()"], "panic: open /key: permission denied"),
        (["it ended", "killed"], "killed"),
        (["", " "], None),
        ([], None),
    ],
)  # fmt: skip
def test_the_reason_starts_at_the_first_error(words: list[str], reason: str | None) -> None:
    """It has no hints and no blank lines. If the output has no error, the last line is the reason."""
    assert reason == backlog._reason(words)


def test_the_last_segment_is_the_one_that_was_noted(tmp_path: Path) -> None:
    """Without a note of archive-segment, it is the newest segment of this timeline that is done."""
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


@pytest.mark.parametrize(
    ("written", "left", "idle"),
    [
        ({"000000010000000000000004": 100}, (), True),
        ({"000000010000000000000004": 100, "000000010000000000000005": 90}, (), True),  # recycled
        ({"000000010000000000000004": 100, "000000010000000000000005": 101}, (), False),
        ({"000000010000000000000004": 100, "000000020000000000000004": 101}, (), False),  # promoted
        ({"000000010000000000000003": 101, "000000010000000000000004": 100}, (), True),
        ({"000000010000000000000004": 100}, ("000000010000000000000005.ready",), False),
        ({}, (), False),
    ],
)
def test_a_server_is_idle_that_has_written_nothing_since(
    tmp_path: Path, written: dict[str, int], left: tuple[str, ...], *, idle: bool
) -> None:
    """Nothing waits, and no later segment was written after the last one that was archived."""
    made.cluster(tmp_path)
    (tmp_path / "pg_wal/archive_status").mkdir(parents=True)
    for name in ("000000010000000000000004.done", *left):
        (tmp_path / "pg_wal/archive_status" / name).touch()
    for name, when in written.items():
        (tmp_path / "pg_wal" / name).touch()
        os.utime(tmp_path / "pg_wal" / name, (when, when))
    assert idle == _look(tmp_path).idle
