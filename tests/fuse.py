"""
An empty filesystem of the kernel's FUSE, served by a thread of the tests.

It represents mounts from other machines: the kernel shows it with the name of a real one, such as `fuse.sshfs`,
and a program answers every request.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["mounted"]

_HEADER = struct.Struct("=IIQQIIII")
_LOOKUP, _FORGET, _GETATTR, _STATFS, _INIT, _INTERRUPT, _BATCH_FORGET = 1, 2, 3, 17, 26, 36, 42
_DETACH = 2
_libc = ctypes.CDLL(None, use_errno=True)


def _call(code: int) -> None:
    if code:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


@contextmanager
def mounted(place: Path, kind: str, uid: int, mode: int = 0o700) -> Iterator[None]:
    """Mount it on a folder for a block, as a folder of this user."""
    device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other"
    server = threading.Thread(target=_serve, args=(device, uid, stat.S_IFDIR | mode), daemon=True)
    try:
        _call(_libc.mount(b"test", os.fsencode(place), kind.encode(), 0, options.encode()))
        server.start()
        try:
            yield
        finally:
            _call(_libc.umount2(os.fsencode(place), _DETACH))
            server.join(10)
    finally:
        os.close(device)


def _serve(device: int, uid: int, mode: int) -> None:
    """Answer requests until it is unmounted."""
    attributes = struct.pack("=QII6Q10I", 0, 0, 0, 1, *(0,) * 5, *(0,) * 3, mode, 2, uid, uid, 0, 4096, 0)
    answers = {
        _INIT: struct.pack("=IIIIHHIIHHI7I", 7, 31, 65536, 0, 16, 12, 65536, 1, 16, 0, 0, *(0,) * 7),
        _GETATTR: attributes,
        _STATFS: struct.pack("=5Q10I", 1 << 20, 1 << 19, 1 << 19, 9, 9, 4096, 255, 4096, 0, *(0,) * 6),
    }
    with suppress(OSError):  # ENODEV: unmounted
        while request := os.read(device, 1 << 17):
            _, code, number, *_ = _HEADER.unpack_from(request)
            if code in (_FORGET, _BATCH_FORGET, _INTERRUPT):
                continue
            data = answers.get(code, b"")
            error = 0 if data else errno.ENOENT if code == _LOOKUP else errno.ENOSYS
            os.write(device, struct.pack("=IiQ", 16 + len(data), -error, number) + data)
