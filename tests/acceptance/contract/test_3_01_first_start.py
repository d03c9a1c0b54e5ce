"""Row 3.1: a first start that failed or was killed never serves half a database."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

import containers
from containers import (
    FRESH,
    Container,
    Files,
    Outcome,
    complaints,
    create,
    in_volume,
    run,
    script,
    serve,
    start,
)

INIT = "/docker-entrypoint-initdb.d"
ENV = {**FRESH, "PGDATA": "/volume/data", "POSTGRES_DB": "app"}

#: Three files, the second of which fails.
FAILING: Files = {
    f"{INIT}/1.sql": "CREATE TABLE first (a int);",
    f"{INIT}/2.sql": "CREATE TABLE second (a int); SELECT nothing;",
    f"{INIT}/3.sql": "CREATE TABLE third (a int);",
}
MENDED: Files = {**FAILING, f"{INIT}/2.sql": "CREATE TABLE second (a int);"}
WAITING: Files = {**MENDED, f"{INIT}/2.sh": "echo waiting now\nsleep 60\n"}

TABLES = (
    "SELECT string_agg(relname, ',' ORDER BY relname) FROM pg_class WHERE relname ~ '^(first|second|third)$'"
)

UNFINISHED = 10
KILLS = 20


def attempt(volume: str, files: Files, **env: str) -> Outcome:
    """The exit of a start on the volume that must end by itself."""
    return run(env={**ENV, **env}, files=files, volumes={"/volume": volume})


def refused(volume: str, name: str) -> None:
    """The next start refuses, names the file and both ways to continue, and changes nothing."""
    with create(env=ENV, files=MENDED, volumes={"/volume": volume}) as container:
        before = container.tree("/volume")
        outcome = container.finish()
        text = " ".join(complaints(outcome))
        assert outcome.code == UNFINISHED, outcome.output
        for word in (f"{INIT}/{name}", "/volume", "POSTGRES_INIT_UNFINISHED=restart"):
            assert word in text
        assert before.keys() == container.tree("/volume").keys()


def completes(volume: str) -> None:
    """The next start completes the initialization by itself."""
    with serve(env=ENV, files=MENDED, volumes={"/volume": volume}) as container:
        assert "first,second,third" == container.sql(TABLES, database="app")
        assert "" == container.shell("ls -d $PGDATA/entrypoint.unfinished 2> /dev/null || true")


@pytest.mark.better
def test_failed_file_is_refused_at_the_next_start(volume: str) -> None:
    """After an error in an init file the temporary server stops, and the next start names the file."""
    first = attempt(volume, FAILING)
    assert (3, True) == (first.code, "database system is shut down" in first.output)
    assert "" == in_volume(volume, "find . -name postmaster.pid")
    refused(volume, "2.sql")
    refused(volume, "2.sql")


@pytest.mark.better
def test_unfinished_cluster_can_be_moved_aside(volume: str) -> None:
    """POSTGRES_INIT_UNFINISHED=restart keeps the unfinished cluster in another folder and makes a new one."""
    attempt(volume, FAILING)
    env = {**ENV, "POSTGRES_INIT_UNFINISHED": "restart"}
    with serve(env=env, files=MENDED, volumes={"/volume": volume}) as container:
        assert "first,second,third" == container.sql(TABLES, database="app")
        assert "PG_VERSION" in container.shell("ls $PGDATA/unfinished-*/")
        container.stop()
        container.again()
        assert "first,second,third" == container.sql(TABLES, database="app")
        assert "1" == container.shell("ls -d $PGDATA/unfinished-* | wc -l")


def test_setting_does_nothing_to_a_finished_cluster(used_volume: str) -> None:
    """POSTGRES_INIT_UNFINISHED=restart may stay set for ever."""
    env = {"PGDATA": "/volume/data", "POSTGRES_INIT_UNFINISHED": "restart"}
    with serve(env=env, volumes={"/volume": used_volume}) as container:
        assert "42" == container.sql("SELECT answer FROM kept")
        assert "" == container.shell("ls -d $PGDATA/unfinished-*/ 2> /dev/null || true")


@pytest.mark.better
def test_sourced_exit_is_a_failure(volume: str) -> None:
    """A sourced file that exits, even with 0, has not finished: exit code 1 and its name."""
    outcome = attempt(volume, {**MENDED, f"{INIT}/2.sh": "exit 0\n"})
    assert (1, True) == (outcome.code, any(f"{INIT}/2.sh" in text for text in complaints(outcome)))
    refused(volume, "2.sh")


@pytest.mark.better
def test_failure_before_any_init_file_is_repaired(volume: str) -> None:
    """If the temporary server did not come up in time, the next start begins from scratch."""
    assert 1 == attempt(volume, MENDED, PGCTLTIMEOUT="0").code
    completes(volume)


@pytest.mark.better
def test_kill_in_initdb_is_repaired(volume: str) -> None:
    """If initdb was killed, the next start begins from scratch."""
    with start(
        env={**ENV, "POSTGRES_INITDB_ARGS": "--encoding=UTF8"}, files=MENDED, volumes={"/volume": volume}
    ) as container:
        container.says("creating configuration files ... ok")
        container.kill()
        container.wait()
    completes(volume)


@pytest.mark.better
def test_kill_in_an_init_file_is_refused_at_the_next_start(volume: str) -> None:
    """If an init file was running, nobody knows what it has done."""
    with start(env=ENV, files=WAITING, volumes={"/volume": volume}) as container:
        container.says("waiting now")
        container.kill()
        container.wait()
    refused(volume, "2.sh")


@pytest.mark.better
def test_marker_is_there_until_the_end(volume: str) -> None:
    """While init files run, the folder of the unfinished start exists; afterwards it is gone."""
    look = {f"{INIT}/1.sh": 'ls -A "$PGDATA" > /tmp/meanwhile\n'}
    with serve(env=ENV, files=look, volumes={"/volume": volume}) as container:
        assert "entrypoint.unfinished" in container.shell("cat /tmp/meanwhile").splitlines()
        assert "entrypoint.unfinished" not in container.shell('ls -A "$PGDATA"').splitlines()


SWEPT: Files = {
    f"{INIT}/1.sql": "CREATE TABLE rows AS SELECT generate_series(1, 1000) AS n;",
    f"{INIT}/2.sh": script("#!/bin/bash\nsleep 0.2\n"),
    f"{INIT}/3.sh": "\"${psql[@]}\" -c 'INSERT INTO rows SELECT generate_series(1001, 2000)'\nsleep 0.2\n",
    f"{INIT}/4.sql": "INSERT INTO rows SELECT generate_series(2001, 3000);",
}


@pytest.fixture(scope="module")
def whole_time() -> Iterator[float]:
    """The duration of a first start until the server is ready."""
    began = time.monotonic()
    with containers.volume() as name, serve(env=ENV, files=SWEPT, volumes={"/volume": name}):
        yield time.monotonic() - began


@pytest.mark.better
@pytest.mark.long
@pytest.mark.parametrize("point", range(KILLS))
def test_kill_at_any_time(volume: str, whole_time: float, point: int) -> None:
    """Whenever SIGKILL hits a first start, the next one completes it or refuses."""
    with start(env=ENV, files=SWEPT, volumes={"/volume": volume}) as container:
        time.sleep(whole_time * (point + 0.5) / KILLS)
        container.kill()
        container.wait()
    with start(env=ENV, files=SWEPT, volumes={"/volume": volume}) as container:
        outcome = serves_or_ends(container)
        if outcome is None:
            assert "3000" == container.sql("SELECT count(*) FROM rows", database="app")
            assert "" == in_volume(volume, "ls -d data/entrypoint.unfinished 2> /dev/null || true")
        else:
            assert outcome.code == UNFINISHED, outcome.output
            assert INIT in " ".join(complaints(outcome))


def serves_or_ends(container: Container) -> Outcome | None:
    """None once the container serves; its exit if it does not."""
    try:
        container.ready()
    except AssertionError:
        return container.logs()._replace(code=container.wait())
    return None
