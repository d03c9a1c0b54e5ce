"""The scripts that PostgreSQL runs for each segment: exit codes, deadlines, and the record of an outage."""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from entrypoint import templates

SHIMS = Path(templates.__file__).parent / "shims"
NAME = "000000010000000000000007"
PATH = f"PATH={os.environ['PATH']}"


class Folders:
    """A data folder and a runtime folder."""

    def __init__(self, root: Path) -> None:
        """Make both folders."""
        self.data, self.runtime = root / "data", root / "run"
        self.data.mkdir()
        self.runtime.mkdir()
        self.client, self.socket = "-", "-"


class Segment(Folders):
    """A data folder, a runtime folder, and the shim that archives."""

    def __init__(self, root: Path) -> None:
        """Set the server's status to ready."""
        super().__init__(root)
        (self.data / "postgresql.auto.conf").touch()
        self.status("ready")

    def status(self, word: str) -> None:
        """Set the server's status."""
        (self.data / "postmaster.pid").write_text(f"{os.getppid()}\n/data\n1\n5432\n/run\n*\n0\n{word}\n")

    def start(self, text: str, seconds: str = "5") -> subprocess.Popen[str]:
        """Start archiving with this piece of shell as the archiver."""
        words = [seconds, str(self.runtime), NAME, self.client, self.socket, "ALONE=yes"]
        words += [PATH, "sh", "-c", text]
        return subprocess.Popen(
            ["/bin/sh", "-c", '. "$0"', SHIMS / "archive-segment", *words],
            cwd=self.data,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def archive(self, text: str, seconds: str = "5") -> tuple[int, str]:
        """Archive with this piece of shell; return the exit code and the output."""
        process = self.start(text, seconds)
        _, words = process.communicate(timeout=30)
        return process.returncode, words

    def has(self, name: str) -> bool:
        """Return whether this file is in the runtime folder."""
        return (self.runtime / name).exists()


@pytest.fixture
def segment(tmp_path: Path) -> Segment:
    """Return a segment to archive."""
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
def test_the_first_failure_never_stops_the_archiver(segment: Segment, code: int, expected: int) -> None:
    """Above 125 PostgreSQL's archiver would end with FATAL: such a code becomes 1, and PostgreSQL retries."""
    assert expected == segment.archive(f"exit {code}")[0]
    assert bool(code) == segment.has("archive-failing")
    assert bool(code) != segment.has("archived")


def test_an_outage_begins_once_and_ends_once(segment: Segment) -> None:
    """The first call fails with the archiver's output; the next one waits until the storage is back."""
    store = f"if [ -e {segment.data}/storage ]; then exit 0; fi; echo dead >&2; date >>{segment.data}/tried; exit 9"
    code, words = segment.archive(store)
    assert (9, True, True) == (code, "archiving fails" in words, "  dead\n  hint: fix what" in words)
    assert words.endswith("\n  docs: fix-archiving (entrypoint help fix-archiving)\n")
    assert ["dead", True] == [
        *(lines := (segment.runtime / "archive-failing").read_text().split("\n"))[:1],
        abs(int(lines[1]) - time.time()) < 60,
    ]
    waiting = segment.start(store)
    _until(lambda: len((segment.data / "tried").read_text().split("\n")) > 3)
    assert waiting.poll() is None
    (segment.data / "storage").touch()
    _, words = waiting.communicate(timeout=20)
    assert (0, f"entrypoint: archiving works again, starting with {NAME}\n") == (waiting.returncode, words)
    assert (False, NAME + "\n") == (
        segment.has("archive-failing"),
        (segment.runtime / "archived").read_text(),
    )
    assert (0, "") == segment.archive("exit 0")


def test_a_stop_does_not_wait_for_an_unreachable_storage(segment: Segment) -> None:
    """At a stop, a failing call ends PostgreSQL's archiver immediately, and a hanging one after 5 seconds."""
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
    """A step that the start could not do runs before the first segment; until it succeeds, none is sent."""
    script = segment.runtime / "prepare-archive"
    script.write_text(f"test -e {segment.data}/storage\n")
    store = f"touch {segment.data}/stored"
    assert 1 == segment.archive(store)[0]
    assert not (segment.data / "stored").exists()
    (segment.data / "storage").touch()
    assert 0 == segment.archive(store)[0]
    assert (segment.data / "stored").exists()
    assert not script.exists()


def test_a_hanging_archiver_is_stopped(segment: Segment) -> None:
    """A call has a deadline, which also applies to every process that the call has started."""
    code, words = segment.archive("sleep 60 & wait", "0.1")
    assert 124 == code
    assert "no answer within 0.1 seconds" in (segment.runtime / "archive-failing").read_text() + words


def test_a_full_run_folder_does_not_matter(segment: Segment) -> None:
    """If the shim cannot write its files, a segment is still archived."""
    segment.runtime.rmdir()
    assert (0, "words\n") == segment.archive("echo words >&2")
    assert 3 == segment.archive("exit 3")[0]


@pytest.mark.parametrize(("answer", "asked"), [("exit 0", False), ("exit 1", True)])
def test_the_helper_is_called_first(segment: Segment, answer: str, asked: bool) -> None:
    """If a helper listens, it gets the segment; if it fails, the archiver itself is called."""
    client = segment.data / "client"
    client.write_text(f'#!/bin/sh\necho "$@" >{segment.data}/client-words\n{answer}\n')
    client.chmod(0o755)
    segment.client, segment.socket = str(client), str(segment.runtime / "s")
    store = f"touch {segment.data}/stored"
    assert 0 == segment.archive(store)[0]
    assert (segment.data / "stored").exists(), "no helper listens yet"
    (segment.data / "stored").unlink()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(segment.socket)
        assert 0 == segment.archive(store)[0]
        assert (
            f"{segment.socket} wal-push {NAME} -timeout 5s\n" == (segment.data / "client-words").read_text()
        )
        assert asked == (segment.data / "stored").exists()


def test_segments_are_sent_alone_after_a_missed_deadline(segment: Segment) -> None:
    """On a slow line, a helper that sends many segments at once would never complete one."""
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
        assert "\n" == (segment.data / "asked").read_text(), "the helper was called once"
        long_ago = time.time() - 700
        os.utime(segment.runtime / "one-by-one", (long_ago, long_ago))
        assert (0, "") == segment.archive(store, "1")
        assert not segment.has("one-by-one")
        assert (0, "") == segment.archive(store)
    assert "\n\n" == (segment.data / "asked").read_text()
    assert "\n" == (segment.data / "stored").read_text()


def test_an_archiver_that_missed_its_deadline_sends_segments_alone(segment: Segment) -> None:
    """Without a helper, the archiver itself may have sent too many at once."""
    store = f'[ "$ALONE" ] || sleep 30; echo >{segment.data}/stored'
    assert 124 == segment.archive(store, "1")[0]
    assert 0 == segment.archive(store, "1")[0]
    assert (segment.data / "stored").exists()


LATER = "000000010000000000000009"


class Fetching(Folders):
    """The data folder of a recovering server, and the arguments of its restore_command."""

    def __init__(self, root: Path) -> None:
        """Make an archive that has no segment after a missing one."""
        super().__init__(root)
        (self.data / "recovery.signal").touch()
        self.sure, self.sums, self.proof = "", "-", ""
        self.ask("exit 0")

    def ask(self, text: str) -> None:
        """Answer questions to the archive with this piece of shell."""
        (self.runtime / "ask-archive").write_text(text + "\n")

    def start(self, text: str, seconds: str, name: str = NAME, missing: str = "74") -> subprocess.Popen[str]:
        """Start fetching with this piece of shell as the archiver."""
        words = [missing, "damaged|torn", self.sums, seconds, str(self.runtime), name, "place"]
        words += [self.client, self.socket, self.sure, self.proof, PATH, "sh", "-c", text]
        return subprocess.Popen(
            ["/bin/sh", "-c", '. "$0"', SHIMS / "fetch-segment", *words],
            cwd=self.data,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def fetch(self, text: str, seconds: str = "1", name: str = NAME, missing: str = "74") -> tuple[int, str]:
        """Fetch with this piece of shell; return the exit code and the output."""
        process = self.start(text, seconds, name, missing)
        _, words = process.communicate(timeout=30)
        return process.returncode, words

    def calls(self) -> int:
        """Return how many lines the archiver has written to `calls`."""
        return len((self.data / "calls").read_text().splitlines())


@pytest.fixture
def fetching(tmp_path: Path) -> Fetching:
    """Return a segment to fetch."""
    return Fetching(tmp_path)


@pytest.mark.parametrize("missing", ["1", "74"])
@pytest.mark.parametrize("code", [0, 1, 2, 25, 74, 103, 124, 125, 126, 127, 137, 255])
def test_fetch_segment_never_gives_a_false_answer(fetching: Fetching, missing: str, code: int) -> None:
    """0: found, 1: not in the archive, 126: anything else; PostgreSQL takes 1 to 125 for the archive's end."""
    expected = 0 if code == 0 else 1 if str(code) == missing else 126
    assert expected == fetching.fetch(f"exit {code}", missing=missing)[0]


def test_an_unexpected_end_of_fetch_segment_is_not_an_answer(tmp_path: Path) -> None:
    """A garbled call must not end a recovery; sh itself would exit with 2."""
    argv = ["/bin/sh", "-c", '. "$0"', str(SHIMS / "fetch-segment")]
    for words in ([], ["1", "2", "3", "not a number", str(tmp_path), NAME, "p", "-", "-", "", "", "true"]):
        assert 126 == subprocess.run([*argv, *words], check=False, capture_output=True).returncode


def test_fetch_segment_never_stops_a_standby(fetching: Fetching) -> None:
    """For a standby, and once a promotion has begun, every failure counts as "not in the archive"."""
    texts = ("exit 0", "exit 74", "exit 2", "sleep 5")
    (fetching.data / "standby.signal").touch()
    assert [0, 1, 1, 1] == [fetching.fetch(text)[0] for text in texts]
    (fetching.data / "standby.signal").unlink()
    assert 126 == fetching.fetch("exit 2")[0]
    (fetching.data / "recovery.signal").unlink()
    assert [0, 1, 1, 1] == [fetching.fetch(text)[0] for text in texts]


def test_no_promotion_before_the_end_was_read(fetching: Fetching) -> None:
    """Only a promotion requests the next timeline's history: 126, unless a later segment was missing."""
    fetching.proof = "00000002.history/0000000000000007"

    def promotes() -> int:
        return fetching.fetch("exit 74", name="00000002.history")[0]

    assert (1, 126) == (fetching.fetch("exit 74", name="00000001.history")[0], promotes())
    assert (fetching.runtime / "ended-early").exists()
    assert (0, 1, 126) == (fetching.fetch("exit 0")[0], fetching.fetch("exit 74")[0], promotes())
    assert NAME == (fetching.runtime / "fetched").read_text().strip()
    later = "0000000300000000000000FF"  # on any timeline
    assert (0, 126) == (fetching.fetch("exit 0", name=later)[0], promotes())
    assert (126, 126) == (fetching.fetch("exit 2", name=later)[0], promotes())
    assert (1, 1) == (fetching.fetch("exit 74", name=later)[0], promotes())
    assert 0 == fetching.fetch("exit 0", name="00000002.history")[0]


@pytest.mark.parametrize("text", ["sleep 60 & wait", "kill -KILL $$"], ids=["hangs", "killed"])
def test_fetch_segment_stops_the_recovery(fetching: Fetching, text: str) -> None:
    """An archiver that hangs or was killed has not reported that the segment is missing."""
    began = time.monotonic()
    code, words = fetching.fetch(text, "3")
    assert (126, True) == (code, f"fetching {NAME} failed for 3 seconds" in words)
    assert time.monotonic() - began < 8


def test_a_recovery_waits_for_the_end_of_an_outage(fetching: Fetching) -> None:
    """An outage is logged once when it begins, with the archiver's output, and once when it ends."""
    waiting = fetching.start("echo >>calls; [ -e storage ] || { echo dead >&2; exit 9; }", "30")
    _until(lambda: (fetching.data / "calls").exists() and fetching.calls() > 2)
    (fetching.data / "storage").touch()
    _, words = waiting.communicate(timeout=20)
    expected = [
        f"entrypoint: warning: {NAME} cannot be fetched from the archive (failed); trying again:",
        "  dead",
        f"entrypoint: fetching from the archive works again, starting with {NAME}",
    ]
    assert (0, expected) == (waiting.returncode, words.splitlines())


def test_a_long_outage_ends_the_recovery(fetching: Fetching) -> None:
    """It ends after this many seconds, with the archiver's last output and a hint."""
    began = time.monotonic()
    code, words = fetching.fetch("echo $(wc -l <calls) >&2; echo >>calls; exit 9", "4")
    assert (126, True) == (code, 1 < time.monotonic() - began < 6)
    last = len((fetching.data / "calls").read_text().splitlines()) - 1
    assert 0 < last
    assert f"recovery stops here:\n  {last}\n  hint: see the output above" in words
    assert words.endswith("\n  docs: fix-archiving (entrypoint help fix-archiving)\n")
    assert not (fetching.runtime / "fetch-failing").exists()


@pytest.mark.parametrize("text", ["sleep 60", "exit 9"], ids=["hangs", "fails"])
def test_a_stop_does_not_wait_for_a_fetch(fetching: Fetching, text: str) -> None:
    """The archiver is stopped with the shim; PostgreSQL takes code 143 for its own stop."""
    waiting = fetching.start(f"echo $$ >pid; {text}", "60")
    _until(lambda: (fetching.data / "pid").exists() and bool((fetching.data / "pid").read_text()))
    time.sleep(0.3)
    began = time.monotonic()
    waiting.terminate()
    waiting.communicate(timeout=20)
    assert (143, True) == (waiting.returncode, time.monotonic() - began < 1)
    pid = int((fetching.data / "pid").read_text())
    _until(lambda: not Path(f"/proc/{pid}").exists())


def test_a_hole_is_not_the_end_of_the_archive(fetching: Fetching) -> None:
    """If there are later segments, the shim waits for the missing one, which may be on its way."""
    fetching.ask(f'[ "$1 $2" = "later-segment {NAME}" ] && echo {LATER}')
    code, words = fetching.fetch("exit 74")
    assert (126, True) == (
        code,
        f"{NAME} is missing from the archive, which holds the later {LATER}" in words,
    )
    assert "RESTORE_TARGET_LSN" in words
    assert words.endswith("\n  docs: restore-to-a-moment (entrypoint help restore-to-a-moment)\n")
    waiting = fetching.start("[ -e storage ] || exit 74", "30")
    time.sleep(0.5)
    (fetching.data / "storage").touch()
    _, words = waiting.communicate(timeout=20)
    assert (0, 1) == (waiting.returncode, words.count("works again"))


def test_an_archive_that_does_not_answer_is_not_at_its_end(fetching: Fetching) -> None:
    """If the archive cannot be listed, later segments may exist."""
    fetching.ask("echo silence >&2; exit 12")
    code, words = fetching.fetch("exit 74")
    assert (126, True) == (code, "  silence\n" in words)
    (fetching.runtime / "ask-archive").unlink()
    assert 126 == fetching.fetch("exit 74")[0]


@pytest.mark.parametrize("name", ["00000002.history", f"{NAME}.00000028.backup", f"{NAME}.partial"])
def test_other_files_may_be_missing(fetching: Fetching, name: str) -> None:
    """PostgreSQL requests files that never existed, and the shim does not look for later ones."""
    fetching.ask("echo later")
    assert (1, "") == fetching.fetch("echo no such file >&2; exit 74", name=name)


@pytest.mark.parametrize(("text", "expected"), [("exit 74", 0), ("exit 9", 1)], ids=["hole", "outage"])
def test_a_standby_retries_by_itself(fetching: Fetching, text: str, expected: int) -> None:
    """It gets 1 after one try, which does not promote it; an outage is logged once over all calls."""
    (fetching.data / "standby.signal").touch()
    fetching.ask(f"echo {LATER}")
    for _ in range(3):
        code, words = fetching.fetch(f"echo >>calls; {text}", "30")
        assert (1, expected) == (code, words.count("cannot be fetched"))
        expected = 0
    assert 3 == fetching.calls()
    code, words = fetching.fetch("exit 0")
    assert (0, text == "exit 9") == (code, "works again" in words)


NEWER, NEWEST = (f"{timeline}{NAME[8:]}" for timeline in ("00000002", "0000000A"))


@pytest.mark.parametrize("text", ["exit 74", "exit 9"], ids=["missing", "outage"])
def test_a_standby_waits_for_the_newer_timeline(fetching: Fetching, text: str) -> None:
    """If it requested the segment on a newer timeline before, it gets 1 for older ones, and one line says why."""
    (fetching.data / "standby.signal").touch()
    words = []
    for _ in range(2):
        for name, archiver in ((NEWEST, text), (NEWER, "echo >>calls"), (NAME, "echo >>calls")):
            code, said = fetching.fetch(archiver, name=name)
            assert 1 == code
            words += [line for line in said.splitlines() if " info: " in line]
    assert not (fetching.data / "calls").exists()
    reason = "because timeline 10 forked off before the end of that segment"
    line = f"this standby waits until {NEWEST} is archived; {NEWER} is not fetched in its place, {reason}"
    assert [f"entrypoint: info: {line}"] == words
    assert [0, 0] == [fetching.fetch("exit 0", name=name)[0] for name in (NEWEST, LATER)]


def test_only_the_same_segment_of_a_newer_timeline_counts(fetching: Fetching) -> None:
    """After a request for another segment, of an older timeline, or the same one again, a segment is fetched."""
    (fetching.data / "standby.signal").touch()
    for before in (f"00000002{LATER[8:]}", NAME, f"00000000{NAME[8:]}", "00000002.history"):
        assert (1, 0) == (fetching.fetch("exit 74", name=before)[0], fetching.fetch("exit 0")[0]), before
    # A standby that takes another path in its next round is refused once.
    assert [1, 1, 0] == [
        fetching.fetch("exit 74", name=NEWER)[0],
        *(fetching.fetch("exit 0")[0] for _ in range(2)),
    ]


def test_a_restore_does_not_replay_an_older_timeline_past_a_fork(fetching: Fetching) -> None:
    """It stops and names both ways; if no timeline has the segment, that is the end of the archive."""
    assert 1 == fetching.fetch("exit 74", name=NEWER)[0]
    code, words = fetching.fetch("echo wrong >place")
    assert (126, False) == (code, (fetching.data / "place").exists())
    assert f"{NAME}\n" == (fetching.runtime / "fetch-failed").read_text()
    assert (
        f"entrypoint: error: {NEWER} is not in the archive, and {NAME} cannot replace it, because timeline 2 forked "
        "off before the end of that segment; recovery stops here\n"
        "  hint: start again once the server on timeline 2 has archived it; if that server is lost, restore the "
        "older timeline (RESTORE_TARGET_TIMELINE=1)\n"
        "  docs: resolve-two-writers (entrypoint help resolve-two-writers)\n"
    ) == words
    assert [1, 1] == [fetching.fetch("exit 74", name=name)[0] for name in (NEWER, NAME)]


def test_a_damaged_segment_is_fetched_only_once_more(fetching: Fetching) -> None:
    """The archiver's report of damage counts after the second fetch."""
    code, words = fetching.fetch("echo >>calls; echo it is torn >&2; exit 9", "60")
    assert (126, 2) == (code, fetching.calls())
    assert f"{NAME} is damaged in the archive; recovery stops here:\n  it is torn\n" in words


def _stored(content: str, ending: str) -> str:
    digest = hashlib.sha1(content.encode(), usedforsecurity=False).hexdigest()
    return f"case $name in {NAME}) file={NAME}-{digest}{ending} ;; esac"


@pytest.mark.parametrize("ending", ["", ".zst"])
def test_checksums_are_compared_if_the_archiver_does_not(fetching: Fetching, ending: str) -> None:
    """The names are listed once, and again for a segment that is not in the list."""
    fetching.sums = "sums"
    (fetching.data / "there").write_text(_stored("right", ending))
    fetching.ask('echo "$@" >>asked; cat there')
    assert (0, "") == fetching.fetch("printf right >place")
    code, words = fetching.fetch("printf wrong >place")
    assert (126, True) == (code, f"{NAME} is damaged in the archive" in words)
    assert not (fetching.data / "place").exists()
    assert f"stored-files {NAME}\n" == (fetching.data / "asked").read_text()
    (fetching.runtime / "stored").write_text(f"case $name in {LATER}) file={LATER}-0 ;; esac\n")
    assert 0 == fetching.fetch("printf right >place")[0]
    fetching.ask("exit 1")
    (fetching.runtime / "stored").unlink()
    assert 126 == fetching.fetch("printf right >place")[0], "without a list the file counts as unchecked"


@pytest.mark.parametrize("ending", [".lz4", ".gz", ".bz2"])
def test_formats_with_their_own_checksum(fetching: Fetching, ending: str) -> None:
    """A file that was decompressed without an error is whole."""
    fetching.sums = "sums"
    (fetching.data / "there").write_text(_stored("right", ending))
    fetching.ask("cat there")
    assert (0, "") == fetching.fetch("printf unpacked >place")


def test_only_successes_of_the_reading_ahead_are_trusted(fetching: Fetching) -> None:
    """After any other answer, the archiver itself fetches the segment."""
    fetching.sure = "SURE=yes"
    text = 'echo "$SURE" >>calls; [ "$SURE" ] || exit 74; exit 0'
    assert (0, "") == fetching.fetch(text)
    assert "\nyes\n" == (fetching.data / "calls").read_text()
    assert (0, "") == fetching.fetch("echo >>calls; exit 0")
    assert 3 == fetching.calls()


def test_the_helpers_log_is_read(fetching: Fetching) -> None:
    """wal-g silently delivers the incomplete file of a segment that it failed to fetch ahead."""
    client = fetching.data / "client"
    client.write_text('#!/bin/sh\nshift\necho "$@" >>asked\nprintf ahead >place\n')
    client.chmod(0o755)
    fetching.client, fetching.socket = str(client), str(fetching.runtime / "s")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(fetching.socket)
        assert 0 == fetching.fetch("printf itself >place")[0]
        assert "itself" == (fetching.data / "place").read_text(), "without a log the helper is not called"
        log = fetching.runtime / "s.log"
        log.write_text(f"WAL-prefetch {LATER}: failed\n")
        assert 0 == fetching.fetch("exit 9")[0]
        assert f"wal-fetch {NAME} place -timeout 1s\n" == (fetching.data / "asked").read_text()
        log.write_text(f"WAL-prefetch {NAME}: failed\n")
        assert 0 == fetching.fetch("printf itself >place")[0]
        assert "itself" == (fetching.data / "place").read_text()


def test_a_full_run_folder_does_not_end_a_recovery(fetching: Fetching) -> None:
    """If the shim cannot write its files, a segment is still fetched; "missing" is not believed."""
    (fetching.runtime / "ask-archive").unlink()
    fetching.runtime.rmdir()
    assert (0, "") == fetching.fetch("exit 0")
    assert 126 == fetching.fetch("exit 74")[0]


def test_the_output_of_an_archiver_controls_no_terminal(segment: Segment) -> None:
    """Escapes, C1 controls, line separators and right-to-left marks are replaced; letters stay."""
    odd = r"\033]0;x\007 \302\233 \342\200\250 \342\200\256 \342\201\246 \303\244 \342\202\254\n"
    code, words = segment.archive(f"printf '{odd}' >&2; exit 1")
    assert (1, True) == (code, "  ?]0;x? ? ? ? ? ä €\n" in words)


def test_an_outage_is_recorded_even_if_run_is_full(segment: Segment) -> None:
    """The record is in the data folder, and is removed when the outage ends."""
    segment.runtime.rmdir()
    note = segment.data / "entrypoint.archive-failing"
    assert 3 == segment.archive("echo dead >&2; exit 3")[0]
    assert "dead" == note.read_text().split("\n")[0]
    assert 0 == segment.archive("true")[0]
    assert not note.exists()


def test_an_archive_without_its_mark_is_claimed_first(segment: Segment) -> None:
    """Nothing is sent until the claim succeeds: the folder may be the disk below a missing mount."""
    mark = segment.data / "mark"
    (segment.runtime / "archive-mark").write_text(f"{mark}\n")
    (segment.runtime / "claim-archive").write_text("echo not mounted >&2; exit 12\n")
    code, words = segment.archive(f"touch {segment.data}/sent")
    assert (12, True, False) == (code, "not mounted" in words, (segment.data / "sent").exists())
    (segment.runtime / "claim-archive").write_text(f"touch {mark}\n")
    assert 0 == segment.archive(f"touch {segment.data}/sent")[0]
    assert (segment.data / "sent").exists()


DROP = f"drop {NAME} {NAME}"


def _given_up(segment: Segment) -> list[str]:
    lines = (segment.data / "entrypoint.given-up").read_text().split("\n")
    return [line.split(" ")[0] if line.startswith(("begin", "end")) else line for line in lines if line]


def test_wal_is_given_up_only_during_an_outage(segment: Segment) -> None:
    """The note alone gives nothing up: a storage that works gets every segment."""
    (segment.runtime / "drop-archive").touch()
    assert (0, True) == (segment.archive("exit 0")[0], segment.has("archived"))
    assert not (segment.data / "entrypoint.given-up").exists()
    assert 9 == segment.archive("echo dead >&2; exit 9")[0]
    code, words = segment.archive("exit 9")
    assert (0, 1) == (
        code,
        words.count("the WAL that waits is given up (ARCHIVE_WHEN_FULL=drop), starting with " + NAME),
    )
    assert ["begin", DROP] == _given_up(segment)
    begin = (segment.data / "entrypoint.given-up").read_text().split("\n")[1].split(" ")
    assert ["dead", True] == [begin[3], abs(int(begin[1]) - time.time()) < 60]
    assert (0, "") == segment.archive("exit 9")
    (segment.runtime / "drop-archive").unlink()
    code, words = segment.archive("exit 0")
    assert (0, True, True) == (code, "WAL is no longer given up" in words, "archiving works again" in words)
    assert ["begin", DROP, "end", f"kept {NAME}"] == _given_up(segment)
    assert not segment.has("archive-dropping")


def test_all_segments_that_wait_are_recorded_at_once(segment: Segment) -> None:
    """Those of the same timeline; a later one makes a new line."""
    folder = segment.data / "pg_wal" / "archive_status"
    folder.mkdir(parents=True)
    names = [f"{NAME[:-1]}{each}" for each in "789A"]
    for name in (*names[:3], f"00000002{NAME[8:]}", f"{names[1]}.00000028.backup", f"{names[2]}.partial"):
        (folder / f"{name}.ready").touch()
    segment.archive("exit 9")
    (segment.runtime / "drop-archive").touch()
    with pytest.MonkeyPatch.context() as patch:
        for name in (names[0], names[2], names[3]):
            patch.setitem(globals(), "NAME", name)
            assert 0 == segment.archive("exit 9")[0]
    expected = ["begin", f"drop {names[0]} {names[2]}", f"drop {names[3]} {names[3]}"]
    assert expected == _given_up(segment)


def test_a_call_without_a_server_does_not_wait(segment: Segment) -> None:
    """Patroni calls it once for each segment of a server that has ended, and waits for it; no outage is noted."""
    (segment.data / "postmaster.pid").unlink()
    for failing in (False, True):
        if failing:
            (segment.runtime / "archive-failing").write_text("away\n1\n")
        assert (1, "no way\n") == segment.archive("echo no way >&2; exit 9")
        assert failing == segment.has("archive-failing")


def test_a_waiting_call_gives_up_at_once(segment: Segment) -> None:
    """A call that waits for the storage sees the note within a second or two."""
    segment.archive("exit 9")
    waiting = segment.start("exit 9")
    (segment.runtime / "drop-archive").touch()
    waiting.communicate(timeout=30)
    assert (0, ["begin", DROP]) == (waiting.returncode, _given_up(segment))


@pytest.mark.parametrize("name", ["00000002.history", "000000010000000000000007.00000028.backup"])
def test_histories_are_not_given_up(segment: Segment, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """They must not hold up the segments either, so they are archived later."""
    monkeypatch.setitem(globals(), "NAME", name)
    segment.archive("exit 9")
    (segment.runtime / "drop-archive").touch()
    assert (0, ["begin", f"later {name}"]) == (segment.archive("exit 9")[0], _given_up(segment))


def test_what_cannot_be_recorded_is_not_given_up(segment: Segment) -> None:
    """A record on a full disk, in a place that is not a file, or in another cluster's folder keeps the segment."""
    segment.archive("exit 9")
    (segment.runtime / "drop-archive").touch()
    for make in (
        lambda path: path.symlink_to("/dev/full"),
        lambda path: path.mkdir(),
        lambda _: (segment.data / "postmaster.pid").write_text("1\n"),
    ):
        make(segment.data / "entrypoint.given-up")
        process = segment.start("exit 9")
        with pytest.raises(subprocess.TimeoutExpired):
            process.communicate(timeout=1.5)
        segment.status("stopping")
        process.communicate(timeout=30)
        assert 255 == process.returncode
        segment.status("ready")
        path = segment.data / "entrypoint.given-up"
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)


def test_a_call_that_hangs_can_be_ended(segment: Segment) -> None:
    """The guard of the volume ends the archiver: that is a failure, with a reason, and then WAL is given up."""
    (segment.runtime / "drop-archive").touch()
    code, words = segment.archive("kill $PPID; sleep 60", "300")
    assert (1, True) == (code, "archiving fails" in words)
    assert "no answer before the disk was nearly full" in (segment.runtime / "archive-failing").read_text()
    assert (0, ["begin", DROP]) == (segment.archive("exit 9")[0], _given_up(segment))


def test_a_stopping_server_gives_nothing_up(segment: Segment) -> None:
    """It writes no more WAL, and the next start may reach the storage."""
    segment.archive("exit 9")
    (segment.runtime / "drop-archive").touch()
    segment.status("stopping")
    assert 255 == segment.archive("exit 9")[0]
    assert not (segment.data / "entrypoint.given-up").exists()


def test_the_storage_is_tried_while_wal_is_given_up(segment: Segment) -> None:
    """Once a minute, for two seconds; if it works again, nothing more is given up."""
    segment.archive("exit 9")
    (segment.runtime / "drop-archive").touch()
    assert 0 == segment.archive("exit 9")[0]
    (segment.runtime / "archive-dropping").write_text(f"0 {NAME}\n")
    began = time.monotonic()
    assert (0, "") == segment.archive("sleep 60", "300")
    assert 1.5 < time.monotonic() - began < 8
    assert ["begin", DROP] == _given_up(segment)
    (segment.runtime / "archive-dropping").write_text(f"0 {NAME}\n")
    code, words = segment.archive("exit 0")
    assert (0, True, False) == (code, "archiving works again" in words, segment.has("archive-dropping"))
    assert (9, False) == (segment.archive("exit 9")[0], segment.has("one-by-one"))
