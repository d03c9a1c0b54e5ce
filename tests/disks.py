"""
Small real filesystems, as volumes that a test can fill.

Each is mounted on this machine, and a container gets a folder of it by a bind mount. The folder beside that one
belongs to another program, which may take space as well. A shell that waits for the end of the tests unmounts
the filesystem, whatever ends them; its file has no name by then, and the loop device is given back by the kernel.
"""

from __future__ import annotations

import functools
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

__all__ = ["MB", "Disk", "disk", "lacking"]

MB = 1024**2
_SERVERS_USER = 999

_MAKE = {
    "ext4": ("mkfs.ext4", "-q", "-F", "-m", "0"),
    "ext4-reserved": ("mkfs.ext4", "-q", "-F"),
    "xfs": ("mkfs.xfs", "-q"),
    "btrfs": ("mkfs.btrfs", "-q"),
}
"""How each kind is made. `ext4-reserved` keeps 5 % for root, as mkfs does unless it is asked not to."""

_UNMOUNT = 'cat >/dev/null; umount --lazy "$1"; rmdir "$1"'
"""Waits until nobody can write to its input any more."""


class Disk(NamedTuple):
    """A small filesystem."""

    top: Path
    """Where it is mounted on this machine."""

    @property
    def folder(self) -> str:
        """The folder for the container, which belongs to the server's user."""
        return str(self.top / "volume")

    @property
    def free(self) -> int:
        """The bytes that a user other than root may still write."""
        found = os.statvfs(self.top)
        return found.f_bavail * found.f_frsize

    @property
    def size(self) -> int:
        """The bytes of the whole filesystem."""
        found = os.statvfs(self.top)
        return found.f_blocks * found.f_frsize

    @property
    def free_files(self) -> int:
        """The files that can still be created."""
        return os.statvfs(self.top).f_favail

    def take(self, count: int, name: str = "other") -> None:
        """Let another program write a file of this many bytes, or as many as there are."""
        file = self._others(name)
        try:
            os.posix_fallocate(file, 0, max(1, count))
        except OSError:
            os.ftruncate(file, 0)
            self._write(file, count)
        finally:
            os.close(file)
            self._sync()

    def grow(self, count: int = 16 * MB, name: str = "other") -> int:
        """Let another program write this many more bytes, in small pieces, or as many as fit; return how many did."""
        file = os.open(self.top / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            return self._write(file, count)
        finally:
            os.close(file)

    def grow_until(self, left: int, name: str = "other") -> None:
        """Let another program write, at up to 160 MB/s, until only this many bytes are free."""
        while (free := self.free) > left:
            if not self.grow(min(8 * MB, free - left), name):
                return  # the rest is for the filesystem itself
            time.sleep(0.05)

    def leave(self, count: int, name: str = "other") -> None:
        """Let another program write until only this many bytes are free."""
        self.take(self.free - count, name)

    def fill_up(self) -> None:
        """Let another program take every last byte: what the filesystem had set aside comes back bit by bit."""
        for number in range(8):
            for size in (MB, 4096, 512):
                try:
                    with open(self.top / f"rest-{number}", "ab", buffering=0) as rest:
                        while True:
                            rest.write(bytes(size))
                except OSError:
                    continue
            self._sync()
        assert self.free < MB // 4

    def take_files(self, left: int, name: str = "others") -> None:
        """Let another program create files until only this many can still be created."""
        folder = self.top / name
        folder.mkdir(exist_ok=True)
        begin = len(os.listdir(folder))
        for number in range(begin, begin + self.free_files - left):
            (folder / str(number)).touch()

    def give_back(self, name: str = "other") -> None:
        """Remove what another program has written."""
        subprocess.run(("rm", "-rf", self.top / name), check=True)
        self._sync()

    def away(self) -> None:
        """Make the container's folder one that its user may not enter, as if its storage were away."""
        os.chown(self.folder, 0, 0)
        os.chmod(self.folder, 0o700)

    def back(self) -> None:
        """Undo `away`."""
        os.chown(self.folder, _SERVERS_USER, _SERVERS_USER)

    def _sync(self) -> None:
        # Without it, btrfs has not counted yet what was written and removed.
        subprocess.run(("sync", "--file-system", self.top), check=True)

    def _others(self, name: str) -> int:
        # A file for root only; its blocks come from what every user may take, since `leave` counts these.
        return os.open(self.top / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)

    def _write(self, file: int, count: int) -> int:
        """Write this many bytes, or until the filesystem is full."""
        done = 0
        try:
            while done < count:
                done += os.write(file, bytes(min(MB, count - done)))
        except OSError:
            pass
        return done


@functools.cache
def _can_mount(kind: str) -> bool:
    """Return whether this machine has loop devices and the programs and drivers for this kind."""
    try:
        with _mounted(kind, 512 * MB, (), ()):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False


def lacking() -> list[str]:
    """Return a line for each kind of filesystem that this machine cannot have: the tests then use memory."""
    if os.geteuid() != 0:
        return ["tests/disks.py: only root can mount filesystems; run the tests of full disks as root"]
    if not os.path.exists("/dev/loop-control"):
        missing = ["have loop devices (/dev/loop-control)"]
    else:
        missing = [f"make or mount {kind}" for kind in ("ext4", "xfs", "btrfs") if not _can_mount(kind)]
    instead = "the tests of full disks use a filesystem in memory (tmpfs) instead"
    return [f"tests/disks.py: this machine cannot {each}; {instead}" for each in missing]


@contextmanager
def disk(kind: str, size: int, options: Sequence[str] = (), mount: Sequence[str] = ()) -> Iterator[Disk]:
    """
    Yield a filesystem of this kind and this many bytes.

    `options` are those of its mkfs, `mount` those with which it is mounted. With `tmpfs`, it is in memory.
    """
    if kind != "tmpfs" and not _can_mount(kind):
        kind, options, mount = "tmpfs", (), ()
    with _mounted(kind, size, options, mount) as top:
        made = Disk(top)
        os.mkdir(made.folder)
        made.back()
        os.chmod(made.folder, 0o700)
        yield made


@contextmanager
def _mounted(kind: str, size: int, options: Sequence[str], mount: Sequence[str]) -> Iterator[Path]:
    with ExitStack() as stack:
        top = Path(tempfile.mkdtemp(prefix="nix-postgres-disk-"))
        stack.enter_context(_unmounted_at_the_end(top))
        if kind == "tmpfs":
            given = ",".join((f"size={size}", *mount))
            subprocess.run(("mount", "-t", "tmpfs", "-o", given, "tests", top), check=True)
        else:
            with tempfile.NamedTemporaryFile(dir="/var/tmp", prefix="nix-postgres-disk-") as file:
                file.truncate(size)
                subprocess.run((*_MAKE[kind], *options, file.name), check=True, capture_output=True)
                # The kernel gives back a loop device made by mount when it is unmounted.
                given = ",".join(("loop", *mount))
                subprocess.run(("mount", "-o", given, file.name, top), check=True, capture_output=True)
        yield top


@contextmanager
def _unmounted_at_the_end(top: Path) -> Iterator[None]:
    """Unmount a folder at the end of the block, or of this process if that is sooner."""
    keeper = subprocess.Popen(
        ("sh", "-c", _UNMOUNT, "-", top),
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield
    finally:
        assert keeper.stdin is not None
        keeper.stdin.close()
        keeper.wait()
