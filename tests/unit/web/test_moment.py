"""A moment that somebody picks is accepted if it can be restored, and refused with the nearest ones if not."""

from __future__ import annotations

import shlex

import pytest

import watched
from entrypoint.noted.seen import Seen
from entrypoint.web import moment
from entrypoint.web.moment import Picked
from watched import NOW


def _picked(text: str, seen: Seen | None = None, host: str = "0123456789ab") -> Picked:
    seen = seen or watched.broken()
    return moment.pick(text, seen, seen.window, host, NOW)


@pytest.mark.parametrize(
    ("text", "why", "near"),
    [
        ("2026-11-01T00:00:00", "before the end of the first backup", ("2026-11-17T03:02:23+00:00",)),
        ("2026-11-29T08:24:01", "its WAL is not in the archive yet", ("2026-11-29T08:24:00+00:00",)),
        ("2027-01-01T00:00:00", "in the future", ("2026-11-29T08:24:00+00:00",)),
        (
            "2026-11-24T12:00:00+01:00",
            "the archive lacks the WAL segments 000000020000002A000000C1 to 000000020000002A000000C4",
            ("2026-11-24T03:03:26+00:00", "2026-11-25T03:03:35+00:00"),
        ),
        ("yesterday", "This is not a moment", ()),
        ("2026-11-29T10:00:00" + "0" * 100, "This is not a moment", ()),
        ("0001-01-01T00:00:00+14:00", "before the end of the first backup", ("2026-11-17T03:02:23+00:00",)),
    ],
)
def test_refused(text: str, why: str, near: tuple[str, ...]) -> None:
    """The reason is there, and the nearest moments can be picked in turn."""
    found = _picked(text)
    assert why in found.words
    assert near == found.near
    assert () == found.ways
    assert [] == [each for each in near if not _picked(each).ways]


def test_nothing_is_known() -> None:
    """Before the first look, no moment is promised."""
    assert "It is not known yet" in moment.pick("2026-11-27T14:03:00", None, None, "", NOW).words


def test_accepted() -> None:
    """The restore starts from the newest backup before the moment; the first way leaves the server alone."""
    found = _picked("2026-11-27T15:03:00+01:00")
    assert "2026-11-27 14:03:00 UTC can be restored." == found.words
    assert (
        "The restore starts from backup 20261127-030009I and replays 10 h 59 min of WAL. The last drill restored "
        "backup 20261129-030014F in 2 min 19 s." == found.backup
    )
    assert ["inspect-a-copy", "restore-to-a-moment", "restore-to-a-moment"] == [
        each.page for each in found.ways
    ]


def test_a_copy_of_this_container() -> None:
    """The command names this container, its archive and the moment, and mounts what the major version needs."""
    (run,) = [each.command for each in _picked("10 hours ago").ways[0].steps if "docker run" in each.command]
    assert (
        "docker run --detach --name copy --volumes-from 0123456789ab:ro --volume copy:/var/lib/postgresql/data "
        "--env RESTORE_ARCHIVE_URL=file:///archive --env RESTORE_ARCHIVE_TOOL=pgbackrest --env RESTORE_FROM=LATEST "
        "--env RESTORE_TARGET_TIME=2026-11-29T00:00:00+00:00"
    ).split() == shlex.split(run.replace("\\\n", " "))[:-1]
    assert "--volumes-from db:ro" in _picked("10 hours ago", host="my.host").ways[0].steps[1].command


def test_after_the_last_segment() -> None:
    """While nothing is written, now can be restored, but no WAL reaches it: a target would be refused."""
    seen = watched.well()
    assert seen.window is not None
    idle = seen._replace(window=seen.window._replace(end=NOW))
    found = _picked("1 second ago", idle)
    assert "the restore goes to the end of the archive" in found.words
    commands = " ".join(step.command for way in found.ways for step in way.steps)
    assert [] == [each for each in ("TARGET", "--target-time", "ARCHIVE_FORK") if each in commands]
    assert "RESTORE_FROM=LATEST" in commands


def test_the_volume_of_a_newer_major() -> None:
    """Since PostgreSQL 18, the volume is mounted one folder higher."""
    seen = watched.well()
    assert seen.server is not None
    newer = seen._replace(server=seen.server._replace(version="18.0"))
    assert "--volume copy:/var/lib/postgresql \\" in _picked("10 hours ago", newer).ways[0].steps[1].command


def test_a_hostile_address() -> None:
    """An archive's address is one word of the command, whatever it contains."""
    seen = watched.well()
    assert seen.archive is not None
    hostile = seen._replace(archive=seen.archive._replace(url="file:///a b; reboot"))
    command = _picked("10 hours ago", hostile).ways[0].steps[1].command
    assert "RESTORE_ARCHIVE_URL=file:///a b; reboot" in shlex.split(command.replace("\\\n", " "))
