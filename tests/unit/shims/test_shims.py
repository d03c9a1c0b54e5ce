"""What PostgreSQL runs once per segment: the exit codes, the deadlines, and what is kept of an outage."""

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
    """One data folder and one runtime folder."""

    def __init__(self, root: Path) -> None:
        """Make both folders."""
        self.data, self.runtime = root / "data", root / "run"
        self.data.mkdir()
        self.runtime.mkdir()
        self.client, self.socket = "-", "-"


class Segment(Folders):
    """One data folder and one runtime folder, and the shim between them."""

    def __init__(self, root: Path) -> None:
        """Let the server be ready."""
        super().__init__(root)
        (self.data / "postgresql.auto.conf").touch()
        self.status("ready")

    def status(self, word: str) -> None:
        """Let the server be in this state."""
        (self.data / "postmaster.pid").write_text(f"{os.getppid()}\n/data\n1\n5432\n/run\n*\n0\n{word}\n")

    def start(self, text: str, seconds: str = "5") -> subprocess.Popen[str]:
        """Begin to archive with this piece of shell as the archiver."""
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


LATER = "000000010000000000000009"


class Fetching(Folders):
    """One data folder of a recovering server, and what its restore_command is given."""

    def __init__(self, root: Path) -> None:
        """The archive says that nothing comes after a missing segment."""
        super().__init__(root)
        (self.data / "recovery.signal").touch()
        self.sure, self.sums, self.proof = "", "-", ""
        self.ask("exit 0")

    def ask(self, text: str) -> None:
        """Let this be how the archive answers."""
        (self.runtime / "ask-archive").write_text(text + "\n")

    def start(self, text: str, seconds: str, name: str = NAME, missing: str = "74") -> subprocess.Popen[str]:
        """Begin to fetch with this piece of shell as the archiver."""
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
        """How that ends, and what it says."""
        process = self.start(text, seconds, name, missing)
        _, words = process.communicate(timeout=30)
        return process.returncode, words

    def calls(self) -> int:
        """How often the archiver wrote a line to `calls`."""
        return len((self.data / "calls").read_text().splitlines())


@pytest.fixture
def fetching(tmp_path: Path) -> Fetching:
    """A segment to be fetched."""
    return Fetching(tmp_path)


@pytest.mark.parametrize("missing", ["1", "74"])
@pytest.mark.parametrize("code", [0, 1, 2, 25, 74, 103, 124, 125, 126, 127, 137, 255])
def test_fetch_segment_never_lies(fetching: Fetching, missing: str, code: int) -> None:
    """0 found, 1 not in the archive, 126 anything else: PostgreSQL takes 1 to 125 for the archive's end."""
    expected = 0 if code == 0 else 1 if str(code) == missing else 126
    assert expected == fetching.fetch(f"exit {code}", missing=missing)[0]


def test_whatever_ends_fetch_segment_is_no_answer(tmp_path: Path) -> None:
    """A call that was garbled must not end a recovery; sh itself would end with 2."""
    argv = ["/bin/sh", "-c", '. "$0"', str(SHIMS / "fetch-segment")]
    for words in ([], ["1", "2", "3", "not a number", str(tmp_path), NAME, "p", "-", "-", "", "", "true"]):
        assert 126 == subprocess.run([*argv, *words], check=False, capture_output=True).returncode


def test_fetch_segment_never_ends_a_standby(fetching: Fetching) -> None:
    """For a standby, and once a promotion has begun, whatever goes wrong is "not there"."""
    texts = ("exit 0", "exit 74", "exit 2", "sleep 5")
    (fetching.data / "standby.signal").touch()
    assert [0, 1, 1, 1] == [fetching.fetch(text)[0] for text in texts]
    (fetching.data / "standby.signal").unlink()
    assert 126 == fetching.fetch("exit 2")[0]
    (fetching.data / "recovery.signal").unlink()
    assert [0, 1, 1, 1] == [fetching.fetch(text)[0] for text in texts]


def test_no_promotion_before_the_end_was_read(fetching: Fetching) -> None:
    """The next timeline's history is asked for by a promotion alone: 126, unless a later segment is missing."""
    fetching.proof = "00000002.history/0000000000000007"

    def promotes() -> int:
        return fetching.fetch("exit 74", name="00000002.history")[0]

    assert (1, 126) == (fetching.fetch("exit 74", name="00000001.history")[0], promotes())
    assert (fetching.runtime / "ended-early").exists()
    assert (0, 1, 126) == (fetching.fetch("exit 0")[0], fetching.fetch("exit 74")[0], promotes())
    assert NAME == (fetching.runtime / "fetched").read_text().strip()
    later = "0000000300000000000000FF"  # of whatever timeline
    assert (0, 126) == (fetching.fetch("exit 0", name=later)[0], promotes())
    assert (126, 126) == (fetching.fetch("exit 2", name=later)[0], promotes())
    assert (1, 1) == (fetching.fetch("exit 74", name=later)[0], promotes())
    assert 0 == fetching.fetch("exit 0", name="00000002.history")[0]


@pytest.mark.parametrize("text", ["sleep 60 & wait", "kill -KILL $$"], ids=["hangs", "killed"])
def test_fetch_segment_stops_the_recovery(fetching: Fetching, text: str) -> None:
    """An archiver that hangs or was killed has not said that the segment is missing."""
    began = time.monotonic()
    code, words = fetching.fetch(text, "3")
    assert (126, True) == (code, f"fetching {NAME} failed for 3 seconds" in words)
    assert time.monotonic() - began < 8


def test_an_outage_of_a_recovery_is_waited_for(fetching: Fetching) -> None:
    """It is told once when it begins, with the archiver's words, and once when it ends."""
    waiting = fetching.start("echo >>calls; [ -e storage ] || { echo dead >&2; exit 9; }", "30")
    _until(lambda: (fetching.data / "calls").exists() and fetching.calls() > 2)
    (fetching.data / "storage").touch()
    _, words = waiting.communicate(timeout=20)
    expected = [
        f"entrypoint: warning: {NAME} cannot be fetched from the archive (failed); it is tried again:",
        "  dead",
        f"entrypoint: fetching from the archive works again, from {NAME} on",
    ]
    assert (0, expected) == (waiting.returncode, words.splitlines())


def test_a_long_outage_ends_the_recovery(fetching: Fetching) -> None:
    """After so many seconds, with the archiver's last words and what to do."""
    began = time.monotonic()
    code, words = fetching.fetch("echo $(wc -l <calls) >&2; echo >>calls; exit 9", "4")
    assert (126, True) == (code, 1 < time.monotonic() - began < 6)
    last = len((fetching.data / "calls").read_text().splitlines()) - 1
    assert 0 < last
    assert f"recovery stops here:\n  {last}\n  hint: see these words" in words
    assert not (fetching.runtime / "fetch-failing").exists()


@pytest.mark.parametrize("text", ["sleep 60", "exit 9"], ids=["hangs", "fails"])
def test_a_stop_does_not_wait_for_a_fetch(fetching: Fetching, text: str) -> None:
    """The archiver is ended with it; 143 is what PostgreSQL takes for its own stop."""
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
    """Where later segments are there it is waited for the missing one, which may be on its way."""
    fetching.ask(f'[ "$1 $2" = "later-segment {NAME}" ] && echo {LATER}')
    code, words = fetching.fetch("exit 74")
    assert (126, True) == (code, f"{NAME} is missing in the archive, which holds the later {LATER}" in words)
    assert "RESTORE_TARGET_LSN" in words
    waiting = fetching.start("[ -e storage ] || exit 74", "30")
    time.sleep(0.5)
    (fetching.data / "storage").touch()
    _, words = waiting.communicate(timeout=20)
    assert (0, 1) == (waiting.returncode, words.count("works again"))


def test_an_archive_that_does_not_tell_is_not_at_its_end(fetching: Fetching) -> None:
    """Whether there are later segments is not known, if nobody could look."""
    fetching.ask("echo silence >&2; exit 12")
    code, words = fetching.fetch("exit 74")
    assert (126, True) == (code, "  silence\n" in words)
    (fetching.runtime / "ask-archive").unlink()
    assert 126 == fetching.fetch("exit 74")[0]


@pytest.mark.parametrize("name", ["00000002.history", f"{NAME}.00000028.backup", f"{NAME}.partial"])
def test_other_files_may_be_missing(fetching: Fetching, name: str) -> None:
    """PostgreSQL asks for files that were never there, and the archive is not asked about those."""
    fetching.ask("echo later")
    assert (1, "") == fetching.fetch("echo no such file >&2; exit 74", name=name)


@pytest.mark.parametrize(("text", "expected"), [("exit 74", 0), ("exit 9", 1)], ids=["hole", "outage"])
def test_a_standby_asks_again_by_itself(fetching: Fetching, text: str, expected: int) -> None:
    """It gets 1 after one try, is not promoted by that, and an outage is told once over all calls."""
    (fetching.data / "standby.signal").touch()
    fetching.ask(f"echo {LATER}")
    for _ in range(3):
        code, words = fetching.fetch(f"echo >>calls; {text}", "30")
        assert (1, expected) == (code, words.count("cannot be fetched"))
        expected = 0
    assert 3 == fetching.calls()
    code, words = fetching.fetch("exit 0")
    assert (0, text == "exit 9") == (code, "works again" in words)


def test_a_damaged_segment_is_fetched_once_more_only(fetching: Fetching) -> None:
    """The archiver's word is enough; another answer the second time is another case."""
    code, words = fetching.fetch("echo >>calls; echo it is torn >&2; exit 9", "60")
    assert (126, 2) == (code, fetching.calls())
    assert f"{NAME} is damaged in the archive; recovery stops here:\n  it is torn\n" in words


def _stored(content: str, ending: str) -> str:
    digest = hashlib.sha1(content.encode(), usedforsecurity=False).hexdigest()
    return f"case $name in {NAME}) file={NAME}-{digest}{ending} ;; esac"


@pytest.mark.parametrize("ending", ["", ".zst"])
def test_checksums_are_compared_where_nobody_else_does(fetching: Fetching, ending: str) -> None:
    """The names are listed once, and again for a segment that is not among them."""
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
    assert 126 == fetching.fetch("printf right >place")[0], "without a list nothing is known"


@pytest.mark.parametrize("ending", [".lz4", ".gz", ".bz2"])
def test_formats_with_a_checksum_of_their_own(fetching: Fetching, ending: str) -> None:
    """What was unpacked without a complaint is whole."""
    fetching.sums = "sums"
    (fetching.data / "there").write_text(_stored("right", ending))
    fetching.ask("cat there")
    assert (0, "") == fetching.fetch("printf unpacked >place")


def test_only_good_answers_of_what_reads_ahead_are_trusted(fetching: Fetching) -> None:
    """Anything else is asked again, of the archiver itself."""
    fetching.sure = "SURE=yes"
    text = 'echo "$SURE" >>calls; [ "$SURE" ] || exit 74; exit 0'
    assert (0, "") == fetching.fetch(text)
    assert "\nyes\n" == (fetching.data / "calls").read_text()
    assert (0, "") == fetching.fetch("echo >>calls; exit 0")
    assert 3 == fetching.calls()


def test_the_helpers_log_is_read(fetching: Fetching) -> None:
    """Of a segment that it failed to fetch ahead wal-g gives out what it has, without a word."""
    client = fetching.data / "client"
    client.write_text('#!/bin/sh\nshift\necho "$@" >>asked\nprintf ahead >place\n')
    client.chmod(0o755)
    fetching.client, fetching.socket = str(client), str(fetching.runtime / "s")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(fetching.socket)
        assert 0 == fetching.fetch("printf itself >place")[0]
        assert "itself" == (fetching.data / "place").read_text(), "without a log it is not asked"
        log = fetching.runtime / "s.log"
        log.write_text(f"WAL-prefetch {LATER}: failed\n")
        assert 0 == fetching.fetch("exit 9")[0]
        assert f"wal-fetch {NAME} place -timeout 1s\n" == (fetching.data / "asked").read_text()
        log.write_text(f"WAL-prefetch {NAME}: failed\n")
        assert 0 == fetching.fetch("printf itself >place")[0]
        assert "itself" == (fetching.data / "place").read_text()


def test_a_full_run_folder_does_not_end_a_recovery(fetching: Fetching) -> None:
    """Without a place for its notes a segment is fetched all the same; nothing else is believed."""
    (fetching.runtime / "ask-archive").unlink()
    fetching.runtime.rmdir()
    assert (0, "") == fetching.fetch("exit 0")
    assert 126 == fetching.fetch("exit 74")[0]


def test_words_of_an_archiver_rule_no_terminal(segment: Segment) -> None:
    """Escapes, C1 controls, separators of lines and reversed writing are replaced; letters stay."""
    odd = r"\033]0;x\007 \302\233 \342\200\250 \342\200\256 \342\201\246 \303\244 \342\202\254\n"
    code, words = segment.archive(f"printf '{odd}' >&2; exit 1")
    assert (1, True) == (code, "  ?]0;x? ? ? ? ? ä €\n" in words)


def test_an_outage_is_noted_although_run_is_full(segment: Segment) -> None:
    """The data folder takes the note, which goes with the outage."""
    segment.runtime.rmdir()
    note = segment.data / "entrypoint.archive-failing"
    assert 3 == segment.archive("echo dead >&2; exit 3")[0]
    assert "dead" == note.read_text().split("\n")[0]
    assert 0 == segment.archive("true")[0]
    assert not note.exists()


def test_an_archive_without_its_mark_is_claimed_first(segment: Segment) -> None:
    """Nothing is sent until that has worked: what lies there may be the disk below a missing mount."""
    mark = segment.data / "mark"
    (segment.runtime / "archive-mark").write_text(f"{mark}\n")
    (segment.runtime / "claim-archive").write_text("echo not mounted >&2; exit 12\n")
    code, words = segment.archive(f"touch {segment.data}/sent")
    assert (12, True, False) == (code, "not mounted" in words, (segment.data / "sent").exists())
    (segment.runtime / "claim-archive").write_text(f"touch {mark}\n")
    assert 0 == segment.archive(f"touch {segment.data}/sent")[0]
    assert (segment.data / "sent").exists()
