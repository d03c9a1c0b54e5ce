"""The commands of pages in docs/how-to/, executed in the order of the page, and what a reader sees."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

import containers
import pages
from containers import FRESH, IMAGE, LABEL, RUN, Container
from pages import Step
from repository import REPOSITORY

FOLDER = REPOSITORY / "docs/how-to"
DATA = containers.data_folder()
VOLUME = "/var/lib/postgresql/data"
"""Where the pages mount the volume: this is right up to PostgreSQL 17."""


def commands(page: str, title: str) -> list[Step]:
    """Return the commands of a chapter of a page, in order."""
    found = [step for step in pages.steps(_chapter(page, title)) if step.kind == "run"]
    assert found, (page, title)
    return found


def _chapter(page: str, title: str) -> str:
    return pages.chapter(f"docs/how-to/{page}.md", title)


class Reader:
    """Somebody who types the commands of a page, on one machine: the container `db` is this reader's own."""

    def __init__(self, folder: Path, volumes: Mapping[str, str], name: str) -> None:
        """Work in a folder; `volumes` are those that the pages name, by their names there."""
        self.folder = folder
        self.volumes = volumes
        self.db = Container(name)

    def follow(self, typed: Sequence[Step]) -> list[str]:
        """Type the commands; each must succeed and print what the page shows; return the outputs."""
        outputs = []
        for step in typed:
            done = subprocess.run(
                ("bash", "-c", self._own(step.what)),
                cwd=self.folder,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=120,
                check=False,
            )
            assert 0 == done.returncode, (step.what, done.stdout)
            for line in step.text.splitlines():
                assert pages.matches(f"…\n{line}\n…", done.stdout), (step.what, line, done.stdout)
            outputs.append(done.stdout)
            if step.what.startswith("docker run --detach"):
                self.wait()
        return outputs

    def wait(self) -> None:
        """Wait until the server is ready."""
        containers.until(
            lambda: 0 == self.db.exec("entrypoint", "ready", check=False).code, "the server is ready", 60
        )

    def _own(self, text: str) -> str:
        """Return a command with this reader's container, volumes and image in it."""
        text = re.sub(r"(?<![\w/:.-])db(?![\w/:.-])", self.db.name, text)
        text = re.sub(r"--volume (\w+):", lambda found: f"--volume {self.volumes[found[1]]}:", text)
        text = text.replace("docker run ", f"docker run --pull never --label {LABEL}={RUN} ")
        return text.replace("nix-postgres:dev", IMAGE).replace(f":{VOLUME}", f":{DATA}")


@contextmanager
def _reading(folder: Path, archive: str = "") -> Iterator[Reader]:
    with containers.volume() as data:
        reader = Reader(folder, {"data": data, "archive": archive}, f"{data}-db")
        try:
            yield reader
        finally:
            with suppress(AssertionError):
                reader.db.remove()


def _serve(reader: Reader, env: Mapping[str, str], *options: str) -> None:
    """Start the reader's server as the reader has it before the page begins."""
    given = [word for name, value in env.items() for word in ("--env", f"{name}={value}")]
    mounts = [("data", DATA), ("archive", "/archive")]
    given += [
        word
        for name, path in mounts
        if (own := reader.volumes[name])
        for word in ("--volume", f"{own}:{path}")
    ]
    labels = ("--pull", "never", "--label", f"{LABEL}={RUN}", "--name", reader.db.name)
    containers.docker("run", "--detach", *labels, *given, *options, IMAGE)
    reader.wait()


def test_configure_the_server(tmp_path: Path) -> None:
    """Settings come from variables and from files, and change by SIGHUP; the page's own output is what one sees."""
    page = "configure-the-server"
    with _reading(tmp_path) as reader:
        reader.follow(commands(page, "Set a setting"))
        assert "64MB" == reader.db.sql("SHOW work_mem")
        reader.follow(commands(page, "Change a setting while the server runs"))
        changed = "SELECT setting = '250' FROM pg_settings WHERE name = 'log_min_duration_statement'"
        containers.until(lambda: "t" == reader.db.sql(changed), "the setting changes")
        reader.follow(commands(page, "See who set what"))
        (tuned,) = reader.follow(commands(page, "Let the memory decide"))
        assert re.search(r"(?m)^shared_buffers +512MB$", tuned), tuned


def test_fix_archiving(tmp_path: Path) -> None:
    """An outage is shown with its reason, ends without a restart, and what a stopped server left is archived."""
    page = "fix-archiving"
    env = {**FRESH, "ARCHIVE_URL": "file:///archive"}
    with containers.volume() as archive, _reading(tmp_path, archive) as reader:
        _serve(reader, env)
        status, check = commands(page, "The shortest way")
        reader.db.exec("entrypoint", "archive", "check", timeout=60)
        reader.db.shell("chown 0:0 /archive && chmod 700 /archive", user="0")
        reader.db.sql("SELECT pg_create_restore_point('written'), pg_switch_wal()")
        containers.until(
            lambda: "fails since" in reader.db.exec("entrypoint", "archive", "status").stdout, "an outage", 60
        )
        # How long the volume lasts is only known after a second.
        shown = [line for line in status.text.splitlines() if not line.startswith("volume full in")]
        reason = next(line for line in shown if line.startswith("fails since"))
        text = "\n".join(line for line in shown if line != reason)
        (told,) = reader.follow([status._replace(text=text)])
        assert "uid 999 cannot write to /archive: /archive belongs to uid 0" in reason
        assert "uid 999 cannot write to /archive: /archive belongs to uid 0" in told
        (repair,) = re.findall(r"`(docker exec [^`]*chown[^`]*)`", (FOLDER / f"{page}.md").read_text("utf-8"))
        reader.follow([Step("run", repair, "")])
        reader.follow([check])
        reader.follow(commands(page, "The archive was emptied"))
        reader.db.shell("chown 0:0 /archive", user="0")
        reader.db.sql("SELECT pg_create_restore_point('written'), pg_switch_wal()")
        assert 0 == reader.db.stop(timeout=60)
        assert "not archived yet" in reader.db.logs().output
        containers.in_volume(archive, "chown 999:999 .")
        (pushed,) = reader.follow(commands(page, "A server stopped before all was archived")[:1])
        assert "were waiting; all of them are archived now" in pushed


@pytest.fixture
def network() -> Iterator[str]:
    """A network in which containers find each other by name."""
    with containers.volume() as name:
        containers.docker("network", "create", "--label", f"{LABEL}={RUN}", name)
        try:
            yield name
        finally:
            containers.docker("network", "rm", name, check=False)


def test_run_a_standby(tmp_path: Path, network: str) -> None:
    """A standby is built, follows, streams, and takes over; its old primary gives way with exit code 15."""
    page = "run-a-standby"
    with (
        containers.volume() as archive,
        _reading(tmp_path, archive) as primary,
        _reading(tmp_path, archive) as standby,
    ):
        joined = ("--network", network, "--network-alias", "db1")
        shared = {"ARCHIVE_URL": "file:///archive"}
        _serve(primary, {**FRESH, **shared, "ARCHIVE_FORK_INTERVAL": "1"}, *joined)
        backup, *looks = commands(page, "Start a standby")
        primary.follow([backup])
        primary.db.sql("CREATE TABLE kept AS SELECT 42 AS answer")
        primary.db.exec("entrypoint", "archive", "check", timeout=60)
        env = {**pages.environment(_chapter(page, "Start a standby")), **shared}
        _serve(standby, env, "--network", network)
        followed = "SELECT count(*) = 1 FROM pg_class WHERE relname = 'kept'"
        containers.until(lambda: "t" == standby.db.sql(followed), "the row arrives", 60)
        standby.follow(looks)

        *prepare, look = commands(page, "Follow by streaming as well")
        primary.follow(prepare)
        text = (FOLDER / f"{page}.md").read_text(encoding="utf-8")
        (connection,) = re.findall("`(host=db1 [^`…]*)`", text)
        secret = tmp_path / "primary"
        secret.write_text(connection, encoding="utf-8")
        standby.db.stop(timeout=60)
        standby.db.remove()
        streaming = pages.environment(_chapter(page, "Follow by streaming as well"))
        mounted = f"{secret}:{streaming['STANDBY_PRIMARY_CONNINFO_FILE']}:ro"
        _serve(standby, {**env, **streaming}, "--network", network, "--volume", mounted)
        containers.until(
            lambda: "streaming" in standby.db.exec("entrypoint", "status").stdout, "it streams", 60
        )
        standby.follow([look])

        standby.follow(commands(page, "Take over"))
        assert 15 == primary.db.wait(60)
        assert "42" == standby.db.sql("SELECT answer FROM kept")
