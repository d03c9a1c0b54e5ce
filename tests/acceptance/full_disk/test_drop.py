"""ARCHIVE_WHEN_FULL=drop: WAL is given up, and the archive, each restore and everything that is shown know the gap.

The guard of the volume makes and removes the note; here, the tests do.
"""

from __future__ import annotations

import json
import random
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, NamedTuple

import pytest

import archives
import containers
import s3
from archives import FOLDERS_FIRST, TOOLS, Archive, waiting
from containers import FRESH, PYTHON, Container

DROP = {**FRESH, "ARCHIVE_WHEN_FULL": "drop"}
DATA = "/var/lib/postgresql/data"
NOTE = "/run/entrypoint/drop-archive"
REFUSED, UNFINISHED = 12, 13


@pytest.fixture(scope="module")
def s3_server() -> Iterator[s3.S3]:
    """The S3 server of these tests."""
    with s3.serve() as server:
        yield server


@pytest.fixture
def archive(request: pytest.FixtureRequest) -> Iterator[Archive]:
    """An empty archive."""
    tool, place = request.param
    server = request.getfixturevalue("s3_server") if place == "s3" else None
    with archives.made(tool, server) as found:
        yield found


@contextmanager
def _away(archive: Archive, server: Container) -> Iterator[None]:
    """Take the storage away."""
    if archive.server is None:
        server.shell("chmod 000 /archive", user="0")
    else:
        archive.server.relay.cut()
    yield
    _come_back(archive, server)


def _come_back(archive: Archive, server: Container) -> None:
    if archive.server is None:
        server.shell("chmod 700 /archive", user="0")
    else:
        archive.server.relay.restore()


def _insert(server: Container, *words: str) -> None:
    """Insert a row for each word, each in a segment of its own."""
    for word in words:
        server.sql(f"INSERT INTO kept VALUES ('{word}')")
        server.sql("SELECT pg_switch_wal()")


def _let_drop(server: Container) -> None:
    """Let WAL be given up, as if the volume were nearly full."""
    failing = "test -e /run/entrypoint/archive-failing && echo yes || true"
    containers.until(lambda: server.shell(failing) == "yes", "archiving fails", 60)
    server.exec(PYTHON, "-I", "-c", _BEGIN, user="postgres")


_BEGIN = """
import sys
sys.path.insert(0, "/usr/local/lib/nix-postgres")
from entrypoint.archive import gap
from entrypoint.server import opening
wanted, _, _ = opening.read_settings(opening.environ(), ())
gap.begin(opening.command_context(wanted))
"""
"""What the guard does; it also ends the call that hangs."""


def _until_recorded(server: Container) -> None:
    recorded = f"grep -s ^drop {DATA}/entrypoint.given-up || true"
    containers.until(lambda: server.shell(recorded) != "", "WAL is given up", 60)


def _drop(server: Container) -> None:
    _let_drop(server)
    containers.until(lambda: waiting(server) == 0, "everything is given up", 60)


def _gaps(server: Container) -> list[dict[str, object]]:
    found = server.shell(f"cat {DATA}/entrypoint.gaps 2>/dev/null || true")
    return [*json.loads(found)["gaps"]] if found else []


def _until_closed(server: Container, count: int = 1) -> None:
    def closed() -> bool:
        found = _gaps(server)
        return len(found) == count and all(each["backup"] and each["stored"] for each in found)

    containers.until(closed, "a full backup follows the gap", 120)


def _doctor(server: Container) -> dict[str, str]:
    asked = ("entrypoint", "doctor", "--json", "archive gaps", "backup runs", "archive backlog")
    checks = json.loads(server.exec(*asked, check=False).stdout)
    return {each["check"]: each["level"] for each in checks["checks"]} if "checks" in checks else {}


def _rows(server: Container) -> str:
    return server.sql("SELECT string_agg(word, ' ' ORDER BY ctid) FROM kept")


@pytest.mark.parametrize("archive", FOLDERS_FIRST, indirect=True)
def test_a_gap_is_recorded_and_known(archive: Archive) -> None:
    """It is refused by name, one moment before it and one after it are exact, and a full backup follows at once."""
    with archive.serve({**DROP, "ARCHIVE_TIMEOUT": "1h"}) as server:
        server.sql("CREATE TABLE kept (word text)")
        old = json.loads(server.exec("entrypoint", "backup", "push", "--json", timeout=60).stdout)[0]["name"]
        _insert(server, "one", "two")
        archives.wait_for_archiving(server)
        with _away(archive, server):
            _insert(server, "three", "four")
            _drop(server)
            _insert(server, "five")
            containers.until(lambda: waiting(server) == 0, "each segment is given up", 30)
            inside = datetime.now(UTC).isoformat()
            told = server.exec("entrypoint", "doctor", "archive gaps", check=False).output
            assert "ERROR  archive gaps" in told.replace("error", "ERROR"), told
            assert "WAL is given up now" in told
            status = json.loads(server.exec("entrypoint", "archive", "status", "--json").stdout)
            assert (1, True, True) == (status["gaps"], status["gap_open"], status["dropping"])
            assert status["restorable"]["to"] < inside
            server.shell(f"rm {NOTE}")
            _insert(server, "six")
        server.says("archiving works again", 90)
        _until_closed(server)
        (gap,) = _gaps(server)
        told = server.exec("entrypoint", "doctor", "archive gaps", "backup runs").output
        assert f"one gap; the last: {gap['first']} to {gap['last']} were given up" in told
        listed = server.exec("entrypoint", "backup", "list").stdout
        assert re.search(
            rf"(?m)^gap +between \S+ and \S+: {gap['first']} to {gap['last']} were given up", listed
        )
        _insert(server, "seven")
        archives.wait_for_archiving(server)
        said = server.logs().output
        assert (1, 1, 1) == tuple(
            said.count(each)
            for each in (
                "the WAL that waits is given up",
                "WAL is no longer given up",
                "the archive has a gap",
            )
        )
    # pgBackRest's own process may still send a segment that was given up; no restore trusts it.
    present = [each for each in archive.segments() if str(gap["first"]) <= each <= str(gap["last"])]
    assert len(present) < int(str(gap["segments"]))

    for variables in (
        {"RESTORE_TARGET_TIME": inside},
        {"RESTORE_TARGET_LSN": _lsn(gap["last"])},
        {"RESTORE_FROM": old},
    ):
        ended = archive.run({"RESTORE_FROM": "LATEST", **variables}, timeout=60)
        code, words = ended.code, ended.output
        assert (REFUSED, True) == (code, "were given up at" in words), words
    (before,) = set(re.findall(r"RESTORE_TARGET_LSN=(\S+?)[;\s]", words))
    (after,) = set(re.findall(r"RESTORE_TARGET_TIME=(\S+?)[;\s]", words))
    for variables, rows in (
        ({"RESTORE_TARGET_LSN": before}, "one two"),
        ({"RESTORE_TARGET_TIME": after}, "one two three four five six"),
        ({}, "one two three four five six seven"),
    ):
        with (
            archive.copy() as copy,
            copy.serve({"RESTORE_FROM": "LATEST", **variables}, timeout=60) as restored,
        ):
            assert rows == _rows(restored), variables


SIZE = 4096
"""Segments of 1 MiB in 4 GiB."""


def _number(segment: str) -> int:
    return int(segment[8:16], 16) * SIZE + int(segment[16:], 16)


def _lsn(segment: object) -> str:
    number = int(str(segment)[8:16], 16) * 256 + int(str(segment)[16:], 16)
    return f"{number >> 8:X}/{number % 256:02X}000100"


@pytest.mark.parametrize("rounds", [2, pytest.param(30, marks=pytest.mark.long)])
@pytest.mark.parametrize("tool", TOOLS)
def test_a_kill_loses_no_segment_unnoticed(tool: str, rounds: int) -> None:
    """Whenever the container is killed, each segment is in the archive, still waits, or is recorded as given up."""
    chance = random.Random(rounds)
    with containers.volume() as data, archives.made(tool, None) as archive:
        with archive.create(
            {**DROP, "POSTGRES_INITDB_ARGS": "--wal-segsize=1"}, volumes={DATA: data}
        ) as server:
            server.begin()
            server.ready()
            server.sql("CREATE TABLE kept (word text)")
            server.exec("entrypoint", "backup", "push", timeout=60)
            for number in range(rounds):
                server.shell("chmod 000 /archive", user="0")
                _insert(server, f"before{number}")
                _let_drop(server)
                if number % 2:
                    _until_recorded(server)
                server.exec(
                    "bash",
                    "-c",
                    "for i in {1..40}; do echo \"INSERT INTO kept VALUES ('x'); SELECT pg_switch_wal();\"; done"
                    f" | timeout {chance.uniform(0.05, 1.5):.2f} psql --username postgres --quiet --output /dev/null",
                    check=False,
                )
                server.kill()
                server.wait()
                server.begin()
                server.ready(60)
                server.shell("chmod 700 /archive", user="0")
            archives.wait_for_archiving(server, 120)
            containers.until(
                lambda: bool(_gaps(server)) and all(each["backup"] for each in _gaps(server)),
                "the gaps end",
                120,
            )
            _insert(server, "last")
            archives.wait_for_archiving(server)
            last = server.sql("SELECT last_archived_wal FROM pg_stat_archiver")[:24]
            gaps, rows = _gaps(server), server.sql("SELECT count(*) FROM kept")
        present = {*archive.segments()}
        first, end = (_number(each) for each in (min(present), last))
        for number in range(first, end + 1):
            name = f"{last[:8]}{number // SIZE:08X}{number % SIZE:08X}"
            held = any(str(each["first"]) <= name <= str(each["last"]) for each in gaps)
            assert name in present or held, name
        with archive.serve(archives.LATEST, timeout=60) as restored:
            assert rows == restored.sql("SELECT count(*) FROM kept")


@pytest.mark.parametrize("tool", TOOLS)
def test_the_backup_is_owed_across_restarts(tool: str) -> None:
    """Neither a restart while the storage is away nor another value of the variable forgets it."""
    with containers.volume() as data, archives.made(tool, None) as archive:
        with archive.serve(DROP, volumes={DATA: data}) as server:
            server.sql("CREATE TABLE kept (word text)")
            server.exec("entrypoint", "backup", "push", timeout=60)
            _insert(server, "one")
            archives.wait_for_archiving(server)
            server.shell("chmod 000 /archive", user="0")
            _insert(server, "two")
            _drop(server)
            assert 0 == server.stop()
        with archive.serve({"ARCHIVE_WHEN_FULL": "readonly"}, volumes={DATA: data}) as server:
            assert "nothing after" in server.exec("entrypoint", "doctor", "archive gaps", check=False).output
            server.shell("chmod 700 /archive", user="0")
            _insert(server, "three")
            _until_closed(server)
            assert "full" in server.exec("entrypoint", "backup", "list").stdout
        with archive.serve(archives.LATEST, timeout=60) as restored:
            assert "one two three" == _rows(restored)


@pytest.mark.parametrize("tool", TOOLS)
def test_a_standby_says_why_it_waits(tool: str) -> None:
    """A standby that follows the archive cannot get past a gap: it waits, and its log says so once."""
    with archives.made(tool, None) as archive, archive.serve(DROP) as server:
        server.sql("CREATE TABLE kept (word text)")
        server.exec("entrypoint", "backup", "push", timeout=60)
        with archive.create({"STANDBY": "on", "ARCHIVE_FORK_INTERVAL": "2"}) as standby:
            standby.begin()
            standby.says("database system is ready to accept read-only connections", 60)
            _insert(server, "one")
            containers.until(lambda: _rows(standby) == "one", "the row arrives", 60)
            with _away(archive, server):
                _insert(server, "two")
                _drop(server)
                server.shell(f"rm {NOTE}")
                _insert(server, "three")
            _until_closed(server)
            standby.says("which is in a gap of file:///archive", 90)
            assert "one" == _rows(standby)


class Heir(NamedTuple):
    """A server that took over with a gap in its past, and what it left in its archive."""

    archive: Archive
    old: str
    """The backup before the gap."""
    gap: dict[str, object]
    inside: str
    """A moment in the gap."""


@pytest.fixture(scope="module", params=TOOLS)
def heir(request: pytest.FixtureRequest) -> Iterator[Heir]:
    """A primary gave WAL up and took a full backup; a standby that streamed meanwhile has taken over since."""
    with archives.made(request.param, None) as archive, containers.volume() as data:
        with archive.serve(DROP, volumes={DATA: data}) as server:
            server.sql("CREATE TABLE kept (word text)")
            server.sql("COPY (SELECT 'host replication all all trust') TO PROGRAM 'cat >> pg_hba.conf'")
            server.sql("SELECT pg_reload_conf()")
            old = str(_json(server, "backup", "push")[0]["name"])
            server.sql("SELECT pg_create_restore_point('before')")
            _insert(server, "one")
            archives.wait_for_archiving(server)
            conninfo = f"host={server.address} user=postgres"
            with archive.create({"STANDBY": "on", "STANDBY_PRIMARY_CONNINFO": conninfo}) as standby:
                standby.begin()
                standby.says("database system is ready to accept read-only connections", 60)
                streaming = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'"
                containers.until(lambda: server.sql(streaming) == "1", "streaming", 30)
                with _away(archive, server):
                    _insert(server, "two")
                    _drop(server)
                    server.sql("SELECT pg_create_restore_point('inside')")
                    inside = datetime.now(UTC).isoformat()
                    _insert(server, "three")
                    containers.until(lambda: waiting(server) == 0, "each segment is given up", 30)
                    server.shell(f"rm {NOTE}")
                    _insert(server, "four")
                _until_closed(server)
                (found,) = _gaps(server)
                time.sleep(1.1)  # the first moment behind the gap has whole seconds
                _insert(server, "five")
                archives.wait_for_archiving(server)
                containers.until(lambda: _rows(standby).endswith("five"), "the rows arrive", 60)
                server.kill()
                standby.exec("entrypoint", "promote", timeout=70)
                standby.sql("SELECT pg_create_restore_point('after')")
                _insert(standby, "six")
                archives.wait_for_archiving(standby)
                _shows(standby, found)
                assert 0 == standby.stop(timeout=60)
        yield Heir(archive, old, found, inside)


def _json(server: Container, *words: str) -> Any:
    return json.loads(server.exec("entrypoint", *words, "--json", timeout=120).stdout)


def _shows(server: Container, gap: dict[str, object]) -> None:
    """Check that a server knows a gap in its past as one that is over: in its window and in its list."""
    words = f"{gap['first']} to {gap['last']} were given up"
    _json(server, "backup", "push")  # also reads the archive's record
    status = _json(server, "archive", "status")
    assert (1, False) == (status["gaps"], status["gap_open"])
    assert words in status["gap"]
    listed = server.exec("entrypoint", "backup", "list").stdout
    assert re.search(rf"(?m)^gap +between \S+ and \S+: {words}", listed), listed
    assert f"one gap; the last: {words}" in server.exec("entrypoint", "doctor", "archive gaps").output


def test_a_gap_stays_known_after_a_takeover_and_a_restore(heir: Heir) -> None:
    """Nobody restores into it from the new timelines either, and what is behind it is exact."""
    words = "were given up at"
    with heir.archive.copy() as copy:
        with copy.serve(archives.LATEST, timeout=90) as restored:
            assert "one two three four five six" == _rows(restored)
            _insert(restored, "seven")
            archives.wait_for_archiving(restored)
            _shows(restored, heir.gap)
            assert 0 == restored.stop(timeout=120)
        for variables in (
            {"RESTORE_TARGET_TIME": heir.inside},
            {"RESTORE_TARGET_LSN": _lsn(heir.gap["last"])},
        ):
            ended = copy.run({"RESTORE_FROM": "LATEST", **variables}, timeout=120)
            assert (REFUSED, True) == (ended.code, words in ended.output), ended.output
        (after,) = set(re.findall(r"RESTORE_TARGET_TIME=(\S+?)[;\s]", ended.output))
        with copy.serve({"RESTORE_FROM": "LATEST", "RESTORE_TARGET_TIME": after}, timeout=120) as restored:
            assert "one two three four" == _rows(restored)


@pytest.mark.long
def test_a_restore_point_in_a_gap(heir: Heir) -> None:
    """Where it is shows only in the replay; its end names the gap, if the replay had to cross it."""
    newer, asked = str(heir.gap["backup"]), {"RESTORE_TARGET_NAME": "inside", "ARCHIVE_COMMAND_TIMEOUT": "40"}
    with heir.archive.copy() as copy:
        ended = copy.run({"RESTORE_FROM": heir.old, **asked}, timeout=150)
        assert UNFINISHED == ended.code, ended.output
        assert f"{heir.gap['first']} to {heir.gap['last']} were given up at" in ended.output
        assert f"the target, if it is behind the gap: RESTORE_FROM={newer}" in ended.output
        assert "nothing was promoted" in ended.output
        ended = copy.run({"RESTORE_FROM": newer, **asked}, timeout=150)
        assert UNFINISHED == ended.code, ended.output
        assert "were given up" not in ended.output.rpartition("nothing was promoted")[0]


@pytest.mark.long
@pytest.mark.parametrize(("name", "rows"), [("before", ""), ("after", "one two three four five")])
def test_a_restore_point_beside_a_gap(heir: Heir, name: str, rows: str) -> None:
    """One on either side of it is exact."""
    backup = heir.old if name == "before" else str(heir.gap["backup"])
    wanted = {"RESTORE_FROM": backup, "RESTORE_TARGET_NAME": name}
    with heir.archive.copy() as copy, copy.serve(wanted, timeout=150) as restored:
        assert rows == _rows(restored)
