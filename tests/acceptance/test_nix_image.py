"""The Nix image, built from nix/image.nix with Debian's binaries (tests/nix_image.py).

No file is where other images have it. The whole acceptance suite tests what the image does: make acceptance
TESTED=nix-postgres:dev-17-nix.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator

import pytest

import containers
from containers import FRESH, READY, complaints, in_volume, run, serve, start
from layout import known, layout_of, names
from majors import DEFAULT, NIX, TAGS
from nix_image import Builder, missing

MAJOR = int(DEFAULT)
IMAGE = containers.kin(NIX)
DOCKERS = {"/.dockerenv", "/etc/hostname", "/etc/hosts", "/etc/mtab", "/etc/resolv.conf"}
"""The environment of every container."""


_BUT_KERNEL = "( -path /proc -o -path /sys -o -path /dev ) -prune -o".split()
_BUT_STORE = "( -path /nix/store -o -path /proc -o -path /sys -o -path /dev ) -prune -o".split()


def _find(*arguments: str) -> set[str]:
    """Return the output of find, outside the store."""
    outcome = run("find", "/", *_BUT_STORE, *arguments, "-print", image=IMAGE)
    assert 0 == outcome.code, outcome.output
    return set(outcome.stdout.splitlines())


def test_only_listed_files_exist() -> None:
    """Files and links are those of image/layout.json and tools; folders are those in it and their parents."""
    layout = layout_of(MAJOR)
    found = _find("!", "-type", "d") - DOCKERS
    walg = {path for path in names(layout) if "wal-g" in path or "walg" in path}
    assert names(layout) - walg == {known(path, layout) for path in found} - walg
    folders = {*layout["folders"], *map(posixpath.dirname, found)}
    above = {posixpath.dirname(path) for path in folders}
    for _ in range(5):
        above |= {posixpath.dirname(path) for path in above}
    assert folders | above | {"/nix"} == _find("-type", "d")


def test_owners_and_modes() -> None:
    """Folders have the owner and mode of image/layout.json, all others are root's; nothing is setuid, and no file writable."""
    layout = layout_of(MAJOR)
    found = run(
        "find", "/", *_BUT_STORE, "-type", "d", "-printf", "%p %u:%g %m\\n", image=IMAGE
    ).stdout.splitlines()
    expected = {
        f"{path} {folder['owner']}:{folder['owner']} {folder['mode']}"
        for path, folder in layout["folders"].items()
    }
    assert expected <= {*found}
    assert {"root:root 755"} == {row.split(" ", 1)[1] for row in {*found} - expected}
    assert "/tmp root:root 1777" in found
    odd = r"( -type f ( -perm /6000 -o -perm /022 ) ) -o ! -user 0 -type f -o -type f -not -perm /444 -o -nouser"
    assert "" == run("find", "/", *_BUT_KERNEL, "(", *odd.split(), ")", "-print", image=IMAGE).stdout


@pytest.mark.parametrize("user", ["999:999", "12345:0", "12345:6789"])
def test_any_user_on_a_read_only_root(user: str) -> None:
    """The image needs nothing but its volume and folders in /run and /tmp, whoever runs it."""
    own = f"uid={user.partition(':')[0]},mode=700"
    folders = ("/tmp", "/run/postgresql", "/run/entrypoint", "/var/lib/postgresql/data")
    mounts = (f"--tmpfs={folder}:{own}" for folder in folders)
    with serve(image=IMAGE, options=("--user", user, "--read-only", *mounts)) as server:
        assert "t" == server.sql("SELECT pg_jit_available()")


def test_a_first_start_copies_the_template() -> None:
    """What Nix's build knows of programs, files and libraries is what a start finds: else initdb makes the cluster."""
    with serve(env=FRESH, image=IMAGE) as server:
        assert "They are copied from the cluster that initdb made for the image." in server.logs().stdout


def test_the_closure() -> None:
    """The store has no compiler, perl, documentation, header or static library, and a bounded number of paths."""
    paths = run("ls", "/nix/store", image=IMAGE).stdout.split()
    packages = {path.partition("-")[2] for path in paths}
    assert len(packages) == len(paths) < 130
    assert [] == sorted(
        name for name in packages if re.search(r"gcc|clang|perl|binutils|-(dev|doc|man|info|debug)\\b", name)
    )
    unwanted = (
        r".*\.(h|a|la|pc|pod|pm|gz|html)|.*/(perl|gcc|cc|ld|clang|pg_regress|pgxs)|.*/share/(doc|man|info)"
    )
    assert (
        ""
        == run("find", "/nix/store", "-regextype", "posix-extended", "-regex", unwanted, image=IMAGE).stdout
    )


def test_built_twice_it_is_the_same() -> None:
    """Everything that is built here, from the program and its cluster to the archive of the image, is built again and compared."""
    builder = Builder(f"nix-postgres-base:{TAGS[DEFAULT]}", real=not missing())
    names = builder.again(f"image-{MAJOR}")
    assert {
        f"nix-postgres-template-{MAJOR}",
        f"nix-postgres-tree-{MAJOR}",
        f"postgresql-{MAJOR}-image",
    } < names


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
