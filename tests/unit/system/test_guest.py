"""Input from others may be anything: whatever is wrong with it is a ValueError."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from entrypoint.archivers.pgbackrest import PgBackRest
from entrypoint.archivers.terms import Answer, Backup, Check
from entrypoint.archivers.walg import WalG
from entrypoint.backup import runs
from entrypoint.drill import drills
from entrypoint.postgres import segments
from entrypoint.system import guest

WALG = WalG({})
PGBACKREST = PgBackRest({})

LISTED = [
    {
        "backup_name": "base_000000010000000000000002",
        "start_time": "2026-11-22T18:01:02.123456Z",
        "finish_time": "2026-11-22T18:01:03Z",
        "uncompressed_size": 1,
        "compressed_size": 1,
        "start_lsn": 33554472,
        "finish_lsn": 33554760,
        "is_permanent": False,
        "system_identifier": 7577301420165435420,
        "pg_version": 150000,
    }
]
INFO = [
    {
        "status": {"code": 0, "message": "ok"},
        "db": [{"id": 1, "repo-key": 1, "system-id": 7577301420165435420, "version": "15"}],
        "archive": [
            {
                "database": {"id": 1, "repo-key": 1},
                "id": "15-1",
                "max": "000000010000000000000003",
                "min": "000000010000000000000001",
            }
        ],
        "backup": [
            {
                "label": "20261122-162042F",
                "type": "full",
                "prior": None,
                "timestamp": {"start": 1795364442, "stop": 1795364443},
                "info": {"size": 1, "repository": {"delta": 1}},
                "lsn": {"start": "0/2000028", "stop": "0/2000138"},
                "archive": {"start": "000000010000000000000002", "stop": "000000010000000000000002"},
                "database": {"id": 1, "repo-key": 1},
            }
        ],
    }
]
REPORT = {
    "integrity": {
        "details": [
            {
                "timeline_id": 1,
                "start_segment": "000000010000000000000002",
                "end_segment": "000000010000000000000003",
                "status": "MISSING_LOST",
            }
        ]
    }
}
BACKUP = Backup("b", "full", "", "", 1, "0/2000028", "0/2000138", permanent=False, system_identifier="1")
CHECK = Check([BACKUP], BACKUP, 1, (), 16 * 1024**2, live=True)

PARSERS: dict[str, tuple[Any, Callable[[str], object]]] = {
    "wal-g backups": (LISTED, WALG.parse_backups),
    "wal-g identity": ({"system_identifier": "1"}, lambda text: WALG.parse_identity(0, text)),
    "wal-g verification": (REPORT, lambda text: WALG.parse_verification(CHECK, [Answer(0, text, "")])),
    "wal-g sentinel": (
        {"Spec": {"tablespaces": ["1"], "1": {"loc": "/a"}}},
        lambda text: WALG.plan_tablespaces(text, "/b"),
    ),
    "pgbackrest backups": (INFO, PGBACKREST.parse_backups),
    "pgbackrest identity": (INFO, lambda text: PGBACKREST.parse_identity(0, text)),
    "pgbackrest owners": (INFO, lambda text: PGBACKREST.parse_owners(0, text)),
    "pgbackrest folder": (INFO, lambda text: PGBACKREST.wal_folder("7577301420165435420", 0, text)),
    "pgbackrest WAL": (
        {"15-1/0000000100000000/000000010000000000000001-" + "a" * 40 + ".lz4": {"time": 1}},
        PGBACKREST.parse_wal,
    ),
    "runs": ({"kind": "full", "started": "", "why": "", "holes": [["a", "b"]], "broken": {}}, runs.parse),
    "drills": ({"started": "", "why": "", "checks": ["a"], "seconds": 1}, drills.parse),
}

ODD: tuple[Any, ...] = (
    None,
    True,
    [],
    {},
    "",
    "\x1b[2J",
    [[]],
    {"a": {}},
    -1,
    10**30,
    1.5,
    "x" * 5000,
    "9" * 5000,
)


def _changed(value: Any) -> Iterator[Any]:
    """Every value, with one of its parts replaced by something odd, or omitted."""
    yield from ODD
    if isinstance(value, dict):
        for key, part in value.items():
            yield {name: each for name, each in value.items() if name != key}
            for other in _changed(part):
                yield {**value, key: other}
    elif isinstance(value, list):
        for index, part in enumerate(value):
            for other in _changed(part):
                yield [*value[:index], other, *value[index + 1 :]]


@pytest.mark.parametrize("name", PARSERS)
def test_every_error_is_a_value_error(name: str) -> None:
    """No answer leads to another error, whatever replaces any of its parts."""
    good, parse = PARSERS[name]
    parse(json.dumps(copy.deepcopy(good)))
    for bad in _changed(good):
        try:
            found = parse(json.dumps(bad))
        except ValueError:
            continue
        assert "\x1b" not in repr(found)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 200_000,
        '{"a":' * 200_000,
        "[" + "9" * 5000 + "]",
        "[1e999999]",
        "[NaN]",
        "[-Infinity]",
        "[1",
        "\ud800",
        "",
    ],
)
def test_text_that_is_not_json_is_a_value_error(text: str) -> None:
    """It may be deeply nested, huge, an invalid number, cut off, or empty."""
    with pytest.raises(ValueError, match=r"."):
        guest.parse_json(text)


def test_a_raw_line_break_in_a_string() -> None:
    """PgBackRest reports a wrong passphrase this way; its own text is shown."""
    text = '[{"status":{"code":99,"message":"other"},"repo":[{"status":{"message":"[CryptoError] unable to\nload"}}]}]'
    with pytest.raises(ValueError, match=r"\[CryptoError\] unable to\nload"):
        PGBACKREST.parse_backups(text)


def test_names_with_blanks() -> None:
    """The last word of a file's name is not the whole name."""
    listing = "obj 2 2026-11-29 05:24:36.303705984 +0000 UTC a 000000010000000000000009.lz4  \n"
    assert [] == WALG.parse_wal(listing)
    assert ["a 000000010000000000000009.lz4"] == WALG.parse_names(listing)
    assert ["a 000000010000000000000009"] == PGBACKREST.parse_names("a 000000010000000000000009\n")


def test_a_name_far_away_costs_no_work() -> None:
    """A file with the name of the last possible segment makes one long gap, at once."""
    size = 16 * 1024**2
    present = {segments.name(1, count, size) for count in (2, 3, 5, 70_000)} | {"00000001FFFFFFFF000000FF"}
    first, last = segments.name(1, 2, size), "00000001FFFFFFFF000000FF"
    found = segments.gaps(present, first, last, (), size)
    numbers = [tuple(segments.number(each, size) for each in hole) for hole in found]
    assert [(4, 4), (6, 69_999), (70_001, segments.number(last, size) - 1)] == numbers
    row = {**REPORT["integrity"]["details"][0], "end_segment": last}
    answer = Answer(0, json.dumps({"integrity": {"details": [row]}}), "")
    assert ((first, last),) == WALG.parse_verification(CHECK, [answer]).holes
