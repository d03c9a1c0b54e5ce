"""Which major version's backups a restore uses."""

from __future__ import annotations

from datetime import datetime

import pytest

from entrypoint.archivers.terms import Backup
from entrypoint.restore import whereabouts


def _backup(day: int, major: int) -> Backup:
    at = f"2026-11-{day:02}T03:00:00+00:00"
    return Backup(
        f"base_{day}", "full", at, at, 1, "0/1", "0/1", permanent=False, system_identifier="1", major=major
    )


LISTED = [_backup(1, 15), _backup(3, 15), _backup(5, 17), _backup(6, 15)]


@pytest.mark.parametrize(
    ("name", "at", "major"),
    [
        ("LATEST", None, 15),
        ("LATEST", 2, 15),
        ("LATEST", 5, 17),
        ("LATEST", 6, 15),
        ("base_1", None, 15),
        ("base_5", 2, 17),
    ],
)
def test_the_major_version_that_fits(name: str, at: int | None, major: int) -> None:
    """It is the named backup's, or that of the last backup before the moment, or else the newest one's.

    The last one is of 15 again: the upgrade was undone.
    """
    moment = datetime.fromisoformat(f"2026-11-{at:02}T12:00:00+00:00") if at else None
    assert major == whereabouts.fitting(LISTED, name, moment)


def test_without_a_backup_no_major_version_fits() -> None:
    """The plan says what is wrong."""
    assert 0 == whereabouts.fitting([], "LATEST", None)


def test_newer_backups_of_another_major_version_are_named(capfd: pytest.CaptureFixture[str]) -> None:
    """An image of 17 restores the cluster that was abandoned when its upgrade was undone."""
    whereabouts.warn_of_newer(LISTED[2:3], LISTED[:3])
    assert "" == capfd.readouterr().err
    whereabouts.warn_of_newer(LISTED[2:3], LISTED)
    assert (
        "the newest backup, base_6 of 2026-11-06T03:00:00+00:00, is of PostgreSQL 15"
        in capfd.readouterr().err
    )


@pytest.mark.parametrize(
    ("at", "place"), [(None, "second"), (2, "first"), (4, "first"), (6, "second"), (1, "first")]
)
def test_the_place_of_a_moment(at: int | None, place: str) -> None:
    """After an upgrade that was undone and repeated, two places have backups of one major version."""
    listed = {"": [_backup(1, 15)], "first": [_backup(2, 17)], "second": [_backup(5, 17)]}
    moment = datetime.fromisoformat(f"2026-11-{at:02}T12:00:00+00:00") if at else None
    if at == 1:
        del listed["second"]  # nothing is before the moment: the plan refuses it
    assert place == whereabouts.choose(listed, "LATEST", 17, moment)
