"""
Table 4.1: the assertions of krallin/tini's tests, T1 to T23.

A command that is passed through replaces our process, so there is no init then. The supervisor is the init of
the server, and of any child as far as an init's duties are concerned.

Rows without a test of their own:

- T1 as far as it maps codes, T6 and T7 (signals to the child's process group): we have no such modes. Only the
  postmaster gets signals, because it knows which of its processes must outlive the sessions; see D2.
- T10: none of our signals reports a parent's death; when PID 1 ends, the kernel ends the whole container.
- T23: we have no binary that could be hardened.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from acceptance.pid1.lab import WITH_SIGNALS, Lab, bash, open_lab, python, signal_state
from containers import FRESH, Container, kin, run, script, serve, start, until
from majors import OTHERS

USED = {"PGDATA": "/volume/data"}
ALL_CODES = list(range(256))


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """The laboratory in which supervisors run."""
    with open_lab() as made:
        yield made


@pytest.fixture
def running(used_volume: str) -> Iterator[Container]:
    """A server of its own."""
    with serve(env=USED, volumes={"/volume": used_volume}) as container:
        yield container


# T1, T2: exit codes


def test_t1_d12_exit_code_of_a_command_is_passed_through(lab: Lab) -> None:
    """A container with a command ends as the command does, for every code."""
    assert ALL_CODES == [int(code) for code in lab.alone("/lab/exit-codes", "command").stdout.split()]


def test_t2_d12_exit_code_of_the_server_is_passed_through(lab: Lab) -> None:
    """The supervisor ends with its child's code, for every code; but an end that nobody requested is no success."""
    codes = [int(code) for code in lab.alone("/lab/exit-codes", "server").stdout.split()]
    assert [1, *ALL_CODES[1:]] == codes


@pytest.mark.parametrize("code", [0, 1, 2, 255])
def test_t2_exit_code_after_a_stop_is_the_servers(lab: Lab, code: int) -> None:
    """A child that was asked to stop decides the code, even 0."""
    child = bash(f"trap 'exit {code}' TERM; kill -TERM 1; while :; do sleep 0.01; done")
    assert code == lab.supervise(child).code


# T3, T4, T11, T14: reaping

_HUNDRED = """
from random import random
helper = os.fork()
if not helper:
    for _ in range(100):
        if not os.fork():
            until(lambda: os.getppid() == INIT)
            time.sleep(0.2 + random() / 2)
            os._exit(3)
    os._exit(0)
os.waitpid(helper, 0)
until(lambda: len(adopted()) == 100 or sys.exit("not ours"))
print(len(adopted()), "adopted", flush=True)
until(lambda: not adopted())
print(sorted(pids() - {1, INIT, os.getpid()}), "left", flush=True)
sys.exit(42)
"""


@pytest.mark.parametrize("pid1", [True, False], ids=["pid1", "subreaper"])
def test_t3_orphans_are_reaped(lab: Lab, pid1: bool) -> None:
    """The supervisor adopts a hundred orphans, and leaves nothing of them and no message."""
    ended = lab.supervise(python(_HUNDRED), pid1=pid1)
    assert (42, "100 adopted\n[] left\n", "") == ended


@pytest.mark.parametrize("code", [0, 3])
def test_t4_reaping_is_logged(lab: Lab, code: int) -> None:
    """The debug log names each reaped orphan and its exit code."""
    child = f"""
pid, write = os.pipe()
orphan(lambda: (os.write(write, str(os.getpid()).encode()), os._exit({code})))
orphaned = int(os.read(pid, 10))
until(lambda: stat(orphaned)[0] == "gone")
print(orphaned)
sys.exit(5)
"""
    ended = lab.supervise(python(child), debug=True)
    line = f"entrypoint: debug: reaped the orphan {ended.stdout.strip()}, which ended with {code}"
    assert (5, True) == (ended.code, line in ended.stderr.splitlines()), ended.output


@pytest.mark.parametrize("init", [(), ("--init",)], ids=["pid1", "docker-init"])
def test_t11_orphans_in_a_container_are_reaped(used_volume: str, init: tuple[str, ...]) -> None:
    """Orphans of the server's own commands go to the supervisor, which is a subreaper under docker's init."""
    with serve(env=USED, volumes={"/volume": used_volume}, options=init) as container:
        supervisor = container.process(container.postmaster())["PPid"]
        # COPY PROGRAM runs below the server, so the nearest reaper adopts the processes that it leaves behind.
        left = "(sleep 1000 > /dev/null 2>&1 & echo $!)"
        orphan = container.sql(
            f"CREATE TEMP TABLE t (pid int); COPY t FROM PROGRAM '{left}'; SELECT pid FROM t"
        )
        assert supervisor == container.process(int(orphan))["PPid"]
        container.shell(f"kill -KILL {orphan}")
        until(
            lambda: container.exec("test", "-e", f"/proc/{orphan}", check=False).code == 1,
            "the orphan is reaped",
        )
        assert "1" == container.sql("SELECT 1")


def test_t14_a_thousand_orphans_leak_nothing(lab: Lab) -> None:
    """After a thousand orphans, the supervisor has the same descriptors as before."""
    child = """
def open_files():
    return sorted(os.listdir(f"/proc/{INIT}/fd"))
def leave(orphans):
    helper = os.fork()
    if not helper:
        for _ in range(orphans):
            os.fork() or os._exit(7)
        os._exit(0)
    os.waitpid(helper, 0)
leave(1)
until(lambda: not adopted())  # a supervisor that has reaped one is running, and has opened what it needs
before = open_files()
for _ in range(10):
    leave(100)
until(lambda: not adopted())
print(open_files() == before, len(before) > 3)
sys.exit(5)
"""
    assert (5, "True True\n", "") == lab.supervise(python(child))


# T5, T12: signals to a container


@pytest.mark.parametrize(("signal", "code"), [("TERM", 143), ("USR1", 138), ("USR2", 140)])
def test_t5_t12_signal_reaches_a_command(signal: str, code: int) -> None:
    """Under docker's init, a command itself gets each signal, with or without a child."""
    with start("bash", "-c", "sleep 1000 & echo up; wait; wait", options=("--init",)) as container:
        # Not `says`: so early, a line may be older than the time that docker reports for the start.
        until(lambda: "up" in container.logs().stdout, "the command runs")
        container.kill(signal)
        assert code == container.wait(10)


def test_t12_signals_reach_the_supervisor(running: Container) -> None:
    """USR1 and USR2 end nothing, TERM stops the server."""
    running.kill("USR2")
    running.kill("USR1")
    running.says("serving; 0 sessions")
    assert "42" == running.sql("SELECT answer FROM kept")
    assert 0 == running.stop("TERM")


# T8: neither PID 1 nor subreaper


def test_t8_warns_when_neither_pid1_nor_subreaper(tmp_path: Path) -> None:
    """If the kernel refuses to make us a subreaper, the log says what will not work."""
    refused = {
        "names": ["prctl"],
        "action": "SCMP_ACT_ERRNO",
        "args": [{"index": 0, "value": 36, "op": "SCMP_CMP_EQ"}],
    }
    profile = tmp_path / "profile.json"
    profile.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [refused]}))
    without = ("--security-opt", f"seccomp={profile}")
    warning = "not PID 1 and no child subreaper: zombie reaping won't work"
    # Without a password, the start ends right after the point of the warning.
    assert warning in run("postgres", options=("--init", *without)).stderr
    assert warning not in run("postgres", options=without).stderr
    assert warning not in run("postgres", options=("--init",)).stderr


# T9: the state of signals

_IGNORED, _BLOCKED = {2, 11, 22}, {4, 15, 21}
"""INT, SEGV and TTOU; ILL, TERM and TTIN."""
_STATE = ("/lab/with-signals", "2,11,22", "4,15,21")


def test_t9_command_inherits_the_signal_state(lab: Lab) -> None:
    """A command ignores and blocks exactly the signals that were ignored and blocked when the entrypoint started."""
    assert {"SigBlk": _BLOCKED, "SigIgn": _IGNORED} == signal_state(
        lab.run(*_STATE, "entrypoint", "cat", "/proc/self/status").stdout
    )


@pytest.mark.parametrize("pid1", [True, False], ids=["pid1", "subreaper"])
def test_t9_child_inherits_the_signal_state(lab: Lab, pid1: bool) -> None:
    """The supervisor's child ignores and blocks exactly the signals that were when the entrypoint started."""
    ended = lab.supervise(("cat", "/proc/self/status"), pid1=pid1, before=_STATE)
    assert {"SigBlk": _BLOCKED, "SigIgn": _IGNORED} == signal_state(ended.stdout)


def test_t9_single_user_server_inherits_the_signal_state(image_env: dict[str, str], used_volume: str) -> None:
    """`postgres --single` replaces the program, which restores the state that it was started with."""
    reader = "#!/bin/sh\nexec cat /proc/self/status\n"
    ended = run(
        *(*_STATE[1:], "entrypoint", "postgres", "--single"),
        options=("--entrypoint", _STATE[0]),
        env={**USED, "PATH": f"/first:{image_env['PATH']}"},
        files={"/first/postgres": script(reader), _STATE[0]: script(WITH_SIGNALS)},
        volumes={"/volume": used_volume},
    )
    assert {"SigBlk": _BLOCKED, "SigIgn": _IGNORED} == signal_state(ended.stdout)


def test_t9_server_inherits_the_signal_state(used_volume: str, image_env: dict[str, str]) -> None:
    """The real server, started by the whole program, begins with no signal ignored or blocked."""
    # The shell itself reads, because it ignores and blocks other signals in the programs that it starts.
    look = 'while read -r line; do echo "$line"; done < /proc/$$/status'
    wrapper = f"""#!/bin/sh
{look} > /run/postgresql/state
PATH=${{PATH#*:}} exec postgres "$@"
"""
    with serve(
        env={**USED, "PATH": f"/first:{image_env['PATH']}"},
        files={"/first/postgres": script(wrapper)},
        volumes={"/volume": used_volume},
    ) as container:
        # If sh is bash, it ignores SIGQUIT by itself.
        clean = signal_state(container.exec("sh", "-c", look).stdout)
        assert clean["SigIgn"] <= {3}
        assert clean == signal_state(container.shell("cat /run/postgresql/state"))


# T13, T17, T18, T19: the meaning of the arguments


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("-z",), 1),
        (("--help",), 0),
        (("nowhere",), 127),
        (("-w",), 1),
        (("true",), 0),
        (("false",), 1),
        (("--version",), 0),
        (("--", "true"), 1),
        (("--", "--", "true"), 1),
        (("-h", "localhost", "-x"), 1),
    ],
    ids=str,
)
def test_t13_t18_t19_meaning_of_arguments(lab: Lab, arguments: tuple[str, ...], code: int) -> None:
    """Arguments that begin with `-` are the server's, and a word is a command; none is our own."""
    ended = lab.alone("entrypoint", *arguments, env=FRESH)
    assert code == ended.code, ended.output
    if arguments[0].startswith("-"):
        assert "postgres" in ended.output.lower()
        assert "Usage: entrypoint" not in ended.output


def test_t18_no_arguments_print_help(lab: Lab) -> None:
    """The entrypoint without any argument only prints its usage."""
    ended = lab.run("entrypoint")
    assert (0, True, "") == (ended.code, ended.stdout.startswith("Usage: entrypoint"), ended.stderr)


def test_t18_version_is_the_servers(lab: Lab) -> None:
    """The version is that of postgres, word for word."""
    assert lab.run("postgres", "--version") == lab.alone("entrypoint", "--version")


@pytest.mark.parametrize("name", ["-h", "-s", "-w", "-x", "--version"])
def test_t19_program_with_the_name_of_an_option(lab: Lab, name: str) -> None:
    """A program with such a name runs if it is named by its path."""
    made = f"printf '#!/bin/sh\\necho \"$@\"\\n' > '/tmp/{name}'; chmod +x '/tmp/{name}'"
    ended = lab.run(*bash(f"{made}; entrypoint '/tmp/{name}' --help -x; rm '/tmp/{name}'"))
    assert (0, "--help -x\n", "") == ended


@pytest.mark.parametrize("tag", ["", *OTHERS])
def test_t17_image_runs(tag: str) -> None:
    """Every image runs `true`."""
    assert (0, "", "") == run("true", image=kin(tag))


# T20: how much is logged


def test_t20_level_of_the_log(lab: Lab) -> None:
    """SIGCHLD is in the debug log, and at no other level."""
    child = python("""
orphan(lambda: None)
until(lambda: not adopted())
os._exit(5)
""")
    line = "entrypoint: debug: received SIGCHLD"
    loud, quiet = lab.supervise(child, debug=True), lab.supervise(child)
    assert (5, True) == (loud.code, line in loud.stderr.splitlines())
    assert (5, "") == (quiet.code, quiet.stderr)


# T21: commands that cannot be executed


@pytest.mark.parametrize(("command", "code"), [("nowhere", 127), ("/nowhere", 127), ("/etc", 126)])
def test_t21_command_that_cannot_be_executed(lab: Lab, command: str, code: int) -> None:
    """A missing file gives 127, and a file that is no program 126."""
    assert code == lab.run("entrypoint", command).code


@pytest.mark.parametrize(("command", "code"), [("nowhere", 127), ("/nowhere", 127), ("/etc", 126)])
@pytest.mark.parametrize("pid1", [True, False], ids=["pid1", "subreaper"])
def test_t21_server_that_cannot_be_executed(lab: Lab, command: str, code: int, pid1: bool) -> None:
    """The supervisor ends at once with the same codes and a clear message if it cannot start its child."""
    # The limit is far below the time that waiting for a server which never began would take.
    ended = lab.supervise((command,), pid1=pid1, limit=10)
    assert (code, True, False) == (
        ended.code,
        f"entrypoint: error: {command}:" in ended.stderr,
        "Traceback" in ended.stderr,
    ), ended.output


# T22: standard input


@pytest.mark.parametrize("code", [0, 7])
def test_t22_stdin_is_handed_through(lab: Lab, code: int) -> None:
    """A shell reads its commands from the entrypoint's standard input."""
    assert (code, "read\n", "") == lab.run("entrypoint", "bash", stdin=f"echo read\nexit {code}\n")
