"""The errors that the server's binary reports about settings, and the hint for each; pure."""

from __future__ import annotations

from collections.abc import Sequence

from entrypoint.config import sources
from entrypoint.errors import Problem
from entrypoint.light import NamedTuple, re
from entrypoint.settings.hiding import hide_words

PAGE = "configure-the-server"
"""The page about settings in docs/how-to/."""
_WORDS = r"(?:LOG|FATAL|ERROR|WARNING|HINT|DETAIL): +(.*)"
_NAMED = r'parameter "([^"]+)"'
_RANGE = r"(\S+)((?: \S+)?) is outside the valid range for parameter \"[^\"]+\" \((.+) \.\. (.+)\)"


class Complaint(NamedTuple):
    """An error that the server's binary reports about one setting."""

    name: str
    words: str
    hint: str


def complaints(text: str) -> list[Complaint]:
    """Return the errors in the output of `postgres -C`, each with the hint that the output contains.

    >>> complaints('LOG:  0 8kB is outside the valid range for parameter "wal_buffers" (16 .. 99)')[0].hint
    'set wal_buffers to a value from 16 to 99, in units of 8kB'
    """
    found: list[Complaint] = []
    for line in text.splitlines():
        said = re.search(_WORDS, line)
        named = said and re.search(_NAMED, said[1])
        if said and named:
            name = named[1].lower()
            found.append(Complaint(name, said[1].strip(), _hint(name, said[1])))
        elif said and "HINT:" in line and found:
            found[-1] = found[-1]._replace(hint=said[1].strip())
    return found


def _hint(name: str, words: str) -> str:
    if (outside := re.search(_RANGE, words)) is not None:
        unit = outside[2].strip()
        counted = f", in units of {unit}" if unit and not outside[3].endswith(unit) else ""
        return f"set {name} to a value from {outside[3]} to {outside[4]}{counted}"
    if "Boolean" in words:
        return f"set {name} to on or off"
    if "cannot be changed" in words:
        return f"remove {name}: it is fixed when the server is built or the cluster is created"
    return f"correct or remove {name}"


def is_unknown(complaint: Complaint) -> bool:
    """Return whether the server does not know a setting of this name."""
    return complaint.words.startswith("unrecognized configuration parameter")


def nearest(name: str, known: Sequence[str]) -> str | None:
    """Return the setting that a misspelled name probably means.

    >>> nearest("wrok_mem", ["port", "work_mem"])
    'work_mem'
    """
    import difflib  # only after a mistake

    found = difflib.get_close_matches(name, known, n=1, cutoff=0.7)
    return found[0] if found else None


def problem(source: sources.Source, complaint: Complaint, known: Sequence[str]) -> Problem:
    """Return the problem with one setting, with the place that set it."""
    if is_unknown(complaint):
        near = nearest(source.name, known)
        hint = f"did you mean {near}?" if near else f"correct or remove {source.name}"
        return Problem(f"{source.where}: the server has no setting {source.name}", hint, docs=PAGE)
    words = hide_words(complaint.words, [(source.name, source.value)])
    hint = hide_words(complaint.hint, [(source.name, source.value)])
    return Problem(f"{source.where}: {words}", hint, docs=PAGE)
