"""How Sphinx makes a site of these pages: `make docs`.

The pages are plain CommonMark, which a forge shows as they are. What only a site needs is added here: the
navigation, which follows the links of `index.md`, and links that leave the folder.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from entrypoint import __version__

DOCS = Path(__file__).parent
REPOSITORY = DOCS.parent
LINK = re.compile(r"\]\(([^)#\s]+)")

project = "nix-postgres-docker"
author = f"the authors of {project}"
release = __version__
extensions = ["myst_parser", "sphinxcontrib.mermaid"]
html_theme = "furo"
html_title = project
html_copy_source = False
html_show_copyright = False
myst_fence_as_directive = ["mermaid"]
myst_heading_anchors = 4
nitpicky = True
suppress_warnings = ["misc.highlighting_failure"]  # a console block may hold more than the lexer knows


def setup(app: Any) -> None:
    """Register what changes a page before Sphinx reads it."""
    app.connect("source-read", _read)


def _read(_app: Any, name: str, source: list[str]) -> None:
    page = DOCS / f"{name}.md"
    source[0] = LINK.sub(lambda link: f"]({_address(page, link[1])}", source[0])
    if name == "index":
        source[0] += _navigation(source[0])


def _address(page: Path, link: str) -> str:
    """Return the address of a link; outside of this folder that is the forge, or the file itself."""
    target = (page.parent / link).resolve()
    if "://" in link or target.is_relative_to(DOCS):
        return link
    path = target.relative_to(REPOSITORY)
    forge, repository = (os.environ.get(f"GITHUB_{each}") for each in ("SERVER_URL", "REPOSITORY"))
    return f"{forge}/{repository}/blob/main/{path}" if repository else target.as_uri()


def _navigation(index: str) -> str:
    """Return a table of contents for each chapter of the index."""
    tables = []
    for chapter in re.split(r"(?m)^## ", index)[1:]:
        title = chapter.splitlines()[0]
        links = [link for link in LINK.findall(chapter) if (DOCS / link).suffix == ".md" and ".." not in link]
        if links:
            pages = "\n".join(link.removesuffix(".md") for link in links)
            tables.append(f"\n```{{toctree}}\n:hidden:\n:caption: {title}\n\n{pages}\n```\n")
    return "".join(tables)
