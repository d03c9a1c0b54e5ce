"""The values that the first half of PID 1 hands to the second."""

from __future__ import annotations

import marshal
from typing import Any

import pytest

from entrypoint.pid1.handoff import Handoff, HelperSpec, ServerSpec

HELPER = HelperSpec("backups", ["a", "\udcff"], {"A": "\udcff"}, delay=2, stdin=7)
SERVER = ServerSpec(
    argv=["postgres", "-c", "x=y"],
    environment={"PGDATA": "/data"},
    timeouts=[5, 60.0, 10],
    helpers=[HELPER, HelperSpec("daemon", [], {}, after_server=True, keep=True)],
    runtime_folder="/run/entrypoint",
    data_folder="/data",
    cluster="7",
    archive_status="",
    disks=["/data"],
    segment=16777216,
    patroni=True,
)
HANDOFF = Handoff(SERVER, 42, 1795364442.5, [1, 2], [], (2, [b"waits"], 3), (["entrypoint"], [7]))


def test_unpacking_returns_the_packed_value() -> None:
    """Every field arrives with its name and its type."""
    found = Handoff.unpack(HANDOFF.pack())
    assert HANDOFF == found
    assert (HELPER, "daemon") == (found.server.helpers[0], found.server.helpers[1].role)
    assert isinstance(found.server.helpers[1], HelperSpec)


def _changed(value: object, path: tuple[int, ...], new: object) -> Any:
    """Return a packed value with another value at this place."""
    if not path:
        return new
    assert isinstance(value, (tuple, list))
    rows = [*value]
    rows[path[0]] = _changed(rows[path[0]], path[1:], new)
    return type(value)(rows)


@pytest.mark.parametrize(
    ("path", "new"),
    [
        ((), None),
        ((), (1, 2)),
        ((1,), "42"),
        ((0, 0), "postgres"),
        ((0, 1), {"A": 1}),
        ((0, 1), [("A", "B")]),
        ((0, 2, 0), "5"),
        ((0, 3, 0), ("backups", ["a"], {})),
        ((0, 3, 0, 6), "7"),
        ((5,), (2, ["waits"], 3)),
    ],
)
def test_a_value_that_does_not_fit_is_refused(path: tuple[int, ...], new: object) -> None:
    """A value of another type, a missing value, or anything that we did not pack is no handoff."""
    with pytest.raises(ValueError, match="b'"):
        Handoff.unpack(marshal.dumps(_changed(marshal.loads(HANDOFF.pack()), path, new)))


def test_half_of_it_is_refused() -> None:
    """However much of the packed value is missing, the error is one that the caller expects.

    Bytes that we never wrote are not tried: marshal allocates as much memory as a length in them says, up to 16 GB.
    """
    packed = HANDOFF.pack()
    for length in range(len(packed)):
        with pytest.raises((ValueError, EOFError, TypeError)):
            Handoff.unpack(packed[:length])
