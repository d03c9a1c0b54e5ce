"""A server of another program's container does not hold our lock, and its process is not seen here."""

from __future__ import annotations

from pathlib import Path

from entrypoint.upgrade import afoot


def test_a_file_that_is_open_for_writing_gives_a_server_away(tmp_path: Path) -> None:
    """Not one that is open for reading, as a backup does."""
    for name in ("global", "pg_wal"):
        (tmp_path / name).mkdir()
    control, segment = tmp_path / "global/pg_control", tmp_path / "pg_wal/000000010000000000000001"
    control.write_text("")
    segment.write_text("")
    with control.open():
        assert [] == afoot.servers(str(tmp_path))
    with segment.open("a"):
        found = afoot.servers(str(tmp_path))
    assert [f"a server in another container uses {tmp_path}: {segment} is open for writing"] == [
        each.found for each in found
    ]
    assert [] == afoot.servers(str(tmp_path))
