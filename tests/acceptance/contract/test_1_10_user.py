"""Row 1.10 of the contract: the container runs as any uid."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import containers
from containers import FRESH, Container, Files, folder, in_volume, run, script, serve

RECORD = 'echo "$(id -u) $(id -g) <$LD_PRELOAD> $HOME"'


@pytest.fixture(scope="module")
def unknown() -> Iterator[Container]:
    """A server of a uid without a name, on its own folder, with init files that report what they see."""
    files: Files = {
        "/volume/data": folder(0o755, 4242),
        "/docker-entrypoint-initdb.d/1.sh": script(f"#!/bin/bash\n{RECORD} > /tmp/executed\n"),
        "/docker-entrypoint-initdb.d/2.sh": f"{RECORD} > /tmp/sourced\n",
        "/docker-entrypoint-initdb.d/3.sql": "CREATE TABLE made (a int);",
    }
    options = ("--user", "4242:4343")
    env = {**FRESH, "PGDATA": "/volume/data"}
    with (
        containers.volume() as name,
        serve(env=env, files=files, volumes={"/volume": name}, options=options) as container,
    ):
        yield container


def test_unknown_user_serves(unknown: Container) -> None:
    """A uid without a name gets a cluster of its own, init files included."""
    assert "0" == unknown.sql("SELECT count(*) FROM made")
    assert ["4242", "4343"] == [
        unknown.process(unknown.postmaster())[name].split()[0] for name in ("Uid", "Gid")
    ]
    assert "700 4242" == unknown.shell("stat --format '%a %u' $PGDATA")


def test_initdb_sees_a_name(unknown: Container) -> None:
    """For initdb the uid has the name postgres."""
    assert 'will be owned by user "postgres"' in unknown.logs().stdout


@pytest.mark.parametrize("how", ["executed", "sourced"])
def test_init_files_run_as_that_user(unknown: Container, how: str) -> None:
    """Init files run as the uid, and without the library that gave it a name."""
    assert ["4242", "4343", "<>"] == unknown.shell(f"cat /tmp/{how}").split()[:3]


def test_server_is_without_the_wrapper(unknown: Container) -> None:
    """The server itself needs no name, and the scratch files of the wrapper are removed."""
    pid = unknown.postmaster()
    variables = unknown.exec("cat", f"/proc/{pid}/environ", user="4242:4343").stdout.split("\0")
    assert [] == [entry for entry in variables if entry.startswith(("LD_PRELOAD", "NSS_WRAPPER"))]
    assert "" == unknown.shell("find /tmp -name 'tmp.*'")


@pytest.mark.parametrize(
    ("user", "name"), [("postgres", "postgres"), ("999:999", "postgres"), ("nobody", "nobody")]
)
def test_known_user_needs_no_wrapper(user: str, name: str) -> None:
    """A uid with a name keeps it; its own library to preload stays."""
    look = {"/docker-entrypoint-initdb.d/1.sh": 'echo "uid $(id -un) <$LD_PRELOAD>"\n'}
    env = {**FRESH, "LD_PRELOAD": "libm.so.6", "PGDATA": "/tmp/data"}
    with serve(env=env, files=look, options=("--user", user)) as container:
        text = container.logs().stdout
        assert f'will be owned by user "{name}"' in text
        assert f"uid {name} <libm.so.6>" in text


def test_passwd_of_the_deployer(volume: str) -> None:
    """A passwd file that names the uid gives it a name."""
    in_volume(volume, "install -d -o 4242 data")
    files = {"/etc/passwd": "root:x:0:0:root:/root:/bin/bash\nme:x:4242:4242::/tmp:/bin/sh\n"}
    env = {**FRESH, "PGDATA": "/volume/data"}
    with serve(env=env, files=files, volumes={"/volume": volume}, options=("--user", "4242")) as container:
        assert 'will be owned by user "me"' in container.logs().stdout


def test_unknown_user_without_wrapper() -> None:
    """Without the library initdb cannot find the user's name."""
    find = run("-c", "ls {/usr,}/lib{/*,}/libnss_wrapper.so 2> /dev/null", options=("--entrypoint", "bash"))
    places = sorted(
        {path.replace("/usr/lib", "/lib").replace("/lib", "/usr/lib", 1) for path in find.stdout.split()}
    )
    outcome = run(env=FRESH, files=dict.fromkeys(places, ""), options=("--user", "4242"))
    assert (1, True) == (outcome.code, "4242" in outcome.stderr)


def test_image_volume_is_open_to_any_user(image_env: dict[str, str]) -> None:
    """Any uid can have its own folder in the image's volume."""
    folder_of_its_own = f"{image_env['PGDATA']}/own"
    with serve(env={**FRESH, "PGDATA": folder_of_its_own}, options=("--user", "4242")) as container:
        assert folder_of_its_own == container.sql("SHOW data_directory")
