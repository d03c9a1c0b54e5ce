"""The examples, run as far as their tools are available here; tests/contracts/test_examples.py reads them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import yaml

import containers
import s3
from containers import Container, in_volume, serve, until
from examples import EXAMPLES, READERS, Example
from majors import DEFAULT, TAGS
from nix import Nix
from projects import Compose

#: Needs no server, only the program that systemd asks for units.
QUADLET = """FROM IMAGE
RUN apt-get update && cd /tmp && apt-get download podman && dpkg --extract podman_*.deb /podman
COPY db.container /units/db.container
COPY rootless.container /users/db.container
"""


@pytest.fixture
def compose(tmp_path: Path) -> Iterator[Compose]:
    """The example with the image under test and the tests' storage, and nothing else changed."""
    file = yaml.safe_load((EXAMPLES / "compose.yaml").read_text(encoding="utf-8"))
    db = file["services"]["db"]
    with s3.serve() as server:
        (tmp_path / "secrets").mkdir()
        for secret, value in (("password", "from a file"), ("s3_key", s3.KEY), ("s3_secret", s3.SECRET)):
            (tmp_path / "secrets" / secret).write_text(value, encoding="utf-8")
        ((path, content),) = server.files.items()
        (tmp_path / "ca.pem").write_text(str(content), encoding="ascii")
        mine = server.env("db")
        assert mine["ARCHIVE_URL"] == db["environment"]["ARCHIVE_URL"]
        names = ("AWS_REGION", "AWS_ENDPOINT", "AWS_S3_FORCE_PATH_STYLE", "AWS_CA_BUNDLE")
        db["environment"] |= {name: mine[name] for name in names}
        db["image"] = containers.IMAGE
        db["ports"] = []  # the machine may have a server there
        db["volumes"].append(f"{tmp_path}/ca.pem:{path}:ro")
        db["extra_hosts"] = [server.options[1]]
        project = Compose(tmp_path, file)
        try:
            yield project
        finally:
            project("down", "--volumes", "--timeout", "0")


@pytest.mark.long
@pytest.mark.parametrize("read", READERS)
def test_each_as_docker_runs_it(read: Callable[[Nix], Example], tmp_path: Path) -> None:
    """With its variables, files, volume and rights alone it gets ready, archives to S3 and stops in its time."""
    example = read(Nix(tmp_path / "nix"))
    secrets = {
        "POSTGRES_PASSWORD": "from a file",
        "AWS_ACCESS_KEY_ID": s3.KEY,
        "AWS_SECRET_ACCESS_KEY": s3.SECRET,
    }
    paths = {name: example.environment[f"{name}_FILE"] for name in secrets}
    (folder,) = {path.rpartition("/")[0] for path in paths.values()}
    (data,) = example.volumes
    memory = ("type=tmpfs", "device=tmpfs", "o=gid=999,mode=2777")
    with (
        s3.serve() as server,
        containers.volume() as files,
        containers.volume() as volume,
        ExitStack() as stack,
    ):
        empty = {path: stack.enter_context(containers.volume(*memory)) for path in example.empty}
        ((_, certificate),) = server.files.items()
        contents = {path.rpartition("/")[2]: secrets[name] for name, path in paths.items()}
        for name, content in {**contents, "ca.pem": certificate}.items():
            in_volume(files, f"printf %s '{content}' >{name}")
        in_volume(files, f"{example.secret_rights}; chmod 444 ca.pem")
        in_volume(volume, example.volume)
        mine = {**server.env("db"), "AWS_CA_BUNDLE": f"{folder}/ca.pem"}
        extensions = {
            name for name in example.environment if name.startswith("POSTGRES_CONF_")
        }  # not in every image
        env = {
            **{name: value for name, value in example.environment.items() if name not in extensions},
            **{name: value for name, value in mine.items() if name not in secrets},
        }
        options = (
            *(*example.options, f"--shm-size={example.shared_memory}", *server.options),
            *(f"--volume={name}:{path}:nocopy" for path, name in empty.items()),
        )
        with serve(env=env, volumes={data: volume, folder: files}, options=options) as container:
            ready = container.exec("entrypoint", "ready")
            assert "ready: primary\n" == ready.stdout
            container.exec("entrypoint", "archive", "check")
            if "BACKUP_SCHEDULE" not in example.environment:
                container.exec("entrypoint", "backup", "push", timeout=60)
            until(lambda: _backups(container) > 0, "the first backup", 60)
            assert "1" == container.sql("SELECT 1", host=container.address, password="from a file")
            assert 0 == container.stop(timeout=example.stop_seconds)


def _backups(container: Container) -> int:
    return len(json.loads(container.exec("entrypoint", "backup", "list", "--json").stdout))


@pytest.mark.long
def test_compose(compose: Compose) -> None:
    """It becomes healthy, takes its first backup, stops in its time, and comes back when its volume is gone."""
    container = compose.up()
    found = containers.inspect(container.name)
    assert 256 << 20 == found["HostConfig"]["ShmSize"]
    assert 90 == found["Config"]["StopTimeout"]
    assert "1" == container.sql("SELECT 1", host=container.address, password="from a file")
    container.sql("CREATE TABLE kept AS SELECT 42 AS answer")

    until(lambda: _backups(container) > 0, "the first backup", 90)
    compose("stop")
    assert 0 == container.wait()
    compose("down", "--volumes")
    restored = compose.up(RESTORE_FROM="LATEST")
    assert "42" == restored.sql("SELECT answer FROM kept")


@pytest.mark.long
def test_quadlet() -> None:
    """Podman's own generator makes a unit of it, and says nothing of any key."""
    files: containers.Files = {
        "db.container": (EXAMPLES / "db.container").read_text(encoding="utf-8"),
        "rootless.container": (EXAMPLES / "podman/db.container").read_text(encoding="utf-8"),
    }
    with containers.build(QUADLET, files, image=containers.kin(TAGS[DEFAULT])) as image:
        generator = ("--entrypoint", "/podman/usr/libexec/podman/quadlet")
        for folder, *words in (("/units",), ("/users", "-user")):
            units = {"QUADLET_UNIT_DIRS": folder, "HOME": "/root"}
            made = containers.run(*words, "-dryrun", env=units, options=generator, image=image)
            assert 0 == made.code, made.output
            assert not re.search("unsupported|warn|error", made.output, re.IGNORECASE), made.output
            (command,) = re.findall("^ExecStart=(.*)$", made.stdout, re.MULTILINE)
            for option in ("--shm-size 256m", "--stop-timeout 90", "--secret db-password", "--health-cmd"):
                assert option in command, command
            assert command.endswith("/nix-postgres:17")
            assert ("--userns keep-id:uid=999,gid=999" in command) == ("-user" in words)
