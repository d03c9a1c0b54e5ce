"""The metrics: every one of the list is shown, what is not known is absent, and Prometheus finds no fault."""

from __future__ import annotations

import re
import subprocess

from prometheus_client import parser
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics

from entrypoint.archivers.terms import Backup
from entrypoint.backup.runs import Run
from entrypoint.backup.window import Window
from entrypoint.drill.drills import Drill
from entrypoint.full_disk import parts
from entrypoint.noted import figures
from entrypoint.noted.conditions import Condition
from entrypoint.noted.seen import Sample, Seen, Server
from entrypoint.pid1.lifecycle import KnownHelper
from entrypoint.volume.facts import ArchiveState, Volume
from entrypoint.web import metrics
from entrypoint.web.live import PHASES, State
from entrypoint.web.metric_list import METRICS

SERVING = State("serving", 1, ready=True, role="primary")
INIT = State("init", 1, ready=False, role=None)
NOW = 1_800_000_000.0
ARCHIVE = ArchiveState(
    tool="pgbackrest",
    url="file:///archive",
    backlog_segments=2,
    backlog_bytes=33554432,
    oldest_ready="000000010000000000000002",
    oldest_ready_seconds=90,
    archived_per_minute=0.5,
    last_archived="000000010000000000000001",
    last_archived_at="2027-01-15T07:50:00+00:00",
    failing_since="2027-01-15T07:55:00+00:00",
    last_error="no space",
    prepared=True,
    fork_refused=None,
    fork_hint=None,
    fork_docs=None,
    free_bytes=1,
    seconds_until_full=2,
)
BACKUP = Backup(
    name="20270114-000000F",
    kind="full",
    started="2027-01-14T00:00:00+00:00",
    finished="2027-01-14T00:01:00+00:00",
    size_bytes=100,
    start_lsn="0/0",
    stop_lsn="0/1",
    permanent=False,
    system_identifier=None,
    stored_bytes=10,
)
RUNS = (
    Run(
        "incremental",
        "2027-01-15T06:00:00+00:00",
        "schedule",
        "ok",
        5.0,
        7,
        verified=True,
        holes=(("a", "b"),),
    ),
    Run("full", "2027-01-15T07:00:00+00:00", "schedule", "failed", 3.0),
    Run("full", "2027-01-15T07:58:00+00:00", "command"),
)
DRILLS = (
    Drill("2027-01-14T06:00:00+00:00", "schedule", "ok", seconds=12.5),
    Drill("2027-01-15T06:00:00+00:00", "schedule", "failed"),
    Drill("2027-01-15T07:00:00+00:00", "schedule", "interrupted"),
)


def _server() -> Server:
    """Return a server whose answers contain every figure once."""
    names = [name for name in METRICS if name.startswith(("pg_", "nixpg_")) and _is_figure(name)]
    samples = [Sample(name, tuple((label, "x") for label in METRICS[name].labels), 1.0) for name in names]
    return Server("standby", "17.2", "7", 3, 1.0, 2.0, tuple(samples), 5, ())


def _is_figure(name: str) -> bool:
    asked = " ".join(figures.questions(18, sizes=True).values())
    return f"AS {name}" in re.sub(r"\s+", " ", asked) or name == "nixpg_tls_expiry_timestamp_seconds"


FULL = Seen(
    NOW,
    server=_server(),
    conditions=(Condition("archive", "error", NOW - 300, "it fails"),),
    archive=ARCHIVE._replace(gaps=1, gap="x", gap_at="2027-01-15T07:40:00+00:00", gap_open=True),
    runs=RUNS,
    drills=DRILLS,
    backups=(BACKUP,),
    window=Window(NOW - 5000, NOW - 120, (), ()),
    next_backup=NOW + 60,
    next_drill=NOW + 600,
    volumes=(Volume("data", "/data", 100, 50, 3600, 1000, 400),),
    filling={
        "/data": (parts.slot(parts.Slot("a", 0), 40, 1), parts.kept(9, 1)),
        "/gone": (parts.kept(9, 1),),
    },
    reserve_missing=True,
    helpers=(KnownHelper("backups", "waiting", 0, 3, 1),),
    tool_version="2.50",
    unsent=1,
    failed_sends=4,
)


def _values(seen: Seen | None, state: State = SERVING) -> dict[str, float]:
    """Return the values by the name with its labels, as Prometheus would read them."""
    kind, text = metrics.expose(seen, state, "")
    assert "text/plain; version=0.0.4; charset=utf-8" == kind
    found = {}
    for family in parser.text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


def test_the_list_is_complete() -> None:
    """Every metric of the list is shown if everything is known, with its labels; no value is left out."""
    found = {}
    for family in parser.text_string_to_metric_families(metrics.expose(FULL, SERVING, "")[1].decode()):
        for sample in family.samples:
            found[sample.name] = set(sample.labels)
    names = METRICS.keys() - {"nixpg_patroni_up"}
    assert {name: set(METRICS[name].labels) for name in names} == found
    asked = " ".join(figures.questions(18, sizes=True).values())
    assert set() == set(re.findall(r"AS\s+((?:nix)?pg_\w+)", asked)) - METRICS.keys()


def test_the_values() -> None:
    """Times are those of the events; a stopped drill proves nothing, and backups that only the archive knows count."""
    found = _values(FULL)
    assert {
        "nixpg_phase{phase=serving}": 1.0,
        "nixpg_phase{phase=boot}": 0.0,
        "nixpg_archive_oldest_ready_timestamp_seconds{repo=1}": NOW - 90,
        "nixpg_archive_failing{repo=1}": 1.0,
        "nixpg_archive_gaps{repo=1}": 1.0,
        "nixpg_restorable_to_timestamp_seconds{repo=1}": NOW - 120,
        "nixpg_verify_last_ok{repo=1}": 0.0,
        "nixpg_backup_running": 1.0,
        "nixpg_backup_last_success_timestamp_seconds{repo=1,type=full}": NOW - 115140,
        "nixpg_backup_last_size_bytes{repo=1,type=full}": 10.0,
        "nixpg_backup_last_size_bytes{repo=1,type=incremental}": 7.0,
        "nixpg_backup_last_failure_timestamp_seconds{repo=1}": NOW - 3597,
        "nixpg_backups{repo=1,type=full}": 1.0,
        "nixpg_backups{repo=1,type=incremental}": 0.0,
        "nixpg_drill_last_ok": 0.0,
        "nixpg_drill_last_duration_seconds": 12.5,
        "nixpg_doctor_findings{level=error}": 1.0,
        "nixpg_doctor_findings{level=warning}": 0.0,
        "nixpg_condition_since_timestamp_seconds{check=archive,level=error}": NOW - 300,
        "nixpg_helper_failures{helper=backups}": 3.0,
        "nixpg_volume_free_inodes{volume=data}": 400.0,
        "nixpg_volume_part_bytes{name=a,part=slot,volume=data}": 40.0,
        "nixpg_volume_part_bytes{name=,part=wal,volume=data}": 9.0,
        "nixpg_reserve_missing": 1.0,
        "nixpg_writes_refused": 0.0,
        "nixpg_notify_failures_total": 4.0,
    }.items() <= found.items()


def test_what_is_not_known_is_absent() -> None:
    """Before the first look only the present state is known; without an archive nothing of it is shown."""
    always = {"pg_up", "nixpg_ready", *(f"nixpg_phase{{phase={each}}}" for each in PHASES)}
    assert always == _values(None, INIT).keys()
    assert {0.0} == {_values(None, INIT)[name] for name in ("pg_up", "nixpg_ready")}
    found = _values(Seen(NOW))
    assert 1.0 == _values(None, SERVING._replace(refused_since=1))["nixpg_writes_refused"]
    assert {"info", "doctor", "notify", "writes"} == {
        name.split("_")[1].partition("{")[0] for name in found.keys() - always
    }
    calm = ARCHIVE._replace(oldest_ready=None, oldest_ready_seconds=None, last_archived_at=None)
    new = _values(Seen(NOW, archive=calm))
    assert [] == [
        name for name in new if re.search("oldest|last_success|verify|gaps|next|nixpg_backups", name)
    ]


def test_openmetrics() -> None:
    """OpenMetrics is used for whoever accepts it, and is well-formed."""
    accept = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
    kind, text = metrics.expose(FULL, SERVING, accept)
    assert kind.startswith("application/openmetrics-text")
    read = read_openmetrics(text.decode())  # type: ignore[no-untyped-call]
    families = {each.name: each.type for each in read}
    assert ("counter", "unknown") == (
        families["nixpg_wal_written_bytes"],
        families["pg_stat_database_xact_commit"],
    )


def test_labels_of_guests_are_escaped() -> None:
    """Whoever names a database cannot add a metric."""
    name = 'a"} 1\npg_up 0\n\\'
    server = _server()._replace(samples=(Sample("nixpg_xid_age", (("datname", name),), 3.0),))
    text = metrics.expose(Seen(NOW, server=server), SERVING, "")[1].decode()
    families = list(parser.text_string_to_metric_families(text))
    assert [(name, 3.0)] == [
        (sample.labels["datname"], sample.value)
        for family in families
        for sample in family.samples
        if sample.name == "nixpg_xid_age"
    ]
    assert ["pg_up 1.0"] == [line for line in text.splitlines() if line.startswith("pg_up")]


def test_promtool_is_content() -> None:
    """Prometheus' own tool finds nothing wrong with the metrics."""
    text = metrics.expose(FULL, SERVING, "")[1]
    done = subprocess.run(("promtool", "check", "metrics"), input=text, capture_output=True, check=False)
    assert (0, b"", b"") == (done.returncode, done.stdout, done.stderr)
