"""The table of checks, and how they are made."""

from __future__ import annotations

import http.server
import threading
import time

import pytest

from entrypoint.doctor import checkup
from entrypoint.doctor.checkup import CHECKS
from entrypoint.doctor.look import archive
from entrypoint.doctor.sight import ALWAYS, Check, Need, Sight
from entrypoint.errors import Failure, Problem
from entrypoint.finding import ERROR, OK, WARNING, Finding, ok


def _raise(error: Exception) -> list[Finding]:
    raise error


def _check(name: str, error: Exception | None = None, need: Need = ALWAYS) -> Check:
    return Check(name, "why", "at", lambda _: [ok("well")] if error is None else _raise(error), need)


@pytest.fixture
def sight() -> Sight:
    """What the checks below do not look at."""
    made = Sight.__new__(Sight)
    made.say = lambda _: None
    return made


def _made(
    monkeypatch: pytest.MonkeyPatch, sight: Sight, *checks: Check, names: tuple[str, ...] = ()
) -> list[str]:
    monkeypatch.setattr(checkup, "CHECKS", checks)
    return [
        f"{told.check.name} {told.finding.level}: {told.finding.found}" for told in checkup.make(sight, names)
    ]


def test_one_that_raises_does_not_hide_the_others(monkeypatch: pytest.MonkeyPatch, sight: Sight) -> None:
    """A refusal is told as such, a bug as an error of that check."""
    refused = Failure(Problem("refused", "hint"), Problem("twice", "hint"))
    found = _made(monkeypatch, sight, _check("a", refused), _check("b", KeyError("x")), _check("c"))
    assert [
        f"a {ERROR}: refused",
        f"a {ERROR}: twice",
        f"b {ERROR}: the check itself failed: KeyError: 'x'",
        f"c {OK}: well",
    ] == found


def test_what_is_needed_is_missing(monkeypatch: pytest.MonkeyPatch, sight: Sight) -> None:
    """Such a check says nothing, but where it was asked for by name."""
    need = Need(lambda _: False, "no server runs")
    assert [] == _made(monkeypatch, sight, _check("a", need=need))
    expected = [f"a {WARNING}: not looked at: no server runs"]
    assert expected == _made(monkeypatch, sight, _check("a", need=need), _check("b"), names=("a",))


def test_a_need_that_raises(monkeypatch: pytest.MonkeyPatch, sight: Sight) -> None:
    """Also what a check needs is looked at on its own account."""

    def fails(_: Sight) -> bool:
        raise OSError("gone")

    found = _made(monkeypatch, sight, _check("a", need=Need(fails, "")), _check("b"))
    assert [f"a {ERROR}: the check itself failed: OSError: gone", f"b {OK}: well"] == found


def test_names_are_unique() -> None:
    """A check can be called by its name."""
    names = [check.name for check in CHECKS]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("ahead", [0, 100, -1000])
def test_the_clock_of_a_web_server(ahead: int) -> None:
    """Its date is that of any answer, also of one that refuses the request."""

    class Refusing(http.server.BaseHTTPRequestHandler):
        def date_time_string(self, timestamp: float | None = None) -> str:
            return super().date_time_string((timestamp or time.time()) + ahead)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        told = archive.seconds_ahead(f"http://127.0.0.1:{server.server_port}")
    assert abs(told - ahead) < 2


def test_what_the_archiver_left_no_time_for(monkeypatch: pytest.MonkeyPatch, sight: Sight) -> None:
    """A call is not begun in the last seconds: that it then did not answer would be told as a fault."""
    check = Check("way back", "why", "what", lambda each: [ok("long" if each.patience > 40 else "")], ALWAYS)
    vars(sight)["_deadline"] = time.monotonic() + 60
    assert ["way back ok: long"] == _made(monkeypatch, sight, check)
    vars(sight)["_deadline"] = time.monotonic() + 4
    (told,) = _made(monkeypatch, sight, check)
    assert told.startswith("way back warning: not looked at within 30 s")
    (late,) = checkup.make(sight)
    assert "entrypoint doctor 'way back'" == late.finding.hint
