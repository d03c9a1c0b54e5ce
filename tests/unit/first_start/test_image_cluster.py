"""The numbers that differ in each copy of the image's cluster."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrypoint.first_start import image_cluster

NONCE_AT, CRC_AT = 253, 288
"""As in a control file of PostgreSQL 15, but not at a multiple of four, as in PostgreSQL 18."""


def _control(body: bytes) -> bytes:
    return (body + image_cluster.crc32c(body).to_bytes(4, "little")).ljust(8192, b"\0")


@given(st.binary(min_size=CRC_AT, max_size=CRC_AT), st.binary(min_size=8, max_size=8))
def test_a_control_file_of_its_own(body: bytes, identifier: bytes) -> None:
    """Only identifier, time, nonce and checksum change; the same input gives the same result."""
    before, nonce = _control(body), bytes(range(32))
    after = image_cluster.own_control(before, NONCE_AT, CRC_AT, identifier, nonce)
    time = identifier[4:] + bytes(4)
    expected = _control(identifier + body[8:24] + time + body[32:NONCE_AT] + nonce + body[NONCE_AT + 32 :])
    assert expected == after
    assert CRC_AT == image_cluster.crc_at(after)


@pytest.mark.parametrize("place", [0, 100, NONCE_AT, CRC_AT])
def test_a_damaged_control_file_is_refused(place: int) -> None:
    """One changed byte is noticed."""
    damaged = bytearray(_control(os.urandom(CRC_AT)))
    damaged[place] ^= 1
    with pytest.raises(ValueError, match="checksum"):
        image_cluster.own_control(bytes(damaged), NONCE_AT, CRC_AT, bytes(8), bytes(32))
    with pytest.raises(ValueError, match="checksum"):
        image_cluster.crc_at(bytes(damaged))


@given(st.binary(min_size=CRC_AT, max_size=CRC_AT), st.integers(0, 3))
def test_a_control_file_without_origin(body: bytes, late: int) -> None:
    """Two runs of initdb differ in identifier, times and nonce, and their results without origin are the same."""
    found = set()
    for begun in (1_700_000_000, 1_795_364_442):
        time = (begun + late).to_bytes(8, "little")
        made = os.urandom(8) + body[8:24] + time + body[32:104] + time + body[112:NONCE_AT] + os.urandom(32)
        control = _control(made + body[NONCE_AT + 32 :])
        found.add(image_cluster.without_origin(control, NONCE_AT, CRC_AT, begun, begun + 3))
    (same,) = found
    assert CRC_AT == image_cluster.crc_at(same)
    assert body[32:104] + bytes(8) + body[112:NONCE_AT] + bytes(32) == same[32 : NONCE_AT + 32]


@given(st.binary(min_size=60, max_size=200))
def test_only_the_checkpoint_stays(body: bytes) -> None:
    """Two segments of pg_resetwal are the same without identifier and times, and begin with the record."""
    found = set()
    for begun in (1_700_000_000, 1_795_364_442):
        data = body[:30] + begun.to_bytes(8, "little") + body[30:]
        found.add(image_cluster.only_checkpoint(_segment(data), begun, begun))
    (same,) = found
    assert b"L" * 24 + bytes(8) + b"L" * 8 == same[:40]
    assert same == image_cluster.only_checkpoint(same.ljust(4 * 8192, b"\0"), begun, begun)
    assert body[:30] + bytes(8) + body[30:] == same[64:]


@pytest.mark.parametrize("place", [40, 61, 70, 2 * 8192])
def test_another_segment_is_refused(place: int) -> None:
    """A damaged record is noticed, and WAL after it, since an image would keep what initdb wrote."""
    segment = bytearray(_segment(bytes(90)))
    segment[place] ^= 1
    with pytest.raises(ValueError, match="no checkpoint"):
        image_cluster.only_checkpoint(bytes(segment), 5, 5)


def _segment(data: bytes) -> bytes:
    """Return the begin of a segment with one record."""
    head = (24 + len(data)).to_bytes(4, "little") + bytes(16)
    record = head + image_cluster.crc32c(data + head).to_bytes(4, "little") + data
    return (b"L" * 24 + os.urandom(8) + b"L" * 8 + record).ljust(4 * 8192, b"\0")


def test_an_identifier_contains_its_time() -> None:
    """As in PostgreSQL: seconds, microseconds, and 12 bits that differ even at the same time."""
    first, second = (image_cluster.identifier(1_795_364_442.25, number) for number in (0x1FFF, 0x1000))
    number = int.from_bytes(first, "little")
    assert (1_795_364_442, 250_000, 0xFFF) == (number >> 32, number >> 12 & 0xFFFFF, number & 0xFFF)
    assert first != second


PASSWORDS = {
    "secret": "E'secret'",
    "it's": "E'it''s'",
    "back\\slash": "E'back\\\\slash'",
    "'; DROP TABLE x; --": "E'''; DROP TABLE x; --'",
}


@pytest.mark.parametrize("password", PASSWORDS)
def test_a_password_stays_one_word(password: str) -> None:
    """Whatever it contains, it ends where it should."""
    expected = f'ALTER USER "postgres" WITH PASSWORD {PASSWORDS[password]};\n\n'
    assert expected == image_cluster.statements("postgres", password)
