"""A real Prometheus scrapes real servers: each rule fires while a server is broken in its way, and ends afterwards.

The rules are those of examples/prometheus; only their `for:` is left out, a silent watch need not be silent for
15 minutes, and the other expressions stay. Rules that need hours are evaluated by promtool on what was scraped
from the broken server, as if it stayed like that.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import archives
import containers
import disks
import prometheus
from archives import Archive
from containers import FRESH, Container, File, folder
from disks import MB
from prometheus import Prometheus

DATA = containers.data_folder()
TOKEN = "token-of-the-test"
WATCH = {**FRESH, "STATUS_LISTEN": ":9187", "STATUS_TOKEN": TOKEN, "WATCH_INTERVAL": "1"}
FILLS = {"PostgresVolumeFilling", "PostgresVolumeFull"}


class Scene:
    """Prometheus, and a primary with an archive."""

    def __init__(self, stack: ExitStack, place: Path) -> None:
        self.stack = stack
        self.place = place
        self.prometheus: Prometheus = stack.enter_context(prometheus.started(place, TOKEN))
        self.archive: Archive = stack.enter_context(archives.made("pgbackrest", None))
        # Half an hour from now, so that nothing scheduled comes in the way.
        schedule = f"{(int(time.time()) // 60 + 30) % 60} * * * *"
        schedules = {"BACKUP_SCHEDULE": schedule, "DRILL_SCHEDULE": schedule}
        env = {**WATCH, **schedules, "BACKUP_RETAIN_FULL": "2", "BACKUP_VERIFY": "names"}
        data = stack.enter_context(containers.volume())
        self.primary = self.serve("primary", self.archive.create(env, volumes={DATA: data}))

    def serve(self, instance: str, made: Any) -> Container:
        """Start a container, and scrape it."""
        container: Container = self.stack.enter_context(made)
        container.begin()
        container.ready()
        self.prometheus.add(instance, f"{container.address}:9187")
        return container

    def firing(self, instance: str) -> set[str]:
        """Return the alerts that fire, but for a disk that others fill: a look each second sees their bursts."""
        return self.prometheus.firing(instance) - FILLS

    def calm(self) -> None:
        """Wait until nothing waits to be archived, no check reports an error, and Prometheus knows."""
        archives.wait_for_archiving(self.primary)
        errors = (
            'nixpg_condition_since_timestamp_seconds{instance="primary",level="error",check!="free space"}'
        )
        query = f'nixpg_archive_ready_segments{{instance="primary"}} == 0 unless on (instance) {errors}'
        try:
            containers.until(lambda: bool(self.prometheus.query(query)), "nothing waits", 60)
        except AssertionError as error:
            error.add_note(f"errors: {self.prometheus.query(errors)}")
            raise

    def scraped(self, instance: str) -> list[tuple[str, dict[str, str], float]]:
        """Return what Prometheus has scraped last: names, labels and values."""
        found = self.prometheus.query(f'{{instance="{instance}",__name__!~"ALERTS.*|scrape_.*"}}')
        return [(each["metric"].pop("__name__"), each["metric"], float(each["value"][1])) for each in found]

    def later(self, instance: str, expected: set[str], *moving: str) -> None:
        """Check which alerts fire if a server stays as it is for two hours; `moving` are the times that stay near."""
        if "PostgresArchiveBacklog" not in expected:
            self.calm()
        now = time.time()
        series = []
        for name, labels, value in self.scraped(instance):
            if name == "nixpg_volume_full_seconds" or labels.get("check") == "free space":
                continue  # as in `firing`
            first = (
                value - now
                if name.endswith("_timestamp_seconds") and "oldest_timestamp" not in name
                else value
            )
            shown = ",".join(f"{label}={json.dumps(text)}" for label, text in labels.items())
            step = 60 if name in moving else 0
            series.append({"series": f"{name}{{{shown}}}", "values": f"{first:.3f}+{step}x180"})
        tests = [
            {
                "interval": "1m",
                "input_series": series,
                "promql_expr_test": [
                    {
                        "expr": 'group by (alertname) (ALERTS{alertstate="firing"})',
                        "eval_time": "170m",
                        "exp_samples": [
                            {"labels": f'{{alertname="{name}"}}', "value": 1} for name in sorted(expected)
                        ],
                    }
                ],
            }
        ]
        code, output = prometheus.promtool(self.place, tests)
        assert 0 == code, output
        self.prometheus.saw(instance, expected)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Prometheus and a primary without a backup."""
    with ExitStack() as stack:
        yield Scene(stack, tmp_path_factory.mktemp("prometheus"))


DRILL = "/docker-entrypoint-drill.d/wrong.sql"
WATCHED = "nixpg_doctor_last_timestamp_seconds"
REACHED = "nixpg_restorable_to_timestamp_seconds"
DUE = "nixpg_backup_next_timestamp_seconds"


def _backup(server: Container, *words: str, check: bool = True) -> str:
    return server.exec("entrypoint", "backup", *words, check=check, timeout=120).output


def _certificate(days: int) -> tuple[str, str]:
    """Return a certificate for a server and its key."""
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", "-")
    words = ("openssl", "req", "-x509", *key, "-days", str(days), "-subj", "/CN=db")
    text = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    begin = text.index("-----BEGIN CERTIFICATE-----")
    return text[begin:], text[:begin]


def test_a_small_volume(scene: Scene) -> None:
    """No backup, a certificate that expires, a slot that holds WAL, a volume that fills up and its reserve are alerts.

    Each ends with its cause.
    """
    certificate, key = _certificate(5)
    env = {
        **WATCH,
        "ARCHIVE_URL": "file:///archive",
        "POSTGRES_CONF_ssl": "on",
        "POSTGRES_CONF_ssl_cert_file": "/tls/certificate",
        "POSTGRES_CONF_ssl_key_file": "/tls/key",
    }
    files = {
        "/archive": folder(0o700, 999),
        "/tls/certificate": File(certificate, owner=999),
        "/tls/key": File(key, 0o600, owner=999),
    }
    disk = scene.stack.enter_context(disks.disk("ext4", 512 * MB))
    small = scene.serve("small", containers.create(env=env, files=files, volumes={DATA: disk.folder}))
    scene.prometheus.fires("small", "PostgresNothingRestorable")
    _backup(small, "push")
    scene.prometheus.ends("small", "PostgresNothingRestorable")
    scene.prometheus.fires("small", "PostgresCertificateExpires")
    small.exec("bash", "-c", "cat >/tls/certificate", user="0", stdin=_certificate(90)[0])
    scene.prometheus.ends("small", "PostgresCertificateExpires")
    small.sql("SELECT pg_create_physical_replication_slot('unread', true)")
    for _ in range(3):  # at a rate at which this small disk is not nearly full yet
        archives.write(small, 3)
        time.sleep(2)
    scene.prometheus.fires("small", "PostgresSlotHoldsWal")
    small.sql("SELECT pg_drop_replication_slot('unread')")
    scene.prometheus.ends("small", "PostgresSlotHoldsWal")
    small.sql("CHECKPOINT")
    assert "PostgresReserveMissing" not in scene.firing("small")
    while (more := disk.free - 20 * MB) > 0:
        disk.grow(min(40 * MB, more))
        time.sleep(1)  # the rate of whoever fills the disk
    full = ("PostgresWritesRefused", "PostgresReserveMissing")
    scene.prometheus.fires("small", *FILLS, *full)
    switch = "SELECT pg_logical_emit_message(false, '', ''), pg_switch_wal()"

    def uses_it() -> bool:
        small.exec("psql", "--username=postgres", "--command", switch, check=False)
        return "WAL segments of the reserve are in use now" in small.logs().output

    containers.until(uses_it, "the reserve is given up", 120)
    scene.prometheus.fires("small", *full)
    disk.give_back()
    scene.prometheus.ends("small", *full)


def test_wal_that_is_given_up(scene: Scene) -> None:
    """With ARCHIVE_WHEN_FULL=drop, a disk full of WAL is an alert until a full backup has followed the gap."""
    env = {**WATCH, "ARCHIVE_URL": "file:///archive", "ARCHIVE_WHEN_FULL": "drop"}
    disk = scene.stack.enter_context(disks.disk("ext4", 768 * MB))
    made = containers.create(env=env, files={"/archive": folder(0o700, 999)}, volumes={DATA: disk.folder})
    drop = scene.serve("drop", made)
    _backup(drop, "push")
    drop.shell("chmod 000 /archive", user="0")
    recorded = f"grep -s ^drop {DATA}/entrypoint.given-up || true"

    def gives_up() -> bool:
        archives.write(drop, 2)
        return drop.shell(recorded) != ""

    containers.until(gives_up, "WAL is given up", 120)
    scene.prometheus.fires("drop", "PostgresWalGivenUp")
    drop.shell("chmod 700 /archive", user="0")
    drop.says("ends the gap", 120)
    scene.prometheus.ends("drop", "PostgresWalGivenUp")


def test_a_healthy_server(scene: Scene) -> None:
    """Nothing fires on a server that writes, archives and is then idle, also hours later."""
    scene.prometheus.ends("primary", "PostgresNothingRestorable")
    archives.write(scene.primary, 1)
    scene.calm()
    assert set() == scene.firing("primary")
    # It stays like that for hours; only the backup that is due in half an hour does not come.
    scene.later("primary", {"PostgresBackupOverdue"}, WATCHED, REACHED)
    scene.later("primary", set(), WATCHED, REACHED, DUE)  # it does come
    # A watch that hangs is noticed as well.
    scene.later("primary", {"PostgresBackupOverdue", "PostgresWatchSilent"}, REACHED)


def test_a_watch_that_hangs(scene: Scene) -> None:
    """A watch whose checks hang is an alert until they continue. One that hangs itself answers no scrape."""
    primary = scene.primary
    query = f'{WATCHED}{{instance="primary"}}'
    containers.until(lambda: bool(scene.prometheus.query(query)), "the first look", 60)
    (watch,) = (each for each in _helpers(primary) if each["role"] == "watch")
    catch = (
        f"while :; do for each in $(cat /proc/{watch['pid']}/task/*/children); do "
        "kill -STOP $each; grep -q '^State:.T' /proc/$each/status && echo $each && exit; done; done 2>/dev/null"
    )
    look = primary.exec("timeout", "60", "bash", "-c", catch, user="0", timeout=70).stdout.strip()
    scene.prometheus.fires("primary", "PostgresWatchSilent", timeout=prometheus.SILENT + 90)
    assert "PostgresDown" not in scene.firing("primary")
    primary.shell(f"kill -CONT {look}", user="0")
    scene.prometheus.ends("primary", "PostgresWatchSilent")
    primary.shell(f"kill -STOP {watch['pid']}", user="0")
    scene.prometheus.fires("primary", "PostgresDown")
    primary.shell(f"kill -CONT {watch['pid']}", user="0")
    scene.prometheus.ends("primary", "PostgresDown", "PostgresWatchSilent")


def _helpers(server: Container) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(server.exec("entrypoint", "status", "--json").stdout)["helpers"]
    return found


def test_a_standby_behind(scene: Scene) -> None:
    """A standby whose replay is paused is behind, until it is resumed; the primary has no fault meanwhile."""
    primary = scene.primary
    primary.sql("CREATE ROLE replicator LOGIN REPLICATION PASSWORD 'geheim'")
    primary.sql("COPY (SELECT 'host replication all all scram-sha-256') TO PROGRAM 'cat >> pg_hba.conf'")
    primary.sql("SELECT pg_reload_conf()")
    env = {
        **WATCH,
        "STANDBY": "on",
        "STANDBY_PRIMARY_CONNINFO": f"host={primary.address} user=replicator password=geheim",
    }
    with scene.archive.create(env) as standby:
        standby.begin()
        standby.says("database system is ready to accept read-only connections", 60)
        scene.prometheus.add("standby", f"{standby.address}:9187")
        streaming = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'"
        containers.until(lambda: primary.sql(streaming) == "1", "streaming", 30)
        standby.sql("SELECT pg_wal_replay_pause()")
        archives.write(primary, 17)
        scene.prometheus.fires("standby", "PostgresStandbyBehind")
        standby.sql("SELECT pg_wal_replay_resume()")
        scene.prometheus.ends("standby", "PostgresStandbyBehind")
        assert set() == scene.firing("standby")
    archives.wait_for_archiving(primary)
    scene.prometheus.fires("standby", "PostgresDown")


def test_an_outage_of_the_archive(scene: Scene) -> None:
    """Archiving, a backup and a drill fail; hours later, the backlog and what a restore would lose are alerts as well."""
    fail = ("PostgresArchivingFails", "PostgresBackupFailed", "PostgresDrillFailed")
    scene.primary.exec("chmod", "-R", "u-w", "/archive/backup", user="0")
    _backup(scene.primary, "push", check=False)
    scene.primary.exec("chmod", "-R", "u-w", "/archive", user="0")
    archives.write(scene.primary, 2)
    scene.primary.exec("mkdir", "/docker-entrypoint-drill.d", user="0")
    scene.primary.exec("bash", "-c", f"echo SELECT 1/0 >{DRILL}", user="0")
    _backup(scene.primary, "drill", check=False)
    scene.prometheus.fires("primary", *fail)
    lasting = {"PostgresArchiveBacklog", "PostgresDataAtRisk", "PostgresCheckFails", "PostgresBackupOverdue"}
    scene.later("primary", {*fail, *lasting}, WATCHED)
    scene.primary.exec("chmod", "-R", "u+w", "/archive", user="0")
    scene.primary.exec("rm", DRILL, user="0")
    archives.wait_for_archiving(scene.primary)
    _backup(scene.primary, "push")
    _backup(scene.primary, "drill")
    scene.prometheus.ends("primary", *fail)


def test_a_hole_in_the_archive(scene: Scene) -> None:
    """A segment that is gone is an alert after the next backup, until no backup needs it any more.

    The same push takes a full backup after the hole. Of two that are kept, the other one is before it.
    """
    archives.write(scene.primary, 3)
    archives.wait_for_archiving(scene.primary)
    lost = scene.archive.segments()[-2]
    containers.in_volume(scene.archive.volume, f"rm $(find . -name '{lost}[-.]*' ! -name '*.backup*')")
    said = _backup(scene.primary, "push", "--incremental", check=False)
    assert f"missing from the archive: {lost}" in said, said
    scene.prometheus.fires("primary", "PostgresArchiveGap")
    _backup(scene.primary, "push")
    scene.prometheus.ends("primary", "PostgresArchiveGap")


def test_a_crash(scene: Scene) -> None:
    """A process that was killed is an alert for an hour."""
    with scene.primary.session("SELECT pg_sleep(60)"):
        pid = scene.primary.sql(
            "SELECT pid FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(60)' LIMIT 1"
        )
        scene.primary.shell(f"kill -9 {pid}")
        scene.prometheus.fires("primary", "PostgresCrashed")
    scene.later("primary", {"PostgresBackupOverdue"}, WATCHED, REACHED)


def test_an_old_cluster(scene: Scene) -> None:
    """Transaction IDs that are too old are alerts until everything is frozen; a server that is down is one until it is up."""
    old = ("PostgresWraparound", "PostgresWraparoundNear")
    env = {
        **WATCH,
        "POSTGRES_CONF_autovacuum": "off",
        "POSTGRES_CONF_autovacuum_freeze_max_age": "2000000000",
    }
    data = scene.stack.enter_context(containers.volume())
    with containers.serve(env=env, volumes={DATA: data}) as young:
        assert 0 == young.stop()
    segment = 1050  # of the commit log, with 2^20 transactions
    ahead = f"gosu postgres pg_resetwal -x {segment * 2**20} -D . && head -c 256K /dev/zero >pg_xact/{segment:04X}"
    containers.in_volume(data, f"{ahead} && chown postgres pg_xact/*")
    server = scene.serve("old", containers.create(env=env, volumes={DATA: data}))
    scene.prometheus.fires("old", *old)
    server.sql("ALTER DATABASE template0 ALLOW_CONNECTIONS true")
    server.exec("vacuumdb", "--username=postgres", "--all", "--freeze", "--quiet")
    scene.prometheus.ends("old", *old)
    server.stop()
    scene.prometheus.fires("old", "PostgresDown")


def test_everything_on_the_dashboard_has_data(scene: Scene) -> None:
    """Every query of every panel has returned data while the tests above ran."""
    board = json.loads((prometheus.FOLDER / "dashboard.json").read_text(encoding="utf-8"))
    queries = [target["expr"] for panel in board["panels"] for target in panel.get("targets", ())]

    def seen(query: str) -> bool:
        return bool(scene.prometheus.query(f"last_over_time(({query})[10m:1s])"))

    filled = {each: each.replace("$instance", ".*").replace("$__rate_interval", "1m") for each in queries}
    assert [] == [each for each, query in filled.items() if not seen(query)]


def test_a_volume_that_fills_no_longer(scene: Scene) -> None:
    """The forecast needs as long to see that as the volume had been watched before."""
    scene.prometheus.ends("small", *FILLS, timeout=300)


def test_each_rule_was_seen(scene: Scene) -> None:
    """Each rule has fired in the tests above, and ended."""
    assert prometheus.names() == scene.prometheus.seen()
