"""Requests in the forms that healthchecks.io and Uptime Kuma expect, and what they report."""

from __future__ import annotations

import pytest

from entrypoint.backup.runs import Run
from entrypoint.drill.drills import Drill
from entrypoint.notify import pings
from entrypoint.notify.outbox import Mark
from entrypoint.notify.pings import FAILURE, START, SUCCESS

RUN = Run("full", "2027-01-15T03:00:00+00:00", "schedule", "ok", 60.0, 1024**2, "20270115-030000F")
NEVER = Mark("", ended=True)
BEGUN = Mark(RUN.started, ended=False)


@pytest.mark.parametrize(
    ("url", "signal", "expected"),
    [
        ("https://hc-ping.com/uuid", START, "https://hc-ping.com/uuid/start"),
        ("https://hc-ping.com/uuid/", SUCCESS, "https://hc-ping.com/uuid"),
        ("https://hc-ping.com/key/slug?create=1", FAILURE, "https://hc-ping.com/key/slug/fail?create=1"),
        (
            "https://k.example.com/api/push/abc",
            SUCCESS,
            "https://k.example.com/api/push/abc?status=up&msg=a+%26+b",
        ),
        (
            "https://k.example.com/api/push/abc?status=up&msg=OK&ping=",
            FAILURE,
            "https://k.example.com/api/push/abc?status=down&msg=a+%26+b",
        ),
    ],
)
def test_addresses(url: str, signal: pings.Signal, expected: str) -> None:
    """The pasted address becomes that of the signal; the query of Uptime Kuma's is replaced."""
    made = pings.request(url, signal, "a & b")
    assert made is not None
    assert (expected, None if "/api/push/" in url else "a & b") == tuple(made)


def test_a_start_at_uptime_kuma() -> None:
    """Uptime Kuma has no such signal, so nothing is sent; the end has the duration in milliseconds."""
    url = "https://k.example.com/api/push/abc"
    assert pings.request(url, START, "") is None
    made = pings.request(url, SUCCESS, "fine", seconds=1.5)
    assert made is not None
    assert made.url.endswith("&ping=1500")


def test_a_pair() -> None:
    """Start and end of a run have the same UUID, and another run has another one."""
    ids = [
        made.url.partition("rid=")[2]
        for signal, run in ((START, "a"), (SUCCESS, "a"), (SUCCESS, "b"))
        if (made := pings.request("https://hc-ping.com/uuid", signal, "", run=run)) is not None
    ]
    assert [36, 36, 36] == [len(each) for each in ids]
    assert ids[0] == ids[1] != ids[2]


def test_long_reports() -> None:
    """A body stays below what healthchecks.io keeps, and an address below what servers take."""
    made = [pings.request(url, FAILURE, "x" * 200_000) for url in ("https://h/u", "https://k/api/push/t")]
    assert [True, True] == [each is not None and len(each.url + (each.body or "")) < 25_000 for each in made]
    assert made[1] is not None
    assert len(made[1].url) < 1000


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, SUCCESS),
        ({"outcome": "failed", "words": "no space"}, FAILURE),
        ({"outcome": "interrupted"}, FAILURE),
        ({"outcome": "damaged"}, FAILURE),
        ({"holes": (("A", "C"),)}, FAILURE),
        ({"broken": {"x": "a file is missing"}}, FAILURE),
    ],
)
def test_good_and_bad_backups(change: dict[str, object], expected: pings.Signal) -> None:
    """A backup is good only if it is whole and nothing is missing in the archive."""
    found = pings.due([RUN._replace(**change)], BEGUN)[-1]  # type: ignore[arg-type]
    assert (Mark(RUN.started, ended=True), expected) == found[:2]
    assert "backup: 20270115-030000F, 1.0 MiB" in found.body


def test_what_a_stop_has_ended() -> None:
    """A run that a stop has ended is neither good nor bad: nothing is reported."""
    stopped = RUN._replace(outcome="stopped")
    assert [[], []] == [pings.due([stopped], mark) for mark in (NEVER, BEGUN)]


def test_each_is_reported_once() -> None:
    """After the mark of a report, only what is newer is due, whatever the order of the journal."""
    running = RUN._replace(outcome="running")
    (start,) = pings.due([running], NEVER)
    assert (START, BEGUN, False) == (start.signal, start.mark, start.is_late)
    assert [] == pings.due([running], start.mark)
    (end,) = pings.due([RUN], start.mark)
    assert [] == pings.due([RUN], end.mark)
    later = RUN._replace(started="2027-01-16T03:00:00+00:00", outcome="failed")
    assert [START, FAILURE] == [each.signal for each in pings.due([RUN, later], end.mark)]
    assert [SUCCESS, START, FAILURE] == [each.signal for each in pings.due([RUN, later], start.mark)]


def test_a_run_between_two_looks() -> None:
    """A run that has ended before anybody saw it has a begin too, which says that it is late."""
    begin, end = pings.due([RUN], NEVER)
    assert (START, BEGUN, True) == (begin.signal, begin.mark, begin.is_late)
    assert (
        f"a full backup has begun at {RUN.started}; it has ended since, so this report is late" == begin.body
    )
    assert (SUCCESS, Mark(RUN.started, ended=True), False) == (end.signal, end.mark, end.is_late)
    assert [end] == pings.due([RUN], begin.mark)


def test_the_first_look() -> None:
    """Who asks for pings today gets no report of yesterday's backup, but of the one that is running."""
    running = RUN._replace(started="2027-01-16T03:00:00+00:00", outcome="running")
    mark = pings.first_mark([RUN, running])
    assert [START] == [each.signal for each in pings.due([RUN, running], mark)]


def test_the_report_of_a_drill() -> None:
    """It says what failed, without secrets."""
    drill = Drill("2027-01-15T03:00:00+00:00", "schedule", "failed", words="no access: password=pa55")
    found = pings.due([drill], NEVER)[-1]
    expected = "a drill failed after 0 s\nbegun at 2027-01-15T03:00:00+00:00\nno access: password=***"
    assert expected == found.body
