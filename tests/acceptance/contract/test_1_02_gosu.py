"""Row 1.2 of the contract: `gosu`, which others call by name, with its complete grammar."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from containers import Container, create

ACCOUNTS = """
getent passwd games >/dev/null || echo games:x:5:60:games:/usr/games:/usr/sbin/nologin >>/etc/passwd
for group in daemon:x:1 adm:x:4 disk:x:6 games:x:60 users:x:100; do
    getent group ${group%%:*} >/dev/null || echo $group: >>/etc/group
done
sed -i -E 's/^(disk|adm):(.*)/\\1:\\2root/; s/^users:(.*)/users:\\1games/' /etc/group
"""
"""Debian's users and groups, if the image lacks them, and further members of groups."""

SHOW = 'echo "$(id -u) $(id -g) $(id -G) $HOME"'


class Identity(NamedTuple):
    """The ids and names of a process."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str


@pytest.fixture(scope="module")
def box() -> Iterator[Container]:
    """A container where root has the group 1234, root and games have further ones, and HOME is wrong."""
    with create("sleep", "300", env={"HOME": "/nowhere"}, options=("--user", "0:1234")) as container:
        container.begin()
        container.shell(ACCOUNTS)
        yield container


def identity(box: Container, spec: str, user: str = "0:1234") -> Identity:
    """The identity that gosu gives a command."""
    uid, gid, *groups, home = box.exec(
        "gosu", spec, "bash", "-c", SHOW, user=user, env={"HOME": "/nowhere"}
    ).stdout.split()
    return Identity(int(uid), int(gid), tuple(sorted(map(int, groups))), home)


def number(box: Container, database: str, name: str) -> int:
    """The number of a user or a group."""
    return int(box.shell(f"getent {database} {name} | cut -d: -f3"))


@pytest.mark.parametrize("spec", ["0", "root", "0:"])
def test_user_without_group_gets_all_groups_of_the_user(box: Container, spec: str) -> None:
    """Root keeps every group that root is a member of, and gets its own home."""
    expected = {0, number(box, "group", "disk"), number(box, "group", "adm")}
    assert Identity(0, 0, tuple(sorted(expected)), "/root") == identity(box, spec)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("0:0", Identity(0, 0, (0,), "/root")),
        ("0:root", Identity(0, 0, (0,), "/root")),
        ("root:0", Identity(0, 0, (0,), "/root")),
        ("root:root", Identity(0, 0, (0,), "/root")),
        ("0:1000", Identity(0, 1000, (1000,), "/root")),
        ("root:1000", Identity(0, 1000, (1000,), "/root")),
        ("1000", Identity(1000, 1234, (1234,), "/")),
        ("1000:1000", Identity(1000, 1000, (1000,), "/")),
        ("1000:0", Identity(1000, 0, (0,), "/")),
        ("1000:root", Identity(1000, 0, (0,), "/")),
        ("postgres:postgres", Identity(999, 999, (999,), "/var/lib/postgresql")),
    ],
)
def test_named_group_is_the_only_one(box: Container, spec: str, expected: Identity) -> None:
    """A given group is the only one; an unknown uid without a group keeps the caller's group."""
    assert expected == identity(box, spec)


@pytest.mark.parametrize(("user", "home"), [("1000", "/"), ("games", "/usr/games")])
def test_group_by_name(box: Container, user: str, home: str) -> None:
    """A group's name is looked up, for known and unknown users."""
    uid = int(user) if user.isdigit() else number(box, "passwd", user)
    daemon = number(box, "group", "daemon")
    assert Identity(uid, daemon, (daemon,), home) == identity(box, f"{user}:daemon")


def test_named_user_gets_own_groups(box: Container) -> None:
    """The user `games` is in its own group and in `users`."""
    uid, own, users = (
        number(box, "passwd", "games"),
        number(box, "group", "games"),
        number(box, "group", "users"),
    )
    assert Identity(uid, own, tuple(sorted((own, users))), "/usr/games") == identity(box, "games")


def test_empty_user_changes_nothing(box: Container) -> None:
    """An empty user is the caller, with the groups that this user has."""
    caller = [int(word) for word in box.exec("id", "-G", user="root").stdout.split()]
    assert len(caller) == 3
    assert (0, 0, tuple(sorted(caller))) == identity(box, "", user="root")[:3]


def test_empty_user_with_group(box: Container) -> None:
    """Only the group changes, and it is the only one."""
    assert (0, 0, (0,)) == identity(box, ":0")[:3]


@pytest.mark.parametrize("spec", ["bogus", "0day", "0:bogus", "0:0day"])
def test_unknown_names_fail(box: Container, spec: str) -> None:
    """An unknown name is an error, not a guess; no command runs."""
    outcome = box.exec("gosu", spec, "echo", "ran", check=False)
    assert (True, "") == (outcome.code != 0, outcome.stdout)
    assert "Traceback" not in outcome.stderr


@pytest.mark.parametrize("arguments", [(), ("postgres",)])
def test_missing_command_shows_the_usage(box: Container, arguments: tuple[str, ...]) -> None:
    """Without a command, gosu prints its usage on stderr and ends with code 1."""
    outcome = box.exec("gosu", *arguments, check=False)
    assert (1, True) == (outcome.code, "gosu user-spec command" in outcome.output)


@pytest.mark.parametrize("option", ["--help", "-h", "-?"])
def test_help(box: Container, option: str) -> None:
    """Help is requested, so it succeeds."""
    outcome = box.exec("gosu", option, check=False)
    assert (0, True) == (outcome.code, "user-spec" in outcome.output)


@pytest.mark.parametrize("option", ["--version", "-v"])
def test_version(box: Container, option: str) -> None:
    """The version starts with a number."""
    outcome = box.exec("gosu", option, check=False)
    assert 0 == outcome.code
    assert re.match(r"\d+\.\d+", outcome.stdout)


def test_takes_the_place_of_the_process(box: Container) -> None:
    """The command runs with the same process id, so that signals reach it."""
    before, after = box.shell("echo $$; exec gosu postgres bash -c 'echo $$'").split()
    assert before == after


def test_arguments_and_environment_pass_unchanged(box: Container) -> None:
    """Arguments with blanks, empty arguments and the environment arrive; only HOME changes."""
    outcome = box.exec(
        "gosu",
        "postgres",
        "bash",
        "-c",
        'printf "<%s>" "$@" "$KEPT"',
        "-",
        "a b",
        "",
        "--help",
        env={"KEPT": "x y"},
    )
    assert "<a b><><--help><x y>" == outcome.stdout


def test_exit_code_of_the_command(box: Container) -> None:
    """The exit code is the command's own."""
    assert 42 == box.exec("gosu", "postgres", "bash", "-c", "exit 42", check=False).code


@pytest.mark.parametrize("command", ["no-such-command", "/etc/passwd", "/no/such/file"])
def test_command_that_cannot_run(box: Container, command: str) -> None:
    """A command that is missing or not executable is gosu's own failure, exit code 1."""
    outcome = box.exec("gosu", "postgres", command, check=False)
    assert (1, True) == (outcome.code, outcome.stderr != "")
    assert "Traceback" not in outcome.stderr


def test_root_cannot_be_gained(box: Container) -> None:
    """A setuid copy of gosu does not turn a user into root."""
    box.shell("cp --dereference $(command -v gosu) /tmp/raised && chmod 6755 /tmp/raised")
    outcome = box.exec("/tmp/raised", "0:0", "id", "-u", user="1000", check=False)
    assert (True, "") == (outcome.code != 0, outcome.stdout)
