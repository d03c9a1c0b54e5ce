"""PID 1 while the server runs, with a shell script in place of the server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from entrypoint import exits
from entrypoint.pid1 import supervisor

ROOT = Path(supervisor.__file__).parents[2]

SERVE = """
import os, sys, time
sys.path.insert(0, sys.argv[1])
from entrypoint import log
from entrypoint.pid1 import supervisor
from entrypoint.pid1.handoff import HANDOFF, HelperSpec, ServerSpec, hand_over
from entrypoint.system.signals import Signals
from entrypoint.errors import Failure

folder, timeouts, helpers, argv = sys.argv[2], sys.argv[3], sys.argv[4], sys.argv[5:]
environment = {"PATH": "/usr/bin:/bin"}
given = ServerSpec(
    argv=argv,
    environment=environment,
    timeouts=[float(seconds) for seconds in timeouts.split(",")],
    helpers=[HelperSpec("helper", ["sh", "-c", script], environment, keep=True) for script in helpers.splitlines()],
    runtime_folder=folder, data_folder=folder, cluster="", archive_status="",
    disks=[], segment=16777216,
)

def second_half(path, argv, environment):
    time.sleep(float(os.environ.get("SLOW_SECOND_HALF", "0")))
    sys.exit(supervisor.main(environment[HANDOFF]))

os.execve = second_half
try:
    hand_over(Signals(), given, [os.open(folder, os.O_RDONLY)])
except Failure as failure:
    log.problem(failure.problems[0])
    sys.exit(failure.code)
"""


@contextmanager
def _serving(
    folder: Path, argv: Sequence[str], *, timeouts: str = "20,20,20", helper: str = ""
) -> Iterator[subprocess.Popen[str]]:
    """Run the supervisor with a program, in a session of its own, and leave nothing of it behind."""
    with subprocess.Popen(
        [sys.executable, "-IS", "-c", SERVE, str(ROOT), str(folder), timeouts, helper, *argv],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass


def _end(process: subprocess.Popen[str]) -> tuple[int, str]:
    errors = process.communicate(timeout=30)[1]
    assert "Traceback" not in errors
    return process.returncode, errors


def _server(script: str) -> list[str]:
    # It ends by itself, in case a test has forgotten it.
    stay = "i=0; while [ $i -lt 2000 ]; do i=$((i + 1)); sleep 0.01; done"
    return ["sh", "-c", f"{script}\necho up\n{stay}"]


def _until_up(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    assert "up\n" == process.stdout.readline()


@pytest.mark.parametrize(("code", "expected"), [(1, 1), (2, 2), (137, 137), (0, exits.FAILURE)])
def test_the_servers_exit_code_decides(tmp_path: Path, code: int, expected: int) -> None:
    """It is the container's, except for an end that nobody requested."""
    with _serving(tmp_path, ["sh", "-c", f"exit {code}"]) as process:
        assert expected == _end(process)[0]


def test_a_server_killed_by_a_signal(tmp_path: Path) -> None:
    """A death by signal is 128 + signal."""
    with _serving(tmp_path, ["sh", "-c", "kill -SEGV $$"]) as process:
        assert 128 + signal.SIGSEGV == _end(process)[0]


@pytest.mark.parametrize(("name", "expected"), [("TERM", 15), ("INT", 2), ("QUIT", 3)])
def test_a_stop_reaches_the_server(tmp_path: Path, name: str, expected: int) -> None:
    """The server gets the signal that PID 1 gets, and its exit code is the container's."""
    traps = "\n".join(
        f"trap 'exit {number}' {other}" for other, number in (("TERM", 15), ("INT", 2), ("QUIT", 3))
    )
    with _serving(tmp_path, _server(traps)) as process:
        _until_up(process)
        process.send_signal(signal.Signals[f"SIG{name}"])
        code, errors = _end(process)
    assert expected == code
    assert f"SIG{name}: " in errors


def test_a_server_that_ignores_signals_is_killed(tmp_path: Path) -> None:
    """Smart, fast, immediate, SIGKILL: each follows when the time of the step before is over."""
    with _serving(tmp_path, _server("trap '' TERM INT QUIT"), timeouts="0.05,0.05,0.05") as process:
        _until_up(process)
        process.send_signal(signal.SIGTERM)
        code, errors = _end(process)
    assert 128 + signal.SIGKILL == code
    steps = [step for step in ("smart", "fast", "immediate", "kill") if f"{step} shutdown" in errors]
    assert ["smart", "fast", "immediate", "kill"] == steps


def test_a_reload_is_passed_on(tmp_path: Path) -> None:
    """SIGHUP reaches the server and ends nothing."""
    with _serving(tmp_path, _server("trap 'exit 5' HUP")) as process:
        _until_up(process)
        process.send_signal(signal.SIGHUP)
        assert 5 == _end(process)[0]


def test_a_helper_is_heard_and_restarted(tmp_path: Path) -> None:
    """A helper's output has its role before it; the helper's end does not end the server."""
    server = _server("trap 'exit 0' INT")
    with _serving(tmp_path, server, helper="printf 'one\\ntwo'; exit 4") as process:
        _until_up(process)
        assert process.stderr is not None
        lines = [process.stderr.readline() for _ in range(3)]
        process.send_signal(signal.SIGINT)
        code, _ = _end(process)
    assert {"helper: one\n", "helper: two\n"} == {line for line in lines if line.startswith("helper: ")}
    assert 1 == len([line for line in lines if "helper ended with code 4" in line])
    assert 0 == code


@pytest.mark.parametrize(
    ("argv", "expected"), [(["no-such-program"], exits.NOT_FOUND), (["/dev/null"], exits.NOT_EXECUTABLE)]
)
def test_a_server_that_cannot_be_started(tmp_path: Path, argv: list[str], expected: int) -> None:
    """The supervisor ends at once with the reason and a shell's code, and signals no other process instead."""
    with _serving(tmp_path, argv) as process:
        code, errors = _end(process)
    assert expected == code
    assert f"entrypoint: error: {argv[0]}: " in errors


@pytest.mark.parametrize("text", ["", "x", "0", "1", "2", "-1", "77", "99999999999999999999"])
def test_a_handoff_that_is_not_one(text: str) -> None:
    """Setting our variable is an error with a message; the standard streams stay open for it."""
    script = "import sys; sys.path.insert(0, sys.argv[1])\nfrom entrypoint.pid1 import supervisor\n"
    done = subprocess.run(
        [sys.executable, "-IS", "-c", f"{script}sys.exit(supervisor.main(sys.argv[2]))", str(ROOT), text],
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    expected = "entrypoint: error: ENTRYPOINT_HANDOFF is for internal use only\n  hint: unset it\n"
    assert (exits.FAILURE, expected) == (done.returncode, done.stderr)


def test_the_servers_own_record_is_not_older_than_the_phase(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A health check considers postmaster.pid stale if it is older than the phase, however slow we are."""
    monkeypatch.setenv("SLOW_SECOND_HALF", "1.1")
    with _serving(tmp_path, _server(f"date +%s > {tmp_path}/began; trap 'exit 0' INT")) as process:
        _until_up(process)
        deadline = time.monotonic() + 9
        while not (tmp_path / "status").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        since = int((tmp_path / "status").read_text().split()[2])
        assert since <= int((tmp_path / "began").read_text())
