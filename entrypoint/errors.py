"""What can be wrong, as values: the same value ends a start and appears in `doctor`."""

from entrypoint import exits


class Problem:
    """One thing that is wrong, and the exact way to mend it.

    A plain class: PID 1 keeps this module for good, and typing would cost it a megabyte.
    """

    __slots__ = ("code", "mend", "what")

    def __init__(self, what: str, mend: str, code: int = exits.FAILURE) -> None:
        self.what = what
        """What is wrong and what was found, in one sentence."""
        self.mend = mend
        """The command, variable or action that mends it."""
        self.code = code
        """The exit code if this ends the program."""

    def but(self, *, what: str | None = None, mend: str | None = None, code: int | None = None) -> "Problem":
        """Return a copy with other words or another exit code."""
        return Problem(what or self.what, mend or self.mend, self.code if code is None else code)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Problem) and repr(self) == repr(other)

    def __hash__(self) -> int:
        return hash((self.what, self.mend, self.code))

    def __repr__(self) -> str:
        return f"Problem({self.what!r}, {self.mend!r}, {self.code})"


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
