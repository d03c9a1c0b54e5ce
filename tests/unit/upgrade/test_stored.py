"""Which settings of roles, databases and functions the new server refuses."""

from __future__ import annotations

from entrypoint.upgrade import stored
from entrypoint.upgrade.stored import Stored


def test_each_that_is_refused_is_an_error() -> None:
    """It names what has the setting, why it is refused, and the statement that removes it."""
    known = Stored("the role app", "jit", "off", "trial 1", "ALTER ROLE app RESET jit")
    wrong = Stored("the database shop", "gone", "1", "trial 2", "ALTER DATABASE shop RESET gone")
    (found,) = stored.refused([known, wrong], {"trial 1": "", "trial 2": "unrecognized"}, "17")
    assert "error" == found.level
    assert "the database shop has gone, which PostgreSQL 17 does not accept: unrecognized" == found.found
    assert "with the old image: ALTER DATABASE shop RESET gone" == found.hint


def test_without_any_no_server_is_started() -> None:
    """Most clusters have none, and a start takes time."""
    assert [] == stored.tried(None, "/cluster", "postgres", [])  # type: ignore[arg-type]
