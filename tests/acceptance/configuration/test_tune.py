"""POSTGRES_TUNE=auto: the server's settings follow the container's limits."""

from __future__ import annotations

import json

from containers import FRESH, serve, until

CONF = "/docker-entrypoint-conf.d"
TUNED = {**FRESH, "POSTGRES_TUNE": "auto"}
SMALL = ("--memory", "1g", "--cpus", "2")


def test_the_numbers_and_their_reasons() -> None:
    """The server has the numbers, `config show` shows the reasons, and the log has one line."""
    with serve(env=TUNED, options=SMALL) as container:
        assert "256MB" == container.sql("SHOW shared_buffers")
        rows = {
            row["name"]: row
            for row in json.loads(container.exec("entrypoint", "config", "show", "--json").stdout)
        }
        row = rows["shared_buffers"]
        assert ("256MB", "POSTGRES_TUNE", False) == (row["value"], row["origin"], row["differs"])
        assert "a quarter of 1GB of the container" == row["reason"]
        assert [("128MB", "image")] == [(each["value"], each["origin"]) for each in row["hides"]]
        assert 1 == container.logs().stderr.count("POSTGRES_TUNE: shared_buffers = 256MB")
        text = container.exec("entrypoint", "config", "show").stdout
        assert "the container's limit" in text


def test_an_archive_has_its_share() -> None:
    """With an archive, the server gets the memory that archiving and backups leave."""
    env = {**TUNED, "ARCHIVE_URL": "file:///archive"}
    with serve(env=env, options=(*SMALL, "--mount", "type=volume,destination=/archive")) as container:
        assert "160MB" == container.sql("SHOW shared_buffers")
        text = container.exec("entrypoint", "config", "show").stdout
        assert ["640MB", "128MB", "256MB"] == [
            line.split()[1]
            for line in text.splitlines()
            if line.split()[:1] in (["server"], ["archiving"], ["backups"])
        ]


def test_settings_of_people_override_it() -> None:
    """The cluster's own file, a variable, the conf folder and ALTER SYSTEM all win."""
    files = {
        "/docker-entrypoint-initdb.d/own.sh": "echo \"work_mem = '3MB'\" >> $PGDATA/postgresql.conf\n",
        f"{CONF}/a.conf": "effective_cache_size = 100MB\n",
    }
    env = {**TUNED, "POSTGRES_CONF_maintenance_work_mem": "33MB"}
    with serve(env=env, files=files, options=SMALL) as container:
        names = ("shared_buffers", "work_mem", "effective_cache_size", "maintenance_work_mem")
        assert ["256MB", "3MB", "100MB", "33MB"] == [container.sql(f"SHOW {name}") for name in names]
        container.sql("ALTER SYSTEM SET shared_buffers = '50MB'")
        container.stop()
        container.again()
        assert "50MB" == container.sql("SHOW shared_buffers")


def test_a_hangup_follows_a_new_limit() -> None:
    """After `docker update --memory`, SIGHUP changes what it can, and logs settings that need a restart."""
    import containers

    with serve(env=TUNED, options=("--memory", "1g", "--memory-swap", "4g", "--cpus", "2")) as container:
        assert "64MB" == container.sql("SHOW maintenance_work_mem")
        containers.docker("update", "--memory", "2g", container.name)
        container.kill("HUP")
        container.says("shared_buffers: 256MB → 512MB, needs a restart")
        until(lambda: container.sql("SHOW maintenance_work_mem") == "128MB", "the new size")


def test_off_by_default() -> None:
    """Without the variable, the settings stay PostgreSQL's."""
    with serve(options=SMALL) as container:
        assert "128MB" == container.sql("SHOW shared_buffers")
