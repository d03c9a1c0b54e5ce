"""Root changes only what it has opened: files that others create cannot control what root does.

A person who runs code as the server's user (COPY … TO PROGRAM) can also cause a restart of the container, as root.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator

import pytest

from containers import (
    FRESH,
    Container,
    File,
    complaints,
    create,
    folder,
    in_volume,
    link,
    run,
    serve,
    start,
    volume,
)

USED = {"PGDATA": "/volume/data"}
SYSTEM = ("/etc", "/etc/passwd", "/root", "/usr/local/sbin")
UNTOUCHED = "755 root 644 root 700 root 755 root"


def _system(container: Container) -> str:
    """Return the modes and owners of root's files."""
    return " ".join(container.shell(f"stat --format '%a %U' {' '.join(SYSTEM)}", user="0").split())


def _theirs(target: str) -> File:
    """Return a link that the server's user has made."""
    return File(target, owner=999, kind=tarfile.SYMTYPE)


@pytest.fixture(scope="module")
def server() -> Iterator[Container]:
    """Yield a server with an archive, whose settings are checked at each start."""
    env = {**FRESH, "ARCHIVE_URL": "file:///archive", "ARCHIVE_TOOL": "pgbackrest"}
    with (
        volume() as archive,
        serve("-c", "work_mem=8MB", env=env, volumes={"/archive": archive}) as container,
    ):
        yield container


def test_planted_files_in_the_runtime_folder(server: Container) -> None:
    """Links and FIFOs with the names of files that a start writes have no effect, and the start removes them."""
    server.shell("umask 022; echo its own > /root/own", user="0")
    server.shell(
        "cd /run/entrypoint; rm -f status.new; ln -s /etc check-1; mkfifo status.new next-backups;"
        "for name in postgresql.conf chosen.conf settings.json pgbackrest.conf; do ln -s /root/own $name.new; done;"
        "ln -sf /root/own archived; ln -s /dev/zero more; mkdir -p deep/er; touch deep/er/file",
        user="postgres",
    )
    assert 0 == server.stop()
    server.again()
    assert UNTOUCHED == _system(server)
    assert "its own" == server.shell("cat /root/own", user="0")
    assert "" == server.shell(
        "cd /run/entrypoint; ls -d check-1 deep more *.new archived next-* 2>&- || true"
    )
    assert "711 postgres" == server.shell("stat --format '%a %U' /run/entrypoint")


def test_a_drill_folder_that_leads_elsewhere(server: Container) -> None:
    """`backup drill` as root refuses a link that the server's user has made, and names the link."""
    server.shell("cd /var/lib/postgresql; rm -rf drill; ln -s /usr/local/sbin drill", user="postgres")
    refused = server.exec("entrypoint", "backup", "drill", check=False)
    server.shell("rm /var/lib/postgresql/drill", user="postgres")
    assert UNTOUCHED == _system(server)
    assert (1, True) == (
        refused.code,
        "/var/lib/postgresql/drill is a link made by uid 999" in refused.stderr,
    )


def test_health_checks_are_never_blocked(server: Container) -> None:
    """As root, `ready` and `status` switch to the server's user, whatever that user has put for postmaster.pid."""
    data = server.shell("echo $PGDATA")
    server.shell(f"cd {data}; mv postmaster.pid kept; mkfifo postmaster.pid", user="postgres")
    try:
        assert 1 == server.exec("entrypoint", "ready", check=False).code
        assert "serving" not in server.exec("entrypoint", "status", check=False).stdout.split()[:2]
    finally:
        server.shell(f"cd {data}; mv kept postmaster.pid", user="postgres")
    assert 0 == server.exec("entrypoint", "ready").code


def test_another_start_next_to_a_running_server(server: Container) -> None:
    """A start on another folder in the same container does not remove the running server's files."""
    # PID 1 takes next-* as soon as a helper has ended.
    names = "ls -A /run/entrypoint | grep -v -e '[.]new$' -e '^next-'"
    before = server.shell(names)
    refused = server.exec("entrypoint", "postgres", "-C", "port", env={"PGDATA": "/tmp/other"}, check=False)
    assert (1, True) == (refused.code, "holds none" in refused.stderr)
    assert before == server.shell(names)


@pytest.mark.parametrize(
    ("variables", "target"),
    [
        ({"PGDATA": "/volume/link"}, "/roots"),
        ({"PGDATA": "/volume/link/data"}, "/root"),
        ({**USED, "POSTGRES_INITDB_WALDIR": "/volume/link"}, "/root"),
        ({**USED, "ARCHIVE_URL": "file:///volume/link", "ARCHIVE_TOOL": "pgbackrest"}, "/usr/local/sbin"),
        (
            {
                **USED,
                "ARCHIVE_URL": "file:///volume/archive",
                "ARCHIVE_TOOL": "pgbackrest",
                "DRILL_FOLDER": "/volume/link/drill",
                "DRILL_SCHEDULE": "0 0 1 1 *",
            },
            "/usr/local/sbin",
        ),
    ],
    ids=["data", "above-data", "wal", "archive", "drill"],
)
def test_links_of_others_are_refused(volume: str, variables: dict[str, str], target: str) -> None:
    """A link of the server's user to root's folder is refused by name, and the folder stays root's."""
    files = {
        "/volume": folder(owner=999),
        "/volume/link": _theirs(target),
        "/volume/archive": folder(owner=999),
        "/roots": folder(),
    }
    with create(env={**FRESH, **variables}, volumes={"/volume": volume}, files=files) as container:
        outcome = container.finish()
        found = container.tree(target)
        assert (0o700 if target == "/root" else 0o755) == found[target.rpartition("/")[2]][0] & 0o7777
        assert {0} == {owner for _, owner, _ in found.values()}
    assert 1 == outcome.code
    assert any("/volume/link is a link made by uid 999" in text for text in complaints(outcome))


def test_links_of_root_are_followed(volume: str) -> None:
    """The deployer may put the data, the WAL and the archive elsewhere, with links that root has made."""
    env = {
        **FRESH,
        "PGDATA": "/links/data",
        "POSTGRES_INITDB_WALDIR": "/links/wal",
        "ARCHIVE_URL": "file:///links/archive",
        "ARCHIVE_TOOL": "pgbackrest",
    }
    files = {
        "/volume/archive": folder(),
        "/links": folder(),
        **{f"/links/{name}": link(f"../volume/{name}") for name in ("data", "wal", "archive")},
    }
    with serve(env=env, volumes={"/volume": volume}, files=files) as container:
        owned = container.shell("stat --format '%U %a' /volume/data /volume/wal /volume/archive")
        assert ["postgres 700"] * 3 == owned.splitlines()
        assert 0 == container.stop()
        container.again()


def test_own_links_need_no_root(used_volume: str) -> None:
    """If everything belongs to the server's user, that user's links are followed: root has nothing to do there."""
    in_volume(used_volume, "ln -s data link && chown -h 999 link . && chown -R 999 data && chmod 700 data")
    with serve(env={"PGDATA": "/volume/link"}, volumes={"/volume": used_volume}) as container:
        assert "42" == container.sql("SELECT answer FROM kept")


@pytest.mark.parametrize(
    ("owner", "made", "words"),
    [
        (999, "mkfifo data/entrypoint.unfinished/state", "a FIFO"),
        (0, "ln -s /dev/zero data/entrypoint.unfinished/state", "a link"),
        (0, "mknod data/entrypoint.unfinished/state c 1 5", "a device"),
        (999, "truncate -s 100M data/entrypoint.unfinished/state", "it has more than"),
        (
            0,
            "rmdir data/entrypoint.unfinished && ln -s /etc data/entrypoint.unfinished",
            "it is not a folder",
        ),
    ],
    ids=["fifo", "endless", "device", "large", "link"],
)
def test_a_file_that_cannot_be_a_record(used_volume: str, owner: int, made: str, words: str) -> None:
    """A file that cannot be the record of a start is refused by name, at once, even if only root may read it."""
    in_volume(
        used_volume, f"mkdir data/entrypoint.unfinished && {made} && chown -hR {owner} data && chmod 700 data"
    )
    outcome = run(env=USED, volumes={"/volume": used_volume})
    assert 1 == outcome.code
    (said,) = complaints(outcome)
    assert "/volume/data/entrypoint.unfinished/state" in said
    assert words in said


def test_a_world_writable_run_folder(volume: str) -> None:
    """If others may write to /run, and /run outlives the container, links that they left are not followed."""
    in_volume(
        volume,
        "chmod 777 . && ln -s /etc entrypoint && mkdir postgresql && chown -h 999 entrypoint postgresql",
    )
    with serve(env=FRESH, volumes={"/run": volume}) as container:
        assert UNTOUCHED == _system(container)
        assert 0 == container.exec("entrypoint", "ready").code
        assert 0 == container.exec("entrypoint", "status", user="nobody").code


def test_a_strangers_status_is_not_believed() -> None:
    """If no entrypoint is running, another user cannot fake the answer to a health check."""
    with start("infinity", options=("--entrypoint", "sleep")) as container:
        container.shell(
            "mkdir -p /tmp/entrypoint; printf 'phase serving 1 -\\nserver 1\\n' > /tmp/entrypoint/status",
            user="nobody",
        )
        for user in ("0", "postgres"):
            assert 2 == container.exec("entrypoint", "ready", user=user, check=False).code


@pytest.mark.parametrize(
    ("made", "words"),
    [
        ("umask 077; echo secret >/given/file", ""),
        ("mkfifo /given/file; (echo secret >/given/file) & true", ""),
        (
            "echo secret >/given/own; chown 1000 /given/own; ln -s own /given/file; chown -h 1000 /given/file",
            "",
        ),
        ("ln -s /dev/zero /given/file", "it has more than"),
        (
            "umask 077; echo root:secret >/closed; ln -s /closed /given/file; chown -h 999 /given/file",
            "is a link made by uid 999",
        ),
    ],
    ids=["for-root-alone", "fifo", "own-link", "endless", "to-a-file-of-root"],
)
def test_files_of_variables(used_volume: str, made: str, words: str) -> None:
    """The file of a variable may be readable by root only, or a FIFO; a user's link may lead to own files only."""
    env = {**USED, "POSTGRES_PASSWORD_FILE": "/given/file"}
    script = f"mkdir -m 755 /given; {made}; exec entrypoint postgres -C port"
    outcome = run("-c", script, env=env, volumes={"/volume": used_volume}, options=("--entrypoint", "bash"))
    assert (not words) == ("5432" in outcome.stdout)
    if words:
        assert any("/given/file" in text and words in text for text in complaints(outcome))
