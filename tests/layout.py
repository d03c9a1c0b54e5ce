"""The required content and configuration of an image: image/layout.json."""

from __future__ import annotations

import json
from typing import Any

from repository import REPOSITORY

__all__ = ["LAYOUT", "known", "layout_of", "names"]

LAYOUT = REPOSITORY / "image/layout.json"


def layout_of(major: int) -> Any:
    """Return the description for one major version of PostgreSQL."""
    text = LAYOUT.read_text(encoding="utf-8").replace("@major@", str(major))
    data = [row for row in json.loads(text)["data"] if row["from"] <= major][-1]
    return json.loads(text.replace("@data@", data["data"]).replace("@volume@", data["volume"]))


def names(layout: Any) -> set[str]:
    """Return the content of a Nix image outside its store: a path that ends in a slash stands for several links."""
    return {
        *("/etc/passwd", "/etc/group"),
        *layout["texts"],
        *layout["links"],
        *layout["store"]["ours"],
        *layout["store"]["system"],
    }


def known(path: str, layout: Any) -> str:
    """Return the name in the description for a path that was found, or the path itself if there is none."""
    folder, _, name = path.rpartition("/")
    begin = layout["store"]["system"].get(f"{folder}/", "/").rpartition("/")[2]
    several = f"{folder}/" in layout["store"]["system"] and name.startswith(begin)
    return f"{folder}/" if several and path not in names(layout) else path
