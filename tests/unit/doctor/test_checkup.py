"""The table of checks, and how they run."""

from __future__ import annotations

import http.server
import json
import threading
import time

import pytest
from click.testing import CliRunner

from entrypoint.cli.doctor import doctor
from entrypoint.doctor import checkup
from entrypoint.doctor.checkup import CHECKS
from entrypoint.doctor.look import archive, memory
from entrypoint.doctor.sight import ALWAYS, Check, Need, Sight
from entrypoint.errors import Failure, Problem
from entrypoint.finding import ERROR, OK, WARNING, Finding, error, ok, warning
from repository import REPOSITORY


def _raise(bug: Exception) -> list[Finding]:
    raise bug


def _check(name: str, bug: Exception | None = None, need: Need = ALWAYS) -> Check:
    return Check(name, "why", "at", lambda _: [ok("well")] if bug is None else _raise(bug), need)


@pytest.fixture
def sight() -> Sight:
    """A sight without any evidence."""
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


def test_a_check_that_raises_does_not_hide_the_others(monkeypatch: pytest.MonkeyPatch, sight: Sight) -> None:
    """A Failure becomes its problems, and a bug becomes an error of that check."""
    refused = Failure(Problem("refused", "hint"), Problem("twice", "hint"))
    found = _made(monkeypatch, sight, _check("a", refused), _check("b", KeyError("x")), _check("c"))
    assert [
        f"a {ERROR}: refused",
        f"a {ERROR}: twice",
        f"b {ERROR}: the check itself failed: KeyError: 'x'",
        f"c {OK}: well",
    ] == found


def test_a_check_without_what_it_needs(monkeypatch: pytest.MonkeyPatch, sight: Sight) -> None:
    """Such a check is silent, unless it was requested by name."""
    need = Need(lambda _: False, "no server runs")
    assert [] == _made(monkeypatch, sight, _check("a", need=need))
    expected = [f"a {WARNING}: not looked at: no server runs"]
    assert expected == _made(monkeypatch, sight, _check("a", need=need), _check("b"), names=("a",))


def test_a_need_that_raises(monkeypatch: pytest.MonkeyPatch, sight: Sight) -> None:
    """An error while the need is evaluated is an error of that check only."""

    def fails(_: Sight) -> bool:
        raise OSError("gone")

    found = _made(monkeypatch, sight, _check("a", need=Need(fails, "")), _check("b"))
    assert [f"a {ERROR}: the check itself failed: OSError: gone", f"b {OK}: well"] == found


def test_names_are_unique() -> None:
    """A name selects one check."""
    names = [check.name for check in CHECKS]
    assert len(set(names)) == len(names)


def test_findings_name_the_page_of_their_check(monkeypatch: pytest.MonkeyPatch, sight: Sight) -> None:
    """A finding without a page gets its check's page, unless all is well."""
    given = [ok("well"), warning("bad", "hint"), error("worse", "hint", "fix-archiving")]
    check = Check("a", "why", "at", lambda _: given, ALWAYS, "check-health")
    monkeypatch.setattr(checkup, "CHECKS", (check,))
    assert ["", "check-health", "fix-archiving"] == [told.finding.docs for told in checkup.make(sight)]


def test_each_check_names_a_page_that_exists() -> None:
    """The page of a check is a file in docs/how-to/."""
    pages = {path.stem for path in (REPOSITORY / "docs/how-to").glob("*.md")}
    assert {check.docs for check in CHECKS} - {""} <= pages


@pytest.mark.parametrize("options", [["slots"], ["slots", "--json"]])
def test_an_explanation_names_the_page(options: list[str]) -> None:
    """`entrypoint doctor --explain` prints the page of a check, as text and as JSON."""
    shown = CliRunner().invoke(doctor, ["--explain", *options]).output
    assert (
        '"docs": "when-the-disk-fills"' if "--json" in options else "\n  docs: when-the-disk-fills\n"
    ) in shown


@pytest.mark.parametrize(
    ("found", "summary"),
    [
        ([], "1 check: all is well"),
        ([warning("bad", "hint")], "2 checks: 1 warning"),
        (
            [error("worse", "hint"), error("worst", "hint"), warning("bad", "hint")],
            "2 checks: 2 errors, 1 warning",
        ),
    ],
)
def test_the_last_line_sums_up(
    monkeypatch: pytest.MonkeyPatch, sight: Sight, found: list[Finding], summary: str
) -> None:
    """Doctor's text ends with how many checks were made and what they found; its JSON holds findings only."""
    checks = [_check("a"), *([Check("b", "why", "at", lambda _: found, ALWAYS)] if found else [])]
    monkeypatch.setattr(checkup, "CHECKS", checks)
    monkeypatch.setattr("entrypoint.cli.doctor.Sight", lambda *_: sight)
    assert summary == CliRunner().invoke(doctor, []).output.splitlines()[-1]
    assert 1 + len(found) == len(json.loads(CliRunner().invoke(doctor, ["--json"]).output))


@pytest.mark.parametrize("ahead", [0, 100, -1000])
def test_the_clock_of_a_web_server(ahead: int) -> None:
    """Every answer has a date, even one that refuses the request."""

    class Refusing(http.server.BaseHTTPRequestHandler):
        def date_time_string(self, timestamp: float | None = None) -> str:
            return super().date_time_string((timestamp or time.time()) + ahead)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        told = archive.seconds_ahead(f"http://127.0.0.1:{server.server_port}")
    assert abs(told - ahead) < 2


def test_a_check_for_which_no_time_is_left(monkeypatch: pytest.MonkeyPatch, sight: Sight) -> None:
    """No call of the archiver starts in the last seconds: it would time out and look like a fault."""
    check = Check("way back", "why", "what", lambda each: [ok("long" if each.patience > 40 else "")], ALWAYS)
    vars(sight)["_deadline"] = time.monotonic() + 60
    assert ["way back ok: long"] == _made(monkeypatch, sight, check)
    vars(sight)["_deadline"] = time.monotonic() + 4
    (told,) = _made(monkeypatch, sight, check)
    assert told.startswith("way back warning: not looked at within 30 s")
    (late,) = checkup.make(sight)
    assert "entrypoint doctor 'way back'" == late.finding.hint


@pytest.mark.parametrize(
    ("planned", "level"),
    [({"jit": "on"}, WARNING), ({"jit": "TRUE"}, WARNING), ({"jit": "off"}, OK), ({}, OK)],
)
def test_jit_on_the_command_line(
    monkeypatch: pytest.MonkeyPatch, sight: Sight, planned: dict[str, str], level: str
) -> None:
    """Whoever turns it on, also by an argument of the server, hears that the image lacks LLVM."""
    monkeypatch.setattr(memory, "find_program", lambda *_: "/nowhere/bin/postgres")
    sight.planned = planned
    (check,) = [each for each in memory.CHECKS if each.name == "jit"]
    assert [level] == [each.level for each in check.look(sight)]
