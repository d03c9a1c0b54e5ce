"""The tree of the Nix image, with Debian's binaries (tests/nix_image.py).

No file is where other images have it. The whole acceptance suite tests what the image does: make acceptance
TESTED=nix-postgres:dev-15-nix.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator

import pytest

import containers
from containers import READY, complaints, in_volume, run, serve, start
from layout import known, layout_of, names

IMAGE = containers.kin("15-nix")
DOCKERS = {"/.dockerenv", "/etc/hostname", "/etc/hosts", "/etc/mtab", "/etc/resolv.conf"}
"""The environment of every container."""


def _find(*arguments: str) -> set[str]:
    """Return the output of find, outside the store."""
    skip = (
        "(",
        "-path",
        "/nix/store",
        "-o",
        "-path",
        "/proc",
        "-o",
        "-path",
        "/sys",
        "-o",
        "-path",
        "/dev",
        ")",
    )
    outcome = run("find", "/", *skip, "-prune", "-o", *arguments, "-print", image=IMAGE)
    assert 0 == outcome.code, outcome.output
    return set(outcome.stdout.splitlines())


def test_only_listed_files_exist() -> None:
    """Files and links are those of image/layout.json and tools; folders are those in it and their parents."""
    layout = layout_of(15)
    found = _find("!", "-type", "d") - DOCKERS
    walg = {path for path in names(layout) if "wal-g" in path or "walg" in path}
    assert names(layout) - walg == {known(path, layout) for path in found} - walg
    folders = {*layout["folders"], *map(posixpath.dirname, found)}
    above = {posixpath.dirname(path) for path in folders}
    for _ in range(5):
        above |= {posixpath.dirname(path) for path in above}
    assert folders | above | {"/nix"} == _find("-type", "d")


def test_nothing_is_loaded_from_elsewhere() -> None:
    """PID 1, the server and its sessions have only files of the store in memory, even the compiler's."""
    with serve(image=IMAGE, options=containers.LOOK_INSIDE) as server:
        assert "t" == server.sql("SELECT pg_jit_available()")
        noted = server.shell("cat $PGDATA/entrypoint.collation")
        assert re.search(r"glibc 2\.\d+, libicui18n\.so\.\d+;", noted), noted
        maps = 'for each in /proc/[0-9]*; do cat "$each/maps" 2>/dev/null; done'
        mapped = set(re.findall(r" (/.*)$", server.shell(maps, user="0"), re.MULTILINE))
    assert any(path.endswith("/postgres") for path in mapped)
    assert any("/python3" in path for path in mapped)
    shared = {"/dev/zero (deleted)", "/SYSV"}
    strangers = {path for path in mapped if not path.startswith(("/nix/store/", "/dev/shm/", *shared))}
    assert set() == strangers


@pytest.fixture(scope="module")
def bare() -> Iterator[str]:
    """The same tree without /bin/sh."""
    with containers.build('FROM IMAGE\nRUN ["/bin/bash", "-c", "rm /bin/sh"]\n', image=IMAGE) as name:
        yield name


@pytest.fixture(scope="module")
def data() -> Iterator[str]:
    """A volume with a cleanly stopped cluster that has the default encoding and locale of the tree."""
    with containers.volume() as name:
        with serve(image=IMAGE, volumes={"/var/lib/postgresql/data": name}) as server:
            assert "UTF8|en_US.utf8" == server.sql(
                "SELECT pg_encoding_to_char(encoding), datcollate FROM pg_database WHERE datname = 'template0'"
            )
            assert 0 == server.stop()
        yield name


def test_postgresql_alone_reports_127_too_late(bare: str, data: str) -> None:
    """Without us the server starts, and only its log reports the error, when the first segment is due."""
    archiving = ("-c", "archive_mode=on", "-c", "archive_command=true")
    options = ("--user", "postgres", "--entrypoint", "postgres")
    with (
        containers.copied_volume(data) as volume,
        start(
            *archiving, volumes={"/var/lib/postgresql/data": volume}, options=options, image=bare
        ) as server,
    ):
        server.says(READY)
        server.sql("SELECT pg_switch_wal()")
        server.says("archive command failed with exit code 127")


def test_we_report_127_before_the_start(bare: str, data: str) -> None:
    """With an archive the start is refused before it writes; without one, the log and doctor report it."""
    mounted = {"/var/lib/postgresql/data": data}
    before = in_volume(data, "find . -type f -exec sha256sum {} + | sort", image=IMAGE)
    with containers.volume() as archive:
        env = {"ARCHIVE_URL": "file:///archive", "ARCHIVE_TOOL": "pgbackrest"}
        refused = run(env=env, volumes={**mounted, "/archive": archive}, image=bare)
        beside = run("doctor", env=env, volumes={**mounted, "/archive": archive}, image=bare)
    (complaint,) = complaints(refused)
    assert "/bin/sh is missing: the server's commands would end with code 127" in complaint
    assert (1, 2) == (refused.code, beside.code)
    assert before == in_volume(data, "find . -type f -exec sha256sum {} + | sort", image=IMAGE)
    with serve(env={}, volumes=mounted, image=bare) as server:
        assert "/bin/sh is missing: the server's commands would end with code 127" in server.logs().stderr
        inside = server.exec("entrypoint", "doctor", "shell", check=False)
        assert 2 == inside.code
    for told in (beside, inside):
        assert "/bin/sh is missing" in told.stdout
        assert "hint: use an image that has /bin/sh" in told.stdout
