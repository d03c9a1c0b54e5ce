"""Row 1.9 of the contract: the environment of the running server, on both paths."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pytest

from containers import FRESH, LOOK_INSIDE, serve

ENV = {
    **FRESH,
    "POSTGRES_INVENTED": "by the user",
    "PGPASSWORD": "secret",
    "AWS_REGION": "somewhere",
    "WITH_NEWLINE": "one\ntwo",
    "EMPTY": "",
    "LD_PRELOAD": "libm.so.6",
    "HOME": "/nowhere",
}


class Environments(NamedTuple):
    """The kernel's environment of the server and of PID 1, and the one that `docker exec` sees."""

    server: dict[str, str]
    first: dict[str, str]
    executed: str


@pytest.fixture(scope="module")
def both_paths() -> Iterator[dict[str, Environments]]:
    """The environments after a first start and after a second one."""
    files = {"/docker-entrypoint-initdb.d/1.sh": "export FROM_FILE=exported\n"}
    with serve(env=ENV, files=files, options=LOOK_INSIDE) as container:

        def look() -> Environments:
            own, first = container.environ(container.postmaster()), container.environ(1)
            return Environments(own, first, container.shell("env"))

        first_start = look()
        container.stop()
        container.again()
        yield {"first": first_start, "second": look()}


@pytest.mark.parametrize("path", ["first", "second"])
def test_no_variable_of_the_start_is_left(both_paths: dict[str, Environments], path: str) -> None:
    """Neither the server nor PID 1 has a variable that begins with POSTGRES_, whatever its purpose."""
    environments = both_paths[path]
    assert [] == [name for name in environments.server if name.startswith("POSTGRES_")]
    assert [] == [name for name in environments.first if name.startswith("POSTGRES_")]


@pytest.mark.parametrize(
    "path",
    ["first", pytest.param("second", marks=pytest.mark.better)],
)
@pytest.mark.parametrize("who", ["server", "first"])
def test_no_password_is_left(both_paths: dict[str, Environments], path: str, who: str) -> None:
    """PGPASSWORD is removed even if the deployment sets it: officially after a first start, here always."""
    environment: dict[str, str] = getattr(both_paths[path], who)
    assert "PGPASSWORD" not in environment
    assert "secret" not in environment.values()


@pytest.mark.parametrize("path", ["first", "second"])
def test_everything_else_stays(
    both_paths: dict[str, Environments], path: str, image_env: dict[str, str]
) -> None:
    """The server gets all other variables, with strange characters and empty values."""
    names = ("AWS_REGION", "WITH_NEWLINE", "EMPTY", "LD_PRELOAD")
    expected = {**image_env, **{name: ENV[name] for name in names}}
    assert expected == {name: both_paths[path].server.get(name) for name in expected}


def test_exports_of_init_files_stay(both_paths: dict[str, Environments]) -> None:
    """A sourced file's exports reach the server, on the start that sourced it."""
    assert ["exported", None] == [both_paths[path].server.get("FROM_FILE") for path in ("first", "second")]


@pytest.mark.parametrize("path", ["first", "second"])
def test_home(both_paths: dict[str, Environments], path: str) -> None:
    """After the step down from root, HOME is the user's."""
    assert "/var/lib/postgresql" == both_paths[path].server["HOME"]


def test_docker_exec_still_sees_them(both_paths: dict[str, Environments]) -> None:
    """Commands in the container have the container's environment."""
    assert "POSTGRES_PASSWORD=secret" in both_paths["second"].executed.splitlines()
