"""How a primary judges the timelines in its archive, and what it remembers about them."""

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
    """A primary on timeline 1 and its archive in a folder, here with histories that are not compressed."""

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
        """Put a file into the archive."""
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
        """Begin a start; return its exit code, 0 for a server that serves, and the server's arguments."""
        opened = self.opened(env or {})
        fork.end_reading(str(self.data))
        fork.reopen(opened)
        problem = writer.look(opened, seconds=1)
        self.unknown = "" if problem is None else problem.what
        try:
            return 0, takeover.gate(opened, [])
        except Failure as failure:
            self.refused = failure.problems[0]
            return failure.code, []

    @property
    def state(self) -> str:
        """The state in the note."""
        found = fork.read(str(self.data))
        return "" if found is None else found.state


@pytest.fixture(params=["wal-g", "pgbackrest"])
def primary(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Primary:
    """A primary that may serve."""
    return Primary(tmp_path, request.param, monkeypatch)


def test_a_primary_without_a_rival_serves(primary: Primary) -> None:
    """Its own segments, an archive without segments, and other clusters' histories are no obstacle."""
    assert (0, []) == primary.start()
    primary.has("000000010000000000000005-a7.lz4")
    primary.has("00000001.history", "")
    assert (0, []) == primary.start()
    assert "" == primary.state


def test_a_primary_with_a_rival_is_refused(primary: Primary) -> None:
    """Each start refuses it, even while the storage is away, until the other server's timeline is gone."""
    primary.has("00000002.history")
    for _ in range(2):
        assert exits.SUPERSEDED == primary.start()[0]
    for text in ("timeline 2", "timeline 1", "diverged at 0/5000148", "at least 16 MiB of WAL"):
        assert text in primary.refused.what, primary.refused.what
    for text in ("STANDBY=on", "ARCHIVE_FORK=confirm", "ARCHIVE_FORK=readonly"):
        assert text in primary.refused.hint
    primary.storage.rename(primary.storage.with_name("away"))
    assert exits.SUPERSEDED == primary.start()[0]
    assert "does not exist" in primary.unknown
    primary.storage.with_name("away").rename(primary.storage)
    next(primary.root.glob("00000002.history*")).unlink()
    assert (0, []) == primary.start()
    assert "" == primary.state


def test_a_storage_that_is_away_delays_nothing(primary: Primary) -> None:
    """A rival that was never seen is no obstacle, and neither is a history that cannot be read now."""
    primary.has("00000002.history")
    primary.reachable = False
    assert (0, []) == primary.start()
    assert "connection refused" in primary.unknown
    primary.reachable = True
    assert exits.SUPERSEDED == primary.start()[0]


def test_segments_without_a_history_are_a_rival_too(primary: Primary) -> None:
    """A primary with newer segments in its archive is refused."""
    primary.has("0000000300000000" if primary.tool == "pgbackrest" else "000000030000000000000006.lz4")
    assert exits.SUPERSEDED == primary.start()[0]
    assert "timeline 3" in primary.refused.what


def test_an_unrelated_history_is_no_rival(primary: Primary) -> None:
    """A primary serves although its archive holds histories that share nothing with its own."""
    for number, text in enumerate(("", "x" * 100_000, "7\t0/1\tfoo\n", "1\t0/FFFFFFFFFFFF\n2\t0/1\n"), 2):
        primary.has(f"{number:08X}.history", text)
    assert (0, []) == primary.start()


def test_a_confirmation_takes_effect_once(primary: Primary) -> None:
    """It is obeyed for one other server, and for the next one only after a start without it."""
    primary.has("00000002.history")
    assert (0, []) == primary.start(CONFIRM)
    assert [True] == primary.taken
    # The state after a takeover:
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
    assert "already obeyed for timeline 2" in primary.refused.hint
    assert exits.SUPERSEDED == primary.start()[0]
    assert (0, [True, True]) == (primary.start(CONFIRM)[0], primary.taken)


def test_a_read_only_primary_follows_nobody(primary: Primary) -> None:
    """It is a standby without a primary, archives nothing, and the next start judges it again."""
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


def test_an_old_primary_may_become_a_standby_manually(primary: Primary) -> None:
    """With a standby.signal that is not ours, it is no old primary any more."""
    primary.has("00000002.history")
    assert exits.SUPERSEDED == primary.start()[0]
    (primary.data / "standby.signal").write_text("")
    assert (0, []) == primary.start()
    assert fork.STANDBY == primary.state


def test_an_own_new_timeline_is_no_rival_before_a_checkpoint(primary: Primary) -> None:
    """Right after a promotion, only the end of recovery in the control file shows the new timeline."""
    primary.has("00000002.history")
    (primary.data / "pg_wal/00000002.history").write_text(SECOND)
    primary.control["Min recovery ending loc's timeline"] = "2"
    assert (0, []) == primary.start()


def test_of_two_with_the_same_timeline_one_gives_way(
    primary: Primary, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If two servers are promoted at the same time, the one whose history is not in the archive gives way."""
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
def test_a_copy_is_no_rival(primary: Primary, state: fork.State) -> None:
    """A copy that has archived nothing yet serves next to the other server, and still archives nothing."""
    primary.has("00000002.history")
    opened = primary.opened({})
    fork.write(str(primary.data), fork.Fork(state, url=opened.url))
    assert writer.look(opened, seconds=1) is None
    assert state == primary.state


def test_a_rival_in_one_archive_is_no_rival_in_another(primary: Primary) -> None:
    """The answer of one archive does not hold for the next one."""
    primary.has("00000002.history")
    assert exits.SUPERSEDED == primary.start()[0]
    primary.storage.rename(primary.storage.with_name("other"))
    primary.storage = primary.storage.with_name("other")
    next(primary.storage.rglob("00000002.history*")).unlink()
    assert (0, []) == primary.start()
