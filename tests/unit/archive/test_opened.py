"""The queries to an opened archive, and the failure for an answer that cannot be used."""

from __future__ import annotations

import pytest

from entrypoint import exits
from entrypoint.archive import calls
from entrypoint.archive.opened import OpenedArchive
from entrypoint.archivers.terms import Answer
from entrypoint.errors import Failure
from entrypoint.server.context import Context
from unit import made
from unit.made import NO_CHILDREN, POSTGRES


@pytest.fixture(params=["wal-g", "pgbackrest"])
def opened(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> OpenedArchive:
    """An archive of each tool that nobody has queried yet."""
    settings = made.settings({"ARCHIVE_URL": "file:///archive", "ARCHIVE_TOOL": request.param})
    assert settings.archive is not None
    monkeypatch.setattr(
        calls, "describe_server", lambda context: made.SERVER._replace(port=context.settings.port)
    )
    return OpenedArchive(Context(settings, NO_CHILDREN, POSTGRES, "/run/entrypoint", {}), settings.archive)


def test_the_server_is_described_once(opened: OpenedArchive) -> None:
    """The same archive in another context describes it again."""
    assert opened.server is opened.server
    context = opened.context._replace(settings=opened.settings._replace(port="6000"))
    assert ("6000", "5432") == (opened.with_context(context).server.port, opened.server.port)


def test_both_streams_become_one_text(opened: OpenedArchive, monkeypatch: pytest.MonkeyPatch) -> None:
    """The part to parse comes last."""
    monkeypatch.setattr(OpenedArchive, "ask", lambda *_, **__: Answer(3, "[]", "a warning\n"))
    assert (3, "a warning\n[]") == opened.run_quietly(opened.tool.list_backups(opened.server))


@pytest.mark.parametrize("answer", [Answer(1, "", "connection refused"), Answer(0, "[{}]", "")])
def test_a_list_of_backups_that_cannot_be_used_is_a_failure(
    opened: OpenedArchive, monkeypatch: pytest.MonkeyPatch, answer: Answer
) -> None:
    """The failure names the archive, whether the call fails or its answer cannot be parsed."""
    monkeypatch.setattr(OpenedArchive, "ask", lambda *_, **__: answer)
    with pytest.raises(Failure) as failed:
        opened.list_backups()
    (problem,) = failed.value.problems
    assert exits.ARCHIVE_REFUSED == problem.code
    assert opened.url in problem.what
    assert answer.stderr in problem.what


def test_an_answer_that_cannot_be_parsed_is_a_failure(opened: OpenedArchive) -> None:
    """The failure names the tool and the archive; every other error passes unchanged."""
    with pytest.raises(Failure) as failed, opened.understood():
        raise ValueError("line 3")
    assert (
        f"the answer of {opened.tool.name} about {opened.url} cannot be parsed:\nline 3"
        in failed.value.problems[0].what
    )
    with pytest.raises(OSError, match="gone"), opened.understood():
        raise OSError("gone")
