"""The image under test has exactly the configuration and files of image/layout.json, however it was built."""

from __future__ import annotations

from typing import Any

import pytest

from containers import SLIM, run
from layout import layout_of

NOT_OURS = {"PG_VERSION"}
"""The version of the server's package."""


@pytest.fixture(scope="module")
def layout(image_env: dict[str, str]) -> Any:
    return layout_of(int(image_env["PG_MAJOR"]))


def _ask(script: str, *arguments: str) -> list[str]:
    """Return the output of a script in the unchanged image; each argument is one path."""
    return run("bash", "-c", script, "bash", *arguments).stdout.splitlines()


@pytest.mark.better
def test_configuration(image_config: dict[str, Any], image_env: dict[str, str], layout: Any) -> None:
    """Entrypoint, command, stop signal, ports, volumes, environment and labels are as described."""
    expected = layout["config"]
    assert expected["environment"] == {name: image_env[name] for name in image_env if name not in NOT_OURS}
    assert expected["entrypoint"] == image_config["Entrypoint"]
    assert expected["cmd"] == image_config["Cmd"]
    assert expected["stop_signal"] == image_config["StopSignal"]
    assert expected["ports"] == list(image_config["ExposedPorts"])
    assert expected["volumes"] == list(image_config["Volumes"])
    assert expected["labels"].items() <= image_config["Labels"].items()


@pytest.mark.better
def test_folders(layout: Any) -> None:
    """Each folder has its owner and mode."""
    expected = [f"{path} {folder['owner']} {folder['mode']}" for path, folder in layout["folders"].items()]
    assert expected == _ask("stat --format '%n %U %a' \"$@\"", *layout["folders"])


def test_links(layout: Any) -> None:
    """Each link has its target."""
    assert list(layout["links"].values()) == _ask('for path; do readlink "$path"; done', *layout["links"])


def test_files(layout: Any) -> None:
    """Each file exists, is readable for the server's user, and is not empty."""
    script = 'for path; do gosu postgres test -s "$path" -a -r "$path" || echo "$path"; done'
    files = [path for path in layout["files"] if not (SLIM and path.endswith("/llvmjit.so"))]
    assert [] == _ask(script, *files)


def test_contents(layout: Any) -> None:
    """Files have the described content."""
    for path, pattern in layout["contains"].items():
        assert [path] == _ask('grep --files-with-matches --extended-regexp "$1" "$2"', pattern, path)


@pytest.mark.better
def test_programs(layout: Any) -> None:
    """Each program can be executed."""
    programs = [f"{folder}/{name}" for folder, names in layout["programs"].items() for name in names.split()]
    assert [] == _ask('for path; do test -x "$path" || echo "$path"; done', *programs)


def test_locales(layout: Any) -> None:
    """Each locale is available: a cluster whose locale is missing does not start."""
    expected = {name.partition("/")[0].replace("UTF-8", "utf8") for name in layout["locales"]}
    assert expected <= set(_ask("locale --all-locales"))


def test_users(layout: Any) -> None:
    """Users and groups have their numbers, homes and shells, which volumes and scripts rely on."""
    users = [
        f"{user['name']}:{user['id']}:{user['id']}:{user['home']}:{user['shell']}" for user in layout["users"]
    ]
    script = 'for name; do getent passwd "$name" | cut -d : -f 1,3,4,6,7; done'
    assert users == _ask(script, *(user["name"] for user in layout["users"]))
    groups = [f"{user['group']}:{user['id']}" for user in layout["users"]]
    script = 'for name; do getent group "$name" | cut -d : -f 1,3; done'
    assert groups == _ask(script, *(user["group"] for user in layout["users"]))
