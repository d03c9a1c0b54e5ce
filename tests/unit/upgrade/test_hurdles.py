"""What speaks against an upgrade, as far as files say."""

from __future__ import annotations

from pathlib import Path

import pytest

from entrypoint.archive import fork
from entrypoint.archive.fork import Fork
from entrypoint.server.context import Context
from entrypoint.upgrade import hurdles
from unit import made

ARCHIVE = {"ARCHIVE_URL": "file:///archive"}


def _context(data: Path, env: dict[str, str]) -> Context:
    made.cluster(data)
    wanted = made.settings({"PGDATA": str(data), **env})
    return Context(wanted, made.NO_CHILDREN, made.POSTGRES, "/run", {})


@pytest.mark.parametrize(
    "state", [fork.SUPERSEDED, fork.READING, fork.TAKING, fork.REFUSED, fork.RESTORED, fork.STANDBY]
)
def test_a_cluster_that_must_not_write_is_not_upgraded(tmp_path: Path, state: fork.State) -> None:
    """The new cluster would have forgotten it: two primaries, or another cluster's archive judged by this one."""
    context = _context(tmp_path, ARCHIVE)
    fork.write(
        str(tmp_path), Fork(state, what="another server was promoted", hint="start it with STANDBY=on")
    )
    found = hurdles.others(context, "15")
    assert ["error"] == [each.level for each in found]
    assert "settle that first, with the image of 15" in found[0].hint


@pytest.mark.parametrize("state", [fork.CLEAR, fork.CONFIRMED, fork.SETTLED])
def test_a_cluster_whose_archive_is_its_own_is_upgraded(tmp_path: Path, state: fork.State) -> None:
    """Without a note as well; ARCHIVE_FORK=confirm, once obeyed, stays obeyed."""
    context = _context(tmp_path, ARCHIVE)
    assert [] == hurdles.others(context, "15")
    assert "" == fork.carried(str(tmp_path))
    fork.write(str(tmp_path), Fork(state, confirmed=3))
    assert [] == hurdles.others(context, "15")
    assert '"state": "settled"' in fork.carried(str(tmp_path))


def test_a_copy_without_an_archive_is_upgraded_but_no_old_primary(tmp_path: Path) -> None:
    """Nobody looks into the archive for a copy that does not archive, so its question stays open for good."""
    context = _context(tmp_path, {})
    fork.write(str(tmp_path), Fork(fork.RESTORED))
    assert [] == hurdles.others(context, "15")
    fork.write(str(tmp_path), Fork(fork.SUPERSEDED))
    assert ["error"] == [each.level for each in hurdles.others(context, "15")]
