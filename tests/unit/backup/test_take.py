"""What a backup does before the archiver takes it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from entrypoint.archive.opened import OpenedArchive
from entrypoint.backup import take
from entrypoint.server import control_file, sessions


@pytest.mark.parametrize(("awaited", "expected"), [(False, []), (True, ["CHECKPOINT"])])
def test_the_checkpoint_after_a_promotion_comes_first(
    monkeypatch: pytest.MonkeyPatch, expected: list[str], *, awaited: bool
) -> None:
    """Without it, pgBackRest takes no backup; a server that was not just promoted needs none."""
    asked: list[str] = []
    monkeypatch.setattr(control_file, "awaits_checkpoint", lambda _: awaited)
    monkeypatch.setattr(sessions, "query", lambda _, text, **__: asked.append(text))
    context: Any = SimpleNamespace(settings=SimpleNamespace(backup=SimpleNamespace(timeout=60)))
    archive: Any = None
    take._end_recovery(OpenedArchive(context, archive))
    assert expected == asked
