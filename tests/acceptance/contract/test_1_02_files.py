"""Row 1.2 of the contract: files, folders and tools that others rely on."""

from __future__ import annotations

import pytest

from containers import Container, run

LOOK = """
for path in /docker-entrypoint-initdb.d /var/lib/postgresql /var/lib/postgresql/data /run/postgresql; do
    stat --dereference --format '%n %a %U:%G' "$path"
done
readlink -f /var/run
readlink /usr/local/bin/docker-enforce-initdb.sh
find /docker-entrypoint-initdb.d -mindepth 1
"""


@pytest.fixture(scope="module")
def untouched() -> list[str]:
    """Folders of the image before any start."""
    return run("bash", "-c", LOOK).stdout.splitlines()


@pytest.mark.parametrize(
    "expected",
    [
        "/docker-entrypoint-initdb.d 755 root:root",
        "/var/lib/postgresql 1777 postgres:postgres",
        "/run/postgresql 3777 postgres:postgres",
    ],
)
def test_folders_of_the_image(untouched: list[str], expected: str) -> None:
    """Folders exist with their modes and owners; any uid may write where it needs to."""
    assert expected in untouched


def test_data_folder_of_the_image(untouched: list[str], image_env: dict[str, str]) -> None:
    """Up to 17 any uid can write to the data folder; since 18 the first start creates it."""
    expected = int(image_env["PG_MAJOR"]) < 18
    assert expected == ("/var/lib/postgresql/data 1777 postgres:postgres" in untouched)


def test_init_folder_is_empty(untouched: list[str]) -> None:
    """The folder of init files is empty; `/var/run` and `/run` are the same folder."""
    assert ["/run", "docker-ensure-initdb.sh"] == untouched[-2:]


def test_run_folder_after_a_start(server: Container) -> None:
    """The start removes the write permission of others."""
    assert "3775 postgres:postgres" == server.shell("stat --format '%a %U:%G' /var/run/postgresql")


@pytest.mark.parametrize(
    "program", ["docker-entrypoint.sh", "docker-ensure-initdb.sh", "docker-enforce-initdb.sh", "gosu"]
)
def test_programs_of_the_image(server: Container, program: str) -> None:
    """The programs that belong to the image's interface are where others call them."""
    assert 0 == server.exec("test", "-x", f"/usr/local/bin/{program}", check=False).code


@pytest.mark.parametrize(
    "tool",
    [
        *("/bin/bash", "/bin/sh", "/usr/bin/env"),
        *(
            "mkdir",
            "chmod",
            "find",
            "chown",
            "id",
            "getent",
            "mktemp",
            "cat",
            "ls",
            "gunzip",
            "xzcat",
            "zstd",
            "mountpoint",
            "awk",
        ),
        *("less", "date", "cut", "sed", "grep"),
        *(pytest.param(name, marks=pytest.mark.debian) for name in ("gpg", "perl")),
    ],
)
def test_tools(server: Container, tool: str) -> None:
    """Shells and tools that init files and wrappers use are on PATH."""
    assert 0 == server.exec("bash", "-c", f"command -v {tool}", check=False).code


def test_nss_wrapper_is_where_scripts_look(server: Container) -> None:
    """The library is in one of the folders that scripts search, and is not empty."""
    assert "" != server.shell(
        "for file in {/usr,}/lib{/*,}/libnss_wrapper.so; do [ -s $file ] && echo $file; done; true"
    )
