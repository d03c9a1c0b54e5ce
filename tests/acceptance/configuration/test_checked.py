"""The server's own binary checks all settings at once, before anything is written."""

from __future__ import annotations

import pytest

from containers import FRESH, complaints, create, run

CONF = "/docker-entrypoint-conf.d"


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("wrok_mem", "4MB", ("no setting wrok_mem", "did you mean work_mem?")),
        ("work_mem", "64XB", ('"64XB"', "Valid units", '"MB"')),
        ("shared_buffers", "1kB", ("outside the valid range", "16")),
        ("wal_level", "much", ("minimal, replica, logical",)),
        ("fsync", "maybe", ("on or off",)),
        ("block_size", "8192", ("cannot be changed", "remove block_size")),
        ("data_directory", "/data", ("set PGDATA instead",)),
        ("log_destination", "nowhere", ("log_destination",)),
    ],
)
def test_one_mistake(name: str, value: str, words: tuple[str, ...]) -> None:
    """The message names the variable, the problem and the hint; the volume stays empty."""
    env = {**FRESH, f"POSTGRES_CONF_{name}": value, "PGDATA": "/volume/data"}
    with create(env=env, options=("--mount", "type=volume,destination=/volume")) as container:
        before = container.tree("/volume")
        outcome = container.finish()
        assert before == container.tree("/volume")
    [message] = complaints(outcome)
    assert 1 == outcome.code
    for word in (f"POSTGRES_CONF_{name}", *words):
        assert word in message


@pytest.mark.parametrize("used", [False, True], ids=["first start", "warm start"])
def test_all_mistakes_at_once(used: bool, used_volume: str) -> None:
    """Unknown names and bad values in variables, the conf folder and arguments are reported with their places."""
    env = {"POSTGRES_CONF_wrok_mem": "1", "POSTGRES_CONF_work_mem": "1XB", "POSTGRES_CONF_fsync": "2"}
    env |= {"PGDATA": "/volume/data"} if used else FRESH
    files = {f"{CONF}/a.conf": "port = 5432\njit = 7\nwal_levle = x\n", f"{CONF}/b.conf": "port 1 2\n"}
    volumes = {"/volume": used_volume} if used else {}
    outcome = run("-c", "max_connections=-5", "-c", "nosuch=1", env=env, files=files, volumes=volumes)
    places = [block.split(":")[0] + ":" + block.split(":")[1] for block in complaints(outcome)]
    expected = {
        "POSTGRES_CONF_wrok_mem",
        "POSTGRES_CONF_work_mem",
        "POSTGRES_CONF_fsync",
        f"{CONF}/a.conf:2",
        f"{CONF}/a.conf:3",
        f"{CONF}/b.conf:1",
        "-c max_connections",
        "-c nosuch",
    }
    found = {place if place.startswith("/") else place.partition(":")[0] for place in places}
    assert (1, expected, len(expected)) == (outcome.code, found, len(places))
