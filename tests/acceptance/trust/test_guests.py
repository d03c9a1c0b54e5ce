"""Data from an archive or a volume is untrusted: no traceback, no endless work, no control of a terminal."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

import containers
from containers import FRESH, PYTHON, Container, run, serve, until
from entrypoint.shown import printable

ESCAPES = "\x1b]0;x\x07"
WALG = {**FRESH, "ARCHIVE_URL": "file:///archive", "ARCHIVE_TOOL": "wal-g"}
PGBACKREST = {
    **FRESH,
    "ARCHIVE_URL": "file:///archive",
    "ARCHIVE_TOOL": "pgbackrest",
    "PGBACKREST_REPO1_CIPHER_TYPE": "aes-256-cbc",
    "PGBACKREST_REPO1_CIPHER_PASS": "right",
}


@pytest.fixture
def archive() -> Iterator[str]:
    """Yield an empty volume for an archive."""
    with containers.volume() as name:
        yield name


def _again(container: Container, text: str, size: int = 0) -> str:
    """Return the log of a start with this text as cluster.json, padded with NULs to a size."""
    write = "import os, sys; file = open('/archive/cluster.json', 'w'); file.write(sys.argv[1]); file.close()"
    if size:
        write += f"; os.truncate(file.name, {size})"
    container.exec(PYTHON, "-c", write, text, user="postgres")
    assert 0 == container.stop()
    container.again()
    until(lambda: container.exec("entrypoint", "ready", check=False).code == 0, "ready")
    said = container.logs().output
    assert "Traceback" not in said
    assert ESCAPES not in said
    return said


@pytest.mark.walg
def test_an_archive_full_of_traps(archive: str) -> None:
    """Whatever an archive contains, a server with data starts; a first start refuses."""
    mounts = {"/archive": archive}
    with serve(env=WALG, volumes=mounts, options=("--memory", "400m")) as container:
        container.exec("entrypoint", "backup", "push", timeout=60)
        container.exec("entrypoint", "backup", "push", "--incremental", timeout=60)
        circle = """
            cd /archive/basebackups_005
            cp ../cluster.json /tmp
            from=$(basename *_D_*_backup_stop_sentinel.json _backup_stop_sentinel.json)
            for name in AA_D_0000000100000000000000BB BB_D_0000000100000000000000AA; do
                cp ${from}_backup_stop_sentinel.json base_0000000100000000000000${name}_backup_stop_sentinel.json
            done
            for name in AA_D_0000000100000000000000BB BB_D_0000000100000000000000AA; do
                cp -r $from base_0000000100000000000000$name
            done
        """
        container.shell(circle, user="postgres")
        listed = json.loads(container.exec("entrypoint", "backup", "list", "--json").stdout)
        assert 4 == len(listed)
        dry = container.exec(
            "entrypoint", "restore", "--dry-run", env={"RESTORE_FROM": "LATEST"}, check=False
        )
        assert (0, True) == (dry.code, "base backup base_000000010000000000000004_D" in dry.output), (
            dry.output
        )
        looked = container.exec("entrypoint", "doctor", check=False, timeout=60).output
        assert not any(
            words in looked for words in ("cannot be parsed", "is not understood", "is malformed")
        ), looked
        assert "nested too deeply" in _again(container, '{"a":' * 20000)
        assert "is not a system identifier" in _again(container, '{"system_identifier": "' + ESCAPES + '"}')
        assert "more than" in _again(container, "{", 10**9)
        assert container.running
    first = run(env=WALG, volumes=mounts)
    assert 12 == first.code, first.output


def test_a_wrong_passphrase(archive: str) -> None:
    """The archiver's output is shown, whatever line breaks its JSON contains."""
    with serve(env=PGBACKREST, volumes={"/archive": archive}) as container:
        container.exec("entrypoint", "backup", "push", timeout=60)
        wrong = {"PGBACKREST_REPO1_CIPHER_PASS": "wrong"}
        # The settings that PID 1 has rendered contain the right passphrase.
        listed = run(
            "backup", "list", env={**PGBACKREST, **wrong}, volumes={"/archive": f"{archive}:ro"}, timeout=60
        )
        assert re.search("CryptoError|FormatError", listed.output), listed.output
        assert "ontrol character" not in listed.output
        assert printable(listed.output) == listed.output


def test_names_control_no_terminal() -> None:
    """A name with escapes, line separators and a forged line is shown escaped, in the log and by doctor."""
    odd = "i\x1b]0;x\x07\u2028\u202e\nentrypoint: info: all is well"
    with serve(env=FRESH) as container:
        container.sql(f'CREATE DATABASE "{odd[:40]}"')
        container.sql("CREATE COLLATION c (provider = libc, locale = 'en_US.utf8', version = '1')")
        container.sql(f'CREATE TABLE t (x text COLLATE c); CREATE INDEX "{odd[:40]}" ON t (x)')
        said = container.exec("entrypoint", "doctor", check=False, timeout=60).output
        said += container.exec("entrypoint", "collation", "show", "--all", check=False).output
        said += container.exec("entrypoint", "collation", "check", check=False).output
        for character in "\x1b\x07\u2028\u202e":
            assert character not in said
        assert "\nentrypoint: info:" not in said
