"""Row 3.18: why an executable init file does not run."""

from __future__ import annotations

import pytest

from containers import FRESH, Files, complaints, run, script

pytestmark = pytest.mark.better

NAME = "/docker-entrypoint-initdb.d/1.sh"


@pytest.mark.parametrize(
    ("files", "code", "words"),
    [
        ({NAME: script("#!/bin/bash\r\ntrue\r\n")}, None, ("CRLF", "/bin/bash")),
        ({NAME: script("#!/no/such/shell\ntrue\n")}, None, ("/no/such/shell",)),
        ({NAME: script("#!/closed\ntrue\n"), "/closed": "x"}, 126, ("/closed", "permission")),
    ],
)
def test_the_reason_is_reported(
    missing_interpreter: int, files: Files, code: int | None, words: tuple[str, ...]
) -> None:
    """Windows line ends, a missing interpreter and a missing permission have different messages."""
    outcome = run(env=FRESH, files=files)
    [message] = complaints(outcome)
    assert (code or missing_interpreter, True) == (outcome.code, NAME in message)
    for word in words:
        assert word.lower() in message.lower()
    assert ("CRLF" in words) == ("CRLF" in message)
