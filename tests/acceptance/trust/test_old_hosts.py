"""On old kernels and in strict sandboxes, with read-only mounts or missing capabilities, a start works or names the lack."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest

from containers import FRESH, complaints, in_volume, run, serve

USED = {"PGDATA": "/volume/data"}


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EPERM], ids=["ENOSYS", "EPERM"])
def test_without_files_in_memory(tmp_path: Path, number: int) -> None:
    """Linux before 3.17 has no memfd_create, and a sandbox may forbid it: everything works, and no file is left."""
    # Docker before 20.10.10 refuses clone3 in the same way, and so every program that glibc starts with posix_spawn.
    names = ["memfd_create"] if number == errno.ENOSYS else ["memfd_create", "clone3"]
    denied = {"names": names, "action": "SCMP_ACT_ERRNO", "errnoRet": number}
    profile = tmp_path / "profile.json"
    profile.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [denied]}))
    files = {"/docker-entrypoint-initdb.d/1.sql": "CREATE TABLE kept AS SELECT 42 AS answer;"}
    with serve(env=FRESH, files=files, options=("--security-opt", f"seccomp={profile}")) as container:
        seen = container.exec(
            "/usr/local/lib/nix-postgres/python3", "-ISc", "import os; os.memfd_create('x')", check=False
        ).stderr  # otherwise the test would prove nothing
        assert "Errno" in seen
        assert 0 == container.stop()
        container.again()
        assert "42" == container.sql("SELECT answer FROM kept")
        assert 0 == container.exec("entrypoint", "collation", "show").code
        assert "" == container.shell("find /dev/shm /tmp /run -name 'entrypoint-*'")
        assert 0 == container.exec("entrypoint", "ready").code
        text = container.logs().output
    assert "refused" not in text
    assert "cannot" not in text


def test_a_read_only_configuration_of_another_owner(used_volume: str, tmp_path: Path) -> None:
    """A postgresql.conf mounted read-only over the cluster's own is accepted and reported; so is a file in a folder."""
    conf = tmp_path / "postgresql.conf"
    conf.write_text(in_volume(used_volume, "cat data/postgresql.conf") + "\nwork_mem = 7MB\n")
    conf.chmod(0o644)
    in_volume(used_volume, "mkdir data/conf.d && chown 999:999 data/conf.d")
    folder = tmp_path / "conf.d"
    folder.mkdir(mode=0o755)
    (folder / "a.conf").write_text("maintenance_work_mem = 9MB\n")
    mounts = (
        *("--volume", f"{conf}:/volume/data/postgresql.conf:ro"),
        *("--volume", f"{folder}:/volume/data/conf.d:ro"),
    )
    # The second time something else is wrong as well, so root goes through the whole folder.
    for disorder in ("true", "chown 1234 data/base"):
        in_volume(used_volume, disorder)
        with serve(env=USED, volumes={"/volume": used_volume}, options=mounts) as container:
            assert "7MB" == container.sql("SHOW work_mem")
            assert "postgres" == container.shell("stat -c %U /volume/data/base")
            text = container.logs().stderr
        told = next(line for line in text.splitlines() if "mounted read-only" in line)
        assert "/volume/data/postgresql.conf" in told
        assert "/volume/data/conf.d" in told
    conf.chmod(0o600)
    refused = run(env=USED, volumes={"/volume": used_volume}, options=mounts)
    assert 1 == refused.code
    expected = (
        "/volume/data/postgresql.conf is mounted read-only, and uid 999 cannot read it: it belongs to uid 0"
    )
    assert any(expected in problem for problem in complaints(refused))


@pytest.mark.parametrize("capability", ["CHOWN", "SETUID", "SETGID"])
def test_a_missing_capability_is_named(volume: str, capability: str) -> None:
    """If root lacks a capability for a fresh volume, the message names it and suggests nothing that would not help."""
    outcome = run(
        env={**FRESH, "PGDATA": "/volume"}, volumes={"/volume": volume}, options=("--cap-drop", capability)
    )
    assert 1 == outcome.code
    assert any(f"the container lacks the capabilities {capability}" in text for text in complaints(outcome))
    assert f"--cap-add {capability}" in outcome.stderr
    assert "chmod" not in outcome.stderr
