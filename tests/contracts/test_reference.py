"""The reference agrees with the program, and the links of all pages lead somewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import click
import pytest

from docs import reference
from docs.messages import Message, messages
from entrypoint import exits
from entrypoint.cli import group
from entrypoint.doctor.checkup import CHECKS
from entrypoint.pid1 import ready
from entrypoint.settings import variables
from entrypoint.topics import TOPICS
from repository import REPOSITORY

GENERATED = reference.pages()
PAGES = sorted([*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/**/*.md")])


def _rows(page: str) -> list[str]:
    """Return the first word of each row of a page's tables."""
    return re.findall(r"(?m)^\| `([^`]+)`", GENERATED[page])


@pytest.mark.parametrize("name", GENERATED)
def test_a_page_agrees_with_the_program(name: str) -> None:
    """The file is what the generator prints now."""
    path = reference.FOLDER / name
    written = path.read_text(encoding="utf-8") if path.exists() else ""
    assert GENERATED[name] == written, (
        f"docs/reference/{name} is not what the program says; run: make reference"
    )


def test_every_variable_has_its_row() -> None:
    """No section is missing, and the order is that of the table of variables."""
    assert list(variables.table()) == _rows("variables.md")


def test_every_check_has_its_row() -> None:
    """No subject is missing, and the order is that of doctor's checks."""
    assert [check.name for check in CHECKS] == _rows("checks.md")


def test_pages_that_messages_name_exist() -> None:
    """`docs: NAME` below a message refers to docs/how-to/NAME.md, in every module and every script."""
    sources = (*REPOSITORY.glob("entrypoint/**/*.py"), *REPOSITORY.glob("entrypoint/shims/*"))
    texts = [path.read_text(encoding="utf-8") for path in sources if path.is_file()]
    named = {each.docs for each in messages() if each.docs}
    for text in texts:
        named.update(re.findall(r"""(?m)(?:\bdocs=["']|^\s*echo ['"]  docs: )([^"'$ ]+)""", text))
    assert named
    lost = {name for name in named if not (REPOSITORY / f"docs/how-to/{name}.md").is_file()}
    assert set() == lost


SOURCE = """
LIMIT = 5
HINT = "lower it"

def look(size, words):
    what = f"{size} bytes are too many:  {words}" if size else "nothing is there"
    log.warning(what, HINT, docs="configure-the-server")
    return Problem("first " + "second", hint=f"set X={size}")

log.info("it " "runs")
"""


def test_each_way_to_write_a_message_is_read(tmp_path: Path) -> None:
    """A text can be a constant, a sum, a condition or a name, or be known only at run time."""
    (tmp_path / "room").mkdir()
    (tmp_path / "room/module.py").write_text(SOURCE, encoding="utf-8")
    expected = [
        Message("room", "info", "it runs", "", ""),
        Message("room", "warning", "… bytes are too many: …", "lower it", "configure-the-server"),
        Message("room", "warning", "nothing is there", "lower it", "configure-the-server"),
        Message("room", "error", "first second", "set X=…", ""),
    ]
    assert expected == messages(tmp_path)


def test_the_page_of_messages_is_complete() -> None:
    """Nearly every call in the program that makes a problem has its message on the page."""
    calls = sum(
        path.read_text(encoding="utf-8").count("Problem(") for path in REPOSITORY.glob("entrypoint/**/*.py")
    )
    errors = [each for each in messages() if each.level == "error"]
    assert len(errors) > 0.9 * calls


def _commands(group: click.Group, name: str) -> Iterator[str]:
    for word, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from _commands(command, f"{name} {word}")
        else:
            yield f"{name} {word}"


def test_every_command_has_its_part() -> None:
    """Each command for people is in the list and has its help below its topic; no internal command is there."""
    ours = {each for each in _commands(group, "entrypoint") if not each.startswith("entrypoint internal")}
    page = GENERATED["commands.md"]
    assert sorted(ours) == sorted(re.findall(r"(?m)^- \[`(.+?)`\]", page))
    assert [title for title, _ in TOPICS] == re.findall(r"(?m)^## (.+)$", page)
    assert sorted(ours) == sorted(re.findall(r"(?m)^Usage: (entrypoint [a-z -]+?) \[", page))


@pytest.mark.parametrize("module", [exits, ready])
def test_every_exit_code_is_described(module: ModuleType) -> None:
    """Each constant has its text below it; otherwise the page would lack it."""
    codes = {name for name, value in vars(module).items() if name[0] != "_" and type(value) is int}
    assert codes
    assert [] == sorted(codes - set(reference.described(module)))


def _anchors(page: Path) -> set[str]:
    """Return the anchors that forges make of a page's titles."""
    text = re.sub(r"(?ms)^```.*?^```", "", page.read_text(encoding="utf-8"))
    titles = re.findall(r"(?m)^#+ (.+)$", text)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_links_lead_somewhere(page: Path) -> None:
    """Each link within the repository leads to an existing file, and to a title in it."""
    lost = []
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        name, _, anchor = link.partition("#")
        if "://" in name:
            continue
        target = (page.parent / name) if name else page
        if not target.exists() or (anchor and anchor not in _anchors(target)):
            lost.append(link)
    assert [] == lost
