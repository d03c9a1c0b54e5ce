"""The examples are what the tools that they are for accept, and say only what the program knows."""

from __future__ import annotations

import configparser
import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import hcl2
import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml

from contracts.tables import REPOSITORY
from entrypoint import archivers, environment, settings, variables
from entrypoint.archivers import pgbackrest, walg
from layout import layout_of
from nix import Nix

EXAMPLES = REPOSITORY / "examples"


class Example(NamedTuple):
    """What one example says of the container."""

    environment: Mapping[str, str]
    secrets: frozenset[str]
    """Files in the container."""
    volumes: frozenset[str]
    shared_memory: str
    stop_seconds: int
    asks_ready: bool
    """Whether its health check is the program's."""


def _compose(_nix: Nix) -> Example:
    service = yaml.safe_load((EXAMPLES / "compose.yaml").read_text(encoding="utf-8"))["services"]["db"]
    return Example(
        service["environment"],
        frozenset(f"/run/secrets/{name}" for name in service["secrets"]),
        frozenset(volume.split(":")[1] for volume in service["volumes"]),
        service["shm_size"],
        int(service["stop_grace_period"].removesuffix("s")),
        service["healthcheck"]["test"] == ["CMD", "entrypoint", "ready"],
    )


def _nomad(_nix: Nix) -> Example:
    with (EXAMPLES / "nomad.hcl").open(encoding="utf-8") as file:
        job = _plain(hcl2.load(file))
    task = job["job"][0]["postgres"]["group"][0]["postgres"]["task"][0]["postgres"]
    (config,) = task["config"]
    (given,) = task["env"]
    assert "SIGINT" == task["kill_signal"]
    return Example(
        given,
        frozenset(f"/{template['destination']}" for template in task["template"]),
        frozenset(mount["destination"] for mount in task["volume_mount"]),
        f"{config['shm_size'] // 2**20}m",
        int(task["kill_timeout"].removesuffix("s")),
        # the temporary server of a first start has no TCP port
        task["service"][0]["check"][0]["type"] == "tcp",
    )


def _plain(value: Any) -> Any:
    """Return HCL without the quotes and marks that the parser leaves."""
    if isinstance(value, dict):
        return {key.strip('"'): _plain(item) for key, item in value.items() if key != "__is_block__"}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value.strip('"') if isinstance(value, str) else value


def _kubernetes(_nix: Nix) -> Example:
    _, stateful = yaml.safe_load_all((EXAMPLES / "kubernetes.yaml").read_text(encoding="utf-8"))
    pod = stateful["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    (memory,) = (volume for volume in pod["volumes"] if mounts[volume["name"]] == "/dev/shm")
    return Example(
        {variable["name"]: variable["value"] for variable in container["env"]},
        frozenset(f"{mounts['secrets']}/{name}" for name in ("password", "s3_key", "s3_secret")),
        frozenset({mounts["data"]}),
        memory["emptyDir"]["sizeLimit"].replace("Mi", "m"),
        pod["terminationGracePeriodSeconds"],
        all(
            container[probe]["exec"]["command"] == ["entrypoint", "ready"]
            for probe in ("startupProbe", "readinessProbe")
        ),
    )


QUADLET = """
    ContainerName Environment HealthCmd HealthInterval HealthStartPeriod Image PublishPort Secret ShmSize StopTimeout
    Volume
""".split()
"""Keys of [Container] that podman-systemd.unit(5) of podman 5 knows."""


def _quadlet(_nix: Nix) -> Example:
    class Several(dict[str, Any]):
        """Keeps all values of a key that is there several times, one a line."""

        def __setitem__(self, key: str, value: Any) -> None:
            super().__setitem__(key, self[key] + value if isinstance(value, list) and key in self else value)

    parser = configparser.RawConfigParser(strict=False, dict_type=Several, delimiters="=")
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(EXAMPLES / "db.container", encoding="utf-8")
    assert {"Unit", "Container", "Service", "Install"} == set(parser.sections())
    container = parser["Container"]
    assert set() == set(container) - set(QUADLET)
    assert int(parser["Service"]["TimeoutStopSec"]) > int(container["StopTimeout"])
    pairs = [line.strip('"').split("=", 1) for line in container["Environment"].splitlines()]
    return Example(
        dict(pairs),
        frozenset(f"/run/secrets/{name}" for name in container["Secret"].splitlines()),
        frozenset(volume.split(":")[1] for volume in container["Volume"].splitlines()),
        container["ShmSize"],
        int(container["StopTimeout"]),
        container["HealthCmd"] == "entrypoint ready",
    )


def _nixos(nix: Nix) -> Example:
    system = nix.value(
        f"""nixpkgs.configurationOf (
          (import {EXAMPLES}/nixos/flake.nix).outputs {{
            self = {{ packages.x86_64-linux.image = self.packages.x86_64-linux.image-17-stream; }};
            nix-postgres = self;
            inherit nixpkgs;
          }}
        ).nixosConfigurations.db""",
    )
    assert all(assertion["assertion"] for assertion in system["assertions"])
    backup = system["systemd"]["services"]["nix-postgres-backup"]
    assert "03:00" == backup["startAt"]
    assert backup["serviceConfig"]["ExecStart"].endswith(
        "/bin/podman exec nix-postgres entrypoint backup push"
    )
    container = system["virtualisation"]["oci-containers"]["containers"]["nix-postgres"]
    assert "nix-postgres:17" == container["image"]
    options = dict(option.removeprefix("--").split("=", 1) for option in container["extraOptions"])
    stop = int(options["stop-timeout"])
    assert system["systemd"]["services"]["podman-nix-postgres"]["serviceConfig"]["TimeoutStopSec"] > stop
    targets = [volume.split(":")[1] for volume in container["volumes"]]
    return Example(
        container["environment"],
        frozenset(path for path in targets if path.startswith("/run/secrets/")),
        frozenset(path for path in targets if not path.startswith("/run/secrets/")),
        options["shm-size"],
        stop,
        options["health-cmd"] == "entrypoint ready",
    )


@pytest.fixture(scope="module", params=[_compose, _nomad, _kubernetes, _quadlet, _nixos])
def example(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Example:
    found: Example = request.param(Nix(tmp_path_factory.mktemp("nix")))
    return found


def test_only_known_variables(example: Example) -> None:
    """Every variable is declared, here or by an archiver, and the program finds nothing wrong with any."""
    given = {
        **example.environment,
        "PGDATA": "/var/lib/postgresql/data",
        "PG_MAJOR": "17",
        "PATH": "/usr/bin",
    }
    read = environment.read(given, lambda path: f"content of {path}")
    assert () == read.problems + read.warnings
    unknown = [
        name
        for name in example.environment
        if not (base := name.removesuffix("_FILE")).startswith("POSTGRES_CONF_")
        and base not in variables.ALL
        and base not in walg.VARIABLES
        and not pgbackrest.is_option(base)
    ]
    assert [] == unknown
    for tool in archivers.NAMES:
        wanted, problems = settings.load(read.values, [], {name: name == tool for name in archivers.NAMES})
        assert [] == problems
        assert wanted.archive is not None
        assert tool == wanted.archive.tool.name


def test_secrets_are_files(example: Example) -> None:
    """No secret stands in the example; each comes from a file that the example puts into the container."""
    named = {value for name, value in example.environment.items() if name.endswith("_FILE")}
    assert example.secrets == named
    secret = {"POSTGRES_PASSWORD", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
    assert {f"{name}_FILE" for name in secret} <= set(example.environment)
    assert set() == secret & set(example.environment)


def test_archives_and_backs_up(example: Example) -> None:
    """WAL goes to S3; base backups are taken, and old ones go."""
    assert "s3://bucket/db" == example.environment["ARCHIVE_URL"]
    assert "BACKUP_RETAIN_DAYS" in example.environment


def test_places_and_times(example: Example) -> None:
    """The volume is the image's; /dev/shm is larger than Docker's; SIGKILL comes later than the program's own end."""
    assert frozenset(layout_of(17)["config"]["volumes"]) == example.volumes
    assert "256m" == example.shared_memory
    own = sum(
        int(variables.ALL[name].default) for name in variables.ALL if re.fullmatch("STOP_.*_TIMEOUT", name)
    )
    assert own < example.stop_seconds
    assert example.asks_ready


def _schema(builtin: str, path: Path) -> None:
    argv = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", builtin, str(path)]
    done = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_compose_schema() -> None:
    """The compose file is one by the specification's schema."""
    _schema("vendor.compose-spec", EXAMPLES / "compose.yaml")


def test_kubernetes_schema() -> None:
    """The objects are what Kubernetes' own schemas say, with no key that they do not have."""
    for thing in yaml.safe_load_all((EXAMPLES / "kubernetes.yaml").read_text(encoding="utf-8")):
        kubernetes_validate.validate(thing, "1.34", strict=True)


def test_every_example_is_looked_at() -> None:
    """Each file in the folder has its reader here."""
    files = {str(path.relative_to(EXAMPLES)) for path in EXAMPLES.rglob("*") if path.is_file()}
    assert {"compose.yaml", "db.container", "kubernetes.yaml", "nixos/flake.nix", "nomad.hcl"} == files


def test_readme_compose_is_valid(tmp_path: Path) -> None:
    """The compose file of the README's first chapter is one as well."""
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    (block,) = (
        part for part in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL) if part.startswith("services:")
    )
    path = tmp_path / "compose.json"
    path.write_text(json.dumps(yaml.safe_load(block)), encoding="utf-8")
    _schema("vendor.compose-spec", path)
