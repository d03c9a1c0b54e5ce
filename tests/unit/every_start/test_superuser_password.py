"""POSTGRES_PASSWORD and the stored password."""

from __future__ import annotations

from typing import Any

import pytest

from entrypoint.errors import Failure, Problem
from entrypoint.every_start import superuser_password
from entrypoint.postgres import passwords
from entrypoint.server import login, sessions
from entrypoint.server.context import Context
from unit import made
from unit.made import NO_CHILDREN, POSTGRES

UPDATE = {"POSTGRES_PASSWORD_UPDATE": "on"}
SCRAM = {"password_encryption": "scram-sha-256", "scram_iterations": "10"}


class Server:
    """A server with this stored verifier, which accepts the right password in PGPASSWORD."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.stored: str | None = passwords.scram("secret", b"salt" * 4, 10)
        self.settings: dict[str, str] = SCRAM
        self.lets_in: tuple[str | None, ...] = (None, "secret", "old")
        self.changes: list[str] = []
        self.kept: list[str | None] = []
        monkeypatch.setattr(sessions, "query_json", self._query_json)
        monkeypatch.setattr(sessions, "query", lambda _, text, **__: self.changes.append(text))
        monkeypatch.setattr(login, "keep_password", lambda context, _: self.kept.append(_password(context)))
        monkeypatch.setattr(login, "asks_for_password", lambda _: True)

    def _query_json(self, context: Context, *_: object, **__: object) -> dict[str, Any]:
        if _password(context) not in self.lets_in:
            raise sessions.Unreachable(Problem("password authentication failed", "look"))
        return {"stored": self.stored, "hba": "/hba", "settings": self.settings}


def _password(context: Context) -> str | None:
    return context.environment.get("PGPASSWORD")


def _check(values: dict[str, str] | None = None, environment: dict[str, str] | None = None) -> str | None:
    context = Context(made.settings(values), NO_CHILDREN, POSTGRES, "/run/entrypoint", environment or {})
    return _password(superuser_password.check(context))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    """Return a server whose password is that of the settings."""
    return Server(monkeypatch)


@pytest.mark.parametrize("more", [{}, UPDATE])
def test_the_same_password_changes_nothing(
    server: Server, capfd: pytest.CaptureFixture[str], more: dict[str, str]
) -> None:
    """Nothing is logged, and nothing is written."""
    assert _check(more) is None
    assert ([], "") == (server.changes, capfd.readouterr().err)


@pytest.mark.parametrize("stored", [None, passwords.md5("other", "postgres")])
def test_another_password_is_reported(
    server: Server, capfd: pytest.CaptureFixture[str], stored: str | None
) -> None:
    """The password is not changed unless the user requests that."""
    server.stored = stored
    _check()
    assert [] == server.changes
    assert "POSTGRES_PASSWORD is not the password of postgres" in capfd.readouterr().err


def test_an_unknown_verifier_is_not_judged(server: Server, capfd: pytest.CaptureFixture[str]) -> None:
    """A later PostgreSQL may store passwords in another way."""
    server.stored = "ARGON$x"
    _check()
    assert ([], "") == (server.changes, capfd.readouterr().err)
    _check(UPDATE)
    assert 1 == len(server.changes)


@pytest.mark.parametrize(
    ("settings", "kind"), [(SCRAM, "SCRAM-SHA-256$10:"), ({"password_encryption": "md5"}, "md5")]
)
def test_the_password_is_changed_on_request(server: Server, settings: dict[str, str], kind: str) -> None:
    """It is stored as the server's settings say, never in plain text; our sessions then use the new one."""
    server.stored, server.settings = passwords.md5("other", "postgres"), settings
    assert "secret" == _check(UPDATE)
    (change,) = server.changes
    assert change.startswith(f"ALTER ROLE CURRENT_USER PASSWORD '{kind}")
    assert "secret" not in change
    assert "secret" == server.kept[-1]


def test_an_outdated_pgpassword(server: Server) -> None:
    """PGPASSWORD takes precedence; if the server rejects it, POSTGRES_PASSWORD is tried."""
    server.lets_in = ("secret",)
    assert "secret" == _check({}, {"PGPASSWORD": "left over"})
    server.lets_in = ("old",)
    assert "old" == _check({}, {"PGPASSWORD": "old"})


def test_a_server_that_lets_nobody_in(server: Server, capfd: pytest.CaptureFixture[str]) -> None:
    """This is logged and ends nothing, unless the password must be changed."""
    server.lets_in = ()
    _check()
    assert "cannot compare POSTGRES_PASSWORD with the stored password" in capfd.readouterr().err
    with pytest.raises(Failure):
        _check(UPDATE)
