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
    psql = "docker compose exec db psql --username postgres --tuples-only --no-align --command"
    with pages.project(tmp_path / "reader") as reader:
        first, restore = reader.parts("README.md", "## The volume is gone")
        for step in first:
            if not step.what.startswith("make "):
                reader.do(step)
            if "up --detach" in step.what:
                assert reader.run(ready)[0] == 0
                assert (
                    reader.run("until docker compose exec db entrypoint backup list; do sleep 1; done")[0]
                    == 0
                )
        assert "CREATE TABLE" in reader.run(f"{psql} 'CREATE TABLE kept (i int)'")[1]
        assert reader.run("docker compose down --volumes")[0] == 0
        for step in restore:
            reader.do(step)
        assert reader.run("docker compose up --detach")[0] == 0
        assert reader.run(ready)[0] == 0
        code, printed = reader.run(f"{psql} 'SELECT count(*) FROM kept'")
        assert (code, printed.split()) == (0, ["0"])
