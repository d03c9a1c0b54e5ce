"""One list of majors: what is written elsewhere is compared with image/majors.json, so one line there adds or ends a major."""

from __future__ import annotations

import json
import re
import subprocess

import pytest

from majors import DEFAULT, IMAGES, MAJORS, NIX, RELEASED, TAGS
from repository import REPOSITORY

PAIRS = {(major, suite) for major, suite, _ in IMAGES}
SUITES = "|".join(sorted({suite for _, suite in PAIRS}))
NAMED = re.compile(rf"\b(\d\d)[ -]({SUITES})\b|\bMAJOR=(\d\d)(?: SUITE=(\w+))?|\bdev-(\d\d)-(\w+)")
"""A major with a suite, as pages, scripts and tests name an image."""
LISTS = ("Makefile", "image/base.sh", "image/build.sh", "docs/how-to/build-images.md")
"""Files that name every image of Debian's packages."""
TREES = ("README.md", "CONTRIBUTING.md", *LISTS, "docs", "examples", "tests/acceptance")


def _text(path: str) -> str:
    return (REPOSITORY / path).read_text(encoding="utf-8")


def _named(text: str) -> set[tuple[str, str]]:
    found = set()
    for one, suite, two, other, three, tagged in NAMED.findall(text):
        major = one or two or three
        found.add((major, suite or other or tagged or TAGS[major].partition("-")[2]))
    return found


def test_the_list() -> None:
    """It has one default, which is a release, and shell scripts see the default first."""
    assert [DEFAULT] == [major for major, row in MAJORS.items() if row.get("default")]
    assert DEFAULT in RELEASED
    assert list(MAJORS) == sorted(MAJORS)
    assert (*TAGS[DEFAULT].split("-"), "default") == IMAGES[0]
    assert ["supported", "further"] == [kind for major, _, kind in IMAGES if major == "15"]


@pytest.mark.parametrize("path", LISTS)
def test_every_image_is_named(path: str) -> None:
    """The help of make, both scripts and the page about building name each image that can be built."""
    assert PAIRS == _named(_text(path)) - {(DEFAULT, "nix")}


def test_no_other_image_is_named() -> None:
    """No page, script or test names a major or a suite that the list does not have."""
    listed = ("git", "ls-files", *TREES)
    done = subprocess.run(listed, cwd=REPOSITORY, check=True, stdout=subprocess.PIPE, text=True)
    paths = [
        path for path in done.stdout.splitlines() if path.endswith((".md", ".py", ".sh", ".yaml", ".nix"))
    ]
    assert len(paths) > 50
    official = {(major, "trixie") for major in RELEASED} | {("17", "bookworm")}
    known = PAIRS | official | {(DEFAULT, "nix")}
    assert {} == {path: strange for path in paths if (strange := _named(_text(path)) - known)}


def test_what_is_published() -> None:
    """The pins of the official images and the declared sort orders are those of the released majors."""
    assert RELEASED == list(json.loads(_text("nix/official.json")))
    declared = [*RELEASED, *(f"{major}-official" for major in RELEASED)]
    assert declared == list(json.loads(_text("image/collations.json")))
    ready = json.loads(_text("nix/ready.json")).values()
    assert {major for row in ready for major in row["majors"]} <= set(RELEASED)
    assert f"PostgreSQL {RELEASED[0]} to {RELEASED[-1]} " in _text("docs/how-to/use-nix.md")


def test_the_default() -> None:
    """The Dockerfile and the pages have the default major, too."""
    assert re.search(rf"^ARG BASE_IMAGE=postgres:{DEFAULT}-", _text("Dockerfile"), re.MULTILINE)
    major, suite = TAGS[DEFAULT].split("-")
    assert f"nix-postgres:dev: PostgreSQL {major} on Debian {suite}" in _text("README.md")
    assert f"nix-postgres:dev, PostgreSQL {major} on {suite}" in _text("docs/how-to/build-images.md")
    assert f"{major} {suite} (default)" in _text("Makefile")
    assert f"nix-postgres-base:{TAGS[DEFAULT]} nix-postgres:dev-{NIX}\n" in _text("Makefile")
