#!/usr/bin/env python3
"""Write official.json anew: the digests of the official Debian images as the registry has them now."""

from __future__ import annotations

import hashlib
import json
import sys
import urllib.request
from pathlib import Path
from typing import Any

PINS = Path(__file__).with_name("official.json")
SUITE = "trixie"
SYSTEMS = {"x86_64-linux": "amd64", "aarch64-linux": "arm64"}
TOKEN = "https://auth.docker.io/token?service=registry.docker.io&scope=repository:library/postgres:pull"  # noqa: S105
MANIFESTS = "https://registry-1.docker.io/v2/library/postgres/manifests"
ACCEPTED = ", ".join(
    f"application/vnd.{kind}+json"
    for kind in (
        "oci.image.index.v1",
        "oci.image.manifest.v1",
        "docker.distribution.manifest.list.v2",
        "docker.distribution.manifest.v2",
    )
)


def fetch(address: str, **headers: str) -> bytes:
    """Return what is at an address."""
    request = urllib.request.Request(address, headers=headers)  # noqa: S310 - https
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
        content: bytes = answer.read()
    return content


def manifest(reference: str, token: str) -> tuple[str, Any]:
    """Return a manifest with its digest; a digest that was asked for is compared."""
    content = fetch(f"{MANIFESTS}/{reference}", Accept=ACCEPTED, Authorization=f"Bearer {token}")
    digest = hashlib.sha256(content).hexdigest()
    if reference.startswith("sha256:") and reference != f"sha256:{digest}":
        sys.exit(f"official.py: the registry's answer for {reference} is {digest}")
    return digest, json.loads(content)


def pin(major: str, token: str) -> dict[str, Any]:
    """Return the digests of one major version."""
    tag = f"{major}-{SUITE}"
    index, listed = manifest(tag, token)
    found: dict[str, Any] = {"tag": tag, "index": index}
    for system, architecture in SYSTEMS.items():
        (row,) = (row for row in listed["manifests"] if row["platform"]["architecture"] == architecture)
        digest, image = manifest(row["digest"], token)
        found[system] = {
            "manifest": digest,
            "config": image["config"]["digest"].removeprefix("sha256:"),
            "layers": [layer["digest"].removeprefix("sha256:") for layer in image["layers"]],
        }
    return found


def main() -> None:
    """Write the file."""
    token = json.loads(fetch(TOKEN))["token"]
    pins = json.loads(PINS.read_text(encoding="utf-8"))
    PINS.write_text(
        json.dumps({major: pin(major, token) for major in pins}, indent=2) + "\n", encoding="utf-8"
    )


if __name__ == "__main__":
    main()
