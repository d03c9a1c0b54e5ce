"""The note about a finished upgrade."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from entrypoint import own
from entrypoint.errors import Failure
from entrypoint.volume import past
from entrypoint.volume.past import Past

NOTE = Past(
    "15", "17", "7714", "copy", "2026-11-30T20:05:00+00:00", "/d/old", ("/s/PG_15_1",), extensions=False
)


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    """Without a note, nothing was upgraded."""
    assert past.read(str(tmp_path)) is None
    (tmp_path / own.UPGRADED).write_text(past.text(NOTE))
    assert NOTE == past.read(str(tmp_path))
    assert "7714" == past.predecessor(str(tmp_path))
    assert past.is_due(str(tmp_path), archives=True)


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({}, "upgraded-17-77"),
        ({"undone": True}, ""),
        ({"place": "../other"}, ""),
        ({"place": 3}, ""),
        ({"place": ""}, ""),
    ],
)
def test_the_folder_in_the_archive(tmp_path: Path, change: dict[str, object], place: str) -> None:
    """It is the upgraded cluster's only, and never a path."""
    found = {**NOTE._asdict(), "place": past.place_of("17", "77"), **change}
    (tmp_path / own.UPGRADED).write_text(json.dumps(found))
    assert place == past.place(str(tmp_path))


def test_another_version_may_know_more_or_less(tmp_path: Path) -> None:
    """People go back to an older image, and undo brings back a note of an older one."""
    found = json.loads(past.text(NOTE))
    del found["backup"]
    (tmp_path / own.UPGRADED).write_text(json.dumps({**found, "later": 1}))
    assert NOTE == past.read(str(tmp_path))


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "{}", '{"folders": 3}', "[" * 200000),
        *(
            json.dumps({**NOTE._asdict(), **wrong})
            for wrong in ({"kept": 5}, {"folders": [5]}, {"before": "x"})
        ),
    ],
)
def test_a_note_that_cannot_be_read_keeps_no_server_down(tmp_path: Path, text: str) -> None:
    """The commands of an upgrade refuse it; a start only warns."""
    (tmp_path / own.UPGRADED).write_text(text)
    with pytest.raises(Failure, match="cannot read"):
        past.read(str(tmp_path))
    assert not past.is_due(str(tmp_path), archives=True)
    assert not past.predecessor(str(tmp_path))


def test_after_an_undoing_the_folder_in_the_archive_is_that_of_before(tmp_path: Path) -> None:
    """Of two upgrades the second one is undone: the cluster in between has a folder of its own."""
    between = past.place_of("17", "77")
    note = NOTE._replace(place=past.place_of("18", "88"), place_before=between, undone=True)
    (tmp_path / own.UPGRADED).write_text(past.text(note))
    assert between == past.place(str(tmp_path))


def test_an_undone_upgrade_has_no_predecessor(tmp_path: Path) -> None:
    """The old cluster is the owner of its archive itself."""
    (tmp_path / own.UPGRADED).write_text(
        past.text(NOTE._replace(undone=True, successor="8", newest="000000010000000000000007"))
    )
    assert not past.predecessor(str(tmp_path))
    assert ("8", "000000010000000000000007") == past.undone(str(tmp_path))
