"""What a restored cluster remembers until its first backup, and what it may do until then."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import cast

import pytest

from entrypoint import own
from entrypoint.archive import fork
from entrypoint.archive.opened import OpenedArchive
from entrypoint.archivers.terms import Answer
from entrypoint.server import control_file
from entrypoint.server.context import Context
from entrypoint.settings.archiving import Archive
from entrypoint.system.children import Children
from entrypoint.system.identity import Identity
from unit import made

NO_CHILDREN = cast("Children", None)
"""These tests start no process."""
OURS = ("000000010000000000000004", "000000010000000000000005")
"""The WAL from which a cluster was restored that left timeline 1 at the end of segment 5."""
GROWN = (*OURS, "000000010000000000000006")
TAKEN = (*OURS, "00000002.history")


class Copy:
    """A restored cluster on timeline 2, and the answers of its archive."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = str(folder)
        self.patch = monkeypatch
        self.unknown = ""
        """Why the last start could not look into the archive."""
        made.cluster(folder)
        wal = folder / "pg_wal"
        wal.mkdir()
        (wal / "00000002.history").write_text("1\t0/6000000\tno recovery target specified\n")
        monkeypatch.setattr(control_file, "read_control", lambda _: {"Latest checkpoint's TimeLineID": "2"})

    def start(
        self, *segments: str, code: int = 0, env: Mapping[str, str] | None = None, fresh: bool = False
    ) -> str:
        """Begin a start, or a restore, that finds these segments; return the state afterwards."""
        values = {"ARCHIVE_URL": "file:///archive", "ARCHIVE_TOOL": "wal-g", "PGDATA": self.folder}
        settings = made.settings({**values, **(env or {})})
        context = Context(settings, NO_CHILDREN, Identity(999, 999, (), "", ""), "/run", {})
        archive = settings.archive
        assert isinstance(archive, Archive)
        text = "".join(f"obj 1 2026-11-22 12:00:00.1 +0000 UTC {name}.lz4\n" for name in segments)
        self.patch.setattr(OpenedArchive, "ask", lambda *_, **__: Answer(code, text, "connection refused"))
        opened = OpenedArchive(context, archive)
        if fresh:
            fork.begin(context)
        else:
            fork.reopen(opened)
            problem = fork.look(opened, 1)
            self.unknown = "" if problem is None else problem.what
        return self.state

    @property
    def state(self) -> str:
        """The state in the note."""
        found = fork.read(self.folder)
        return "" if found is None else found.state


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Copy:
    """A cluster that has just been restored."""
    found = Copy(tmp_path, monkeypatch)
    assert fork.RESTORED == found.start(fresh=True)
    return found


def test_nothing_is_noted_about_a_cluster_that_was_not_restored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its archive is not checked either."""
    found = Copy(tmp_path, monkeypatch)
    assert "" == found.start(*GROWN)
    assert (None, None, False) == (
        fork.refusal(found.folder),
        fork.objection(found.folder),
        fork.awaits_backup(found.folder),
    )


def test_an_archive_without_another_writer_is_clear(copy: Copy) -> None:
    """It stays clear when the cluster's own timeline is added to it."""
    assert fork.objection(copy.folder) is not None
    assert fork.CLEAR == copy.start(*OURS)
    assert fork.CLEAR == copy.start(*TAKEN, "000000020000000000000006")
    assert (None, True) == (fork.objection(copy.folder), fork.awaits_backup(copy.folder))


def test_writing_beside_a_running_original_is_refused(copy: Copy) -> None:
    """Every start refuses it until it is confirmed, even if the first start found nothing."""
    confirm = {"ARCHIVE_FORK": "confirm"}
    copy.start(*OURS)
    assert fork.REFUSED == copy.start(*GROWN)
    refused = fork.refusal(copy.folder)
    assert refused is not None
    assert GROWN[-1] in refused.what
    assert not fork.awaits_backup(copy.folder)
    assert fork.REFUSED == copy.start(*GROWN)
    assert fork.REFUSED == copy.start(code=1)
    assert fork.CONFIRMED == copy.start(*GROWN, env=confirm)
    assert fork.CONFIRMED == copy.start(*GROWN, *TAKEN)


def test_a_copy_that_stopped_at_a_target_lacks_the_rest_of_that_segment(copy: Copy) -> None:
    """Whether the original lives cannot be seen. A copy that an earlier version let archive continues."""
    history = Path(copy.folder, "pg_wal/00000002.history")
    history.write_text('1\t0/5000128\tat restore point "here"\n')
    assert fork.REFUSED == copy.start(*OURS)
    refused = fork.refusal(copy.folder)
    assert refused is not None
    assert f"{OURS[-1]}, with WAL from after this copy left timeline 1" in refused.what
    assert fork.CONFIRMED == copy.start(*OURS, env={"ARCHIVE_FORK": "confirm"})
    history.write_text("1\t0/5000128\tno recovery target specified\n")
    copy.start(*OURS, fresh=True)
    assert fork.CLEAR == copy.start(*OURS)
    history.write_text('1\t0/5000128\tat restore point "here"\n')
    assert fork.CLEAR == copy.start(*OURS)


def test_a_taken_timeline_cannot_be_confirmed(copy: Copy) -> None:
    """Its segments have the same names as ours would have."""
    assert fork.REFUSED == copy.start(*TAKEN, env={"ARCHIVE_FORK": "confirm"})
    refused = fork.refusal(copy.folder)
    assert refused is not None
    assert "ARCHIVE_FORK" not in refused.hint


def test_another_archive_is_checked_again(copy: Copy) -> None:
    """The answer about one archive does not hold for the next; an unreachable storage gives no answer."""
    other = {"ARCHIVE_URL": "file:///other"}
    assert fork.REFUSED == copy.start(*GROWN)
    assert fork.RESTORED == copy.start(code=1, env=other)
    assert "connection refused" in copy.unknown
    assert fork.CLEAR == copy.start(env=other)
    assert fork.REFUSED == copy.start(*TAKEN)


def test_a_note_that_cannot_be_parsed_means_that_nobody_has_looked(copy: Copy) -> None:
    """The next start looks into the archive."""
    Path(copy.folder, own.FORK).write_text("{")
    assert fork.RESTORED == copy.state
    assert fork.REFUSED == copy.start(*TAKEN)


def test_a_missing_history_gives_no_answer(copy: Copy) -> None:
    """Without the history, nobody knows where the cluster left the old timeline, so nothing is written."""
    Path(copy.folder, "pg_wal/00000002.history").unlink()
    assert fork.RESTORED == copy.start(*OURS)
    assert "00000002.history is missing" in copy.unknown
