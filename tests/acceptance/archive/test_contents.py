"""What a verification reads: everything new, and a slice of the rest; for each archiver."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

import archives
import containers
from archives import FOLDERS, LATEST, Archive
from containers import FRESH, Container

DATA = containers.data_folder()
STATE = f"{DATA}/entrypoint.read"
DAY = 86400

#: Changes a bit in the middle of the largest file that find selects; the file keeps its date.
_FLIP = r"""
file=$(find . -type f {which} -printf '%s %p\n' | sort -n | tail -1 | cut -d ' ' -f 2)
at=$(($(stat -c %s "$file") / 2))
touch -r "$file" /tmp/date
byte=$(dd if="$file" bs=1 skip=$at count=1 status=none | od -An -tu1)
printf "\\$(printf %o $((byte ^ 4)))" | dd of="$file" bs=1 seek=$at conv=notrunc status=none
touch -r /tmp/date "$file"
echo "$file"
"""


#: A backup that is killed while its verification reads.
_CUT_SHORT = r"""
entrypoint backup push & push=$!
until cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\0' ' ' | grep -qE 'repo-g[e]t [^-]|wal-g st c[a]t'; do
    kill -0 $push || exit 1
done
kill -9 $push
"""


@pytest.fixture(params=FOLDERS)
def archive(request: pytest.FixtureRequest) -> Iterator[Archive]:
    """An empty archive in a folder."""
    with archives.made(request.param[0], None) as found:
        yield found


def _push(server: Container, **env: str) -> tuple[str, str]:
    """Take a full backup; return its name and the output."""
    made = server.exec("entrypoint", "backup", "push", "--json", env=env, timeout=120)
    return json.loads(made.stdout)[0]["name"], made.stderr


def _last(server: Container) -> dict[str, Any]:
    return dict(json.loads(server.shell(f"tail -1 {DATA}/entrypoint.backups")))


def _flip(archive: Archive, which: str) -> str:
    return containers.in_volume(archive.volume, _FLIP.format(which=which))


def _of(name: str) -> str:
    """Return the part of a find command that selects the large files of a backup."""
    return f"-path '*/{name}/*' -size +64k ! -name '*metadata*' ! -name '*manifest*'"


def _later(server: Container, days: float) -> None:
    """Make everything that was read appear this many days older."""
    head, *rows = (json.loads(line) for line in server.shell(f"cat {STATE}").splitlines())
    head["when"] -= days * DAY
    for row in rows:
        row[1] -= days * DAY
        row[5] -= days * DAY if row[5] else 0
    text = "\n".join(json.dumps(each) for each in (head, *rows))
    server.shell(f"cat >{STATE} <<'END'\n{text}\nEND")


def test_everything_new_and_a_slice_of_the_rest_are_read(archive: Archive) -> None:
    """The next verification reads a backup that nobody has read yet, and reports how much it read."""
    with archive.serve(FRESH) as server:
        _push(server)
        unread, _ = _push(server, BACKUP_VERIFY="names")
        _flip(archive, _of(unread))
        name, said = _push(server)
        assert f"backup {unread} cannot be restored" in said
        run = _last(server)
        assert [unread] == list(run["broken"])
        assert 0 < run["read_bytes"] < run["archive_bytes"]
        assert f"in {run['read_files']} objects, " in said
        assert "the whole archive is read once every 30 days" in said
        # The damage is reported until it is gone, without reading everything again.
        _, said = _push(server)
        assert f"backup {unread} cannot be restored" in said
        assert name not in _last(server)["broken"]
        assert _last(server)["read_bytes"] < run["read_bytes"]
        # It is no longer reported once the file is as it was.
        _flip(archive, _of(unread))
        _, said = _push(server)
        assert {} == _last(server)["broken"]
        whole = json.loads(server.exec("entrypoint", "backup", "verify", "--json", timeout=120).stdout)
        assert whole["sound"]
        assert whole["read_bytes"] > _last(server)["read_bytes"]


def test_damage_to_what_was_read_is_found_within_the_period(archive: Archive) -> None:
    """It is not found at once; a part is read each day, and after the third day everything was read."""
    with archive.serve({**FRESH, "BACKUP_VERIFY_PERIOD": "3"}) as server:
        for _ in range(3):
            name, _ = _push(server)
        _flip(archive, _of(name))
        _, said = _push(server)
        assert "cannot be restored" not in said
        days = 0
        while "cannot be restored" not in said:
            days += 1
            assert days <= 3, said
            _later(server, 1)
            _, said = _push(server)
            assert _last(server)["read_bytes"] < _last(server)["archive_bytes"], said
        assert days > 1
        assert [name] == list(_last(server)["broken"])


def test_a_damaged_segment_is_a_hole(archive: Archive) -> None:
    """Reading finds it, and it leads to a new full backup, as a missing segment does."""
    with archive.serve(FRESH) as server:
        _push(server)
        server.sql("CREATE TABLE t AS SELECT generate_series(1, 100000)")
        segment = server.sql("SELECT pg_walfile_name(pg_switch_wal())")
        stored = f"find . -name '{segment}[-.]*' ! -name '*backup*'"
        containers.until(
            lambda: segment in containers.in_volume(archive.volume, stored), "the segment is archived"
        )
        _flip(archive, f"-name '{segment}[-.]*' ! -name '*backup*'")
        _, said = _push(server)
        assert f"missing from the archive: {segment}" in said
        assert "no full backup is newer" not in said
        assert [[segment, segment]] == _last(server)["holes"]


def test_a_missing_file_of_a_backup_is_found(archive: Archive) -> None:
    """It is found even in a backup that was read: each verification checks that the files exist."""
    with archive.serve(FRESH) as server:
        name, _ = _push(server)
        containers.in_volume(archive.volume, f"rm $(find . -type f {_of(name)} | head -1)")
        _, said = _push(server)
        assert f"backup {name} cannot be restored" in said
        assert "is missing" in said


def test_a_restored_copy_reads_evenly_again(archive: Archive) -> None:
    """It does not know what the original has read since; it reads its own backup, and the rest over time."""
    with archive.serve(FRESH) as server:
        for _ in range(2):
            _push(server)
        assert 0 == server.stop()
    with archive.serve({**LATEST, "ARCHIVE_FORK": "confirm"}) as restored:
        containers.until(
            lambda: "backup" in restored.logs().output and _done(restored), "its first backup", 90
        )
        run = _last(restored)
        assert (True, {}) == (run["verified"], run["broken"])
        assert run["read_bytes"] < run["archive_bytes"]
        rows = [json.loads(line) for line in restored.shell(f"cat {STATE}").splitlines()[1:]]
        assert len(rows) >= 4
        assert 0 == restored.exec("entrypoint", "backup", "verify", timeout=120).code


def _done(server: Container) -> bool:
    text = server.shell(f"tail -1 {DATA}/entrypoint.backups 2>/dev/null || true")
    return bool(text) and json.loads(text)["why"] == "restore" and json.loads(text)["outcome"] == "ok"


def test_a_verification_that_was_killed_continues_the_next_time(archive: Archive) -> None:
    """After SIGKILL while a new backup is read, what was not read is still new the next time."""
    with archive.serve(FRESH) as server:
        _push(server)
        unread, _ = _push(server, BACKUP_VERIFY="names")
        _flip(archive, _of(unread))
        server.exec("bash", "-c", _CUT_SHORT, timeout=120)
        assert "running" == _last(server)["outcome"]
        _, said = _push(server)
        assert f"backup {unread} cannot be restored" in said


@pytest.mark.parametrize(
    "env",
    [
        {"PGBACKREST_COMPRESS_TYPE": "zst"},
        {"PGBACKREST_COMPRESS_TYPE": "gz", "PGBACKREST_REPO1_BUNDLE_LIMIT": "64KiB"},
        {"PGBACKREST_COMPRESS_TYPE": "none"},
        {"PGBACKREST_REPO1_CIPHER_TYPE": "aes-256-cbc", "PGBACKREST_REPO1_CIPHER_PASS": "secret"},
    ],
    ids=["zst", "gz with separate files", "none", "encrypted"],
)
def test_every_form_of_storage_can_be_verified(env: dict[str, str]) -> None:
    """With pgBackRest, good files pass, and a changed segment and a changed file of a backup are found."""
    with archives.made("pgbackrest", None) as archive, archive.serve({**FRESH, **env}) as server:
        name, _ = _push(server)
        whole = server.exec("entrypoint", "backup", "verify", timeout=120)
        assert "the whole archive" in whole.stderr, whole.output
        segment = _flip(archive, "-name '000000010000000000000003-*'").rpartition("/")[2][:24]
        _flip(archive, _of(name))
        told = server.exec("entrypoint", "backup", "verify", "--json", timeout=120, check=False)
        found = json.loads(told.stdout)
        assert name in found["broken"]
        assert any(first <= segment <= last for first, last in found["holes"])
