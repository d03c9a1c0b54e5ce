"""Row 3.10: the start says which init files it does not run, and why."""

from __future__ import annotations

import re

import pytest

from containers import File, Files, serve

USED = {"PGDATA": "/volume/data"}
INIT = "/docker-entrypoint-initdb.d"
SKIPPING = "PostgreSQL Database directory appears to contain a database; Skipping initialization"


@pytest.mark.better
def test_files_that_do_not_run_are_named(used_volume: str) -> None:
    """One line names the files and the day on which the cluster was created."""
    files: Files = {f"{INIT}/1.sql": "CREATE TABLE more (a int);", f"{INIT}/2.sh": File("true\n", 0o755)}
    with serve(env=USED, files=files, volumes={"/volume": used_volume}) as container:
        logs = container.logs()
        [line] = [line for line in logs.output.splitlines() if "1.sql" in line]
        assert "2.sh" in line
        assert re.search(r"\b20\d\d-\d\d-\d\d", line)
        assert SKIPPING in logs.stdout.splitlines()
        assert "" == container.sql("SELECT relname FROM pg_class WHERE relname = 'more'")


def test_nothing_is_logged_about_an_empty_folder(used_volume: str) -> None:
    """Without files there is nothing to log."""
    with serve(env=USED, volumes={"/volume": used_volume}) as container:
        assert INIT not in container.logs().output
