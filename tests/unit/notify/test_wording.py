"""Messages can be read on a phone, say which server they are about, and contain no secret."""

from __future__ import annotations

import pytest

from entrypoint.noted.conditions import BEGAN, ENDED, HAPPENED, Condition, Event
from entrypoint.notify import wording
from entrypoint.notify.wording import Origin

AT = 1_800_000_000.0
ORIGIN = Origin("db-1", "shop", "7713910764953617797")
EVENT = Event(
    4,
    AT,
    BEGAN,
    "archive",
    "error",
    "12 segments wait: ERROR: [103]: unable to connect to s3.example.com",
    AT,
    "check the storage: docker exec CONTAINER entrypoint archive check",
    "fix-archiving",
)
SIGNED = "-- shop on db-1, system identifier 7713910764953617797"


def test_what_begins() -> None:
    """The message has the level, the check, the server, the output, the time, the hint and the page."""
    made = wording.describe(EVENT, ORIGIN)
    body = """\
12 segments wait: ERROR: [103]: unable to connect to s3.example.com
since 2027-01-15 08:00 UTC
hint: check the storage: docker exec CONTAINER entrypoint archive check
docs: fix-archiving (entrypoint help fix-archiving)
"""
    assert ("ERROR archive: shop on db-1", body + SIGNED, "failure") == tuple(made)


def test_what_becomes_more_serious() -> None:
    """The message says since when it exists, and since when it is more serious."""
    made = wording.describe(EVENT._replace(at=AT + 7800), ORIGIN)
    assert "since 2027-01-15 08:00 UTC, more serious since 2027-01-15 10:10 UTC" in made.body.splitlines()


def test_what_ends() -> None:
    """The message says how long it lasted, and what it was."""
    made = wording.describe(EVENT._replace(kind=ENDED, at=AT + 7800, hint="", docs=""), ORIGIN)
    body = """\
ended after 2 h 10 min: archive
it was: 12 segments wait: ERROR: [103]: unable to connect to s3.example.com
from 2027-01-15 08:00 UTC to 2027-01-15 10:10 UTC
"""
    assert ("ENDED archive: shop on db-1", body + SIGNED, "success") == tuple(made)
    unheard = wording.short(EVENT._replace(kind=ENDED, at=AT + 7800), ORIGIN)
    assert "no message could be sent before it ended" == unheard.body.splitlines()[-1]


def test_what_happened() -> None:
    """A server without a chosen name and without a cluster is named by its host."""
    event = EVENT._replace(kind=HAPPENED, name="crash", level="info", found="recovered", hint="", docs="")
    made = wording.describe(event, Origin("db-1"))
    assert ("INFO crash: db-1", "recovered\nat 2027-01-15 08:00 UTC\n-- db-1", "info") == tuple(made)


@pytest.mark.parametrize(
    ("found", "secret"),
    [
        ("cannot reach https://me:pa55@example.com/bucket", "pa55"),
        ("cannot reach postgresql://me:pa/ss@example.com/x", "pa/ss"),
        ("403 for https://example.com/x?X-Amz-Signature=abcdef", "abcdef"),
        ('connection to "host=a password=pa55 user=b" failed', "pa55"),
        ("connection to \"host=a password='pa 55' user=b\" failed", "pa 55"),
        ('{"secret": "pa55"}', "pa55"),
        ("AWS_SECRET_ACCESS_KEY=pa55 is wrong", "pa55"),
        ("repo1-s3-key=pa55 is wrong", "pa55"),
        ("repo1-cipher-pass=pa55 is wrong", "pa55"),
        ("Authorization: Bearer abcdefgh12345", "abcdefgh12345"),
        ("key AKIAIOSFODNN7EXAMPLE is not known", "AKIAIOSFODNN7EXAMPLE"),
        ("-----BEGIN PRIVATE KEY-----\nabc\n-----END PRIVATE KEY-----", "abc"),
        ("cannot send to hook-topic-1", "hook-topic-1"),
    ],
)
def test_secrets_are_masked(found: str, secret: str) -> None:
    """Whatever a tool prints, no password, key or token reaches a message, a ping or its report."""
    event = EVENT._replace(found=found)
    secrets = ["hook-topic-1"]
    condition = Condition("archive", "error", AT, found, found)
    texts = [
        wording.describe(event, ORIGIN, secrets).body,
        wording.short(event._replace(kind=ENDED), ORIGIN, secrets).body,
        wording.findings([condition._replace(hint="")], ORIGIN, secrets),
    ]
    assert [] == [text for text in texts if secret in text]
    assert 3 == sum("***" in text for text in texts)


@pytest.mark.parametrize(
    "text",
    [
        "12 segments wait in pg_wal, the oldest since 2027-01-15 08:00 UTC",
        "Key (id)=(1) already exists",
        "the archive s3://bucket/path is not reachable: HTTP 503",
        "file:///archive: no space left on device",
        "P00  ERROR: [041]: unable to open file '/archive/db/archive.info' for write: [13] Permission denied",
    ],
)
def test_ordinary_words_stay(text: str) -> None:
    """What an archiver and the checks say usually can be read in the message."""
    assert text == wording.describe(EVENT._replace(found=text), ORIGIN).body.splitlines()[0]


def test_hints_stay() -> None:
    """A hint is our own text: the assignment that it advises is not masked."""
    made = wording.describe(EVENT._replace(hint="set POSTGRES_PASSWORD_UPDATE=yes"), ORIGIN)
    assert "hint: set POSTGRES_PASSWORD_UPDATE=yes" in made.body.splitlines()


def test_long_and_wild_texts() -> None:
    """A long finding is cut, and nothing controls a terminal or a line."""
    made = wording.describe(EVENT._replace(found="x" * 9999 + "\x1b[2J"), ORIGIN)
    assert 2000 > len(made.body)
    assert "\\x1b[2J" in wording.describe(EVENT._replace(found="a\x1b[2J"), ORIGIN).body
