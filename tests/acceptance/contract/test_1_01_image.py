"""Row 1.1 of the contract: the configuration of the image, and its foundations."""

from __future__ import annotations

from typing import Any

import pytest

from containers import SLIM, Container, run

SAMPLE = "/usr/share/postgresql/postgresql.conf.sample"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Cmd", ["postgres"]),
        ("StopSignal", "SIGINT"),
        ("ExposedPorts", {"5432/tcp": {}}),
    ],
)
def test_command_signal_and_port(image_config: dict[str, Any], name: str, expected: object) -> None:
    """Entrypoint, command, stop signal and port are those that deployments rely on."""
    assert expected == image_config[name]


def test_program_that_starts(image_config: dict[str, Any]) -> None:
    """The entrypoint is the official script, or our program, to which the script's name leads as well."""
    assert image_config["Entrypoint"] in (["docker-entrypoint.sh"], ["entrypoint"])


def test_starts_as_root_in_the_root_folder(image_config: dict[str, Any]) -> None:
    """No user is set, so that the start can fix mounted volumes; no working folder is set either."""
    assert ("", True) == (image_config["User"], image_config["WorkingDir"] in {"", "/"})


def test_no_health_check(image_config: dict[str, Any]) -> None:
    """A health check is up to the deployment, never the image."""
    assert image_config.get("Healthcheck") is None


def test_volume_and_data_folder_follow_the_major(
    image_config: dict[str, Any], image_env: dict[str, str]
) -> None:
    """Up to 17 the volume is the data folder; since 18 it is one level up, with a folder for each major."""
    major = image_env["PG_MAJOR"]
    volume, data = "/var/lib/postgresql/data", "/var/lib/postgresql/data"
    if int(major) >= 18:
        volume, data = "/var/lib/postgresql", f"/var/lib/postgresql/{major}/docker"
    assert ([volume], data) == (list(image_config["Volumes"]), image_env["PGDATA"])


def test_versions_in_the_environment(image_env: dict[str, str], server: Container) -> None:
    """PG_MAJOR and PG_VERSION are the server's; PG_VERSION may have the package's revision."""
    version = server.sql("SHOW server_version").split()[0]
    assert version.split(".")[0] == image_env["PG_MAJOR"]
    assert image_env["PG_VERSION"].startswith(version)
    assert "GOSU_VERSION" in image_env


def test_locale_is_american_english_and_generated(image_env: dict[str, str], server: Container) -> None:
    """LANG is en_US.utf8, and the locale exists."""
    assert ("en_US.utf8", "UTF-8") == (image_env["LANG"], server.shell("locale charmap 2>&1"))


def test_path_ends_with_the_programs_of_the_server(image_env: dict[str, str]) -> None:
    """The server's own programs are the last on PATH."""
    usual = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    assert f"{usual}:/usr/lib/postgresql/{image_env['PG_MAJOR']}/bin" == image_env["PATH"]


@pytest.mark.parametrize(
    "program",
    [
        "docker-entrypoint.sh",
        "postgres",
        "psql",
        "initdb",
        "pg_ctl",
        "pg_isready",
        "pg_dump",
        "pg_controldata",
    ],
)
def test_programs_are_on_the_path(server: Container, program: str) -> None:
    """The programs that users and wrappers call by name are found."""
    assert 0 == server.exec("bash", "-c", f"command -v {program}", check=False).code


def test_postgres_user(server: Container) -> None:
    """User and group have the number 999, which is the owner on existing volumes."""
    assert "postgres:999:999:/var/lib/postgresql:/bin/bash" == server.shell(
        "getent passwd postgres | cut -d: -f1,3,4,6,7"
    )
    assert "postgres:999" == server.shell("getent group postgres | cut -d: -f1,3")


def test_sample_can_be_read_through_the_entrypoint() -> None:
    """`docker run IMAGE cat SAMPLE` prints the sample and nothing else; it listens everywhere."""
    shown = run("cat", SAMPLE)
    assert (0, "") == (shown.code, shown.stderr)
    assert shown.stdout.startswith("# ---")
    assert [line for line in shown.stdout.splitlines() if line.startswith("listen_addresses = '*'")]


def test_versioned_sample_is_the_same_file(server: Container, image_env: dict[str, str]) -> None:
    """The major's folder and the documented path lead to the same sample, which initdb uses."""
    versioned = f"/usr/share/postgresql/{image_env['PG_MAJOR']}/postgresql.conf.sample"
    one, other = server.shell(f"readlink -f {SAMPLE} {versioned}").splitlines()
    assert one == other


def test_server_listens_everywhere_because_of_the_sample(server: Container) -> None:
    """The setting is in the cluster's file, so that a user's own file can replace it."""
    assert "*|configuration file" == server.sql(
        "SELECT setting, source FROM pg_settings WHERE name = 'listen_addresses'"
    )


@pytest.mark.skipif(SLIM, reason="the image has no LLVM")
def test_jit_is_available(server: Container) -> None:
    """The server can compile expressions."""
    assert "t" == server.sql("SET jit = on; SELECT pg_jit_available()")
