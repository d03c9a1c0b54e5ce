"""POSTGRES_PASSWORD on an existing cluster: compared with the stored password, and stored on request."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import pytest

import containers
from containers import FRESH, Container, complaints, copied_volume, docker, run, script, serve, until
from entrypoint.postgres.passwords import is_stored

DATA = {"PGDATA": "/volume/data"}
WARNING = "POSTGRES_PASSWORD is not the password of"
NEW = "brand-new p\u00e4ssword"
Wait = Callable[[Container], None]


@pytest.fixture(scope="module", params=["scram-sha-256", "md5"])
def method(request: pytest.FixtureRequest) -> str:
    """How the server stores passwords."""
    return str(request.param)


@pytest.fixture(scope="module")
def made(method: str) -> Iterator[str]:
    """A volume whose cluster stores the password `secret` of the role boss with this method."""
    with containers.volume() as name:
        env = {**FRESH, **DATA, "POSTGRES_USER": "boss"}
        with serve("-c", f"password_encryption={method}", env=env, volumes={"/volume": name}) as container:
            # The first start has stored it with the default method.
            container.sql("ALTER ROLE boss PASSWORD 'secret'", user="boss")
            container.sql(f"ALTER SYSTEM SET password_encryption = '{method}'", user="boss")
            stored = container.sql("SELECT rolpassword FROM pg_authid WHERE rolname = 'boss'", user="boss")
            assert stored.startswith("md5" if method == "md5" else "SCRAM"), stored
            assert 0 == container.stop()
        yield name


@pytest.fixture
def cluster(made: str) -> Iterator[str]:
    """A copy of that volume."""
    with copied_volume(made) as copy:
        yield copy


def _env(password: str, **more: str) -> dict[str, str]:
    return {**DATA, "POSTGRES_USER": "boss", "POSTGRES_PASSWORD": password, **more}


def _compared(container: Container) -> None:
    """Wait until the comparison is over."""
    until(lambda: "password:" not in container.exec("entrypoint", "status").stdout, "compared")


def _accepts(container: Container, password: str) -> bool:
    argv = ("psql", "-XAtwq", "-h", container.address, "-U", "boss", "-c", "SELECT 1")
    return container.exec(*argv, env={"PGPASSWORD": password}, check=False).code == 0


@pytest.mark.parametrize("password", ["secret", "Secret"])
def test_another_password_is_warned_of(cluster: str, password: str) -> None:
    """A warning says that it is not the stored one and how to store it; the right one causes no message."""
    with serve(env=_env(password), volumes={"/volume": cluster}) as container:
        _compared(container)
        output = container.logs().output
        assert (password != "secret") == (f"{WARNING} boss" in output)
        assert (password != "secret") == ("-e POSTGRES_PASSWORD_UPDATE=on" in output)
        assert "secret" not in output.lower().replace("handle-secrets", ""), "the name of the page is no leak"
        assert _accepts(container, "secret")


def test_it_is_changed_on_request(cluster: str, method: str, until_ready: Wait) -> None:
    """It is stored before the server is ready, with the server's own method; nobody else sees it."""
    env = _env(
        NEW, POSTGRES_PASSWORD_UPDATE="on", POSTGRES_CONF_shared_preload_libraries="pg_stat_statements"
    )
    spy = '#!/bin/sh\necho "$*" >> /tmp/seen\nexec /usr/lib/postgresql/*/bin/psql "$@"\n'
    noisy = (
        "log_statement=all log_min_duration_statement=0 log_min_error_statement=debug5 debug_print_parse=on"
    )
    arguments = [word for setting in noisy.split() for word in ("-c", setting)]
    files: containers.Files = {"/usr/local/bin/psql": script(spy)}
    with serve(*arguments, env=env, files=files, volumes={"/volume": cluster}) as container:
        until_ready(container)
        assert _accepts(container, NEW)
        assert not _accepts(container, "secret")
        stored = container.sql("SELECT rolpassword FROM pg_authid WHERE rolname = 'boss'", user="boss")
        assert stored.startswith("md5" if method == "md5" else "SCRAM-SHA-256$4096:")
        container.sql("CREATE EXTENSION pg_stat_statements", user="boss")
        kept = container.sql("SELECT string_agg(query, ' ') FROM pg_stat_statements", user="boss")
        seen = container.shell("cat /tmp/seen")
        output = container.logs().output
        assert "--quiet" in seen
        assert "SELECT json_build_object" in output, "the log shows statements"
        assert [] == [
            (what, text)
            for text in (output, seen, kept)
            for what in (NEW, stored, "ALTER ROLE")
            if what in text
        ]
        assert "POSTGRES_PASSWORD is now the password of boss" in output
        # From now on the new password is the stored one.
        assert 0 == container.stop()
        container.again()
        until_ready(container)
        assert 1 == container.logs().output.count("is now the password of")
        assert WARNING not in container.logs().output


def test_nobody_waits_for_a_comparison(cluster: str, until_ready: Wait) -> None:
    """The server is ready before the comparison is made."""
    slow = '#!/bin/sh\ntouch /tmp/begun\nwhile [ ! -e /tmp/go ]; do sleep 0.1; done\nexec /usr/lib/postgresql/*/bin/psql "$@"\n'
    files: containers.Files = {"/usr/local/bin/psql": script(slow)}
    with serve(env=_env("other"), files=files, volumes={"/volume": cluster}) as container:
        until_ready(container)
        until(lambda: container.exec("test", "-e", "/tmp/begun", check=False).code == 0, "it is compared")
        assert WARNING not in container.logs().output
        container.shell("touch /tmp/go")
        container.says(WARNING)


def test_an_update_without_a_password_is_refused(cluster: str) -> None:
    """It is refused before anything is done."""
    ended = run(env=_env("", POSTGRES_PASSWORD_UPDATE="on"), volumes={"/volume": cluster})
    assert 1 == ended.code
    assert "POSTGRES_PASSWORD is empty" in complaints(ended)[0]


def test_nothing_is_compared_at_a_first_start() -> None:
    """A first start has just stored the password."""
    with serve() as container:
        assert "helper" not in container.exec("entrypoint", "status").stdout


@pytest.mark.parametrize("password", ["secret", "wrong"])
def test_a_server_that_requires_it_locally(password: str) -> None:
    """If local connections also require the password, a wrong one causes a warning, and the server serves."""
    env = {**FRESH, **DATA, "POSTGRES_INITDB_ARGS": "--no-sync --auth-local=scram-sha-256"}
    with containers.volume() as name:
        with serve(env=env, volumes={"/volume": name}) as container:
            assert 0 == container.stop()
        with serve(env={**DATA, "POSTGRES_PASSWORD": password}, volumes={"/volume": name}) as container:
            _compared(container)
            output = container.logs().output
            assert (password == "wrong") == ("cannot compare POSTGRES_PASSWORD" in output)
            assert (password == "wrong") == ("password authentication failed" in output)
            assert WARNING not in output


def test_passwords_are_prepared_as_the_server_does(server: Container) -> None:
    """For passwords from all of Unicode, our comparison equals what the server stores."""
    dice = random.Random(7677)
    ranges = (
        (32, 0x7E),
        (0xA0, 0x2FF),
        (0x590, 0x6FF),
        (0x2000, 0x2200),
        (0x3000, 0x30FF),
        (0xF900, 0xFFEF),
        (0x1F300, 0x1FAFF),
    )
    passwords = []
    for _ in range(400):
        picked = [dice.choice(ranges) for _ in range(dice.randint(1, 5))]
        passwords.append("".join(chr(dice.randint(*each)) for each in picked))
    statements = [
        f"CREATE ROLE r{number} PASSWORD $dice${password}$dice$;" for number, password in enumerate(passwords)
    ]
    look = "SELECT rolname, rolpassword FROM pg_authid WHERE rolname ~ '^r[0-9]' ORDER BY substr(rolname, 2)::int;"
    text = "\n".join(["BEGIN;", "SET password_encryption = 'scram-sha-256';", *statements, look, "ROLLBACK;"])
    rows = docker(
        "exec", "-i", server.name, "psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-U", "postgres", stdin=text
    ).stdout.splitlines()
    stored = dict(row.split("|") for row in rows)
    assert len(passwords) == len(stored)
    wrong = [
        ascii(password)
        for number, password in enumerate(passwords)
        if not is_stored(stored[f"r{number}"], password, f"r{number}")
    ]
    assert [] == wrong
