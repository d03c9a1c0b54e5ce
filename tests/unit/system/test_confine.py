"""A confined process reaches its own folders, and nothing else that its user could reach."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from entrypoint.system import confine

REPOSITORY = Path(__file__).resolve().parents[3]
TRIED = """
import json, os, resource, socket, sys
sys.path.insert(0, sys.argv[1])
from entrypoint.system import confine
own, other, outside = sys.argv[2:5], sys.argv[5], os.getppid()
listener = socket.socket(socket.AF_UNIX); listener.bind(f"{other}/socket"); listener.listen()
confine.keep_in([own[0]], sys.executable)
kept = socket.socket(socket.AF_UNIX)
tries = {
    "write": lambda: open(f"{own[0]}/file", "w"),
    "listen": lambda: kept.bind(f"{own[0]}/socket"),
    "signal itself": lambda: os.kill(os.getpid(), 0),
    "limits": lambda: resource.getrlimit(resource.RLIMIT_NOFILE),
    "read of others": lambda: open(f"{other}/file"),
    "write of others": lambda: open(f"{other}/new", "w"),
    "link to others": lambda: open(f"{own[0]}/link"),
    "connect": lambda: socket.socket(socket.AF_UNIX).connect(f"{other}/socket"),
    "internet": lambda: socket.socket(),
    "packets": lambda: socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).connect(f"{other}/socket"),
    "signal": lambda: os.kill(outside, 0),
    "environment": lambda: open(f"/proc/{outside}/environ").read(),
    "limits of others": lambda: resource.prlimit(outside, resource.RLIMIT_NOFILE),
}
def went(what):
    try:
        what()
    except OSError:
        return False
    return True
print(json.dumps([name for name, what in tries.items() if went(what)]))
"""


@pytest.mark.skipif(bool(confine.missing()), reason="this kernel cannot keep a process in")
def test_nothing_else_is_reached(tmp_path: Path) -> None:
    """It reaches no file, socket, process or network; what it needs itself still works."""
    own, other = tmp_path / "own", tmp_path / "other"
    own.mkdir()
    other.mkdir()
    (other / "file").write_text("secret")
    (own / "link").symlink_to(other / "file")
    argv = [sys.executable, "-c", TRIED, str(REPOSITORY), str(own), "", "", str(other)]
    done = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True)
    went = json.loads(done.stdout)
    # Root may measure what other users' processes do.
    assert ["write", "listen", "signal itself", "limits"] == [
        each for each in went if each != "environment" or os.getuid()
    ]
