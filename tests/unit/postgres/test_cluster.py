"""Parsers for the files of a data folder."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from entrypoint.postgres.cluster import SERVER_ENTRIES, WAL_ENTRY, is_in_recovery, parse_control
from entrypoint.postgres.postmaster import parse_postmaster
from unit import made

SERVER_MAKES = """
    postmaster.pid postmaster.opts current_logfiles backup_label backup_label.old
    tablespace_map tablespace_map.old recovery.signal standby.signal postgresql.auto.conf.tmp
""".split()


@pytest.mark.parametrize("name", [*made.INITDB_MAKES, *SERVER_MAKES])
def test_entries_of_postgresql_are_known(name: str) -> None:
    """Everything that initdb, the server or a restore creates may be deleted with an unfinished start."""
    assert name in SERVER_ENTRIES


@pytest.mark.parametrize(
    "name",
    [
        *(
            "lost+found",
            "server.key",
            "postgresql.conf.bak",
            "my.conf",
            "entrypoint.unfinished",
            "base.tar",
            "PG_VERSION~",
        ),
        # These begin like a folder of PostgreSQL, but people give such names to their dumps.
        *("pg_dump.sql", "pg_dumpall.sql.gz", "pg_backup", "pg_hba.conf.orig"),
    ],
)
def test_other_entries_are_not_mistaken_for_postgresqls(name: str) -> None:
    """Entries that PostgreSQL does not create belong to somebody else and are never deleted."""
    assert name not in SERVER_ENTRIES


@pytest.mark.parametrize(
    "name",
    [
        "000000010000000000000001",
        "000000010000000000000002.00000028.backup",
        "0000000200000000000000A1.partial",
        "00000002.history",
        "archive_status",
        "summaries",
        "xlogtemp.17",
    ],
)
def test_entries_of_a_wal_folder_are_known(name: str) -> None:
    """These are segments, histories and the server's own folders."""
    assert WAL_ENTRY.fullmatch(name)


@pytest.mark.parametrize("name", ["lost+found", "notes", "00000001000000000000000g", "00000001", "x.history"])
def test_other_entries_of_a_wal_folder_stay(name: str) -> None:
    """Nothing else in a WAL folder is ever deleted."""
    assert not WAL_ENTRY.fullmatch(name)


def _values(text: str) -> tuple[int, str, int, str] | None:
    """Return the values read from a postmaster.pid."""
    found = parse_postmaster(text)
    return None if found is None else (found.pid, found.data_folder, found.started, found.status)


def test_postmaster_of_a_running_server() -> None:
    """All fields of a real postmaster.pid are read."""
    expected = (30736, "/var/lib/postgresql/data", 1795372501, "ready")
    assert expected == _values(made.sample("postmaster.pid"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # as PostgreSQL 15 writes it step by step
        ("10721\n/d\n1795373238\n5999\n\n\n  9995009        17\n", (10721, "/d", 1795373238, "")),
        (
            "10721\n/d\n1795373238\n5999\n/s\n\n  9995009        17\nstarting\n",
            (10721, "/d", 1795373238, "starting"),
        ),
        (
            "10721\n/d\n1795373238\n5999\n/s\n\n  9995009        17\nstopping\n",
            (10721, "/d", 1795373238, "stopping"),
        ),
        # a standalone backend (postgres --single) writes its pid as a negative number
        ("-77\n/d\n1795373238\n5432\n", (77, "/d", 1795373238, "")),
        ("", None),
        ("\n\n\n\n", None),
        ("12x\n/d\n1795373238\n5432\n", None),
        ("12\n/d\nx\n5432\n", None),
    ],
)
def test_postmaster_in_all_its_states(text: str, expected: tuple[int, str, int, str] | None) -> None:
    """Every state of the file that a reader can meet has a meaning."""
    assert expected == _values(text)


def test_a_postmaster_file_that_is_being_written() -> None:
    """A file cut at any point gives either nothing, or nothing that differs from the complete file."""
    text = made.sample("postmaster.pid")
    whole = _values(text)
    assert whole is not None
    for end in range(len(text)):
        found = _values(text[:end])
        if found is not None:
            assert whole[:3] == found[:3]
            assert found[3] in ("", whole[3])


@given(st.text() | st.lists(st.text() | st.integers().map(str)).map("\n".join))
@example("1\n/d\n²\n5432\n")
def test_a_postmaster_file_with_any_text(text: str) -> None:
    """A damaged file is read as None or as numbers, and never ends a start with a traceback."""
    found = parse_postmaster(text)
    assert found is None or (found.pid >= 0 and found.started >= 0)


def test_control_data() -> None:
    """The labels of a real output of pg_controldata are read."""
    found = parse_control(made.sample("pg_controldata.txt"))
    expected = {
        "Database system identifier": "7711066109405266527",
        "Database cluster state": "in production",
        "Bytes per WAL segment": "16777216",
        "Latest checkpoint's NextXID": "0:724",
        "pg_control last modified": "Sun Nov 22 18:35:01 2026",
    }
    assert expected == {name: found[name] for name in expected}


@pytest.mark.parametrize(
    ("version", "state", "reached", "timeline", "expected"),
    [
        (1300, 5, 0x3000000, 1, True),
        (1300, 2, 0x3000000, 1, True),
        (1300, 3, 0x3000000, 1, True),
        (1700, 3, 0x3000000, 1, True),
        (1800, 3, 0x3000000, 1, True),
        (1905, 3, 0x3000000, 1, True),
        (1905, 3, 0x3000000, 2, False),
        (1905, 3, 0, 0, False),
        (1300, 3, 0x3000000, 2, False),
        (1300, 3, 0, 0, False),
        (1300, 1, 0, 0, False),
        (1300, 6, 0x3000000, 2, False),
        (9999, 3, 0x3000000, 1, False),
    ],
)
def test_an_unfinished_promotion_is_noticed(
    version: int, state: int, reached: int, timeline: int, *, expected: bool
) -> None:
    """A server killed in the checkpoint that ends a recovery is no primary yet; killed in that of a stop, it is one."""
    control, place = bytearray(200), 144 if version == 1905 else 136
    for start, size, value in (
        *((8, 4, version), (16, 4, state), (48, 4, 1)),
        *((place, 8, reached), (place + 8, 4, timeline)),
    ):
        control[start : start + size] = value.to_bytes(size, "little")
    assert expected == is_in_recovery(bytes(control))
    assert not is_in_recovery(bytes(control[:40]))
