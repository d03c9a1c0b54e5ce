"""`status`, `archive status` and `backup list` say what can be restored, to people and to programs."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pexpect

import archives
import containers
from containers import FRESH, Container

_COLORS = "\x1b[32m"
"""Green."""


def _restorable(server: Container, *command: str) -> Any:
    return json.loads(server.exec("entrypoint", *command, "--json").stdout)["restorable"]


def _shown(server: Container, *command: str, options: tuple[str, ...] = ()) -> str:
    """Return what a command prints on a terminal."""
    arguments = ("exec", "--tty", *options, server.name, "entrypoint", *command)
    return containers.docker(*arguments).stdout.replace("\r", "")


def _follow(server: Container) -> None:
    """Check that `status --follow` draws again in place, and that Ctrl-C ends it well."""
    terminal: pexpect.spawn[str] = pexpect.spawn(
        "docker",
        ["exec", "--interactive", "--tty", server.name, "entrypoint", "status", "--follow"],
        encoding="utf-8",
        timeout=30,
        dimensions=(40, 150),
    )
    for _ in range(2):
        terminal.expect_exact("\x1b[H\x1b[J")
        terminal.expect_exact("window ")
    terminal.sendintr()
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert (0, False) == (terminal.exitstatus, "Traceback" in (terminal.before or ""))


def test_what_can_be_restored_is_said_without_a_question_to_the_storage() -> None:
    """From the first backup to now, but not in a gap; a drawing, ages and colors are only for a terminal."""
    env = {**FRESH, "BACKUP_SCHEDULE": "0 0 29 2 *", "ARCHIVE_TIMEOUT": "5"}
    with archives.made("pgbackrest", None) as archive, archive.serve(env) as server:
        containers.until(lambda: _restorable(server, "status"), "the first backup", 60)
        found = _restorable(server, "status")
        (first,) = json.loads(server.exec("entrypoint", "backup", "list", "--json").stdout)
        finished = datetime.fromisoformat(first["finished"]).timestamp()
        assert (1, []) == (datetime.fromisoformat(found["from"]).timestamp() - finished, found["gaps"])

        listed = server.exec("entrypoint", "backup", "list").stdout.splitlines()
        assert listed[-1].startswith(f"restorable      from {found['from']} to ")
        stated = server.exec("entrypoint", "archive", "status").stdout.splitlines()
        assert stated[-1].startswith(f"restorable      from {found['from']} to ")
        # PostgreSQL writes a segment on its own account until all is archived; then the range ends now.
        containers.until(lambda: "to now" in server.exec("entrypoint", "status").stdout, "an idle server", 60)

        archives.write(server, 2)
        archives.wait_for_archiving(server)
        lost = archive.segments()[-1]
        containers.in_volume(archive.volume, f"rm $(find . -name '{lost}*')")
        server.exec("entrypoint", "backup", "push", timeout=60)
        (gap,) = _restorable(server, "archive", "status")["gaps"]
        assert (lost, lost, found["from"]) == (gap["first"], gap["last"], gap["from"])
        assert f"the archive lacks {lost}" in server.exec("entrypoint", "backup", "list").stdout

        server.shell("chmod 000 /archive/backup")
        assert gap["to"] == _restorable(server, "status")["gaps"][0]["to"]
        server.shell("chmod 700 /archive/backup")

        for command in (("status",), ("archive", "status"), ("backup", "list")):
            shown = _shown(server, *command)
            assert (True, True) == (_COLORS in shown, " ago)" in shown), shown
            assert shown.splitlines()[-1].startswith("window          ")
            assert "\x1b" not in _shown(server, *command, options=("--env", "NO_COLOR=1"))
            assert " ago)" not in server.exec("entrypoint", *command).stdout
        _follow(server)
        server.stop()
        alone = archive.run({}, "backup", "list", timeout=60).stdout.splitlines()
        assert alone[-1].startswith(f"restorable      from {found['from']} to 20")
