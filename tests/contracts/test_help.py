"""The help of every command reads well on a terminal of 80 columns."""

from __future__ import annotations

import re
from collections.abc import Iterator

import click
import pytest

from entrypoint import __main__ as main
from entrypoint.cli import group
from entrypoint.topics import PATHS, TOPICS

COLUMNS = 80


@pytest.fixture(autouse=True)
def _terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Click looks here before it asks the terminal."""
    monkeypatch.setenv("COLUMNS", str(COLUMNS))


def _contexts(context: click.Context) -> Iterator[click.Context]:
    """Return each command for people, with all that click knows about its place."""
    yield context
    if isinstance(context.command, click.Group):
        for word, command in context.command.commands.items():
            if not command.hidden:
                yield from _contexts(
                    click.Context(command, parent=context, info_name=word, **command.context_settings)
                )


ALL = {
    context.command_path: context
    for context in _contexts(click.Context(group, info_name="entrypoint", **group.context_settings))
}


@pytest.mark.parametrize("path", ALL)
def test_help_fits_the_terminal(path: str) -> None:
    """No line is longer than the terminal, and nothing is cut off or left to be guessed."""
    text = ALL[path].get_help()
    assert [] == [line for line in text.splitlines() if len(line) > COLUMNS]
    usage, _, rest = text.partition("\n\n")
    assert usage.startswith(f"Usage: {path} ")
    assert "…" not in text
    assert "..." not in rest


@pytest.mark.parametrize("path", ALL)
def test_words_that_a_person_types_are_not_broken(path: str) -> None:
    """A line does not end in the middle of a path, an option or another word with a hyphen."""
    assert [] == [line for line in ALL[path].get_help().splitlines() if line.endswith("-")]


@pytest.mark.parametrize("path", [f"entrypoint {path}" for path in PATHS])
def test_each_option_shows_its_default(path: str) -> None:
    """An option that takes a value says what holds without it; a flag is off."""
    context = ALL[path]
    silent = []
    for option in context.command.get_params(context):
        if isinstance(option, click.Option) and not option.is_flag:
            record = option.get_help_record(context)
            if record is None or "[default: " not in record[1]:
                silent.append(option.opts[0])
    assert [] == silent


@pytest.mark.parametrize("path", [f"entrypoint {path}" for path in PATHS])
def test_each_command_and_option_is_described(path: str) -> None:
    """Each has a sentence that begins with a capital letter and ends with a full stop."""
    context = ALL[path]
    texts = [f"{context.command.help}".split("\n\n")[0]]
    texts += [
        f"{each.help}" for each in context.command.get_params(context) if isinstance(each, click.Option)
    ]
    assert [] == [text for text in texts if not re.fullmatch(r"(?s)[A-Z].*\.", text)]


def test_a_command_is_described_in_one_line() -> None:
    """The list has one line for each command: its path and a sentence."""
    lines = ALL["entrypoint"].get_help().splitlines()
    for path in PATHS:
        (line,) = (line for line in lines if line.startswith(f"  {path}  "))
        assert line.endswith("."), line


def test_every_command_has_one_topic() -> None:
    """The list shows each command for people once, and no internal one."""
    commands = [path.partition(" ")[2] for path in ALL if not isinstance(ALL[path].command, click.Group)]
    assert sorted(commands) == sorted(PATHS)
    assert len(TOPICS) == len(dict(TOPICS))


def test_the_door_sends_every_command_to_click() -> None:
    """What the list shows is a command and not a program of the image."""
    assert {path.partition(" ")[0] for path in PATHS} == {*main.COMMANDS} - {"internal"}
