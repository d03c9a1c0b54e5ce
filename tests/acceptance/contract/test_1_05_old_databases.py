"""Row 1.5 of the contract: clusters of an older major in the places of older images."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

import containers
from containers import FRESH, Container, Files, create, image_exists, run, serve

OLD = "/var/lib/postgresql"
#: The check in an image of 18; on an older image this has the same logic.
EIGHTEEN = {"PG_MAJOR": "18", "PGDATA": f"{OLD}/18/docker"}
UNUSED_MOUNT = f"{OLD}/data (unused mount/volume)"

NEXT_IMAGE = os.environ.get("NIX_POSTGRES_IMAGE_18", "nix-postgres:dev-18-sid")

LOOK = r"""
find /var/lib/postgresql -name PG_VERSION -delete
for place in $PLACES; do mkdir -p "$place" && echo 15 > "$place/PG_VERSION"; done
for place in $EMPTY; do mkdir -p "$place" && : > "$place/PG_VERSION"; done
source /usr/local/bin/docker-entrypoint.sh
docker_setup_env
printf '%s\n' "${OLD_DATABASES[@]}"
"""


@pytest.fixture(scope="module")
def box() -> Iterator[Container]:
    """A container without a server, whose `/var/lib/postgresql/data` is a mount."""
    with containers.volume() as data, create("sleep", "300", volumes={f"{OLD}/data": data}) as container:
        container.begin()
        yield container


def found(box: Container, places: str = "", **env: str) -> list[str]:
    """What the check for old databases finds with clusters in these places."""
    given = {**EIGHTEEN, "PLACES": places, **env}
    return box.exec("bash", "-c", LOOK, env=given).stdout.split("\n")[:-1]


def test_all_places_in_their_order(box: Container) -> None:
    """The folder itself, its `data`, and the folders of all other majors are reported, in this order."""
    places = [OLD, f"{OLD}/data", f"{OLD}/16/docker", f"{OLD}/17/docker"]
    assert places == found(box, " ".join(reversed(places)))


@pytest.mark.parametrize("place", [OLD, f"{OLD}/data", f"{OLD}/17/docker"])
def test_each_place(box: Container, place: str) -> None:
    """Each place is enough on its own."""
    assert [place] == found(box, place)


def test_unused_mount(box: Container) -> None:
    """A mount at the old place is reported if nothing else was found."""
    assert [UNUSED_MOUNT] == found(box)


def test_empty_version_file_does_not_count(box: Container) -> None:
    """Only a version file with content makes a cluster."""
    assert [UNUSED_MOUNT] == found(box, EMPTY=f"{OLD} {OLD}/17/docker")


def test_own_cluster_ends_the_search(box: Container) -> None:
    """With a cluster of its own, the start ignores older ones."""
    assert [""] == found(box, f"{OLD}/18/docker {OLD}/data")


def test_custom_data_folder_ends_the_search(box: Container) -> None:
    """Only the major's default folder leads to a check."""
    assert [""] == found(box, f"{OLD}/data", PGDATA="/elsewhere")


def test_mount_is_tolerated_before_18(box: Container) -> None:
    """On 17 with a folder by major, only a cluster is a sign of old data, not the image's own volume."""
    seventeen = {"PG_MAJOR": "17", "PGDATA": f"{OLD}/17/docker"}
    assert [""] == found(box, **seventeen)
    assert [f"{OLD}/data"] == found(box, f"{OLD}/data", **seventeen)


def test_start_is_refused() -> None:
    """The message names the place, the threads to read and the mount to use; nothing is initialized."""
    env = {**FRESH, **EIGHTEEN}
    with create(env=env, files={f"{OLD}/data/PG_VERSION": "15\n"}) as container:
        outcome = container.finish()
        assert outcome.code == 1
        for text in (f"{OLD}/data", f"at {OLD}", "/pull/1259", "/issues/37"):
            assert text in outcome.stderr
        assert not [change for change in container.changes() if "PG_VERSION" in change]


@pytest.fixture(scope="module")
def eighteen() -> str:
    """The image with PostgreSQL 18."""
    if not image_exists(NEXT_IMAGE):
        pytest.skip(f"the image {NEXT_IMAGE} is not there")
    return NEXT_IMAGE


def test_eighteen_starts_on_one_mount_above(eighteen: str, volume: str) -> None:
    """18 needs only one mount at `/var/lib/postgresql`; the data goes below it."""
    with serve(image=eighteen, volumes={OLD: volume}) as container:
        assert f"{OLD}/18/docker" == container.sql("SHOW data_directory")
        assert "docker" == container.shell(f"ls {OLD}/18")


@pytest.mark.parametrize("files", [{f"{OLD}/data/PG_VERSION": "15\n"}, {}])
def test_eighteen_refuses_a_mount_at_the_old_place(eighteen: str, volume: str, files: Files) -> None:
    """With or without old data, such a mount would not be used."""
    outcome = run(image=eighteen, env=FRESH, volumes={f"{OLD}/data": volume}, files=files)
    assert (1, True) == (outcome.code, f"{OLD}/data" in outcome.stderr)
