#!/usr/bin/env python3
"""Build the Nix image with Debian's binaries.

usage: nix_image.py BASE NAME     for example nix_image.py nix-postgres-base:17-trixie nix-postgres:dev-17-nix

Nix runs in a container of the base, with a store in a volume, and builds the flake's own image there: nix/image.nix and
nix/entrypoint.nix as they are, over packages that are copies of the base's binaries (tests/nixpkgs/debian.nix). What
builds with them is a small stand-in for nixpkgs' functions; with COREPKGS and NIX_LIB, the folders of
ekala-project/corepkgs and ekala-project/nix-lib, it is nixpkgs' own stdenv, buildEnv and dockerTools.
"""

from __future__ import annotations

import hashlib
import io
import os
import shlex
import subprocess
import sys
import tarfile
from pathlib import Path

from repository import REPOSITORY

__all__ = ["Builder", "missing"]

SOURCES = ("conf_templates", "docs/how-to", "entrypoint", "flake.nix", "image", "nix", "tests/nixpkgs")
STORE = "nix-postgres-nix-store"
"""The volume. What is there is not built again; `docker volume rm` removes it."""
NIX = """
store = local
sandbox = false
build-users-group =
substitute = false
max-jobs = 4
keep-outputs = true
keep-derivations = true
"""


def missing() -> str:
    """Return why nixpkgs' own functions cannot build here; empty if they can."""
    if not os.environ.get("COREPKGS") or not os.environ.get("NIX_LIB"):
        return "COREPKGS and NIX_LIB name no folders of ekala-project/corepkgs and ekala-project/nix-lib"
    return ""


def docker(*arguments: str, stdin: bytes | None = None) -> str:
    """Return the output of docker; exit with its message if it fails."""
    done = subprocess.run(("docker", *arguments), check=False, capture_output=True, input=stdin)
    if done.returncode:
        sys.exit(f"nix_image.py: docker {arguments[0]} failed: {done.stderr.decode()}{done.stdout.decode()}")
    return done.stdout.decode().strip()


class Builder:
    """Nix in a container of a base image."""

    def __init__(self, base: str, *, real: bool) -> None:
        """Build the container's image if it is not there; `real`: with nixpkgs' own functions."""
        self.base, self.real = base, real
        self.major = base.rpartition(":")[2].partition("-")[0]
        self._image = f"nix-postgres-nix:{base.rpartition(':')[2]}"
        options = subprocess.run(
            REPOSITORY / "image/apt-options", check=True, capture_output=True, text=True
        ).stdout
        arguments = (f"--build-arg=BASE_IMAGE={base}", f"--build-arg=APT_OPTIONS={' '.join(options.split())}")
        recipe = (REPOSITORY / "tests/nixpkgs/Dockerfile").read_bytes()
        docker("build", "--quiet", *arguments, f"--tag={self._image}", "-", stdin=recipe)
        self.sources = self._sources()

    def _sources(self) -> bytes:
        """Return an archive of everything that Nix reads; the same files give the same bytes."""
        subprocess.run((sys.executable, REPOSITORY / "image/wheels/fetch.py"), check=True)
        found = {name: REPOSITORY / name for name in SOURCES}
        if os.environ.get("WALG"):
            found |= {
                f"walg/{name}": Path(os.environ["WALG"], name) for name in ("wal-g", "walg-daemon-client")
            }
        if self.real:
            found |= {"corepkgs": Path(os.environ["COREPKGS"]), "nix-lib": Path(os.environ["NIX_LIB"])}
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            for name, path in sorted(found.items()):
                tar.add(path, name, filter=_plain)
        return archive.getvalue()

    def run(self, script: str, *options: str, output: int = subprocess.PIPE) -> subprocess.Popen[bytes]:
        """Start a script of bash next to the sources, where `$image` evaluates to the flake's packages."""
        image = ["tests/nixpkgs/image.nix"]
        if self.real:
            image += ["--argstr", "corepkgs", "/tmp/in/corepkgs", "--argstr", "nixLib", "/tmp/in/nix-lib"]
        begin = f"""set -euo pipefail
            mkdir /tmp/in && cd /tmp/in && tar -x
            export NIX_CONFIG={shlex.quote(NIX)}
            image={shlex.quote(" ".join(image))}
            python3 tests/nixpkgs/debian.py {self.major} >tests/nixpkgs/debian.json
        """
        argv = ("docker", "run", "--rm", "--interactive", f"--volume={STORE}:/nix", *options, self._image)
        process = subprocess.Popen(
            (*argv, "bash", "-c", begin + script), stdin=subprocess.PIPE, stdout=output
        )
        assert process.stdin is not None
        process.stdin.write(self.sources)
        process.stdin.close()
        process.stdin = None  # so that communicate() does not use it
        return process

    def load(self, package: str, name: str) -> None:
        """Build one of the flake's images and load it under a name."""
        stream = f"""
            root=/nix/roots/{package}-{"real" if self.real else "own"}
            mkdir -p /nix/roots
            nix-build --out-link $root $image --attr {package}-stream >/tmp/log 2>&1 || {{ cat /tmp/log >&2; exit 1; }}
            $root --repo_tag {name} 2>/tmp/log || {{ cat /tmp/log >&2; exit 1; }}
        """
        process = self.run(stream)
        with process.stdout or io.BytesIO() as archive:
            loaded = subprocess.run(
                ("docker", "load", "--quiet"), stdin=archive, check=False, capture_output=True
            )
        if process.wait() or loaded.returncode:
            sys.exit(
                f"nix_image.py: {package} was not built or not loaded; above is why. {loaded.stderr.decode()}"
            )

    def again(self, package: str) -> set[str]:
        """Build everything that is made here for one of the flake's packages again; return its names if each is the same, byte for byte."""
        script = f"""
            package=$(nix-instantiate --quiet $image --attr {package})
            nix-build --no-out-link $package >&2
            names=nix-postgres'|stream|postgresql|glibc-locales|conf.json|layers'
            nix-store --query --requisites $package | grep -E -- "-($names)[^/]*\\.drv$" | xargs nix-store --realise --check
        """
        process = self.run(script)
        same, _ = process.communicate()
        assert process.returncode == 0, (
            f"{package} differs when it is built twice, or was not built; above is why"
        )
        return {line.partition("-")[2] for line in same.decode().splitlines()}


def _plain(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    if Path(entry.name).name in {".git", "__pycache__"}:
        return None
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = ""
    entry.mode = 0o755 if entry.isdir() or entry.mode & 0o100 else 0o644
    return entry


def main() -> None:
    """Make the image unless it exists, from the same base and the same sources."""
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    _, base, name = sys.argv
    builder = Builder(base, real=not missing())
    identity = docker("image", "inspect", "--format={{.Id}}", base)
    recipe = hashlib.sha256(identity.encode() + builder.sources).hexdigest()
    known = ("docker", "image", "inspect", '--format={{index .Config.Labels "recipe"}}', name)
    if subprocess.run(known, check=False, capture_output=True, text=True).stdout.strip() == recipe:
        return
    by = "corepkgs' dockerTools" if builder.real else f"stand-ins for nixpkgs' functions, since {missing()}"
    print(f"{name}: nix-build with the binaries of {base} and {by}", file=sys.stderr)
    builder.load(f"image-{builder.major}", f"{name}-plain")
    docker(
        "build", "--quiet", f"--tag={name}", "-", stdin=f"FROM {name}-plain\nLABEL recipe={recipe}\n".encode()
    )
    docker("image", "rm", f"{name}-plain")
    builder.run(
        "nix-collect-garbage >/dev/null 2>&1", output=subprocess.DEVNULL
    ).wait()  # what older sources made


if __name__ == "__main__":
    main()
