"""The declaration of a variable, and the parsers of its value; pure."""

from __future__ import annotations

from entrypoint.errors import Problem
from entrypoint.light import NamedTuple, re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import TypeVar

    W = TypeVar("W", bound=str)


class Variable(NamedTuple):
    """One environment variable."""

    name: str
    default: str
    """As shown to people; empty means unset."""
    doc: str
    """What the variable does, in one to three sentences of Markdown."""
    secret: bool = False
    from_file: bool = False
    """`NAME_FILE` may name a file that contains the value."""
    mixed: bool = False
    """A part of the value may be a secret, at least in a malformed value."""

    @property
    def hidden(self) -> bool:
        """Whether no message repeats the value. The value from a file counts: it may be the wrong file."""
        return self.secret or self.mixed or self.from_file

    def said(self, value: str) -> str:
        """Return `NAME=value` for a message, or the name alone if the value may hold a secret.

        >>> Variable("STANDBY", "off", "").said("maybe"), Variable("URL", "", "", mixed=True).said("s3://a:b@c")
        ('STANDBY=maybe', 'URL')
        """
        return self.name if self.hidden else f"{self.name}={value}"

    def of(self, values: Mapping[str, str]) -> str:
        """Return the value that is set, or the default."""
        return values.get(self.name) or self.default


OF_FEW = ("ARCHIVE_", "BACKUP_", "DRILL_", "RESTORE_", "STANDBY")
"""The beginnings of the variables' names in the sections that few starts use.

None of these variables has an effect without an archive, a restore or a standby.
"""

PATRONI = "PATRONI_"
"""The beginning of the names of Patroni's variables, and of our variables for it."""
HIDDEN_VALUE = "in the settings file of the program that needs it"
"""In place of a secret, among the variables that later programs get."""
FILE_SUFFIX = "_FILE"
TRUE = ("on", "true", "yes", "1")
FALSE = ("off", "false", "no", "0")
"""The spellings of on and off that a switch accepts."""

INJECTED = re.compile(
    r"(?s)[A-Z]+_NAME|NOTIFY_SOCKET|.*_(SERVICE_(HOST|PORT).*|PORT|PORT_\d+_(TCP|UDP|SCTP).*|ENV_.*)"
)
"""The variables that Kubernetes (service links) and Docker (`--link`) set for a service with a name such as
`archive` or `backup`, and the socket that systemd and Podman pass on."""


def seconds(values: Mapping[str, str], variable: Variable, problems: list[Problem]) -> int:
    """Return a whole number of seconds."""
    text = variable.of(values)
    if is_whole(text, 7):
        return int(text)
    problems.append(
        Problem(
            f"{variable.said(text)} is not a whole number of seconds",
            f"give {variable.name} as seconds, for example {variable.name}={variable.default}",
        )
    )
    return int(variable.default)


def choice(values: Mapping[str, str], variable: Variable, choices: Sequence[W], problems: list[Problem]) -> W:
    """Return one of several words: the one that is set, or the default if the value is none of them."""
    text = variable.of(values)
    if text not in choices:
        problems.append(
            Problem(
                f"{variable.said(text)} is not a valid value",
                f"set {variable.name} to {' or '.join(choices)}",
            )
        )
        text = variable.default
    return next(each for each in choices if each == text)


def count(
    values: Mapping[str, str], variable: Variable, problems: list[Problem], *, least: int
) -> int | None:
    """Return a whole number of at least `least`; None if it is not set."""
    text = values.get(variable.name, "")
    if not text:
        return None
    if is_whole(text, 5) and int(text) >= least:
        return int(text)
    problems.append(
        Problem(
            f"{variable.said(text)} is not a whole number of at least {least}",
            f"give {variable.name} as a number, or remove it",
        )
    )
    return None


def is_whole(text: str, digits: int) -> bool:
    """Return whether a text is a number of at most `digits` digits; without `re`, which is slow to load."""
    return text.isascii() and text.isdigit() and len(text) <= digits


def normal(path: str) -> str:
    """Return the path of a folder without a trailing slash."""
    return path.rstrip("/") or "/"


def is_slip(text: str, meant: str) -> bool:
    """Return whether the text differs by one letter that is missing, extra or wrong, or by two swapped ones.

    >>> [is_slip(text, "ab_cd") for text in ("ab_c", "ab_ccd", "xb_cd", "ba_cd", "ab_cd", "b_c")]
    [True, True, True, True, False, False]
    """
    begin = 0
    while begin < min(len(text), len(meant)) and text[begin] == meant[begin]:
        begin += 1
    left, right = text[begin:], meant[begin:]
    if not left and not right:
        return False
    swapped = left[1:2] + left[:1] + left[2:]
    return left[1:] == right or left == right[1:] or left[1:] == right[1:] or swapped == right
