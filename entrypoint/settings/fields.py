"""What a variable is, and how its value is read; pure."""

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
    """What it does, in one or two sentences of Markdown."""
    secret: bool = False
    from_file: bool = False
    """`NAME_FILE` may name a file that holds the value."""
    mixed: bool = False
    """A part of the value may be a secret, at the latest where it is malformed."""

    @property
    def hidden(self) -> bool:
        """Whether no message repeats the value; a file may be the wrong one, so what it holds never is."""
        return self.secret or self.mixed or self.from_file

    def said(self, value: str) -> str:
        """Return the variable with a value for a message, or its name alone where that may hold a secret.

        >>> Variable("STANDBY", "off", "").said("maybe"), Variable("URL", "", "", mixed=True).said("s3://a:b@c")
        ('STANDBY=maybe', 'URL')
        """
        return self.name if self.hidden else f"{self.name}={value}"

    def of(self, values: Mapping[str, str]) -> str:
        """Return what is set, or the default."""
        return values.get(self.name) or self.default


OF_FEW = ("ARCHIVE_", "BACKUP_", "DRILL_", "RESTORE_", "STANDBY")
"""How the variables of the sections begin that few starts have.

None of them does anything where no archive, no restore and no standby is asked for.
"""

FILE_SUFFIX = "_FILE"
TRUE = ("on", "true", "yes", "1")
FALSE = ("off", "false", "no", "0")
"""What others write for on and off; where it is taken, it is told."""

INJECTED = re.compile(r"(?s)[A-Z]+_NAME|.*_(SERVICE_(HOST|PORT).*|PORT|PORT_\d+_(TCP|UDP|SCTP).*|ENV_.*)")
"""What Kubernetes (service links) and Docker (`--link`) put into the environment for a service that
happens to be called `archive` or `backup`."""


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
    """Return one of several words; the default, which is one of them, where another one is set."""
    text = variable.of(values)
    if text not in choices:
        problems.append(
            Problem(f"{variable.said(text)} is not known", f"set {variable.name} to {' or '.join(choices)}")
        )
        text = variable.default
    return next(each for each in choices if each == text)


def count(
    values: Mapping[str, str], variable: Variable, problems: list[Problem], *, least: int
) -> int | None:
    """Return a whole number from `least` on; None: it is not set."""
    text = values.get(variable.name, "")
    if not text:
        return None
    if is_whole(text, 5) and int(text) >= least:
        return int(text)
    problems.append(
        Problem(
            f"{variable.said(text)} is not a whole number from {least} on",
            f"give {variable.name} as a number, or remove it",
        )
    )
    return None


def is_whole(text: str, digits: int) -> bool:
    """Tell whether this is a number of at most so many digits, without `re`, which every start would load."""
    return text.isascii() and text.isdigit() and len(text) <= digits


def normal(path: str) -> str:
    """Return the path of a folder without a slash at its end."""
    return path.rstrip("/") or "/"


def is_slip(text: str, meant: str) -> bool:
    """Tell whether one letter is missing, too much or another one, or two are exchanged.

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
