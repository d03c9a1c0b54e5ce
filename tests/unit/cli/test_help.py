"""`entrypoint help`: the list of the commands, their help, and the how-to pages."""

from __future__ import annotations

from pathlib import Path

import pytest

from entrypoint import __main__ as main
from entrypoint import __version__, topics
from entrypoint.cli import cli, pages
from repository import REPOSITORY

PAGE = REPOSITORY / "docs" / "how-to" / "restore-to-a-moment.md"


def _lines(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    """Return what a command prints that succeeds."""
    assert 0 == cli(arguments)
    out, err = capsys.readouterr()
    assert err == ""
    return str(out).splitlines()


def _refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    """Return the message about a wrong command line."""
    assert 2 == main._guard(arguments)
    assert capsys.readouterr().out == ""
    return _said


_said: list[str] = []


@pytest.fixture(autouse=True)
def _log(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read the log, which does not write to Python's stderr."""
    _said.clear()
    monkeypatch.setattr("entrypoint.log.ERR.put", lambda data: _said.extend(data.decode().splitlines()))


@pytest.mark.parametrize("arguments", [(), ("help",), ("--help",), ("-h",), ("-?",)])
def test_the_list_names_every_command_and_page(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    """Every way to ask for help prints the topics, the full path of each command, and each page."""
    lines = _lines(capsys, *arguments)
    assert lines[0].startswith("Usage: entrypoint")
    assert [f"{title}:" for title, _ in topics.TOPICS] == [
        line for line in lines if line.removesuffix(":") in dict(topics.TOPICS)
    ]
    for path in topics.PATHS:
        assert [line for line in lines if line.startswith(f"  {path}  ")], path
    for name in pages.titles():
        assert [line for line in lines if line.startswith(f"  {name}  ")], name


@pytest.mark.parametrize("option", ["--version", "-V"])
def test_the_version_names_the_major(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    """The version is ours, with the PostgreSQL major of the image where the image says it."""
    monkeypatch.setenv("PG_MAJOR", "17")
    assert [f"entrypoint {__version__} (PostgreSQL 17)"] == _lines(capsys, option)
    monkeypatch.delenv("PG_MAJOR")
    assert [f"entrypoint {__version__}"] == _lines(capsys, option)


@pytest.mark.parametrize(
    "words", [("backup",), ("backup", "push"), ("collation", "fix"), ("restore",), ("ready",), ("help",)]
)
def test_help_of_a_command_is_its_own_help(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    """`entrypoint help COMMAND` prints what `entrypoint COMMAND --help` prints."""
    shown = _lines(capsys, "help", *words)
    assert shown[0].startswith(f"Usage: entrypoint {' '.join(words)}")
    assert _lines(capsys, *words, "--help") == shown


def test_a_group_without_a_command_prints_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    """`entrypoint backup` succeeds and lists the full paths, with every version of click."""
    lines = _lines(capsys, "backup")
    assert _lines(capsys, "help", "backup") == lines
    assert [line for line in lines if line.startswith("  backup push  ")]


def test_help_prints_a_page(capsys: pytest.CaptureFixture[str]) -> None:
    """A page is printed as it is, and its file name works as well as its name."""
    text = PAGE.read_text(encoding="utf-8").splitlines()
    assert text == _lines(capsys, "help", PAGE.stem)
    assert text == _lines(capsys, "help", PAGE.name)


def test_a_page_cannot_rule_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A page passes through the same door as everything else that is printed."""
    (tmp_path / "evil.md").write_text("# A title\n\n\x1b]0;x\x07\n", encoding="utf-8")
    monkeypatch.setattr(pages, "FOLDERS", (str(tmp_path),))
    assert r"\x1b]0;x\x07" in _lines(capsys, "help", "evil")


def test_the_pager_is_used_on_a_terminal_only(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a terminal the pager shows the page; without a pager it is simply printed."""
    paged: list[str] = []
    monkeypatch.setattr("click.echo_via_pager", paged.append)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    assert [] == _lines(capsys, "help", PAGE.stem)
    assert [PAGE.read_text(encoding="utf-8")] == paged
    monkeypatch.setattr("shutil.which", lambda _: None)
    assert _lines(capsys, "help", PAGE.stem)


def test_without_pages_the_list_is_shorter(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A program without its pages still lists the commands."""
    monkeypatch.setattr(pages, "FOLDERS", (str(tmp_path / "nowhere"),))
    assert not [line for line in _lines(capsys, "help") if "How-to" in line]


@pytest.mark.parametrize(
    ("arguments", "what", "hint"),
    [
        (("help", "stauts"), "no command or page is named stauts", "entrypoint help status"),
        (("help", "restore-to-moment"), "restore-to-moment", "entrypoint help restore-to-a-moment"),
        (("help", "restore-to"), "restore-to", "entrypoint help restore-to-a-moment"),
        (("help", "backup", "lst"), "no command or page is named backup lst", "entrypoint help backup list"),
        (("help", "../../CONTRIBUTING"), "no command or page is named", "entrypoint help"),
        (("help", "status", "--nonsense"), "has no option --nonsense", "entrypoint help help"),
        (("backup", "lst"), "entrypoint backup has no command lst", "run entrypoint backup list"),
        (("backup", "x"), "entrypoint backup has no command x", "entrypoint help backup"),
        (("config", "push"), "entrypoint config has no command push", "run entrypoint backup push"),
        (("restore", "--target-tme", "x"), "entrypoint restore has no option --target-tme", "--target-time"),
        (("restore", "--target-tme=x"), "entrypoint restore has no option --target-tme", "--target-time"),
        (("backup", "--jsn"), "entrypoint backup has no option --jsn", "entrypoint help backup"),
        (
            ("backup", "show"),
            "entrypoint backup show: missing argument 'NAME'",
            "entrypoint help backup show",
        ),
        (("status", "word"), "entrypoint status: got unexpected extra argument", "entrypoint help status"),
        (("promote", "--timeout", "x"), "'x'", "entrypoint help promote"),
        (("promote", "--timeout"), "--timeout", "entrypoint help promote"),
        (("ready", "word"), "entrypoint ready: got unexpected extra argument", "entrypoint help ready"),
    ],
    ids=str,
)
def test_a_wrong_command_line_is_refused_with_the_nearest(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], what: str, hint: str
) -> None:
    """A wrong word or option ends with code 2, and the hint names what was probably meant."""
    first, second = _refused(capsys, *arguments)
    assert first.startswith("entrypoint: error: ")
    assert what in first
    assert second.startswith("  hint: ")
    assert hint in second


def test_the_names_of_commands_and_pages_differ() -> None:
    """`entrypoint help NAME` means one thing."""
    assert set() == set(pages.titles()) & {word for path in topics.PATHS for word in path.split()}
