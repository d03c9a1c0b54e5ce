"""The files for platforms, run as far as the platforms are available here: compose and swarm."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

import containers
import s3
from containers import Container, docker, until
from examples import EXAMPLES
from projects import Compose


def test_a_nas(tmp_path: Path) -> None:
    """The project of Synology, with its folders here, serves, is backed up, and comes back without its volume."""
    file = yaml.safe_load((EXAMPLES / "synology/compose.yaml").read_text(encoding="utf-8"))
    db = file["services"]["db"]
    _under_test(db)
    archive = tmp_path / "archive"
    archive.mkdir()
    assert db["volumes"][1].startswith("/volume2/backup/db:")
    db["volumes"][1] = db["volumes"][1].replace("/volume2/backup/db", str(archive))
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets/password").write_text("from a file", encoding="utf-8")
    (tmp_path / "secrets/notify_urls").write_text("", encoding="utf-8")
    project = Compose(tmp_path, file)
    try:
        container = project.up()
        found = containers.inspect(container.name)
        assert (256 << 20, 90) == (found["HostConfig"]["ShmSize"], found["Config"]["StopTimeout"])
        assert not found["HostConfig"]["PortBindings"]
        assert "1" == container.sql("SELECT 1", host=container.address, password="from a file")
        container.sql("CREATE TABLE kept AS SELECT 42 AS answer")
        until(lambda: _backed_up(container), "the first backup", 180)
        project("down", "--volumes")
        assert "42" == project.up(RESTORE_FROM="LATEST").sql("SELECT answer FROM kept")
    finally:
        project("down", "--volumes", "--timeout", "0")


def _under_test(service: dict[str, Any]) -> None:
    """Put the image under test into a service, and its volume where this major version has it."""
    (volume,) = containers.inspect(containers.IMAGE)["Config"]["Volumes"]
    service["image"] = containers.IMAGE
    service["volumes"][0] = f"data:{volume}"


def _backed_up(container: Container) -> bool:
    return bool(json.loads(container.exec("entrypoint", "backup", "list", "--json").stdout))


@contextmanager
def _swarm() -> Iterator[None]:
    """A swarm of this machine alone; one that is there already is not touched."""
    if docker("info", "--format", "{{.Swarm.LocalNodeState}}").stdout.strip() != "inactive":
        pytest.skip("this machine is part of a swarm")
    docker("swarm", "init", "--advertise-addr", "127.0.0.1", "--listen-addr", "127.0.0.1:2377")
    try:
        docker("node", "update", "--label-add", "db=true", docker("node", "ls", "--quiet").stdout.strip())
        yield
    finally:
        docker("swarm", "leave", "--force")


def test_swarm(tmp_path: Path) -> None:
    """The stack runs with real secrets and its config, archives to S3, has its memory, and a rollout loses nothing."""
    file = yaml.safe_load((EXAMPLES / "swarm/stack.yaml").read_text(encoding="utf-8"))
    db = file["services"]["db"]
    _under_test(db)
    (tmp_path / "settings.conf").write_bytes((EXAMPLES / "swarm/settings.conf").read_bytes())
    with s3.serve() as server, _swarm():
        ((path, certificate),) = server.files.items()
        (tmp_path / "ca.pem").write_text(str(certificate), encoding="ascii")
        mine = server.env("db")
        names = ("AWS_REGION", "AWS_ENDPOINT", "AWS_S3_FORCE_PATH_STYLE", "AWS_CA_BUNDLE")
        db["environment"] |= {name: mine[name] for name in names}
        db["volumes"].append(f"{tmp_path}/ca.pem:{path}:ro")
        db["extra_hosts"] = [server.options[1]]
        stack = tmp_path / "stack.yaml"
        stack.write_text(yaml.safe_dump(file), encoding="utf-8")
        values = {
            "db_password": "from swarm",
            "db_s3_key": s3.KEY,
            "db_s3_secret": s3.SECRET,
            "db_notify_urls": "\n",
        }
        assert values.keys() == file["secrets"].keys()
        for name, value in values.items():
            docker("secret", "create", name, "-", stdin=value)
        name = f"nix-postgres-test-{tmp_path.name.replace('_', '-')}"
        deploy = ("stack", "deploy", "--resolve-image", "never", "--compose-file", str(stack), name)
        try:
            docker(*deploy)
            container = _task(name)
            assert "8MB" == container.sql("SHOW work_mem")
            assert (
                "256M\n" == container.exec("sh", "-c", "df -h /dev/shm | awk 'NR == 2 { print $2 }'").stdout
            )
            container.sql("CREATE TABLE kept AS SELECT 42 AS answer")
            until(lambda: _backed_up(container), "the first backup", 180)
            docker("service", "update", "--force", "--detach", f"{name}_db")
            until(lambda: container.state["Status"] != "running", "the old server's end", 90)
            assert 0 == container.state["ExitCode"]
            assert "42" == _task(name).sql("SELECT answer FROM kept")
        finally:
            docker("stack", "rm", name)
            remove = ("volume", "rm", "--force", f"{name}_data")
            until(lambda: docker(*remove, check=False).code == 0, "the end of the stack", 120)


def _tasks(name: str) -> list[str]:
    return docker("ps", "--quiet", "--filter", f"label=com.docker.stack.namespace={name}").stdout.split()


def _task(name: str) -> Container:
    """Return the stack's container when it is healthy."""
    found: list[Container] = []

    def healthy() -> bool:
        with suppress(AssertionError, KeyError):
            found[:] = [Container(each) for each in _tasks(name)]
            return [each.state["Health"]["Status"] for each in found] == ["healthy"]
        return False

    until(healthy, "a healthy container of the stack", 180)
    return found[0]
