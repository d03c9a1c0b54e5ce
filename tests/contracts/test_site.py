"""The pages of `docs/` make a site: each one is listed, and each link within it leads somewhere."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from repository import REPOSITORY


def _build(docs: Path, site: Path) -> tuple[int, str]:
    """Return the exit code of the build and its output."""
    options = ("--fail-on-warning", "--keep-going", "--quiet")
    done = subprocess.run(
        (sys.executable, "-m", "sphinx", *options, docs, site),
        cwd=REPOSITORY,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    return done.returncode, done.stdout


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    """No page is missing in the index, no link is broken, and the site has every page."""
    code, output = _build(REPOSITORY / "docs", tmp_path)
    assert code == 0, output
    pages = {
        path.relative_to(REPOSITORY / "docs").with_suffix("") for path in REPOSITORY.glob("docs/**/*.md")
    }
    built = {path.relative_to(tmp_path).with_suffix("") for path in tmp_path.glob("**/*.html")}
    assert set() == pages - built


def test_a_broken_link_ends_the_build(tmp_path: Path) -> None:
    """A missing page, a missing title and a page that the index does not list are errors."""
    docs = tmp_path / "docs"
    docs.mkdir()
    shutil.copy(REPOSITORY / "docs/conf.py", docs)
    (docs / "index.md").write_text("# Index\n", encoding="utf-8")
    (docs / "extra.md").write_text("# Extra\n\n[a](gone.md) [b](#gone)\n", encoding="utf-8")
    code, output = _build(docs, tmp_path / "site")
    assert code != 0
    assert "'gone.md'" in output
    assert "'gone'" in output
    assert "isn't included in any toctree" in output
