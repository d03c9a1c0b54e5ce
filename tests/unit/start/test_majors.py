"""The ways out of a start on data of another major version."""

from __future__ import annotations

import pytest

from entrypoint.start import majors


@pytest.mark.parametrize(
    ("upgrades", "standby", "words"),
    [
        (False, False, "load a pg_dumpall of the old server"),
        (False, False, 'make image MAJOR=17 UPGRADE_FROM="15"'),
        (True, False, "POSTGRES_UPGRADE=on"),
        (True, True, "start this standby on an empty volume"),
        (False, True, "start this standby on an empty volume"),
    ],
)
def test_an_older_cluster(upgrades: bool, standby: bool, words: str) -> None:
    """Nothing was changed, and a standby is never upgraded: its primary is."""
    found = majors.wrong_major("15", "17", upgrades=upgrades, standby=standby)
    assert words in found.hint
    assert "nothing was changed" in found.hint
    assert "upgrade-to-a-newer-major" == found.docs


def test_a_newer_cluster() -> None:
    """There is no way back to an older major version, for a standby neither."""
    assert "cannot go back" in majors.wrong_major("17", "15", upgrades=True, standby=True).hint
