"""The small filesystems of these tests: each is what it should be, and nothing of it remains."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import containers
import disks
from disks import MB

_HELD = """
import sys
sys.path.insert(0, "tests")
import disks
with disks.disk("ext4", 64 * disks.MB) as disk:
    print(disk.top, flush=True)
    sys.stdin.read()
"""


def _mounts() -> str:
    return Path("/proc/self/mounts").read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", ["ext4", "ext4-reserved", "xfs", "btrfs", "tmpfs"])
def test_another_program_takes_all_space(kind: str) -> None:
    """Only the wanted number of bytes is free, then none; afterwards the space is back."""
    with disks.disk(kind, 512 * MB) as disk:
        whole = disk.free
        assert whole > 350 * MB
        disk.leave(20 * MB)
        assert 15 * MB < disk.free <= 21 * MB
        disk.leave(0, "more")
        assert disk.free < MB
        disk.give_back()
        disk.give_back("more")
        assert disk.free > 0.9 * whole
    assert str(disk.top) not in _mounts()
    assert not disk.top.exists()


def test_another_program_takes_all_files() -> None:
    """Only the wanted number of files can be created."""
    with disks.disk("ext4", 64 * MB, options=("-N", "400")) as disk:
        disk.take_files(10)
        assert 10 == disk.free_files
        disk.give_back("others")
        assert disk.free_files > 300


def test_a_container_uses_the_disk() -> None:
    """A container's server user may write into the folder that it gets, and sees how large the disk is."""
    with disks.disk("xfs", 512 * MB) as disk:
        text = "stat --file-system --format '%S %b' . && touch here && stat --format %u here"
        outcome = containers.run(
            "-c",
            f"cd /disk && {text}",
            volumes={"/disk": disk.folder},
            options=("--entrypoint", "bash", "--user", "999"),
        )
        block, blocks, owner = outcome.stdout.split()
        assert (disk.size, "999") == (int(block) * int(blocks), owner), outcome.output


def test_nothing_remains_of_killed_tests() -> None:
    """A disk is unmounted and its loop device given back even if the process gets SIGKILL."""
    asked = (sys.executable, "-c", _HELD)
    with subprocess.Popen(asked, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as tests:
        assert tests.stdout is not None
        top = tests.stdout.readline().strip()
        assert top in _mounts()
        device = next(line.split()[0] for line in _mounts().splitlines() if f" {top} " in line)
        tests.kill()
    containers.until(lambda: not os.path.exists(top), "it is unmounted")
    backing = Path(f"/sys/block/{Path(device).name}/loop/backing_file")
    containers.until(
        lambda: not backing.exists() or "nix-postgres-disk" not in backing.read_text(), "detached"
    )
