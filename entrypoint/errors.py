"""Problems as values: the same value can end a start and appear in `doctor`; pure."""

from __future__ import annotations

from entrypoint import exits
from entrypoint.light import NamedTuple


class Problem(NamedTuple):
    """A problem, and exactly how to fix it."""

    what: str
    """One sentence: what is wrong, and what was found."""
    hint: str
    """The command, variable or action that fixes it."""
    code: int = exits.FAILURE
    """The program's exit code, if this problem ends it."""
    docs: str = ""
    """The page in docs/how-to/ that explains the fix, without `.md`; empty if there is none."""


class Failure(Exception):
    """Ends the program with all problems that were found; only the top level prints them."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__("; ".join(problem.what for problem in problems))
        self.problems = problems

    @property
    def code(self) -> int:
        """The exit code of the first problem."""
        return self.problems[0].code


class Ended(Exception):
    """Ends the program with an exit code, without a further message."""

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
    empty: bool = False,
) -> Problem:
    """Return the problem for an operation that an owner, a mode or a missing capability forbids.

    `place` is the nearest existing folder above the path; `owner` and `filesystem` describe that folder.
    `missing` lists the capabilities that root lacks, as `identity.missing_capabilities` names them. `empty`
    says that the path is an empty folder that the image has as well.
    """
    belongs = f"{place or path} belongs to uid {owner}, on {filesystem}"
    if uid == 0 and missing:
        words = " ".join(f"--cap-add {name}" for name in missing.split(", "))
        return Problem(
            f"root cannot {doing} {path}, because the container lacks the capabilities {missing}: {belongs}",
            f"grant them: {words}; or start as the owner of the files (--user UID:GID)",
            docs="run-without-root",
        )
    if uid == owner:
        return Problem(
            f"uid {uid} cannot {doing} {path}: {belongs}, so its mode forbids this",
            f"give its owner all rights: chmod u+rwx {place or path}",
            docs="run-without-root",
        )
    if uid == 0:
        hint = (
            "the filesystem forbids this even to root: start with "
            f"--user {owner}:{owner}, or change the owner on the host: chown -R 999:999 FOLDER"
        )
    elif empty:
        # Docker gives an empty named volume the owner of the image's folder at each start.
        hint = (
            f"start as its owner (--user {owner}:{owner}) or as root (no --user), or mount a folder of "
            f"the host and change its owner: chown -R {uid} FOLDER (an empty named volume does not keep "
            "its owner)"
        )
    else:
        hint = (
            f"start as its owner (--user {owner}:{owner}) or as root (no --user), or change the owner "
            f"on the host: chown -R {uid} FOLDER"
        )
    return Problem(
        f"uid {uid} cannot {doing} {path}: {belongs}",
        hint,
        docs="run-without-root",
    )
