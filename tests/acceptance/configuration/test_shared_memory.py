"""/dev/shm of 64 MB, Docker's default, and parallel queries that need more."""

from __future__ import annotations

import json

import pytest

from containers import FRESH, Container, in_volume, serve

BIG = {**FRESH, "POSTGRES_CONF_work_mem": "256MB"}
POSIX = {**BIG, "POSTGRES_CONF_dynamic_shared_memory_type": "posix"}
JOIN = """
SET max_parallel_workers_per_gather = 2; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0; SET enable_mergejoin = off; SET enable_nestloop = off;
SELECT count(*) FROM numbers a JOIN numbers b USING (number);
"""


def join(container: Container) -> tuple[int, str]:
    """Return the exit code and the output of a parallel hash join of two million rows."""
    container.sql(
        "CREATE TABLE numbers WITH (autovacuum_enabled = off) AS SELECT generate_series(1, 2000000) AS number"
    )
    container.sql("ANALYZE numbers")
    plan = container.sql(JOIN.replace("SELECT count", "EXPLAIN SELECT count"))
    assert "Parallel Hash Join" in plan
    asked = ("psql", "-XAtq", "-U", "postgres", "-v", "ON_ERROR_STOP=1", "-c", JOIN)
    outcome = container.exec(*asked, check=False, timeout=120)
    return outcome.code, outcome.output


def test_a_join_that_fails_with_posix() -> None:
    """With PostgreSQL's default type the query fails, after a warning in the log."""
    with serve(env=POSIX, options=("--shm-size", "64m")) as container:
        code, words = join(container)
        assert (1, True) == (code, "could not resize shared memory segment" in words)
        log = container.logs().stderr
    assert "/dev/shm has 64MB" in log
    assert "--shm-size=" in log
    assert "sysv, which" not in log


def test_the_same_join_works() -> None:
    """A new cluster gets a type without that limit; its origin and reason are shown, and the log says it once."""
    with serve(env=BIG, options=("--shm-size", "64m")) as container:
        assert (0, "2000000") == (join(container)[0], container.sql(JOIN))
        assert ("sysv", "image") == shown(container)[:2]
        assert "/dev/shm has 64MB" in shown(container)[2]
        assert 1 == container.logs().stderr.count("dynamic_shared_memory_type = sysv")
        container.sql("SELECT pg_reload_conf()")
        assert "0" == container.sql("SELECT count(*) FROM pg_settings WHERE pending_restart")
        assert "contains errors" not in container.logs().stderr


def shown(container: Container) -> tuple[str, str, str]:
    """Return the value, origin and reason of the type."""
    rows = json.loads(container.exec("entrypoint", "config", "show", "--json").stdout)
    [row] = [each for each in rows if each["name"] == "dynamic_shared_memory_type"]
    return row["value"], row["origin"], row["reason"]


@pytest.fixture
def older_volume(used_volume: str) -> str:
    """A volume whose cluster has the line that initdb writes."""
    in_volume(
        used_volume,
        "sed -i 's/^dynamic_shared_memory_type.*/dynamic_shared_memory_type = posix/' data/*.conf",
    )
    return used_volume


def test_an_older_cluster(older_volume: str) -> None:
    """If anything is rendered, it gets the same type as a new cluster; its own file stays as it is."""
    env = {"PGDATA": "/volume/data", "POSTGRES_CONF_work_mem": "256MB"}
    with serve(env=env, volumes={"/volume": older_volume}) as container:
        assert (0, "2000000") == (join(container)[0], container.sql(JOIN))
        assert ("sysv", "/dev/shm") == shown(container)[:2]
        container.kill("HUP")
        container.says("reloaded; no setting changes")
        assert "contains errors" not in container.logs().stderr
    assert "1" == in_volume(
        older_volume, "grep -c '^dynamic_shared_memory_type = posix' data/postgresql.conf"
    )


def test_a_warning_for_an_older_cluster(older_volume: str) -> None:
    """If nothing sets anything, nothing changes; the warning names the setting."""
    with serve(env={"PGDATA": "/volume/data"}, volumes={"/volume": older_volume}) as container:
        assert ("posix", "/run/entrypoint/postgresql.conf") == (
            container.sql("SHOW dynamic_shared_memory_type"),
            container.sql("SHOW config_file"),
        )
        assert "-e POSTGRES_CONF_dynamic_shared_memory_type=sysv" in container.logs().stderr


@pytest.mark.parametrize(
    ("options", "expected"),
    [(("--shm-size", "1g"), "posix"), ((), "sysv")],
    ids=["enough", "docker's default"],
)
def test_the_type_changes_only_if_dev_shm_is_too_small(options: tuple[str, ...], expected: str) -> None:
    """PostgreSQL's own defaults can request more than Docker gives, but less than a gigabyte."""
    with serve(options=options) as container:
        assert expected == container.sql("SHOW dynamic_shared_memory_type")


def test_a_persons_choice_stays() -> None:
    """From the next start on, ALTER SYSTEM overrides the entrypoint's choice."""
    with serve() as container:
        container.sql("ALTER SYSTEM SET dynamic_shared_memory_type = 'mmap'")
        container.stop()
        container.again()
        assert "mmap" == container.sql("SHOW dynamic_shared_memory_type")
