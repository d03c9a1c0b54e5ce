"""PID 1 while Patroni runs the server, with scripts in place of Patroni and of the server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from entrypoint.pid1 import guided, status

ROOT = Path(guided.__file__).parents[2]

SERVE = """
import os, sys
sys.path.insert(0, sys.argv[1])
from entrypoint.pid1 import guided, status, status
from entrypoint.pid1.handoff import HANDOFF, ServerSpec, hand_over
from entrypoint.system import kernel
from entrypoint.system.signals import Signals

folder, data, argv = sys.argv[2], sys.argv[3], sys.argv[4:]
kernel.adopt_orphans()
given = ServerSpec(
    argv=argv, environment={"PATH": "/usr/bin:/bin"}, timeouts=[20.0, 2.0, 2.0], helpers=[],
    runtime_folder=folder, data_folder=data, cluster="", archive_status="", disks=[], segment=16777216,
    patroni=True,
)

def second_half(path, argv, environment):
    descriptor, _, kind = environment[HANDOFF].partition(" ")
    assert kind == "patroni"
    sys.exit(guided.main(descriptor))

os.execve = second_half
hand_over(Signals(), given, [os.open(folder, os.O_RDONLY)])
"""
"""The two halves of PID 1 in one process, which is a subreaper instead of PID 1."""

PATRONI = r"""
import os, signal, subprocess, sys, time
data, log, how = sys.argv[1:4]

def say(words):
    with open(log, "a") as file:
        file.write(words + "\n")

def server():
    try:
        pid = int(open(data + "/postmaster.pid").readline())
        os.kill(pid, 0)
        return pid
    except (OSError, ValueError):
        return 0

def stop(*_):
    say("stop")
    if how == "paused":
        sys.exit(0)
    if pid := server():
        os.kill(pid, signal.SIGINT)
        while server():
            time.sleep(0.02)
    sys.exit(0)

signal.signal(signal.SIGTERM, signal.SIG_IGN if how == "hangs" else stop)
signal.signal(signal.SIGHUP, lambda *_: say("reload"))
if how == "fails":
    sys.exit(3)
if not server():
    # As Patroni does: a process in between ends at once, so the server becomes the child of PID 1.
    code = "import os, subprocess, sys; os.setsid(); subprocess.Popen(sys.argv[1:], cwd=sys.argv[3])"
    subprocess.run([sys.executable, "-c", code, sys.executable, sys.argv[4], data, log], check=True)
    while not server():
        time.sleep(0.02)
    say("started")
else:
    say(f"adopted {server()}")
while True:
    time.sleep(1)
"""

SERVER = r"""
import os, signal, sys, time
data, log = sys.argv[1:3]

def end(number, _):
    with open(log, "a") as file:
        file.write(f"server: {signal.Signals(number).name}\n")
    os.unlink(data + "/postmaster.pid")
    sys.exit(0)

for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT):
    signal.signal(number, end)
with open(data + "/postmaster.pid", "w") as file:
    file.write(f"{os.getpid()}\n{data}\n{int(time.time())}\n5432\n\n\n\nready\n")
while True:
    time.sleep(1)
"""


class Node:
    """A PID 1 with its Patroni and its server."""

    def __init__(self, folder: Path, process: subprocess.Popen[str]) -> None:
        self.data, self.run, self.log = folder / "data", folder / "run", folder / "log"
        self.process = process

    def wait_for(self, words: str) -> None:
        """Wait until something has happened, by its words in the common log."""
        for _ in range(500):
            if words in self.said():
                return
            time.sleep(0.02)
        raise AssertionError(f"{words!r} is not in {self.said()!r}; {self.process.poll()}")

    def said(self) -> str:
        """Return what Patroni and the server have said."""
        return self.log.read_text() if self.log.exists() else ""

    def status(self) -> dict[str, list[str]]:
        """Return what PID 1 reports, once it knows the server."""
        for _ in range(500):
            rows = [line.split() for line in (self.run / "status").read_text().splitlines()]
            found = {row[1] if row[0] == "helper" else row[0]: row for row in rows}
            if "server" in found:
                return found
            time.sleep(0.02)
        raise AssertionError(rows)

    @property
    def server(self) -> int:
        """The pid of the server."""
        return int((self.data / "postmaster.pid").read_text().split("\n")[0])

    @property
    def patroni(self) -> int:
        """The pid of Patroni."""
        return int(self.status()["patroni"][3])

    def end(self) -> tuple[int, str]:
        """Return the exit code and the log of PID 1 once it has ended."""
        errors = self.process.communicate(timeout=30)[1]
        assert "Traceback" not in errors
        return self.process.returncode, errors


@contextmanager
def _node(folder: Path, how: str = "plain") -> Iterator[Node]:
    for name in ("data", "run"):
        (folder / name).mkdir()
    for name, text in (("patroni.py", PATRONI), ("server.py", SERVER)):
        (folder / name).write_text(text)
    argv = [sys.executable, folder / "patroni.py", folder / "data", folder / "log", how, folder / "server.py"]
    with subprocess.Popen(
        [
            sys.executable,
            "-IS",
            "-c",
            SERVE,
            str(ROOT),
            str(folder / "run"),
            str(folder / "data"),
            *map(str, argv),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        node = Node(folder, process)
        try:
            yield node
        finally:
            process.kill()  # first, since it starts others
            _kill_all(folder)


def _kill_all(folder: Path) -> None:
    """End Patroni and the server, each of which may have been left alone."""
    mine = b"\0" + os.fsencode(folder) + b"/"
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if mine in path.read_bytes():
                os.kill(int(path.parent.name), signal.SIGKILL)


def test_the_server_is_known(tmp_path: Path) -> None:
    """The status names the server, although Patroni has started it; a stop ends Patroni, which ends the server."""
    with _node(tmp_path) as node:
        node.wait_for("started")
        assert node.server == int(node.status()["server"][1])
        node.process.send_signal(signal.SIGTERM)
        code, errors = node.end()
    assert (0, "started\nstop\nserver: SIGINT\n") == (code, node.said()), errors


def test_a_killed_patroni_is_replaced(tmp_path: Path) -> None:
    """The next Patroni finds the same server, which nobody has stopped."""
    with _node(tmp_path) as node:
        node.wait_for("started")
        server = node.server
        os.kill(node.patroni, signal.SIGKILL)
        node.wait_for(f"adopted {server}")
        assert server == int(node.status()["server"][1])
        node.process.send_signal(signal.SIGTERM)
        assert 0 == node.end()[0]


def test_a_stopped_patroni_is_replaced(tmp_path: Path) -> None:
    """Otherwise another node would take over, while the server here takes writes."""
    with _node(tmp_path) as node:
        node.wait_for("started")
        server = node.server
        os.kill(node.patroni, signal.SIGSTOP)
        node.wait_for(f"adopted {server}")  # within ten seconds, half of the smallest ttl
        node.process.send_signal(signal.SIGTERM)
        code, errors = node.end()
    assert 0 == code
    assert "a signal has stopped Patroni: killing it" in errors


def test_a_patroni_that_continues_is_left_alone(tmp_path: Path) -> None:
    """Somebody stopped it for a moment."""
    with _node(tmp_path) as node:
        node.wait_for("started")
        for _ in range(2):
            os.kill(node.patroni, signal.SIGSTOP)
            time.sleep(3)
            os.kill(node.patroni, signal.SIGCONT)
            time.sleep(1)
        assert "started\n" == node.said()


def test_a_killed_server_ends_nothing(tmp_path: Path) -> None:
    """Patroni decides what to do about it; PID 1 knows the next one."""
    with _node(tmp_path) as node:
        node.wait_for("started")
        first = int(node.status()["server"][1])
        os.kill(first, signal.SIGKILL)
        os.kill(node.patroni, signal.SIGKILL)  # this Patroni does not start a server twice
        node.wait_for("started\nstarted")
        for _ in range(100):
            if first != int(node.status()["server"][1]):
                break
            time.sleep(0.05)
        assert node.server == int(node.status()["server"][1])
        assert node.process.poll() is None


@pytest.mark.parametrize("how", ["paused", "hangs"])
def test_patroni_does_not_stop_the_server(tmp_path: Path, how: str) -> None:
    """PID 1 then stops the server itself; a Patroni that hangs is killed after its time."""
    with _node(tmp_path, how) as node:
        node.wait_for("started")
        node.status()
        node.process.send_signal(signal.SIGTERM)
        code, errors = node.end()
    assert (0, "server: SIGINT") == (code, node.said().splitlines()[-1]), errors


def test_a_reload_is_patronis(tmp_path: Path) -> None:
    """SIGHUP goes to Patroni, which reloads the server."""
    with _node(tmp_path) as node:
        node.wait_for("started")
        node.process.send_signal(signal.SIGHUP)
        node.wait_for("reload")


def test_patroni_that_cannot_start(tmp_path: Path) -> None:
    """Without a server, the container ends with Patroni's code after some attempts."""
    with _node(tmp_path, "fails") as node:
        code, errors = node.end()
    assert 3 == code
    assert 4 == errors.count("starting it again")


def test_a_failed_first_start(tmp_path: Path) -> None:
    """If a first start has begun and Patroni ends, what it has left is not served: the container ends."""
    with _node(tmp_path) as node:
        node.wait_for("started")
        (node.run / status.FIRST_START).write_text("10")
        os.kill(node.patroni, signal.SIGKILL)
        code, errors = node.end()
    assert 10 == code
    assert "the first start failed: the container ends" in errors
    assert "started\nserver: SIGINT\n" == node.said()


def test_a_data_folder_that_patroni_makes_again_is_locked(tmp_path: Path) -> None:
    """The lock of the start was on a folder that no longer exists."""
    with _node(tmp_path) as node:
        node.wait_for("started")
        patroni = node.patroni
        os.kill(node.server, signal.SIGINT)
        node.wait_for("server: SIGINT")
        os.rename(node.data, tmp_path / "gone")
        node.data.mkdir()
        os.kill(patroni, signal.SIGKILL)
        node.wait_for("server: SIGINT\nstarted")
        node.status()
        time.sleep(0.5)
        other = subprocess.run(["flock", "--nonblock", node.data, "true"], check=False)
        assert 1 == other.returncode
