"""An emptied archive starts from scratch with a full backup; nothing is written if its disk is missing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

import archives
from containers import FRESH, Container, serve, until, volume

NOTE = "$PGDATA/entrypoint.archive"


@pytest.fixture(params=archives.TOOLS)
def archiving(request: pytest.FixtureRequest) -> Iterator[Container]:
    """Yield a server whose schedule has taken its first backup, and takes no other for a long time."""
    env = {
        **FRESH,
        "ARCHIVE_URL": "file:///archive",
        "ARCHIVE_TOOL": request.param,
        "BACKUP_SCHEDULE": "0 0 29 2 *",
        "ARCHIVE_TIMEOUT": "0",  # only the WAL written by these tests is archived
    }
    with volume() as archive, serve(env=env, volumes={"/archive": archive}) as container:
        note = "$PGDATA/entrypoint.backups"
        until(lambda: '"ok"' in container.shell(f"cat {note} || true"), "the first backup", 60)
        yield container


def _json(container: Container, *command: str) -> Any:
    return json.loads(container.exec(*command, "--json", check=False, timeout=60).stdout)


def _backups(container: Container) -> list[str]:
    return [each["name"] for each in _json(container, "entrypoint", "backup", "list")]


def _errors(container: Container) -> str:
    found = _json(container, "entrypoint", "doctor", "archive", "archive backlog", "backups")
    return "\n".join(each["found"] for each in found if each["level"] == "error")


def _status(container: Container) -> dict[str, Any]:
    found: dict[str, Any] = _json(container, "entrypoint", "archive", "status")
    return found


def _write(container: Container) -> None:
    container.sql("DROP TABLE IF EXISTS a; CREATE TABLE a AS SELECT 1; SELECT pg_switch_wal()")


def test_an_emptied_archive_starts_from_scratch(archiving: Container) -> None:
    """An emptied archive is an error until the next segment claims it; the next look takes a full backup."""
    until(lambda: _status(archiving)["backlog_segments"] == 0, "everything is archived")
    archiving.shell("mv /archive/* /tmp/", user="postgres")
    assert _status(archiving)["lost"]
    assert "was emptied or is not mounted" in _errors(archiving)
    _write(archiving)
    until(
        lambda: not _status(archiving)["lost"] and _status(archiving)["backlog_segments"] == 0,
        "it is claimed",
        60,
    )
    assert "the archive was emptied" in _errors(archiving)

    def looked() -> bool:
        archiving.exec(
            "entrypoint", "internal", "backups", user="postgres", timeout=60
        )  # PID 1 runs this by the clock
        return len(_backups(archiving)) == 1

    until(looked, "a full backup", 60)
    assert "" == _errors(archiving)
    assert "its archive starts from scratch" in archiving.logs().output


def test_the_folder_below_a_missing_mount_is_not_written_to(archiving: Container) -> None:
    """WAL waits until the mount is back, even over a restart, and the old archive stays known."""
    until(lambda: _status(archiving)["backlog_segments"] == 0, "everything is archived")
    archiving.shell(
        f'sed -i \'s/"device": [0-9]*/"device": 1/\' {NOTE}; mv /archive/* /tmp/', user="postgres"
    )
    _write(archiving)
    until(lambda: _status(archiving)["failing_since"] is not None, "it is refused", 60)
    assert "its mount is missing" in _status(archiving)["last_error"]
    assert "" == archiving.shell("find /archive -type f")
    assert 0 == archiving.stop()
    archiving.again()
    assert "" == archiving.shell("find /archive -type f")
    assert "was emptied or is not mounted" in _errors(archiving)
    archiving.shell(
        "mv /tmp/archive /tmp/backup /tmp/*_005 /tmp/cluster.json /archive/; true", user="postgres"
    )
    until(lambda: _status(archiving)["backlog_segments"] == 0, "everything is archived", 60)
    assert 1 == len(_backups(archiving))
