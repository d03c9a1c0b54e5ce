"""Which refused starts people hear of, and what is remembered."""

from __future__ import annotations

import json
import re

import pytest

from entrypoint.errors import Problem
from entrypoint.noted import refusals
from entrypoint.noted.refusals import AGAIN, MOST, NEWS, RETRY, Refusal

START = 1_000_000.0


def _run(times: list[float], reasons: str, *, taken: bool = True) -> tuple[tuple[Refusal, ...], str]:
    """Refuse a start for a reason at each of these times; return what is known, and what was reported."""
    known: tuple[Refusal, ...] = ()
    sent = ""
    for at, reason in zip(times, reasons, strict=True):
        known, due = refusals.note(known, reason, f"it is {reason}", START + at)
        if due:
            sent += reason
            known = refusals.heard(known, reason) if taken else known
    return known, sent


def test_retries_are_no_news() -> None:
    """Each reason is reported once, at its first time, however often and in whatever order they occur."""
    known, sent = _run([0, 1, 2, 5, 60, 3600, AGAIN - 1], "aabbaba")
    assert "ab" == sent
    assert {"a": 4, "b": 3} == {each.reason: each.times for each in known}
    assert "7 starts were refused, the last one: it is a" == refusals.summary(known)


def test_a_day_later() -> None:
    """The same reason is reported again, once."""
    assert "aa" == _run([0, 10, AGAIN, AGAIN + 10], "aaaa")[1]


def test_nobody_has_taken_it() -> None:
    """It is tried again after a minute, not by each retry."""
    assert "aaa" == _run([0, 10, RETRY, RETRY + 10, 2 * RETRY], "aaaaa", taken=False)[1]


def test_a_clock_that_was_set_back() -> None:
    """It silences nothing."""
    assert "aa" == _run([0, -AGAIN], "aa")[1]


def test_reasons_without_end() -> None:
    """If each start has another reason, there are some messages a day, and the file stays small."""
    reasons = "".join(chr(0x100 + number) for number in range(200))
    known, sent = _run([*map(float, range(200))], reasons)
    assert (NEWS, MOST) == (len(sent), len(known))
    assert MOST == refusals.write(known).count("\n")


def test_numbers_are_no_reason() -> None:
    """A process ID or a size makes no other reason; another code or another text does."""

    def digest(what: str, code: int = 1) -> str:
        return refusals.digest([Problem(what, "hint", code)])

    assert digest("pid 17 runs") == digest("pid 4711 runs")
    assert 3 == len({digest("pid 17 runs"), digest("pid 17 runs", 12), digest("it runs")})


def test_the_file() -> None:
    """What is written is read again; anything else is no record."""
    known = _run([0, 1, 2], "aba")[0]
    text = refusals.write(known)
    assert known == refusals.parse(text)
    rows = [json.loads(line) for line in text.splitlines()]
    for name, value in (("reason", "a b"), ("reason", 1), ("first", "x"), ("times", True), ("last", 1e300)):
        with pytest.raises(ValueError, match=r"."):
            refusals.parse(json.dumps({**rows[0], name: value}))
    for wrong in ("{}", "[]", "1", "\x00", "[" * 10000, text.replace("{", "")):
        with pytest.raises(ValueError, match=r"."):
            refusals.parse(wrong)
    assert () == refusals.parse("")


def test_two_files() -> None:
    """A reason in both is counted once, as the first one says."""
    ours, more = _run([0, 1], "aa")[0], _run([5, 6], "ab")[0]
    assert [("b", 1), ("a", 2)] == [(each.reason, each.times) for each in refusals.join(ours, more)]


def test_one_start() -> None:
    """It is one in words."""
    assert re.fullmatch("1 start was refused: it is a", refusals.summary(_run([0], "a")[0]))
