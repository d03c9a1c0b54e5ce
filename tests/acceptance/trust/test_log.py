"""A log that nobody reads blocks nothing, least of all a stop."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from containers import FRESH, PYTHON, Container, start, until

_LAUNCHER = """
import fcntl, os, pwd, socket, sys, tty
kind, arguments = sys.argv[1], sys.argv[2:]
if kind == "terminal":
    read, write = os.openpty()
    tty.setraw(write)
elif kind == "socket":
    read, write = (end.detach() for end in socket.socketpair())
else:
    read, write = os.pipe()
    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 8192)
    if kind == "full":
        os.write(write, bytes(8192))
if not os.fork():
    # This process could read the log, and does so once /tmp/read exists.
    os.close(write)
    import time
    while not os.path.exists("/tmp/read"):
        time.sleep(0.1)
    with open("/tmp/log", "wb") as file:
        while data := os.read(read, 65536):
            file.write(data)
            file.flush()
    os._exit(0)
os.close(read)
os.dup2(write, 2)
os.close(write)
if kind == "of root":
    # Only root may open the log again.
    os.setgroups([])
    who = pwd.getpwnam("postgres")
    os.setgid(who.pw_gid)
    os.setuid(who.pw_uid)
os.execvp("entrypoint", ["entrypoint", *arguments])
"""
"""Starts the program with a standard error of this kind, which is full after a few lines."""

_COLLECTED = ("postgres", "-c", "logging_collector=on")


def _launch(kind: str) -> tuple[str, ...]:
    return ("-IS", "-c", _LAUNCHER, kind, *_COLLECTED)


def _is_ready(container: Container) -> bool:
    return container.exec("entrypoint", "ready", check=False).code == 0


OPTIONS = ("--entrypoint", PYTHON)
ENV: Mapping[str, str] = {**FRESH, "STATUS_LOG_LEVEL": "debug"}


@pytest.mark.parametrize("kind", ["pipe", "of root", "terminal", "socket"])
def test_a_stop_is_passed_on_even_if_nobody_reads_the_log(kind: str) -> None:
    """With a full pipe, terminal or socket, the start completes, and a stop is clean.

    The log is complete for a reader who starts late.
    """
    options = (*OPTIONS, "--user", "root")
    with start(*_launch(kind), env=ENV, options=options) as container:
        until(lambda: _is_ready(container), "ready")
        container.shell("for i in $(seq 250); do kill -USR1 1; sleep 0.01; done", user="0")
        if kind == "pipe":
            container.shell("touch /tmp/read")
            until(lambda: container.shell("grep -c serving /tmp/log || true") >= "100", "the log is read")
        assert 0 == container.stop(timeout=25), "only a clean shutdown exits with 0"


def test_a_stop_is_passed_on_during_a_first_start() -> None:
    """A first start whose log is full from its first line stops on request."""
    env = {**ENV, "POSTGRES_HOST_AUTH_METHOD": "trust"}  # a warning, which the full log cannot take
    with start(*_launch("full"), env=env, options=(*OPTIONS, "--user", "root")) as container:
        begun = ("grep", "-q", "phase init", "/run/entrypoint/status")
        until(lambda: container.exec(*begun, check=False).code == 0, "the start is running")
        assert 143 == container.stop("TERM", timeout=25)
