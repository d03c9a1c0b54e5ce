"""
PID 1, table 4.5: cases that no other init tests, on real containers with the real PostgreSQL.

The second half of P5, settings that are rendered again at SIGHUP, is `configuration/test_reload.py`; P11, stale
`postmaster.pid`, is `test_stale_pid.py`.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import cache
from typing import NamedTuple

import pytest

import containers
from acceptance.pid1.lab import FLOOD, Helper, serve_with
from containers import FRESH, PYTHON, READY, Container, Files, create, docker, run, script, serve, until

CODE = "/usr/local/lib/nix-postgres/entrypoint"
INIT = "/docker-entrypoint-initdb.d"
USED = {"PGDATA": "/volume/data"}
DATA = containers.data_folder()
CODES = {"INT": 130, "TERM": 143}
PROMPT = 5.0
"""Seconds within which a stop during the start is obeyed."""
CRASHED = ("terminating any other active server processes", "reinitializing", "was not properly shut down")


@cache
def _source(path: str) -> str:
    return run(path, options=("--entrypoint", "cat")).stdout


def _faulty(module: str, old: str, new: str) -> Files:
    """A module of the program with one change."""
    path = f"{CODE}/{module}"
    assert 1 == _source(path).count(old), f"{module} has changed: {old}"
    return {path: _source(path).replace(old, new)}


def _has(container: Container, path: str) -> bool:
    """Whether a container that may have ended has this path, including its volumes."""
    return docker("cp", f"{container.name}:{path}", "-", check=False).code == 0


def _control(volume: str) -> str:
    """The state of the cluster, in the words of pg_controldata."""
    outcome = run(
        "-D", "/volume/data", volumes={"/volume": volume}, options=("--entrypoint", "pg_controldata")
    )
    found = re.search(r"Database cluster state: +(.*)", outcome.stdout)
    assert found, outcome.output
    return found[1]


def _zombies(container: Container) -> list[str]:
    text = "grep -l '^State:.Z' /proc/[0-9]*/status 2> /dev/null || true"
    return container.shell(text, user="0").split()


def _untouched(container: Container) -> None:
    """There was no crash recovery."""
    assert [] == [word for word in CRASHED if word in container.logs().output]


@pytest.fixture
def running(used_volume: str) -> Iterator[Container]:
    """A server of its own, whose smart shutdown lasts at most a second."""
    with serve(env={**USED, "STOP_SMART_TIMEOUT": "1"}, volumes={"/volume": used_volume}) as container:
        yield container


# P1


def _waits(program: str, when: str = "true") -> Files:
    """A program of the image that waits where `when` is true, until there is a file /go."""
    text = f"""#!/bin/bash
if {when} && [ ! -e /go ]; then sleep 60; fi
for folder in /usr/lib/postgresql/*/bin /usr/bin /bin; do
    [ ! -x $folder/{program} ] || exec $folder/{program} "$@"
done
"""
    return {f"/usr/local/bin/{program}": script(text)}


RESTORE = {"ARCHIVE_URL": "file:///archive", "ARCHIVE_TOOL": "pgbackrest", "RESTORE_FROM": "LATEST"}


class Phase(NamedTuple):
    """A phase of a start, and what delays the start in it."""

    files: Files
    env: Mapping[str, str] = FRESH
    next_start: int | None = None
    """The code with which the next start refuses; None if it completes."""
    seen: str = "sleep"
    """The process that shows that the phase is reached."""


PHASES = {
    "boot": Phase(_waits("ls")),
    "initdb": Phase(_waits("initdb")),
    "in-initdb": Phase({}, {**FRESH, "POSTGRES_INITDB_ARGS": "--encoding=UTF8"}, seen="initdb"),
    "copy": Phase(_waits("cp")),
    "temporary-server": Phase(_waits("psql"), {**FRESH, "POSTGRES_DB": "other"}),
    "sourced-file": Phase({f"{INIT}/1.sh": "[ -e /go ] || sleep 60\n"}, next_start=10),
    "executed-file": Phase({f"{INIT}/1.sh": script("#!/bin/sh\n[ -e /go ] || sleep 60\n")}, next_start=10),
    "backup-fetch": Phase(_waits("pgbackrest", '[[ " $* " == *" restore "* ]]'), RESTORE),
    "recovery": Phase(_waits("pgbackrest", '[[ " $* " == *" archive-get "* ]]'), RESTORE),
}


@pytest.mark.parametrize("signal", CODES)
@pytest.mark.parametrize("phase", PHASES)
def test_p1_stop_in_each_phase(request: pytest.FixtureRequest, phase: str, signal: str) -> None:
    """A stop is obeyed within 5 s with 128 + signal, no server is left, and the next start knows about it."""
    held = PHASES[phase]
    mounts: dict[str, str] = {}
    if held.env is RESTORE:
        mounts["/archive"] = request.getfixturevalue("copied_archive")
    with create(env=held.env, files=held.files, volumes=mounts) as container:
        container.begin()
        until(lambda: container.has_process(held.seen), phase)
        began = time.monotonic()
        assert CODES[signal] == container.stop(signal, timeout=10)
        assert time.monotonic() - began < PROMPT
        assert not _has(container, f"{DATA}/postmaster.pid")
        docker("cp", "-", f"{container.name}:/", stdin=containers._archive({"/go": ""}))
        if held.next_start is not None:
            assert held.next_start == container.finish().code
            return
        container.again()
        assert "1" == container.sql("SELECT 1")


@pytest.fixture
def copied_archive(archive: str) -> Iterator[str]:
    """An archive of its own."""
    with containers.copied_volume(archive) as copy:
        yield copy


# P2 to P6: stopping


def test_p2_terminate_with_an_idle_session(running: Container, used_volume: str) -> None:
    """SIGTERM does not wait for an idle session: fast shutdown, exit 0, a clean cluster."""
    idle = subprocess.Popen(
        ("docker", "exec", "-i", running.name, "psql", "-U", "postgres"),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        count = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
        until(lambda: running.sql(count) == "2", "an idle session")
        assert 0 == running.stop("TERM", timeout=8)
    finally:
        idle.kill()
        idle.communicate()
    assert "received fast shutdown request" in running.logs().output
    assert "shut down" == _control(used_volume)


def _deaf(container: Container) -> None:
    """Stop a session's process, so that it receives no request; only SIGKILL gets through."""
    pid = container.sql("SELECT pid FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'")
    container.shell(f"kill -STOP {pid}", user="postgres")


def _ladder(container: Container) -> list[str]:
    """The steps of the shutdown, as the server and we report them."""
    text = container.logs().output
    steps = [
        mode
        for mode in ("smart", "fast", "immediate")
        if re.search(rf"LOG:  received {mode} shutdown request", text)
    ]
    return [*steps, *(["kill"] if "kill shutdown" in text else [])]


def test_p3_stuck_session_and_deadlines(used_volume: str) -> None:
    """A session that nothing ends: QUIT after the fast shutdown's time, then KILL, and exit code 137."""
    env = {
        **USED,
        "STOP_SMART_TIMEOUT": "1",
        "STOP_FAST_TIMEOUT": "1",
        "STOP_IMMEDIATE_TIMEOUT": "1",
    }
    with (
        serve(env=env, volumes={"/volume": used_volume}) as container,
        container.session("SELECT pg_sleep(60)"),
    ):
        _deaf(container)
        began = time.monotonic()
        assert 137 == container.stop("TERM", timeout=15)
        assert 2.9 < time.monotonic() - began < 8
        assert ["smart", "fast", "immediate", "kill"] == _ladder(container)
        container.again()  # crash recovery, and nothing of the old server prevents it
        assert "42" == container.sql("SELECT answer FROM kept")


def test_p4_second_terminate_escalates_at_once(used_volume: str) -> None:
    """Each further stop request climbs one step without waiting for the time of the last step."""
    env = {**USED, "STOP_SMART_TIMEOUT": "60", "STOP_FAST_TIMEOUT": "60", "STOP_IMMEDIATE_TIMEOUT": "60"}
    with (
        serve(env=env, volumes={"/volume": used_volume}) as container,
        container.session("SELECT pg_sleep(60)"),
    ):
        _deaf(container)
        for mode in ("smart", "fast", "immediate"):
            container.kill("TERM")
            container.says(f"received {mode} shutdown request", timeout=3)
        assert 137 == container.stop("TERM", timeout=4)
        assert ["smart", "fast", "immediate", "kill"] == _ladder(container)


def test_p4_interrupt_after_terminate_is_fast(used_volume: str) -> None:
    """SIGTERM, then SIGINT, with an active session: clean, at once, exit 0."""
    with (
        serve(env={**USED, "STOP_SMART_TIMEOUT": "60"}, volumes={"/volume": used_volume}) as container,
        container.session("SELECT pg_sleep(60)"),
    ):
        container.kill("TERM")
        container.says("received smart shutdown request")
        assert 0 == container.stop("INT", timeout=4)
        assert ["smart", "fast"] == _ladder(container)
    assert "shut down" == _control(used_volume)


def test_p5_hangup_reloads(running: Container) -> None:
    """SIGHUP makes the server read its files again."""
    assert "4MB" == running.sql("SHOW work_mem")
    running.shell("echo work_mem = 7MB >> $PGDATA/postgresql.conf", user="postgres")
    running.kill("HUP")
    until(lambda: running.sql("SHOW work_mem") == "7MB", "the new setting")
    seen = "SELECT setting, source FROM pg_settings WHERE name = 'work_mem'"
    assert "7168|configuration file" == running.sql(seen)


def test_p5_continue_reaches_the_server(running: Container) -> None:
    """A suspended server continues when the container gets SIGCONT, and can be stopped."""
    server = running.postmaster()
    running.shell(f"kill -STOP {server}", user="0")
    until(lambda: running.shell(f"cut -d' ' -f3 /proc/{server}/stat") == "T", "the server is suspended")
    running.kill("CONT")
    until(lambda: running.shell(f"cut -d' ' -f3 /proc/{server}/stat") != "T", "the server continues")
    assert "1" == running.sql("SELECT 1")


def test_p6_killed_from_outside(running: Container) -> None:
    """A server that somebody kills: exit code 137, and where to look for the cause."""
    running.shell(f"kill -KILL {running.postmaster()}", user="0")
    assert 137 == running.wait(10)
    log = running.logs().stderr
    assert "killed by SIGKILL; the kernel counts 0 out-of-memory kills in this container" in log
    assert "dmesg" in log


def test_p6_killed_because_of_memory(used_volume: str) -> None:
    """A server that the kernel kills at the container's limit: 137, the counter, and what to change."""
    with serve(
        env=USED, volumes={"/volume": used_volume}, options=("--memory", "200m", "--memory-swap", "200m")
    ) as container:
        # The kernel would choose one of the server's children, which the server survives.
        container.shell(f"echo 1000 > /proc/{container.postmaster()}/oom_score_adj", user="0")
        hog = "import time; rest = b'x' * (300 << 20); time.sleep(60)"
        docker("exec", "--detach", container.name, PYTHON, "-c", hog)
        assert 137 == container.wait(20)
        log = container.logs().stderr
    assert re.search(r"the kernel counts [1-9]\d* out-of-memory kills in this container", log), log
    assert "docker run --memory" in log


# P7, P8: orphans

ENDS = ("exit 0", "exit 1", "exit 2", "exit 127", "kill -KILL $$")


def _orphans_of_the_server() -> str:
    """Statements that make the server start programs that outlive their parents, and end in all ways."""
    program = "cat > /dev/null; (sleep 0.1; exec sh -c '{end}') > /dev/null 2>&1 &"
    return "; ".join(f"COPY (SELECT 1) TO PROGRAM $_${program.format(end=end)}$_$" for end in ENDS)


def test_p7_orphans_do_not_disturb_a_query(used_volume: str) -> None:
    """Orphans of sessions in the container and of the server itself end badly; the clients continue."""
    env = {**USED, "STATUS_LOG_LEVEL": "debug"}
    with serve(env=env, volumes={"/volume": used_volume}) as container:
        container.exec("pgbench", "--initialize", "--quiet", "-U", "postgres", "postgres")
        load = subprocess.Popen(
            (
                "docker",
                "exec",
                container.name,
                "pgbench",
                "-U",
                "postgres",
                "--client=2",
                "--time=3",
                "postgres",
            ),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        with container.session("SELECT pg_sleep(2)") as client:
            for end in ENDS:
                container.shell(f"(sh -c 'sleep 0.1; {end}' < /dev/null > /dev/null 2>&1 &)")
            container.sql(_orphans_of_the_server())
            # A shell that is killed leaves its `sleep` to us as well, so more orphans may follow.
            reaped = [("0", 2), ("1", 2), ("2", 2), ("127", 2), ("137", 2)]

            def seen() -> bool:
                log = container.logs().stderr
                found = re.findall(r"reaped the orphan \d+, which ended with (\d+)", log)
                return all(found.count(code) >= count for code, count in reaped)

            until(seen, "ten orphans are reaped")
            assert 0 == client.wait(10)
        words, _ = load.communicate(timeout=20)
        assert 0 == load.returncode, words
        assert "number of failed transactions: 0 " in words
        assert [] == _zombies(container)
        _untouched(container)


def _flood(container: Container, rate: int, seconds: float) -> subprocess.Popen[str]:
    command = (PYTHON, "-ISc", FLOOD, str(rate), str(seconds))
    return subprocess.Popen(
        ("docker", "exec", container.name, *command),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _said_at(container: Container, text: str) -> float:
    """The time of a line in the log, in seconds since 1970."""
    lines = docker("logs", "--timestamps", container.name)
    line = next(line for line in lines.output.splitlines() if text in line)
    return datetime.fromisoformat(re.sub(r"(\.\d{6})\d*Z.*", r"\1+00:00", line)).timestamp()


def _survives_a_flood(container: Container, rate: int) -> None:
    flood = _flood(container, rate, 5)
    words, _ = flood.communicate(timeout=60)
    assert 0 == flood.returncode, words
    assert float(words) > rate * 0.9, f"only {words} orphans a second were made"
    until(lambda: _zombies(container) == [], "no zombie is left", timeout=1)
    _untouched(container)
    # And under the same load, the death of the server is noticed.
    again = _flood(container, rate, 30)
    try:
        until(lambda: container.has_process("python3"), "the flood")
        pid = container.postmaster()
        killed = float(container.shell(f"kill -KILL {pid}; date +%s.%N", user="0"))
        assert 137 == container.wait(10)
    finally:
        again.kill()
        again.communicate()
    assert _said_at(container, "the server was killed by SIGKILL") - killed < 1


def test_p8_orphans_at_500_a_second(running: Container) -> None:
    """500 orphans a second for 5 s leave no zombie, and the server's death is noticed within 1 s."""
    _survives_a_flood(running, 500)


@pytest.mark.long
def test_p8_orphans_at_5000_a_second(running: Container) -> None:
    """The same at 5,000 orphans a second."""
    _survives_a_flood(running, 5000)


# P9, P10: stops at the worst moment, and our own errors


def _obeys(container: Container) -> None:
    """The container ends soon and in an orderly way: 0 if the server got the request, 143 if it was not up yet."""
    code = container.wait(5)
    assert code in (0, 143), container.logs().output
    assert not _has(container, "/volume/data/postmaster.pid")


def _terminate_at(used_volume: str, points: int) -> None:
    with create(env=USED, volumes={"/volume": used_volume}) as container:
        codes = []
        for point in range(points):
            container.begin()
            container.says("Skipping initialization")
            time.sleep(0.2 * point / points)  # the point itself, rather than a wait for a condition
            container.kill("TERM")
            _obeys(container)
            codes.append(container.state["ExitCode"])
        assert 0 in codes, "no point came after the server's start"
        container.again()
        assert "42" == container.sql("SELECT answer FROM kept")


def test_p9_terminate_during_the_start_of_the_server(used_volume: str) -> None:
    """SIGTERM at 20 points around the start of the server is never lost."""
    _terminate_at(used_volume, 20)


@pytest.mark.long
def test_p9_terminate_at_200_points(used_volume: str) -> None:
    """The same at 200 points."""
    _terminate_at(used_volume, 200)


SPAWN = "pid = Children(signals).spawn("
ITSELF = "os.kill(os.getpid(), signal.SIGTERM)"
MOMENTS = {
    "before-the-handover": ("pid1/handoff.py", "signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)"),
    "in-the-handover": ("pid1/handoff.py", "descriptor = unnamed_file("),
    "before-the-handlers": ("pid1/supervisor.py", "signals = Signals(given.mask, given.ignored)"),
    "before-the-fork": ("pid1/handoff.py", SPAWN),
    "after-the-fork": ("pid1/handoff.py", "os.execve(sys.executable"),
    "before-the-first-look": ("pid1/supervisor.py", 'log.debug(f"started the server'),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_p9_terminate_at_an_exact_moment(used_volume: str, moment: str) -> None:
    """SIGTERM at each seam between the two halves of the program and around the fork is not lost."""
    module, place = MOMENTS[moment]
    files = _faulty(module, place, f"{ITSELF}; {place}")
    with create(env=USED, files=files, volumes={"/volume": used_volume}) as container:
        container.begin()
        _obeys(container)


FAULTS = {
    "at-a-signal": (
        "pid1/lifecycle.py",
        "    if number == signal.SIGUSR1:\n",
        "        raise RuntimeError('injected')\n",
    ),
    "at-a-report": ("pid1/supervisor.py", '            case "report", _:\n', "                1 / 0\n"),
    "interrupted": (
        "pid1/supervisor.py",
        '            case "report", _:\n',
        "                raise KeyboardInterrupt\n",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_p10_our_own_error_stops_the_server(used_volume: str, fault: str) -> None:
    """Whatever is wrong with the supervisor, the server is stopped cleanly, and the exit code is not 0."""
    module, place, extra = FAULTS[fault]
    files = _faulty(module, place, place + extra)
    with serve(env=USED, files=files, volumes={"/volume": used_volume}) as container:
        container.kill("USR1")
        assert container.wait(10) not in (0, 137)
        assert "the supervisor failed" in container.logs().stderr
        assert "database system is shut down" in container.logs().output
    assert "shut down" == _control(used_volume)


def test_p10_error_before_the_server_runs(used_volume: str) -> None:
    """A supervisor that fails before it has a server ends at once, and signals no other process."""
    files = _faulty("pid1/handoff.py", SPAWN, f"raise RuntimeError('injected'); {SPAWN}")
    outcome = run(env=USED, files=files, volumes={"/volume": used_volume}, timeout=8)
    assert outcome.code not in (0, 137), outcome.output
    assert "injected" in outcome.stderr


# P12 to P16


def test_p12_uid_without_a_name() -> None:
    """A uid without a passwd entry creates a database and serves it."""
    options = ("--user", "1234:1234", "--tmpfs", "/data:uid=1234,gid=1234,mode=700")
    with serve(env={**FRESH, "PGDATA": "/data/db"}, options=options) as container:
        assert "1" == container.sql("SELECT 1")
        assert ["1234"] * 4 == container.process(container.postmaster())["Uid"].split()
        assert 0 == container.stop()


def test_p13_descriptors_of_the_server(running: Container) -> None:
    """The server has 0, 1 and 2 from us, and otherwise only descriptors that it opened itself."""
    mine, its = (
        dict(
            line.rsplit(" -> ", 1)
            for line in running.shell(
                f"cd /proc/{pid}/fd; for n in *; do [ ! -L $n ] || echo $n -\\> $(readlink $n); done",
                user="postgres",
            ).splitlines()
        )
        for pid in (1, running.postmaster())
    )
    assert {"0", "1", "2"} <= its.keys()
    assert {n: mine[n] for n in "012"} == {n: its[n] for n in "012"}
    beyond = {n: its[n] for n in its if int(n) > 2}
    assert {} == {n: target for n, target in beyond.items() if target in mine.values()}
    # A server that is started from a clean shell has its own pipe, its sockets and what they need.
    assert {} == {
        n: target for n, target in beyond.items() if not re.match(r"(pipe|socket|anon_inode):", target)
    }
    # And we hold only our wake-up pipe, the locks on two folders, and a second descriptor of the log, in order not to wait for it.
    held = {n: target for n, target in mine.items() if int(n) > 2}
    assert ["/run/entrypoint", "/volume/data"] == sorted(each for each in held.values() if each[0] == "/")
    assert mine["2"] in held.values()
    assert 8 == len(mine)


def test_p14_orphans_come_to_us_under_another_init(used_volume: str) -> None:
    """With `docker run --init` we are not PID 1, yet we adopt the server's orphans, and all are reaped."""
    env = {**USED, "STATUS_LOG_LEVEL": "debug"}
    with serve(env=env, volumes={"/volume": used_volume}, options=("--init",)) as container:
        assert "entrypoint" not in container.shell("cat /proc/1/cmdline | tr '\\0' ' ' | cut -d' ' -f1")
        hundred = "cat > /dev/null; for i in $(seq 100); do (sleep 1; exit 3) & done > /dev/null 2>&1"
        container.sql(f"COPY (SELECT 1) TO PROGRAM $_${hundred}$_$")
        count = "ended with 3"
        until(lambda: container.logs().stderr.count(count) == 100, "a hundred orphans are reaped")
        assert [] == _zombies(container)
        assert "won't work" not in container.logs().output
        _untouched(container)
        assert 0 == container.stop()


def test_p15_helper_ends_before_the_server_is_asked(used_volume: str) -> None:
    """A running backup gets SIGTERM and finishes while the server is still there; then the server is stopped."""
    backup = """#!/bin/bash
finish() {
    echo "stop requested"
    psql -X -U postgres -Atc "SELECT 'backup mode ended'" && exit 0
}
trap finish TERM
echo begun
while :; do sleep 0.1; done
"""
    with serve_with(used_volume, {"backup": Helper(backup)}) as container:
        container.says("backup: begun")
        assert 0 == container.stop("INT", timeout=10)
        lines = docker("logs", "--timestamps", container.name).output.splitlines()
    order = [
        text
        for line in sorted(lines)
        for text in (
            "SIGINT: fast shutdown",
            "backup: stop requested",
            "backup: backup mode ended",
            "received fast shutdown request",
            "database system is shut down",
        )
        if text in line
    ]
    # Messages of the server from its stop before the test are not of this container.
    assert [
        "SIGINT: fast shutdown",
        "backup: stop requested",
        "backup: backup mode ended",
        "received fast shutdown request",
        "database system is shut down",
    ] == order


@pytest.mark.parametrize(("stop", "code"), [("fast", 0), ("kill", 137)])
def test_p16_server_that_ends_by_itself(used_volume: str, stop: str, code: int) -> None:
    """The container ends with the server's code; helpers end first."""
    helper = "#!/bin/bash\ntrap 'echo ended; exit 0' TERM\necho begun\nwhile :; do sleep 0.1; done\n"
    with serve_with(used_volume, {"mate": Helper(helper)}) as container:
        container.says("mate: begun")
        how = {"fast": "pg_ctl stop -m fast --no-wait", "kill": f"kill -KILL {container.postmaster()}"}[stop]
        container.shell(how, user="postgres")
        assert code == container.wait(8)
        assert "mate: ended" in container.logs().output
        said = "the server was shut down by something other than the entrypoint"
        assert (stop == "fast") == (said in container.logs().output)


def test_p16_server_that_cannot_start() -> None:
    """A server that gives up ends the container with its own code."""
    outcome = run("-c", "shared_buffers=1000000GB", env=FRESH)
    assert (1, False) == (outcome.code, READY in outcome.output)
