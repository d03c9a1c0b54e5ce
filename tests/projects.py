"""Projects of docker compose, and stacks of docker swarm."""

from __future__ import annotations

import subprocess
import uuid
from pathlib import Path
from typing import Any

import yaml

from containers import Container, until

__all__ = ["Compose"]


class Compose:
    """A project of docker compose, in a folder of its own."""

    def __init__(self, folder: Path, services: dict[str, Any]) -> None:
        """Refer to a folder, where the file is written."""
        self.file = folder / "compose.yaml"
        self.file.write_text(yaml.safe_dump(services), encoding="utf-8")
        self.name = f"nix-postgres-test-{uuid.uuid4().hex[:8]}"
        self.service = services["services"].get("db")
        plugin = subprocess.run(("docker", "compose", "version"), check=False, capture_output=True)
        self.program = ("docker-compose",) if plugin.returncode else ("docker", "compose")

    def __call__(self, *words: str) -> str:
        """Return what compose answers."""
        options = ("--file", str(self.file), "--project-name", self.name)
        done = subprocess.run((*self.program, *options, *words), check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    @property
    def container(self) -> Container:
        """The service's container."""
        return Container(self("ps", "--all", "--quiet", "db").strip())

    def up(self, **more: str) -> Container:
        """Start with more variables, and wait for its health."""
        services = yaml.safe_load(self.file.read_text(encoding="utf-8"))
        services["services"]["db"]["environment"] |= more
        self.file.write_text(yaml.safe_dump(services), encoding="utf-8")
        self("up", "--detach")
        container = self.container
        until(lambda: container.state["Health"]["Status"] == "healthy", "healthy", 90)
        return container
