"""How doctor judges the start, the server, the folders and the archive."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from entrypoint.archivers.terms import Backup
from entrypoint.backup.runs import LastRuns, Run
from entrypoint.doctor.judge import archive, notifying, places, server
from entrypoint.drill.drills import Drill, LastDrills
from entrypoint.errors import Problem
from entrypoint.finding import ERROR, OK, WARNING, Finding
from entrypoint.notify.outbox import Outbox, Target, Waiting
from entrypoint.notify.wording import Message
from entrypoint.volume.facts import ArchiveState, Unfinished
from unit import made

PROBLEM = Problem("it is wrong", "do this")
QUICK = server.Stop("2026-11-22T18:35:07+00:00", 0.4, "fast")
KILLED = QUICK._replace(seconds=None, step="killed")
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
    fork_hint=None,
    fork_docs=None,
    free_bytes=10**9,
    seconds_until_full=None,
)
RUN = Run(kind="full", started="2026-11-22T18:35:08+00:00", why="schedule", words="why")
DRILL = Drill("2026-11-22T18:35:08+00:00", "schedule", outcome="failed", words="why")
OUTAGE = ARCHIVING._replace(
    failing_since="2026-11-22T18:35:08+00:00", last_error="connection refused", seconds_until_full=7200
)
NO_RUNS = LastRuns(success=None, failure=None, running=None, verified=None)
NO_DRILLS = LastDrills(None, None, None)
FOLDER = places.Folder(
    "data folder",
    "/data",
    exists=True,
    owner=999,
    mode=0o700,
    filesystem="ext4",
    place="volume",
    read_only=False,
)


def _levels(found: Sequence[Finding]) -> list[str]:
    """Return the levels; every finding has a text, and exactly the warnings and errors have a hint."""
    assert [] == [each for each in found if not each.found or (each.level != OK) != bool(each.hint)]
    return [each.level for each in found]


def _waiting(segments: int, seconds: int) -> ArchiveState:
    """Return the state of an archive for which this many segments wait, the oldest for this many seconds."""
    return ARCHIVING._replace(backlog_segments=segments, oldest_ready_seconds=seconds)


def test_every_mistake_in_the_settings() -> None:
    """Each problem becomes an error and each doubt a warning, with its own hint."""
    expected = [Finding(level, "it is wrong", "do this") for level in (ERROR, ERROR, WARNING)]
    assert expected == server.settings((PROBLEM, PROBLEM), (PROBLEM,))
    assert [OK] == _levels(server.settings((), ()))


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (server.start(()), [OK]),
        (server.start((PROBLEM, PROBLEM)), [ERROR, ERROR]),
        (server.shell(None, [], 999), [OK]),
        (server.shell(PROBLEM, [], 999), [ERROR]),
        (server.shell(None, ["timeout"], 999), [ERROR]),
        (server.versions("15", "15", []), [OK]),
        (server.versions("14", "15", []), [WARNING]),
        (server.versions("16", "15", [], Problem("no", "use 16")), [ERROR]),
        (server.versions("15", None, ["postgres"]), [ERROR]),
        (server.versions(None, "15", []), [OK]),
        (server.server("ready"), [OK]),
        (server.server("ready", "no answer"), [ERROR]),
        (server.server("ready", 'FATAL:  role "a b" does not exist'), [ERROR]),
        (server.server(None), [WARNING]),
        (server.server("starting"), [WARNING]),
        (server.helpers({}), []),
        (server.stops([]), []),
        (server.stops([KILLED, QUICK]), [OK]),
        (server.stops([QUICK, KILLED]), [WARNING]),
        (server.stops([QUICK._replace(step="immediate")]), [WARNING]),
        (server.stops([QUICK._replace(seconds=8.1), QUICK]), [WARNING]),
        (server.stops([QUICK._replace(seconds=8.1), *[QUICK] * 5]), [OK]),
        (server.helpers({"daemon": 3, "backups": 2}), [WARNING, WARNING]),
        (places.run_folder("/run", exists=True, writable=True, uid=999), [OK]),
        (places.run_folder("/run", exists=True, writable=False, uid=999), [ERROR]),
        (places.run_folder("/run", exists=False, writable=False, uid=999), [ERROR]),
        (archive.archive("", None), [WARNING]),
        (archive.archive("wal-g to /archive", None), [OK]),
        (archive.archive("wal-g to /archive", PROBLEM), [ERROR]),
        (archive.fork(ARCHIVING), []),
        (archive.backlog(ARCHIVING), [OK]),
        (archive.backlog(_waiting(3, 121)), [WARNING]),
        (archive.backlog(_waiting(2, 1000)), [OK]),
        (archive.backlog(_waiting(1000, 5)), [OK]),
        (archive.backlog(OUTAGE), [ERROR]),
        (archive.backups((BACKUP,), 5400), [OK]),
        (archive.backups((), 0), [WARNING]),
        (archive.backups((BACKUP,), 5400, overdue=True), [WARNING]),
        (archive.runs(NO_RUNS), []),
        (archive.runs(NO_RUNS._replace(failure=RUN)), [ERROR]),
        (archive.runs(NO_RUNS._replace(verified=RUN)), []),
        (archive.runs(NO_RUNS._replace(verified=RUN._replace(holes=(("01", "02"),)))), [WARNING]),
        (archive.runs(NO_RUNS._replace(verified=RUN._replace(broken={"base_1": "torn"}))), [WARNING]),
        (archive.drills(NO_DRILLS, overdue=False), []),
        (archive.drills(NO_DRILLS, overdue=True), [WARNING]),
        (archive.drills(NO_DRILLS._replace(failure=DRILL), overdue=False), [WARNING]),
        (archive.drills(NO_DRILLS._replace(success=DRILL), overdue=False), [OK]),
    ],
)
def test_levels(found: list[Finding], expected: list[str]) -> None:
    """Each piece of evidence has its own findings and no others."""
    assert expected == _levels(found)


def test_texts() -> None:
    """A finding names the evidence."""
    assert "1, the newest base_1 is 1.5 hours old" == archive.backups((BACKUP,), 5400)[0].found
    assert "3 times" in server.helpers({"daemon": 3})[0].found
    assert "127" in server.shell(None, ["timeout"], 999)[0].found
    assert "full in 2.0 hours" in archive.backlog(OUTAGE)[0].found


@pytest.mark.parametrize(
    ("folder", "more", "expected"),
    [
        ({}, {}, [OK]),
        ({"place": "container layer"}, {}, [ERROR]),
        ({"place": "anonymous volume"}, {}, [WARNING]),
        ({"unfinished": Unfinished("files", "x")}, {}, [OK, ERROR]),
        ({}, {"old_databases": ["/a", "/b"]}, [OK, WARNING, WARNING]),
        ({}, {"stray_mounts": ["/var/lib/postgresql"]}, [OK, WARNING]),
    ],
)
def test_data_folders(folder: dict[str, Any], more: dict[str, Any], expected: list[str]) -> None:
    """Problems with the data folder, and with other data and mounts, are found."""
    facts = made.facts(made.data_folder(**{"has_cluster": True, **folder}), **more)
    assert expected == _levels(places.data_folder(facts))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, [OK]),
        ({"mode": 0o750}, [OK]),
        ({"exists": False}, [ERROR]),
        ({"owner": 0}, [WARNING]),
        ({"mode": 0o600}, [ERROR]),
        ({"mode": 0o755}, [WARNING]),
        ({"mode": 0o770}, [WARNING]),
        ({"read_only": True}, [ERROR]),
        ({"filesystem": "tmpfs"}, [ERROR]),
        ({"filesystem": "nfs4"}, [WARNING]),
        ({"filesystem": "fuse.sshfs"}, [WARNING]),
        ({"filesystem": "cifs"}, [ERROR]),
        ({"place": "container layer"}, [OK]),
        ({"place": "container layer", "name": "WAL folder"}, [ERROR]),
        ({"owner": 0, "read_only": True, "filesystem": "9p"}, [WARNING, ERROR, ERROR]),
    ],
)
def test_folders(changes: dict[str, Any], expected: list[str]) -> None:
    """A folder must belong to the server, be closed to others, be writable, and be on a reliable filesystem."""
    assert expected == _levels(places.folders([FOLDER._replace(**changes)], 999))


def test_an_upgrade_by_the_next_start() -> None:
    """It is no error if nothing speaks against it; otherwise the words are those of a start."""
    assert "the next start upgrades the data" in server.versions("14", "15", [])[0].found
    (finding,) = server.versions("16", "15", [], Problem("no way", "use 16"))
    assert ("no way", "use 16") == (finding.found, finding.hint)


def test_a_refused_fork_is_an_error_with_its_hint() -> None:
    """The backlog is not reported, since nothing will archive it; the page is that of the refusal."""
    state = ARCHIVING._replace(
        fork_refused="another cluster writes to it",
        fork_hint="give it its own",
        fork_docs="inspect-a-copy",
        backlog_segments=9,
        oldest_ready_seconds=999,
    )
    assert [] == archive.backlog(state)
    (found,) = archive.fork(state)
    assert (ERROR, "give it its own", "inspect-a-copy") == (found.level, found.hint, found.docs)
    assert "another cluster writes to it" in found.found


def test_findings_of_one_check_may_need_different_pages() -> None:
    """An unfinished restore, an older version and a foreign owner have pages of their own."""
    facts = made.facts(
        made.data_folder(has_cluster=True, unfinished=Unfinished("recovery", "x")), old_databases=["/a"]
    )
    pages = [each.docs for each in places.data_folder(facts)]
    assert ["", "restore-a-lost-volume", "upgrade-to-a-newer-major"] == pages
    assert ["run-without-root"] == [each.docs for each in places.folders([FOLDER._replace(owner=0)], 999)]
    assert ["fix-archiving", "schedule-backups", ""] == [
        each.docs for each in server.helpers({"wal-g-daemon": 2, "backups": 2, "reload": 2})
    ]


def test_targets_that_fail() -> None:
    """A target that keeps failing is named with its answer, since when, and what waits for it; once is an outage."""
    said = Message("ERROR archive: db", "it fails", "failure")
    box = Outbox(
        waiting=(
            Waiting(1, "archive", "began", said, ("ntfy://ntfy.sh",)),
            Waiting(2, "space", "began", said),
        ),
        failing={
            "ntfy://ntfy.sh": Target(1, 1.8e9, "timed out", 1.8e9),
            "mailto://example.com": Target(3, 1.8e9, "535 wrong password", 1.8e9),
            "BACKUP_PING_URL": Target(2, 1.8e9, "HTTP 404", 1.8e9),
        },
        dropped=4,
    )
    found = notifying.notifications(box, {"BACKUP_PING_URL": "https://hc-ping.com"})
    expected = (
        "mailto://example.com has failed 3 times in a row since 2027-01-15 08:00 UTC: 535 wrong password; 2 messages for it wait",
        "BACKUP_PING_URL (https://hc-ping.com) has failed 2 times in a row since 2027-01-15 08:00 UTC: HTTP 404",
        "4 messages were dropped, because too many waited",
    )
    assert [*expected] == [each.found for each in found]
    assert {WARNING} == {each.level for each in found}
    assert ["NOTIFY_URLS", "BACKUP_PING_URL", "NOTIFY_URLS"] == [
        next(word for word in ("NOTIFY_URLS", "BACKUP_PING_URL") if word in each.hint) for each in found
    ]
    assert [OK] == [each.level for each in notifying.notifications(Outbox(), {})]
