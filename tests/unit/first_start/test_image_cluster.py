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
    """Only identifier, nonce and checksum change; the same input gives the same result."""
    before, nonce = _control(body), bytes(range(32))
    after = image_cluster.own_control(before, NONCE_AT, CRC_AT, identifier, nonce)
    own = body[NONCE_AT + 32 :]
    expected = _control(identifier + body[8:NONCE_AT] + nonce + own)
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
