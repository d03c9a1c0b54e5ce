"""The start and the server: what prevents a start, and how the last ones went; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from entrypoint.errors import Problem
from entrypoint.finding import Finding, error, ok, problem, several, warning
from entrypoint.light import NamedTuple, re


def settings(problems: Sequence[Problem], doubts: Sequence[Problem]) -> list[Finding]:
    """Judge the variables."""
    found = [problem(each) for each in problems]
    found += [warning(each.what, each.hint, each.docs) for each in doubts]
    return found or [ok("all variables are known and have valid values")]


def start(refusals: Sequence[Problem]) -> list[Finding]:
    """Judge whether a start would refuse what it finds."""
    return [problem(each) for each in refusals] or [ok("nothing prevents a start")]


def shell(found: Problem | None, missing: Sequence[str], uid: int) -> list[Finding]:
    """Judge the programs that the server's own commands need; /bin/sh did not find the `missing` ones."""
    if found is not None:
        return [problem(found)]
    if missing:
        what = f"/bin/sh does not find {several(list(missing))}: archive_command would end with exit code 127"
        return [error(what, "use an image that has coreutils, findutils and grep on the server's PATH")]
    return [ok(f"/bin/sh and the programs that archive_command needs work for uid {uid}")]


def versions(
    data: str | None, binary: str | None, missing: Sequence[str], wrong: Problem | None = None
) -> list[Finding]:
    """Judge the majors of data and image; `missing` are the server's programs that are not there.

    `wrong` is what a start says to these majors.
    """
    if missing:
        hint = "use a complete image: these programs are part of PostgreSQL"
        return [error(f"the image lacks {several(list(missing))}", hint)]
    if data is None:
        return [ok(f"PostgreSQL {binary}; no database yet")]
    if wrong is not None:
        return [problem(wrong)]
    if data == binary:
        return [ok(f"the image and the data are from PostgreSQL {binary}")]
    return [
        warning(
            f"the next start upgrades the data from PostgreSQL {data} to {binary} (POSTGRES_UPGRADE=on)",
            "look what that needs: entrypoint upgrade check",
            "upgrade-to-a-newer-major",
        )
    ]


def server(status: str | None, unanswered: str = "") -> list[Finding]:
    """Judge postmaster.pid; `unanswered` says why the server did not answer, and is empty if it did."""
    if status is None:
        return [warning("no server runs here", "start the container")]
    if status != "ready":
        return [warning(f"the server is {status}", "wait, then run doctor again")]
    if re.search('role ".*" does not exist', unanswered):
        return [error(unanswered, "set POSTGRES_USER to the name of this database's superuser")]
    if unanswered:
        return [error(unanswered, "see the server's log; entrypoint status shows what the server does")]
    return [ok("accepts connections")]


_PAGES = {"backups": "schedule-backups", "drills": "rehearse-restores"}
"""The pages about helpers, by role."""


def helpers(failing: Mapping[str, int]) -> list[Finding]:
    """Judge how often in a row each helper of PID 1 has exited on its own."""
    return [
        warning(
            f"{role} keeps exiting on its own, {failures} times in a row",
            f"look for lines that begin with “{role}:” in the log",
            _PAGES.get(role, "fix-archiving" if role.endswith("-daemon") else ""),
        )
        for role, failures in failing.items()
    ]


_CLEAN = ("shut down", "shut down in recovery")
_PATIENCE = 8.0
"""Seconds: by default Docker kills a container ten seconds after the stop signal."""
_LOOKED_AT = 5
_STOP_TIME = "give the container more time to stop: --stop-timeout 90, or stop_grace_period: 90s in compose"


class Stop(NamedTuple):
    """One stop of the server."""

    when: str
    """ISO 8601."""
    seconds: float | None
    """None: the server was killed."""
    step: str
    """The step in which the stop ended: `smart`, `fast`, `immediate` or `kill`; or `killed`."""


def parse_stops(text: str) -> list[Stop]:
    r"""Read the file of stops, oldest first; lines that do not describe a stop are skipped.

    >>> parse_stops("1795364442 0.4 fast\nx\n1795364500 - killed\n")[1]
    Stop(when='2026-11-22T16:21:40+00:00', seconds=None, step='killed')
    """
    found = re.findall(r"(?m)^(\d{1,10}) (-|\d{1,7}\.\d) (\w+)$", text)
    return [
        Stop(datetime.fromtimestamp(int(when), UTC).isoformat(), None if took == "-" else float(took), step)
        for when, took, step in found
    ]


def stops(found: Sequence[Stop]) -> list[Finding]:
    """Judge the last stop, and the time that the last few stops took."""
    if not found:
        return []
    last = found[-1]
    if last.seconds is None:
        what = f"the start of {last.when} found that the server had been killed, alone or with its container"
        return [warning(what, f"{_STOP_TIME}; look for out-of-memory kills in the host's log")]
    if last.step not in ("smart", "fast"):
        what = f"the stop of {last.when} took {last.seconds:.0f} s and was not clean ({last.step})"
        return [warning(what, "see STOP_FAST_TIMEOUT, and in the log what the shutdown waited for")]
    longest = max(each.seconds or 0 for each in found[-_LOOKED_AT:])
    what = f"the last stops took up to {longest:.1f} s"
    if longest > _PATIENCE:
        return [warning(f"{what}, and Docker kills a container after 10 s by default", _STOP_TIME)]
    return [ok(what)]


def last_stop(state: str) -> list[Finding]:
    """Judge the state in pg_control while no server runs here; it is empty if it cannot be read."""
    if not state or state in _CLEAN:
        return [ok(f"the server was stopped cleanly ({state})")] if state else []
    what = f"the server was not shut down ({state}): it was killed, or it runs in another container"
    hint = (
        f"if it was killed, the next start recovers the data from the WAL; {_STOP_TIME}, and look for "
        "out-of-memory kills in the host's log"
    )
    return [warning(what, hint)]


def init_files(recorded: Mapping[str, str], present: Mapping[str, str]) -> list[Finding]:
    """Judge the `present` init files against those `recorded` at the first start: digests by name."""
    changed = sorted(name for name in present if recorded.get(name) not in (None, present[name]))
    new = sorted(set(present) - set(recorded))
    gone = sorted(set(recorded) - set(present)) if present else []
    words = [
        f"{word}: {several(names)}"
        for word, names in (("changed", changed), ("new", new), ("gone", gone))
        if names
    ]
    if not words:
        return [ok(f"{len(recorded)} files are unchanged since the first start")]
    what = f"they differ from the files that this database was made with: {'; '.join(words)}"
    return [warning(what, "apply the changes yourself (psql), or by migrations: init files run only once")]
