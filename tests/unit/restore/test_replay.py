"""The end of a recovery: what the server's end means, whatever the wording of the message is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from entrypoint.archive import fetching
from entrypoint.errors import Ended, Failure, Problem
from entrypoint.restore import replay
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
