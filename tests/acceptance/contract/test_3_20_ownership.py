"""Row 3.20: the start does not walk through all files if the folder's owner is right."""

from __future__ import annotations

import pytest

from containers import in_volume, serve

USED = {"PGDATA": "/volume/data"}


@pytest.mark.better
def test_right_folder_is_not_walked(used_volume: str) -> None:
    """If the owners at the top of the data folder are right, the files deep in it are not examined."""
    in_volume(used_volume, "touch data/base/1/foreign && chown 1234 data/base/1/foreign")
    with serve(env=USED, volumes={"/volume": used_volume}) as container:
        assert "1234" == container.shell("stat --format %u /volume/data/base/1/foreign")


@pytest.mark.parametrize("what", ["data", "data/base", "data/postgresql.conf"])
def test_wrong_entry_at_the_top_is_fixed(used_volume: str, what: str) -> None:
    """The owner of an entry at the top is corrected, and of everything in it."""
    in_volume(used_volume, f"chown --recursive 1234 {what}")
    with serve(env=USED, volumes={"/volume": used_volume}) as container:
        assert "" == container.shell("find /volume/data ! -user postgres")
        assert "42" == container.sql("SELECT answer FROM kept")
