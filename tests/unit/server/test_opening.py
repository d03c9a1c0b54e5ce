"""The variables that a start stores for programs that PID 1 starts later, and those of a command."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import pytest

from entrypoint.errors import Failure
from entrypoint.server import opening
from entrypoint.server.context import SETTINGS_VARIABLE, kept_values
from entrypoint.settings.fields import HIDDEN_VALUE
from entrypoint.system.identity import current


def test_no_secret_is_stored() -> None:
    """Our, libpq's and the archivers' variables are stored, without secrets; all others are not."""
    secrets = (
        "POSTGRES_PASSWORD PGPASSWORD AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN WALG_LIBSODIUM_KEY SSH_PASSWORD "
        "PGBACKREST_REPO1_CIPHER_PASS PGBACKREST_REPO1_S3_KEY_SECRET WALG_S3_SSE_C WALG_PGP_KEY_PASSPHRASE "
        "MY_OWN"
    ).split()
    plain = {
        "PGDATA": "/data",
        "PGPORT": "6543",
        "PG_MAJOR": "15",
        "BACKUP_SCHEDULE": "0 3 * * *",
        "ARCHIVE_URL": "s3://bucket/prefix",
        "POSTGRES_CONF_work_mem": "4MB",
        "POSTGRES_USER": "boss",
        "WALG_PGP_KEY_PATH": "/key",
        "AWS_ENDPOINT": "https://s3.test",
        "PGBACKREST_STANZA": "main",
    }
    of_a_standby = {"STANDBY": "on", "STANDBY_SLOT": "a", "STANDBY_PRIMARY_CONNINFO": "host=db"}
    kept = kept_values({**plain, **of_a_standby, **dict.fromkeys(secrets, "geheim")})
    assert plain == {name: value for name, value in kept.items() if name in plain}
    assert "geheim" not in kept.values()
    assert [] == [name for name in ("MY_OWN", *of_a_standby) if name in kept]


def test_a_node_under_patroni() -> None:
    """Later programs find no mistake in the stored settings, which say that there are secrets, but not which."""
    node = {
        "PATRONI_SCOPE": "shop",
        "PATRONI_NAME": "db1",
        "PATRONI_ETCD3_URL": "http://me:geheim@etcd1:2379",
        "PATRONI_POSTGRESQL_CONNECT_ADDRESS": "db1:5432",
        "PATRONI_REPLICATION_PASSWORD": "geheim",
        "POSTGRES_PASSWORD": "geheim",
        "PGDATA": "/data",
    }
    kept = kept_values(node)
    assert [] == [each for each in kept.values() if "geheim" in each]
    for values in (node, kept, {**kept, "POSTGRES_PASSWORD": "geheim"}):
        wanted, problems, _ = opening.read_settings({**values, "PATH": os.defpath}, ())
        assert [] == problems
        assert wanted.failover is not None
    del node["PATRONI_REPLICATION_PASSWORD"]
    assert opening.read_settings({**kept_values(node), "PATH": os.defpath}, ())[1]


def test_stored_settings_are_not_checked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stored settings lack the secrets; a command with its own settings is checked."""
    values = {
        "PGDATA": "/data",
        "POSTGRES_PASSWORD_UPDATE": "on",
        "POSTGRES_PASSWORD": "geheim",
        "PATH": os.defpath,
    }
    assert opening.load_settings(values, ()).every_start.update_password
    kept = {**kept_values(values), "PATH": os.defpath}
    with pytest.raises(Failure):
        opening.load_settings(kept, ())
    monkeypatch.setenv(SETTINGS_VARIABLE, "/run/entrypoint/settings.json")
    assert opening.load_settings(kept, ()).every_start.update_password


def test_a_command_next_to_a_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The call's variables win, except empty ones, the archiver's, and files that cannot be read."""
    readable = tmp_path / "file"
    readable.touch()
    given = {
        "BACKUP_RETAIN_FULL": "1",
        "BACKUP_RETAIN_DAYS": "",
        "AWS_SECRET_ACCESS_KEY": "",
        "WALG_UPLOAD_CONCURRENCY": "3",
        "AWS_ACCESS_KEY_ID_FILE": "/of/root",
        "POSTGRES_PASSWORD_FILE": "/of/root",
        "STANDBY_PRIMARY_CONNINFO_FILE": str(readable),
    }
    known = {
        "ARCHIVE_URL": "s3://bucket",
        "BACKUP_RETAIN_FULL": "5",
        "BACKUP_RETAIN_DAYS": "7",
        "AWS_SECRET_ACCESS_KEY": HIDDEN_VALUE,
        "AWS_ACCESS_KEY_ID": HIDDEN_VALUE,
    }
    monkeypatch.setattr(os, "environ", given)
    mine = {name: given[name] for name in ("BACKUP_RETAIN_FULL", "STANDBY_PRIMARY_CONNINFO_FILE")}
    assert {**known, **mine} == opening.beside(known)
    assert given == opening.beside(None)
    assert opening.beside({"PGDATA": "/data"})["WALG_UPLOAD_CONCURRENCY"] == "3"


@pytest.mark.parametrize(
    ("number", "free"),
    [(0, True), (errno.EWOULDBLOCK, False), (errno.EACCES, False), (errno.EPERM, True), (errno.ENOLCK, True)],
)
def test_a_folder_without_locks_is_free(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, number: int, *, free: bool
) -> None:
    """The folder is in use only if somebody holds the lock; a system call filter may forbid locks."""

    def lock(*_: int) -> None:
        if number:
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", lock)
    descriptor = os.open(tmp_path, os.O_RDONLY)
    assert free == opening._is_free(descriptor)
    os.close(descriptor)


def test_a_full_runtime_folder_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next one with room is; if none has any, the first one is."""
    folders = tuple(str(tmp_path / name) for name in ("run", "sockets", "tmp"))
    for path in folders:
        os.mkdir(path)
    full = set(folders[:1])
    monkeypatch.setattr(opening, "RUNTIME_FOLDERS", folders)
    monkeypatch.setattr(
        opening, "_has_room", lambda descriptor: os.readlink(f"/proc/self/fd/{descriptor}") not in full
    )
    held: list[int] = []
    assert folders[1] == opening._make_runtime_folder(current(), held)
    assert [folders[1]] == [os.readlink(f"/proc/self/fd/{each}") for each in held]
    full.update(folders)
    assert folders[0] == opening._make_runtime_folder(current(), held)
    assert folders[0] == os.readlink(f"/proc/self/fd/{held[1]}")
    for each in held:
        os.close(each)
