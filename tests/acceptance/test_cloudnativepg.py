"""
The image as an operand of CloudNativePG: every command that its instance manager executes, with its arguments.

The containers have the rights and the folders of the operator's pods. A script stands in for the instance manager, which
an init container puts into the pod: it is PID 1, starts the server as its child, and is what the server's
`archive_command` and `restore_command` call. The lists of arguments are those of CloudNativePG 1.28 to 1.30.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

import containers
from containers import Container, Outcome, kin, until
from majors import NIX

OTHERS = (kin("18-sid"), kin(NIX))
UPGRADING = kin("17-trixie-upgrade")
"""An image with the libraries of the older server, of which the operator copies only the programs."""
NAMES = ("tested", "18-sid", NIX)
EACH = pytest.mark.parametrize("cluster", [containers.IMAGE, *OTHERS], ids=NAMES, indirect=True)
QUICKLY = pytest.mark.parametrize(
    "cluster",
    [containers.IMAGE, *(pytest.param(image, marks=pytest.mark.long) for image in OTHERS)],
    ids=NAMES,
    indirect=True,
)
"""The image under test; the long tests use the others as well."""
RIGHTS = (
    *("--user=26:26", "--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges"),
    "--entrypoint=/controller/manager",
)
PGDATA = "/var/lib/postgresql/data/pgdata"
WAL = "/var/lib/postgresql/wal/pg_wal"
ENVIRONMENT = {
    "PGDATA": PGDATA,
    "PGHOST": "/controller/run",
    "PGPORT": "5432",
    "PSQL_HISTORY": "/controller/tmp/.psql_history",
    "TMPDIR": "/controller/tmp",
}

MANAGER = """#!/bin/bash
case $1 in
instance)
	mkdir -p /controller/{log,run,tmp}
	for log in postgres postgres.csv postgres.json; do
		mkfifo /controller/log/$log
		cat <>/controller/log/$log &
	done
	while sleep 0.1; do
		if rm /controller/start 2>/dev/null; then
			PG_OOM_ADJUST_FILE=/proc/self/oom_score_adj PG_OOM_ADJUST_VALUE=0 postgres -D "$PGDATA" &
		fi
	done
	;;
wal-archive) cp "${@: -1}" /archive/ ;;
wal-restore) cp "/archive/${@: -2:1}" "${@: -1}" ;;
esac
"""
PREPARE = """
for volume in /volumes/*; do
	mkdir $volume/lost+found && chown 0:26 $volume && chmod 2775 $volume || exit
done
for scratch in /volumes/scratch-*; do
	rmdir $scratch/lost+found && chmod 2777 $scratch && cd $scratch && printf %s "$1" >manager && mkdir certificates || exit
	for name in client-ca.crt server-ca.crt server.crt streaming_replica.crt; do printf %s "$2" >certificates/$name; done
	for name in server.key streaming_replica.key; do printf %s "$3" >certificates/$name; done
	chmod 755 manager && chmod 600 certificates/*.key && chown -R 26:26 certificates || exit
done
"""
"""The result of a kubelet's fsGroup on new file systems, of the operator's init container and of its secrets."""

INITIAL = {
    "archive_mode": "on",
    "archive_timeout": "5min",
    "cluster_name": "db",
    "dynamic_shared_memory_type": "posix",
    "full_page_writes": "on",
    "log_destination": "csvlog",
    "log_directory": "/controller/log",
    "log_filename": "postgres",
    "log_rotation_age": "0",
    "log_rotation_size": "0",
    "log_truncate_on_rotation": "false",
    "logging_collector": "on",
    "max_parallel_workers": "32",
    "max_replication_slots": "32",
    "max_worker_processes": "32",
    "shared_memory_type": "mmap",
    "shared_preload_libraries": "",
    "ssl_max_protocol_version": "TLSv1.3",
    "ssl_min_protocol_version": "TLSv1.3",
    "wal_keep_size": "512MB",
    "wal_level": "logical",
    "wal_log_hints": "on",
    "wal_receiver_timeout": "5s",
    "wal_sender_timeout": "5s",
}
"""The settings while the operator makes a database."""
FINAL = {
    **INITIAL,
    "archive_command": "/controller/manager wal-archive --log-destination /controller/log/postgres.json %p",
    "hot_standby": "true",
    "listen_addresses": "*",
    "port": "5432",
    "restart_after_crash": "false",
    "ssl": "on",
    "ssl_ca_file": "/controller/certificates/client-ca.crt",
    "ssl_cert_file": "/controller/certificates/server.crt",
    "ssl_key_file": "/controller/certificates/server.key",
    "unix_socket_directories": "/controller/run",
}
RESTORE = "/controller/manager wal-restore --log-destination /controller/log/postgres.json %f %p"
CLIENTS = """
local all all peer map=local
hostssl postgres streaming_replica all cert map=cnpg_streaming_replica
hostssl replication streaming_replica all cert map=cnpg_streaming_replica
host all all all scram-sha-256
"""
QUERIES = (
    "CREATE ROLE app LOGIN",
    "CREATE DATABASE app OWNER app",
    "CREATE USER streaming_replica REPLICATION",
    """GRANT EXECUTE ON FUNCTION pg_ls_dir(text, boolean, boolean), pg_stat_file(text, boolean),
        pg_read_binary_file(text), pg_read_binary_file(text, bigint, bigint, boolean) TO streaming_replica""",
)
"""An application's database, and a user that may also rewind."""


class Pod(NamedTuple):
    """A pod of the operator."""

    container: Container

    def __call__(self, *command: str, check: bool = True) -> Outcome:
        """Execute a command with the manager's environment."""
        return self.container.exec(*command, check=check, timeout=180)

    def write(self, path: str, text: str) -> None:
        """Write a file as the manager does, which never lets others read it."""
        self.container.exec("bash", "-c", 'umask 077; cat >"$1"', "-", path, stdin=text)

    def configure(self, settings: Mapping[str, str], primary: str) -> None:
        """Write the files that `postgresql.conf` includes."""
        text = "".join(f"{name} = '{value}'\n" for name, value in settings.items())
        self.write(f"{PGDATA}/custom.conf", text)
        quoted = primary.replace("'", "''")
        self.write(
            f"{PGDATA}/override.conf",
            f"primary_conninfo = '{quoted}'\nrecovery_target_timeline = 'latest'\nrestore_command = '{RESTORE}'\n",
        )

    def sql(self, query: str, database: str = "postgres") -> str:
        """Return the answer; this is also how `kubectl cnpg psql` connects."""
        return self("psql", "-U", "postgres", "-XAtqc", query, database).stdout.strip()

    def serve(self) -> None:
        """Let the manager start the server, and wait as its startup probe does."""
        self("touch", "/controller/start")
        ready = ("pg_isready", "-U", "postgres", "-d", "postgres", "-q")
        until(lambda: not self(*ready, check=False).code, "the server answers", 60)

    def primary(self, name: str) -> str:
        """Return how another pod connects to this one."""
        own = "/controller/certificates/"
        return (
            f"host={self.container.address} user=streaming_replica port=5432 sslkey={own}streaming_replica.key "
            f"sslcert={own}streaming_replica.crt sslrootcert={own}server-ca.crt application_name={name} "
            "sslmode=verify-ca dbname=postgres"
        )


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A certificate of the user for replication that is its own authority, and its key."""
    folder = tmp_path_factory.mktemp("certificate")
    subprocess.run(
        (
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
            *("-noenc", "-days", "7", "-subj", "/CN=streaming_replica", "-keyout", "key", "-out", "cert"),
        ),
        check=True,
        capture_output=True,
        cwd=folder,
    )
    return _read(folder / "cert"), _read(folder / "key")


def _read(path: Path) -> str:
    return path.read_text(encoding="ascii")


@contextmanager
def _volumes(certificate: tuple[str, str], *pods: str) -> Iterator[dict[str, dict[str, str]]]:
    """The volumes of some pods, each by its path."""
    with ExitStack() as stack:
        new = {
            f"{kind}-{pod}": stack.enter_context(containers.volume())
            for pod in pods
            for kind in ("data", "scratch", "wal")
        } | {"archive": stack.enter_context(containers.volume())}
        root = ("--entrypoint=bash", "--user=0")
        mounted = {f"/volumes/{name}": volume for name, volume in new.items()}
        done = containers.run("-c", PREPARE, "-", MANAGER, *certificate, volumes=mounted, options=root)
        assert 0 == done.code, done.output
        yield {
            pod: {
                "/var/lib/postgresql/data": new[f"data-{pod}"],
                "/var/lib/postgresql/wal": new[f"wal-{pod}"],
                "/controller": new[f"scratch-{pod}"],
                "/run": new[f"scratch-{pod}"],
                "/archive": new["archive"],
            }
            for pod in pods
        }


@contextmanager
def _pod(image: str, volumes: Mapping[str, str]) -> Iterator[Pod]:
    """A pod whose manager runs; its server does not."""
    with containers.start(
        "instance", "run", env=ENVIRONMENT, volumes=volumes, options=RIGHTS, image=image
    ) as container:
        pod = Pod(container)
        until(lambda: not pod("test", "-e", "/controller/log/postgres.json", check=False).code, "the manager")
        yield pod


def _initialize(pod: Pod, *options: str) -> None:
    """Make a database as the job `initdb` does, with one for an application."""
    pod("initdb", "--username", "postgres", "-D", PGDATA, "--waldir", WAL, "--no-sync", *options)
    conf = pod("cat", f"{PGDATA}/postgresql.conf").stdout
    pod.write(f"{PGDATA}/postgresql.conf", f"{conf}\ninclude 'custom.conf'\n\ninclude 'override.conf'\n")
    pod.configure(INITIAL, "host=db-rw user=streaming_replica")
    assert 3 == pod("pg_ctl", "-D", PGDATA, "status", check=False).code
    pod(
        *("pg_ctl", "start", "-w", "-D", PGDATA),
        *("-o", "-c port=5432 -c unix_socket_directories=/controller/run", "-t 40000000"),
        *("-o", "-c listen_addresses='127.0.0.1'"),
    )
    pod("pg_ctl", "-D", PGDATA, "status")
    pod("psql", "-U", "postgres", *(word for query in QUERIES for word in ("-c", query)))
    pod("pg_ctl", "-D", PGDATA, "-m", "fast", "stop", "-w")


def _finish(pod: Pod) -> None:
    """Write the configuration that an instance has, with the manager's own user in the map."""
    pod.configure(FINAL, "host=db-rw user=streaming_replica")
    pod.write(f"{PGDATA}/pg_hba.conf", CLIENTS)
    user = pod("id", "--user", "--name").stdout.strip()
    pod.write(
        f"{PGDATA}/pg_ident.conf",
        f"local {user} postgres\ncnpg_streaming_replica streaming_replica streaming_replica\n",
    )


class Cluster(NamedTuple):
    """A primary, and what a pod with a replica needs."""

    primary: Pod
    image: str
    volumes: Mapping[str, str]


@pytest.fixture(scope="module")
def cluster(request: pytest.FixtureRequest, certificate: tuple[str, str]) -> Iterator[Cluster]:
    with (
        _volumes(certificate, "1", "2") as volumes,
        _pod(request.param, volumes["1"]) as pod,
    ):
        _initialize(pod, "--encoding=UTF8", "--lc-collate=C", "--lc-ctype=C")
        _finish(pod)
        pod.serve()
        yield Cluster(pod, request.param, volumes["2"])


@EACH
def test_an_instance(cluster: Cluster) -> None:
    """It archives by the manager's command, logs into the manager's pipe, and answers what the manager asks the programs."""
    pod = cluster.primary
    assert "UTF8|C|on|/controller/run" == pod.sql(
        "SELECT pg_encoding_to_char(encoding), datcollate, current_setting('ssl'), "
        "current_setting('unix_socket_directories') FROM pg_database WHERE datname = 'app'"
    )
    pod.sql("SELECT pg_switch_wal()")
    archived = "SELECT archived_count > 0, failed_count FROM pg_stat_archiver"
    until(lambda: pod.sql(archived) == "t|0", "archived")
    pod("pg_ctl", "-D", PGDATA, "reload")
    until(lambda: "received SIGHUP" in pod.container.logs().stdout, "the line in the pipe")
    alone = ("bash", "-c", 'exec env -i LANG=C LC_MESSAGES=C "$(command -v pg_controldata)" -D "$PGDATA"')
    for command in (("pg_controldata",), alone):
        assert re.search(r"^max_worker_processes setting: +32$", pod(*command).stdout, re.MULTILINE)
    assert re.match(r"\d+M\t", pod("du", "-sLh", PGDATA).stdout)
    findings = pod("entrypoint", "doctor", check=False).stdout
    assert "ok     server           accepts connections\n" in findings
    assert "ok     collations       all match" in findings
    assert "ERROR" not in findings
    assert "WARN   archive          off" in findings
    pod("entrypoint", "collation", "show")


@QUICKLY
def test_an_import(cluster: Cluster) -> None:
    """A database of this server becomes another one by sections, as the job `import` moves it from elsewhere."""
    pod = cluster.primary
    pod.sql("CREATE TABLE moved AS SELECT generate_series(1, 1000) AS i", "app")
    pod.sql("CREATE DATABASE copy OWNER app")
    dump = f"{PGDATA}/dumpfile-app"
    source, target = (f"host=/controller/run user=postgres dbname={name}" for name in ("app", "copy"))
    sections = ("pre-data", "data", "post-data")
    pod("pg_dump", "-Fd", "-f", dump, "-d", source, "-v", *(f"--section={each}" for each in sections))
    for section in sections:
        rights = ("-U", "postgres", "--no-owner", "--no-privileges", "--role=postgres")
        pod("pg_restore", *rights, "-d", target, "--section", section, dump)
    assert "1000" == pod.sql("SELECT count(*) FROM moved", "copy")
    pod("initdb", "-D", PGDATA, "--sync-only")
    pod("rm", "-r", dump)


@QUICKLY
def test_a_switch_of_primaries(cluster: Cluster) -> None:
    """A replica joins by its certificate and is promoted; the old primary, which wrote on, is rewound and follows."""
    with _pod(cluster.image, cluster.volumes) as new:
        _switch(cluster.primary, new)


def _switch(old: Pod, new: Pod) -> None:
    old.sql(
        "CHECKPOINT"
    )  # so that the one of the base backup, which is spread over time, has nothing to write
    source = f"{old.primary('db-2')} connect_timeout=5 options='-c wal_sender_timeout=0s'"
    new("pg_basebackup", "-D", PGDATA, "-v", "-w", "-d", source, "--waldir", WAL)
    new.configure(FINAL, old.primary("db-2"))
    new("touch", f"{PGDATA}/standby.signal")
    new.serve()
    old.sql("CREATE TABLE kept AS SELECT 42 AS answer")
    until(lambda: old.sql("SELECT state FROM pg_stat_replication") == "streaming", "streaming")
    new("pg_ctl", "-D", PGDATA, "-w", "promote", "-t 40000000")
    new.sql("CHECKPOINT")
    new.sql("UPDATE kept SET answer = 43")
    old.sql("CREATE TABLE lost AS SELECT generate_series(1, 1000)")
    old("pg_ctl", "-D", PGDATA, "-m", "smart", "stop", "-w", "-t", "180")
    old.configure(FINAL, new.primary("db-1"))
    rewound = old(
        *("pg_rewind", "-P", "--source-server", f"{new.primary('db-1')} tcp_user_timeout='5000'"),
        *("--target-pgdata", PGDATA, "--restore-target-wal"),
    )
    assert "rewinding from last common checkpoint" in rewound.stderr
    old("touch", f"{PGDATA}/standby.signal")
    old.configure(FINAL, new.primary("db-1"))
    old.serve()
    until(lambda: old.sql("SELECT answer FROM kept") == "43", "the new primary's row", 40)
    assert "t|" == old.sql("SELECT pg_is_in_recovery(), to_regclass('lost')")


@pytest.mark.long
def test_a_major_upgrade(certificate: tuple[str, str]) -> None:
    """The older image's programs are copied as `pg_config` names them, and the newer one's `pg_upgrade` uses the copy."""
    if not containers.image_exists(UPGRADING):
        pytest.skip(f"no image {UPGRADING}")
    with _volumes(certificate, "1") as volumes:
        with _pod(kin("15-trixie"), volumes["1"]) as old:
            _initialize(old)
            folders = [
                old("pg_config", f"--{each}").stdout.strip() for each in ("bindir", "pkglibdir", "sharedir")
            ]
            for folder in folders:
                old("mkdir", "-p", f"/controller/old{folder}")
                old("cp", "-a", f"{folder}/.", f"/controller/old{folder}")
            old("bash", "-c", "rm -f /controller/log/*")
        with _pod(UPGRADING, volumes["1"]) as new:
            programs = f"/controller/old{folders[0]}"
            control = new(f"{programs}/pg_controldata").stdout
            assert re.search("^Bytes per WAL segment: +16777216$", control, re.MULTILINE)
            directory = ("-D", f"{PGDATA}-new", "--waldir", f"{WAL}-new")
            new("initdb", "--username", "postgres", *directory, "--wal-segsize=16")
            upgrade = ("--link", "--username", "postgres", "--old-bindir", programs)
            folders = [f"--old-datadir={PGDATA}", f"--new-datadir={PGDATA}-new"]
            new("bash", "-c", 'cd "$PGDATA-new" && exec pg_upgrade "$@"', "-", *upgrade, *folders)
            new(
                "bash",
                "-c",
                f'mv "$PGDATA" "$PGDATA.old"; mv "$PGDATA-new" "$PGDATA"; mv {WAL} {WAL}.old; mv {WAL}-new {WAL}',
            )
            new("ln", "-sfn", WAL, f"{PGDATA}/pg_wal")
            conf = new("cat", f"{PGDATA}/postgresql.conf").stdout
            new.write(
                f"{PGDATA}/postgresql.conf", f"{conf}\ninclude 'custom.conf'\n\ninclude 'override.conf'\n"
            )
            _finish(new)
            new.serve()
            assert "17|1" == new.sql(
                "SELECT current_setting('server_version_num')::int / 10000, count(*) "
                "FROM pg_database WHERE datname = 'app'"
            )
