"""How doctor judges a running cluster, its memory and its processes."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import Any

import pytest

from entrypoint.config.memory import SharedMemory
from entrypoint.doctor.judge import archive, databases, memory, secrets, server
from entrypoint.doctor.judge.databases import Extension, Slot
from entrypoint.errors import Problem
from entrypoint.finding import ERROR, OK, WARNING, Finding

MIB, GIB = 1024**2, 1024**3
SLOT = Slot("standby", active=True, status="reserved", held=0)
IDLE = SLOT._replace(active=False)
EXTENSION = Extension("hstore", "1.8", "1.8")
LIMITS = (200_000_000, 400_000_000)
SETTINGS = {
    "dynamic_shared_memory_type": "posix",
    "max_parallel_workers": "8",
    "max_parallel_workers_per_gather": "2",
    "work_mem": "4MB",
    "hash_mem_multiplier": "2",
    "maintenance_work_mem": "64MB",
    "shared_buffers": "128MB",
    "max_connections": "100",
    "autovacuum_work_mem": "-1",
    "autovacuum_max_workers": "3",
}
"""PostgreSQL's own defaults: 720 MiB in all."""
SEGMENT = "000000010000000000000003"
RUNNING: dict[str, Any] = {
    "mode": "on",
    "command": "set -- 60 …; . …/archive-segment",
    "library": "",
    "timeout": 60,
    "own": None,
}


def _levels(found: Sequence[Finding]) -> list[str]:
    """Return the levels; every finding has a text, and exactly the warnings and errors have a hint."""
    assert [] == [each for each in found if not each.found or (each.level != OK) != bool(each.hint)]
    return [each.level for each in found]


def _written(*, seconds: float, written: bool) -> list[Finding]:
    return archive.last_segment(name=SEGMENT, seconds=seconds, written=written, timeout=60)


def _shared_memory(have: int, need: int, kind: str) -> list[Finding]:
    found = SharedMemory(have, need, kind, free=True, adapted=False)
    return memory.shared_memory(found.words, found.kind, found.problem)


LATE = databases.Unlooked(late=["b", "c"], total=4, seconds=10)
SILENT = databases.Unlooked(silent={"b": "no", "c": "no", "d": "never"}, total=4, seconds=10)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (secrets.certificate("server.crt", None), [OK]),
        (secrets.certificate("server.crt", 14 * 86400), [OK]),
        (secrets.certificate("server.crt", 13 * 86400), [WARNING]),
        (secrets.certificate("server.crt", 2 * 86400), [ERROR]),
        (secrets.certificate("server.crt", -1), [ERROR]),
        (databases.standby(paused=False, streaming=True, behind=5, seconds=300), [OK]),
        (databases.standby(paused=False, streaming=True, behind=0, seconds=9999), [OK]),
        (databases.standby(paused=False, streaming=True, behind=5, seconds=301), [WARNING]),
        (databases.standby(paused=False, streaming=True, behind=5, seconds=3601), [ERROR]),
        (databases.standby(paused=False, streaming=True, behind=None, seconds=0), [WARNING]),
        (databases.standby(paused=False, streaming=False, behind=None, seconds=9999), [OK]),
        (databases.standby(paused=True, streaming=True, behind=0, seconds=0), [WARNING]),
        (databases.slots([], -1, GIB), [OK]),
        (databases.slots([SLOT, IDLE], -1, GIB), [OK]),
        (databases.slots([SLOT._replace(held=9 * GIB)], -1, GIB), [OK]),
        (databases.slots([SLOT._replace(held=11 * GIB)], -1, 99 * GIB), [WARNING]),
        (databases.slots([IDLE._replace(held=257 * MIB)], -1, 99 * GIB), [WARNING]),
        (databases.slots([IDLE._replace(held=2 * GIB)], -1, GIB), [ERROR]),
        (databases.slots([IDLE._replace(held=2 * GIB)], 3 * GIB, GIB), [WARNING]),
        (databases.slots([IDLE._replace(held=2 * GIB)], 4 * GIB, GIB), [ERROR]),
        (databases.slots([SLOT._replace(status="lost")], GIB, GIB), [ERROR]),
        (databases.slots([SLOT._replace(status="unreserved")], GIB, GIB), [ERROR]),
        (databases.wraparound({"a": (200_000_000, 0)}, LIMITS), [OK]),
        (databases.wraparound({"a": (300_000_001, 0), "b": (1, 600_000_001)}, LIMITS), [WARNING, WARNING]),
        (databases.wraparound({"a": (1_600_000_000, 0)}, LIMITS), [ERROR]),
        (databases.restart([]), [OK]),
        (databases.restart(["shared_buffers"]), [WARNING]),
        (databases.extensions("a", [EXTENSION], []), []),
        (databases.extensions("a", [EXTENSION._replace(installed="1.7")], []), [WARNING]),
        (databases.extensions("a", [EXTENSION._replace(available=None)], ["$libdir/hstore"]), [ERROR, ERROR]),
        (databases.locales({}, []), [OK]),
        (databases.locales({"xx_XX": ["database a"]}, ["a"]), [ERROR]),
        (databases.locales({}, ["a"]), [WARNING]),
        (databases.locales({}, [], LATE), [WARNING]),
        (databases.locales({}, ["a"], LATE), [WARNING, WARNING]),
        (databases.collations("all match", "refuse", LATE), [WARNING]),
        (databases.collations(Problem("changed", "fix"), "refuse", LATE), [ERROR, WARNING]),
        (databases.unlooked("extensions", databases.NOTHING), []),
        (databases.unlooked("extensions", SILENT), [WARNING, WARNING]),
        (databases.libraries("every database", ["$libdir/a"]), [ERROR]),
        (databases.collations(None, "warn"), []),
        (databases.collations("all match", "refuse"), [OK]),
        (databases.collations(Problem("changed", "fix"), "warn"), [WARNING]),
        (databases.collations(Problem("changed", "fix"), "refuse"), [ERROR]),
        (databases.password("postgres", "", None), []),
        (databases.password("postgres", "secret", None), [WARNING]),
        (databases.password("postgres", "secret", "a future kind of verifier"), []),
        (_shared_memory(96 * MIB, 96 * MIB, "posix"), [OK]),
        (_shared_memory(95 * MIB, 96 * MIB, "posix"), [WARNING]),
        (_shared_memory(1, 96 * MIB, "sysv"), [OK]),
        (memory.memory(720 * MIB, SETTINGS), [OK]),
        (memory.memory(719 * MIB, SETTINGS), [WARNING]),
        (memory.memory(719 * MIB, {**SETTINGS, "autovacuum_work_mem": "32MB"}), [OK]),
        (memory.memory(159 * MIB, SETTINGS), [ERROR]),
        (memory.processors(2, {"max_parallel_workers": 8}), []),
        (memory.processors(2, {"max_parallel_workers": 9}), [WARNING]),
        (memory.io_uring("worker", errno.EPERM), []),
        (memory.io_uring("io_uring", 0), [OK]),
        (memory.io_uring("io_uring", errno.EPERM), [ERROR]),
        (memory.io_uring("io_uring", errno.EIO), [ERROR]),
        (memory.jit(wanted=True, available=True), []),
        (memory.jit(wanted=False, available=False), [OK]),
        (memory.jit(wanted=True, available=False), [WARNING]),
        (secrets.secrets([], [], []), [OK]),
        (secrets.secrets([], [], ["POSTGRES_PASSWORD"]), [OK]),
        (secrets.secrets([secrets.Seen("PGPASSWORD", "psql (pid 9)", "command line")], [], []), [ERROR]),
        (secrets.secrets([secrets.Seen("PGPASSWORD", "postgres (pid 9)", "environment")], [], []), [WARNING]),
        (secrets.secrets([], [("POSTGRES_PASSWORD_FILE", "/run/x", 0o644)], []), [WARNING]),
        (archive.running(**RUNNING), []),
        (archive.running(**{**RUNNING, "mode": "always"}), []),
        (archive.running(**{**RUNNING, "mode": "off"}), [ERROR]),
        (archive.running(**{**RUNNING, "command": "/bin/true"}), [ERROR]),
        (archive.running(**{**RUNNING, "command": ""}), [ERROR]),
        (archive.running(**{**RUNNING, "library": "basic_archive"}), [ERROR]),
        (archive.running(**{**RUNNING, "timeout": 0}), [WARNING]),
        (_written(seconds=9999, written=False), [OK]),
        (_written(seconds=120, written=True), [OK]),
        (_written(seconds=121, written=True), [ERROR]),
        (archive.encryption(SEGMENT, b"\x04\x22\x4d\x18"), [ERROR]),
        (archive.encryption(SEGMENT, b"\x10\xd1\x05\x00"), [ERROR]),
        (archive.encryption(SEGMENT, b"Salted__"), [OK]),
        (archive.round_trip(0.1, ""), [OK]),
        (archive.round_trip(0.1, "Access Denied"), [WARNING]),
        (archive.read_only(3, "this is a standby"), [OK]),
        (archive.clock(59.9, "x"), [OK]),
        (archive.clock(-60, "x"), [WARNING]),
        (archive.clock(900, "x"), [ERROR]),
        (server.last_stop("shut down"), [OK]),
        (server.last_stop("shut down in recovery"), [OK]),
        (server.last_stop("in production"), [WARNING]),
        (server.last_stop("shutting down"), [WARNING]),
        (server.last_stop(""), []),
        (server.init_files({"a": "1"}, {"a": "1"}), [OK]),
        (server.init_files({"a": "1"}, {}), [OK]),
        (server.init_files({"a": "1"}, {"a": "2"}), [WARNING]),
        (server.init_files({"a": "1"}, {"a": "1", "b": "2"}), [WARNING]),
        (server.init_files({"a": "1", "b": "2"}, {"a": "1"}), [WARNING]),
    ],
)
def test_levels(found: list[Finding], expected: list[str]) -> None:
    """Each piece of evidence has its own findings and no others."""
    assert expected == _levels(found)


VERIFIERS = {
    # The verifiers that PostgreSQL 15 has stored for these passwords of role postgres.
    "secret": (
        "SCRAM-SHA-256$4096:6Vqdp7WvjbDWpOxmdGBkyQ==$7rwcrmiDnDncvxFDDXnBBjYtlQcakwidFId6FylXSyI=:rWFUL9Iu/LlgCofJvKReRP/tIFIJ9Qr39GuBZ5Qab6E=",
        "md553f48b7c4b76a86ce72276c5755f217d",
    ),
    "Grüße": (
        "SCRAM-SHA-256$4096:y1isdrx6LqoJ8Tgb7bC+JQ==$pFtQFsUYjHmz7XefBltDN5jl+xXVUnbPlClHiGzVeCY=:OJN0GNcMGynlPk8FsnjoxPLmHqXNgnX1khF2R/XVnaM=",
        "md563ed01bd56d3ba228d51f8877c94e91f",
    ),
}


@pytest.mark.parametrize("given", VERIFIERS)
def test_passwords(given: str) -> None:
    """Both kinds of PostgreSQL's verifiers show without a login whether a password is right."""
    for verifier in VERIFIERS[given]:
        assert [OK] == _levels(databases.password("postgres", given, verifier))
        assert [WARNING] == _levels(databases.password("postgres", f"{given}2", verifier))


def test_a_hint_has_the_exact_values() -> None:
    """The hint names a sufficient size of /dev/shm, and drops the slot by its name."""
    (found,) = _shared_memory(64 * MIB, 1536 * MIB, "posix")
    assert "--shm-size=1536m" in found.hint
    assert "1536MB" in found.found
    (slot,) = databases.slots([IDLE._replace(held=GIB)], -1, None)
    assert "pg_drop_replication_slot('standby')" in slot.hint


def test_what_there_was_no_time_for() -> None:
    """The databases are counted and named, and the command in the hint allows twice the time they need."""
    (found,) = databases.unlooked("collations", LATE)
    assert "not looked at within 10 s: 2 of 4 databases (b, c)" == found.found
    assert "entrypoint doctor --seconds 50 collations" == found.hint
    none = databases.Unlooked(late=["a"] * 300, total=300, seconds=0.5)
    assert "--seconds 1210 " in databases.unlooked("locales", none)[0].hint
    assert ["b, c: no", "d: never"] == [
        each.found.partition("answer: ")[2] for each in databases.unlooked("locales", SILENT)
    ]
