"""`entrypoint ready` and `entrypoint status` are right in every phase and for every caller."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import pytest

import containers
from containers import FRESH, PYTHON, Container, Files, complaints, run, script, serve, start, until

USED = {"PGDATA": "/volume/data"}
INIT = "/docker-entrypoint-initdb.d"
READY, NOT_READY, NO_SERVER = 0, 1, 2
RESTORE = {"ARCHIVE_URL": "file:///archive", "ARCHIVE_TOOL": "pgbackrest", "RESTORE_FROM": "LATEST"}


def _ready(container: Container, user: str = "") -> tuple[int, str]:
    """The exit code and the one line of `entrypoint ready`."""
    asked = container.exec("entrypoint", "ready", user=user, check=False)
    (line,) = asked.output.splitlines()
    assert (asked.code == READY) == bool(asked.stdout), "an answer that is no success is on stderr"
    return asked.code, line


def _status(container: Container) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(container.exec("entrypoint", "status", "--json").stdout)
    return found


def _facts(container: Container) -> tuple[object, ...]:
    found = _status(container)
    return found["phase"], found["ready"], found["role"]


@pytest.fixture
def running(used_volume: str) -> Iterator[Container]:
    """A server of its own."""
    with serve(env=USED, volumes={"/volume": used_volume}) as container:
        yield container


def _waits(program: str, when: str = "true") -> Files:
    """A program of the image that waits where `when` is true, until there is a file /tmp/go."""
    text = f"""#!/bin/bash
if {when}; then until [ -e /tmp/go ]; do sleep 0.1; done; fi
for folder in /usr/lib/postgresql/*/bin /usr/bin /bin; do
    [ ! -x $folder/{program} ] || exec $folder/{program} "$@"
done
"""
    return {f"/usr/local/bin/{program}": script(text)}


class Phase(NamedTuple):
    """A phase of a start, and what delays the start in it."""

    files: Files
    env: Mapping[str, str]
    expected: str


PHASES = {
    "checks": Phase(_waits("ls"), FRESH, "boot"),
    "initdb": Phase(_waits("initdb"), FRESH, "init"),
    "copy": Phase(_waits("cp"), FRESH, "init"),
    "temporary-server": Phase(_waits("psql"), {**FRESH, "POSTGRES_DB": "other"}, "init"),
    "init-file": Phase({f"{INIT}/1.sh": "until [ -e /tmp/go ]; do sleep 0.1; done\n"}, FRESH, "init"),
    "start-file": Phase(
        {"/docker-entrypoint-startdb.d/1.sh": "until [ -e /tmp/go ]; do sleep 0.1; done\n"}, FRESH, "startdb"
    ),
    "fetch": Phase(_waits("pgbackrest", '[[ " $* " == *" restore "* ]]'), RESTORE, "restore"),
    "replay": Phase(_waits("pgbackrest", '[[ " $* " == *" archive-get "* ]]'), RESTORE, "recovery"),
}


@pytest.mark.parametrize("phase", PHASES)
def test_a_start_is_not_ready_before_its_end(request: pytest.FixtureRequest, phase: str) -> None:
    """In every phase of a start, the phase is known and nothing is ready, although a server may answer."""
    held = PHASES[phase]
    mounts = {"/archive": request.getfixturevalue("copied_archive")} if held.env is RESTORE else {}
    with start(env=held.env, files=held.files, volumes=mounts) as container:
        until(lambda: container.has_process("sleep"), phase)
        assert (NOT_READY, f"not ready: {held.expected}") == _ready(container)
        assert (held.expected, False, None) == _facts(container)
        if phase in ("temporary-server", "init-file"):
            assert container.exec("pg_isready", check=False).code == 0, "no temporary server to be fooled by"
        container.shell("touch /tmp/go")
        container.ready()
        until(lambda: _ready(container) == (READY, "ready: primary"), "ready")
        assert ("serving", True, "primary") == _facts(container)


@pytest.fixture
def copied_archive(archive: str) -> Iterator[str]:
    """An archive of its own."""
    with containers.copied_volume(archive) as copy:
        yield copy


def test_crash_recovery_is_not_ready(used_volume: str) -> None:
    """While the real server replays its own WAL after a crash: recovery, then ready."""
    # A server that must fetch the WAL that it replays waits there; it needs no signal file for that.
    env = {**USED, "POSTGRES_INITDB_ARGS": ""}
    with serve(env=env, volumes={"/volume": used_volume}) as container:
        container.sql("CREATE TABLE big AS SELECT generate_series(1, 1000000) AS i")
        container.kill()
        container.wait()
        container.begin()
        seen = set()

        def over() -> bool:
            asked = container.exec("entrypoint", "ready", check=False)
            seen.add((asked.code, asked.output.strip()))
            return asked.code == READY

        until(over, "ready")
        assert "automatic recovery in progress" in container.logs().output
        assert {(NOT_READY, "not ready: recovery"), (READY, "ready: primary")} <= seen
        # Nothing else is ever reported on the way.
        assert seen <= {
            (NOT_READY, "not ready: recovery"),
            (NOT_READY, "not ready: boot"),
            (READY, "ready: primary"),
            (NO_SERVER, "no server: the entrypoint is not running here"),
        }


def test_serving(running: Container) -> None:
    """A running server: phase, time, server, sessions and helpers."""
    with running.session("SELECT pg_sleep(60)"):
        found = _status(running)
    began = running.sql("SELECT floor(extract(epoch FROM pg_postmaster_start_time()))::bigint")
    since = running.shell(f"date -d {found.pop('since')} +%s")
    assert abs(int(since) - int(began)) <= 2
    assert {
        "phase": "serving",
        "shutdown": None,
        "ready": True,
        "role": "primary",
        "server_pid": running.postmaster(),
        "sessions": 1,
        "disk_level": "normal",
        "disk_level_since": None,
        "helpers": [],
        "patroni": None,
        "following": None,
        "archive": None,
        "backups": None,
        "drills": None,
        "restorable": None,
    } == found


def test_status_for_people(running: Container) -> None:
    """Without --json: the same facts, one per line."""
    lines = running.exec("entrypoint", "status").stdout.splitlines()
    found = {words[0]: words[1] for words in (line.split() for line in lines)}
    assert ("serving", "True", "primary", "-") == tuple(
        found[name] for name in ("phase", "ready", "role", "shutdown")
    )


def test_a_name_of_the_cluster_does_not_count_as_sessions(used_volume: str) -> None:
    """With cluster_name, the title of every process of the server begins differently."""
    command = ("-c", "cluster_name=eins: zwei")
    with start(*command, env=USED, volumes={"/volume": used_volume}) as container:
        container.ready()
        assert 0 == _status(container)["sessions"]
        with container.session("SELECT pg_sleep(60)"):
            assert 1 == _status(container)["sessions"]


def test_standby(used_volume: str) -> None:
    """A standby that takes read-only sessions is ready and reports its role, and so does the primary that it becomes."""
    containers.in_volume(used_volume, "touch data/standby.signal; chown 999:999 data/standby.signal")
    with start(env=USED, volumes={"/volume": used_volume}) as container:
        container.says("ready to accept read-only connections")
        assert "t" == container.sql("SELECT pg_is_in_recovery()")
        assert (READY, "ready: standby") == _ready(container)
        assert ("serving", True, "standby") == _facts(container)
        container.sql("SELECT pg_promote()")
        assert (READY, "ready: primary") == _ready(container)


def test_open_recovery(used_volume: str) -> None:
    """A read-only server that still replays, or waits at its target, is not reported as a primary."""
    containers.in_volume(used_volume, "touch data/recovery.signal; chown 999:999 data/recovery.signal")
    # The archive no longer answers once the cluster's own WAL is replayed.
    fetch = "case %f in 0*.history) ;; *) test ! -e /tmp/once || sleep 60; touch /tmp/once ;; esac; false"
    command = ("-c", f"restore_command={fetch}")
    with start(*command, env=USED, volumes={"/volume": used_volume}) as container:
        container.says("ready to accept read-only connections")
        assert "t" == container.sql("SELECT pg_is_in_recovery()")
        assert (READY, "ready: standby") == _ready(container)


def test_closed_standby(used_volume: str) -> None:
    """A standby that takes no sessions is not ready, although its status file says that it is up."""
    containers.in_volume(used_volume, "touch data/standby.signal; chown 999:999 data/standby.signal")
    with start("-c", "hot_standby=off", env=USED, volumes={"/volume": used_volume}) as container:
        container.says("entering standby mode")
        until(lambda: "standby" in container.shell("cat $PGDATA/postmaster.pid", user="postgres"), "standby")
        code, line = _ready(container)
        assert (NOT_READY, True) == (code, line.startswith("not ready: "))


def test_shutdown(used_volume: str) -> None:
    """While a smart shutdown waits for a session: stopping, the mode, the number of sessions; not ready."""
    env = {**USED, "STOP_SMART_TIMEOUT": "60", "STOP_FAST_TIMEOUT": "60"}
    with (
        serve(env=env, volumes={"/volume": used_volume}) as container,
        container.session("SELECT pg_sleep(60)"),
    ):
        container.kill("TERM")
        container.says("received smart shutdown request")
        assert (NOT_READY, "not ready: stopping") == _ready(container)
        found = _status(container)
        assert ("stopping", "smart", False, None, 1) == tuple(
            found[name] for name in ("phase", "shutdown", "ready", "role", "sessions")
        )
        assert 0 == container.stop("INT")


def test_shutdown_by_somebody_else(running: Container) -> None:
    """A server that pg_ctl stops is not ready either."""
    with running.session("SELECT pg_sleep(60)"):
        running.shell("pg_ctl stop --mode smart --no-wait", user="postgres")
        running.says("received smart shutdown request")
        assert (NOT_READY, "not ready: stopping") == _ready(running)
        assert ("stopping", False, None) == _facts(running)


def test_server_that_does_not_answer(running: Container) -> None:
    """A server that hangs counts as no server: exit code 2, within the time of a health check."""
    pid = running.postmaster()
    running.shell(f"kill -STOP {pid}", user="postgres")
    began = time.monotonic()
    code, line = _ready(running)
    assert (NO_SERVER, True) == (code, line.startswith("no answer"))
    assert time.monotonic() - began < 5
    running.shell(f"kill -CONT {pid}", user="postgres")
    assert (READY, "ready: primary") == _ready(running)


def test_no_entrypoint() -> None:
    """Without an entrypoint, `ready` ends with 2, and `status` with 1 and a hint."""
    assert NO_SERVER == run("ready").code
    outcome = run("status")
    assert 1 == outcome.code
    assert "docker exec" in complaints(outcome)[0]


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--user", "999:999"),
        ("--cap-drop", "ALL", "--user", "999:999", "--read-only", "--tmpfs", "/run", "--tmpfs", "/tmp"),
    ],
    ids=["root", "postgres", "closed"],
)
def test_health_check(used_volume: str, options: tuple[str, ...]) -> None:
    """`--health-cmd 'entrypoint ready'` turns healthy, and unhealthy when the server hangs."""
    health: tuple[str, ...] = (
        *("--health-cmd", "entrypoint ready", "--health-interval", "0.3s", "--health-retries", "1"),
        *("--health-timeout", "5s", "--tmpfs", "/var/run/postgresql:uid=999,gid=999"),
    )
    if "--read-only" in options:
        options = (*options[:-3], "/run:uid=999,gid=999", *options[-2:])
    else:
        health = health[:-2]
    with serve(env=USED, volumes={"/volume": used_volume}, options=(*health, *options)) as container:
        until(lambda: container.state["Health"]["Status"] == "healthy", "healthy")
        assert "ready: primary" in container.state["Health"]["Log"][-1]["Output"]
        pid = container.postmaster() if "--user" in options else int(_status(container)["server_pid"])
        container.shell(f"kill -STOP {pid}", user="999")
        until(lambda: container.state["Health"]["Status"] == "unhealthy", "unhealthy")
        container.shell(f"kill -CONT {pid}", user="999")


@pytest.mark.parametrize("user", ["root", "postgres", "1234:1234"])
def test_asked_by_anybody(used_volume: str, user: str) -> None:
    """Root without capabilities, postgres and a stranger get the same code."""
    options = ("--cap-drop", "ALL", "--user", "999:999")
    with serve(env=USED, volumes={"/volume": used_volume}, options=options) as container:
        code, line = _ready(container, user)
        assert (READY, True) == (code, line.startswith("ready: "))
        found = json.loads(container.exec("entrypoint", "status", "--json", user=user).stdout)
        assert ("serving", True) == (found["phase"], found["ready"])


def test_ready_loads_the_standard_library_only(server: Container) -> None:
    """It is started every few seconds, so it loads no other packages, and nothing that takes long."""
    look = (
        "import os, sys; sys.path.insert(0, '/usr/local/lib/nix-postgres'); sys.argv[1:] = ['ready']\n"
        "os._exit = sys.exit\n"
        "from entrypoint.__main__ import main\n"
        "try:\n    main()\n"
        "except SystemExit:\n    print(*sys.modules, file=sys.stderr)"
    )
    loaded = server.exec(PYTHON, "-IS", "-c", look).stderr.split()
    assert "entrypoint.pid1.ready" in loaded
    heavy = {"click", "jinja2", "psutil", "json", "logging", "subprocess", "asyncio", "dataclasses"}
    assert set() == heavy & set(loaded)
    standard = server.exec(PYTHON, "-c", "import sys; print(*sys.stdlib_module_names)").stdout.split()
    strangers = {name.split(".")[0] for name in loaded} - set(standard) - {"__main__", "entrypoint"}
    assert set() == strangers


def test_another_listening_address(used_volume: str) -> None:
    """The server has another port and no Unix socket."""
    arguments = ("-c", "port=6543", "-c", "unix_socket_directories=", "-c", "listen_addresses=127.0.0.1")
    with serve(*arguments, env=USED, volumes={"/volume": used_volume}) as container:
        assert (READY, "ready: primary") == _ready(container)


def test_probes_do_not_disturb_the_log(running: Container) -> None:
    """A probe writes no line to the server's log."""
    before = running.logs().output
    for _ in range(3):
        assert READY == _ready(running)[0]
    assert before == running.logs().output


def test_ready_ends_with_2_when_the_container_is_gone(running: Container) -> None:
    """Docker itself answers for a container that has ended; our program does not report ready."""
    running.stop()
    done = subprocess.run(
        ("docker", "exec", running.name, "entrypoint", "ready"), capture_output=True, check=False
    )
    assert done.returncode != READY
    assert not re.search(rb"^ready", done.stdout)
