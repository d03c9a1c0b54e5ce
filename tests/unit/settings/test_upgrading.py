"""Whether and how a start upgrades."""

from __future__ import annotations

import pytest

from entrypoint.settings.upgrading import Upgrade
from unit import made


def test_without_the_switch_nothing_is_upgraded() -> None:
    """UPGRADE_MODE alone may be another program's, whatever its value."""
    assert made.settings({"UPGRADE_MODE": "major"}).upgrade is None


def test_the_switch_and_the_mode() -> None:
    """The defaults keep a way back."""
    on = {"POSTGRES_UPGRADE": "on"}
    assert Upgrade(asked=True, mode="auto", without_backup=False) == made.settings(on).upgrade
    more = {**on, "UPGRADE_MODE": "link", "UPGRADE_WITHOUT_BACKUP": "on"}
    assert Upgrade(asked=True, mode="link", without_backup=True) == made.settings(more).upgrade


@pytest.mark.parametrize("name", ["POSTGRES_UPGRADE", "UPGRADE_MODE", "UPGRADE_WITHOUT_BACKUP"])
def test_a_wrong_value_is_a_mistake(name: str) -> None:
    """The message names the values."""
    _, problems = made.load({"POSTGRES_UPGRADE": "on", name: "perhaps"})
    assert [f"{name}=perhaps is not a valid value"] == [each.what for each in problems]
