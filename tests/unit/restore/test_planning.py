"""What a restore will do; no wording of a message decides that."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from entrypoint.archive.opened import OpenedArchive
from entrypoint.archivers.terms import Backup
from entrypoint.errors import Failure, Problem
from entrypoint.postgres import segments
from entrypoint.restore import planning
from entrypoint.restore.choose import Wal
from entrypoint.settings.restoring import Request

if TYPE_CHECKING:
    from entrypoint.settings.restoring import Kind

SIZE = 16 * 1024**2
BACKUP = Backup(
    "base",
    "full",
    "2026-11-22T12:00:00+00:00",
    "2026-11-22T12:00:00+00:00",
    1,
    f"0/{2 * SIZE + 40:X}",
    f"0/{2 * SIZE + 256:X}",
    permanent=False,
    system_identifier="1",
    timeline=1,
)
WHOLE = Wal(1, (), frozenset(segments.name(1, count, SIZE) for count in range(2, 9)), SIZE, None)
TORN = WHOLE._replace(names=WHOLE.names - {segments.name(1, 5, SIZE)})


def _look(
    folder: Path, monkeypatch: pytest.MonkeyPatch, seen: list[Wal], request: Request
) -> tuple[planning.Plan, int]:
    """Plan a restore from an archive that shows this WAL, one look after the other; also return the pauses."""
    pauses: list[float] = []
    monkeypatch.setattr(planning, "storage_problem", lambda *_, **__: None)
    monkeypatch.setattr(planning, "_candidates", lambda *_, **__: [BACKUP])
    monkeypatch.setattr(planning, "_read_wal", lambda *_: seen.pop(0))
    monkeypatch.setattr(planning, "worded", lambda *_: Problem("said in another way", "repair it"))
    context: Any = SimpleNamespace(
        children=SimpleNamespace(pause=pauses.append), settings=SimpleNamespace(data_folder=str(folder))
    )
    archive: Any = None
    return planning.look_at(OpenedArchive(context, archive), request), len(pauses)


def test_a_gap_is_checked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Segments from several processes arrive in any order; the wording of the message does not matter."""
    plan, pauses = _look(tmp_path, monkeypatch, [TORN, TORN, WHOLE], Request("LATEST"))
    assert ("base", None, 2) == (plan.choice.backup.name, plan.choice.hole, pauses)


def test_a_target_after_the_end_is_refused_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting does not help here, and the wording of the message does not matter."""
    seen = [WHOLE, WHOLE]
    with pytest.raises(Failure) as refused:
        _look(tmp_path, monkeypatch, seen, Request("LATEST", "lsn", f"0/{9 * SIZE:X}"))
    assert ("said in another way", 1) == (refused.value.problems[0].what, len(seen))


@pytest.mark.parametrize(("kind", "asked"), [("", 0), ("time", 0), ("lsn", 0), ("name", 1), ("xid", 1)])
def test_only_a_target_without_a_known_place_asks_the_storage(kind: Kind, asked: int) -> None:
    """A replay that an outage has ended says so at once, without another wait for the storage."""
    calls = []

    def list_backups() -> list[Backup]:
        calls.append(kind)
        raise Failure(Problem("no answer", "wait"))

    source: Any = SimpleNamespace(list_backups=list_backups)
    assert planning.missed(source, Request("base", kind, "900")) is None
    assert asked == len(calls)
