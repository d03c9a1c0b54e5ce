"""`entrypoint status --follow` without a terminal, and what status says about the disk."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from entrypoint.cli import status
from entrypoint.errors import Stopped
from entrypoint.pid1.status import Known
from entrypoint.volume import room
from unit import made

if TYPE_CHECKING:
    from entrypoint.settings.serving import WhenFull
    from entrypoint.volume.room import Level


def _lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *, as_json: bool
) -> list[str]:
    """Return what --follow prints while a server starts, serves, and gets sessions, until Ctrl-C."""
    looks = [("boot", 0), ("serving", 0), ("serving", 5), ("serving", 7), ("stopping", 0)]
    seen = [
        status.Seen(
            {"phase": phase, "shutdown": None, "role": None, "sessions": sessions},
            [],
            None,
            None,
            None,
            None,
            "",
        )
        for phase, sessions in looks
    ]
    monkeypatch.setattr(status, "_look", lambda *_, **__: seen.pop(0))

    def pause(_: float) -> None:
        if not seen:
            raise Stopped(2)

    context = SimpleNamespace(children=SimpleNamespace(pause=pause), settings=made.settings({}))
    with pytest.raises(Stopped):
        status._follow(lambda: context, valid=True, as_json=as_json)  # type: ignore[arg-type,return-value]
    return capsys.readouterr().out.splitlines()


def test_each_change_is_a_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A line has its time; the number of sessions changes all the time, and is no change."""
    lines = _lines(monkeypatch, capsys, as_json=False)
    assert ["boot", "serving", "stopping"] == [line.split("  ")[1] for line in lines]


def test_each_change_is_an_object(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With --json a line is an object of its own, with the time."""
    found = [json.loads(line) for line in _lines(monkeypatch, capsys, as_json=True)]
    assert ["boot", "serving", "stopping"] == [each["phase"] for each in found]
    assert {"time", "restorable", "archive"} <= set(found[0])


@pytest.mark.parametrize(
    ("level", "when_full", "expected"),
    [
        (room.NORMAL, "readonly", ""),
        (room.TIGHT, "readonly", "it is filling up, since 2026-11-18T11:06:40+00:00"),
        (room.FULL, "readonly", "writes are refused, since 2026-11-18T11:06:40+00:00"),
        (room.FULL, "drop", "writes are refused, since 2026-11-18T11:06:40+00:00"),
        (room.FULL, "wait", "it is nearly full, since 2026-11-18T11:06:40+00:00"),
    ],
)
def test_a_disk_that_fills(level: Level, when_full: WhenFull, expected: str) -> None:
    """One line says whether clients can write, and who knows more."""
    known = Known("serving", 1, None, 16, {}, level, 1_795_000_000)
    assert expected == status._disk(known, when_full).partition("; see: entrypoint doctor")[0]
