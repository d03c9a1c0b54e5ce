"""Whether the archive itself holds a proven way back; the volume's own record may be a copy."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from entrypoint import own
from entrypoint.archive.opened import OpenedArchive
from entrypoint.archivers.terms import Answer, Backup
from entrypoint.backup import journal, runs
from entrypoint.backup.runs import Run
from entrypoint.errors import Failure
from entrypoint.server import control_file
from entrypoint.server.context import Context
from entrypoint.settings.archiving import Archive
from entrypoint.upgrade import means
from entrypoint.volume import past
from entrypoint.volume.past import Past
from unit import made

NOW = datetime.now(UTC).isoformat(timespec="seconds")
BACKUP = Backup(
    "base_000000010000000000000003",
    "full",
    NOW,
    NOW,
    1,
    "0/3000028",
    "0/3000100",
    permanent=False,
    system_identifier="7",
    major=15,
)
WAL = ("000000010000000000000003", "000000010000000000000004")
STOPPED = {
    "Database cluster state": "shut down",
    "Database system identifier": "7",
    "Bytes per WAL segment": str(16 * 1024**2),
    "Latest checkpoint's REDO WAL file": "000000010000000000000005",
}


class Volume:
    """A stopped cluster with a base backup of today, and the answers of its archive."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        made.cluster(folder)
        self.folder, self.backups, self.control = folder, [BACKUP], dict(STOPPED)
        (folder / "pg_wal/archive_status").mkdir(parents=True)
        self.ran(Run("full", NOW, journal.COMMAND, journal.OK, name=BACKUP.name, url="file:///archive"))
        monkeypatch.setattr(control_file, "read_control", lambda _: self.control)
        monkeypatch.setattr(OpenedArchive, "list_backups", lambda _: self.backups)
        self.patch = monkeypatch

    def ran(self, run: Run) -> None:
        """Note a run of a backup."""
        (self.folder / own.BACKUPS).write_text(runs.write([run]))

    def context(self) -> Context:
        """Return the context of a start."""
        env = {"ARCHIVE_URL": "file:///archive", "ARCHIVE_TOOL": "wal-g", "PGDATA": str(self.folder)}
        return Context(made.settings(env), made.NO_CHILDREN, made.POSTGRES, "/run", {})

    def unproven(self, *segments: str, code: int = 0) -> str:
        """Return what is missing, while the archive has these segments."""
        context = self.context()
        text = "".join(f"obj 1 2026-11-22 12:00:00.1 +0000 UTC {name}.lz4\n" for name in segments)
        self.patch.setattr(OpenedArchive, "ask", lambda *_, **__: Answer(code, text, "connection refused"))
        archive = context.settings.archive
        assert isinstance(archive, Archive)
        return means.unproven(OpenedArchive(context, archive))


@pytest.fixture
def volume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Volume:
    """A stopped cluster."""
    return Volume(tmp_path, monkeypatch)


def test_a_backup_and_all_wal_since_are_a_way_back(volume: Volume) -> None:
    """The segment of the last checkpoint is empty, so it need not be there."""
    assert "" == volume.unproven(*WAL)


def test_a_backup_that_only_the_volume_remembers_is_none(volume: Volume) -> None:
    """The archive was emptied, or the volume is a copy."""
    volume.backups = []
    assert (
        "the last base backup, base_000000010000000000000003, is not in file:///archive"
        == volume.unproven(*WAL)
    )
    volume.backups = [BACKUP._replace(system_identifier="8")]
    assert "is not in" in volume.unproven(*WAL)


def test_wal_that_never_arrived_is_missed(volume: Volume) -> None:
    """With archive_mode=off nothing waits, and what was given up waits no more."""
    assert "the archive lacks WAL since the last base backup: 000000010000000000000004" == volume.unproven(
        *WAL[:1]
    )
    with pytest.raises(Failure, match="cannot be listed"):
        volume.unproven(*WAL, code=1)


def test_what_waits_or_was_never_written_out_is_missed(volume: Volume) -> None:
    """A killed server's last segment does not even wait."""
    (volume.folder / "pg_wal/archive_status" / f"{WAL[1]}.ready").write_text("")
    assert "1 segments are not archived yet: 000000010000000000000004" == volume.unproven(*WAL)
    volume.control["Database cluster state"] = "in production"
    assert "the server was not shut down cleanly, so its last WAL is not archived" == volume.unproven(*WAL)


def test_an_earlier_upgrade_must_have_reached_the_archive(volume: Volume) -> None:
    """Else the archive would belong to a cluster from two upgrades ago, or to one whose upgrade was undone."""
    note = Past("15", "17", "7", "copy", "2026-11-30T20:05:00+00:00", undone=True, backup=False)
    (volume.folder / own.UPGRADED).write_text(past.text(note))
    why = "the archive has no full backup since the upgrade from 15 to 17 was undone"
    assert why == volume.unproven(*WAL)
    context = volume.context()
    found = means.way_back(context, "15", without_backup=True)
    assert [("error", why)] == [(each.level, each.found) for each in found]
    past.note(str(volume.folder), lambda known: known._replace(backup=True))
    assert "" == volume.unproven(*WAL)
    assert ["warning"] == [each.level for each in means.way_back(context, "15", without_backup=True)]


def test_a_damaged_backup_is_no_way_back(volume: Volume) -> None:
    """The last verification found it."""
    run = Run("full", NOW, journal.COMMAND, journal.OK, name=BACKUP.name, url="file:///archive")
    volume.ran(run._replace(verified=True, broken={BACKUP.name: "an object is missing"}))
    assert "base_000000010000000000000003, is damaged: an object is missing" in volume.unproven(*WAL)
