"""What happened between two looks."""

from __future__ import annotations

from entrypoint.failover.member import Member
from entrypoint.noted import refusals
from entrypoint.noted.ledger import Record
from entrypoint.noted.refusals import Refusal
from entrypoint.noted.seen import Server
from entrypoint.watch import incidents

SERVER = Server("primary", "15.1", "1", 1, 1000.0, 1000.2, (), None, ())

MEMBER = Member("shop", "db1", answers=True)


def _names(record: Record) -> list[tuple[str, str]]:
    return [(each.name, each.level) for each in record.noted.events]


def test_an_upgrade_has_a_begin_and_an_end() -> None:
    """Both are for information: a failed one is a start that was refused."""
    record = incidents.upgraded(incidents.upgrading(Record(), "15", 1.0), "17", 2.0)
    assert [("upgrade", "info")] * 2 == _names(record)
    first, last = (each.found for each in record.noted.events)
    assert "from PostgreSQL 15 has begun" in first
    assert "to PostgreSQL 17 has ended" in last


def test_restarts_by_itself() -> None:
    """The third one within ten minutes is reported; the loop goes unreported after that, until it has ended."""
    record = Record()
    for now in range(0, 3000, 60):
        record = incidents.started(record, now, requested=False)
    assert [("restarts", "error")] == _names(record)
    for now in (3600, 3610, 3620):
        record = incidents.started(record, now, requested=False)
    assert [("restarts", "error")] * 2 == _names(record)


def test_restarts_that_somebody_requested() -> None:
    """They are no incident, however many there are."""
    record = Record()
    for now in range(8):
        record = incidents.started(record, now, requested=True)
    assert [] == _names(record)


def test_a_crash_is_reported_once() -> None:
    """A checkpointer that is younger than the postmaster has followed a crash."""
    record = incidents.answered(Record(), SERVER, 1001.0)
    assert [] == _names(record)
    crashed = SERVER._replace(recovered=1100.0)
    record = incidents.answered(incidents.answered(record, crashed, 1101.0), crashed, 1102.0)
    assert [("crash", "error")] == _names(record)
    restarted = SERVER._replace(started=2000.0, recovered=2000.1)
    record = incidents.answered(record, restarted, 2001.0)
    assert [("crash", "error")] == _names(record), "a restart is no crash"
    record = incidents.answered(record, restarted._replace(recovered=2000.9), 2002.0)
    assert [("crash", "error")] * 2 == _names(record), "it may crash right after its start"


def test_a_crash_before_the_first_look() -> None:
    """It is seen by the start of the checkpointer, but before PostgreSQL 15 a long recovery looks the same."""
    crashed = SERVER._replace(recovered=1010.0)
    assert [("crash", "error")] == _names(incidents.answered(Record(), crashed, 1011.0))
    assert [] == _names(incidents.answered(Record(), crashed._replace(version="14.9"), 1011.0))
    candidate = crashed._replace(version="19rc1 (Debian 19~rc1-1)")
    assert [("crash", "error")] == _names(incidents.answered(Record(), candidate, 1011.0))


def test_a_promotion_is_reported_once() -> None:
    """A standby that has become a primary was promoted, also while the watch did not look."""
    record = incidents.answered(Record(), SERVER._replace(role="standby"), 1.0)
    for now in (2.0, 3.0):
        record = incidents.answered(record, SERVER._replace(timeline=2), now)
    assert [("promotion", "warning")] == _names(record)
    assert "on timeline 2" in record.noted.events[0].found


def test_a_restore_is_reported() -> None:
    """Its end is good news."""
    assert [("restore", "info")] == _names(incidents.restored(Record(), 1.0))


def test_a_start_after_refused_ones() -> None:
    """It ends what their messages have begun, which began with the first of them."""
    known: tuple[Refusal, ...] = ()
    for now in (10.0, 20.0):
        known, _ = refusals.note(known, "digest", "the volume is gone", now)
    (event,) = incidents.accepted(Record(), known, 100.0).noted.events
    assert ("start", "ended", 10.0) == (event.name, event.kind, event.since)
    assert "2 starts were refused: the volume is gone" == event.found


def test_a_fail_over() -> None:
    """The new leader reports it, and the other nodes only log it; the first leader that is seen is no news."""
    record = incidents.led(Record(node="db1"), MEMBER._replace(leader="db2"), 1.0)
    record = incidents.led(record, MEMBER._replace(leader=""), 2.0)
    record = incidents.led(record, MEMBER._replace(leader="db2"), 3.0)
    assert [] == _names(record)
    leads = incidents.led(record, MEMBER._replace(leader="db1", leads=True), 4.0)
    (event,) = leads.noted.events
    assert ("fail-over", "warning", False) == (event.name, event.level, event.elsewhere)
    assert "node db1 leads the cluster shop now, before it was db2" == event.found
    assert leads == incidents.led(leads, MEMBER._replace(leader="db1", leads=True), 5.0)
    follows = incidents.led(record._replace(leader="db1"), MEMBER._replace(leader="db3"), 4.0)
    (event,) = follows.noted.events
    assert ("fail-over", "info", True) == (event.name, event.level, event.elsewhere)
    assert "before it was this one" in event.found


def test_a_promotion_under_patroni() -> None:
    """It is no promotion by a person, whose hint would be wrong."""
    standby = SERVER._replace(role="standby")
    for node, expected in (("", [("promotion", "warning")]), ("db1", [])):
        record = incidents.answered(Record(node=node), standby, 1001.0)
        assert expected == _names(incidents.answered(record, SERVER, 1002.0))
