"""Whether a node may lead, by what the archive shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from entrypoint import exits, log
from entrypoint.archive import claim, fork, unarchived, writer
from entrypoint.archive.fork import Fork
from entrypoint.errors import Failure, Problem
from entrypoint.failover import leading
from entrypoint.postgres.timelines import Rival
from entrypoint.server import opening, sessions
from entrypoint.standby import promotion
from unit import made
from unit.failover.test_configuration import NODE


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The warnings and the lines about what is archived."""
    found: list[str] = []
    monkeypatch.setattr(log, "warning", lambda what, *_, **__: found.append(what))
    monkeypatch.setattr(log, "info", found.append)
    return found


def _check(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    rival: object,
    *,
    fork_: str = "",
    server: object = "0/5000000",
    missing: tuple[str, ...] = (),
) -> list[str]:
    """Check a standby on timeline 2; return what was done."""
    done: list[str] = []

    def answer(value: object) -> Any:
        def give(*_: object, **__: object) -> object:
            if isinstance(value, Exception):
                raise value
            return value

        return give

    settings = made.settings(
        {**NODE, "ARCHIVE_URL": "file:///a", "ARCHIVE_FORK": fork_, "PGDATA": str(folder)}
    )
    monkeypatch.setattr(opening, "read_settings", lambda *_: (settings, [], ()))
    monkeypatch.setattr(opening, "environ", dict)

    class Context:
        runtime_folder = str(folder)

        def __init__(self) -> None:
            self.settings = settings

    monkeypatch.setattr(opening, "command_context", lambda _: Context())
    monkeypatch.setattr(promotion, "followed", answer(2))
    monkeypatch.setattr(sessions, "query", answer(server))
    monkeypatch.setattr(writer, "find", answer(rival))
    monkeypatch.setattr(unarchived, "find", answer([*missing]))
    monkeypatch.setattr(unarchived, "archive", lambda _, names: done.extend(names))
    monkeypatch.setattr(claim, "prepare_later", lambda _: done.append("later"))
    leading.check()
    return done


def test_nothing_speaks_against_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: list[str]) -> None:
    """It archives what the last leader has not, after the archive was looked at again."""
    assert ["a", "later"] == _check(tmp_path, monkeypatch, None, missing=("a",))
    assert ["archiving what the last leader may not have archived: a"] == said


def test_another_node_was_promoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It fails with what was found and the way out."""
    with pytest.raises(Failure, match=r"this node may not lead.*timeline 3.*follows timeline 2") as caught:
        _check(tmp_path, monkeypatch, (Rival(3, 2, 64), ""))
    assert exits.SUPERSEDED == caught.value.code
    assert "ARCHIVE_FORK=confirm" in caught.value.problems[0].hint


def test_a_person_has_decided(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: list[str]) -> None:
    """That counts for this timeline only, however often the promotion is tried."""
    rival = (Rival(3, 2, 64), "")
    made.cluster(tmp_path)
    for _ in range(2):
        assert ["later"] == _check(tmp_path, monkeypatch, rival, fork_="confirm")
    assert 2 == sum("ARCHIVE_FORK=confirm" in line for line in said)
    with pytest.raises(Failure, match="timeline 4"):
        _check(tmp_path, monkeypatch, (Rival(4, 2, 64), ""), fork_="confirm")


@pytest.mark.parametrize("rival", [writer.Unknown("away")])
def test_an_archive_that_does_not_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: list[str], rival: Exception
) -> None:
    """It may have been lost together with the leader; Patroni's decision stands."""
    assert ["b", "later"] == _check(tmp_path, monkeypatch, rival, missing=("b",))
    assert "away" in said[0]


def test_a_server_that_does_not_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    """The same; Patroni sees itself whether it can be promoted."""
    assert ["later"] == _check(tmp_path, monkeypatch, None, server=Failure(Problem("hangs", "wait")))
    assert "hangs" in said[0]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (fork.CLEAR, fork.STANDBY),
        (fork.CONFIRMED, fork.STANDBY),
        (fork.RESTORED, fork.RESTORED),
        (fork.SETTLED, fork.SETTLED),
    ],
)
def test_a_copy_of_a_restored_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: fork.State, after: fork.State
) -> None:
    """Its leader may write to the archive, so this one may as well, and takes the full backup."""
    made.cluster(tmp_path)
    fork.write(str(tmp_path), Fork(before, confirmed=7))
    _check(tmp_path, monkeypatch, None)
    assert Fork(after, confirmed=7) == fork.read(str(tmp_path))
