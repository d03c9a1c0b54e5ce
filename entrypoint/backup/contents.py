"""Reading what is in an archive: what is new, and a slice of the rest. `read` is the table of contents."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Collection, Sequence

from entrypoint import exits, log
from entrypoint.archive import calls
from entrypoint.archive.opened import OpenedArchive
from entrypoint.archivers.judges import Catalogue, Judge, Unpacker
from entrypoint.archivers.terms import Command, Object, brief
from entrypoint.backup import history, reading, unpack
from entrypoint.backup.reading import Note, Plan, Tally
from entrypoint.light import NamedTuple
from entrypoint.server.context import tool_path
from entrypoint.shown import spell
from entrypoint.system.children import answer_file, memory_file, read_back

_SILENT = 300.0
"""Seconds without a byte after which an object counts as one that cannot be read."""
_SAVE = 30.0
"""Seconds between two notes of how far it has come."""
_LOOKED = 60.0
"""Seconds for which it is believed that the storage answers."""


class Found(NamedTuple):
    """What came of it."""

    damaged: dict[str, str]
    """Every object that is known to be damaged, and why."""
    gone: list[str]
    """Backups of which nothing is in the archive."""
    tally: Tally


def read(opened: OpenedArchive, backups: Collection[str], *, made: str | None, seconds: float) -> Found:
    """Read what is new and a slice of the rest, after the backup `made`; without one everything, unnoted.

    Raises Failure where the storage does not answer; how far it came is noted.
    """
    data = opened.data_folder
    objects = objects_of(opened, backups)
    now, url = time.time(), opened.url
    if made is None:
        known: reading.State | None = reading.State(url, now)
    else:
        known = history.read_contents(data)
    before = history.last_runs(data).verified
    plan = reading.plan(
        objects,
        known,
        url=url,
        made=made or "",
        now=now,
        days=opened.settings.backup.verify_days,
        doubtful={*before.broken, *(name for hole in before.holes for name in hole)} if before else (),
    )
    reader = _Reader(opened, plan, backups, noted=made is not None, seconds=seconds)
    try:
        reader.read(made or "")
    finally:
        reader.save()
    damaged = {path: why for note in reader.notes.values() for path, why in note.damaged.items()}
    there = {group.rpartition("/")[2] for group in plan.groups}
    gone = [name for name in backups if name not in there]
    return Found(damaged, gone, reader.told(len(objects), sum(each.size for each in objects)))


def say(found: Tally, days: int, *, whole: bool) -> None:
    """Tell how much was read."""
    text = f"verified: read {spell(found.bytes)} in {found.files} objects"
    if found.files < found.all_files:
        text += f", {found.share} of the archive ({spell(found.all_bytes)} in {found.all_files})"
    else:
        text += ", the whole archive"
    log.info(text if whole else f"{text}; all of it is read once in {days} days")
    if found.left_bytes:
        log.warning(
            f"{spell(found.left_bytes)} more should have been read, and were not for time",
            "the next backup's verification goes on there; BACKUP_VERIFY_PERIOD with more days asks for less",
        )


class _OutOfTime(Exception):
    """The time for all of it is up."""


class _Unreadable(Exception):
    """Nothing says how the objects of a group are judged."""


class _Reader:
    """Reads by a plan, and notes how far it has come."""

    def __init__(
        self,
        opened: OpenedArchive,
        plan: Plan,
        backups: Collection[str],
        *,
        noted: bool,
        seconds: float,
    ) -> None:
        self.opened = opened
        self.plan = plan
        self.notes: dict[str, Note] = dict(plan.state.notes)
        self._noted = noted
        self._deadline = time.monotonic() + seconds
        self._credit = plan.state.credit
        self._files = self._bytes = 0
        self._old_groups: frozenset[str] = frozenset()
        self._left = 0
        self._saved = 0.0
        self._backups = backups
        self._there: set[str] = set()
        self._looked = -_LOOKED
        self._libraries: dict[str, str] | None = None
        self._unjudged: set[str] = set()

    def told(self, files: int, size: int) -> Tally:
        """Return what was read, of so much."""
        return Tally(self._files, self._bytes, files, size, self._left)

    def save(self) -> None:
        """Note how far it has come."""
        self._saved = time.monotonic()
        if self._noted:
            state = self.plan.state._replace(credit=self._credit, notes=self.notes)
            history.write_contents(self.opened.data_folder, state)

    def read(self, made: str) -> None:
        """Read what is new, the newest backup first, and then the slice."""
        self.save()  # so that what is new stays new whatever happens
        order = sorted(self.plan.new, key=lambda name: (not name.endswith(f"/{made}"), name))
        for index, name in enumerate(order):
            try:
                self._new(name)
            except _OutOfTime:
                self._left = sum(each.size for rest in order[index:] for each in self.plan.new[rest])
                return
        self._old_groups = frozenset(self.plan.old)
        for name in self.plan.old:
            if self._credit <= 0 and name not in self.plan.due:
                return
            try:
                self._old(name)
            except _OutOfTime:
                self._left = max(int(self._credit), 1)
                return

    def _new(self, name: str) -> None:
        found, now = self.plan.groups[name], time.time()
        newest = max(each.modified for each in found)
        note = self.notes.get(name, Note(name))
        if note.newest < 0 and not note.at:
            note = note._replace(since=now, upto=newest)
        begun = note.newest < 0
        self.notes[name] = note
        if not self._group(name, self.plan.new[name], steps=begun):
            return
        note = self.notes[name]
        read = note.since if begun else note.read
        self.notes[name] = Note(name, read, newest, len(found), damaged=note.damaged)
        if not begun:  # an unfinished reading of what was there before goes on
            self.notes[name] = note._replace(newest=newest, objects=len(found))

    def _old(self, name: str) -> None:
        note = self.notes[name]
        if not note.at:
            note = self.notes[name] = note._replace(since=time.time())
        chosen = [each for each in self.plan.groups[name] if each.path > note.at]
        if self._group(name, chosen, steps=True, slice_of=name not in self.plan.due):
            note = self.notes[name]
            self.notes[name] = note._replace(read=note.since, at="", since=0.0)

    def _group(self, name: str, chosen: Sequence[Object], *, steps: bool, slice_of: bool = False) -> bool:
        """Read objects of a group; return whether all of them were.

        `steps`: how far it has come is noted. `slice_of`: no more is read than there is credit for.
        """
        try:
            catalogue = self._catalogue(name)
        except _Unreadable:
            return False
        for each in chosen:
            if slice_of and self._credit <= 0:
                return False
            judge = self.opened.tool.judge(each.path, catalogue, self._unpack)
            if judge is None and catalogue is None:
                continue
            if judge is not None:  # else it is empty, and nothing is known of it
                command = self.opened.tool.read_whole(self.opened.server, each.path)
                why = self._judged(each.path, command, judge)
                if why is None:
                    continue
                self._damage(name, each.path, why)
            self._files += 1
            self._bytes += each.size
            if steps:
                self.notes[name] = self.notes[name]._replace(at=each.path)
            if name in self._old_groups:
                self._credit -= each.size
            if time.monotonic() - self._saved > _SAVE:
                self.save()
        return True

    def _catalogue(self, name: str) -> Catalogue | None:
        """Return what says how the objects of a group are judged; raises _Unreadable where nothing does."""
        there = frozenset(each.path for each in self.plan.groups[name])
        given = self.opened.tool.catalogue(self.opened.server, name, there)
        if given is None:
            return None
        path, command, catalogue = given
        why = self._judged(path, command, catalogue)
        if why is None:
            why = "it is missing"
        if not why and (lost := catalogue.missing(there)):
            why = f"{lost[0].removeprefix(name)[1:]} is missing, which it names"
        self._damage(name, path, why)
        if why:
            raise _Unreadable
        return catalogue

    def _damage(self, name: str, path: str, why: str) -> None:
        note = self.notes[name]
        others = {each: words for each, words in note.damaged.items() if each != path}
        self.notes[name] = note._replace(damaged={**others, path: why} if why else others)

    def _judged(self, path: str, command: Command, judge: Judge) -> str | None:
        """Return what is wrong with an object, or nothing; None: it is gone meanwhile."""
        code, words = self._stream(command, judge)
        if code == 0:
            return judge.verdict()
        if time.monotonic() - self._looked > _LOOKED:
            # Raises Failure where it is the storage that does not answer.
            self._there = {each.path for each in objects_of(self.opened, self._backups)}
            self._looked = time.monotonic()
        return f"it cannot be read: {brief(words)}" if path in self._there else None

    def _stream(self, command: Command, judge: Judge) -> tuple[int, str]:
        """Run a command and give the judge what it prints; return its exit code and its last words."""
        children = self.opened.context.children
        end, begin = os.pipe2(os.O_CLOEXEC)
        streams = {0: memory_file(""), 1: begin, 2: answer_file(calls.SMALL)}
        pid = None
        try:
            pid = self.opened.spawn(command, streams)
            os.close(streams.pop(1))
            heard = time.monotonic()
            while True:
                children.raise_if_stopped()
                if time.monotonic() > self._deadline:
                    raise _OutOfTime
                if select.select([end], [], [], 1)[0]:
                    block = os.read(end, 1024**2)
                    if not block:
                        break
                    judge.feed(block)
                    heard = time.monotonic()
                elif time.monotonic() - heard > _SILENT:
                    return exits.FAILURE, f"nothing came for {_SILENT:.0f} seconds"
            code = children.wait(pid, seconds=_SILENT)
            pid = None
            return code, read_back(streams[2]).strip().rpartition("\n")[2]
        except TimeoutError:
            return exits.FAILURE, f"it did not end within {_SILENT:.0f} seconds"
        finally:
            if pid is not None:
                children.end_group(pid, 1)
            for descriptor in (end, *streams.values()):
                os.close(descriptor)

    def _unpack(self, ending: str) -> Unpacker | None:
        if self._libraries is None:
            self._libraries = _libraries(self.opened)
        made = unpack.by_ending(ending, self._libraries)
        if made is None and ending not in self._unjudged:
            self._unjudged.add(ending)
            log.warning(
                f"segments that end in {ending} are not read: the library for it is not there",
                f"install it where the loader finds it, or set {self.opened.can.readable}",
            )
        return made


def _libraries(opened: OpenedArchive) -> dict[str, str]:
    """Return the paths of the libraries that the tool is linked with, by name."""
    path = tool_path(opened.context)
    program = next(
        (each for folder in path.split(":") if os.access(each := f"{folder}/{opened.tool.name}", os.X_OK)),
        "",
    )
    if not program:
        return {}
    # The loader then tells what it would load, and starts nothing; this is how ldd works.
    asked = {"PATH": path, "LD_TRACE_LOADED_OBJECTS": "1"}
    _, text = opened.context.children.output([program], asked, seconds=calls.QUICK)
    rows = (line.split() for line in text.splitlines())
    return {row[0]: row[2] for row in rows if len(row) > 2 and row[1] == "=>" and row[2].startswith("/")}


def objects_of(opened: OpenedArchive, backups: Collection[str]) -> list[Object]:
    """Return what is in the archive; raises Failure where the storage does not answer."""
    commands = opened.tool.list_objects(opened.server)
    answers = [opened.ask(command, seconds=5 * calls.QUICK) for command in commands]
    try:
        return opened.tool.parse_objects(answers, backups)
    except ValueError as error:
        raise opened.not_verified(error) from error
