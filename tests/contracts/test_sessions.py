"""One module for sessions: no other module starts a client or decides how to connect."""

from __future__ import annotations

import ast
import re

import pytest

from repository import REPOSITORY

DOOR = "entrypoint/server/sessions.py"
CLIENTS = """
    clusterdb createdb createuser dropdb dropuser pg_amcheck pg_dump pg_dumpall pg_isready pg_restore psql psycopg
    reindexdb vacuumdb
""".split()
RULES = ("PGOPTIONS", "PGSERVICE", "PGHOST", "PGHOSTADDR", "PGAPPNAME", "PGCONNECT_TIMEOUT")
"""Variables that control a session."""

ALLOWED = {
    ("entrypoint/doctor/look/server.py", "psql"): "is looked for, not started",
    ("entrypoint/standby/peer.py", "psql"): "asks another server, by its own connection string",
    ("entrypoint/archivers/walg.py", "PGHOST"): "wal-g's own settings file says where the server is",
}


def _constants(path: str) -> set[str]:
    """All texts of a module except its docstrings."""
    tree = ast.parse((REPOSITORY / path).read_text(encoding="utf-8"))
    told = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    return {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in told
    }


def _modules() -> list[str]:
    found = sorted(path.relative_to(REPOSITORY) for path in (REPOSITORY / "entrypoint").rglob("*.py"))
    return [str(path) for path in found if str(path) != DOOR]


def _called(text: str) -> set[str]:
    """The clients that are a word of a command line in this text, or the variable that it names."""
    words = set(re.findall(r"^[\w-]+$|(?:^|[;&|(]\s*|exec\s+)([\w-]+) -", text))
    return {word for word in {text, *words} if word in CLIENTS or word in RULES}


@pytest.mark.parametrize("path", _modules())
def test_nobody_else_starts_a_client(path: str) -> None:
    """No other module builds a command line for a client or sets a variable of libpq."""
    found = {word for text in _constants(path) for word in _called(text)}
    assert set() == {word for word in found if (path, word) not in ALLOWED}


def test_a_client_would_be_found() -> None:
    """The module itself contains them, and so do the exceptions; otherwise the test above would prove nothing."""
    assert {"psql", "pg_amcheck", "PGOPTIONS"} <= {
        word for text in _constants(DOOR) for word in _called(text)
    }
    for path, word in ALLOWED:
        assert word in {each for text in _constants(path) for each in _called(text)}
    assert {"psql"} == _called("exec psql --dbname x")
