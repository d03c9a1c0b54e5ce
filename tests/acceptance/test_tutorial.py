"""Pages that begin in an empty folder, or where README.md ends, work as they are written, with docker compose."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

import containers
import pages
from pages import Project

PSQL = "docker compose exec db psql --username postgres --tuples-only --no-align"
READY = "until docker compose exec db entrypoint ready; do sleep 1; done"
ORDERS = (
    "CREATE TABLE orders AS SELECT * FROM (VALUES (1, 'tea'), (2, 'coffee'), (3, 'cake')) AS o (id, what)"
)


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Project]:
    """The empty folder of somebody who reads."""
    with pages.project(tmp_path / "reader") as made:
        yield made


@pytest.fixture
def orders(reader: Project) -> Project:
    """The folder of somebody who did what README.md says, and has three orders."""
    reader.begin()
    _sql(reader, ORDERS)
    return reader


def _sql(reader: Project, *statements: str) -> str:
    code, printed = reader.run(" ".join([PSQL, *(f"--command {shlex.quote(each)}" for each in statements)]))
    assert code == 0, printed
    return printed.strip()


def test_the_tutorial(reader: Project) -> None:
    """Every command of the tutorial prints what the page shows, up to the rows that come back."""
    reader.follow("docs/tutorial.md")


def test_the_tutorial_of_an_upgrade(reader: Project) -> None:
    """A volume of the official layout is upgraded, brought back, and upgraded again."""
    reader.follow("docs/tutorial-upgrade.md", {"postgres:15-trixie": containers.kin("15-trixie")})


def test_the_first_page(reader: Project) -> None:
    """With README.md alone a newcomer has a database with a backup, and has it back after the volume is gone."""
    first, restore = reader.parts("README.md", "## The volume is gone")
    for step in first:
        if not step.what.startswith("make "):
            reader.do(step)
        if "up --detach" in step.what:
            reader.do(pages.Step("run", READY, "…\nready: primary\n"))
            reader.do(pages.BACKED_UP)
    assert reader.run("docker compose down --volumes")[0] == 0
    for step in restore:
        reader.do(step)
    assert reader.run("docker compose up --detach")[0] == 0
    reader.do(pages.Step("run", READY, "…\nready: primary\n"))
    assert _sql(reader, "SELECT answer FROM kept") == "42"


def test_restore_a_lost_volume(orders: Project) -> None:
    """The volume is deleted, and the page brings the orders back."""
    assert orders.run("docker compose down --volumes")[0] == 0
    orders.follow("docs/how-to/restore-a-lost-volume.md")
    assert _sql(orders, "SELECT count(*) FROM orders") == "3"


def test_restore_to_a_moment(orders: Project) -> None:
    """A table is dropped, and the page brings it back without what came later."""
    _sql(orders, "SELECT pg_switch_wal()", "SELECT pg_sleep(1.1)")
    moment = _sql(orders, "SELECT to_char(clock_timestamp(), 'YYYY-MM-DD\"T\"HH24:MI:SS.US+00:00')")
    _sql(orders, "SELECT pg_sleep(0.1)", "DROP TABLE orders", "CREATE TABLE later AS SELECT 1 AS i")
    orders.follow("docs/how-to/restore-to-a-moment.md", {"2026-11-22T14:02:00+01:00": moment})
    orders.do(pages.Step("run", READY, "…\nready: primary\n"))
    assert _sql(orders, "SELECT count(*) FROM orders", "SELECT to_regclass('later') IS NULL").split() == [
        "3",
        "t",
    ]
    assert _sql(orders, "SHOW archive_mode") == "on"
    orders.do(pages.Step("run", "docker compose exec db entrypoint archive check", ""))


def test_inspect_a_copy(orders: Project) -> None:
    """A copy has the orders of the original, which keeps running, and writes nothing to the archive."""
    _sql(orders, "SELECT pg_switch_wal()")
    orders.do(pages.Step("run", "docker compose exec db entrypoint archive check", ""))
    name = f"{orders.name}_copy"  # a project's volumes are removed with it
    own = {
        "--name copy": f"--name {name}",
        "--volume copy:": f"--volume {name}:",
        "volume rm copy": f"volume rm {name}",
    }
    own |= {f"docker {word} copy": f"docker {word} {name}" for word in ("exec", "rm --force")}
    try:
        orders.follow("docs/how-to/inspect-a-copy.md", own)
    finally:
        containers.docker("rm", "--force", "--volumes", name, check=False)
    timelines, _ = orders.run("docker compose exec db sh -c 'ls /archive/archive/main/*/00000002*'")
    assert timelines != 0
    assert _sql(orders, "SELECT count(*) FROM orders") == "3"
