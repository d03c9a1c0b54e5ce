"""Whether the server accepts connections, by the files that PID 1 and the server write."""

from __future__ import annotations

from pathlib import Path

import pytest

from entrypoint.pid1 import ready
from entrypoint.pid1.status import Known

SINCE = 1_795_364_442


@pytest.mark.parametrize(
    ("pid", "started", "word", "expected"),
    [
        (16, SINCE, "ready", (2, "no answer: No such file or directory")),
        (16, SINCE - 1, "ready", (1, "recovery")),
        (17, SINCE, "ready", (1, "recovery")),
        (16, SINCE, "starting", (1, "recovery")),
        (16, SINCE, "stopping", (1, "stopping")),
    ],
    ids=["this-server", "left-by-a-killed-one", "another-pid", "starting", "stopping"],
)
def test_only_the_file_of_this_server_counts(
    tmp_path: Path, pid: int, started: int, word: str, expected: tuple[int, str]
) -> None:
    """The socket is queried only if PID 1 started this server, and the file is not older than that."""
    lines = (pid, "/data", started, 5432, tmp_path, "*", "1 2", word, "")
    (tmp_path / "postmaster.pid").write_text("\n".join(map(str, lines)))
    known = Known("serving", SINCE, None, 16, {})
    assert expected == ready.accepts(str(tmp_path), known)


@pytest.mark.parametrize(
    ("code", "word", "expected"),
    [
        (ready.READY, "standby", "ready: standby"),
        (ready.NOT_READY, "recovery", "not ready: recovery"),
        (ready.NO_SERVER, "no answer", "no answer"),
    ],
)
def test_the_printed_line(code: int, word: str, expected: str) -> None:
    """One line for people and probes; no program decides by it."""
    assert expected == ready.said(code, word)
