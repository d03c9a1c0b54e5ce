"""A first start that copies the image's cluster: it equals initdb's result, but is a separate cluster."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pytest

import containers
from containers import FRESH, Container, File, serve, until
from entrypoint import own

COPIED = "They are copied from the cluster that initdb made for the image."
SYNCED: Mapping[str, str] = {"POSTGRES_PASSWORD": "secret"}

CATALOGUE = r"""
for database in template1 postgres template0; do
    psql -qAtX -v ON_ERROR_STOP=1 -U "$1" -d "$database" <<'SQL'
SELECT format('SELECT %L, to_jsonb(t) - ''{relfrozenxid,datfrozenxid}''::text[] FROM %s t ORDER BY 2',
oid::regclass, oid::regclass) FROM pg_class
WHERE relkind = 'r' AND relname !~ '^pg_(authid|statistic)$' ORDER BY relname \gexec
SELECT rolname, rolsuper, rolcanlogin, rolreplication, rolbypassrls, left(rolpassword, 18), oid
FROM pg_authid ORDER BY oid;
SELECT name, setting, source, sourcefile FROM pg_settings ORDER BY name;
SQL
done
"""
"""Every row of every system catalog, with two exceptions: each password has its own salt, and is set in a transaction
before or after rows are frozen; statistics may be newer."""

FILES = rf"""
cd "$PGDATA"
find . -name 'entrypoint.*' -prune -o -path ./{own.FREED} -prune -o -path ./{own.FREED_LATE} -prune -o \
    -path './pg_wal/*' -prune -o -path './pg_stat*/*' -prune -o \
    -not -name '*_fsm' -not -name '*_vm' -not -name pg_internal.init -printf '%p %y %m %U %G\n' | sort
tail -n +1 PG_VERSION postgresql.conf postgresql.auto.conf pg_hba.conf pg_ident.conf base/*/PG_VERSION
pg_controldata | grep -vE '^(Database system identifier|pg_control last|Mock auth|.*checkpoint|Fake LSN|Min.*rec)'
"""


def _is_copy(container: Container) -> bool:
    return COPIED in container.logs().stdout


def _look(container: Container, user: str) -> list[str]:
    """Return everything in which one cluster could differ from another."""
    container.sql("ALTER DATABASE template0 ALLOW_CONNECTIONS true", user=user, database="postgres")
    rows = container.exec("bash", "-euc", CATALOGUE, "-", user).stdout
    files = container.exec("bash", "-euc", FILES, user="postgres").stdout
    # The place in the WAL where an attribute was defined: the template's data checksums cause more WAL.
    return [re.sub(r"pg_attver=\d+", "pg_attver", line) for line in [*rows.splitlines(), *files.splitlines()]]


@pytest.mark.parametrize("arguments", ["", "--data-checksums"])
@pytest.mark.parametrize("user", ["postgres", "app"])
def test_a_copy_equals_the_result_of_initdb(user: str, arguments: str) -> None:
    """Catalogs, settings, files with their modes and owners, and the control file are the same."""
    found = []
    for more in ("", "--encoding=UTF8"):
        words = f"--no-sync {arguments} {more}"
        with serve(env={**FRESH, "POSTGRES_USER": user, "POSTGRES_INITDB_ARGS": words}) as container:
            assert (not more) == _is_copy(container)
            found.append(_look(container, user))
    copied, by_initdb = found
    assert len(by_initdb) > 10_000
    assert ([], []) == (sorted({*copied} - {*by_initdb}), sorted({*by_initdb} - {*copied}))
    assert by_initdb == copied


def _secrets(text: str) -> set[str]:
    """Return the output of pg_controldata that must not be the same in another cluster."""
    return set(
        re.findall(r"^(?:Database system identifier|Mock authentication nonce): +(\S+)$", text, re.MULTILINE)
    )


def test_each_copy_is_a_cluster_of_its_own() -> None:
    """No copies have the same system identifier or nonce, and none has the image's."""
    found: set[str] = set()
    for _ in range(2):
        with serve() as container:
            assert _is_copy(container)
            template = "/usr/local/share/nix-postgres/template/cluster"
            seen = [
                _secrets(container.shell(f"LC_ALL=C pg_controldata {path}"))
                for path in ('"$PGDATA"', template)
            ]
            assert [2, 2] == [len(each) for each in seen]
            found |= seen[0] | seen[1]
    assert 6 == len(found)


@pytest.mark.parametrize("arguments", ["--no-sync", "--no-sync --data-checksums"])
def test_a_copy_is_sound(arguments: str) -> None:
    """All tables and indexes are consistent, and with data checksums all pages have valid ones."""
    with serve(env={**FRESH, "POSTGRES_INITDB_ARGS": arguments}) as container:
        assert _is_copy(container)
        wanted = (
            "on" if "checksums" in arguments or container.sql("SHOW server_version_num") >= "18" else "off"
        )
        assert wanted == container.sql("SHOW data_checksums")
        check = ("pg_amcheck", "-U", "postgres", "--all", "--install-missing", "--heapallindexed")
        assert "" == container.exec(*check, timeout=120).output
        data = container.shell('echo "$PGDATA"')
        with containers.create(
            *("pg_checksums", "--check", "-D", data),
            options=("--volumes-from", container.name, "--user", "postgres"),
        ) as look:
            assert 0 == container.stop()
            outcome = look.finish()
            assert (0 if wanted == "on" else 1) == outcome.code, outcome.output
            assert wanted == "off" or "Bad checksums:  0" in outcome.output


def test_the_wal_of_a_copy_begins_with_its_segment() -> None:
    """Whoever reads WAL by segments finds a record: pg_waldump, and the summarizer, for which WAL is kept."""
    with serve(env=FRESH) as container:
        assert _is_copy(container)
        first = "$(ls \"$PGDATA/pg_wal\" | grep -E '^[0-9A-F]{24}$' | sort | sed -n 1p)"
        dump = container.shell(f'pg_waldump --limit=1 --path="$PGDATA/pg_wal" "{first}"')
        assert "CHECKPOINT_SHUTDOWN" in dump
        if container.sql("SHOW server_version_num") >= "17":
            container.sql("ALTER SYSTEM SET summarize_wal = on")
            container.sql("SELECT pg_reload_conf()")
            container.sql("CHECKPOINT")
            until(
                lambda: container.sql("SELECT count(*) FROM pg_available_wal_summaries()") != "0",
                "the WAL is summarized",
            )


PASSWORDS = ["secret", 'it\'s \\ "this"; --', "zwölf Ä ж", "first\nsecond"]


@pytest.mark.parametrize("password", PASSWORDS)
def test_the_password_is_that_of_the_superuser(password: str) -> None:
    """It works from outside, whatever it contains; another password does not. The log does not show it."""
    env = {**FRESH, "POSTGRES_PASSWORD": password, "POSTGRES_USER": "app"}
    arguments = ("-c", "log_statement=all", "-c", "log_min_duration_statement=0")
    with serve(*arguments, env=env) as container:
        assert _is_copy(container)
        given = password.partition("\n")[0]
        assert "app" == container.sql("SELECT user", user="app", host=container.address, password=given)
        with pytest.raises(AssertionError, match="password authentication failed"):
            container.sql("SELECT user", user="app", host=container.address, password=f"{given}x")
        stored = container.sql("SELECT rolpassword FROM pg_authid WHERE rolname = 'app'", user="app")
        assert stored.startswith("SCRAM-SHA-256$4096:")
        assert stored[:30] not in container.logs().output
        assert given == "secret" or given not in container.logs().output


#: Settings that prevent a connection from changing anything, or from answering; initdb does not know them.
HOSTILE = (
    *("-c", "default_transaction_read_only=on"),
    *("-c", "synchronous_standby_names=*"),
    *("-c", "password_encryption=md5"),
    *("-c", "statement_timeout=1ms"),
)


def test_the_servers_arguments_do_not_matter() -> None:
    """The password is set as initdb sets it, not through a server with the user's settings."""
    with serve(*HOSTILE, env=FRESH) as container:
        assert _is_copy(container)
        stored = "SELECT rolpassword FROM pg_authid WHERE rolname = 'postgres'"
        asked = {"PGOPTIONS": "-c statement_timeout=0"}
        answer = container.exec("psql", "-qAtX", "-U", "postgres", "-c", stored, env=asked).stdout
        assert answer.startswith("SCRAM-SHA-256$")


SAMPLE = "/usr/share/postgresql/postgresql.conf.sample"
OTHERS: Mapping[str, tuple[Mapping[str, str], str, str]] = {
    "locale": ({"POSTGRES_INITDB_ARGS": "--no-sync --locale=C"}, "SHOW lc_messages", "C"),
    "LC_ALL": ({"LC_ALL": "C"}, "SHOW lc_messages", "C"),
    "TZ": ({"TZ": "Europe/Berlin"}, "SHOW log_timezone", "Europe/Berlin"),
    "segments": ({"POSTGRES_INITDB_ARGS": "--no-sync --wal-segsize=1"}, "SHOW wal_segment_size", "1MB"),
    "group": ({"POSTGRES_INITDB_ARGS": "--no-sync --allow-group-access"}, "SELECT 1", "1"),
    "user": ({"POSTGRES_USER": "Mine"}, "SELECT user", "Mine"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_initdb_makes_what_a_copy_cannot_be(name: str) -> None:
    """Other locales, time zones, arguments and names still work."""
    more, query, expected = OTHERS[name]
    env = {**FRESH, **more}
    with serve(env=env) as container:
        assert not _is_copy(container)
        assert expected == container.sql(query, user=env.get("POSTGRES_USER", "postgres"))


def test_a_changed_sample_file_counts() -> None:
    """A changed postgresql.conf.sample in a derived image has its effect."""
    with (
        containers.build(f"FROM IMAGE\nRUN echo 'work_mem = 5MB' >> {SAMPLE}\n") as image,
        serve(image=image) as container,
    ):
        assert not _is_copy(container)
        assert "5MB" == container.sql("SHOW work_mem")
        assert f"{SAMPLE} has no effect" not in container.logs().stderr


def test_a_replaced_sample_file_counts_or_is_reported() -> None:
    """Only in a Nix image the documented path is a link, and initdb does not read a file in its place."""
    text = containers.run("cat", SAMPLE).stdout
    is_link = 0 == containers.run("readlink", SAMPLE).code
    with serve(files={SAMPLE: File(f"{text}\nwork_mem = 5MB\n")}) as container:
        assert is_link == (f"{SAMPLE} has no effect" in container.logs().stderr)
        assert is_link == _is_copy(container)
        assert ("4MB" if is_link else "5MB") == container.sql("SHOW work_mem")


def test_a_derived_image_can_stay_fast() -> None:
    """It makes its own template, and first starts copy that."""
    text = f"FROM IMAGE\nRUN echo 'work_mem = 5MB' >> {SAMPLE}\n"
    with (
        containers.build(f"{text}RUN entrypoint internal template\n") as image,
        serve(image=image) as container,
    ):
        assert _is_copy(container)
        assert "5MB" == container.sql("SHOW work_mem")


SPIED = r"""FROM IMAGE
RUN cd /usr/lib/postgresql/*/bin && mv initdb initdb.real && \
    printf '%s\n' '#!/bin/sh' '[ -e "$PGDATA/entrypoint.unfinished" ] && echo "unfinished $*" >> /tmp/seen' \
    'exec "$0.real" "$@"' > initdb && chmod 755 initdb && entrypoint internal template && rm -f /tmp/seen
"""
"""Its initdb prints how it is called while a first start is not finished."""


def test_a_copy_is_synced_once() -> None:
    """The temporary server does not wait for the disk, and one sync comes before the first start counts."""
    files = {"/docker-entrypoint-initdb.d/1.sh": 'psql -U postgres -Atc "SHOW fsync" >> /tmp/seen\n'}
    cases = {"": ["off", "sync"], "--no-sync": ["on"], "--encoding=UTF8": ["on"]}
    with containers.build(SPIED) as image:
        for args, expected in cases.items():
            env = {**SYNCED, "POSTGRES_INITDB_ARGS": args}
            with serve(env=env, files=files, image=image) as container:
                seen = container.shell("cat /tmp/seen").splitlines()
                assert "on" == container.sql("SHOW fsync")
                assert args == "--no-sync" or "Sync to disk skipped" not in container.logs().output
            assert expected == ["sync" if "unfinished --sync-only -D " in line else line for line in seen]


@pytest.mark.parametrize("size", ["12m", "36m"])
def test_a_full_disk_is_reported(size: str) -> None:
    """If there is no space for a copy the start reports that, and the next one begins from scratch."""
    with containers.small_volume(size) as small:
        env = {**SYNCED, "PGDATA": "/disk/data"}
        for more in ("", "removed what an interrupted start had built"):
            ended = containers.run(env=env, volumes={"/disk": small})
            assert 1 == ended.code
            (problem,) = containers.complaints(ended)
            assert (
                "cannot copy the image's cluster to /disk/data/entrypoint.unfinished/cluster" in problem
                or "No space left" in problem
            )
            assert more in ended.stderr
