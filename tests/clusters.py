"""The files in examples/fail-over, each read by a parser for its format: nodes under Patroni."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import hcl2
import yaml

from examples import EXAMPLES, plain
from platforms import interpolated

__all__ = ["FOLDER", "NODES", "Node", "services"]

FOLDER = EXAMPLES / "fail-over"
_OF_NOMAD: Mapping[str, str] = {"node.unique.name": "machine-1", "attr.unique.network.ip-address": "10.0.0.1"}


class Node(NamedTuple):
    """A node that an example describes."""

    example: str
    name: str
    environment: Mapping[str, str]
    secrets: frozenset[str]
    """The files in the container."""
    volumes: tuple[str, ...]
    """What is mounted, as the name of the volume and the place."""
    stop_seconds: int


def services(name: str) -> dict[str, Any]:
    """Return the services of a compose file, with what is used if nobody sets a variable."""
    file = yaml.safe_load(interpolated((FOLDER / name).read_text(encoding="utf-8")))
    found: dict[str, Any] = file["services"]
    return found


def _compose(name: str) -> list[Node]:
    return [
        Node(
            name,
            each,
            service["environment"],
            frozenset(f"/run/secrets/{secret}" for secret in service["secrets"]),
            tuple(service["volumes"]),
            int(service["stop_grace_period"].removesuffix("s")),
        )
        for each, service in services(name).items()
        if each.startswith("db")
    ]


def _nomad() -> list[Node]:
    with (FOLDER / "nomad.hcl").open(encoding="utf-8") as file:
        job = plain(hcl2.load(file))
    group = job["job"][0]["postgres"]["group"][0]["postgres"]
    assert 3 == group["count"]
    task = group["task"][0]["postgres"]
    (given,) = task["env"]
    values = {
        name: re.sub(r"\$\{([^}]+)\}", lambda found: _OF_NOMAD[found[1]], value)
        for name, value in given.items()
    }
    return [
        Node(
            "nomad.hcl",
            "postgres",
            values,
            frozenset(f"/{template['destination']}" for template in task["template"]),
            tuple(f"{mount['volume']}:{mount['destination']}" for mount in task["volume_mount"]),
            int(task["kill_timeout"].removesuffix("s")),
        )
    ]


NODES = (*_compose("compose.yaml"), *_compose("witness.yaml"), *_nomad())
