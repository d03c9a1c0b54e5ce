#!/usr/bin/env python3
"""
Update official.json to the current digests of the official Debian images in the registry.

They are those of the released majors in image/majors.json.

Also update the Dockerfile's base, which is one of these images.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
import urllib.request
from pathlib import Path
from typing import Any

PINS = Path(__file__).with_name("official.json")
MAJORS = Path(__file__).resolve().parents[1] / "image/majors.json"
DOCKERFILE = Path(__file__).resolve().parents[1] / "Dockerfile"
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
    """Return the content of a URL."""
    request = urllib.request.Request(address, headers=headers)  # noqa: S310 - https
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
        content: bytes = answer.read()
    return content


def manifest(reference: str, token: str) -> tuple[str, Any]:
    """Return a manifest with its digest; exit if the digest differs from a requested one."""
    content = fetch(f"{MANIFESTS}/{reference}", Accept=ACCEPTED, Authorization=f"Bearer {token}")
    digest = hashlib.sha256(content).hexdigest()
    if reference.startswith("sha256:") and reference != f"sha256:{digest}":
        sys.exit(f"official.py: the registry's answer for {reference} is {digest}")
    return digest, json.loads(content)


def pin(major: str, token: str) -> dict[str, Any]:
    """Return the digests for one major version."""
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
    """Update both files."""
    token = json.loads(fetch(TOKEN))["token"]
    majors = json.loads(MAJORS.read_text(encoding="utf-8"))
    pins = {major: pin(major, token) for major, row in majors.items() if not row.get("preview")}
    PINS.write_text(json.dumps(pins, indent=2) + "\n", encoding="utf-8")
    text = DOCKERFILE.read_text(encoding="utf-8")
    for found in pins.values():
        text = re.sub(rf"({found['tag']}@sha256:)[0-9a-f]*", rf"\g<1>{found['index']}", text)
    DOCKERFILE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
