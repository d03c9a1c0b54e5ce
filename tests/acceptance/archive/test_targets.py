"""A writer keeps a journal of its transactions; every restore equals the journal up to the target."""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import pytest

import archives
import containers
from archives import PLACES, Archive
from containers import FRESH, Container
from s3 import S3

ROWS = 160
"""The writer's transactions, each with one row."""


class Row(NamedTuple):
    """One transaction, as the writer saw it."""

    number: int
    xid: str
    committed: datetime
    lsn: int
    """An LSN at or after the end of its commit record, and before the next transaction."""


class Point(NamedTuple):
    """A restore point."""

    name: str
    number: int
    """The number of the last transaction before it."""


class Taken(NamedTuple):
    """A base backup."""

    name: str
    finished: datetime
    stop_lsn: int


class Journal(NamedTuple):
    """Everything that was written, and its archive."""

    archive: Archive
    rows: Sequence[Row]
    points: Sequence[Point]
    backups: Sequence[Taken]


def _lsn(text: str) -> int:
    high, low = text.split("/")
    return (int(high, 16) << 32) + int(low, 16)


def _statements(first: int, last: int) -> Iterator[str]:
    for number in range(first, last + 1):
        yield f"BEGIN; INSERT INTO journal VALUES ({number}); SELECT pg_current_xact_id()::text AS xid \\gset"
        yield (
            f"COMMIT; SELECT 'row', {number}, :'xid', to_char(pg_xact_commit_timestamp(:'xid'::xid) AT TIME ZONE "
            "'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"+00:00\"'), pg_current_wal_insert_lsn();"
        )
        if number % 10 == 0:
            yield f"SELECT 'point', 'p{number}', {number} FROM pg_create_restore_point('p{number}');"
        if number % 8 == 0:
            yield "SELECT 'switch' FROM pg_switch_wal();"
        yield "SELECT 'slept' FROM pg_sleep(0.03);"


def _write(server: Container, first: int, last: int) -> subprocess.Popen[str]:
    argv = ["docker", "exec", "-i", server.name, "psql", "-U", "postgres", "-AtqX", "-v", "ON_ERROR_STOP=1"]
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    process.stdin.write("\n".join(_statements(first, last)) + "\n")
    process.stdin.close()
    process.stdin = None
    return process


@pytest.fixture(scope="module", params=PLACES)
def journal(request: pytest.FixtureRequest, s3_server: S3) -> Iterator[Journal]:
    """An archive with full and incremental backups, taken while the writer wrote."""
    tool, place = request.param
    with archives.made(tool, s3_server if place == "s3" else None) as archive:
        said = ""
        with archive.serve({**FRESH, "POSTGRES_CONF_track_commit_timestamp": "on"}) as server:
            server.sql("CREATE TABLE journal (number int PRIMARY KEY)")
            each = ROWS // 4
            for number, kind in enumerate(([], ["--incremental"], [], None)):
                writer = _write(server, number * each + 1, (number + 1) * each)
                if kind is not None:
                    server.exec("entrypoint", "backup", "push", *kind, timeout=90)
                said += writer.communicate(timeout=60)[0]
                assert writer.returncode == 0
            listed = json.loads(server.exec("entrypoint", "backup", "list", "--json", timeout=30).stdout)
            server.sql("SELECT pg_switch_wal()")
            assert 0 == server.stop(timeout=60)
        words = [line.split("|") for line in said.splitlines()]
        yield Journal(
            archive,
            [
                Row(int(n), x, datetime.fromisoformat(at), _lsn(end))
                for kind, n, x, at, end in (w for w in words if w[0] == "row")
            ],
            [Point(name, int(number)) for kind, name, number in (w for w in words if w[0] == "point")],
            [
                Taken(each["name"], datetime.fromisoformat(each["finished"]), _lsn(each["stop_lsn"]))
                for each in listed
            ],
        )


def _targets(
    journal: Journal, chance: random.Random, count: int
) -> Iterator[tuple[dict[str, str], int, int]]:
    """Return random targets, with the least and the greatest number of rows that each must give."""
    first = journal.backups[0]
    rows = [row for row in journal.rows if row.committed > first.finished + timedelta(seconds=1.1)][:-1]
    newest = journal.backups[-1]
    late = [row for row in rows if row.lsn > newest.stop_lsn]
    for number in range(count):
        kind = ("time", "lsn", "xid", "name", "immediate", "end")[number % 6]
        inclusive = chance.random() < 0.6
        extra = {} if inclusive else {"RESTORE_TARGET_INCLUSIVE": "off"}
        if kind == "time":
            row = chance.choice(rows)
            if chance.random() < 0.5:
                yield (
                    {"RESTORE_TARGET_TIME": row.committed.isoformat(), **extra},
                    row.number - (not inclusive),
                    row.number - (not inclusive),
                )
            else:
                moment = row.committed + timedelta(microseconds=chance.randrange(1, 9000))
                rest = sum(each.committed <= moment for each in journal.rows)
                offset = datetime.fromisoformat(moment.isoformat()).astimezone(UTC)
                yield {"RESTORE_TARGET_TIME": str(offset), **extra}, rest, rest
        elif kind == "lsn":
            row = chance.choice(rows)
            text = f"{row.lsn >> 32:X}/{row.lsn & 0xFFFFFFFF:X}"
            yield {"RESTORE_TARGET_LSN": text, **extra}, row.number, row.number
        elif kind == "xid":
            row = chance.choice(late)
            yield (
                {"RESTORE_TARGET_XID": row.xid, **extra},
                row.number - (not inclusive),
                row.number - (not inclusive),
            )
        elif kind == "name":
            points = [each for each in journal.points if each.number > late[0].number]
            point = chance.choice(points)
            yield {"RESTORE_TARGET_NAME": point.name}, point.number, point.number
        elif kind == "immediate":
            backup = chance.choice(journal.backups)
            sure = sum(each.lsn <= backup.stop_lsn for each in journal.rows)
            # A commit record may end before the backup does, although the writer read the LSN later.
            yield {"RESTORE_FROM": backup.name, "RESTORE_TARGET": "immediate"}, sure, sure + 1
        else:
            backup = chance.choice(journal.backups)
            yield {"RESTORE_FROM": backup.name}, ROWS, ROWS


@pytest.mark.parametrize("count", [6, pytest.param(50, marks=pytest.mark.long)])
def test_a_restore_equals_the_journal(journal: Journal, count: int) -> None:
    """With random targets of every kind, no row is missing and there is no extra row."""
    seed = random.randrange(2**32)
    given = journal.archive.env()
    source = {
        "RESTORE_ARCHIVE_URL": given.pop("ARCHIVE_URL"),
        "RESTORE_ARCHIVE_TOOL": given.pop("ARCHIVE_TOOL"),
    }
    for target, least, most in _targets(journal, random.Random(seed), count):
        env = {"RESTORE_FROM": "LATEST", **given, **source, **target}
        with containers.create(
            env=env,
            files={} if journal.archive.server is None else journal.archive.server.files,
            volumes={"/archive": journal.archive.volume} if journal.archive.volume else {},
            options=() if journal.archive.server is None else journal.archive.server.options,
        ) as restored:
            restored.begin()
            restored.ready(90)
            found = restored.sql("SELECT count(*), coalesce(max(number), 0) FROM journal").split("|")
            assert found[0] == found[1], (seed, target)
            assert least <= int(found[0]) <= most, (seed, target, least, most)
            assert "f" == restored.sql("SELECT pg_is_in_recovery()")
