"""The alert rules of examples/prometheus, evaluated by Prometheus' own tool for hours in a moment."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

import prometheus
from entrypoint.doctor.checkup import CHECKS
from entrypoint.web.metric_list import METRICS
from prometheus import FOLDER

RULES: list[dict[str, Any]] = yaml.safe_load((FOLDER / "alerts.yml").read_text(encoding="utf-8"))["groups"][
    0
]["rules"]
DAY = 86400

# A value for each minute of three hours, in promtool's notation: the first, and what is added each minute.
NOW = "0+60x180"
"""A timestamp that is always the present."""

SOUND: Mapping[str, str] = {
    'up{job="postgres"}': "1+0x180",
    "pg_up": "1+0x180",
    "pg_postmaster_start_time_seconds": "-9000+0x180",
    "pg_replication_is_replica": "0+0x180",
    "pg_settings_archive_timeout_seconds": "60+0x180",
    'pg_replication_slots_pg_wal_lsn_diff{slot_name="s",slot_type="physical"}': "1000+0x180",
    'pg_replication_slots_safe_wal_size_bytes{slot_name="s",slot_type="physical"}': "1000000+0x180",
    "nixpg_server_recovered_timestamp_seconds": "-9000+0x180",
    "nixpg_doctor_last_timestamp_seconds": NOW,
    'nixpg_archive_failing{repo="1"}': "0+0x180",
    'nixpg_archive_ready_segments{repo="1"}': "0+0x180",
    'nixpg_archive_gaps{repo="1"}': "0+0x180",
    'nixpg_verify_last_ok{repo="1"}': "1+0x180",
    'nixpg_restorable_to_timestamp_seconds{repo="1"}': NOW,
    'nixpg_volume_size_bytes{volume="data"}': "1000000+0x180",
    'nixpg_volume_free_bytes{volume="data"}': "500000+0x180",
    'nixpg_volume_inodes{volume="data"}': "1000+0x180",
    'nixpg_volume_free_inodes{volume="data"}': "500+0x180",
    "nixpg_writes_refused": "0+0x180",
    "nixpg_reserve_missing": "0+0x180",
    "nixpg_backup_running": "0+0x180",
    "nixpg_backup_next_timestamp_seconds": "9000+0x180",
    'nixpg_backup_last_success_timestamp_seconds{repo="1",type="full"}': "-5000+0x180",
    "nixpg_drill_last_ok": "1+0x180",
    "nixpg_drill_last_success_timestamp_seconds": "-5000+0x180",
    "nixpg_drill_next_timestamp_seconds": "9000+0x180",
    'nixpg_xid_age{datname="postgres"}': "1000+0x180",
    'nixpg_mxid_age{datname="postgres"}': "1+0x180",
    "nixpg_tls_expiry_timestamp_seconds": "2000000+0x180",
}
"""A healthy server that writes nothing: it archives nothing either."""
WAITS = {
    'nixpg_archive_ready_segments{repo="1"}': "2+0x180",
    'nixpg_archive_oldest_ready_timestamp_seconds{repo="1"}': "600+0x180",
}
NO_WINDOW = {'nixpg_restorable_to_timestamp_seconds{repo="1"}': None}
FAILED = {'nixpg_backup_last_failure_timestamp_seconds{repo="1"}': "0+0x180"}
BUSY: Mapping[str, str | None] = {
    'nixpg_restorable_to_timestamp_seconds{repo="1"}': "-60+60x180",
    'nixpg_archive_ready_segments{repo="1"}': "1+0x180",
    'nixpg_archive_oldest_ready_timestamp_seconds{repo="1"}': "-5+60x180",
    'nixpg_volume_full_seconds{volume="data"}': "200000+0x180",
    'nixpg_backup_last_failure_timestamp_seconds{repo="1"}': "-6000+0x180",
    'nixpg_condition_since_timestamp_seconds{check="slots",level="warning"}': "-9000+0x180",
}
"""Something always waits for a moment, a failed backup has been followed by a good one, and there is a warning."""
STANDBY: Mapping[str, str | None] = {
    **NO_WINDOW,
    "pg_replication_is_replica": "1+0x180",
    "nixpg_replication_lag_bytes": "1000+0x180",
    "nixpg_backup_next_timestamp_seconds": None,
}

BROKEN: Mapping[str, tuple[str, Mapping[str, str | None], Iterable[str]]] = {
    "no answer": ("PostgresDown", {"pg_up": "0+0x180"}, ()),
    "no container": ("PostgresDown", dict.fromkeys(SOUND) | {'up{job="postgres"}': "0+0x180"}, ()),
    "not scraped": ("PostgresDown", dict.fromkeys(SOUND), ()),
    "the watch hangs": ("PostgresWatchSilent", {"nixpg_doctor_last_timestamp_seconds": "0+0x180"}, ()),
    "no look": ("PostgresWatchSilent", {"nixpg_doctor_last_timestamp_seconds": None}, ()),
    "a crash": ("PostgresCrashed", {"nixpg_server_recovered_timestamp_seconds": "5400+0x180"}, ()),
    "archiving fails": ("PostgresArchivingFails", {'nixpg_archive_failing{repo="1"}': "1+0x180"}, ()),
    "a backlog": ("PostgresArchiveBacklog", WAITS, ()),
    "the archive is behind": (
        "PostgresDataAtRisk",
        {'nixpg_restorable_to_timestamp_seconds{repo="1"}': "0+0x180"},
        (),
    ),
    "no backup": ("PostgresNothingRestorable", NO_WINDOW, ()),
    "a hole": ("PostgresArchiveGap", {'nixpg_archive_gaps{repo="1"}': "1+0x180"}, ()),
    "a broken backup": ("PostgresArchiveGap", {'nixpg_verify_last_ok{repo="1"}': "0+0x180"}, ()),
    "filling": ("PostgresVolumeFilling", {'nixpg_volume_full_seconds{volume="data"}': "20000+0x180"}, ()),
    "almost full": (
        "PostgresVolumeFull",
        {'nixpg_volume_full_seconds{volume="data"}': "3000+0x180"},
        ("PostgresVolumeFilling",),
    ),
    "no space": ("PostgresVolumeFull", {'nixpg_volume_free_bytes{volume="data"}': "40000+0x180"}, ()),
    "no inodes": ("PostgresVolumeFull", {'nixpg_volume_free_inodes{volume="data"}': "40+0x180"}, ()),
    "read-only": ("PostgresWritesRefused", {"nixpg_writes_refused": "1+0x180"}, ()),
    "given up": ("PostgresWalGivenUp", {"nixpg_archive_given_up_open": "1+0x180"}, ()),
    "no reserve": ("PostgresReserveMissing", {"nixpg_reserve_missing": "1+0x180"}, ()),
    "overdue": ("PostgresBackupOverdue", {"nixpg_backup_next_timestamp_seconds": "0+0x180"}, ()),
    "a failed backup": ("PostgresBackupFailed", FAILED, ()),
    "only failed backups": (
        "PostgresBackupFailed",
        FAILED | {'nixpg_backup_last_success_timestamp_seconds{repo="1",type="full"}': None},
        (),
    ),
    "a failed drill": ("PostgresDrillFailed", {"nixpg_drill_last_ok": "0+0x180"}, ()),
    "an old drill": (
        "PostgresDrillFailed",
        {"nixpg_drill_last_success_timestamp_seconds": f"-{36 * DAY}+0x180"},
        (),
    ),
    "no drill": ("PostgresDrillFailed", {"nixpg_drill_next_timestamp_seconds": f"-{2 * DAY}+0x180"}, ()),
    "a slot": (
        "PostgresSlotHoldsWal",
        {'pg_replication_slots_pg_wal_lsn_diff{slot_name="s",slot_type="physical"}': "300000+0x180"},
        (),
    ),
    "a slot on a volume for WAL": (
        "PostgresSlotHoldsWal",
        {
            'nixpg_volume_size_bytes{volume="wal"}': "2000+0x180",
            'nixpg_volume_free_bytes{volume="wal"}': "1000+0x180",
        },
        (),
    ),
    "a slot that loses WAL": (
        "PostgresSlotHoldsWal",
        {'pg_replication_slots_safe_wal_size_bytes{slot_name="s",slot_type="physical"}': "-5+0x180"},
        (),
    ),
    "a slow standby": (
        "PostgresStandbyBehind",
        {**STANDBY, "nixpg_replication_lag_bytes": "300000000+0x180"},
        (),
    ),
    "old": ("PostgresWraparound", {'nixpg_xid_age{datname="postgres"}': "400000000+0x180"}, ()),
    "too old": (
        "PostgresWraparoundNear",
        {'nixpg_xid_age{datname="postgres"}': "1100000000+0x180"},
        ("PostgresWraparound",),
    ),
    "multixacts": ("PostgresWraparoundNear", {'nixpg_mxid_age{datname="postgres"}': "1100000000+0x180"}, ()),
    "a certificate": (
        "PostgresCertificateExpires",
        {"nixpg_tls_expiry_timestamp_seconds": "1000000+0x180"},
        (),
    ),
    "a check": (
        "PostgresCheckFails",
        {'nixpg_condition_since_timestamp_seconds{check="round trip",level="error"}': "0+0x180"},
        (),
    ),
}
"""What is wrong, the alert, the changed series, and further alerts."""


def _series(changes: Mapping[str, str | None]) -> list[dict[str, str]]:
    """Return the series of a server, as its scrape would store them."""
    found = {**SOUND, **changes}
    instance = 'job="postgres",instance="db:9187"'
    named = {
        name.replace("{", f"{{{instance},").replace(f'{instance},job="postgres"', instance)
        if "{" in name
        else f"{name}{{{instance}}}": values
        for name, values in found.items()
        if values is not None
    }
    return [{"series": name, "values": values} for name, values in named.items()]


def _test(changes: Mapping[str, str | None], expected: Iterable[str]) -> dict[str, Any]:
    return {
        "interval": "1m",
        "input_series": _series(changes),
        "promql_expr_test": [
            {
                "expr": 'group by (alertname) (ALERTS{alertstate="firing"})',
                "eval_time": "110m",
                "exp_samples": [
                    {"labels": f'{{alertname="{name}"}}', "value": 1} for name in sorted(expected)
                ],
            }
        ],
    }


def test_each_rule_fires(tmp_path: Path) -> None:
    """Each rule fires for each fault that it names, and only the expected ones do; none is untested."""
    assert {rule["alert"] for rule in RULES} == {alert for alert, _, _ in BROKEN.values()}
    code, output = prometheus.promtool(
        tmp_path, [_test(changes, {alert, *more}) for alert, changes, more in BROKEN.values()]
    )
    assert 0 == code, output


@pytest.mark.parametrize(
    "changes", [{}, BUSY, STANDBY], ids=["a healthy and idle server", "a busy one", "a standby"]
)
def test_silence(tmp_path: Path, changes: Mapping[str, str | None]) -> None:
    """No rule fires on a server without a fault."""
    code, output = prometheus.promtool(tmp_path, [_test(changes, ())])
    assert 0 == code, output


def test_files_are_valid() -> None:
    """Prometheus' own tool accepts the rules and the configuration."""
    for words in (("rules", "alerts.yml"), ("config", "--syntax-only", "prometheus.yml")):
        done = subprocess.run(("promtool", "check", *words), cwd=FOLDER, capture_output=True, check=False)
        assert (0, b"") == (done.returncode, done.stderr)
        assert b"SUCCESS" in done.stdout


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule["alert"]))
def test_annotations(rule: Mapping[str, Any]) -> None:
    """Each alert says what is wrong and what to do, and gives a command; a check that it names exists."""
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert {"summary", "description", "command"} == rule["annotations"].keys()
    command = rule["annotations"]["command"]
    assert "docker" in command
    for words in re.findall(r"entrypoint doctor ([^;]+)", command):
        named = [quoted or plain for quoted, plain in re.findall(r"'([^']+)'|(\S+)", words)]
        assert set() == set(named) - {each.name for each in CHECKS} - {"{{ $labels.check }}"}


def _metrics_of(text: str) -> set[str]:
    return set(re.findall(r"\b(?:nix)?pg_\w+", text))


def test_only_known_metrics() -> None:
    """Rules and panels use only metrics that exist."""
    panels = json.loads((FOLDER / "dashboard.json").read_text(encoding="utf-8"))["panels"]
    queries = [target["expr"] for panel in panels for target in panel.get("targets", ())]
    assert len(queries) > 40
    assert set() == _metrics_of(" ".join([*queries, *(rule["expr"] for rule in RULES)])) - METRICS.keys()
