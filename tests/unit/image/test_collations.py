"""An image whose libraries sort by a different version than before is refused, unless that is declared."""

from __future__ import annotations

import json
import runpy
from collections.abc import Callable
from typing import Any

import pytest

from repository import REPOSITORY

Complaint = Callable[[str, dict[str, dict[str, str]], dict[str, str]], str | None]
NOW = {"glibc": "2.41", "icu": "153.128"}


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    return runpy.run_path(str(REPOSITORY / "image/collations.py"))


def test_same_versions_pass(script: dict[str, Any]) -> None:
    """There is no complaint about an image that sorts as before."""
    assert script["complaint"]("17", {"17": NOW}, dict(reversed(NOW.items()))) is None


@pytest.mark.parametrize(
    ("before", "named"),
    [
        ({"glibc": "2.36", "icu": "153.128"}, "glibc 2.36 became 2.41:"),
        ({"glibc": "2.41", "icu": "153.120"}, "icu 153.120 became 153.128:"),
        ({"glibc": "2.36", "icu": "153.120"}, "glibc 2.36 became 2.41, icu 153.120 became 153.128:"),
        ({"glibc": "2.41"}, "icu none became 153.128:"),
    ],
)
def test_a_change_is_refused(script: dict[str, Any], before: dict[str, str], named: str) -> None:
    """The complaint names each change, and ends with the line that declares it."""
    words = script["complaint"]("17", {"17": before, "18": NOW}, NOW)
    assert words is not None
    assert words.startswith(f"17: {named} ")
    assert words.endswith(f'"17": {json.dumps(NOW)}')


def test_an_unknown_tag_is_refused(script: dict[str, Any]) -> None:
    """A tag that was never declared does not pass; the complaint contains the line that declares it."""
    words = script["complaint"]("18", {"17": NOW}, NOW)
    assert words is not None
    assert f'"18": {json.dumps(NOW)}' in words


@pytest.mark.parametrize("measured", [{}, {"icu": "153.128"}, {"glibc": "", "icu": "153.128"}])
def test_what_cannot_be_measured_is_refused(script: dict[str, Any], measured: dict[str, str]) -> None:
    """An image without the locale of the clusters, or without that locale's version, does not pass."""
    words = script["complaint"]("17", {"17": measured}, measured)
    assert words is not None
    assert "cannot be measured" in words


def test_what_is_declared(script: dict[str, Any]) -> None:
    """The file names only published tags, each with both libraries."""
    declared = json.loads(script["DECLARED"].read_text(encoding="utf-8"))
    tags = {f"{major}{kind}" for major in (15, 16, 17, 18) for kind in ("", "-official")}
    assert set() == set(declared) - tags
    assert [] == [tag for tag, versions in declared.items() if {"glibc", "icu"} != set(versions)]
