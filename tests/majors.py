"""The majors of PostgreSQL that images are built for: image/majors.json."""

from __future__ import annotations

import json
import runpy
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from repository import REPOSITORY

__all__ = ["DEFAULT", "IMAGES", "MAJORS", "NIX", "OTHERS", "PREVIEWS", "RELEASED", "TAGS", "parameters"]

MAJORS: Mapping[str, Any] = json.loads((REPOSITORY / "image/majors.json").read_text(encoding="utf-8"))

IMAGES: list[tuple[str, str, str]] = runpy.run_path(str(REPOSITORY / "image/majors.py"))["images"]()
"""What shell scripts see: major, suite and kind, the default first."""

TAGS: Mapping[str, str] = {major: f"{major}-{suite}" for major, suite, kind in IMAGES if kind != "further"}
"""By major: the tag of the image on the suite of Debian that has it."""

DEFAULT = next(major for major, row in MAJORS.items() if row.get("default"))

NIX = f"{DEFAULT}-nix"
"""The tag of the Nix image that tests/nix_image.py builds."""

PREVIEWS = [major for major, row in MAJORS.items() if row.get("preview")]
"""Majors that are not released; a machine may lack their images, and nixpkgs and the registry their packages."""

RELEASED = [major for major in MAJORS if major not in PREVIEWS]


def parameters(keep: Callable[[str], bool]) -> list[Any]:
    """Return the tags of the images of some majors, as parameters of a test; `containers.kin` names the images."""
    return [
        pytest.param(tag, marks=[pytest.mark.preview(tag)] if major in PREVIEWS else [])
        for major, tag in TAGS.items()
        if keep(major)
    ]


OTHERS = parameters(lambda major: major != DEFAULT)
"""All but the default, which the whole suite tests."""
