"""Rows 3.4, 3.13 and 3.14: data in the wrong place, or in an unusable place."""

from __future__ import annotations

import pytest

from containers import FRESH, complaints, create, in_volume, run, serve

AT_VOLUME = {**FRESH, "PGDATA": "/volume/data"}
USED = {"PGDATA": "/volume/data"}
FILE_SYSTEM = "awk '$2 == \"/volume\" {print $3}' /proc/mounts"


@pytest.mark.better
def test_folder_of_another_user(used_volume: str) -> None:
    """With `--user` one message names the folder, its owner, our uid and the file system."""
    system = in_volume(used_volume, FILE_SYSTEM)
    outcome = run(env=USED, volumes={"/volume": used_volume}, options=("--user", "1234"))
    [message] = complaints(outcome)
    assert outcome.code == 1
    for word in ("/volume/data", "999", "1234", system):
        assert word in message


@pytest.mark.better
def test_volume_of_root(volume: str) -> None:
    """The same is true if the folder cannot even be created."""
    system = in_volume(volume, FILE_SYSTEM)
    outcome = run(env=AT_VOLUME, volumes={"/volume": volume}, options=("--user", "1234"))
    [message] = complaints(outcome)
    assert outcome.code == 1
    for word in ("/volume", "1234", system):
        assert word in message


@pytest.mark.better
def test_read_only_volume(volume: str) -> None:
    """The message says that the volume is mounted read-only."""
    outcome = run(env=AT_VOLUME, volumes={"/volume": f"{volume}:ro"})
    [message] = complaints(outcome)
    assert (1, True, True) == (outcome.code, "/volume" in message, "read-only" in message.lower())


@pytest.mark.better
def test_folder_of_the_image_under_another_user(image_env: dict[str, str]) -> None:
    """A uid that does not own the image's folder gets a message; since 18 it creates its own folder."""
    if int(image_env["PG_MAJOR"]) >= 18:
        with serve(env=FRESH, options=("--user", "4242")) as server:
            assert "4242" == server.shell('stat --format %u "$PGDATA"')
        return
    outcome = run(env=FRESH, options=("--user", "4242"))
    [message] = complaints(outcome)
    assert outcome.code == 1
    for word in (image_env["PGDATA"], "999", "4242"):
        assert word in message


@pytest.mark.better
@pytest.mark.parametrize("name", ["lost+found", "notes.txt"])
def test_foreign_files(volume: str, name: str) -> None:
    """A data folder with other files is left alone; the message proposes a folder below it."""
    with create(
        env={**FRESH, "PGDATA": "/volume"}, files={f"/volume/{name}": "x"}, volumes={"/volume": volume}
    ) as container:
        before = container.tree("/volume")
        outcome = container.finish()
        [message] = complaints(outcome)
        assert outcome.code == 1
        assert name in message
        assert "PGDATA=/volume/" in message
        assert before == container.tree("/volume")


def warnings(text: str) -> list[str]:
    """The lines with a warning."""
    return [line for line in text.splitlines() if line.startswith("entrypoint: warning: ")]


@pytest.mark.better
def test_mount_above_the_volume_of_the_image(volume: str, image_env: dict[str, str]) -> None:
    """Up to 17 the data under a mount one level too high is lost with the container: a warning names both."""
    if int(image_env["PG_MAJOR"]) >= 18:
        pytest.skip("from 18 on this is where the mount belongs")
    with serve(volumes={"/var/lib/postgresql": volume}) as container:
        [line] = [line for line in warnings(container.logs().stderr) if "/var/lib/postgresql/data" in line]
        assert "/var/lib/postgresql " in line.replace(",", " ").replace(";", " ").replace(":", " ")


@pytest.mark.better
def test_no_mount_at_all() -> None:
    """Data in the container's own layer is lost with the container: a warning says so."""
    with serve(env={**FRESH, "PGDATA": "/elsewhere/data"}) as container:
        assert [line for line in warnings(container.logs().stderr) if "/elsewhere/data" in line]


def test_right_place_is_not_warned_about(volume: str, image_env: dict[str, str]) -> None:
    """A named volume in the right place causes no warning."""
    with serve(volumes={image_env["PGDATA"]: volume}) as container:
        assert [] == warnings(container.logs().output)
