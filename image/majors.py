#!/usr/bin/env python3
"""Print the images of image/majors.json, for shell scripts: a line for each, the default first.

A line has the major of PostgreSQL, Debian's suite, and `default`, `supported`, `preview` (the major is not
released), or `further` (a newer suite than the one that has this major).
"""

from __future__ import annotations

import json
from pathlib import Path

LIST = Path(__file__).with_name("majors.json")


def images() -> list[tuple[str, str, str]]:
    """Return the lines."""
    found = []
    for major, row in json.loads(LIST.read_text(encoding="utf-8")).items():
        own = "default" if row.get("default") else "preview" if row.get("preview") else "supported"
        found += [(major, suite, "further" if number else own) for number, suite in enumerate(row["suites"])]
    return sorted(found, key=lambda line: line[2] != "default")


if __name__ == "__main__":
    for line in images():
        print(*line)
