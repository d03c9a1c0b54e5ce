"""Which source of a setting wins, and which settings differ from the running server's."""

from __future__ import annotations

import pytest

from entrypoint.config import complaints, sources
from entrypoint.config.sources import ALTER, COMMAND, FILE, IMAGE, VARIABLE, Change, Running, Source
from entrypoint.postgres.configfile import parse

POSTMASTER = Running(
    setting="16384",
    shown="128MB",
    context="postmaster",
    source="configuration file",
    pending_restart=False,
    default="1024",
)
USER = Running(
    setting="4096", shown="4MB", context="user", source="default", pending_restart=False, default="4096"
)


def test_lines_of_initdb_are_not_a_persons() -> None:
    """Lines that initdb wrote are the image's; another value, or a second line, is a person's."""
    text = "shared_buffers = 128MB\nlc_messages = 'C'\nmax_wal_size = 2GB\nlisten_addresses = '*'\n"
    entries, _ = parse(text + "shared_buffers = 128MB\n", "f")
    origins = [source.origin for source in sources.of_base(entries, {"listen_addresses": "*"})]
    assert [IMAGE, IMAGE, FILE, IMAGE, FILE] == origins


def test_the_strongest_comes_first() -> None:
    """Later sources override the earlier ones."""
    found = [Source("a", "1", FILE, ""), Source("a", "2", ALTER, ""), Source("a", "3", COMMAND, "")]
    assert ["3", "2", "1"] == [source.value for source in sources.by_name(found)["a"]]
    assert "3" == sources.winners(found)["a"].value


@pytest.mark.parametrize(
    ("value", "plain", "running", "expected"),
    [
        ("128MB", {}, POSTMASTER, None),
        ("131072kB", {"x": "16384"}, POSTMASTER, None),
        ("256MB", {"x": "32768"}, POSTMASTER, (True, "128MB", "256MB")),
        ("8MB", {"x": "8192"}, USER, (False, "4MB", "8MB")),
        ("8MB", {"x": "8192"}, USER._replace(source="database"), None),
    ],
)
def test_differences(
    value: str, plain: dict[str, str], running: Running, expected: tuple[bool, str, str] | None
) -> None:
    """Values are compared in the server's units; a session's own value does not count."""
    wanted = {"x": Source("x", value, VARIABLE, "POSTGRES_CONF_x")}
    found = sources.changes(wanted, {"x": running}, plain)
    expected_changes = expected and [
        Change("x", expected[1], expected[2], restart=expected[0], where="variable: POSTGRES_CONF_x")
    ]
    assert (expected_changes or []) == found


def test_a_removed_setting_returns_to_its_default() -> None:
    """After a line is removed, the default applies again."""
    known = {"x": POSTMASTER, "y": USER}
    assert [Change("x", "128MB", "1024", restart=True, where="default")] == sources.changes({}, known, {})


def test_a_size_that_the_server_chooses_does_not_differ() -> None:
    """For wal_buffers = -1, the server shows the size that it has chosen."""
    running = {"wal_buffers": POSTMASTER._replace(setting="512", shown="4MB", default="-1")}
    wanted = {"wal_buffers": Source("wal_buffers", "-1", FILE, "f:1")}
    assert [] == sources.changes(wanted, running, {"wal_buffers": "-1"})


SAID = """\
2026-01-01 [7] LOG:  skipping missing configuration file "/x/postgresql.auto.conf"
2026-01-01 [7] LOG:  invalid value for parameter "work_mem": "64XB"
2026-01-01 [7] HINT:  Valid units for this parameter are "B", "kB", "MB", "GB", and "TB".
2026-01-01 [7] LOG:  parameter "block_size" cannot be changed
2026-01-01 [7] LOG:  0 8kB is outside the valid range for parameter "shared_buffers" (16 .. 1073741823)
2026-01-01 [7] LOG:  5 ms is outside the valid range for parameter "bgwriter_delay" (10 ms .. 10000 ms)
2026-01-01 [7] LOG:  parameter "fsync" requires a Boolean value
2026-01-01 [7] FATAL:  configuration file "/x/postgresql.conf" contains errors
"""


def test_complaints_hold_their_hint() -> None:
    """Hints are the server's own, ranges with their unit, or say that a setting cannot be set."""
    expected = {
        "work_mem": 'Valid units for this parameter are "B", "kB", "MB", "GB", and "TB".',
        "block_size": "remove block_size: it is fixed when the server is built or the cluster is created",
        "shared_buffers": "set shared_buffers to a value from 16 to 1073741823, in units of 8kB",
        "bgwriter_delay": "set bgwriter_delay to a value from 10 ms to 10000 ms",
        "fsync": "set fsync to on or off",
    }
    assert expected == {each.name: each.hint for each in complaints.complaints(SAID)}


def test_an_unknown_name_gets_the_nearest() -> None:
    """The problem names the place, the setting, the probable name, and the page."""
    [said] = complaints.complaints('LOG:  unrecognized configuration parameter "wrok_mem" in file "f" line 1')
    source = Source("wrok_mem", "1", VARIABLE, "POSTGRES_CONF_wrok_mem")
    problem = complaints.problem(source, said, ["port", "work_mem"])
    assert "POSTGRES_CONF_wrok_mem: the server has no setting wrok_mem" == problem.what
    assert ("did you mean work_mem?", "configure-the-server") == (problem.hint, problem.docs)
