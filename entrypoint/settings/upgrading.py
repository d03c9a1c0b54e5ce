"""Whether and how a start upgrades a cluster of an older major version; pure."""

from __future__ import annotations

from entrypoint.light import NamedTuple
from entrypoint.settings.fields import Variable, choice

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Literal

    from entrypoint.errors import Problem

    Mode = Literal["auto", "clone", "copy", "link", "swap"]

VARIABLES = (
    Variable(
        "UPGRADE_MODE",
        "auto",
        "How an upgrade makes the new cluster's files: `clone` (shares blocks, needs a filesystem with "
        "reflinks such as xfs or btrfs), `copy`, `link` (fast, copies nothing, but once the new server has "
        "started, the way back is the base backup), or `swap` (as `link`, from 18 on, for many tables). "
        "`auto` is `clone` where it works, else `copy` where there is room.",
    ),
    Variable(
        "UPGRADE_WITHOUT_BACKUP",
        "off",
        "`on`: upgrade although the archive has no base backup of the last two days, or although there is no "
        "archive.",
    ),
)
_ALL = {each.name: each for each in VARIABLES}
MODES: tuple[Mode, ...] = ("auto", "clone", "copy", "link", "swap")


class Upgrade(NamedTuple):
    """How to upgrade a cluster of an older major version."""

    asked: bool
    """A start upgrades the cluster by itself."""
    mode: Mode
    without_backup: bool


def parse(values: Mapping[str, str], switch: Variable) -> tuple[Upgrade, list[Problem]]:
    """Return whether and how to upgrade, and the problems with that; `switch` is POSTGRES_UPGRADE."""
    problems: list[Problem] = []
    asked = choice(values, switch, ("off", "on"), problems) == "on"
    mode = choice(values, _ALL["UPGRADE_MODE"], MODES, problems)
    without = choice(values, _ALL["UPGRADE_WITHOUT_BACKUP"], ("off", "on"), problems) == "on"
    return Upgrade(asked, mode, without), problems
