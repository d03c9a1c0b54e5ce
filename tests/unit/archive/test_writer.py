"""What a primary makes of the timelines in its archive, and what it remembers of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import pytest

from entrypoint import exits
from entrypoint.archive import fork, writer
from entrypoint.archive.opened import OpenedArchive
from entrypoint.archivers.terms import Answer, Command
from entrypoint.errors import Failure
from entrypoint.server import control_file
from entrypoint.server.context import Context
from entrypoint.settings.archiving import Archive
from entrypoint.standby import takeover
from entrypoint.system.children import Children
from entrypoint.system.identity import Identity
from unit import made

CONTROL = {"Latest checkpoint's TimeLineID": "1", "Latest checkpoint location": "0/6000000"}
SECOND = "1\t0/5000148\tno recovery target specified\n"
CONFIRM = {"ARCHIVE_FORK": "confirm"}


class Primary:
    """A primary on timeline 1 and its archive on a folder, whose histories are not compressed here."""

    def __init__(self, folder: Path, tool: str, patch: pytest.MonkeyPatch) -> None:
        made.cluster(folder / "data")
        self.data, self.run, self.storage = (folder / name for name in ("data", "run", "archive"))
        self.tool, self.patch = tool, patch
        self.root = self.storage / ("wal_005" if tool == "wal-g" else "archive/main/15-1")
        for each in (self.data / "pg_wal/archive_status", self.run, self.root):
            each.mkdir(parents=True)
        if tool == "pgbackrest":
            (self.storage / "archive/main/14-0").mkdir()
            (self.storage / "archive/main/14-0/00000009.history").write_text(SECOND)
        self.control = dict(CONTROL)
        self.reachable = True
        patch.setattr(control_file, "read_control", lambda _: self.control)
        patch.setattr(OpenedArchive, "ask", lambda _, command, **__: self._ask(command))
        patch.setattr(takeover, "run", lambda *_: self.taken.append(True))
        self.taken: list[bool] = []

    def _ask(self, command: Command) -> Answer:
        if command.argv[0] == "pg_waldump":
            return Answer(1, "", "pg_waldump: error: error in WAL record at 0/6000000: invalid record length")
        if not self.reachable:
            return Answer(12, "", "connection refused")
        path = next(word for word in command.argv if "history" in word)
        return Answer(0, (self.storage / path).read_text(), "")

    def has(self, name: str, text: str = SECOND) -> None:
        """Let the archive hold a file."""
        ending = ".lz4" if self.tool == "wal-g" and name.endswith(".history") else ""
        (self.root / f"{name}{ending}").write_text(text)

    def opened(self, env: dict[str, str]) -> OpenedArchive:
        """Return the archive as a start opens it."""
        url = f"file://{self.storage}"
        values = {"ARCHIVE_URL": url, "ARCHIVE_TOOL": self.tool, "PGDATA": str(self.data), **env}
        settings = made.settings(values)
        assert isinstance(settings.archive, Archive)
        who = Identity(999, 999, (), "", "")
        context = Context(settings, cast("Children", None), who, str(self.run), {})
        return OpenedArchive(context, settings.archive)

    def start(self, env: dict[str, str] | None = None) -> tuple[int, Sequence[str]]:
        """Begin a start; return its exit code, 0 for a server that serves, and what it is given."""
        opened = self.opened(env or {})
        fork.end_reading(str(self.data))
        fork.reopen(opened)
        problem = writer.look(opened, seconds=1)
        self.told = "" if problem is None else problem.what
        try:
            return 0, takeover.gate(opened, [])
        except Failure as failure:
            self.refused = failure.problems[0]
            return failure.code, []

    @property
    def state(self) -> str:
        """What is remembered."""
        found = fork.read(str(self.data))
        return "" if found is None else found.state


@pytest.fixture(params=["wal-g", "pgbackrest"])
def primary(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Primary:
    """A primary for which nothing speaks against serving."""
    return Primary(tmp_path, request.param, monkeypatch)


def test_nobody_else(primary: Primary) -> None:
    """Its own segments, an archive without any, and other clusters' histories are no obstacle."""
    assert (0, []) == primary.start()
    primary.has("000000010000000000000005-a7.lz4")
    primary.has("00000001.history", "")
    assert (0, []) == primary.start()
    assert "" == primary.state


def test_another_one(primary: Primary) -> None:
    """It is refused, at each start, also while the storage is away, until the other one's timeline is gone."""
    primary.has("00000002.history")
    for _ in range(2):
        assert exits.SUPERSEDED == primary.start()[0]
    for told in ("timeline 2", "timeline 1", "parted at 0/5000148", "at least 16 MiB of WAL"):
        assert told in primary.refused.what, primary.refused.what
    for told in ("STANDBY=on", "ARCHIVE_FORK=confirm", "ARCHIVE_FORK=readonly"):
        assert told in primary.refused.hint
    primary.storage.rename(primary.storage.with_name("away"))
    assert exits.SUPERSEDED == primary.start()[0]
    assert "does not exist" in primary.told
    primary.storage.with_name("away").rename(primary.storage)
    next(primary.root.glob("00000002.history*")).unlink()
    assert (0, []) == primary.start()
    assert "" == primary.state


def test_a_storage_that_is_away_delays_nothing(primary: Primary) -> None:
    """What was never seen is no obstacle; nor is a history that is there and cannot be read, for now."""
    primary.has("00000002.history")
    primary.reachable = False
    assert (0, []) == primary.start()
    assert "connection refused" in primary.told
    primary.reachable = True
    assert exits.SUPERSEDED == primary.start()[0]


def test_segments_without_a_history(primary: Primary) -> None:
    """They are a sign too."""
    primary.has("0000000300000000" if primary.tool == "pgbackrest" else "000000030000000000000006.lz4")
    assert exits.SUPERSEDED == primary.start()[0]
    assert "timeline 3" in primary.refused.what


def test_nonsense(primary: Primary) -> None:
    """A history that has nothing to do with ours keeps nobody down."""
    for number, text in enumerate(("", "x" * 100_000, "7\t0/1\tfoo\n", "1\t0/FFFFFFFFFFFF\n2\t0/1\n"), 2):
        primary.has(f"{number:08X}.history", text)
    assert (0, []) == primary.start()


def test_confirmed_once(primary: Primary) -> None:
    """It is obeyed for one other server; for the next one only after it was taken away."""
    primary.has("00000002.history")
    assert (0, []) == primary.start(CONFIRM)
    assert [True] == primary.taken
    # What the takeover leaves:
    fork.write(
        str(primary.data), fork.Fork(fork.CONFIRMED, timeline=3, url=f"file://{primary.storage}", confirmed=2)
    )
    primary.control["Latest checkpoint's TimeLineID"] = "3"
    own = "1\t0/6000000\treason\n"
    (primary.data / "pg_wal/00000003.history").write_text(own)
    primary.has("00000003.history", own)
    assert (0, []) == primary.start(CONFIRM)
    fork.end(primary.opened({}).context, "full", 3)
    assert fork.SETTLED == primary.state
    assert not fork.awaits_backup(str(primary.data))
    assert (None, None) == (fork.refusal(str(primary.data)), fork.objection(str(primary.data)))
    primary.has("00000004.history", "1\t0/6000000\treason\n3\t0/7000000\treason\n")
    assert exits.SUPERSEDED == primary.start(CONFIRM)[0]
    assert "obeyed for timeline 2 already" in primary.refused.hint
    assert exits.SUPERSEDED == primary.start()[0]
    assert (0, [True, True]) == (primary.start(CONFIRM)[0], primary.taken)


def test_read_only(primary: Primary) -> None:
    """It is a standby of nobody, archives nothing, and the next start judges it anew."""
    look = {"ARCHIVE_FORK": "readonly"}
    assert (0, []) == primary.start(look)
    primary.has("00000002.history")
    code, given = primary.start(look)
    assert (0, True) == (
        code,
        {"archive_mode=off", "restore_command=false", "primary_conninfo="} < set(given),
    )
    assert (primary.data / "standby.signal").exists()
    assert exits.SUPERSEDED == primary.start()[0]
    assert not (primary.data / "standby.signal").exists()


def test_a_standby_that_somebody_made_of_it(primary: Primary) -> None:
    """With a standby.signal that is not ours it is no old primary any more."""
    primary.has("00000002.history")
    assert exits.SUPERSEDED == primary.start()[0]
    (primary.data / "standby.signal").write_text("")
    assert (0, []) == primary.start()
    assert fork.STANDBY == primary.state


def test_a_promotion_that_no_checkpoint_has_seen(primary: Primary) -> None:
    """Its own new timeline is not another's, although the control file tells of it only by its recovery."""
    primary.has("00000002.history")
    (primary.data / "pg_wal/00000002.history").write_text(SECOND)
    primary.control["Min recovery ending loc's timeline"] = "2"
    assert (0, []) == primary.start()


def test_a_number_that_two_have_taken(primary: Primary, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two that were promoted at the same moment the one gives way whose history is not in the archive."""
    primary.control["Latest checkpoint's TimeLineID"] = "2"
    (primary.data / "pg_wal/00000002.history").write_text(SECOND)
    primary.has("00000002.history")
    assert (0, []) == primary.start()
    (primary.data / "pg_wal/archive_status/00000002.history.ready").write_text("")
    monkeypatch.setattr(writer, "fetch", lambda *_: SECOND)
    assert (0, []) == primary.start()
    fork.write(str(primary.data), fork.Fork(fork.STANDBY))
    assert exits.SUPERSEDED == primary.start()[0]
    assert "at the same time" in primary.refused.what
    fork.forget(str(primary.data))
    monkeypatch.setattr(writer, "fetch", lambda *_: "1\t0/5000400\tno recovery target specified\n")
    assert exits.SUPERSEDED == primary.start()[0]


@pytest.mark.parametrize("state", [fork.RESTORED, fork.REFUSED])
def test_a_copy_is_another_matter(primary: Primary, state: fork.State) -> None:
    """One that has archived nothing yet serves beside the other one, and goes on archiving nothing."""
    primary.has("00000002.history")
    opened = primary.opened({})
    fork.write(str(primary.data), fork.Fork(state, url=opened.url))
    assert writer.look(opened, seconds=1) is None
    assert state == primary.state


def test_another_archive_knows_nothing_of_it(primary: Primary) -> None:
    """What was found in one archive does not hold for the next one."""
    primary.has("00000002.history")
    assert exits.SUPERSEDED == primary.start()[0]
    primary.storage.rename(primary.storage.with_name("other"))
    primary.storage = primary.storage.with_name("other")
    next(primary.storage.rglob("00000002.history*")).unlink()
    assert (0, []) == primary.start()
