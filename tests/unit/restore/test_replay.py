"""The end of a recovery: what the server's end means, whatever the wording of the message is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from entrypoint import exits
from entrypoint.archive import calls, fetching
from entrypoint.errors import Ended, Failure, Problem
from entrypoint.restore import planning, replay
from entrypoint.restore.record import Recorded
from entrypoint.server import temporary

if TYPE_CHECKING:
    from entrypoint.settings.restoring import AtTheEnd

OTHER = Problem("it was said in another way", "repair it")


def _replay(monkeypatch: pytest.MonkeyPatch, end: Failure, action: AtTheEnd) -> None:
    @contextmanager
    def serve(*_: object, **__: object) -> Iterator[None]:
        raise end
        yield

    monkeypatch.setattr(fetching, "fetching", lambda *_: nullcontext())
    monkeypatch.setattr(temporary, "serve", serve)
    monkeypatch.setattr(replay, "_ended", lambda *_: OTHER)
    context: Any = SimpleNamespace(settings=SimpleNamespace(data_folder="/nowhere"))
    source: Any = SimpleNamespace(context=context)
    wanted = Recorded("base", 1, "xid", "745")
    replay._replay(context, source, wanted, action=action, arguments=[])


def test_the_exit_code_shows_a_shutdown_at_the_target(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the end that was requested, whatever the wording of the server's end is."""
    end = temporary.EarlyEnd(0)
    end.problems = (OTHER,)
    with pytest.raises(Ended) as ended:
        _replay(monkeypatch, end, "shutdown")
    assert 0 == ended.value.code


@pytest.mark.parametrize(
    ("end", "action"),
    [
        (temporary.EarlyEnd(1), "shutdown"),
        (temporary.EarlyEnd(0), "promote"),
        (Failure(Problem("it ended with code 0 while", "see above")), "shutdown"),
    ],
    ids=["failed", "not requested", "wording alone"],
)
def test_any_other_end_is_a_failure(monkeypatch: pytest.MonkeyPatch, end: Failure, action: AtTheEnd) -> None:
    """Only a server that ended well and was supposed to end has done what was requested."""
    with pytest.raises(Failure) as failed:
        _replay(monkeypatch, end, action)
    assert OTHER == failed.value.problems[0]


@pytest.mark.parametrize("failed", ["", "000000010000000000000004\n"])
@pytest.mark.parametrize("beside", [True, False])
def test_a_gap_is_named_unless_the_storage_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failed: str, *, beside: bool
) -> None:
    """After an outage the replay continues, so nothing else is to be changed then."""
    asked: list[object] = []

    def missed(*words: object) -> Problem | None:
        asked.extend(words[2:])
        return OTHER if beside else None

    if failed:
        (tmp_path / calls.FETCH_FAILED).write_text(failed)
    monkeypatch.setattr(planning, "missed", missed)
    context: Any = SimpleNamespace(runtime_folder=str(tmp_path))
    source: Any = SimpleNamespace(context=context)
    found = replay._ended(
        source, Recorded("base", 1, "name", "here"), Problem("the server ended", "see above")
    )
    assert failed.split() == asked
    words = "cannot be fetched" if failed else "has not reached its target (name here)"
    assert (f"{OTHER.what}; nothing was promoted" if beside else words) in found.what
    assert exits.UNFINISHED_RESTORE == found.code


def test_an_outage_with_a_full_runtime_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The note of a failed fetch is empty then: still an outage is the reason, and no gap is blamed."""
    (tmp_path / calls.FETCH_FAILED).touch()
    monkeypatch.setattr(planning, "missed", lambda *_: OTHER)
    source: Any = SimpleNamespace(context=SimpleNamespace(runtime_folder=str(tmp_path)))
    found = replay._ended(source, Recorded("base", 1, "name", "here"), Problem("the server ended", "x"))
    assert "the server ended, since WAL cannot be fetched from the archive" == found.what
