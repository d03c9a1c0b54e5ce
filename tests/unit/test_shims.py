"""What PostgreSQL runs once per segment: the exit codes, the deadlines, and what is kept of an outage."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from entrypoint import conf

SHIMS = Path(conf.__file__).parent / "shims"
NAME = "000000010000000000000007"
PATH = f"PATH={os.environ['PATH']}"


class Segment:
    """One data folder and one runtime folder, and the shim between them."""

    def __init__(self, root: Path) -> None:
        """Make both folders."""
        self.data, self.runtime = root / "data", root / "run"
        self.data.mkdir()
        self.runtime.mkdir()
        (self.data / "postgresql.auto.conf").touch()
        self.status("ready")
        self.client, self.socket = "-", "-"

    def status(self, word: str) -> None:
        """Let the server be in this state."""
        (self.data / "postmaster.pid").write_text(f"1\n/data\n1\n5432\n/run\n*\n0\n{word}\n")

    def start(self, text: str, seconds: str = "5") -> subprocess.Popen[str]:
        """Begin to archive with this piece of shell as the archiver."""
        words = [seconds, str(self.runtime), NAME, self.client, self.socket, "ALONE=yes"]
        words += [PATH, "sh", "-c", text]
        return subprocess.Popen(
            ["/bin/sh", SHIMS / "archive-segment", *words],
            cwd=self.data,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def archive(self, text: str, seconds: str = "5") -> tuple[int, str]:
        """How that ends, and what it says."""
        process = self.start(text, seconds)
        _, words = process.communicate(timeout=30)
        return process.returncode, words

    def has(self, name: str) -> bool:
        """Whether this file is in the runtime folder."""
        return (self.runtime / name).exists()


@pytest.fixture
def segment(tmp_path: Path) -> Segment:
    """A segment to be archived."""
    return Segment(tmp_path)


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("code", "expected"),
    [(0, 0), (1, 1), (2, 2), (74, 74), (125, 125), (126, 1), (127, 1), (137, 1), (255, 1)],
)
def test_the_first_failure_never_ends_the_archiver(segment: Segment, code: int, expected: int) -> None:
    """Above 125 PostgreSQL's archiver would end with FATAL: such a code becomes 1, and it tries again."""
    assert expected == segment.archive(f"exit {code}")[0]
    assert bool(code) == segment.has("archive-failing")
    assert bool(code) != segment.has("archived")


def test_an_outage_begins_once_and_ends_once(segment: Segment) -> None:
    """The first call fails with the archiver's words; the next one waits until the storage is back."""
    store = f"if [ -e {segment.data}/storage ]; then exit 0; fi; echo dead >&2; date >>{segment.data}/tried; exit 9"
    code, words = segment.archive(store)
    assert (9, True, True) == (code, "archiving fails" in words, "  dead\n" in words)
    assert ["dead", True] == [
        *(lines := (segment.runtime / "archive-failing").read_text().split("\n"))[:1],
        abs(int(lines[1]) - time.time()) < 60,
    ]
    waiting = segment.start(store)
    _until(lambda: len((segment.data / "tried").read_text().split("\n")) > 3)
    assert waiting.poll() is None
    (segment.data / "storage").touch()
    _, words = waiting.communicate(timeout=20)
    assert (0, f"entrypoint: archiving works again, from {NAME} on\n") == (waiting.returncode, words)
    assert (False, NAME + "\n") == (
        segment.has("archive-failing"),
        (segment.runtime / "archived").read_text(),
    )
    assert (0, "") == segment.archive("exit 0")


def test_a_stop_does_not_wait_for_a_dead_storage(segment: Segment) -> None:
    """At a stop a failing call ends PostgreSQL's archiver at once, and a hanging one after 5 seconds."""
    segment.archive("exit 1")
    waiting = segment.start("exit 1")
    segment.status("stopping")
    waiting.communicate(timeout=10)
    assert 255 == waiting.returncode
    began = time.monotonic()
    assert 255 == segment.archive("sleep 60", "300")[0]
    assert 4 < time.monotonic() - began < 15


def test_changed_settings_end_the_waiting(segment: Segment) -> None:
    """ALTER SYSTEM SET archive_command must not wait for the end of an outage."""
    segment.archive("exit 1")
    waiting = segment.start("exit 1")
    later = time.time() + 60
    os.utime(segment.data / "postgresql.auto.conf", (later, later))
    waiting.communicate(timeout=20)
    assert 1 == waiting.returncode


def test_the_archive_is_prepared_first(segment: Segment) -> None:
    """What a start could not do is done before the first segment, and no segment goes without it."""
    script = segment.runtime / "prepare-archive"
    script.write_text(f"test -e {segment.data}/storage\n")
    store = f"touch {segment.data}/stored"
    assert 1 == segment.archive(store)[0]
    assert not (segment.data / "stored").exists()
    (segment.data / "storage").touch()
    assert 0 == segment.archive(store)[0]
    assert (segment.data / "stored").exists()
    assert not script.exists()


def test_a_hanging_archiver_is_ended(segment: Segment) -> None:
    """A call has a deadline, which counts for all that it has started."""
    code, words = segment.archive("sleep 60 & wait", "0.1")
    assert 124 == code
    assert "no answer within 0.1 seconds" in (segment.runtime / "archive-failing").read_text() + words


def test_a_full_run_folder_does_not_matter(segment: Segment) -> None:
    """Without a place for its notes a segment is archived all the same."""
    segment.runtime.rmdir()
    assert (0, "words\n") == segment.archive("echo words >&2")
    assert 3 == segment.archive("exit 3")[0]


@pytest.mark.parametrize(("answer", "asked"), [("exit 0", False), ("exit 1", True)])
def test_the_helper_is_asked_first(segment: Segment, answer: str, asked: bool) -> None:
    """Where a helper listens it gets the segment; if it fails, the archiver itself is called."""
    client = segment.data / "client"
    client.write_text(f'#!/bin/sh\necho "$@" >{segment.data}/client-words\n{answer}\n')
    client.chmod(0o755)
    segment.client, segment.socket = str(client), str(segment.runtime / "s")
    store = f"touch {segment.data}/stored"
    assert 0 == segment.archive(store)[0]
    assert (segment.data / "stored").exists(), "nobody listens yet"
    (segment.data / "stored").unlink()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(segment.socket)
        assert 0 == segment.archive(store)[0]
        assert (
            f"{segment.socket} wal-push {NAME} -timeout 5s\n" == (segment.data / "client-words").read_text()
        )
        assert asked == (segment.data / "stored").exists()


def test_segments_go_alone_after_a_missed_deadline(segment: Segment) -> None:
    """A helper that sends many at once over a slow line would never get one through."""
    client = segment.data / "client"
    client.write_text(f"#!/bin/sh\necho >>{segment.data}/asked\nsleep 1.1\nexit 1\n")
    client.chmod(0o755)
    segment.client, segment.socket = str(client), str(segment.runtime / "s")
    store = f"echo $ALONE$LEAKED >{segment.data}/stored"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(segment.socket)
        for _ in range(2):
            assert (0, "") == segment.archive(store, "1")
            assert "yes\n" == (segment.data / "stored").read_text()
        assert "\n" == (segment.data / "asked").read_text(), "the helper was asked once"
        long_ago = time.time() - 700
        os.utime(segment.runtime / "one-by-one", (long_ago, long_ago))
        assert (0, "") == segment.archive(store, "1")
        assert not segment.has("one-by-one")
        assert (0, "") == segment.archive(store)
    assert "\n\n" == (segment.data / "asked").read_text()
    assert "\n" == (segment.data / "stored").read_text()


def test_an_archiver_that_missed_its_deadline_goes_on_alone(segment: Segment) -> None:
    """Where there is no helper the archiver itself may have sent too many at once."""
    store = f'[ "$ALONE" ] || sleep 30; echo >{segment.data}/stored'
    assert 124 == segment.archive(store, "1")[0]
    assert 0 == segment.archive(store, "1")[0]
    assert (segment.data / "stored").exists()


@pytest.fixture
def restoring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data folder of a server that restores, as the working folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recovery.signal").touch()
    return tmp_path


def _fetch(*words: str) -> int:
    argv = ["/bin/sh", str(SHIMS / "fetch-segment"), *words]
    return subprocess.run(argv, check=False, capture_output=True).returncode


@pytest.mark.usefixtures("restoring")
@pytest.mark.parametrize("missing", ["1", "74"])
@pytest.mark.parametrize("code", [0, 1, 2, 25, 74, 103, 124, 125, 126, 127, 137, 255])
def test_fetch_segment_never_lies(missing: str, code: int) -> None:
    """0 found, 1 not in the archive, 126 anything else: PostgreSQL takes 1 to 125 for the archive's end."""
    expected = 0 if code == 0 else 1 if str(code) == missing else 126
    assert expected == _fetch(missing, "5", PATH, "sh", "-c", f"exit {code}")


def test_fetch_segment_never_ends_a_standby(restoring: Path) -> None:
    """For a standby, and once a promotion has begun, whatever goes wrong is "not there"."""
    texts = ("exit 0", "exit 74", "exit 2", "sleep 5")
    (restoring / "standby.signal").touch()
    assert [0, 1, 1, 1] == [_fetch("74", "1", PATH, "sh", "-c", text) for text in texts]
    (restoring / "standby.signal").unlink()
    assert 126 == _fetch("74", "1", PATH, "sh", "-c", "exit 2")
    (restoring / "recovery.signal").unlink()
    assert [0, 1, 1, 1] == [_fetch("74", "1", PATH, "sh", "-c", text) for text in texts]


@pytest.mark.usefixtures("restoring")
@pytest.mark.parametrize("text", ["sleep 60 & wait", "kill -KILL $$"], ids=["hangs", "killed"])
def test_fetch_segment_stops_the_recovery(text: str) -> None:
    """An archiver that hangs or was killed has not said that the segment is missing."""
    assert 126 == _fetch("74", "1", PATH, "sh", "-c", text)
