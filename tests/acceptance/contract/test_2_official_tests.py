"""Section 2 of the contract: the assertions of the test suite for official images, written by us."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import pytest

from containers import FRESH, SLIM, Container, build, run, serve

WITH_SPACES = {
    "POSTGRES_USER": "my cool user",
    "POSTGRES_PASSWORD": "my cool password",
    "POSTGRES_DB": "my cool database",
}

Ask = Callable[[str], str]


def client_of(container: Container, env: Mapping[str, str]) -> Ask:
    """A function that queries the server from a new container of the same image, linked to it."""
    options = ("--link", f"{container.name}:postgres", "--entrypoint", "psql")
    name = ("--host", "postgres", "--username", env["POSTGRES_USER"], "--dbname", env["POSTGRES_DB"])

    def ask(query: str) -> str:
        given = {"PGPASSWORD": env["POSTGRES_PASSWORD"]}
        outcome = run(
            *name, "--quiet", "--no-align", "--tuples-only", "-c", query, env=given, options=options
        )
        assert outcome.code == 0, outcome.output
        return outcome.stdout.strip()

    return ask


def test_utc() -> None:
    """The time zone is UTC."""
    assert "UTC\n" == run("+%Z", options=("--entrypoint", "date")).stdout


def fields(file: str) -> list[list[str]]:
    """Names and passwords of a file of accounts, read as root."""
    options = ("--user", "0:0", "--entrypoint", "cut")
    outcome = run("-d:", "-f1,2", file, options=options)
    assert outcome.code == 0 or file == "/etc/shadow", outcome.output
    return [line.split(":") for line in outcome.stdout.splitlines()]


def test_no_hard_coded_passwords() -> None:
    """Root's password is not empty, and nobody has a real one."""
    passwd = fields("/etc/passwd")
    shadow = fields("/etc/shadow") if any(password == "x" for _, password in passwd) else []
    assert "root" in dict(passwd)
    for accounts in (passwd, shadow):
        assert "" != dict(accounts).get("root")
        assert [] == [name for name, password in accounts if password.startswith("$")]


@pytest.mark.parametrize("options", [("--entrypoint", "echo"), ()])
def test_override_cmd(options: tuple[str, ...]) -> None:
    """The output of the user's own command is unchanged."""
    command = ("Hello World!",) if options else ("echo", "Hello World!")
    assert (0, "Hello World!\n", "") == run(*command, options=options)


@pytest.fixture(scope="module")
def basic() -> Iterator[Container]:
    """A server whose user, password and database have spaces."""
    with serve(env={**FRESH, **WITH_SPACES}) as container:
        yield container


def test_postgres_basics(basic: Container) -> None:
    """A table can be created, filled, counted and emptied from a linked container."""
    ask = client_of(basic, WITH_SPACES)
    ask("CREATE TABLE test (a INT, b INT, c VARCHAR(255))")
    assert "0" == ask("SELECT COUNT(*) FROM test")
    ask("INSERT INTO test VALUES (1, 2, 'hello')")
    assert "1" == ask("SELECT COUNT(*) FROM test")
    ask("INSERT INTO test VALUES (2, 3, 'goodbye!')")
    assert "2" == ask("SELECT COUNT(*) FROM test")
    ask("DELETE FROM test WHERE a = 1")
    assert "goodbye!" == ask("SELECT c FROM test")


@pytest.mark.skipif(SLIM, reason="the image has no LLVM")
def test_postgres_basics_jit(basic: Container) -> None:
    """The server can compile expressions."""
    assert "t" == client_of(basic, WITH_SPACES)("SET jit = on; SELECT pg_jit_available()")


def test_postgres_initdb() -> None:
    """An init file in a derived image runs, and its row exists."""
    initdb = (
        "CREATE TABLE test (a INT, b INT, c VARCHAR(255));\nINSERT INTO test VALUES (1, 2, 'goodbye!');\n"
    )
    dockerfile = "FROM IMAGE\nCOPY initdb.sql /docker-entrypoint-initdb.d/\n"
    with (
        build(dockerfile, {"initdb.sql": initdb}) as image,
        serve(env={**FRESH, **WITH_SPACES}, image=image) as container,
    ):
        ask = client_of(container, WITH_SPACES)
        assert "1" == ask("SELECT COUNT(*) FROM test")
        assert "goodbye!" == ask("SELECT c FROM test")
