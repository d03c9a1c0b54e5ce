"""The content of the files in examples/, each read by a parser for its format."""

from __future__ import annotations

import configparser
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import hcl2
import yaml

from entrypoint.settings import variables
from nix import Nix
from repository import REPOSITORY

__all__ = ["EXAMPLES", "READERS", "Example", "plain", "unit"]

EXAMPLES = REPOSITORY / "examples"


class Example(NamedTuple):
    """The container that one example describes."""

    environment: Mapping[str, str]
    secrets: frozenset[str]
    """The files in the container."""
    volumes: frozenset[str]
    shared_memory: str
    stop_seconds: int
    asks_ready: bool
    """Whether its health check is the program's."""
    options: Sequence[str] = ()
    """Further options for a similar container of docker."""
    secret_rights: str = "chown 0:0 *; chmod 400 *"
    """Owner and modes of the files, as a piece of shell in their folder."""
    volume: str = "true"
    """The preparation of a new volume in its root, as a piece of shell."""
    empty: frozenset[str] = frozenset()
    """Folders in memory, for the group 999."""


def compose(_nix: Nix) -> Example:
    service = yaml.safe_load((EXAMPLES / "compose.yaml").read_text(encoding="utf-8"))["services"]["db"]
    return Example(
        service["environment"],
        frozenset(f"/run/secrets/{name}" for name in service["secrets"]),
        frozenset(volume.split(":")[1] for volume in service["volumes"]),
        service["shm_size"],
        int(service["stop_grace_period"].removesuffix("s")),
        service["healthcheck"]["test"] == ["CMD", "entrypoint", "ready"],
    )


def nomad(_nix: Nix) -> Example:
    with (EXAMPLES / "nomad.hcl").open(encoding="utf-8") as file:
        job = plain(hcl2.load(file))
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


def plain(value: Any) -> Any:
    """Return HCL without the quotes and marks that the parser leaves."""
    if isinstance(value, dict):
        return {key.strip('"'): plain(item) for key, item in value.items() if key != "__is_block__"}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value.strip('"') if isinstance(value, str) else value


def kubernetes(_nix: Nix) -> Example:
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
        _restricted(pod, container),
        f"chown 0:{pod['securityContext']['fsGroup']} *; chmod {pod['volumes'][-1]['secret']['defaultMode']:o} *",
        # the result of a kubelet's fsGroup, on what a new file system contains
        f"mkdir -m 700 lost+found; chown 0:{pod['securityContext']['fsGroup']} . && chmod 2775 .",
        frozenset(mounts[volume["name"]] for volume in pod["volumes"] if "emptyDir" in volume) - {"/dev/shm"},
    )


def _restricted(pod: Any, container: Any) -> tuple[str, ...]:
    """Return the pod's security settings as options of docker."""
    who = pod["securityContext"]
    assert who["runAsNonRoot"]
    assert not container["securityContext"]["allowPrivilegeEscalation"]
    assert container["securityContext"]["readOnlyRootFilesystem"]
    return (
        *("--read-only", "--security-opt=no-new-privileges"),
        *(f"--cap-drop={name}" for name in container["securityContext"]["capabilities"]["drop"]),
        f"--user={who['runAsUser']}:{who['runAsGroup']}",
    )


QUADLET = """
    ContainerName Environment HealthCmd HealthInterval HealthStartPeriod Image PublishPort Secret ShmSize StopTimeout
    UserNS Volume
""".split()
"""Keys of [Container] in podman-systemd.unit(5) of podman 5."""


def quadlet(_nix: Nix) -> Example:
    return unit("db.container")[1]


def unit(name: str) -> tuple[Mapping[str, str], Example]:
    """Return the section [Container] of podman's unit, with its meaning."""

    class Several(dict[str, Any]):
        """Keeps all values of a key that occurs several times, one per line."""

        def __setitem__(self, key: str, value: Any) -> None:
            super().__setitem__(key, self[key] + value if isinstance(value, list) and key in self else value)

    parser = configparser.RawConfigParser(strict=False, dict_type=Several, delimiters="=")
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(EXAMPLES / name, encoding="utf-8")
    assert {"Unit", "Container", "Service", "Install"} == set(parser.sections())
    container = parser["Container"]
    assert set() == set(container) - set(QUADLET)
    assert int(parser["Service"]["TimeoutStopSec"]) > int(container["StopTimeout"])
    pairs = [line.strip('"').split("=", 1) for line in container["Environment"].splitlines()]
    return container, Example(
        dict(pairs),
        frozenset(f"/run/secrets/{each.split(',')[0]}" for each in container["Secret"].splitlines()),
        frozenset(volume.split(":")[1] for volume in container["Volume"].splitlines()),
        container["ShmSize"],
        int(container["StopTimeout"]),
        container["HealthCmd"] == "entrypoint ready",
    )


def nixos(nix: Nix) -> Example:
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


READERS = (compose, nomad, kubernetes, quadlet, nixos)


def stop_timeouts() -> int:
    """Return the seconds after which the program has ended by itself, with the defaults of all its steps."""
    rows = variables.table().items()
    return sum(int(row.default) for name, row in rows if re.fullmatch("STOP_.*_TIMEOUT", name))
