"""Runs initdb for the new cluster, and pg_upgrade."""

from __future__ import annotations

import glob
import os

from entrypoint.errors import Failure, Problem, Stopped
from entrypoint.finding import Finding, warning
from entrypoint.light import re
from entrypoint.server import programs, sessions
from entrypoint.system import capacity, files
from entrypoint.system.children import find_program, memory_file, read_back
from entrypoint.upgrade import underway

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from entrypoint.server.context import Context
    from entrypoint.system.progress import Progress

_JOBS = 8
"""The most processes at once; more do not make a disk quicker."""
_LISTS = "pg_upgrade_output.d"
_STEP = re.compile(r"(Checking|Performing|Analyzing|Freezing|Creating|Finding|Setting|Restoring|Deleting) .*")
_LINES = 12
"""Lines of a log that a message repeats."""


def initdb(context: Context, cluster: str, arguments: Sequence[str]) -> None:
    """Make the new, empty cluster; raises Failure with what initdb says."""
    argv = ["initdb", f"--pgdata={cluster}", *arguments]
    code, text = context.children.output(argv, _environment(context), errors=True)
    if code:
        raise Failure(
            Problem(
                f"initdb cannot make the new cluster:\n{_last(text)}",
                "fix the cause that it names; the old cluster was not changed",
                docs=underway.PAGE,
            )
        )


def run(
    context: Context, before: str, superuser: str, words: Sequence[str], shown: Progress | None = None
) -> list[Finding]:
    """Run pg_upgrade from the view to the new cluster; return its warnings, or raise Failure."""
    data = context.settings.data_folder
    cluster = underway.cluster(data)
    argv = [
        *("sh", "-c", 'cd "$1" && shift && exec "$@"', "sh", underway.work(data)),
        "pg_upgrade",
        f"--username={superuser}",
        f"--old-bindir={programs.of_major(before)}",
        f"--new-bindir={os.path.dirname(find_program('postgres', context.environment))}",
        f"--old-datadir={underway.view(data)}",
        f"--new-datadir={cluster}",
        f"--socketdir={context.runtime_folder}",
        f"--jobs={min(_JOBS, capacity.processors())}",
        "--retain",  # the lists that its warnings name
        *words,
    ]
    environment = _environment(context) | sessions.for_upgrade(int(before))
    code, text = output(context, argv, environment, shown)
    if code:
        raise Failure(
            Problem(
                "\n".join(
                    [
                        "pg_upgrade refuses:" if "--check" in words else "pg_upgrade failed:",
                        *_reasons(text, cluster),
                    ]
                ),
                "fix the cause in the old cluster, with the old image; the old cluster was not changed",
                docs=underway.PAGE,
            )
        )
    found = [
        warning(
            f"pg_upgrade warns: {each}",
            "read what the release notes of the new version say about it",
            underway.PAGE,
        )
        for each in warned(text, f"{cluster}/{_LISTS}")
    ]
    if os.path.lexists(f"{cluster}/{_LISTS}"):
        files.remove_tree(f"{cluster}/{_LISTS}")
    return found


def warned(text: str, folder: str) -> list[str]:
    r"""Return what pg_upgrade warns of, with the lists in `folder` that it names.

    >>> warned("Checking for a    ok\nChecking for b    warning\n\nYou have b.\nChecking for c    ok\n", "")
    ['You have b.']
    """
    found: list[list[str]] = []
    told = False
    for row in text.split("\n"):
        if _STEP.match(row):
            told = row.rstrip().endswith("warning")
            if told:
                found.append([])
        elif told and row.strip() and not row.startswith("*"):
            path = row.strip()
            named = path.startswith(f"{folder}/") and os.path.isfile(path)
            found[-1] += _last(files.read_text(path)).split("\n") if named else [path]
    return ["\n".join(rows) for rows in found]


def output(
    context: Context, argv: Sequence[str], environment: Mapping[str, str], shown: Progress | None
) -> tuple[int, str]:
    """Run a program, show its progress, and return its exit code and everything that it prints."""
    if shown is None:
        return context.children.output(argv, environment, errors=True)
    children, out = context.children, memory_file("")
    try:
        pid = children.spawn(argv, environment, descriptors={1: out, 2: out})
        try:
            while True:
                try:
                    return children.wait(pid, seconds=shown.step), read_back(out)
                except TimeoutError:
                    shown.look()
        except Stopped:
            children.end_group(pid)
            raise
    finally:
        shown.close()
        os.close(out)


def _environment(context: Context) -> dict[str, str]:
    """Return an environment in which no variable of the container changes what is done."""
    given = context.environment
    return {
        "PATH": given.get("PATH", ""),
        "HOME": context.runtime_folder,
        "LC_ALL": "C",
        "TZ": given.get("TZ", ""),
    }


def _reasons(text: str, cluster: str) -> list[str]:
    """Return what pg_upgrade says after its last step, and the ends of the files that it names."""
    rows = text.rstrip("\n").split("\n")
    fatal = [number for number, row in enumerate(rows) if row.rstrip().endswith(("fatal", "*failure*"))]
    found = rows[fatal[0] :] if fatal else rows[-_LINES:]
    for path in sorted(glob.glob(f"{cluster}/{_LISTS}/*/*.txt")):
        found += [f"{os.path.basename(path)}:", *_last(files.read_text(path)).split("\n")]
    for path in dict.fromkeys(text.split('"')[1::2]):
        if path.startswith(f"{cluster}/") and path.endswith(".log") and os.path.exists(path):
            found += [f"{os.path.basename(path)}:", *_last(files.read_text(path)).split("\n")]
    return [row for row in found if row.strip()]


def _last(text: str) -> str:
    return "\n".join(text.rstrip("\n").split("\n")[-_LINES:])
