"""Verification that reads an archive: all new objects, and a slice of the others. `read` is the overview."""

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
"""Seconds without a byte after which an object counts as unreadable."""
_SAVE = 30.0
"""Seconds between two records of the progress."""
_LOOKED = 60.0
"""Seconds for which the storage is assumed to answer."""


class Found(NamedTuple):
    """The result of reading an archive."""

    damaged: dict[str, str]
    """Every object that is known to be damaged, with the reason."""
    gone: list[str]
    """Backups that have no object in the archive."""
    tally: Tally


def read(opened: OpenedArchive, backups: Collection[str], *, made: str | None, seconds: float) -> Found:
    """Read new objects and a slice of the others, after the backup `made` was taken.

    If `made` is None, read everything and record nothing. Raises Failure if the storage does not answer; the
    progress until then is recorded.
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
    """Log how much was read."""
    text = f"verified: read {spell(found.bytes)} in {found.files} objects"
    if found.files < found.all_files:
        text += f", {found.share} of the archive ({spell(found.all_bytes)} in {found.all_files})"
    else:
        text += ", the whole archive"
    log.info(text if whole else f"{text}; the whole archive is read once every {days} days")
    if found.left_bytes:
        log.warning(
            f"no time was left to read {spell(found.left_bytes)} that should have been verified now",
            "the next backup's verification continues there; set BACKUP_VERIFY_PERIOD to more days to read "
            "less each time",
            "schedule-backups",
        )


class _OutOfTime(Exception):
    """The time for the whole reading is up."""


class _Unreadable(Exception):
    """The objects of a group cannot be judged, because their catalogue is unusable."""


class _Reader:
    """Reads objects by a plan, and records the progress."""

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
        """Return how much was read of this many objects and bytes."""
        return Tally(self._files, self._bytes, files, size, self._left)

    def save(self) -> None:
        """Record the progress."""
        self._saved = time.monotonic()
        if self._noted:
            state = self.plan.state._replace(credit=self._credit, notes=self.notes)
            history.write_contents(self.opened.data_folder, state)

    def read(self, made: str) -> None:
        """Read new objects, the newest backup first, then the slice of the others."""
        self.save()  # so that new objects still count as new if this process is killed
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
        if not begun:  # an unfinished reading of the older objects continues
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
        """Read objects of a group; return whether all of them were read.

        `steps`: record the progress. `slice_of`: stop when the credit is used up.
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
            if judge is not None:  # otherwise it is empty, and the catalogue lists no part of it
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
        """Return the catalogue of a group, None if it has none; raises _Unreadable if it is unusable."""
        there = frozenset(each.path for each in self.plan.groups[name])
        given = self.opened.tool.catalogue(self.opened.server, name, there)
        if given is None:
            return None
        path, command, catalogue = given
        why = self._judged(path, command, catalogue)
        if why is None:
            why = "it is missing"
        if not why and (lost := catalogue.missing(there)):
            why = f"it names {lost[0].removeprefix(name)[1:]}, which is missing"
        self._damage(name, path, why)
        if why:
            raise _Unreadable
        return catalogue

    def _damage(self, name: str, path: str, why: str) -> None:
        note = self.notes[name]
        others = {each: words for each, words in note.damaged.items() if each != path}
        self.notes[name] = note._replace(damaged={**others, path: why} if why else others)

    def _judged(self, path: str, command: Command, judge: Judge) -> str | None:
        """Return what is wrong with an object, or an empty text; None: the object no longer exists."""
        code, words = self._stream(command, judge)
        if code == 0:
            return judge.verdict()
        if time.monotonic() - self._looked > _LOOKED:
            # Raises Failure if the storage itself does not answer.
            self._there = {each.path for each in objects_of(self.opened, self._backups)}
            self._looked = time.monotonic()
        return f"it cannot be read: {brief(words)}" if path in self._there else None

    def _stream(self, command: Command, judge: Judge) -> tuple[int, str]:
        """Run a command and pass its output to the judge; return its exit code and last error line."""
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
                    return exits.FAILURE, f"no data for {_SILENT:.0f} seconds"
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
                f"segments with the suffix {ending} are not verified: the library that decompresses them is "
                "missing",
                f"install the library where the loader finds it, or set {self.opened.can.readable}",
            )
        return made


def _libraries(opened: OpenedArchive) -> dict[str, str]:
    """Return the paths of the libraries that the tool is linked against, by name."""
    path = tool_path(opened.context)
    program = next(
        (each for folder in path.split(":") if os.access(each := f"{folder}/{opened.tool.name}", os.X_OK)),
        "",
    )
    if not program:
        return {}
    # The loader then prints what it would load and does not start the program; ldd works this way.
    asked = {"PATH": path, "LD_TRACE_LOADED_OBJECTS": "1"}
    _, text = opened.context.children.output([program], asked, seconds=calls.QUICK)
    rows = (line.split() for line in text.splitlines())
    return {row[0]: row[2] for row in rows if len(row) > 2 and row[1] == "=>" and row[2].startswith("/")}


def objects_of(opened: OpenedArchive, backups: Collection[str]) -> list[Object]:
    """Return the objects in the archive; raises Failure if the storage does not answer."""
    commands = opened.tool.list_objects(opened.server)
    answers = [opened.ask(command, seconds=5 * calls.QUICK) for command in commands]
    try:
        return opened.tool.parse_objects(answers, backups)
    except ValueError as error:
        raise opened.not_verified(error) from error
