"""What of an archive is read after a backup, so that all of it has been read once in a period; pure.

What is new is read at once, and of what was read before a slice, oldest reading first. Objects are noted in
groups, a backup or 256 segments each, so that the notes stay small. A group that is read in part is gone on
with behind the last object.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from entrypoint.archivers.terms import Object
from entrypoint.light import NamedTuple
from entrypoint.system import guest

__all__ = ["Note", "Plan", "State", "Tally", "parse", "plan", "write"]

_DAY = 86400.0


class Note(NamedTuple):
    """When a group was read."""

    group: str
    read: float = 0.0
    """When the oldest reading of its objects began, in seconds since 1970.

    Of what was found without a note it is when an even round would have come by: none of it is forgotten, and
    not all is read at once.
    """
    newest: int = -1
    """What was modified later is new; -1: it was never read to its end."""
    objects: int = 0
    """So many objects were not newer than that."""
    at: str = ""
    """The last path that was read of a reading which has not come to its end."""
    since: float = 0.0
    """When that began."""
    upto: int = -1
    """The newest modification at that time."""
    damaged: Mapping[str, str] = {}
    """Objects that were found damaged, and why; they are read again each time."""


class State(NamedTuple):
    """What is noted of one archive."""

    url: str = ""
    when: float = 0.0
    """When it was last planned what is read."""
    credit: float = 0.0
    """Bytes that should have been read by then and were not; negative: the last object was larger."""
    notes: Mapping[str, Note] = {}


class Plan(NamedTuple):
    """What is read now."""

    state: State
    """Notes without those of groups that are gone, and with those of groups that were found without one."""
    groups: Mapping[str, Sequence[Object]]
    """All objects that are there, by path."""
    new: Mapping[str, Sequence[Object]]
    """What is read at once, by group."""
    old: Sequence[str]
    """The groups of which a slice is read, oldest reading first."""
    due: Collection[str]
    """Those of which the period would be over before the next time."""


class Tally(NamedTuple):
    """What was read, and of how much."""

    files: int = 0
    bytes: int = 0
    all_files: int = 0
    all_bytes: int = 0
    left_bytes: int = 0
    """What should have been read, and was not for time."""

    @property
    def share(self) -> str:
        """How much that is of the whole, in percent.

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
    """Return what is read now; `made` is the name of the backup that was just taken.

    Without a state, or with another archive's, the backup that was just taken is new, and what came after
    its first object, and what is `doubtful`: backups and segments that were not good the last time. The rest
    is read in the course of a period.
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
    """Return notes of what was there before the backup that was just taken, as if it had been read evenly."""
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
    """Return a note as it holds for what is there now; nothing was read by a clock that was ahead."""
    known = sum(each.modified <= note.newest for each in found)
    note = note._replace(read=min(note.read, now), since=min(note.since, now))
    paths = {each.path for each in found}
    damaged = {path: why for path, why in note.damaged.items() if path in paths}
    if known > note.objects or (found[0].closed and len(found) < note.objects):
        # Something was put there with an old date, or is missing: which one is not told by a count.
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
    """Return the state that was written; None where it is none, which leads to an even round."""
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
    """Return the text of the file: a line for the archive, and one for each group."""
    import json

    head = {"url": state.url, "when": round(state.when, 1), "credit": round(state.credit)}
    rows = [head, *(list(_rounded(note)) for note in state.notes.values())]
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _rounded(note: Note) -> Note:
    return note._replace(read=round(note.read, 1), since=round(note.since, 1))
