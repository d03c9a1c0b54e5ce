"""What can be wrong, as values: the same value ends a start and appears in `doctor`."""

from __future__ import annotations

from entrypoint import exits
from entrypoint.light import NamedTuple


class Problem(NamedTuple):
    """One thing that is wrong, and the exact way to mend it."""

    what: str
    """What is wrong and what was found, in one sentence."""
    mend: str
    """The command, variable or action that mends it."""
    code: int = exits.FAILURE
    """The exit code if this ends the program."""


class Failure(Exception):
    """Ends the program with all problems that were found; printed only at the top."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__("; ".join(problem.what for problem in problems))
        self.problems = problems

    @property
    def code(self) -> int:
        """The exit code of the first problem."""
        return self.problems[0].code


class Ended(Exception):
    """Ends the program with an exit code, everything worth saying having been said."""

    def __init__(self, code: int) -> None:
        super().__init__(f"exit code {code}")
        self.code = code


class Stopped(Exception):
    """A stop signal arrived before the server was up."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(f"stopped by signal {signal_number}")
        self.signal_number = signal_number
