"""Which sources set the server's settings, which of them wins, and what the server says about them; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from entrypoint.configfile import Entry
from entrypoint.errors import Problem
from entrypoint.hiding import hide_secrets, hide_words
from entrypoint.light import NamedTuple, re

IMAGE = "image"
"""What initdb wrote, from the image's sample."""
FILE = "cluster file"
TUNE = "POSTGRES_TUNE"
ARCHIVE = "archive"
STANDBY = "standby"
VARIABLE = "variable"
FOLDER = "conf.d"
ALTER = "ALTER SYSTEM"
COMMAND = "command line"
ADAPTED = "/dev/shm"  # noqa: S108 - the name of an origin
OWN_COMMENT = "entrypoint: "
"""Before the reason behind a line that the entrypoint has put into a new cluster's file."""

_INITDB = {
    "dynamic_shared_memory_type": "posix",
    "max_connections": "100",
    "max_wal_size": "1GB",
    "min_wal_size": "80MB",
    "shared_buffers": "128MB",
}
"""What initdb puts in, whatever the machine; a person who writes the same value cannot be told apart."""
_INITDB_CHOOSES = ("lc_", "datestyle", "timezone", "log_timezone", "default_text_search_config")


class Source(NamedTuple):
    """One place that sets a setting."""

    name: str
    value: str
    origin: str
    where: str
    """The file and line, the variable, or the option."""
    reason: str = ""
    """Why, where nobody has asked for this value by name."""


def of_files(entries: Iterable[Entry], origin: str) -> list[Source]:
    """Return what files set, in their order."""
    return [Source(entry.name, entry.value, origin, entry.where, "") for entry in entries]


def of_base(entries: Iterable[Entry], sample: Mapping[str, str]) -> list[Source]:
    """Return what the cluster's own file sets: what initdb wrote is the image's, all else a person's.

    `sample` is what the image's sample file sets.
    """
    found: list[Source] = []
    seen = set()
    for entry in entries:
        usual = {**sample, **_INITDB}.get(entry.name)
        ours = entry.comment.startswith(OWN_COMMENT)
        initdbs = ours or entry.value == usual or entry.name.startswith(_INITDB_CHOOSES)
        origin = IMAGE if initdbs and entry.name not in seen else FILE
        seen.add(entry.name)
        reason = entry.comment.removeprefix(OWN_COMMENT) if ours else ""
        found.append(Source(entry.name, entry.value, origin, entry.where, reason))
    return found


def by_name(sources: Iterable[Source]) -> dict[str, list[Source]]:
    """Return all that sets each setting, the strongest first; `sources` come weakest first."""
    found: dict[str, list[Source]] = {}
    for source in sources:
        found.setdefault(source.name, []).insert(0, source)
    return found


def winners(sources: Iterable[Source]) -> dict[str, Source]:
    """Return what counts for each setting."""
    return {source.name: source for source in sources}


class Running(NamedTuple):
    """What the running server says about one setting."""

    setting: str
    """In the setting's own unit."""
    shown: str
    """As SHOW prints it."""
    context: str
    """From when on a change holds, in PostgreSQL's words: `postmaster` is a restart."""
    source: str
    pending_restart: bool
    default: str
    """In the setting's own unit."""


class Change(NamedTuple):
    """What a start, or a reload, changes."""

    name: str
    old: str
    new: str
    restart: bool
    """A reload is not enough."""
    where: str

    def hidden(self) -> Change:
        """Return it as people may see it: without secrets."""
        return self._replace(old=hide_secrets(self.old, self.name), new=hide_secrets(self.new, self.name))


_OF_A_FILE = ("configuration file", "command line", "default", "environment variable")
"""Others are the session's own: what the server has for all does not show behind them."""
_SIZED_BY_ITSELF = (
    "wal_buffers",
    "commit_timestamp_buffers",
    "subtransaction_buffers",
    "transaction_buffers",
)
"""With -1 or 0 the server chooses, and shows what it has chosen."""


def doubtful(wanted: Mapping[str, Source], running: Mapping[str, Running]) -> list[str]:
    """Return the settings whose value is written in another way than the server shows it."""
    return [
        name
        for name, source in wanted.items()
        if (known := running.get(name)) is not None
        and known.source in _OF_A_FILE
        and source.value not in (known.setting, known.shown)
    ]


def changes(
    wanted: Mapping[str, Source], running: Mapping[str, Running], plain: Mapping[str, str]
) -> list[Change]:
    """Return what is to be otherwise than the running server has it.

    `plain` are the values of `doubtful` ones as the server's binary writes them.
    """
    found = []
    for name in doubtful(wanted, running):
        known, source = running[name], wanted[name]
        value = plain.get(name, source.value)
        if value != known.setting and not (name in _SIZED_BY_ITSELF and value in ("-1", "0")):
            where = f"{source.origin}: {source.where}"
            # A reload looks at files, and the command line stays stronger than all of them.
            restart = known.context == "postmaster" or known.source == "command line"
            found.append(Change(name, known.shown, source.value, restart, where))
    for name, known in running.items():
        if name not in wanted and known.source in _OF_A_FILE[:2] and known.setting != known.default:
            change = Change(name, known.shown, known.default, known.context == "postmaster", "default")
            found.append(change)
    return sorted(found)


_WORDS = r"(?:LOG|FATAL|ERROR|WARNING|HINT|DETAIL): +(.*)"
_NAMED = r'parameter "([^"]+)"'
_RANGE = r"(\S+)((?: \S+)?) is outside the valid range for parameter \"[^\"]+\" \((.+) \.\. (.+)\)"


class Complaint(NamedTuple):
    """What the server's binary says against one setting."""

    name: str
    words: str
    mend: str


def complaints(text: str) -> list[Complaint]:
    """Return what `postgres -C` has said against settings, each with the mend that its words hold.

    >>> complaints('LOG:  0 8kB is outside the valid range for parameter "wal_buffers" (16 .. 99)')[0].mend
    'give wal_buffers from 16 to 99, in units of 8kB'
    """
    found: list[Complaint] = []
    for line in text.splitlines():
        said = re.search(_WORDS, line)
        named = said and re.search(_NAMED, said[1])
        if said and named:
            name = named[1].lower()
            found.append(Complaint(name, said[1].strip(), _mend(name, said[1])))
        elif said and "HINT:" in line and found:
            found[-1] = found[-1]._replace(mend=said[1].strip())
    return found


def _mend(name: str, words: str) -> str:
    if (outside := re.search(_RANGE, words)) is not None:
        unit = outside[2].strip()
        counted = f", in units of {unit}" if unit and not outside[3].endswith(unit) else ""
        return f"give {name} from {outside[3]} to {outside[4]}{counted}"
    if "Boolean" in words:
        return f"give {name} as on or off"
    if "cannot be changed" in words:
        return f"remove {name}: it is built into the server or made with the cluster"
    return f"correct or remove {name}"


def is_unknown(complaint: Complaint) -> bool:
    """Tell whether the server does not know a setting of this name."""
    return complaint.words.startswith("unrecognized configuration parameter")


def nearest(name: str, known: Sequence[str]) -> str | None:
    """Return the setting that a misspelt name probably means.

    >>> nearest("wrok_mem", ["port", "work_mem"])
    'work_mem'
    """
    import difflib  # only for a mistake

    found = difflib.get_close_matches(name, known, n=1, cutoff=0.7)
    return found[0] if found else None


def problem(source: Source, complaint: Complaint, known: Sequence[str]) -> Problem:
    """Return what is wrong with one setting, at the place where it was set."""
    if is_unknown(complaint):
        near = nearest(source.name, known)
        mend = f"did you mean {near}?" if near else f"correct or remove {source.name}"
        return Problem(f"{source.where}: the server has no setting {source.name}", mend)
    words = hide_words(complaint.words, [(source.name, source.value)])
    return Problem(f"{source.where}: {words}", hide_words(complaint.mend, [(source.name, source.value)]))
