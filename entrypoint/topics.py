"""The commands by what people want to do, and the command that a wrong word probably means; pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

TOPICS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Look", ("status", "doctor", "ready", "config show", "config diff", "render", "notify test")),
    (
        "Back up",
        (
            "backup push",
            "backup list",
            "backup show",
            "backup verify",
            "backup mark",
            "backup expire",
            "archive status",
            "archive check",
            "archive push-pending",
        ),
    ),
    ("Restore", ("restore", "backup drill", "promote")),
    (
        "Upgrade",
        (
            "upgrade check",
            "upgrade rehearse",
            "upgrade run",
            "upgrade undo",
            "upgrade finish",
            "upgrade status",
        ),
    ),
    ("Fix", ("collation show", "collation check", "collation fix")),
    ("Help", ("help",)),
)
"""Titles, and below each the full paths of its commands, without the word `entrypoint`."""

PATHS = tuple(path for _, paths in TOPICS for path in paths)
"""Every command for people, in the order of the topics."""
_GROUPS = tuple(dict.fromkeys(path.partition(" ")[0] for path in PATHS if " " in path))
_CUTOFF = 0.7
"""How alike two words must be, from 0 to 1: `start` and `psql` are no misspelled commands."""


def nearest(words: Sequence[str]) -> list[str]:
    """Return the paths of the commands that the arguments probably mean: mostly one, or none.

    >>> nearest(["backup", "lst"]), nearest(["drill"]), nearest(["psql"])
    (['backup list'], ['backup drill'], [])
    """
    typed = [word for word in words if not word.startswith("-")][:2]
    for count in range(len(typed), 0, -1):
        found = alike(" ".join(typed[:count]), (*PATHS, *_GROUPS))
        if found:
            return [found]
    last = {path.rpartition(" ")[2] for path in PATHS}
    meant = alike(typed[0], last) if typed else None
    return [path for path in PATHS if path.rpartition(" ")[2] == meant]


def spoken(paths: Sequence[str], before: str = "") -> str:
    """Return how to call the commands, of which a message names three at most.

    >>> spoken(["config show", "backup show"])
    'entrypoint config show or entrypoint backup show'
    """
    return " or ".join(f"entrypoint {before}{path}" for path in paths[:3])


def alike(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that is most like another, or None if none is like it.

    >>> alike("--target-tme", ["--target-name", "--target-time"]), alike("x", ["list"])
    ('--target-time', None)
    """
    import difflib  # only for a mistake

    found = difflib.get_close_matches(word, sorted(known), n=1, cutoff=_CUTOFF)
    return found[0] if found else None
