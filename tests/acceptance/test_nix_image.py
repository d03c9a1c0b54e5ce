"""
The tree of the Nix image, with Debian's binaries (tests/nix_image.py): nothing lies where other images have it.

What the image does is tested by the whole acceptance suite: make acceptance TESTED=nix-postgres:dev-15-nix.
"""

from __future__ import annotations

import posixpath
import re

import pytest

import containers
from containers import FRESH, READY, Container, in_volume, run, serve, start
from layout import layout_of, names

IMAGE = "nix-postgres:dev-15-nix"
DOCKERS = {"/.dockerenv", "/etc/hostname", "/etc/hosts", "/etc/mtab", "/etc/resolv.conf"}
"""What every container gets."""

WITHOUT_SHELL = f'FROM {IMAGE}\nRUN ["/bin/bash", "-c", "rm /usr/bin/sh"]\n'


def _find(*arguments: str) -> set[str]:
    """Return what find lists outside of the store."""
    skip = ("(", "-path", "/nix/store", "-o", "-path", "/proc", "-o", "-path", "/sys", "-o", "-path", "/dev", ")")
    outcome = run("find", "/", *skip, "-prune", "-o", *arguments, "-print", image=IMAGE)
    assert 0 == outcome.code, outcome.output
    return set(outcome.stdout.splitlines())


def test_nothing_but_what_is_listed() -> None:
    """Files and links are those of image/layout.json, and tools; folders are those of it, and what is above these."""
    layout = layout_of(15)
    found = _find("!", "-type", "d") - DOCKERS
    tools = {path for path in found if path.startswith("/usr/bin/")} - names(layout)
    assert {f"/usr/bin/{name}" for name in layout["programs"]["/bin"].split()} <= tools
    walg = {path for path in names(layout) if "wal-g" in path or "walg" in path}
    assert names(layout) - walg <= found - tools <= names(layout)
    folders = {*layout["folders"], *map(posixpath.dirname, found)}
    above = {posixpath.dirname(path) for path in folders}
    for _ in range(5):
        above |= {posixpath.dirname(path) for path in above}
    assert folders | above | {"/nix"} == _find("-type", "d")


def test_nothing_is_loaded_from_elsewhere() -> None:
    """PID 1, the server and its sessions have only files of the store in their memory, the compiler's among them."""
    with serve(image=IMAGE, options=containers.LOOK_INSIDE) as server:
        assert "t" == server.sql("SELECT pg_jit_available()")
        maps = 'for each in /proc/[0-9]*; do cat "$each/maps" 2>/dev/null; done'
        mapped = set(re.findall(r" (/.*)$", server.shell(maps, user="0"), re.MULTILINE))
    assert any(path.endswith("/postgres") for path in mapped)
    assert any("/python3" in path for path in mapped)
    shared = {"/dev/zero (deleted)", "/SYSV"}
    strangers = {path for path in mapped if not path.startswith(("/nix/store/", "/dev/shm/", *shared))}
    assert set() == strangers


@pytest.fixture(scope="module")
def without_shell() -> str:
    ...


def test_what_postgresql_says_without_a_shell(cluster: str) -> None:
    """PostgreSQL by itself starts as ever, and tells of exit code 127 only when the first segment is due."""
