"""The shell that the server needs."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

import pytest

from entrypoint.errors import Problem
from entrypoint.server import programs

MEND = "use an image that has /bin/sh: archive_command, restore_command and COPY PROGRAM need it"


def _context(code: int) -> Any:
    return SimpleNamespace(
        children=SimpleNamespace(run=lambda *_, **__: code),
        environment={},
        who=SimpleNamespace(uid=999),
    )


def test_a_shell_that_works() -> None:
    """Nothing is reported."""
    assert programs.check_shell(_context(0)) is None


def test_a_broken_shell_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """The problem names what needs the shell, in terms that users know."""
    wrong = Problem("/bin/sh ends with code 126 if uid 999 runs it", MEND)
    assert wrong == programs.check_shell(_context(126))
    monkeypatch.setattr(os.path, "exists", lambda _: False)
    missing = Problem("/bin/sh is missing: the server's commands would end with code 127", MEND)
    assert missing == programs.check_shell(_context(0))
