"""Row 3.8: one server for each volume; a leftover lock file does no harm."""

from __future__ import annotations

import time

import pytest

from containers import FRESH, complaints, in_volume, run, script, serve, start

USED = {"PGDATA": "/volume/data"}
TAKEN = 11

#: Leaves a lock file with the pid of a live process of the server's own user, as a restart may.
SHADOW = """#!/bin/bash
gosu postgres sleep 300 &
sleep 0.1
lock="$PGDATA/postmaster.pid"
printf '%s\n' $! "$PGDATA" 1700000000 5432 /var/run/postgresql '*' '  5432001    163840' ready > "$lock"
chown postgres:postgres "$lock"
exec docker-entrypoint.sh postgres
"""


@pytest.mark.better
def test_second_container_refuses(used_volume: str) -> None:
    """A second server on the volume refuses within 5 seconds, without any effect on the first one."""
    with serve(env=USED, volumes={"/volume": used_volume}) as first:
        before = first.logs().output
        with first.session("SELECT pg_sleep(60)") as client:
            began = time.monotonic()
            outcome = run(env=USED, volumes={"/volume": used_volume})
            assert time.monotonic() - began < 5
            assert (TAKEN, True) == (
                outcome.code,
                any("/volume/data" in text for text in complaints(outcome)),
            )
            assert client.poll() is None
        assert before == first.logs().output
        assert "42" == first.sql("SELECT answer FROM kept")


@pytest.mark.better
def test_second_container_refuses_during_the_first_start(volume: str) -> None:
    """The lock is held from the beginning of the initialization."""
    env = {**FRESH, **USED}
    waiting = {"/docker-entrypoint-initdb.d/1.sh": "echo waiting now\nsleep 60\n"}
    with start(env=env, files=waiting, volumes={"/volume": volume}) as first:
        first.says("waiting now")
        assert TAKEN == run(env=env, volumes={"/volume": volume}).code
        assert first.running


def test_two_clusters_on_one_volume(used_volume: str) -> None:
    """Two folders on one volume can have two servers."""
    with serve(env=USED, volumes={"/volume": used_volume}):
        other = {**FRESH, "PGDATA": "/volume/other"}
        with serve(env=other, volumes={"/volume": used_volume}) as second:
            assert "/volume/other" == second.sql("SHOW data_directory")


def test_volume_is_free_after_a_kill(used_volume: str) -> None:
    """The remains of a killed container do not prevent the next start."""
    with serve(env=USED, volumes={"/volume": used_volume}) as first:
        first.kill()
        first.wait()
    with serve(env=USED, volumes={"/volume": used_volume}) as second:
        assert "42" == second.sql("SELECT answer FROM kept")


@pytest.mark.parametrize("pid", ["1", "2", "7", "20", "4194303"])
def test_stale_lock_file(used_volume: str, pid: str) -> None:
    """The server starts if a lock file contains PID 1, a low number as after a restart, or no number."""
    lines = f"{pid} /volume/data 1700000000 5432 /var/run/postgresql '*' '5432001 163840' ready"
    in_volume(
        used_volume, f"printf '%s\\n' {lines} > data/postmaster.pid && chown 999:999 data/postmaster.pid"
    )
    with serve(env=USED, volumes={"/volume": used_volume}) as container:
        assert "42" == container.sql("SELECT answer FROM kept")


@pytest.mark.better
def test_stale_lock_file_with_a_live_process(used_volume: str) -> None:
    """The server starts if the lock file names a live process of the same user that is not a server."""
    options = ("--entrypoint", "/shadow.sh")
    files = {"/shadow.sh": script(SHADOW)}
    with serve(env=USED, files=files, volumes={"/volume": used_volume}, options=options) as container:
        assert "42" == container.sql("SELECT answer FROM kept")
