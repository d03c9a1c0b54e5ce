"""Plans what to read of an archive after a backup, so that each period reads the whole archive once; pure.

New objects are read immediately. Of the others a slice is read, the oldest reading first. Notes are kept for
groups of objects, a backup or 256 segments each, so that they stay small. A partly read group is continued
after its last object that was read.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from entrypoint.archivers.terms import Object
from entrypoint.light import NamedTuple
from entrypoint.system import guest

__all__ = ["Note", "Plan", "State", "Tally", "parse", "plan", "write"]

_DAY = 86400.0


class Note(NamedTuple):
    """The reading state of a group."""

    group: str
    read: float = 0.0
    """When the oldest reading of its objects began, in seconds since 1970.

    A group found without a note gets the time at which evenly spread reading would have reached it. So each
    group is read in time, and not all of them at once.
    """
    newest: int = -1
    """Objects modified after this time are new; -1: the group was never read completely."""
    objects: int = 0
    """Number of objects that were not newer than that."""
    at: str = ""
    """The last path that an unfinished reading has read."""
    since: float = 0.0
    """When the unfinished reading began."""
    upto: int = -1
    """The newest modification at that time."""
    damaged: Mapping[str, str] = {}
    """Objects that were found damaged, with the reasons; they are read again each time."""


class State(NamedTuple):
    """The notes about one archive."""

    url: str = ""
    when: float = 0.0
    """When reading was last planned."""
    credit: float = 0.0
    """Bytes that should have been read by then but were not; negative: the last object was larger."""
    notes: Mapping[str, Note] = {}


class Plan(NamedTuple):
    """What to read now."""

    state: State
    """The state without notes of groups that are gone, and with notes for groups found without one."""
    groups: Mapping[str, Sequence[Object]]
    """All objects in the archive, by group."""
    new: Mapping[str, Sequence[Object]]
    """The objects to read immediately, by group."""
    old: Sequence[str]
    """The groups to read a slice of, oldest reading first."""
    due: Collection[str]
    """The groups whose period would end before the next reading."""


class Tally(NamedTuple):
    """How much was read, and of how much."""

    files: int = 0
    bytes: int = 0
    all_files: int = 0
    all_bytes: int = 0
    left_bytes: int = 0
    """Bytes that should have been read but were not, because the time was up."""

    @property
    def share(self) -> str:
        """The share of the archive that was read, in percent.

        >>> Tally(1, 1, 1000, 1000).share, Tally(1, 999, 2, 1000).share, Tally(2, 5, 2, 5).share
        ('less than 1 %', '99 %', 'all')
        """
        if self.files >= self.all_files:
            return "all"
        percent = 100 * self.bytes // max(self.all_bytes, 1)
        return f"{percent} %" if percent else "less than 1 %"


def plan(
    objects: Iterable[Object],
    state: State | None,
    *,
    url: str,
    made: str,
    now: float,
    days: int,
    doubtful: Collection[str] = (),
) -> Plan:
    """Return what to read now; `made` is the name of the backup that was just taken.

    Without a state, or with another archive's state, these objects are new: the backup that was just taken,
    everything stored after its first object, and the `doubtful` backups and segments, in which the last
    verification found a fault. The others are read in the course of a period.
    """
    period = days * _DAY
    groups: dict[str, list[Object]] = {}
    for each in sorted(objects):
        groups.setdefault(each.group, []).append(each)
    if state is None or state.url != url:
        state = State(url, now, notes=_evenly(groups, made, now, period, doubtful))
    elapsed = min(max(now - state.when, 0.0), period)
    notes = {
        name: _seen(state.notes[name], found, now) for name, found in groups.items() if name in state.notes
    }
    new: dict[str, list[Object]] = {}
    for name, found in groups.items():
        note = notes.get(name)
        chosen = found if note is None else [each for each in found if _is_new(each, note)]
        if chosen:
            new[name] = chosen
    old = sorted((note.read, name) for name, note in notes.items() if note.newest >= 0)
    known = sum(each.size for _, name in old for each in groups[name])
    credit = min(state.credit + known * elapsed / period, float(known))
    return Plan(
        state=State(url, now, credit, notes),
        groups=groups,
        new=new,
        old=[name for _, name in old],
        due={name for read, name in old if read + period <= now + elapsed},
    )


def _evenly(
    groups: Mapping[str, Sequence[Object]], made: str, now: float, period: float, doubtful: Collection[str]
) -> dict[str, Note]:
    """Return notes for the objects older than the backup just taken, as if they had been read evenly."""
    ours = [each.modified for name, found in groups.items() if name.endswith(f"/{made}") for each in found]
    begin = min(
        ours, default=max((each.modified for found in groups.values() for each in found), default=0) + 1
    )
    before = {name: [each for each in found if each.modified < begin] for name, found in groups.items()}
    for name, found in groups.items():
        names = {name.rpartition("/")[2], *(each.path.rpartition("/")[2][:24] for each in found)}
        if not before[name] or not names.isdisjoint({made, *doubtful}):
            del before[name]
    whole = max(1, sum(each.size for found in before.values() for each in found))
    notes = {}
    passed = 0
    for name in sorted(before, key=lambda name: (max(each.modified for each in before[name]), name)):
        passed += sum(each.size for each in before[name])
        newest = max(each.modified for each in before[name])
        notes[name] = Note(name, now - period * (1 - passed / whole), newest, len(before[name]))
    return notes


def _seen(note: Note, found: Sequence[Object], now: float) -> Note:
    """Return a note adapted to the objects that exist now; times of a clock that was ahead are cut to now."""
    known = sum(each.modified <= note.newest for each in found)
    note = note._replace(read=min(note.read, now), since=min(note.since, now))
    paths = {each.path for each in found}
    damaged = {path: why for path, why in note.damaged.items() if path in paths}
    if known > note.objects or (found[0].closed and len(found) < note.objects):
        # An object with an old date was added, or one is missing: a count does not show which.
        note = Note(note.group) if note.newest >= 0 else note
    elif not found[0].closed:
        note = note._replace(objects=known)
    return note._replace(damaged=damaged)


def _is_new(each: Object, note: Note) -> bool:
    if each.path in note.damaged:
        return True
    if note.newest >= 0:
        return each.modified > note.newest
    return each.path > note.at or each.modified > note.upto


def parse(text: str) -> State | None:
    """Return the state from the file's text; None if it is invalid, which starts an even round."""
    lines = text.split("\n")
    try:
        with guest.Reading("the first line"):
            head = guest.parse_json(lines[0])
            state: State = guest.typed(State(str(head["url"]), head["when"], head["credit"]))
        notes = {}
        for line in lines[1:]:
            if line:
                with guest.Reading("the line"):
                    note: Note = guest.typed(Note(*guest.parse_json(line)))
                    why = {str(path): str(words) for path, words in note.damaged.items()}
                    notes[note.group] = note._replace(damaged=why)
    except ValueError:
        return None
    return state._replace(notes=notes)


def write(state: State) -> str:
    """Return the file's text: a line for the archive, and a line for each group."""
    import json

    head = {"url": state.url, "when": round(state.when, 1), "credit": round(state.credit)}
    rows = [head, *(list(_rounded(note)) for note in state.notes.values())]
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _rounded(note: Note) -> Note:
    return note._replace(read=round(note.read, 1), since=round(note.since, 1))
