"""Output of the archivers is bounded and escaped, and no role's settings control their sessions."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import archives
from archives import FOLDERS, LATEST, Archive
from containers import FRESH, image_env, script

TALKS = r"""#!/bin/bash
case " $* " in
*" restore "* | *" backup-fetch "*) printf 'a\033]0;title\007\033[2Jb\342\200\256c\r\n' >&2 ;;
*" backup "* | *" backup-push "*) head -c 700000000 /dev/zero | tr '\0' 'x' >&2 ;;
esac
exec REAL "$@"
"""
"""An archiver with output that somebody else controls."""


@pytest.fixture(params=FOLDERS)
def archive(request: pytest.FixtureRequest) -> Iterator[Archive]:
    """Yield an empty archive in a folder."""
    with archives.made(request.param[0], None) as made:
        yield made


def _talking(archive: Archive) -> tuple[dict[str, str], str]:
    """Return an environment with a talking archiver first on PATH, and that archiver's script."""
    real = {"wal-g": "/usr/local/bin/wal-g", "pgbackrest": "/usr/bin/pgbackrest"}[archive.tool]
    return {"PATH": f"/opt/own:{image_env()['PATH']}"}, TALKS.replace("REAL", real)


def test_the_output_of_a_tool(archive: Archive) -> None:
    """A backup whose tool prints 700 MB fits into 400 MB of memory; the output of a fetch is escaped."""
    env, text = _talking(archive)
    memory = ("--memory", "400m", "--memory-swap", "400m")
    files = {f"/opt/own/{archive.tool}": script(text)}
    with archive.create({**FRESH, **env}, options=memory, files=files) as server:
        server.begin()
        server.ready(60)
        server.exec("entrypoint", "backup", "push", timeout=120)
        server.stop()
    with archive.create({**FRESH, **LATEST, **env}, files=files) as copy:
        copy.begin()
        copy.ready(60)
        log = copy.logs().output
    assert "\x1b" not in log
    assert "\u202e" not in log
    assert rf"{archive.tool}: a\x1b]0;title\x07\x1b[2Jb\u202ec" in log


@pytest.mark.parametrize("asked", ["entrypoint", "typed"])
def test_a_role_controls_no_session_of_a_tool(archive: Archive, asked: str) -> None:
    """Neither a timeout, nor a read-only default, nor a function that hides PostgreSQL's own disturbs a backup."""
    trap = """
        CREATE SCHEMA trap; CREATE FUNCTION trap.current_setting(text) RETURNS text LANGUAGE sql AS 'SELECT ''90000''';
        ALTER ROLE postgres SET search_path = trap, pg_catalog;
        ALTER ROLE postgres SET default_transaction_read_only = on;
        ALTER DATABASE postgres SET statement_timeout = 1;
        ALTER ROLE postgres SET role = 'pg_monitor';
    """
    with archive.serve(FRESH) as server:
        server.sql(trap)
        if asked == "entrypoint":
            command = ["entrypoint", "backup", "push"]
        elif archive.tool == "wal-g":
            command = ["wal-g", "backup-push", server.shell("echo $PGDATA")]
        else:
            command = ["pgbackrest", "backup"]
        server.exec(*command, timeout=90)
        assert "full" in server.exec("entrypoint", "backup", "list").stdout
