"""What doctor writes to an archive and removes again, and when it only reads; for each archiver and storage."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping

import pytest

import archives
import containers
from archives import FOLDERS, LATEST, PLACES, Archive
from containers import FRESH, Container, Outcome, until

DATA = containers.data_folder()
PROBE = "entrypoint.probe"
_PGP_KEY = """
-----BEGIN PGP PRIVATE KEY BLOCK-----

lQHYBGsD6RQBBADHxJrTLucLq82tw6JbD5vuvX6JRnsN7E+LGDnRnGvR0kMvuOYu
jb5ibumU6qWEUdmbKOnco0zg3iz0XehzdfNhAwn/LLnJFyOjELCc1ZroqD0UNo6+
/7m8BfE/z97YJd2Y/v+eOBBR4EDuDpKqrES3oGTKER0S6ARP3klBzrRHsQARAQAB
AAP8C4CU/5LkR8ZBJf+tMfwQmOr9Ra8yt6cDH3mqHpkYljC6oJ1PV5/etfE37tSh
6iACXQ46hPM8Inh4cyuTDk7cz/+AMtz8jYQ+EQA+OfsditAoE0MaUk4JWwUcgNVa
wmx3qRzPMxq2RN5WgL34q8p0cg9R0pVYS+KqPthlz73end8CAM1D11RjJYBMUirt
AjHMHZne8rrgwgn1WmiWeILguFuLIcbAj/UARHR+Vxu08lEzpFeXJTVRtd8GVa8m
qT+UqcMCAPkk8IH7W6g8nu2eRqmsrHrjRnqFShsAUMIfhc81S1z0tAqrZ4wi+Yk+
+L5243Xhye4BYTWOj9Eu/fk5cvZr/XsCAKdI3UxQTjnrsG8H1VSKBLAzYIEuW2pO
t2Qte7hCnuYMDPnxeO0v1P1YaOgH1uXKpcNqBU1XXJvKueuUN/eI+jSjS7QEdGVz
dIjOBBMBCgA4FiEEDsWfqU8hywmM9tPNUFr4JJiEVrgFAmsD6RQCGw0FCwkIBwIG
FQoJCAsCBBYCAwECHgECF4AACgkQUFr4JJiEVrj6kQP/Q5X6FNy1j94zRUcjvxNW
DP1VuDy/ewb1yTmIE6YKgo8W9cZFmY16muJ5F27fTmiIDPX2TpjlV30WYLTbZm5B
09P1rzM47PnhKFj5Ex9CoXgroMOrhV5TK5OvkSZ6pl0UFr5R83SWj8z53NAg5PFf
tHtQXvwB/8Dwac+T8A3TwcY=
=/2IG
-----END PGP PRIVATE KEY BLOCK-----
"""
KEYS: Mapping[str, Mapping[str, str]] = {
    "pgbackrest": {"PGBACKREST_REPO1_CIPHER_TYPE": "aes-256-cbc", "PGBACKREST_REPO1_CIPHER_PASS": "x"},
    "wal-g": {"WALG_PGP_KEY": _PGP_KEY},
}
"""The variables with which each tool encrypts; nobody uses this key."""


@pytest.fixture(params=PLACES)
def archive(request: pytest.FixtureRequest) -> Iterator[Archive]:
    """An empty archive."""
    tool, place = request.param
    with archives.made(tool, request.getfixturevalue("road") if place == "s3" else None) as made:
        yield made


def _told(asked: Outcome) -> list[tuple[str, str, str]]:
    """Return the level, the check and the text of doctor's findings."""
    return [(each["level"], each["check"], each["found"]) for each in json.loads(asked.stdout)]


def _look(server: Container, *names: str) -> str:
    """Return the findings of the checks with these names, as lines."""
    found = _told(server.exec("entrypoint", "doctor", "--json", *names, check=False))
    return "\n".join(f"{level}: {check}: {words}" for level, check, words in found)


_BESIDE = "entrypoint doctor 'round trip' >/tmp/found 2>&1 & echo $! >/tmp/pid"


@functools.cache
def _pgbackrest_writes() -> bool:
    return not containers.run("-c", "pgbackrest help repo-put", options=("--entrypoint", "bash")).code


def _writes(archive: Archive) -> bool:
    """Return whether the tool has a command that stores an object: pgBackRest 2.60 no longer has one."""
    return archive.tool == "wal-g" or _pgbackrest_writes()


def _well(archive: Archive) -> str:
    """Return what doctor says about an archive that is in order."""
    if _writes(archive):
        return "a small object was written and read back in "
    return "it can be read (0 backups); nothing is written: this pgbackrest has no command that stores one object"


def _watch(server: Container) -> None:
    """Check that a terminal shows each step on a slow line while another check waits; both succeed."""
    server.exec("bash", "-c", _BESIDE)
    shown = containers.docker("exec", "--tty", server.name, "entrypoint", "doctor", "round trip").output
    for step in ("writing", "reading back", "removing"):
        assert f"\rlooking at: round trip: {step}" in shown
    until(lambda: not server.shell("ls -d /proc/$(cat /tmp/pid) || true"), "both have ended")
    assert "ok" == server.shell("head -c 2 /tmp/found")
    assert "a small object was written and read back in" in shown


def _leave(archive: Archive, server: Container) -> None:
    """Leave what a killed check leaves; on a far storage, kill one."""
    if archive.server is None:
        server.shell(f"cd /archive && echo x | tee {PROBE} >{PROBE}.pgbackrest.tmp", user="postgres")
        return
    archive.server.relay.slow(0.3)
    _watch(server)
    server.exec("bash", "-c", _BESIDE)
    until(lambda: PROBE in archive.digest(), "the object is there")
    server.shell("kill -KILL $(cat /tmp/pid)", user="0")
    archive.server.relay.slow(0)


def _store_plainly(archive: Archive, segment: str) -> None:
    """Replace a stored segment by the first bytes of an lz4 file."""
    magic = b"\x04\x22\x4d\x18"
    if archive.server is None:
        text = "".join(f"\\x{byte:02x}" for byte in magic)
        containers.in_volume(archive.volume, f"printf '{text}' >$(find . -name '{segment}*')")
        return
    (path,) = (archive.server.folder / archive.prefix).rglob(f"{segment}*")
    path.write_bytes(magic)


def test_the_check_leaves_nothing(archive: Archive) -> None:
    """An object is written, read back and removed; nothing else changes.

    The next check removes what a killed one has left. The stored files show whether the archive is encrypted,
    in every storage.
    """
    with archive.serve({**FRESH, **KEYS[archive.tool]}) as server:
        archives.write(server, 1)
        archives.wait_for_archiving(server)
        before = archive.digest()
        well = _look(server, "round trip", "encryption", "way back")
        assert f"ok: round trip: {_well(archive)}" in well
        assert "ok: encryption: " in well
        assert "ok: way back: " in well
        assert before == archive.digest()
        if _writes(archive):
            _leave(archive, server)
            assert {PROBE} <= set(archive.digest()) - set(before)
            assert "ok: round trip: " in _look(server, "round trip")
            assert before == archive.digest()
        _store_plainly(archive, server.shell("head -n 1 /run/entrypoint/archived"))
        assert "error: encryption: " in _look(server, "encryption")
        if archive.server is None:
            server.shell(f"mkdir -p /archive/{PROBE}/in-the-way", user="0")
        else:
            archive.server.relay.cut()
        told = _look(server, "round trip")
        if _writes(archive) or archive.server is not None:
            assert "error: round trip: " in told
            assert (" cannot be written:" in told) == _writes(archive)


@pytest.mark.parametrize("archive", FOLDERS, indirect=True)
def test_the_check_only_reads_another_clusters_archive(archive: Archive, used_volume: str) -> None:
    """Another cluster's archive is not changed; it is an error with a database, and fine before a restore."""
    with archive.serve(FRESH) as server:
        archives.write(server, 1)
        server.exec("entrypoint", "backup", "push", timeout=60)
        assert 0 == server.stop()
    before = archive.digest()
    look = ("doctor", "--json", "round trip")
    env, volumes = {"PGDATA": "/volume/data"}, {"/volume": used_volume}
    ((level, _, words),) = _told(archive.run(env, *look, volumes=volumes))
    assert ("error", True) == (level, "belongs to another cluster" in words)
    ((level, _, words),) = _told(archive.run(LATEST, *look))
    assert ("ok", True) == (level, "nothing is written: a database will be restored from it" in words)
    ((level, _, words),) = _told(archive.run(FRESH, *look))
    assert ("error", True) == (level, "the volume is empty, but the archive" in words)
    assert before == archive.digest()
    with archives.made(archive.tool, archive.server) as nobodys:
        if nobodys.server is None:
            containers.in_volume(nobodys.volume, "chown 999:999 .")
        ((level, _, words),) = _told(nobodys.run(env, *look, volumes=volumes))
        assert ("ok", True) == (level, _well(nobodys) in words)
        assert {} == nobodys.digest()
