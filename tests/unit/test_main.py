"""The program's entrance: what the program becomes, and what it says if it cannot."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from entrypoint import __main__ as main
from entrypoint import exits
from entrypoint.cli import group

ROOT = Path(main.__file__).parents[1]
START = "import sys\nsys.path.insert(0, sys.argv.pop(1))\nfrom entrypoint.{0} import main\nsys.exit(main())"
ENVIRONMENT: Mapping[str, str] = {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}


def _run(door: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Start the program, or its stand-in for gosu, as the image does."""
    return subprocess.run(
        [sys.executable, "-IS", "-c", START.format(door), str(ROOT), *arguments],
        check=False,
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
    )


DOORS = [
    pytest.param("__main__", [], id="entrypoint"),
    pytest.param(
        "gosu",
        [f"{os.getuid()}:{os.getgid()}"],
        id="gosu",
        marks=pytest.mark.skipif(os.getuid() != 0, reason="only root may change its groups"),
    ),
]


def _signals(status: str) -> dict[str, str]:
    rows = dict(line.split(":\t") for line in status.splitlines())
    return {name: rows[name] for name in ("SigIgn", "SigBlk", "SigCgt")}


@pytest.mark.parametrize(("door", "before"), DOORS)
def test_other_programs_begin_clean(door: str, before: list[str]) -> None:
    """A program that we become finds the signals that a direct start would give it, as in the official image.

    CPython ignores SIGPIPE for itself; a program that inherits that makes `… | head` end with an error.
    """
    argv = ["cat", "/proc/self/status"]
    direct = subprocess.run(argv, check=True, capture_output=True, text=True)
    assert _signals(direct.stdout) == _signals(_run(door, *before, *argv).stdout)


@pytest.mark.parametrize(("door", "before"), DOORS)
@pytest.mark.parametrize("code", [0, 1, 3, 130, 255])
def test_the_exit_code_of_other_programs_is_theirs(door: str, before: list[str], code: int) -> None:
    """The exit code is the program's own, because it is the same process."""
    assert code == _run(door, *before, "sh", "-c", f"exit {code}").returncode


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("no-such-program", exits.NOT_FOUND),
        ("/no/such/program", exits.NOT_FOUND),
        ("/etc", exits.NOT_EXECUTABLE),
    ],
)
def test_programs_that_do_not_exist(argument: str, expected: int) -> None:
    """A missing command and one that cannot be executed have a shell's exit code, and a message with a hint."""
    done = _run("__main__", argument)
    assert expected == done.returncode
    first, second = done.stderr.splitlines()
    assert first.startswith(f"entrypoint: error: {argument}: ")
    assert second.startswith("  hint: ")


@pytest.mark.parametrize(
    "user",
    ["no-such-user", "-1", "99999999999999999999", "0:99999999999999999999", "0:no-such-group", "4294967295"],
)
def test_users_that_do_not_exist(user: str) -> None:
    """The stand-in for gosu ends with 1 and one line, as gosu does."""
    done = _run("gosu", user, "true")
    assert (1, "") == (done.returncode, done.stdout)
    assert [f"error: failed switching to {user!r}:"] == [
        line[: len(f"error: failed switching to {user!r}:")] for line in done.stderr.splitlines()
    ]


def test_a_misspelled_command_names_the_nearest() -> None:
    """A word like one of our commands keeps a shell's exit code, and the hint names the command."""
    done = _run("__main__", "stauts", "--json")
    first, second = done.stderr.splitlines()
    assert (exits.NOT_FOUND, "entrypoint: error: stauts: command not found") == (done.returncode, first)
    assert second.startswith("  hint: run entrypoint status (entrypoint help lists all commands); for a ")
    assert "PATH is " in second


@pytest.mark.parametrize(
    ("pid", "parent", "first", "expected"),
    [
        pytest.param(1, 0, b"", True, id="docker run"),
        pytest.param(7, 1, b"/sbin/docker-init\0--\0entrypoint\0--help\0", True, id="docker run --init"),
        pytest.param(7, 1, b"sh\0/wrapper.sh\0--help\0", True, id="script that does not exec"),
        pytest.param(7, 1, None, True, id="/proc is hidden"),
        pytest.param(7, 0, b"entrypoint\0postgres\0", False, id="docker exec"),
        pytest.param(7, 0, b"entrypoint\0--help\0", False, id="docker exec beside the same question"),
        pytest.param(7, 1, b"bash\0", False, id="shell is the first process"),
        pytest.param(7, 1, b"bash\0-c\0entrypoint --help; true\0", False, id="shell with a script"),
        pytest.param(8, 7, b"entrypoint\0--help\0", False, id="shell below docker exec"),
        pytest.param(7, 0, b"/pause\0", False, id="shared process namespace"),
    ],
)
def test_who_asks(
    monkeypatch: pytest.MonkeyPatch, pid: int, parent: int, first: bytes | None, expected: bool
) -> None:
    """A question is the container's if we are its first process or the child of its init, else a person's."""

    def opened(path: str, mode: str) -> io.BytesIO:
        assert ("/proc/1/cmdline", "rb") == (path, mode)
        if first is None:
            raise PermissionError
        return io.BytesIO(first)

    monkeypatch.setattr(os, "getpid", lambda: pid)
    monkeypatch.setattr(os, "getppid", lambda: parent)
    monkeypatch.setattr(main, "open", opened, raising=False)
    assert expected == main.is_the_container(["--help"])


@pytest.mark.parametrize("question", main.QUESTIONS)
def test_questions_of_people(monkeypatch: pytest.MonkeyPatch, question: str) -> None:
    """A question alone is ours where a person asks; with other arguments it is the server's."""
    monkeypatch.setattr(main, "is_the_container", lambda _: False)
    assert main.is_for_us([question])
    assert not main.is_for_us([question, "x"])
    assert not main.is_for_us(["postgres", question])
    assert not main.is_for_us(["-c"])
    monkeypatch.setattr(main, "is_the_container", lambda _: True)
    assert not main.is_for_us([question])


def test_the_door_asks_little() -> None:
    """To decide whose question it is, nothing is loaded that the door does not have anyway."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from entrypoint import __main__ as main; "
        "before = set(sys.modules); main.is_for_us(['--help']); print(*(set(sys.modules) - before))"
    )
    argv = [sys.executable, "-IS", "-c", code, str(ROOT)]
    assert "\n" == subprocess.run(argv, check=True, capture_output=True, text=True).stdout


def test_help_prepares_nothing() -> None:
    """Arguments that only make postgres print something skip all preparation: there is no PGDATA here."""
    done = _run("__main__", "postgres", "--version")
    assert "PGDATA" not in done.stderr
    assert done.returncode in (0, exits.NOT_FOUND)
    assert 1 == _run("__main__", "postgres").returncode


def test_every_command_is_known_at_the_entrance() -> None:
    """The entrance sends exactly the commands to click that click offers."""
    assert sorted(group.commands) == sorted(main.COMMANDS)
