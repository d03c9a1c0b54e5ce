"""`entrypoint status --follow`, where no terminal is."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from entrypoint.cli import status
from entrypoint.errors import Stopped
from unit import made


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
