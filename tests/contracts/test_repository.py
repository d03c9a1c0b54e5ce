"""Every file in the repository belongs there, and the shells can parse its shell scripts."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator

import pytest

from repository import REPOSITORY

GIT = ["git", "-C", str(REPOSITORY), "-c", f"safe.directory={REPOSITORY}"]


def _files() -> Iterator[str]:
    """Return all files that are in the repository, or will be with the next commit."""
    listed = subprocess.run(
        [*GIT, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        check=False,
        capture_output=True,
    )
    if listed.returncode:
        pytest.skip("no git repository")  # a source distribution
    for name in os.fsdecode(listed.stdout).split("\0"):
        if name and (REPOSITORY / name).is_file():
            yield name


def _shell_scripts() -> list[tuple[str, str]]:
    """Return the shell scripts of the program and the image, each with its shell."""
    folders = ("entrypoint/shims", "image", "image/bin", "demo", "tests", ".ci")
    paths = (path for folder in folders for path in sorted((REPOSITORY / folder).glob("*")) if path.is_file())
    found = []
    for path in paths:
        with path.open("rb") as file:
            first = file.readline(100).decode("utf-8", "replace").strip()
        if first.startswith("#!") and first.endswith("sh"):
            found.append((str(path.relative_to(REPOSITORY)), "bash" if first.endswith("bash") else "dash"))
    return found


SCRIPTS = _shell_scripts()
SHIMS = [script for script in SCRIPTS if script[0].startswith("entrypoint/shims/")]


def test_no_path_of_the_machine_it_was_written_on() -> None:
    """No file names a folder that exists only there."""
    work = "work"  # without its slashes, because this file is in the repository too
    places = {f"/{work}/", f"{REPOSITORY}/"}
    if not sys.base_prefix.startswith("/usr"):
        places.add(sys.base_prefix)
    found = [
        (name, place)
        for name in _files()
        for place in sorted(places)
        if place.encode() in (REPOSITORY / name).read_bytes()
    ]
    assert [] == found


def test_the_shims_are_found() -> None:
    """Without both kinds of shims, the tests below would prove nothing."""
    assert {"bash", "dash"} == {shell for _, shell in SHIMS}
    assert len(SHIMS) >= 4


@pytest.mark.parametrize(("script", "shell"), SCRIPTS)
def test_scripts_can_be_parsed(script: str, shell: str) -> None:
    """Each shell script has valid syntax for the shell that runs it; /bin/sh is dash on Debian."""
    program = shutil.which(shell) or "/bin/sh"
    done = subprocess.run([program, "-n", REPOSITORY / script], check=False, capture_output=True, text=True)
    assert (0, "") == (done.returncode, done.stderr)


@pytest.mark.parametrize(("script", "shell"), SCRIPTS)
def test_scripts_are_clean(script: str, shell: str) -> None:
    """If shellcheck is installed, it has no complaints."""
    program = shutil.which("shellcheck")
    if program is None:
        pytest.skip("no shellcheck here")
    argv = [program, f"--shell={shell}", "--exclude=SC1091", str(REPOSITORY / script)]
    done = subprocess.run(argv, check=False, capture_output=True, text=True)
    assert (0, "") == (done.returncode, done.stdout)


@pytest.mark.parametrize(("script", "shell"), SHIMS)
def test_shims_can_be_executed(script: str, shell: str) -> None:
    """A shim is executable, so that the image need not change its mode."""
    assert os.access(REPOSITORY / script, os.X_OK), shell
