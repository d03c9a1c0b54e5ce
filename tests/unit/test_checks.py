"""What doctor finds."""

from __future__ import annotations

from typing import Any

import pytest

from entrypoint import checks
from entrypoint.archivers import Backup
from entrypoint.checks import ERROR, OK, WARNING, Evidence, Finding
from entrypoint.drills import Drill, LastDrills
from entrypoint.errors import Problem
from entrypoint.facts import ArchiveState, Unfinished
from entrypoint.runs import LastRuns, Run
from unit import made

PROBLEM = Problem("it is wrong", "do this")
BACKUP = Backup(
    name="base_1",
    kind="full",
    started="2026-11-22T18:35:07+00:00",
    finished="2026-11-22T18:35:08+00:00",
    size_bytes=1,
    start_lsn="0/1",
    stop_lsn="0/2",
    permanent=False,
    system_identifier="1",
)
ARCHIVING = ArchiveState(
    tool="wal-g",
    url="file:///archive",
    backlog_segments=0,
    backlog_bytes=0,
    oldest_ready=None,
    oldest_ready_seconds=None,
    archived_per_minute=1.0,
    last_archived="000000010000000000000001",
    last_archived_at="2026-11-22T18:35:08+00:00",
    failing_since=None,
    last_error=None,
    prepared=True,
    fork_refused=None,
    fork_mend=None,
    free_bytes=10**9,
    seconds_until_full=None,
)
RUN = Run(kind="full", started="2026-11-22T18:35:08+00:00", why="schedule", words="why")
DRILL = Drill("2026-11-22T18:35:08+00:00", "schedule", outcome="failed", words="why")
OUTAGE = ARCHIVING._replace(
    failing_since="2026-11-22T18:35:08+00:00", last_error="connection refused", seconds_until_full=7200
)
HEALTHY = Evidence(
    problems=(),
    doubts=(),
    facts=made.facts(made.data_folder(has_cluster=True)),
    server_uid=999,
    shell=None,
    data_major="15",
    binary_major="15",
    server_status="ready",
    failing_helpers={},
    shared_memory_bytes=256 * 1024**2,
    full={"/data": 50.0},
    archive_tool="wal-g",
    archive_url="file:///archive",
    archive_problem=None,
    archiving=ARCHIVING,
    runs=LastRuns(success=None, failure=None, running=None, verified=None),
    drills=LastDrills(None, None, None),
    drill_overdue=False,
    backups=(BACKUP,),
    newest_backup_seconds=5400,
)


def _worse(**changes: Any) -> list[Finding]:
    """Return what is not well once this has changed."""
    found = checks.examine(HEALTHY._replace(**changes))
    assert [] == [each for each in found if each.level != OK and not each.mend]
    return [each for each in found if each.level != OK]


def _waiting(segments: int, seconds: int) -> ArchiveState:
    """Return what it is like when so many segments wait, the oldest for so long."""
    return ARCHIVING._replace(backlog_segments=segments, oldest_ready_seconds=seconds)


def _levels(found: list[Finding]) -> list[tuple[str, str]]:
    return [(each.check, each.level) for each in found]


def test_a_healthy_container() -> None:
    """Each check says that all is well, and what it has looked at."""
    found = checks.examine(HEALTHY)
    assert {OK} == {each.level for each in found}
    assert [] == [each for each in found if not each.found]
    expected = (
        "settings, shell, data folder, version, server, shared memory, free space, archive, archive backlog"
    )
    assert [*expected.split(", "), "backups"] == [each.check for each in found]
    assert "1, the newest base_1 is 1.5 hours old" == found[-1].found


def test_every_mistake_in_the_settings() -> None:
    """All problems are errors and all doubts warnings, with their own mends."""
    found = _worse(problems=(PROBLEM, PROBLEM), doubts=(PROBLEM,))
    expected = [Finding("settings", level, "it is wrong", "do this") for level in (ERROR, ERROR, WARNING)]
    assert expected == found


def test_settings_too_wrong_to_look_further() -> None:
    """Without a data folder only the settings and the shell are judged."""
    found = checks.examine(HEALTHY._replace(problems=(PROBLEM,), facts=None))
    assert ["settings", "shell"] == [each.check for each in found]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"shell": PROBLEM}, [("shell", ERROR)]),
        ({"data_major": "14"}, [("version", ERROR)]),
        ({"server_status": None}, [("server", WARNING)]),
        ({"server_status": "starting"}, [("server", WARNING)]),
        ({"shared_memory_bytes": 64 * 1024**2}, [("shared memory", WARNING)]),
        ({"shared_memory_bytes": 65 * 1024**2}, []),
        ({"full": {"/data": 84.9}}, []),
        ({"full": {"/data": 85.0, "/wal": 95.0}}, [("free space", WARNING), ("free space", ERROR)]),
        ({"archive_tool": None}, [("archive", WARNING)]),
        ({"archive_problem": PROBLEM}, [("archive", ERROR)]),
        ({"archiving": _waiting(3, 121)}, [("archive backlog", WARNING)]),
        ({"archiving": _waiting(2, 1000)}, []),
        ({"archiving": _waiting(1000, 5)}, []),
        ({"archiving": OUTAGE}, [("archive backlog", ERROR)]),
        ({"runs": HEALTHY.runs._replace(failure=RUN)}, [("backup runs", ERROR)]),
        ({"runs": HEALTHY.runs._replace(verified=RUN)}, []),
        (
            {"runs": HEALTHY.runs._replace(verified=RUN._replace(holes=(("01", "02"),)))},
            [("backup runs", WARNING)],
        ),
        (
            {"runs": HEALTHY.runs._replace(verified=RUN._replace(broken={"base_1": "no manifest"}))},
            [("backup runs", WARNING)],
        ),
        ({"backups": PROBLEM}, [("backups", ERROR)]),
        ({"backups": ()}, [("backups", WARNING)]),
        ({"data_major": None}, []),
        ({"drill_overdue": True}, [("drills", WARNING)]),
        ({"drills": HEALTHY.drills._replace(failure=DRILL)}, [("drills", WARNING)]),
        ({"drills": HEALTHY.drills._replace(success=DRILL)}, []),
    ],
)
def test_what_is_not_well(changes: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    """Each piece of evidence alone gives its own finding and no other."""
    assert expected == _levels(_worse(**changes))


@pytest.mark.parametrize(
    ("folder", "more", "expected"),
    [
        ({"place": "container layer"}, {}, [("data folder", ERROR)]),
        ({"place": "anonymous volume"}, {}, [("data folder", WARNING)]),
        ({"unfinished": Unfinished("files", "x")}, {}, [("data folder", ERROR)]),
        ({"owner": 0}, {}, [("data folder", WARNING)]),
        ({"owner": None}, {}, []),
        ({}, {"old_databases": ["/a", "/b"]}, [("data folder", WARNING)] * 2),
        ({}, {"stray_mounts": ["/var/lib/postgresql"]}, [("data folder", WARNING)]),
    ],
)
def test_data_folders(folder: dict[str, Any], more: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    """What is wrong with the data folder, its owner and its neighbours is found."""
    facts = made.facts(made.data_folder(**{"has_cluster": True, **folder}), **more)
    assert expected == _levels(_worse(facts=facts))


def test_a_helper_that_keeps_failing_is_a_warning() -> None:
    """It never takes the server down, so somebody must be told."""
    (found,) = _worse(failing_helpers={"daemon": 3})
    assert ("helpers", WARNING, True) == (found.check, found.level, "3 times" in found.found)


def test_a_refused_fork_is_an_error_with_its_mend() -> None:
    """And the backlog, which nobody will archive, is not spoken of."""
    state = ARCHIVING._replace(
        fork_refused="another cluster has gone on",
        fork_mend="give it its own",
        backlog_segments=9,
        oldest_ready_seconds=999,
    )
    (found,) = _worse(archiving=state)
    assert ("archive fork", checks.ERROR, "give it its own") == (found.check, found.level, found.mend)
    assert "another cluster has gone on" in found.found
