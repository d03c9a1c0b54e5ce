"""Whether people can sleep follows from the conditions, the phase, and the age of the look."""

from __future__ import annotations

import pytest

import watched
from entrypoint.noted.seen import Seen
from entrypoint.web import verdict
from watched import NOW

WELL = watched.well()
BROKEN = watched.broken()
ONE = BROKEN._replace(conditions=BROKEN.conditions[:1])
TWO = BROKEN._replace(conditions=BROKEN.conditions[1:] * 2)


@pytest.mark.parametrize(
    ("seen", "phase", "now", "state", "title"),
    [
        (WELL, "serving", NOW, "ok", "You can sleep: all is well"),
        (ONE, "serving", NOW, "warning", "You can sleep, but look at one warning tomorrow"),
        (BROKEN, "serving", NOW, "error", "Do not sleep yet: one thing is wrong"),
        (TWO, "stopping", NOW, "error", "Do not sleep yet: 2 things are wrong"),
        (WELL, "recovery", NOW, "unknown", "The server is recovering"),
        (WELL, "", NOW, "unknown", "Nothing is known of the server (phase: none)"),
        (WELL, "serving", NOW + 600, "unknown", "The last look was 10 minutes ago"),
        (WELL._replace(server=None), "serving", NOW, "unknown", "Nothing is known of the server"),
        (WELL._replace(whole_at=None), "serving", NOW, "unknown", "Not all checks have been made yet"),
        (None, "serving", NOW, "unknown", "The first look is not finished"),
    ],
)
def test_the_verdict(seen: Seen | None, phase: str, now: float, state: str, title: str) -> None:
    """Only a recent look at everything that found nothing wrong lets people sleep without a thought."""
    found = verdict.judge(seen, phase, now, 60)
    assert (state, title) == (found.state, found.title)


def test_no_client_can_write() -> None:
    """Of several errors, the page says this one first: people see it as an outage."""
    full = TWO.conditions[0]._replace(
        check="full disk", found="transactions are read-only since 1:00\nslot a"
    )
    found = verdict.judge(TWO._replace(conditions=(*TWO.conditions, full)), "serving", NOW, 60)
    assert "full disk: transactions are read-only since 1:00" == found.text
