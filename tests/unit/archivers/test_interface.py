"""The common interface of the archivers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrypoint.archivers.interface import Archiver
from entrypoint.archivers.known import TOOLS, adapter, adapters
from entrypoint.archivers.pgbackrest import PgBackRest
from entrypoint.archivers.terms import Command
from entrypoint.archivers.walg import WalG
from entrypoint.postgres.segments import lsn_text
from unit.made import SERVER

ADAPTERS = tuple(adapters({}).values())


def test_each_name_has_its_adapter() -> None:
    """`adapter` returns a tool's adapter for the tool's name."""
    assert [*TOOLS] == [adapter(name, {}).name for name in TOOLS]
    assert {WalG, PgBackRest} <= {type(adapter(name, {})) for name in TOOLS}


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (0, "0/0"),
        (4060086568, "0/F2000128"),
        (0xFFFFFFFF, "0/FFFFFFFF"),
        (1 << 32, "1/0"),
        (0x16B374D848, "16/B374D848"),
    ],
)
def test_lsn(number: int, expected: str) -> None:
    """An LSN is formatted as PostgreSQL formats it."""
    assert expected == lsn_text(number)


@given(st.integers(0, 2**64 - 1))
def test_lsn_is_one_to_one(number: int) -> None:
    """The text of any number parses back to the same number."""
    high, low = lsn_text(number).split("/")
    assert number == (int(high, 16) << 32) + int(low, 16)


def _commands(tool: Archiver) -> list[Command]:
    commands = [
        tool.archive_segment(SERVER),
        tool.fetch_segment(SERVER),
        tool.look(SERVER),
        tool.list_backups(SERVER),
        tool.list_wal(SERVER),
        tool.raw_object(SERVER, "name"),
        tool.store(SERVER, "name"),
        tool.remove(SERVER, "name"),
        tool.push(SERVER),
        tool.fetch(SERVER, "LATEST", "/folder"),
        tool.fetch(SERVER, "name", "/folder"),
    ]
    prepare = tool.prepare(SERVER)
    return commands if prepare is None else [*commands, prepare]


@pytest.mark.parametrize("tool", ADAPTERS, ids=TOOLS)
def test_commands_find_their_settings_in_the_file(tool: Archiver) -> None:
    """Every call names the tool and reads the rendered file; no secret is on a command line."""
    for command in _commands(tool):
        assert tool.name == command.argv[0]
        assert f"/run/entrypoint/{tool.config_name}" in command.environment.values()
        known = {
            "WALG_CONFIG_PATH",
            "HOME",
            "PGBACKREST_CONFIG",
            "WALG_S3_MAX_RETRIES",
            "WALG_LOG_LEVEL",
            "S3_ENABLE_VERSIONING",
            "WALG_STOP_BACKUP_TIMEOUT",
            "WALG_UPLOAD_CONCURRENCY",
            "WALG_UPLOAD_DISK_CONCURRENCY",
            "GOMAXPROCS",
            "GOMEMLIMIT",
            "WALG_DOWNLOAD_CONCURRENCY",
            "WALG_PREFETCH_DIR",
            "PGBACKREST_IO_TIMEOUT",
            "PGBACKREST_ARCHIVE_TIMEOUT",
        }
        assert known >= set(command.environment)


@pytest.mark.parametrize("tool", ADAPTERS, ids=TOOLS)
def test_segments_are_named_by_postgresql(tool: Archiver) -> None:
    """The commands for segments contain PostgreSQL's placeholders as separate arguments."""
    assert ["%p"] == [word for word in tool.archive_segment(SERVER).argv if "%" in word]
    assert ["%f", "%p"] == [word for word in tool.fetch_segment(SERVER).argv if "%" in word]


@pytest.mark.parametrize(("tool", "code"), [(WalG(), 74), (PgBackRest({}), 1)], ids=["wal-g", "pgbackrest"])
def test_a_missing_segment_has_its_own_code(tool: Archiver, code: int) -> None:
    """Each tool has its own exit code for "not in the archive"."""
    assert code == tool.capabilities.missing_code
