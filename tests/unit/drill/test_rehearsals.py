"""When the next drill is due."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from entrypoint.backup.schedule import Schedule
from entrypoint.drill import rehearsals
from entrypoint.drill.drills import Drill
from unit import made

if TYPE_CHECKING:
    from entrypoint.backup.journal import Outcome

YEARLY = "0 0 1 1 *"


def _due(folder: Path, *noted: tuple[float, Outcome]) -> float:
    """Return the seconds until an hourly drill is due, after drills at these hours from now."""
    data = str(made.cluster(folder))
    os.utime(f"{data}/PG_VERSION", (time.time() - 86400,) * 2)
    for hours, outcome in noted:
        when = datetime.now(UTC) + timedelta(hours=hours)
        rehearsals.DRILLS.note(data, Drill(when.isoformat(), "schedule", outcome=outcome))
    return rehearsals.due_by(data, Schedule("0 * * * *", "UTC", 0, "")) - time.time()


@pytest.mark.parametrize("noted", [(), ((-30, "ok"),), ((-30, "failed"),), ((48, "ok"),)])
def test_a_drill_is_due(tmp_path: Path, noted: tuple[tuple[float, Outcome], ...]) -> None:
    """The time counts from the cluster's creation or the last drill, unless that drill is in the future."""
    assert _due(tmp_path, *noted) <= 0


@pytest.mark.parametrize("outcome", ["ok", "failed"])
def test_a_drill_that_gave_its_answer_is_not_due(tmp_path: Path, outcome: Outcome) -> None:
    """A failed drill is not tried again before its time, either."""
    assert 0 < _due(tmp_path, (0, outcome)) <= 3600


def _context(settings: object) -> Any:
    return SimpleNamespace(settings=settings)


def test_nothing_is_overdue_without_a_schedule(tmp_path: Path) -> None:
    """Nothing is overdue in a data folder without a cluster, either."""
    plain = made.settings({"PGDATA": str(tmp_path)})
    assert not rehearsals.overdue(_context(plain))
    planned = plain._replace(drill=plain.drill._replace(schedule=YEARLY))
    assert not rehearsals.overdue(_context(planned))
