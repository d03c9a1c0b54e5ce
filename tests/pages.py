"""
Run the pages of the manual: write their files, run their commands, and compare what the commands print.

A page is read from top to bottom, and these are the rules for it:

- A block after a paragraph with "Write `NAME`" is the content of that file.
- A block after a paragraph with "below `TEXT`" belongs into the file that was written last, below the line with that
  text, and has the indentation that it needs there.
- Each line of a ```console block that begins with `$ ` is a command, and the lines up to the next one are its output.
  Only the shown lines are compared; a command that is shown without output must end with 0, and may print anything.
- In the output, a line `…` stands for any lines, and `…` within a line for any text. Times, sizes, durations, names of
  backups and segments, LSNs, and spaces between words may differ.
- A command that begins with `until` waits. It is repeated until its output is the shown one.
- All other blocks are illustrations.

Commands run in the page's folder, without a terminal. `docker compose` is whichever version this machine has.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import yaml

import containers
from repository import REPOSITORY

__all__ = ["BACKED_UP", "Project", "Step", "chapter", "environment", "matches", "project", "steps"]

FENCE = re.compile(r"(?ms)^( *)```(\w+)\n(.*?)^ *```$")
VARIES = {
    "TIME": r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[.\d]*(?:Z|[+-]\d\d(?::?\d\d)?| UTC)?",
    "BACKUP": r"\b\d{8}-\d{6}F(?:_\d{8}-\d{6}[DI])?|\bbase_[0-9A-F]{24}\w*",
    "SEGMENT": r"\b[0-9A-F]{24}(?:\.[0-9A-F]{8}\.backup)?\b",
    "LSN": r"\b[0-9A-F]+/[0-9A-F]+\b",
    "IDENTIFIER": r"\b\d{19}\b",
    "QUANTITY": r"\b\d+(?:\.\d+)? (?:[KMG]iB|B|ms|s|hours|minutes|seconds|%|a minute|WAL segments|WAL files)(?!\w)",
}
"""What differs each time, by what it is compared as."""

COMPOSE = """#!/bin/sh
# no terminal is here, and Debian 12 has no plugin of docker for it
[ "$1" = compose ] || exec {docker} "$@"
shift
case $1 in
exec | run) command=$1; shift; set -- "$command" -T "$@" ;;
esac
exec {compose} "$@"
"""


class Step(NamedTuple):
    """One thing that a page says to do."""

    kind: str
    """`write` a file, `insert` into it, or `run` a command."""
    what: str
    """The file's name, the text of the line above, or the command."""
    text: str
    """The content, or the shown output."""


def steps(page: str) -> Iterator[Step]:
    """Return what the text of a page says to do, in its order."""
    end = 0
    for block in FENCE.finditer(page):
        before = page[end : block.start()].strip().rpartition("\n\n")[2]
        indent, language, content = block.groups()
        end = block.end()
        text = re.sub(rf"(?m)^{indent}", "", content)
        if language == "console":
            yield from _commands(text)
        elif found := re.search(r"\bWrite\s+`([^`]+)`", before):
            yield Step("write", found[1], text)
        elif found := re.search(r"\bbelow\s+`([^`]+)`", before):
            yield Step("insert", found[1], text)


def _commands(text: str) -> Iterator[Step]:
    """Return the commands of a block; one has as many lines as the shell would wait for."""
    for part in re.split(r"(?m)^\$ ", text)[1:]:
        command, _, shown = part.partition("\n")
        while not _is_whole(command):
            line, _, shown = shown.partition("\n")
            command += f"\n{line}"
        yield Step("run", command, shown)


def _is_whole(command: str) -> bool:
    """Return whether a shell would not wait for another line."""
    try:
        shlex.split(command)
    except ValueError:
        return False
    return not command.endswith("\\")


def chapter(page: str, title: str) -> str:
    """Return the text of a page of the repository below a title."""
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    (found,) = re.findall(rf"(?ms)^## {re.escape(title)}\n(.*?)(?=^## |\Z)", text)
    return str(found)


def environment(text: str) -> dict[str, str]:
    """Return the variables that the YAML in a text sets."""
    found: dict[str, Any] = {}
    for indent, language, content in FENCE.findall(text):
        if language == "yaml":
            value = yaml.safe_load(re.sub(rf"(?m)^{indent}", "", content))
            found |= value["services"]["db"]["environment"] if "services" in value else value
    return {name: str(value) for name, value in found.items()}


def _plain(output: str) -> list[str]:
    """Return the lines of an output without what may differ."""
    for kind, pattern in VARIES.items():
        output = re.sub(pattern, kind, output)
    return [line for line in (" ".join(each.split()) for each in output.splitlines()) if line]


def matches(shown: str, printed: str) -> bool:
    """Return whether a command printed what the page shows."""
    pattern = ""
    for line in _plain(shown):
        if line == "…":
            pattern += r"(?:.*\n)*"
        else:
            pattern += ".*".join(re.escape(part) for part in line.split("…")) + r"\n"
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in _plain(printed))) is not None


BACKED_UP = Step(
    "run", "until docker compose exec db entrypoint backup list; do sleep 1; done", "…\n… ok …\n…\n"
)
"""Wait for the first backup of README.md's database."""


class Project:
    """A reader's folder and what he has started in it."""

    def __init__(self, folder: Path) -> None:
        """Refer to an empty folder."""
        folder.mkdir()
        self.folder = folder
        self.name = f"nix-postgres-test-{uuid.uuid4().hex[:8]}"
        self._written = Path()
        plugin = subprocess.run(("docker", "compose", "version"), check=False, capture_output=True)
        docker = shutil.which("docker")
        compose = "docker-compose" if plugin.returncode else f"{docker} compose"
        shim = folder.parent / f"{folder.name}-programs" / "docker"
        shim.parent.mkdir()
        shim.write_text(COMPOSE.format(docker=docker, compose=compose), encoding="utf-8")
        shim.chmod(0o755)
        self._env = {
            **os.environ,
            "PATH": f"{shim.parent}:{os.environ['PATH']}",
            "HOME": str(folder.parent),
            "COMPOSE_PROJECT_NAME": self.name,
            "COMPOSE_ANSI": "never",
        }
        (mount,) = containers.inspect(containers.IMAGE)["Config"]["Volumes"]
        self._here = {
            "nix-postgres:dev": containers.IMAGE,
            ":/var/lib/postgresql/data": f":{mount}",
            "127.0.0.1:5432:": "127.0.0.1::",  # the machine may have a server there
        }

    def run(self, command: str, timeout: float = 180) -> tuple[int, str]:
        """Return how a command of the shell ended, and what it printed."""
        done = subprocess.run(
            ("bash", "-c", command.replace(" --follow", "")),
            cwd=self.folder,
            env=self._env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            timeout=timeout,
        )
        return done.returncode, done.stdout.decode(errors="replace")

    def follow(self, page: str, replaced: Mapping[str, str] | None = None) -> None:
        """Do what a page of the repository says, with some of its text replaced."""
        for step in steps(self._text(page, replaced or {})):
            self.do(step)

    def begin(self) -> None:
        """Start the database of README.md, and wait for its first backup."""
        first, _ = self.parts("README.md", "## The volume is gone")
        for step in first:
            if step.kind == "write" or not step.what.startswith(("make ", "docker ")):
                self.do(step)
        self.do(Step("run", "docker compose up --detach", ""))
        self.do(BACKED_UP)

    def parts(self, page: str, title: str) -> tuple[list[Step], list[Step]]:
        """Return what a page says to do before a title, and after it."""
        before, _, after = self._text(page, {}).partition(title)
        return [*steps(before)], [*steps(after)]

    def _text(self, page: str, replaced: Mapping[str, str]) -> str:
        text = (REPOSITORY / page).read_text(encoding="utf-8")
        for old, new in (self._here | dict(replaced)).items():
            text = text.replace(old, new)
        return text

    def do(self, step: Step) -> None:
        """Write a file, change it, or run a command and compare its output."""
        if step.kind == "write":
            self._written = self.folder / step.what
            self._written.parent.mkdir(parents=True, exist_ok=True)
            self._written.write_text(step.text, encoding="utf-8")
        elif step.kind == "insert":
            before, line, after = self._around(step.what)
            self._written.write_text(f"{before}{line}\n{step.text}{after}", encoding="utf-8")
        else:
            self._run(step)

    def _around(self, text: str) -> tuple[str, str, str]:
        """Return the line with a text in the file that was written last, and what is before and after it."""
        content = self._written.read_text(encoding="utf-8")
        (found,) = re.finditer(rf"(?m)^.*{re.escape(text)}.*$", content)
        return content[: found.start()], found[0], content[found.end() + 1 :]

    def _run(self, step: Step) -> None:
        deadline = time.monotonic() + 120
        while True:
            code, printed = self.run(step.what)
            good = code == 0 and (not step.text or matches(step.text, printed))
            if good or not step.what.startswith("until ") or time.monotonic() > deadline:
                break
        assert good, (
            f"$ {step.what}\nended with {code}; the page shows:\n{step.text}\nprinted was:\n{printed}"
        )


@contextmanager
def project(folder: Path) -> Iterator[Project]:
    """Return a reader's empty folder, and remove what was started in it at the end."""
    made = Project(folder)
    try:
        yield made
    finally:
        made.run("docker compose down --volumes --remove-orphans --timeout 0")
        left = containers.docker("volume", "ls", "--quiet", "--filter", f"name={made.name}").stdout.split()
        for name in left:
            containers.docker("volume", "rm", "--force", name)
