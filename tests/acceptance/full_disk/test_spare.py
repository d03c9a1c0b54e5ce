"""What is ours gives way while the server runs, before its clients notice anything."""

from __future__ import annotations

import os

import containers
import disks
from containers import FRESH
from disks import MB

DATA = "/var/lib/postgresql/data"
HOLD = "exec 9</drill/entrypoint.drill && flock 9 && sleep 600 9<&9"
"""Holds the lock of a drill's folder, as a drill does."""


def test_a_drill_gives_way() -> None:
    """What a drill has left on the server's disk is removed, and a drill that runs is asked to end."""
    wanted = {
        **FRESH,
        "ARCHIVE_URL": "file:///archive",
        "ARCHIVE_TOOL": "pgbackrest",
        "DRILL_FOLDER": "/drill",
    }
    with disks.disk("ext4", 1024 * MB) as disk, containers.volume() as storage:
        drills = disk.top / "drills"
        drills.mkdir()
        os.chown(drills, 999, 999)
        mounted = {DATA: disk.folder, "/archive": storage, "/drill": str(drills)}
        with containers.create(env=wanted, volumes=mounted) as server:
            server.begin()
            server.ready()
            made = "mkdir -p /drill/entrypoint.drill/cluster && head -c 200M /dev/zero >/drill/entrypoint.drill/cluster/1"
            server.shell(made, user="postgres")
            containers.docker("exec", "--detach", "--user", "postgres", server.name, "bash", "-c", HOLD)
            containers.until(lambda: server.has_process("sleep"), "the drill runs")
            disk.leave(220 * MB)
            server.says("ending the drill")
            server.says("removed /drill/entrypoint.drill (200 MiB)")
            assert [] == list(drills.iterdir())
            assert not server.has_process("sleep")
            assert "off" == server.sql("SHOW default_transaction_read_only")
