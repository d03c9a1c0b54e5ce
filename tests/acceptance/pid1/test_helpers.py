"""
Auxiliary processes next to the server: their output, their restarts, their end.

`hand_over` starts the second half of the program as the first half does it, with helpers that are small scripts,
and with the real PostgreSQL.
"""

from __future__ import annotations

import json
import re
import time
from itertools import pairwise

from acceptance.pid1.lab import Helper, serve_with
from containers import Container, docker, until

USED = {"PGDATA": "/volume/data"}


def _helpers(container: Container) -> dict[str, dict[str, object]]:
    found = json.loads(container.exec("entrypoint", "status", "--json").stdout)["helpers"]
    return {helper.pop("role"): helper for helper in found}


def _timed(container: Container) -> list[tuple[float, str]]:
    """The lines of the log with their times in seconds, oldest first."""
    lines = sorted(docker("logs", "--timestamps", container.name).output.splitlines())
    found = []
    for line in lines:
        match = re.match(r"\S+T(\d+):(\d+):(\d+\.\d+)Z (.*)", line)
        if match:
            hours, minutes, seconds = (float(match[number]) for number in (1, 2, 3))
            found.append((hours * 3600 + minutes * 60 + seconds, match[4]))
    return found


def _order(container: Container, *texts: str) -> list[str]:
    """Those of the texts that are in the log, in the log's order."""
    return [text for _, line in _timed(container) for text in texts if text in line]


def _waiting(trap: str, before: str = "") -> str:
    """A helper that waits, and does this on a request to stop."""
    return f"#!/bin/bash\ntrap '{trap}' TERM\n{before}\necho begun\nwhile :; do sleep 0.1; done\n"


def test_output_is_passed_on_with_the_role(used_volume: str) -> None:
    """It comes line by line, from both streams, with an unfinished last line, and with bytes that are not text."""
    text = r"""#!/bin/bash
printf 'first\nsecond\n'
echo error >&2
printf 'in two '; sleep 0.2; printf 'pieces\n'
printf 'bytes \377\376\001 here\n'
printf '\n\n'
printf 'x%.0s' {1..200000}; echo
printf 'no end'
"""
    with serve_with(used_volume, {"talker": Helper(text, keep=False)}) as container:
        container.says("talker: no end")
        until(lambda: "talker" not in _helpers(container), "its end, of which nothing is left to tell")
        lines = [line for line in container.logs().stderr.splitlines() if line.startswith("talker: ")]
        long = [line for line in lines if "xxxx" in line]
        short = [line.removeprefix("talker: ") for line in lines if "xxxx" not in line]
        assert ["first", "second", "error", "in two pieces"] == short[:4]
        assert re.fullmatch("bytes .+ here", short[4])
        assert ["no end"] == short[5:]
        assert long
        assert 0 == container.stop()


def test_flood_of_output_does_not_starve_the_server(used_volume: str) -> None:
    """If a helper never stops printing, the server still answers, and a stop is obeyed."""
    with serve_with(used_volume, {"talker": Helper("#!/bin/sh\nexec yes\n")}) as container:
        assert "42" == container.sql("SELECT answer FROM kept")
        began = time.monotonic()
        docker("kill", "--signal", "INT", container.name)
        assert 0 == container.wait(15)
        assert time.monotonic() - began < 10


def test_restarts_after_growing_pauses(used_volume: str) -> None:
    """A failing helper is started again after 1, 2 and 4 s; the server does not notice."""
    with serve_with(used_volume, {"failing": Helper("#!/bin/sh\necho try\nexit 7\n")}) as container:
        before = container.postmaster()
        container.says("failing ended with code 7; starting it again in 4 s")
        found = _helpers(container)["failing"]
        assert {"state": "waiting", "pid": None, "failures": 3, "last_code": 7} == found
        assert "failing: waiting, failed 3 times" in container.exec("entrypoint", "status").stdout
        tries = [second for second, line in _timed(container) if line == "failing: try"]
        pauses = [later - earlier for earlier, later in pairwise(tries)]
        assert [1, 2] == [round(pause) for pause in pauses]
        assert before == container.postmaster()
        assert 0 == container.exec("entrypoint", "ready").code
        assert 0 == container.stop()


def test_helper_that_cannot_be_executed(used_volume: str) -> None:
    """A missing helper fails like one that ends: the log and the status show it, and it is tried again."""
    with serve_with(used_volume, {"missing": Helper("#!/no/such/interpreter\n")}) as container:
        container.says("missing ended with code 127; starting it again in 2 s")
        assert (2, 127) == tuple(_helpers(container)["missing"][name] for name in ("failures", "last_code"))
        assert "42" == container.sql("SELECT answer FROM kept")
        assert 0 == container.stop()


def test_killed_helper_is_started_again(used_volume: str) -> None:
    """A helper that somebody kills comes back with another process id."""
    with serve_with(used_volume, {"mate": Helper(_waiting("exit 0"))}) as container:
        container.says("mate: begun")
        until(lambda: _helpers(container)["mate"]["state"] == "running", "running")
        first = _helpers(container)["mate"]["pid"]
        container.shell(f"kill -KILL {first}", user="postgres")
        container.says("mate ended with code 137; starting it again in 1 s")
        until(lambda: _helpers(container)["mate"]["state"] == "running", "running again")
        assert first != _helpers(container)["mate"]["pid"]
        assert 0 == container.stop()


def test_order_of_stopping(used_volume: str) -> None:
    """Helpers that need the server end before it; helpers that the server needs end after it."""
    alive = 'psql -XAtqU postgres -c "SELECT \\$\\$server is there\\$\\$" 2> /dev/null || echo server is gone'
    helpers = {
        "user": Helper(_waiting(f"{alive}; exit 0")),
        "carrier": Helper(_waiting(f"{alive}; exit 0"), after_server=True),
    }
    with serve_with(used_volume, helpers) as container:
        container.says("user: begun")
        container.says("carrier: begun")
        assert 0 == container.stop("INT")
        expected = [
            "SIGINT: fast shutdown",
            "user: server is there",
            "received fast shutdown request",
            "database system is shut down\n",
            "carrier: server is gone",
        ]
        expected[3] = "LOG:  database system is shut down"
        assert expected == _order(container, *expected)


def test_helper_that_ignores_sigterm_is_killed_after_5_seconds(used_volume: str) -> None:
    """It delays the server's stop for 5 s and no longer, and the stop is still clean."""
    with serve_with(used_volume, {"deaf": Helper(_waiting(""))}) as container:
        container.says("deaf: begun")
        began = time.monotonic()
        assert 0 == container.stop("INT", timeout=15)
        assert 4.9 < time.monotonic() - began < 8
        assert 1 == len(_order(container, "received fast shutdown request"))
        lines = _timed(container)
        asked, sent = (
            next(second for second, line in lines if text in line)
            for text in ("SIGINT: fast shutdown", "received fast shutdown request")
        )
        assert 4.9 < sent - asked < 7


def test_second_stop_request_does_not_wait_for_a_helper(used_volume: str) -> None:
    """A second request is an immediate shutdown, even if a helper ignores it."""
    with serve_with(used_volume, {"deaf": Helper(_waiting(""))}) as container:
        container.says("deaf: begun")
        container.kill("INT")
        container.says("SIGINT: fast shutdown")
        container.kill("INT")
        container.says("received immediate shutdown request", timeout=3)
        container.wait(15)


def test_the_whole_group_of_a_helper_ends(used_volume: str) -> None:
    """Processes that a helper has started end with it."""
    text = (
        "#!/bin/bash\n(trap 'echo child ended; exit' TERM; echo begun; while :; do sleep 0.1; done) &\nwait\n"
    )
    with serve_with(used_volume, {"parent": Helper(text)}) as container:
        container.says("parent: begun")
        assert 0 == container.stop("INT")
        assert "parent: child ended" in container.logs().stderr


def test_other_processes_are_asked_to_end_last(used_volume: str) -> None:
    """Any other process in the container gets SIGTERM when the server is gone, and 2 s."""
    polite = _waiting("echo polite ended > /proc/1/fd/2; exit 0").encode()
    with serve_with(used_volume, {}) as container:
        container.exec("bash", "-c", "cat > /tmp/polite; chmod 755 /tmp/polite", stdin=polite.decode())
        docker("exec", "--detach", "--user", "postgres", container.name, "/tmp/polite")
        until(lambda: container.has_process("polite"), "the stranger")
        began = time.monotonic()
        assert 0 == container.stop("INT")
        assert time.monotonic() - began < 4
        expected = ["LOG:  database system is shut down", "polite ended"]
        assert expected == _order(container, *expected)


def test_helpers_have_clean_signals_and_descriptors(used_volume: str) -> None:
    """No signal is blocked or ignored; each has its own process group, and only the descriptors 0, 1 and 2."""
    text = (
        "#!/usr/local/lib/nix-postgres/python3 -IS\nimport os, time\n"
        "lines = open('/proc/self/status').read().splitlines()\n"
        "print(*[line for line in lines if line.startswith(('SigBlk', 'SigIgn'))], os.getpgid(0) == os.getpid(),"
        " sorted(int(n) for n in os.listdir('/proc/self/fd'))[:-1], flush=True)\ntime.sleep(60)\n"
    )
    with serve_with(used_volume, {"mate": Helper(text)}) as container:
        container.says("mate: ")
        line = next(line for line in container.logs().stderr.splitlines() if line.startswith("mate: "))
    found = re.fullmatch(r"mate: SigBlk:\t(\w+) SigIgn:\t(\w+) True \[0, 1, 2\]", line)
    assert found, line
    blocked, ignored = (
        int(found[number], 16) & 0x7FFFFFFF for number in (1, 2)
    )  # the others are the C library's own
    # Python itself ignores SIGPIPE (13) and SIGXFSZ (25).
    assert (0, (1 << 12) | (1 << 24)) == (blocked, ignored)
