"""`STATUS_LOG_FORMAT=json`: every line of the container is one object, and none is lost or torn."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import containers
from containers import FRESH, READY, Container, Outcome, script, serve

JSON = {"STATUS_LOG_FORMAT": "json"}
USED = {"PGDATA": "/volume/data", **JSON}
INIT = "/docker-entrypoint-initdb.d"
FILES: containers.Files = {
    f"{INIT}/1.sh": script("#!/bin/bash\necho printed; printf 'two\\nlines\\n' >&2; printf unfinished\n"),
    f"{INIT}/2.sql": "DO $$BEGIN RAISE LOG E'of an\\ninit file' USING HINT = 'do this'; END$$;\n",
}
WRITER = """for each in /proc/[0-9]*; do
    if tr '\\0' ' ' <$each/cmdline | grep -q 'internal lo[g]'; then echo ${each#/proc/}; fi
done 2>/dev/null"""


def _objects(outcome: Outcome) -> list[dict[str, Any]]:
    """The objects of both streams, of which each line is one."""
    lines = [*outcome.stdout.split("\n")[:-1], *outcome.stderr.split("\n")[:-1]]
    found = [json.loads(line) for line in lines]
    assert lines
    assert [["ts", "level", "source", "msg"]] * len(found) == [[*each][:4] for each in found]
    return found


def _messages(container: Container, source: str) -> list[str]:
    return [each["msg"] for each in _objects(container.logs()) if each["source"] == source]


@pytest.fixture(scope="module")
def server() -> Iterator[Container]:
    """A server after a first start with init files."""
    with serve(env={**FRESH, **JSON}, files=FILES) as container:
        yield container


def test_a_first_start(server: Container) -> None:
    """The lines of init files, of the server and of the entrypoint are objects; tools find what they wait for."""
    found = _objects(server.logs())
    init = [each["msg"] for each in found if each["source"] == "init"]
    assert {"printed", "two", "lines", "DO"} <= {*init}
    assert "unfinished" in "".join(init)
    assert 2 == [each["msg"] for each in found].count(READY)
    complete = "PostgreSQL init process complete; ready for start up."
    assert [("entrypoint", "info")] == [
        (each["source"], each["level"]) for each in found if each["msg"] == complete
    ]
    (raised,) = (each for each in found if each["msg"].startswith("of an"))
    assert ("of an\ninit file", "info", "LOG", "do this") == tuple(
        raised[name] for name in ("msg", "level", "error_severity", "hint")
    )


def test_an_error_is_one_object_with_the_names_of_postgresql(server: Container) -> None:
    """Its statement of several lines, its DETAIL and its code are fields."""
    server.sql("CREATE TABLE numbers (number int PRIMARY KEY)")
    statement = "INSERT INTO numbers\nVALUES (1), (1)"
    server.exec("psql", "--username", "postgres", "--command", statement, check=False)
    server.says("duplicate key")
    (found,) = (each for each in _objects(server.logs()) if "duplicate key" in each["msg"])
    expected = {
        "level": "error",
        "source": "postgres",
        "error_severity": "ERROR",
        "state_code": "23505",
        "detail": "Key (number)=(1) already exists.",
        "statement": statement,
        "dbname": "postgres",
    }
    assert expected == {name: found[name] for name in expected}


def test_what_programs_of_the_server_print(server: Container) -> None:
    """It comes through the collector as text, and is an object as well."""
    server.sql("COPY (SELECT 'printed by a program') TO PROGRAM 'cat >&2'")
    server.says("printed by a program")
    assert "printed by a program" in _messages(server, "postgres")


def test_people_get_text(server: Container) -> None:
    """Only the container's log is JSON."""
    assert "phase" in server.exec("entrypoint", "status").stdout
    asked = server.exec("entrypoint", "backup", "list", check=False)
    assert asked.stderr.startswith("entrypoint: error: ")


def test_nothing_is_lost_or_torn(server: Container) -> None:
    """Four sessions write as fast as they can, also lines that are longer than what a pipe takes at once."""
    count = 10_000
    text = f"""DO $$ BEGIN FOR number IN 1..{count} LOOP
        RAISE LOG 'flood %s % %', number, CASE number % 50 WHEN 0 THEN repeat('x', 9000) ELSE 'short' END;
    END LOOP; END $$"""
    sessions = [
        threading.Thread(target=server.sql, args=(text.replace("%s", str(each)),)) for each in range(4)
    ]
    for session in sessions:
        session.start()
    for session in sessions:
        session.join()
    server.sql("DO $$BEGIN RAISE LOG 'after the flood'; END$$")
    server.says("after the flood")
    found = [each for each in _messages(server, "postgres") if each.startswith("flood ")]
    for each in range(4):
        expected = [
            f"flood {each} {number} {'short' if number % 50 else 'x' * 9000}"
            for number in range(1, count + 1)
        ]
        assert expected == [line for line in found if line.startswith(f"flood {each} ")]


def test_the_process_that_writes_the_log_is_killed(server: Container) -> None:
    """What it had not read yet is still written, by the next one, and the server does not notice."""
    postmaster, pid = server.postmaster(), server.shell(WRITER)
    server.shell(f"kill -STOP {pid}")
    server.sql("DO $$BEGIN FOR number IN 1..500 LOOP RAISE LOG 'kept %', number; END LOOP; END$$")
    server.shell(f"kill -KILL {pid}")
    server.says("kept 500")
    kept = [each for each in _messages(server, "postgres") if each.startswith("kept ")]
    assert [f"kept {number}" for number in range(1, 501)] == kept
    server.says("is started again")
    assert postmaster == server.postmaster()
    assert pid != server.shell(WRITER)


def test_a_restart_and_a_stop(used_volume: str) -> None:
    """The last lines of the server and of PID 1 are there, and the exit code is the server's.

    The user's own settings win: then the server's text becomes objects.
    """
    arguments = ("-c", "log_destination=stderr", "-c", "log_timezone=Europe/Berlin")
    with serve(*arguments, env=USED, volumes={"/volume": used_volume}) as container:
        container.exec("psql", "--username", "postgres", "--command", "SELECT\n\t1/0", check=False)
        container.says("division by zero")
        assert 0 == container.stop()
        found = _objects(container.logs())
    assert (
        "database system is shut down" == [each["msg"] for each in found if each["source"] == "postgres"][-1]
    )
    said = [each for each in found if each["source"] == "entrypoint"]
    assert "SIGINT: fast shutdown" == said[-1]["msg"]
    (warning,) = (each for each in said if each["level"] == "warning")
    assert "read-the-logs" == warning["docs"]
    (error,) = (each for each in found if each["msg"] == "division by zero")
    assert ("error", "SELECT\n\t1/0") == (error["level"], error["statement"])
    assert error["ts"].endswith(("+01:00", "+02:00"))


@pytest.mark.parametrize(
    "env", [{}, {"PGDATA": "data"}, {"STOP_FAST_TIMEOUT": "soon"}], ids=["no-password", "first", "settings"]
)
def test_a_refusal(env: dict[str, str]) -> None:
    """What is wrong is an object with the hint, however early it is noticed."""
    outcome = containers.run(env={**JSON, **env})
    found = _objects(outcome)
    assert 1 == outcome.code
    assert {("error", "entrypoint")} == {(each["level"], each["source"]) for each in found}
    assert all(each["hint"] for each in found)
