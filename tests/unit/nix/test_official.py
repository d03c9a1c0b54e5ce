"""The digests of the official images come from the registry's manifests."""

from __future__ import annotations

import hashlib
import json
import runpy
from pathlib import Path
from typing import Any

import pytest

from repository import REPOSITORY


class Registry:
    """Answers like Docker Hub, for two architectures of one image."""

    def __init__(self, *, lies: bool = False) -> None:
        self.contents: dict[str, bytes] = {}
        self.lies = lies
        rows = [
            {
                "digest": self.put(self.image(architecture)),
                "platform": {"architecture": architecture, "os": "linux"},
            }
            for architecture in ("amd64", "arm", "arm64")
        ]
        # signed statements about an image are listed next to it
        rows.insert(1, {"digest": "sha256:0", "platform": {"architecture": "unknown", "os": "unknown"}})
        self.index = json.dumps({"manifests": rows}).encode()
        self.contents["17-trixie"] = self.index

    @staticmethod
    def digest(text: str) -> str:
        """Return the digest of a text in the registry."""
        return "sha256:" + hashlib.sha256(text.encode()).hexdigest()

    def image(self, architecture: str) -> bytes:
        """Return the manifest of one architecture."""
        layers = [{"digest": self.digest(f"{architecture} {number}")} for number in (1, 2)]
        return json.dumps({"config": {"digest": self.digest(architecture)}, "layers": layers}).encode()

    def put(self, content: bytes) -> str:
        """Store a manifest and return its digest."""
        digest = "sha256:" + hashlib.sha256(content).hexdigest()
        self.contents[digest] = content
        return digest

    def fetch(self, address: str, **headers: str) -> bytes:
        """Replace the script's own function."""
        if "auth.docker.io" in address:
            return b'{"token": "t"}'
        assert "Bearer t" == headers["Authorization"]
        reference = address.rpartition("/")[2]
        content = self.contents[reference]
        return content + b" " if self.lies and reference.startswith("sha256:") else content


@pytest.fixture
def pins(tmp_path: Path) -> Path:
    path = tmp_path / "official.json"
    path.write_text('{"17": {}}', encoding="utf-8")
    return path


def _main(registry: Registry, pins: Path) -> None:
    script: dict[str, Any] = runpy.run_path(str(REPOSITORY / "nix/official.py"))
    dockerfile = pins.with_name("Dockerfile")
    dockerfile.write_text("ARG BASE_IMAGE=postgres:17-trixie@sha256:0abc\n", encoding="utf-8")
    majors = pins.with_name("majors.json")
    majors.write_text('{"17": {}, "19": {"preview": true}}', encoding="utf-8")
    script["main"].__globals__.update(fetch=registry.fetch, PINS=pins, DOCKERFILE=dockerfile, MAJORS=majors)
    script["main"]()


def test_digests_are_written(pins: Path) -> None:
    """Index, manifest, config and layers of both architectures are written, in the form that nix/official.nix reads."""
    registry = Registry()
    _main(registry, pins)

    def plain(text: str) -> str:
        return registry.digest(text).removeprefix("sha256:")

    expected = {
        system: {
            "manifest": hashlib.sha256(registry.image(architecture)).hexdigest(),
            "config": plain(architecture),
            "layers": [plain(f"{architecture} 1"), plain(f"{architecture} 2")],
        }
        for system, architecture in (("x86_64-linux", "amd64"), ("aarch64-linux", "arm64"))
    }
    index = hashlib.sha256(registry.index).hexdigest()
    assert {"17": {"tag": "17-trixie", "index": index, **expected}} == json.loads(
        pins.read_text(encoding="utf-8")
    )
    base = f"ARG BASE_IMAGE=postgres:17-trixie@sha256:{index}\n"
    assert base == pins.with_name("Dockerfile").read_text(encoding="utf-8"), "the Dockerfile is updated, too"


def test_a_wrong_manifest_is_refused(pins: Path) -> None:
    """If a manifest does not match its digest, the file stays unchanged."""
    with pytest.raises(SystemExit, match="the registry's answer for sha256:"):
        _main(Registry(lies=True), pins)
    assert '{"17": {}}' == pins.read_text(encoding="utf-8")
