"""What the watch remembers across restarts."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrypoint.noted import ledger
from entrypoint.noted.conditions import BEGAN, Condition, Event, Noted
from entrypoint.noted.ledger import Record, Start

RECORD = Record(
    Noted(
        (Condition("slots", "error", 1.5, "a\nb", "hint", "page", "why", 1, 2),),
        (Event(7, 2.5, BEGAN, "slots", "error", "a\nb", 1.5, "hint", "page", elsewhere=True),),
        7,
    ),
    (Start(1.0, requested=True), Start(2.0, requested=False)),
    "primary",
    3.25,
    1.25,
    "db1",
    "db2",
)


def test_it_survives_a_round_trip() -> None:
    """Everything that is written is read again."""
    assert RECORD == ledger.parse(ledger.write(RECORD))
    assert Record() == ledger.parse(ledger.write(Record()))


def test_a_record_of_an_earlier_version() -> None:
    """It knows no nodes, and is read all the same."""
    row = json.loads(ledger.write(RECORD))
    del row["node"], row["leader"], row["conditions"][0]["elsewhere"], row["events"][0]["elsewhere"]
    found = ledger.parse(json.dumps(row))
    assert ("", "", 0, False) == (
        found.node,
        found.leader,
        found.noted.conditions[0].elsewhere,
        found.noted.events[0].elsewhere,
    )


VALUES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(st.sampled_from([*json.loads(ledger.write(RECORD))]), VALUES)
def test_what_others_wrote_is_refused(name: str, value: object) -> None:
    """Whatever is in the file, reading it gives a record or raises ValueError."""
    row = {**json.loads(ledger.write(RECORD)), name: value}
    try:
        found = ledger.parse(json.dumps(row))
    except ValueError:
        return
    assert found == ledger.parse(ledger.write(found))


@pytest.mark.parametrize("text", ["", "[]", "{}", "[" * 100000, '{"conditions": 1}'])
def test_no_record(text: str) -> None:
    """Anything else raises ValueError."""
    with pytest.raises(ValueError):  # noqa: PT011 - that is the contract
        ledger.parse(text)


def test_the_events_keep_their_numbers() -> None:
    """A number that was used is never used again, even if the total was changed."""
    row = {**json.loads(ledger.write(RECORD)), "total": 2}
    assert 7 == ledger.parse(json.dumps(row)).noted.total
