"""The pages of a newcomer work as they are written, in an empty folder, with docker compose."""

from __future__ import annotations

from pathlib import Path

import pytest

import pages


@pytest.mark.parametrize("page", ["docs/tutorial.md"])
def test_a_page_works_as_it_is_written(page: str, tmp_path: Path) -> None:
    """Every command ends with 0 and prints what the page shows."""
    with pages.project(tmp_path / "reader") as reader:
        reader.follow(page)


def test_the_readme_brings_rows_back(tmp_path: Path) -> None:
    """With README.md alone a newcomer has a database with a backup, and has it back after the volume is gone."""
    ready = "until docker compose exec db entrypoint ready; do sleep 1; done"
    listed = "until docker compose exec db entrypoint backup list | grep full; do sleep 1; done"
    with pages.project(tmp_path / "reader") as reader:
        any_port = {"127.0.0.1:5432:": "127.0.0.1::"}
        first, restore = reader.parts("README.md", "## The volume is gone", any_port)
        for step in first:
            if not step.what.startswith(("make ", "mkdir ~/db")):
                reader.do(step)
            if "up --detach" in step.what:
                assert [0, 0] == [reader.run(wait)[0] for wait in (ready, listed)]
        assert reader.run("docker compose down --volumes")[0] == 0
        for step in restore:
            reader.do(step)
        assert reader.run("docker compose up --detach")[0] == 0
        assert reader.run(ready)[0] == 0
        query = "SELECT answer FROM kept"
        code, printed = reader.run(f"docker compose exec db psql -U postgres -At -c '{query}'")
        assert (code, printed.split()) == (0, ["42"])
