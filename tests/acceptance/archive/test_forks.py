"""A copy restored next to a running original does not write to the original's archive; for each archiver."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import archives
import containers
from archives import FOLDERS_FIRST, LATEST, Archive
from containers import FRESH, Container

DATA = containers.data_folder()
CONFIRM = {"ARCHIVE_FORK": "confirm"}
YEARLY = "0 0 1 1 *"
ROWS = 4
"""The rows of the original when it is backed up and restored."""


@contextmanager
def _original(archive: Archive) -> Iterator[Container]:
    """A cluster with a backup and all its rows in the archive, and with nothing else to archive for now."""
    with archive.serve({**FRESH, "ARCHIVE_TIMEOUT": "1h"}) as server:
        archives.write(server, ROWS - 1)
        server.exec("entrypoint", "backup", "push", timeout=60)
        archives.write(server, 1)
        archives.wait_until_whole(archive, server)
        yield server


def _restore(archive: Archive, volume: str, **target: str) -> None:
    """Restore a copy into a volume; kill it before it can look into the archive or write there."""
    with archive.create({**LATEST, **target}, "-c", "archive_command=false", volumes={DATA: volume}) as copy:
        copy.begin()
        copy.says("the restore is complete")
        copy.kill()
        copy.wait()


def _state(server: Container) -> dict[str, Any]:
    return dict(json.loads(server.exec("entrypoint", "archive", "status", "--json").stdout))


def _backups(server: Container) -> list[dict[str, Any]]:
    return list(json.loads(server.exec("entrypoint", "backup", "list", "--json", timeout=60).stdout))


def _marked(server: Container) -> bool:
    return bool(server.shell(f"ls -A {DATA} | grep -Fx entrypoint.fork || true"))


def _wait_for_backup(server: Container, timeline: int) -> None:
    """Wait for the full backup that follows a restore; nothing is left to do after it."""
    containers.until(lambda: not _marked(server), "a backup after the restore", 60)
    newest = _backups(server)[-1]
    assert ("full", timeline) == (newest["kind"], newest["timeline"])


def _runs(server: Container) -> list[dict[str, Any]]:
    return [json.loads(line) for line in server.shell(f"cat {DATA}/entrypoint.backups").splitlines()]


@pytest.mark.parametrize("archive", FOLDERS_FIRST, indirect=True)
def test_a_copy_next_to_a_running_original_archives_nothing(archive: Archive, volume: str) -> None:
    """It serves and says why; the archive has only the original's files until the fork is confirmed."""
    with _original(archive) as original:
        _restore(archive, volume)
        archives.write(original, 1)
        archives.wait_until_whole(archive, original)
        grown = archive.segments()[-1]
        before = archive.digest()
        with archive.serve({**LATEST, "BACKUP_RETAIN_FULL": "1"}, volumes={DATA: volume}) as copy:
            assert f"{ROWS}" == copy.sql("SELECT count(*) FROM kept")
            archives.write(copy, 3)
            copy.sql("CHECKPOINT")
            for told in (
                copy.logs().output,
                copy.exec("entrypoint", "status").stdout,
                copy.exec("entrypoint", "archive", "status").stdout,
                copy.exec("entrypoint", "doctor", check=False).stdout,
            ):
                assert grown in told, told
                assert "ARCHIVE_FORK=confirm" in told, told
                assert "its own ARCHIVE_URL" in told, told
            looked = copy.exec("entrypoint", "doctor", "round trip").stdout
            assert "nothing is written: this cluster was restored" in looked
            assert (
                grown
                in json.loads(copy.exec("entrypoint", "status", "--json").stdout)["archive"]["fork_refused"]
            )
            assert "off" == copy.sql("SHOW archive_mode")
            newest = _backups(copy)[-1]["name"]
            for words in (
                ("backup", "push"),
                ("backup", "expire"),
                ("backup", "mark", newest),
                ("archive", "check"),
                ("archive", "push-pending"),
            ):
                ended = copy.exec("entrypoint", *words, check=False, timeout=60)
                assert (12, True) == (ended.code, grown in ended.stderr), (words, ended.output)
            # Files that nobody will ever archive do not pile up.
            assert "0" == copy.sql("SELECT count(*) FROM pg_ls_archive_statusdir() WHERE name !~ 'history'")
            assert before == archive.digest()
            archives.write(original, 1)
            archives.wait_until_whole(archive, original)
            assert before.items() < archive.digest().items()
            assert 0 == copy.stop()
    with archive.serve({**LATEST, **CONFIRM}, volumes={DATA: volume}) as copy:
        _wait_for_backup(copy, 2)
        assert None is _state(copy)["fork_refused"]
        archives.write(copy, 1)
        archives.wait_for_archiving(copy)
        assert 0 == copy.stop()
    with archive.serve(LATEST, volumes={DATA: volume}) as copy:  # one confirmation is enough
        assert ("on", None) == (copy.sql("SHOW archive_mode"), _state(copy)["fork_refused"])
        assert 0 == copy.stop()
    with archive.serve(LATEST) as again:
        assert f"{ROWS + 4}" == again.sql("SELECT count(*) FROM kept")


@pytest.mark.parametrize("original_lives", [True, False], ids=["original-alive", "original-lost"])
def test_a_target_in_the_last_archived_segment_is_a_fork(
    archive: Archive, volume: str, *, original_lives: bool
) -> None:
    """The original is idle, so no segment follows the target's; what follows the target in it counts."""
    with _original(archive) as original:
        original.sql("SELECT pg_create_restore_point('here')")
        archives.write(original, 1)
        archives.wait_until_whole(archive, original)
        last, before = archive.segments()[-1], archive.digest()
        if not original_lives:
            original.kill()
        _restore(archive, volume, RESTORE_TARGET_NAME="here")
        with archive.serve(volumes={DATA: volume}) as copy:
            assert f"{ROWS}" == copy.sql("SELECT count(*) FROM kept")
            archives.write(copy, 1)
            refused = _state(copy)["fork_refused"]
            assert f"it holds {last}, with WAL from after this copy left timeline 1" in refused
            assert "off" == copy.sql("SHOW archive_mode")
            assert before == archive.digest()
            assert 0 == copy.stop()
        if original_lives:
            archives.write(original, 1)
            archives.wait_until_whole(archive, original)
            assert f"{ROWS + 2}" == original.sql("SELECT count(*) FROM kept")
            original.kill()
    with archive.serve(CONFIRM, volumes={DATA: volume}) as copy:
        _wait_for_backup(copy, 2)
        assert None is _state(copy)["fork_refused"]


def test_a_manual_backup_checks_for_a_fork_too(archive: Archive, volume: str) -> None:
    """With the user's own archive_command no start checks, so a backup does, before it writes anything."""
    with _original(archive) as original:
        _restore(archive, volume)
        archives.write(original, 1)
        archives.wait_until_whole(archive, original)
        before = archive.digest()
        with archive.serve(LATEST, "-c", "archive_command=true", volumes={DATA: volume}) as copy:
            ended = copy.exec("entrypoint", "backup", "push", check=False, timeout=60)
            assert (12, True) == (ended.code, archive.segments()[-1] in ended.stderr), ended.output
        assert before == archive.digest()


def test_a_copy_archives_into_its_own_archive(archive: Archive, volume: str) -> None:
    """Another archive needs no confirmation, and gets a full backup at once."""
    with _original(archive) as original, archives.made(archive.tool, None) as own:
        _restore(archive, volume)
        archives.write(original, 1)
        archives.wait_until_whole(archive, original)
        before = archive.digest()
        with archive.serve(LATEST, volumes={DATA: volume}) as copy:
            assert _state(copy)["fork_refused"]
            assert 0 == copy.stop()
        with own.serve(volumes={DATA: volume}) as copy:
            _wait_for_backup(copy, 2)
            archives.write(copy, 1)
            archives.wait_for_archiving(copy)
            assert 0 == copy.stop()
        assert before == archive.digest()
        with own.serve(LATEST) as again:
            assert f"{ROWS + 1}" == again.sql("SELECT count(*) FROM kept")


@pytest.mark.parametrize("schedule", ["", YEARLY], ids=["no-schedule", "schedule"])
def test_a_restore_after_a_loss_continues_by_itself(archive: Archive, schedule: str) -> None:
    """The original is dead: archiving continues on a new timeline, with one full backup at once."""
    with _original(archive) as original:
        original.kill()
        original.wait()
    with archive.serve({**LATEST, "BACKUP_SCHEDULE": schedule}) as restored:
        _wait_for_backup(restored, 2)
        assert "restore" == _runs(restored)[-1]["why"]
        shown = "helper backups waiting" if schedule else ""  # a helper without work is not shown
        read = "grep -ho '^helper backups [a-z]*' /run/entrypoint*/status || true"
        containers.until(lambda: restored.shell(read) == shown, shown or "no helper")
        assert 2 == len(_backups(restored))
        archives.write(restored, 1)
        archives.wait_for_archiving(restored)
        assert "00000002" == archive.segments()[-1][:8]
        restored.stop()
        restored.again()
        assert 2 == len(_backups(restored))
        assert ("backups" in restored.shell("cat /run/entrypoint*/status")) == bool(schedule)


def test_two_copies_of_one_dead_original_do_not_collide(archive: Archive, volume: str) -> None:
    """Both have chosen the same timeline: the second one writes nothing, and no confirmation changes that."""
    with _original(archive) as original:
        _restore(archive, volume)
        with containers.volume() as first_volume:
            _restore(archive, first_volume)
            original.kill()
            original.wait()
            with archive.serve(LATEST, volumes={DATA: first_volume}) as first:
                _wait_for_backup(first, 2)
                archives.write(first, 1)
                archives.wait_for_archiving(first)
                assert 0 == first.stop()
    before = archive.digest()
    with archive.serve({**LATEST, **CONFIRM}, volumes={DATA: volume}) as second:
        archives.write(second, 2)
        assert "has already taken timeline 2" in _state(second)["fork_refused"]
        assert 0 == second.stop()
    assert before == archive.digest()
    with archive.serve(LATEST) as anew:
        _wait_for_backup(anew, 3)
        assert f"{ROWS + 1}" == anew.sql("SELECT count(*) FROM kept")


def test_nothing_is_archived_before_the_fork_is_checked(archive: Archive, volume: str) -> None:
    """If the storage is away at the start, the first segment waits for the answer, which is a refusal."""
    with _original(archive) as original:
        _restore(archive, volume)
        archives.write(original, 1)
        archives.wait_until_whole(archive, original)
    before = archive.digest()
    containers.in_volume(archive.volume, "chown 0:0 . && chmod 0 .")
    env = {**LATEST, "BACKUP_RETAIN_FULL": "1"}
    with archive.serve(env, volumes={DATA: volume}, options=("--user", "999:999")) as copy:
        copy.says("starting without a working archive")
        ended = copy.exec("entrypoint", "backup", "expire", check=False)
        assert (12, True) == (ended.code, "is not known yet" in ended.stderr), ended.output
        containers.in_volume(archive.volume, "chown 999:999 . && chmod 700 .")
        archives.write(copy, 2)
        containers.until(lambda: _state(copy)["fork_refused"] is not None, "the answer", 60)
        assert archives.waiting(copy) > 0
        copy.stop()
        assert before == archive.digest()
        copy.again()
        assert "off" == copy.sql("SHOW archive_mode")
        assert before == archive.digest()
