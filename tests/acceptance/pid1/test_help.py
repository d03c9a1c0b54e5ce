"""Who asks for help: the container's own arguments are the server's, and a person's question is answered by us."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from containers import FRESH, Container, Outcome, kin, run, script, serve, start
from majors import OTHERS
from repository import REPOSITORY

QUESTIONS = ["--help", "-?", "--version", "-V"]
PAGES = sorted(path.stem for path in (REPOSITORY / "docs" / "how-to").glob("*.md"))
WRAPPER = '#!/bin/bash\n{0} "$@"\nexit $?\n'


@pytest.fixture(scope="module")
def server() -> Iterator[Container]:
    """A running server, beside which people ask."""
    with serve() as container:
        yield container


def _is_ours(answer: Outcome, question: str) -> bool:
    """Return whether the help or the version is ours; it must be somebody's."""
    assert (0, "") == (answer.code, answer.stderr), answer.output
    ours = answer.stdout.startswith(("Usage: entrypoint", "entrypoint "))
    helps = question not in ("--version", "-V")
    assert ours or answer.stdout.startswith("postgres is the" if helps else "postgres (PostgreSQL)")
    assert ("backup push" in answer.stdout) == (ours and helps)
    return ours


@pytest.mark.parametrize("options", [(), ("--init",)], ids=["pid 1", "init"])
@pytest.mark.parametrize("question", QUESTIONS)
def test_the_containers_arguments_are_the_servers(question: str, options: tuple[str, ...]) -> None:
    """`docker run IMAGE --help` prints the help of postgres, with an init as well."""
    assert not _is_ours(run(question, options=options), question)


@pytest.mark.parametrize(
    "before", ["exec entrypoint", "entrypoint", "exec docker-entrypoint.sh", "docker-entrypoint.sh"]
)
def test_a_script_in_front_passes_the_containers_arguments_on(before: str) -> None:
    """A script as the image's entrypoint changes nothing, whether it replaces itself or not."""
    files = {"/wrapper": script(WRAPPER.format(before))}
    assert not _is_ours(run("--help", files=files, options=("--entrypoint", "/wrapper")), "--help")


@pytest.mark.better
@pytest.mark.parametrize("question", [*QUESTIONS, "-h", "help"])
def test_a_persons_question_is_answered_by_us(server: Container, question: str) -> None:
    """`docker exec db entrypoint --help` prints our help, and --version our version with the server's major."""
    for command in (("entrypoint", question), ("bash", "-c", f"entrypoint '{question}'")):
        assert _is_ours(server.exec(*command), question)


@pytest.mark.better
@pytest.mark.parametrize("tag", ["", *OTHERS])
def test_the_version_names_the_major(tag: str) -> None:
    """Our version says which PostgreSQL is in the image."""
    with start("infinity", options=("--entrypoint", "sleep"), image=kin(tag)) as container:
        major = container.shell("echo $PG_MAJOR").strip()
        shown = container.exec("entrypoint", "--version").stdout
    assert shown.startswith("entrypoint ")
    assert shown.endswith(f" (PostgreSQL {major})\n")


def test_the_official_script_is_asked_for_the_server(server: Container) -> None:
    """`docker exec db docker-entrypoint.sh --help` prints the help of postgres, as in the official image."""
    for question in QUESTIONS:
        assert not _is_ours(server.exec("docker-entrypoint.sh", question), question)


@pytest.mark.better
def test_a_shell_as_the_containers_command() -> None:
    """In a container whose command is a shell, a person asks us; a shell that becomes the command is PID 1."""
    ask = "entrypoint --help"
    assert _is_ours(run("bash", "-c", f"{ask}; exit $?"), "--help")
    assert _is_ours(run("bash", "-c", ask, options=("--init",)), "--help")
    assert not _is_ours(run("bash", "-c", f"exec {ask}"), "--help")


@pytest.mark.better
def test_processes_that_containers_share(server: Container) -> None:
    """With a shared process namespace nothing sets the main process apart, and our help is the answer."""
    assert _is_ours(run("--help", options=("--pid", f"container:{server.name}")), "--help")
    assert not _is_ours(run("postgres", "--help", options=("--pid", f"container:{server.name}")), "--help")


@pytest.mark.better
def test_the_image_contains_the_pages(server: Container) -> None:
    """Every how-to page can be read in the container, by every user, as it is in the repository."""
    listed = server.exec("entrypoint", "help").stdout
    for page in PAGES:
        assert f"\n  {page}  " in listed
    text = (REPOSITORY / "docs" / "how-to" / "restore-to-a-moment.md").read_text(encoding="utf-8")
    for user in ("root", "postgres", "4711"):
        assert text == server.exec("entrypoint", "help", "restore-to-a-moment", user=user).stdout


@pytest.mark.better
def test_help_needs_no_settings() -> None:
    """Help works where nothing else does: without a server, as any user, with wrong variables, read-only."""
    answer = run("help", env={**FRESH, "ARCHIVE_URLS": "x"}, options=("--read-only", "--user", "4711"))
    assert _is_ours(answer, "help")


@pytest.mark.better
@pytest.mark.parametrize(
    ("arguments", "code", "what", "hint"),
    [
        (("stauts",), 127, "stauts: command not found", "run entrypoint status "),
        (("push",), 127, "push: command not found", "run entrypoint backup push "),
        (("backup", "lst"), 2, "entrypoint backup has no command lst", "run entrypoint backup list,"),
        (
            ("restore", "--target-tme", "x"),
            2,
            "entrypoint restore has no option --target-tme",
            "--target-time",
        ),
        (
            ("promote", "--timeout"),
            2,
            "entrypoint promote: option '--timeout' requires an argument",
            "help promote",
        ),
        (("help", "restore-to-moment"), 2, "restore-to-moment", "entrypoint help restore-to-a-moment"),
    ],
    ids=str,
)
def test_a_wrong_word_names_the_nearest(
    server: Container, arguments: tuple[str, ...], code: int, what: str, hint: str
) -> None:
    """A mistyped command, subcommand, option or page has one message and the command that was meant."""
    ended = server.exec("entrypoint", *arguments, check=False)
    first, second = ended.stderr.splitlines()
    assert (code, "") == (ended.code, ended.stdout)
    assert first.startswith("entrypoint: error: ")
    assert what in first
    assert second.startswith("  hint: ")
    assert hint in second


@pytest.mark.better
@pytest.mark.parametrize("tag", ["", *OTHERS])
def test_help_with_every_click(tag: str) -> None:
    """The list and the help of a group are the same with each suite's click."""
    with start("infinity", options=("--entrypoint", "sleep"), image=kin(tag)) as container:
        for words in ((), ("backup",), ("restore", "--help"), ("help", "ready")):
            answer = container.exec("entrypoint", *words)
            assert (True, "") == (answer.stdout.startswith("Usage: entrypoint"), answer.stderr)
            assert [] == [line for line in answer.stdout.splitlines() if len(line) > 80]
        assert "[default: (RESTORE_TARGET_TIME)]" in " ".join(
            container.exec("entrypoint", "help", "restore").stdout.split()
        )
