"""Starting and reaping children."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import signal
import stat
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from entrypoint import exits
from entrypoint.errors import Failure, Stopped
from entrypoint.system import children as module
from entrypoint.system.children import (
    Children,
    answer_file,
    cannot_execute,
    find_program,
    memory_file,
    read_back,
)

ENVIRONMENT: Mapping[str, str] = {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}
PR_SET_CHILD_SUBREAPER = 36
STAY = "i=0; while [ $i -lt 2000 ]; do i=$((i + 1)); sleep 0.01; done"
"""A shell that always listens to signals, and ends by itself in case a test has forgotten it."""


def _run(children: Children, script: str) -> int:
    return children.run(["sh", "-c", script], ENVIRONMENT)


def _output(children: Children, script: str) -> str:
    code, text = children.output(["sh", "-c", script], ENVIRONMENT)
    assert 0 == code
    return text


def _exists(pid: int) -> bool:
    return os.path.exists(f"/proc/{pid}")


def _until_gone(children: Children, pid: int) -> None:
    """Reap until a process is gone; fail if that takes too long."""
    for _ in range(1000):
        children.reap()
        if not _exists(pid):
            return
        children.signals.wait(0.01)
    raise AssertionError(f"{pid} is still there")


def test_every_exit_code(children: Children) -> None:
    """The caller gets the exit code that a program ends with."""
    assert list(range(256)) == [_run(children, f"exit {code}") for code in range(256)]


@pytest.mark.parametrize(
    "name", ["HUP", "INT", "QUIT", "ABRT", "KILL", "USR1", "SEGV", "PIPE", "TERM", "XFSZ"]
)
def test_every_signal(children: Children, name: str) -> None:
    """A program that a signal ends gives 128 + signal; no signal is ignored just because we ignore it."""
    expected = 128 + signal.Signals[f"SIG{name}"]
    assert expected == _run(children, f"ulimit -c 0; kill -s {name} $$; exit 1")


def test_children_begin_clean(children: Children) -> None:
    """A child ignores nothing, blocks what was blocked at our start, and leads its own group."""
    children.signals.original_mask = {signal.SIGUSR2}
    code, text = children.output(["cat", "/proc/self/status"], ENVIRONMENT)
    rows = dict(line.split(":\t") for line in text.splitlines())
    ignored = int(rows["SigIgn"], 16) & ((1 << 31) - 1)  # the others are the C library's own
    assert (0, 0, 1 << (signal.SIGUSR2 - 1)) == (code, ignored, int(rows["SigBlk"], 16))
    assert rows["Pid"] == rows["NSpgid"]


def test_children_inherit_nothing_else(children: Children, tmp_path: Path) -> None:
    """A child has the standard streams and the descriptors it was given, and exactly the given environment."""
    inherited = {int(name) for name in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{name}")}
    inherited = {number for number in inherited if os.get_inheritable(number)}
    given, out = memory_file(""), memory_file("")
    with (tmp_path / "file").open("w"):
        assert 0 == children.run(["ls", "/proc/self/fd"], ENVIRONMENT, descriptors={7: given, 1: out})
    of_ls = 3  # the folder that ls reads
    assert {0, 1, 2, 7, of_ls} | inherited == {int(name) for name in read_back(out).split()}
    os.close(given)
    os.close(out)
    environment = {**ENVIRONMENT, "A": "\udcff"}
    expected = [f"{name}={value}" for name, value in environment.items()]
    assert expected == children.output(["env", "-0"], environment)[1].split("\0")[:-1]


@pytest.mark.parametrize("number", [8, 9])
def test_a_descriptor_may_keep_its_number(children: Children, number: int) -> None:
    """A descriptor that has the same number in the child and here arrives as well.

    A runtime may give the first process more descriptors (podman's --preserve-fds), so any number can occur.
    """
    saved = (
        fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, 0) if os.path.exists(f"/proc/self/fd/{number}") else None
    )
    given = memory_file("given")
    os.dup2(given, number, inheritable=False)
    out = memory_file("")
    code = children.run(["cat", f"/dev/fd/{number}"], ENVIRONMENT, descriptors={number: number, 1: out})
    text = read_back(out)
    for descriptor in (given, out, number):
        os.close(descriptor)
    if saved is not None:
        os.dup2(saved, number)
        os.close(saved)
    assert (0, "given") == (code, text)


def test_output_is_collected(children: Children) -> None:
    """Stdout is collected, and stderr if requested; bytes that are not text survive."""
    argv = ["sh", "-c", "printf '\\377out'; echo err >&2; exit 3"]
    assert (3, "\udcffouterr\n") == children.output(argv, ENVIRONMENT, errors=True)
    errors = memory_file("")
    assert (3, "\udcffout") == children.output(argv, ENVIRONMENT, stderr=errors)
    assert "err\n" == read_back(errors)
    os.close(errors)


def test_no_childs_end_is_lost(children: Children) -> None:
    """While we wait for one child, the exit codes of others are kept for later."""
    first = children.spawn(["sh", "-c", "exit 7"], ENVIRONMENT)
    _until_gone(children, first)
    assert 0 == _run(children, "exit 0")
    assert (7, None) == (children.poll(first), children.poll(first))


@pytest.fixture
def _subreaper() -> Iterator[None]:
    """Adopt orphans, as PID 1 does."""
    libc = ctypes.CDLL(None)
    assert 0 == libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    yield
    libc.prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


@pytest.mark.usefixtures("_subreaper")
def test_orphans_are_reaped(children: Children) -> None:
    """A stranger whose parent has ended does not stay a zombie, and is not taken for our child."""
    orphan = int(_output(children, "sleep 60 >/dev/null 2>&1 & echo $!"))
    os.kill(orphan, signal.SIGKILL)
    _until_gone(children, orphan)
    assert {} == children.reap()


@pytest.mark.usefixtures("_subreaper")
def test_an_orphan_does_not_end_a_wait(children: Children) -> None:
    """The end of a stranger does not end the wait for a child."""
    assert 5 == _run(children, "(sh -c 'exit 9' &); exit 5")
    assert 6 == _run(children, "(exit 9) & sleep 0.05; exit 6")


class _Remembering(Children):
    """Children that remember the last pid."""

    last = 0

    def spawn(self, *arguments: object, **named: object) -> int:
        """Start a program and remember it."""
        self.last = super().spawn(*arguments, **named)  # type: ignore[arg-type]
        return self.last


@pytest.fixture
def remembering(children: Children) -> _Remembering:
    """Children that remember the pid of the last one."""
    return _Remembering(children.signals)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_a_stop_ends_the_program(remembering: _Remembering, number: int) -> None:
    """A stop signal raises Stopped with its number, after the program and its whole group have ended."""
    os.kill(os.getpid(), number)
    with pytest.raises(Stopped) as stopped:
        _run(remembering, "sleep 60 & wait")
    assert number == stopped.value.signal_number
    assert not _exists(remembering.last)


def test_a_deadline_ends_the_program(remembering: _Remembering) -> None:
    """A program that takes too long is ended before TimeoutError is raised."""
    with pytest.raises(TimeoutError):
        remembering.output(["sleep", "60"], ENVIRONMENT, seconds=0.05)
    assert not _exists(remembering.last)


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1, signal.SIGCHLD])
def test_other_signals_end_nothing(children: Children, number: int) -> None:
    """Only a stop signal ends a start."""
    os.kill(os.getpid(), number)
    assert 0 == _run(children, "exit 0")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_a_stop_is_not_forgotten(children: Children, number: int) -> None:
    """A stop that arrives where it cannot be obeyed is obeyed at the next place where it can."""
    os.kill(os.getpid(), number)
    children.pause(0.01, stoppable=False)
    with pytest.raises(Stopped):
        children.pause(0.01)


def _say_ready(children: Children, script: str) -> int:
    """Start a shell and return its pid once it says that it is ready."""
    read, write = os.pipe()
    pid = children.spawn(["sh", "-c", script], ENVIRONMENT, descriptors={1: write})
    os.close(write)
    assert b"ready\n" == os.read(read, 6)
    os.close(read)
    return pid


def test_a_program_that_ignores_sigterm_is_killed(children: Children) -> None:
    """It gets SIGKILL, and so do the processes that it has started."""
    pid = _say_ready(children, f"trap '' TERM; echo ready; {STAY}")
    children.end_group(pid, seconds=0.05)
    assert not _exists(pid)


@pytest.mark.usefixtures("_subreaper")
def test_what_the_leader_leaves_behind_is_killed(children: Children) -> None:
    """A worker that outlives its leader ends with the group."""
    read, write = os.pipe()
    script = f"(trap '' TERM; echo ready $(sh -c 'echo $PPID'); {STAY}) & wait"
    pid = children.spawn(["sh", "-c", script], ENVIRONMENT, descriptors={1: write})
    os.close(write)
    worker = int(os.read(read, 100).split()[1])
    os.close(read)
    children.end_group(pid)
    assert not _exists(pid)
    _until_gone(children, worker)


@pytest.mark.usefixtures("_subreaper")
def test_a_tied_child_ends_with_its_parent(children: Children) -> None:
    """It ends even if the parent is killed; children that are not tied are not affected."""
    read, write = os.pipe()
    parent = os.fork()
    if parent == 0:
        children.tied = True
        children.spawn(["sh", "-c", f"echo $$; {STAY}"], ENVIRONMENT, descriptors={1: write})
        time.sleep(60)
    os.close(write)
    tied = int(os.read(read, 100))
    os.close(read)
    assert _exists(tied)
    os.kill(parent, signal.SIGKILL)
    _until_gone(children, tied)


def test_a_group_that_has_already_ended(children: Children) -> None:
    """A group that has ended by itself is no error."""
    pid = children.spawn(["true"], ENVIRONMENT)
    _until_gone(children, pid)
    children.end_group(pid, seconds=0.05)


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """Two folders of programs."""
    for name, mode in (("a/tool", 0o644), ("b/tool", 0o755), ("a/data", 0o644), ("a/only", 0o755)):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("#!/bin/sh\n")
        path.chmod(mode)
    (tmp_path / "a" / "folder").mkdir()
    return tmp_path


@pytest.mark.parametrize(("name", "expected"), [("tool", "b/tool"), ("only", "a/only")])
def test_programs_are_found_as_a_shell_does(programs: Path, name: str, expected: str) -> None:
    """The first one on PATH that can be executed is found; a path is used unchanged."""
    environment = {"PATH": f"{programs}/none:{programs}/a:{programs}/b"}
    assert f"{programs}/{expected}" == find_program(name, environment)
    assert "./x" == find_program("./x", environment)
    assert "/none/x" == find_program("/none/x", environment)


@pytest.mark.parametrize(("name", "code"), [("data", 126), ("none", 127), ("folder", 127)])
def test_programs_that_are_not_found(programs: Path, name: str, code: int) -> None:
    """126 if a program cannot be executed, 127 if it does not exist, as in a shell."""
    with pytest.raises(Failure) as failed:
        find_program(name, {"PATH": f"{programs}/a"})
    assert code == failed.value.code
    assert failed.value.problems[0].hint


@pytest.mark.parametrize(
    ("content", "expected"),
    [("#!/none/sh\n", exits.NOT_FOUND), ("\x7fELF", exits.NOT_EXECUTABLE)],
)
def test_programs_that_cannot_be_executed(
    children: Children, tmp_path: Path, content: str, expected: int
) -> None:
    """A missing interpreter and a broken file have different shell codes, and no traceback."""
    path = tmp_path / "program"
    path.write_text(content)
    path.chmod(0o755)
    with pytest.raises(Failure) as failed:
        children.run([str(path)], ENVIRONMENT)
    assert expected == failed.value.code
    assert str(path) in failed.value.problems[0].what


def test_a_failed_execution_is_explained() -> None:
    """The message contains the system's reason and a hint that fits it."""
    problem = cannot_execute("/x", FileNotFoundError(2, "No such file or directory"))
    assert ("/x: cannot be executed: No such file or directory", 127) == (problem.what, problem.code)
    assert 126 == cannot_execute("/x", OSError(8, "Exec format error")).code


def test_files_in_memory() -> None:
    """The text is read back from the beginning, any number of times."""
    descriptor = memory_file("\udcffa\n")
    os.lseek(descriptor, 0, os.SEEK_END)
    os.write(descriptor, b"b")
    assert ["\udcffa\nb"] * 2 == [read_back(descriptor) for _ in range(2)]
    assert not os.get_inheritable(descriptor)
    os.close(descriptor)


def _refuse(number: int) -> Callable[..., int]:
    def refused(*_: object, **__: object) -> int:
        raise OSError(number, os.strerror(number))

    return refused


@pytest.fixture(params=[errno.ENOSYS, errno.EPERM, None], ids=["ENOSYS", "EPERM", "absent"])
def without_memory_files(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Path:
    """Return the folder that must contain the files instead; no name may remain in it."""
    if request.param is None:
        monkeypatch.delattr(os, "memfd_create")
        monkeypatch.delattr(os, "MFD_CLOEXEC")
        monkeypatch.delattr(os, "MFD_ALLOW_SEALING")
    else:
        monkeypatch.setattr(os, "memfd_create", _refuse(request.param))
    monkeypatch.setattr(module, "PRIVATE_FOLDERS", (f"{tmp_path}/none", str(tmp_path)))
    return tmp_path


def test_files_of_a_kernel_without_files_in_memory(without_memory_files: Path, children: Children) -> None:
    """They have the same content, only we may open them, and they have no name once anything is in them."""
    descriptor = memory_file("secret\udcff")
    assert "secret\udcff" == read_back(descriptor)
    found = os.fstat(descriptor)
    assert (0o600, 0, os.getuid()) == (stat.S_IMODE(found.st_mode), found.st_nlink, found.st_uid)
    assert not os.get_inheritable(descriptor)
    assert [] == os.listdir(without_memory_files)
    os.lseek(descriptor, 0, os.SEEK_SET)
    given = {0: descriptor, 9: descriptor}
    argv = ["sh", "-c", "cat /dev/fd/9; cat"]
    out = memory_file("")
    assert 0 == children.run(argv, ENVIRONMENT, descriptors={**given, 1: out})
    assert "secret\udcff" * 2 == read_back(out)
    assert (0, "x\n") == children.output(["echo", "x"], ENVIRONMENT)


def test_answers_on_a_kernel_without_seals(without_memory_files: Path) -> None:
    """An answer is read to its end, although nothing limits it."""
    answer = answer_file(10)
    os.write(answer, b"more than ten bytes")
    assert "more than ten bytes" == read_back(answer)
    assert [] == os.listdir(without_memory_files)


def test_a_host_that_refuses_clone3(children: Children, monkeypatch: pytest.MonkeyPatch) -> None:
    """If posix_spawn is refused, a program starts all the same, in its own group and with its streams."""
    monkeypatch.setattr(os, "posix_spawn", _refuse(errno.EPERM))
    script = 'exit $(($(cut -d" " -f5 /proc/$$/stat) != $$))'
    assert 0 == children.run(["sh", "-c", script], ENVIRONMENT)
    assert (3, "x\n") == children.output(["sh", "-c", "echo x; exit 3"], ENVIRONMENT)


def test_no_place_for_a_private_file(without_memory_files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If no folder is writable either, the hint says what to mount."""
    monkeypatch.setattr(module, "PRIVATE_FOLDERS", (f"{without_memory_files}/none",))
    with pytest.raises(Failure) as failed:
        memory_file("")
    assert "memfd_create" in failed.value.problems[0].what
    # Docker gives a tmpfs at /tmp to everybody, unlike other folders below /run.
    assert "mount a small tmpfs: --tmpfs /tmp" == failed.value.problems[0].hint


def test_python_itself_can_be_a_child(children: Children) -> None:
    """A child that handles signals itself gets them."""
    script = "import os, signal\nsignal.signal(15, lambda *_: os._exit(33))\nos.kill(os.getpid(), 15)\nsignal.pause()"
    assert 33 == children.run([sys.executable, "-c", script], ENVIRONMENT)


def test_the_servers_own_client_is_called_instead_of_debians_wrapper(
    tmp_path: Path, children: Children, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrapper of the user's own is not replaced."""
    for name, text in (("debian/pg_wrapper", "debian"), ("server/psql", "server"), ("user/psql", "user")):
        path = tmp_path / name
        path.parent.mkdir()
        path.write_text(f"#!/bin/sh\necho {text}\n")
        path.chmod(0o755)
    (tmp_path / "server/postgres").symlink_to("/bin/true")
    (tmp_path / "debian/psql").symlink_to("pg_wrapper")
    (tmp_path / "debian/pg_dump").symlink_to("pg_wrapper")
    monkeypatch.setattr("entrypoint.system.children.WRAPPER", str(tmp_path / "debian/pg_wrapper"))

    def called(name: str, *folders: str) -> str:
        path = ":".join([*(str(tmp_path / folder) for folder in folders), "/bin"])
        return children.output([name], {"PATH": path})[1].strip()

    assert "server" == called("psql", "debian", "server")
    assert "debian" == called("pg_dump", "debian", "server"), "the server has none"
    assert "user" == called("psql", "user", "debian", "server")
    assert "debian" == called("psql", "debian"), "no server is on PATH"
