"""What can be wrong, as values: the same value ends a start and appears in `doctor`; pure."""

from __future__ import annotations

from entrypoint import exits
from entrypoint.light import NamedTuple


class Problem(NamedTuple):
    """One thing that is wrong, and the exact way to fix it."""

    what: str
    """What is wrong and what was found, in one sentence."""
    hint: str
    """The command, variable or action that fixes it."""
    code: int = exits.FAILURE
    """The exit code if this ends the program."""
    docs: str = ""
    """The page in docs/how-to/ that shows the way, without its ending; empty if there is none."""


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


def no_permission(
    path: str,
    doing: str,
    uid: int,
    owner: int | None,
    filesystem: str,
    *,
    place: str | None = None,
    missing: str = "",
) -> Problem:
    """Return the one message for all trouble with owners and modes.

    `place` is the nearest folder above the path that exists; `owner` and `filesystem` are its. `missing` are
    the capabilities that root lacks, as `identity.missing_capabilities` names them.
    """
    belongs = f"{place or path} belongs to uid {owner}, on {filesystem}"
    if uid == 0 and missing:
        words = " ".join(f"--cap-add {name}" for name in missing.split(", "))
        return Problem(
            f"root cannot {doing} {path}, since the container lacks the capabilities {missing}: {belongs}",
            f"grant them: {words}; or start as the owner of the files (--user UID:GID)",
        )
    if uid == owner:
        return Problem(
            f"uid {uid} cannot {doing} {path}: {belongs}, so it is the mode that forbids it",
            f"let its owner open it: chmod u+rwx {place or path}",
        )
    hint = (
        "the filesystem forbids it even to root: start with "
        f"--user {owner}:{owner}, or let the host change the owner: chown -R 999:999 FOLDER"
        if uid == 0
        else f"start as its owner (--user {owner}:{owner}), as root (no --user), or let the host "
        f"change the owner: chown -R {uid} FOLDER"
    )
    return Problem(
        f"uid {uid} cannot {doing} {path}: {belongs}",
        hint,
    )
