"""Row 3.17: everything is checked before anything is written, and all mistakes are reported at once."""

from __future__ import annotations

import pytest

from containers import FRESH, Outcome, complaints, create, run

pytestmark = pytest.mark.better

BOTH = {"POSTGRES_USER": "a", "POSTGRES_USER_FILE": "/given"}


def checked(*arguments: str, env: dict[str, str]) -> Outcome:
    """The exit of a start that left the volume unchanged."""
    given = {**env, "PGDATA": "/volume/data"}
    options = ("--mount", "type=volume,destination=/volume")
    with create(*arguments, env=given, files={"/given": "b\n"}, options=options) as container:
        before = container.tree("/volume")
        outcome = container.finish()
        assert before == container.tree("/volume")
        return outcome


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({}, ("POSTGRES_PASSWORD",)),
        ({**FRESH, "POSTGRES_PASSWORD": ""}, ("POSTGRES_PASSWORD",)),
        ({**FRESH, "POSTGRES_PASSWORD_FILE": "/given"}, ("POSTGRES_PASSWORD", "POSTGRES_PASSWORD_FILE")),
        ({**FRESH, **BOTH}, ("POSTGRES_USER", "POSTGRES_USER_FILE")),
        ({**FRESH, "POSTGRES_DB_FILE": "/no/such/file"}, ("POSTGRES_DB_FILE", "/no/such/file")),
        ({**FRESH, "POSTGRES_DB_FILE": "/etc"}, ("POSTGRES_DB_FILE", "/etc")),
        ({**FRESH, "POSTGRES_HOST_AUTH_METHOD": "bogus"}, ("POSTGRES_HOST_AUTH_METHOD", "scram-sha-256")),
        ({**FRESH, "POSTGRES_HOST_AUTH_METHOD": "scram-sha256"}, ("AUTH_METHOD", "scram-sha-256")),
    ],
)
def test_mistake_in_the_environment(env: dict[str, str], words: tuple[str, ...]) -> None:
    """One message names the variable and its mistake; exit code 1."""
    outcome = checked(env=env)
    [message] = complaints(outcome)
    assert outcome.code == 1
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("-c", "nosuch=1"), "nosuch"),
        (("-c", "shared_buffers=lots"), "shared_buffers"),
        (("--nosuch=1",), "nosuch"),
        (("postgres", "-c", "work_mem=7MB", "-c", "max_connections=-5"), "max_connections"),
        (("-Q",), "Q"),
    ],
)
def test_mistake_in_the_arguments(arguments: tuple[str, ...], word: str) -> None:
    """The server would not accept the arguments: one message, exit code 1."""
    outcome = checked(*arguments, env=dict(FRESH))
    [message] = complaints(outcome)
    assert (1, True) == (outcome.code, word in message)


@pytest.mark.parametrize("value", ["--locale='C", 'a "b', "$(echo"])
def test_mistake_in_the_quotes(value: str) -> None:
    """The shell cannot parse the arguments of initdb: exit code 2, as from the shell."""
    outcome = checked(env={**FRESH, "POSTGRES_INITDB_ARGS": value})
    [message] = complaints(outcome)
    assert (2, True) == (outcome.code, "POSTGRES_INITDB_ARGS" in message)


def test_all_mistakes_at_once() -> None:
    """One start reports four mistakes in four messages."""
    env = {**BOTH, "POSTGRES_DB_FILE": "/no/such/file", "POSTGRES_HOST_AUTH_METHOD": "bogus"}
    outcome = checked("-c", "nosuch=1", env=env)
    text = "".join(complaints(outcome))
    assert outcome.code == 1
    for word in ("POSTGRES_PASSWORD", "POSTGRES_USER_FILE", "/no/such/file", "AUTH_METHOD", "nosuch"):
        assert word in text


def test_mistake_in_the_arguments_on_a_used_volume(used_volume: str) -> None:
    """The message is as clear if a cluster exists."""
    outcome = run("-c", "nosuch=1", env={"PGDATA": "/volume/data"}, volumes={"/volume": used_volume})
    [message] = complaints(outcome)
    assert (1, True) == (outcome.code, "nosuch" in message)
