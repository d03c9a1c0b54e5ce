"""Only the current settings control a recovery, not those in a backup; it is complete at its proven end only."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

import pytest

import archives
import containers
from archives import TOOLS, Archive, write
from containers import FRESH, Container

DATA = containers.data_folder()
PAUSED = "SELECT pg_get_wal_replay_pause_state()"
ZSTD = {"PGBACKREST_COMPRESS_TYPE": "zst", "WALG_COMPRESSION_METHOD": "zstd"}

LEFT_OVER = {
    "recovery_target_time": "2020-01-01 00:00:00+00",
    "recovery_target_inclusive": "off",
    "recovery_target_action": "shutdown",
    "recovery_target_timeline": "7",
    "recovery_end_command": "touch end-ran",
    "archive_cleanup_command": "touch cleanup-ran",
    "restore_command": "touch fetch-ran",
    "recovery_min_apply_delay": "8h",
    "primary_conninfo": "host=nowhere password=geheim",
    "primary_slot_name": "gone",
    "wal_retrieve_retry_interval": "1d",
    "hot_standby": "off",
}
"""Recovery settings in the original's files; there they would take effect after a restart only."""


class Source(NamedTuple):
    """The archive of a killed cluster: a backup, 3 rows of `kept`, and a transaction with 5000 rows at its end."""

    archive: Archive
    lsn: str
    """The LSN after the third row."""
    last: str
    """The segment with the 5000 rows."""


@pytest.fixture(scope="module", params=TOOLS)
def source(request: pytest.FixtureRequest) -> Iterator[Source]:
    """Yield an archive with the left-over settings in an included file and from ALTER SYSTEM; a drill succeeds."""
    with archives.made(request.param, None) as archive:
        with archive.serve({**FRESH, **ZSTD}) as server:
            lines = "".join(f"{name} = '{value}'\n" for name, value in LEFT_OVER.items())
            server.exec("bash", "-c", f"cat >{DATA}/more.conf", user="postgres", stdin=lines)
            server.shell(f"echo \"include 'more.conf'\" >>{DATA}/postgresql.conf", user="postgres")
            server.shell(f"touch {DATA}/recovery.conf", user="postgres")
            for name, value in {**LEFT_OVER, "recovery_min_apply_delay": "9h"}.items():
                server.sql(f"ALTER SYSTEM SET {name} = '{value}'")
            server.exec("entrypoint", "backup", "push", timeout=60)
            write(server, 3)
            lsn = server.sql("SELECT pg_current_wal_lsn()")
            server.sql("INSERT INTO kept SELECT generate_series(1, 5000)")
            last = server.sql("SELECT pg_walfile_name(pg_current_wal_lsn())")
            server.sql("SELECT pg_switch_wal()")
            archives.wait_until_whole(archive, server)
            told = server.exec("entrypoint", "backup", "drill", timeout=60)
            assert "found nothing wrong" in told.output
            server.kill()
            server.wait()
        yield Source(archive, lsn, last)


def _from(source: Source, **more: str) -> dict[str, str]:
    """Return the variables for a restore that has no archive to write to."""
    given = source.archive.env()
    return {
        "ARCHIVE_URL": "",
        "ARCHIVE_TOOL": "",
        "RESTORE_ARCHIVE_URL": given["ARCHIVE_URL"],
        "RESTORE_ARCHIVE_TOOL": given["ARCHIVE_TOOL"],
        "RESTORE_FROM": "LATEST",
        **more,
    }


def _rows(server: Container) -> str:
    return server.sql("SELECT count(*) FROM kept")


def _ran(server: Container) -> str:
    return server.shell(f"cd {DATA}; ls | grep -e -ran$ -e recovery.conf$ || true")


def _told(said: str, where: str) -> set[str]:
    """Return the settings that were reported, once, to have no effect."""
    (told,) = re.findall(rf"no effect in {where};.*\n((?:  \S+:\d+: .*\n)+)", said)
    return set(re.findall(r":\d+: (\w+)", told))


def test_a_restore_comes_to_the_end_of_the_archive(source: Source) -> None:
    """Every row is there, no command from the backup ran, and each setting without effect was reported."""
    with source.archive.serve(_from(source), timeout=60) as server:
        said = server.logs().output
        assert ("5003", "") == (_rows(server), _ran(server))
        after = int(source.last[16:], 16) + 1  # the segment's switch is its last record
        assert 1 == said.count(f"the restore is complete: it ended at 0/{after:X}0000")
        assert set(LEFT_OVER) - {"hot_standby"} == _told(said, "this restore")
        assert "geheim" not in said
        assert "conf:1: recovery_target_time = 2020-01-01" in said or source.archive.tool == "wal-g"


def test_the_requested_target_is_the_only_one(source: Source) -> None:
    """Left-over targets have no effect; a target set in addition to RESTORE_TARGET_* is refused before any write."""
    with source.archive.serve(_from(source, RESTORE_TARGET_LSN=source.lsn), timeout=60) as server:
        assert ("3", "f") == (_rows(server), server.sql("SELECT pg_is_in_recovery()"))
    with containers.volume() as data:
        words = ("-c", "recovery_target_xid=700")
        ended = source.archive.run(_from(source), *words, volumes={DATA: data})
        assert 1 == ended.code, ended.output
        assert "sets recovery_target_xid = 700" in ended.stderr
        assert "RESTORE_TARGET_XID" in ended.stderr
        assert "" == containers.in_volume(data, "ls -A")


def test_a_pause_keeps_its_settings_over_a_kill(source: Source) -> None:
    """The server waits at the requested target, read-only, and again after it was killed."""
    env = _from(source, RESTORE_TARGET_LSN=source.lsn, RESTORE_TARGET_ACTION="pause")
    with source.archive.create(env) as server:
        for _ in range(2):
            server.begin()
            server.says("ready to accept read-only connections", 60)
            containers.until(lambda: server.sql(PAUSED) == "paused", "the pause", 60)
            assert "3" == _rows(server)
            server.kill()
            server.wait()


def test_a_standby_follows_whatever_the_backup_says(source: Source) -> None:
    """It gets every row, even without STANDBY=on; only current settings count, and ALTER SYSTEM has no effect."""
    env = {"STANDBY": "on", "POSTGRES_CONF_wal_retrieve_retry_interval": "1s"}
    with containers.volume() as data:
        for variables in (env, {}):
            with source.archive.create(variables, volumes={DATA: data}) as standby:
                standby.begin()
                standby.says("ready to accept read-only connections", 60)
                containers.until(lambda: standby.sql("SELECT to_regclass('kept')") != "", "the table", 60)
                containers.until(lambda: _rows(standby) == "5003", "every row", 60)
                assert "" == _ran(standby)
                said = standby.logs().output
                own = () if variables else ("primary_conninfo", "primary_slot_name")
                assert set(LEFT_OVER) - {"wal_retrieve_retry_interval", *own} <= _told(said, "this standby")
                assert "geheim" not in said
                assert "0" == standby.sql("SHOW recovery_min_apply_delay")
                if variables:
                    assert "1s" == standby.sql("SHOW wal_retrieve_retry_interval")
                    standby.sql("ALTER SYSTEM SET recovery_min_apply_delay = '7h'")
                    standby.sql("SELECT pg_reload_conf(), pg_sleep(0.5)")
                    assert "0" == standby.sql("SHOW recovery_min_apply_delay")
                    shown = standby.exec("entrypoint", "config", "show").stdout
                    assert "hides 7h of ALTER SYSTEM" in shown
                    assert "no setting changes\n" == standby.exec("entrypoint", "config", "diff").stdout
                assert 0 == standby.stop()


def test_a_requested_delay_delays_a_standby(source: Source) -> None:
    """The delay may be a variable or an argument, and overrides a left-over ALTER SYSTEM."""
    for env, command in (
        ({"POSTGRES_CONF_recovery_min_apply_delay": "1h"}, ()),
        ({}, ("-c", "recovery_min_apply_delay=1h")),
    ):
        with source.archive.create({"STANDBY": "on", **env}, *command) as standby:
            standby.begin()
            standby.says("ready to accept read-only connections", 60)
            assert "1h" == standby.sql("SHOW recovery_min_apply_delay")
            assert "no setting changes\n" == standby.exec("entrypoint", "config", "diff").stdout


def test_another_tools_standby_is_left_alone() -> None:
    """A standby made by pg_basebackup -R follows by its own files: its standby.signal, and ALTER SYSTEM."""
    with containers.volume() as data:
        with containers.serve(env=FRESH, volumes={DATA: data}) as server:
            server.sql("ALTER SYSTEM SET recovery_min_apply_delay = '7h'")
            server.sql("ALTER SYSTEM SET primary_conninfo = 'host=nowhere'")
            server.stop()
        containers.in_volume(data, "touch standby.signal; chown 999:999 standby.signal")
        with containers.create(env={}, volumes={DATA: data}) as standby:
            standby.begin()
            standby.says("ready to accept read-only connections", 30)
            shown = "SELECT setting FROM pg_settings WHERE name IN ('primary_conninfo', 'recovery_min_apply_delay') ORDER BY 1"
            assert "25200000\nhost=nowhere" == standby.sql(shown)
            argv = standby.shell("tr '\\0' ' ' </proc/$(head -1 $PGDATA/postmaster.pid)/cmdline")
            assert "postgres -c config_file=/run/entrypoint/postgresql.conf" == argv.strip()


ZEROED = "dd if=/dev/zero of=/tmp/w bs=1024 seek=64 count=$(($(stat -c %s /tmp/w) / 1024 - 64)) conv=notrunc status=none"
CHANGED = "printf XXXXXXXX | dd of=/tmp/w bs=1 seek=100000 conv=notrunc status=none"


def _damage(archive: Archive, segment: str, text: str) -> None:
    """Change a segment (/tmp/w) in a way that no archiver can detect."""
    containers.in_volume(
        archive.volume,
        f'f=$(find . -name "{segment}[-.]*" ! -name "*.backup*"); zstd -qdc "$f" >/tmp/w; {text}; rm "$f"; '
        "case $f in *-*) f=${f%-*}-$(sha1sum </tmp/w | cut -c 1-40).zst ;; esac; "
        'zstd -qc </tmp/w >"$f"; chown 999:999 "$f"',
    )


@pytest.mark.parametrize("text", [ZEROED, CHANGED], ids=["zeroed", "changed"])
def test_a_replay_that_ends_early_is_not_complete(source: Source, text: str) -> None:
    """Nothing is promoted or served, both LSNs are reported, a drill fails, and the good part can be restored."""
    with source.archive.copy() as broken:
        _damage(broken, source.last, text)
        here = source._replace(archive=broken)
        with containers.volume() as data:
            ended = broken.run(_from(here), volumes={DATA: data}, timeout=60)
            assert 13 == ended.code, ended.output
            assert "selected new timeline" not in ended.output
            assert "the restore is complete" not in ended.output
            found = re.search(
                r"the replay ended at (\S+) in (\w+), but the archive continues to (\S+)", ended.output
            )
            assert found, ended.output
            assert source.last == found[2]
            assert f"RESTORE_TARGET_LSN={found[1]}" in ended.stderr
            env = _from(here, RESTORE_TARGET_LSN=found[1])
            with broken.serve(env, volumes={DATA: data}, timeout=60) as server:
                assert "3" == _rows(server)
        drill = broken.run({}, "backup", "drill", timeout=90)
        assert 0 != drill.code, drill.output
        assert f"the replay ended at {found[1]} in {source.last}" in drill.output


def test_damage_in_the_middle_is_not_the_end(source: Source) -> None:
    """A segment of zeros ends the replay in the previous one; with a good segment, the next start continues."""
    with source.archive.copy() as broken:
        names = broken.segments()
        lost = names[names.index(source.last) - 2]
        kept = containers.in_volume(broken.volume, f'find . -name "{lost}[-.]*" ! -name "*.backup*"')
        containers.in_volume(broken.volume, f"cp -p {kept} /volume/kept")
        _damage(broken, lost, "truncate -s 0 /tmp/w; truncate -s 16M /tmp/w")
        here = source._replace(archive=broken)
        with broken.create(_from(here)) as server:
            server.begin()
            assert 13 == server.wait(60)
            said = server.logs().output
            assert "the restore is not complete: the replay ended at" in said
            assert "selected new timeline" not in said
            containers.in_volume(
                broken.volume, f'rm "$(find . -name "{lost}[-.]*" ! -name "*.backup*")"; mv kept {kept}'
            )
            server.begin()
            server.ready(60)
            assert "5003" == _rows(server)
