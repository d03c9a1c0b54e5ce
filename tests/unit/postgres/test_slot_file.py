"""What a replication slot holds, from its file."""

from __future__ import annotations

import struct

import pytest

from entrypoint.postgres import slot_file

MAGIC = 0x1051CA1


def _state(order: str, lsn: int, magic: int = MAGIC) -> bytes:
    head = struct.pack(f"{order}IIII", magic, 0, 2, 200)
    return head + struct.pack(f"{order}64sIIIIQ", b"idle", 0, 0, 0, 0, lsn) + b"\0" * 100


@pytest.mark.parametrize("order", ["<", ">"])
def test_the_first_lsn_that_a_slot_keeps(order: str) -> None:
    """In the byte order of its machine; a slot that has not begun keeps nothing."""
    assert 0x1_6B37_4D48 == slot_file.restart_lsn(_state(order, 0x1_6B37_4D48))
    assert slot_file.restart_lsn(_state(order, 0)) is None


@pytest.mark.parametrize("data", [b"", _state("<", 1)[:100], _state("<", 1, magic=7), b"x" * 300])
def test_a_file_that_is_no_slots(data: bytes) -> None:
    """Half a file, or another one."""
    assert slot_file.restart_lsn(data) is None
