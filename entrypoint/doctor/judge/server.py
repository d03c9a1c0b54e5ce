"""The start and the server: what keeps it from coming up, and how it went; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from entrypoint.errors import Problem
from entrypoint.finding import Finding, error, ok, problem, several, warning
from entrypoint.light import NamedTuple, re


def settings(problems: Sequence[Problem], doubts: Sequence[Problem]) -> list[Finding]:
    """Judge the variables."""
    found = [problem(each) for each in problems]
    found += [warning(each.what, each.hint) for each in doubts]
    return found or [ok("all variables are known and have good values")]


def start(refusals: Sequence[Problem]) -> list[Finding]:
    """Judge whether a start would go on with what it finds."""
    return [problem(each) for each in refusals] or [ok("nothing speaks against a start")]


def shell(found: Problem | None, missing: Sequence[str], uid: int) -> list[Finding]:
    """Judge what the server's own commands need; `missing` are programs that /bin/sh did not find."""
    if found is not None:
        return [problem(found)]
    if missing:
        what = f"/bin/sh does not find {several(list(missing))}: archive_command would end with exit code 127"
        return [error(what, "use an image that has coreutils, findutils and grep on the server's PATH")]
    return [ok(f"/bin/sh and what archive_command needs work for uid {uid}")]


def versions(data: str | None, binary: str | None, missing: Sequence[str]) -> list[Finding]:
    """Judge the majors of data and image; `missing` are programs of the server."""
    if missing:
        hint = "use a whole image: these programs are PostgreSQL's own"
        return [error(f"the image lacks {several(list(missing))}", hint)]
    if data is None:
        return [ok(f"PostgreSQL {binary}; no database yet")]
    if data == binary:
        return [ok(f"PostgreSQL {binary}, and so is the data")]
    what = f"the data is of PostgreSQL {data}, the image has {binary}: the server will not start"
    if data.isdigit() and (binary or "").isdigit() and int(data) > int(binary or 0):
        return [error(what, f"use the image of major {data}: a database cannot go back to an older one")]
    hint = (
        f"use the image of major {data} as before. To move to {binary}: "
        "1. with that image take a base backup, and stop it cleanly; "
        "2. in an image that has the programs of both majors, with the old volume and a new one: initdb of "
        f"{binary}, with the options of the old cluster, then pg_upgrade --check, then pg_upgrade; "
        "3. start this image on the new volume (README, “After a pg_upgrade”); "
        "4. vacuumdb --all --analyze-in-stages. Or pg_dumpall of the old server into a new one"
    )
    return [error(what, hint)]


def server(status: str | None, unanswered: str = "") -> list[Finding]:
    """Judge postmaster.pid; `unanswered` is why the server did not answer, if it did not."""
    if status is None:
        return [warning("no server runs here", "start the container")]
    if status != "ready":
        return [warning(f"the server is {status}", "wait, and ask again")]
    if re.search('role ".*" does not exist', unanswered):
        return [error(unanswered, "set POSTGRES_USER to the superuser's name as this database has it")]
    if unanswered:
        return [error(unanswered, "look at the server's log; entrypoint status says what it does")]
    return [ok("accepts connections")]


def helpers(failing: Mapping[str, int]) -> list[Finding]:
    """Judge how often in a row each helper of PID 1 has ended by itself."""
    return [
        warning(
            f"{role} keeps ending by itself, {failures} times in a row",
            f"look for lines that begin with “{role}:” in the log",
        )
        for role, failures in failing.items()
    ]


_CLEAN = ("shut down", "shut down in recovery")
_PATIENCE = 8.0
"""Seconds: Docker kills a container ten seconds after it has asked it to stop, if not told otherwise."""
_LOOKED_AT = 5
_STOP_TIME = "give it time: --stop-timeout 90, or stop_grace_period: 90s in compose"


class Stop(NamedTuple):
    """One stop of the server."""

    when: str
    """ISO 8601."""
    seconds: float | None
    """None: it was killed."""
    step: str
    """Of the ladder, in which it ended: `smart`, `fast`, `immediate` or `kill`; or `killed`."""


def parse_stops(text: str) -> list[Stop]:
    r"""Read the file of stops, oldest first; lines that are none are left out.

    >>> parse_stops("1795364442 0.4 fast\nx\n1795364500 - killed\n")[1]
    Stop(when='2026-11-22T16:21:40+00:00', seconds=None, step='killed')
    """
    found = re.findall(r"(?m)^(\d{1,10}) (-|\d{1,7}\.\d) (\w+)$", text)
    return [
        Stop(datetime.fromtimestamp(int(when), UTC).isoformat(), None if took == "-" else float(took), step)
        for when, took, step in found
    ]


def stops(found: Sequence[Stop]) -> list[Finding]:
    """Judge the last one, and how long the last few have taken."""
    if not found:
        return []
    last = found[-1]
    if last.seconds is None:
        what = f"the start of {last.when} found a server that was killed, with its container or without"
        return [warning(what, f"{_STOP_TIME}; look for out-of-memory kills in the host's log")]
    if last.step not in ("smart", "fast"):
        what = f"the stop of {last.when} took {last.seconds:.0f} s and was not clean ({last.step})"
        return [warning(what, "see STOP_FAST_TIMEOUT, and the log for what the shutdown waited for")]
    longest = max(each.seconds or 0 for each in found[-_LOOKED_AT:])
    what = f"the last stops took up to {longest:.1f} s"
    if longest > _PATIENCE:
        return [warning(f"{what}, and Docker kills a container after 10 s by default", _STOP_TIME)]
    return [ok(what)]


def last_stop(state: str) -> list[Finding]:
    """Judge the state in pg_control while no server runs here; empty: it cannot be read."""
    if not state or state in _CLEAN:
        return [ok(f"the server was stopped cleanly ({state})")] if state else []
    what = f"the data folder is not shut down ({state}): its server was killed, or runs in another container"
    hint = (
        f"if it was killed, the next start repairs it from the WAL; {_STOP_TIME}, and look for out-of-memory "
        "kills in the host's log"
    )
    return [warning(what, hint)]


def init_files(recorded: Mapping[str, str], present: Mapping[str, str]) -> list[Finding]:
    """Judge the init files against those of the first start; both are digests by name."""
    changed = sorted(name for name in present if recorded.get(name) not in (None, present[name]))
    new = sorted(set(present) - set(recorded))
    gone = sorted(set(recorded) - set(present)) if present else []
    words = [
        f"{word}: {several(names)}"
        for word, names in (("changed", changed), ("new", new), ("gone", gone))
        if names
    ]
    if not words:
        return [ok(f"{len(recorded)} files are as they were at the first start")]
    what = f"not what the database was made with: {'; '.join(words)}"
    return [warning(what, "init files run once: apply what they would do by hand (psql), or by migrations")]
