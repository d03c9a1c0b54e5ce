"""What the control file says about a cluster."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from entrypoint.server import control_file
from unit import made


def _context(folder: Path, checkpoint: int, recovery: int) -> Any:
    """Return a context whose control file has these timelines: of the checkpoint and the end of recovery."""
    text = (
        made.sample("pg_controldata.txt")
        .replace("TimeLineID:       1", f"TimeLineID:       {checkpoint}")
        .replace("loc's timeline:   0", f"loc's timeline:   {recovery}")
    )
    children = SimpleNamespace(output=lambda *_: (0, text))
    settings = SimpleNamespace(data_folder=str(made.cluster(folder)))
    return SimpleNamespace(settings=settings, environment={}, children=children)


@pytest.mark.parametrize(
    ("checkpoint", "recovery", "timeline", "awaited"),
    [(1, 0, 1, False), (1, 2, 2, True), (2, 0, 2, False), (2, 2, 2, False)],
)
def test_the_timeline_after_a_promotion(
    tmp_path: Path, checkpoint: int, recovery: int, timeline: int, *, awaited: bool
) -> None:
    """The end of recovery shows the new timeline until the checkpoint after the promotion has ended."""
    context = _context(tmp_path, checkpoint, recovery)
    assert timeline == control_file.timeline(context)
    assert awaited == control_file.awaits_checkpoint(context)


def test_another_majors_program_is_asked_itself(tmp_path: Path) -> None:
    """An image for upgrades has several: one reads wrong values of another one's cluster."""
    new, old = _context(tmp_path, 7, 0), _context(tmp_path, 1, 0)
    old.environment = {"PATH": "/usr/lib/postgresql/15/bin"}
    assert [7, 1, 7] == [control_file.timeline(each) for each in (new, old, new)]


def test_without_a_cluster(tmp_path: Path) -> None:
    """There is no timeline, and no checkpoint is awaited."""
    context: Any = SimpleNamespace(settings=SimpleNamespace(data_folder=str(tmp_path)))
    assert 0 == control_file.timeline(context)
    assert not control_file.awaits_checkpoint(context)
