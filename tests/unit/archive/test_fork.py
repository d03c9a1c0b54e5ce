"""What a restored cluster remembers until its first backup, and what it may do meanwhile."""

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
"""Nothing is started here."""
OURS = ("000000010000000000000004", "000000010000000000000005")
"""What a cluster was restored from that left timeline 1 at the end of segment 5."""
GROWN = (*OURS, "000000010000000000000006")
TAKEN = (*OURS, "00000002.history")


class Copy:
    """A restored cluster on timeline 2, and what its archive answers."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = str(folder)
        self.patch = monkeypatch
        self.told = ""
        """Why the last start could not look."""
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
            self.told = "" if problem is None else problem.what
        return self.state

    @property
    def state(self) -> str:
        """The state that is noted."""
        found = fork.read(self.folder)
        return "" if found is None else found.state


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Copy:
    """A cluster that has just been restored."""
    found = Copy(tmp_path, monkeypatch)
    assert fork.RESTORED == found.start(fresh=True)
    return found


def test_nothing_is_noted_of_a_cluster_that_was_not_restored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not looked into its archive either."""
    found = Copy(tmp_path, monkeypatch)
    assert "" == found.start(*GROWN)
    assert (None, None, False) == (
        fork.refusal(found.folder),
        fork.objection(found.folder),
        fork.awaits_backup(found.folder),
    )


def test_an_archive_in_which_nobody_has_gone_on(copy: Copy) -> None:
    """It is clear, also when the cluster's own timeline is in it then."""
    assert fork.objection(copy.folder) is not None
    assert fork.CLEAR == copy.start(*OURS)
    assert fork.CLEAR == copy.start(*TAKEN, "000000020000000000000006")
    assert (None, True) == (fork.objection(copy.folder), fork.awaits_backup(copy.folder))


def test_an_original_that_goes_on(copy: Copy) -> None:
    """It is refused at every start, also where the first one found nothing, until that is confirmed."""
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


def test_a_taken_timeline_cannot_be_confirmed(copy: Copy) -> None:
    """Its segments have the names that ours would have."""
    assert fork.REFUSED == copy.start(*TAKEN, env={"ARCHIVE_FORK": "confirm"})
    refused = fork.refusal(copy.folder)
    assert refused is not None
    assert "ARCHIVE_FORK" not in refused.hint


def test_another_archive_is_another_question(copy: Copy) -> None:
    """What was found of one archive says nothing of the next, and a storage that is away nothing at all."""
    other = {"ARCHIVE_URL": "file:///other"}
    assert fork.REFUSED == copy.start(*GROWN)
    assert fork.RESTORED == copy.start(code=1, env=other)
    assert "connection refused" in copy.told
    assert fork.CLEAR == copy.start(env=other)
    assert fork.REFUSED == copy.start(*TAKEN)


def test_a_file_that_cannot_be_understood(copy: Copy) -> None:
    """It means that nobody has looked yet."""
    Path(copy.folder, own.FORK).write_text("{")
    assert fork.RESTORED == copy.state
    assert fork.REFUSED == copy.start(*TAKEN)


def test_a_missing_history_says_nothing(copy: Copy) -> None:
    """Without it nobody knows where the old timeline was left, so nothing is written."""
    Path(copy.folder, "pg_wal/00000002.history").unlink()
    assert fork.RESTORED == copy.start(*OURS)
    assert "00000002.history is missing" in copy.told
