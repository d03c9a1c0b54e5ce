"""The answers of the server become a value with samples; what the server does not know is absent."""

from __future__ import annotations

from entrypoint.doctor import questions
from entrypoint.noted import figures
from entrypoint.noted.seen import Sample

IDENTITY = {
    "role": "primary",
    "version": "17.2",
    "identifier": "7000000000000000001",
    "timeline": 3,
    "started": 100.5,
    "recovered": None,
    "lag_bytes": None,
}


def test_answers_become_a_server() -> None:
    """A row becomes samples with its other columns as labels; NULL becomes none, and a standby's text lacks it."""
    found = figures.server(
        {
            "identity": [IDENTITY],
            "held": [
                {
                    "slot_name": 'a"b',
                    "slot_type": "physical",
                    "pg_replication_slots_active": 0,
                    "pg_replication_slots_safe_wal_size_bytes": None,
                }
            ],
            "sizes": [{"datname": "postgres", "pg_database_size_bytes": 7}],
            "standbys": [{"pid": 1, "state": "streaming", "client_addr": None}],
            "settings": [{"name": "doctor's", "pg_is_not_ours": 1}],
        }
    )
    assert found is not None
    labels = (("slot_name", 'a"b'), ("slot_type", "physical"))
    assert (
        Sample("pg_replication_slots_active", labels, 0.0),
        Sample("pg_database_size_bytes", (("datname", "postgres"),), 7.0),
    ) == found.samples
    assert ({"pid": "1", "state": "streaming"},) == found.standbys
    assert ("primary", 3, 100.5, 100.5) == (
        found.role,
        found.timeline,
        found.started,
        found.recovered,
    )


def test_no_answer() -> None:
    """A server that did not answer the first query is not known."""
    assert None is figures.server({"held": []})
    assert None is figures.server({"identity": []})


def test_questions_of_a_major() -> None:
    """Versions of databases' collations exist since 15; sizes are only asked for on request; no name is doctor's."""
    before, since = figures.questions(14, sizes=False), figures.questions(15, sizes=True)
    assert {"mismatches", "sizes"} == set(since) - set(before)
    assert set() == set(since) & {*questions.CLUSTER, "collations"}
    assert [] == [text for text in since.values() if "$" in text.replace("{24}$", "")]
