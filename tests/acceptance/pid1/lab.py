"""
A laboratory for PID 1: one long-lived container in which the supervisor runs many times.

Each run has its own process namespace, in which the supervisor really is PID 1, and the program's own
`hand_over` gives it its child. The child is whatever a test needs, because an init's duties do not depend
on its child.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import containers
from containers import PYTHON, Container, File, Outcome, script, serve

_MAY_UNSHARE = ("--init", "--cap-add", "SYS_ADMIN", "--security-opt", "seccomp=unconfined")

_NAMESPACE = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")

_PROGRAM = """#!/usr/local/lib/nix-postgres/python3 -IS
import os, sys
sys.path.insert(0, "/usr/local/lib/nix-postgres")
from entrypoint import __main__, log
from entrypoint.pid1 import handoff
from entrypoint.system import kernel
from entrypoint.pid1.handoff import ServerSpec
from entrypoint.system.signals import Signals
from entrypoint.errors import Failure

def hand_over(argv):
    signals = Signals()
    kernel.adopt_orphans()
    kernel.keep_descriptors_to_ourselves()
    server = ServerSpec(
        argv=argv,
        environment=dict(os.environ),
        timeouts=[float(word) for word in os.environ.get("LAB_TIMEOUTS", "9 9 9").split()],
        helpers=[],
        runtime_folder="/tmp", data_folder="/tmp", cluster="", archive_status="", disks=[], segment=16777216,
        debug="LAB_DEBUG" in os.environ,
    )
    sys.orig_argv = ["/usr/local/lib/nix-postgres/python3", "-IS", "/usr/local/bin/entrypoint"]
    try:
        handoff.hand_over(signals, server, [os.open("/tmp", os.O_RDONLY | os.O_CLOEXEC)])
    except Failure as failure:
        log.problem(failure.problems[0])
        sys.exit(failure.code)
"""

# LAB_DEBUG turns the debug log on; LAB_TIMEOUTS are the seconds for smart, fast and immediate.
_SUPERVISE = f"""{_PROGRAM}
hand_over(sys.argv[1:])
"""

# Prints how a child's end is reported for each exit code: exit-codes server, or exit-codes command.
# The program is loaded once and its processes are forks, because 256 starts of an interpreter take a while.
_EXIT_CODES = f"""{_PROGRAM}
def server(argv):
    def no_exec(path, argv, environment):
        os.environ.clear()
        os.environ.update(environment)
        os._exit(__main__.main())
    os.execve = no_exec
    hand_over(argv)

def command(argv):
    sys.argv = ["entrypoint", *argv]
    sys.exit(__main__.main())

os.dup2(os.open("/dev/null", os.O_WRONLY), 2)
for code in range(256):
    pid = os.fork()
    if not pid:
        globals()[sys.argv[1]](["sh", "-c", f"exit {{code}}"])
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""

# Executes a command with exactly these signals ignored and those blocked: with-signals 1,2 3,4 COMMAND...
WITH_SIGNALS = """#!/usr/local/lib/nix-postgres/python3 -IS
import os, signal, sys
ignored, blocked = ({int(word) for word in words.split(",") if word} for words in sys.argv[1:3])
for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
    try:
        signal.signal(number, signal.SIG_IGN if number in ignored else signal.SIG_DFL)
    except OSError:
        pass  # the C library's own
signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
os.execvp(sys.argv[3], sys.argv[3:])
"""

# Helpers for children in Python.
_PRELUDE = """
import os, signal, sys, time

INIT = os.getppid()

def until(condition):
    deadline = time.monotonic() + 15
    while not condition():
        if time.monotonic() > deadline:
            print("too late", flush=True)
            os._exit(99)
        time.sleep(0.01)

def stat(pid):
    # state and parent of a process
    try:
        with open(f"/proc/{pid}/stat") as file:
            state, parent = file.read().rpartition(")")[2].split()[:2]
        return state, int(parent)
    except (OSError, ValueError):
        return "gone", 0

def pids():
    return {int(name) for name in os.listdir("/proc") if name.isdigit()}

def adopted():
    # what the supervisor has for children beside us, by state
    found = {pid: stat(pid) for pid in pids() - {os.getpid()}}
    return {pid: state for pid, (state, parent) in found.items() if parent == INIT}

def orphan(live):
    # start a process whose parent has ended before it does anything
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    parent = os.getpid()
    if os.fork():
        os._exit(0)
    until(lambda: os.getppid() != parent)
    try:
        live()
    finally:
        os._exit(0)
"""


def bash(text: str) -> tuple[str, ...]:
    """The command that runs a piece of bash."""
    return ("bash", "-c", text)


def python(text: str) -> tuple[str, ...]:
    """The command that runs a piece of Python, which can use the helpers of `_PRELUDE`."""
    return (PYTHON, "-IS", "-c", _PRELUDE + text)


def numbers(mask: str) -> set[int]:
    """The signals of a mask, as in `/proc/<pid>/status`."""
    bits = int(mask, 16)
    return {number for number in range(1, 65) if bits >> (number - 1) & 1}


def signal_state(status: str, wanted: Sequence[str] = ("SigIgn", "SigBlk")) -> dict[str, set[int]]:
    """The ignored and the blocked signals, from the text of `/proc/<pid>/status`.

    Signals 32 and 33 are left out: the C library ignores them in processes that it spawns, which a whole
    engine can inherit, and nobody can send them.
    """
    lines = (line.split(":") for line in status.splitlines() if line.startswith("Sig"))
    return {name: numbers(mask) - {32, 33} for name, mask in lines if name in wanted}


#: Creates orphans at a rate, with sh, which is dash on Debian and forks cheapest: each subshell leaves forty. Prints the reached rate.
FLOOD = """
import os, sys, time
rate, seconds = int(sys.argv[1]), float(sys.argv[2])
group = "(" + "exit 0 & exit 1 & exit 2 & exit 127 & " * 10 + ")"
script = "i=0; while [ $i -lt $0 ]; do " + group + "; i=$((i + 1)); done"
began = time.monotonic()
made = 0
while (passed := time.monotonic() - began) < seconds:
    due = int(rate * passed - made) // 40
    if due < 2:
        time.sleep(0.005)
        continue
    os.waitpid(os.posix_spawn("/bin/sh", ["sh", "-c", script, str(min(due, 50))], {}), 0)
    made += min(due, 50) * 40
print(made / (time.monotonic() - began))
"""


class Helper(NamedTuple):
    """A helper in the form of `hand_over`: a small script."""

    text: str
    after_server: bool = False
    keep: bool = True


_LAUNCHER = """#!/usr/local/lib/nix-postgres/python3 -IS
import os, sys
sys.path.insert(0, "/usr/local/lib/nix-postgres")
if "ENTRYPOINT_HANDOFF" in os.environ:
    from entrypoint.__main__ import main
    sys.exit(main())
from entrypoint.volume import holder, notes
from entrypoint.pid1.handoff import HelperSpec, ServerSpec, hand_over
from entrypoint.system.signals import Signals
environment = dict(os.environ)
helpers = [
    HelperSpec(role, ["/helpers/" + role], environment, after_server=after, keep=keep)
    for role, after, keep in HELPERS
]
server = ServerSpec(
    argv=["postgres"], environment=environment, timeouts=[5, 60, 10], helpers=helpers,
    runtime_folder="/run/entrypoint", data_folder=os.environ["PGDATA"], archive_status="", disks=[], segment=16777216,
    cluster=notes.cluster(os.environ["PGDATA"]),
)
hand_over(Signals(), server, [holder.lock_folder(os.environ["PGDATA"])])
"""


@contextmanager
def serve_with(volume: str, helpers: Mapping[str, Helper]) -> Iterator[Container]:
    """A server with these helpers."""
    rows = [(role, helper.after_server, helper.keep) for role, helper in helpers.items()]
    files: dict[str, File | str] = {"/launch": script(_LAUNCHER.replace("HELPERS", repr(rows)))}
    files |= {f"/helpers/{role}": script(helper.text) for role, helper in helpers.items()}
    options = ("--entrypoint", "/launch", "--user", "postgres")
    with serve(
        env={"PGDATA": "/volume/data"}, files=files, volumes={"/volume": volume}, options=options
    ) as container:
        yield container


class Lab:
    """The container, and the ways to run something in it."""

    def __init__(self, container: Container) -> None:
        """Refer to a container that was opened by `open_lab`."""
        self.container = container

    def run(self, *command: str, stdin: str | None = None, env: Mapping[str, str] | None = None) -> Outcome:
        """How a command in the container ends."""
        return self.container.exec(*command, stdin=stdin, env=env, check=False, timeout=60)

    def alone(self, *command: str, env: Mapping[str, str] | None = None, limit: int = 60) -> Outcome:
        """How a command ends that is PID 1 of its own namespace, within this many seconds."""
        return self.run("timeout", "--signal", "KILL", str(limit), *_NAMESPACE, *command, env=env)

    def supervise(
        self,
        child: Sequence[str],
        *,
        pid1: bool = True,
        before: Sequence[str] = (),
        limit: int = 60,
        debug: bool = False,
        timeouts: str = "9 9 9",
        env: Mapping[str, str] | None = None,
    ) -> Outcome:
        """
        How the supervisor of a child ends.

        Args:
            child: The command that stands in for the server.
            pid1: Whether the supervisor is PID 1, or the subreaper below another process.
            before: A command that executes its arguments, and sets the state in which the supervisor begins.
            limit: Seconds until everything is killed.
            debug: Whether the debug log is on.
            timeouts: Seconds for a smart, a fast and an immediate shutdown.
            env: Additions to the child's environment.

        """
        below = () if pid1 else ("bash", "-c", '"$@"; exit $?', "-")
        variables = {"LAB_TIMEOUTS": timeouts, **({"LAB_DEBUG": "1"} if debug else {}), **(env or {})}
        return self.alone(*below, *before, "/lab/supervise", *child, env=variables, limit=limit)


@contextmanager
def open_lab() -> Iterator[Lab]:
    """A laboratory, which is closed at the end."""
    tools = {
        "/lab/supervise": script(_SUPERVISE),
        "/lab/with-signals": script(WITH_SIGNALS),
        "/lab/exit-codes": script(_EXIT_CODES),
    }
    options = ("--entrypoint", "sleep", *_MAY_UNSHARE)
    with containers.start("infinity", files=tools, options=options) as container:
        yield Lab(container)
