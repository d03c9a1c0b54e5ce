"""What a start makes of the facts before it decides."""

from __future__ import annotations

from pathlib import Path

import pytest

from entrypoint.archive import fork
from entrypoint.start import objections
from unit import made

TYPE_CHECKING = False
if TYPE_CHECKING:
    from entrypoint.archive.fork import State


@pytest.mark.parametrize(
    ("state", "standby"), [(None, True), (fork.STANDBY, True), (fork.SUPERSEDED, True), (fork.READING, False)]
)
def test_an_old_primary_that_was_read_is_no_standby(
    tmp_path: Path, state: State | None, *, standby: bool
) -> None:
    """After ARCHIVE_FORK=readonly, standby.signal is ours, and a start does not warn about a standby."""
    made.cluster(tmp_path)
    if state is not None:
        fork.write(str(tmp_path), fork.Fork(state))
    found = made.facts(made.data_folder(path=str(tmp_path), has_cluster=True, standby=True))
    assert standby == objections.without_ours(found).data_folder.standby
