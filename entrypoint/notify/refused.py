"""Reports a start that was refused: the container ends, so no watch will.

What was reported is remembered in the data folder if it holds a cluster, else in the runtime folder, which a
restart of the container keeps unless it is on a tmpfs.
"""

from __future__ import annotations

import os
import time

from entrypoint import exits, log, own
from entrypoint.errors import Ended, Failure, Problem, Stopped
from entrypoint.light import NamedTuple
from entrypoint.noted import refusals
from entrypoint.noted.conditions import HAPPENED, Event
from entrypoint.notify import pings, targets, wording
from entrypoint.notify.flights import Flight
from entrypoint.notify.notifier import origin
from entrypoint.pid1 import lifecycle, status
from entrypoint.server.opening import REFUSED
from entrypoint.settings import variables
from entrypoint.settings.hiding import hide_within
from entrypoint.shown import inline
from entrypoint.system import files, identity, refusal, small
from entrypoint.volume import notes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from entrypoint.noted.refusals import Refusal
    from entrypoint.server.context import Context
    from entrypoint.settings.watching import Watching

_SECONDS = 20.0
"""For all targets together; then the container ends."""
_AT_ONCE = 3
"""Senders that run at the same time: each needs some tens of megabytes."""
_MOST = 64 * 1024
"""Bytes of the file."""


class _Task(NamedTuple):
    """What to send to one target."""

    target: str
    """Its name for people."""
    given: Mapping[str, Any]


def report(context: Context, error: Exception) -> None:
    """Report a refused start, unless people have heard of the same reason before."""
    watching = context.settings.watching
    if watching is None or not (watching.urls or watching.heartbeat) or not context.settings.server.is_server:
        return
    problems = _problems(error)
    known = status.read([context.runtime_folder])
    if not problems or (known is not None and known.phase in (lifecycle.SERVING, lifecycle.STOPPING)):
        return  # the second case is a start by `docker exec`, next to this container's own server
    try:
        with identity.Acting(context.who):
            _report(context, watching, problems)
    except Stopped:
        pass  # the container ends at once, with the exit code of the refusal
    except (Failure, OSError) as reason:
        log.warning(f"the refused start could not be reported: {reason}")


def _problems(error: Exception) -> tuple[Problem, ...]:
    if isinstance(error, Failure):
        return error.problems
    if isinstance(error, OSError):
        return (refusal.explain(error),)
    hint = "look for the reason in its log: docker logs CONTAINER"
    if isinstance(error, Ended):
        what = f"a program that the start runs has ended with exit code {error.code}"
        return (Problem(what, hint, error.code),) if error.code else ()
    return (Problem(f"the start has ended with an unexpected error: {type(error).__name__}", hint),)


def _report(context: Context, watching: Watching, problems: Sequence[Problem]) -> None:
    now, secrets = time.time(), _secrets(context, watching)
    reason, what = refusals.digest(problems), inline(hide_within(problems[0].what, secrets))
    known, is_due = refusals.note(read(context), reason, what, now)
    in_use = problems[0].code == exits.VOLUME_IN_USE
    # If it can be written nowhere, the message is sent all the same, and again by each retry: disks that are
    # full are just what people must hear of, and a restart policy soon waits a minute between its attempts.
    _keep(context, known, in_use=in_use)
    if is_due and _send(context, _tasks(context, watching, _event(problems, now), secrets)):
        _keep(context, refusals.heard(known, reason), in_use=in_use)


def _event(problems: Sequence[Problem], now: float) -> Event:
    first = problems[0]
    found = f"the server does not start, exit code {first.code}: {first.what}"
    if len(problems) == 1:
        return Event(0, now, HAPPENED, "start", "error", found, now, first.hint, first.docs)
    lines = [log.advised(found, first.hint, first.docs)]
    lines += [log.advised(each.what, each.hint, each.docs) for each in problems[1:]]
    return Event(0, now, HAPPENED, "start", "error", "\n".join(lines), now)


def _secrets(context: Context, watching: Watching) -> tuple[str, ...]:
    """Return the texts that no message may contain."""
    found = {
        value
        for name, value in context.settings.values.items()
        if variables.is_withheld(name)
        and (not variables.is_of_archiver(name, {}) or variables.is_secret_of_archiver(name))
    }
    return (*watching.urls, *sorted(found))


def _tasks(context: Context, watching: Watching, event: Event, secrets: Sequence[str]) -> list[_Task]:
    """Return a message to each target, and a failure to the service that waits for heartbeats."""
    message = wording.describe(event, origin(context), secrets)
    row = {"number": 1, **message._asdict()}
    made = [
        _Task(name, {"url": url, "messages": [row]})
        for name, url in zip(targets.names(watching.urls), watching.urls, strict=True)
    ]
    if watching.heartbeat:
        request = pings.request(watching.heartbeat, pings.FAILURE, f"{message.title}\n{message.body}")
        if request is not None:
            made.append(_Task(pings.HEARTBEAT, request._asdict()))
    return made


def _send(context: Context, tasks: list[_Task]) -> bool:
    """Send these; return whether one of them was taken. Raises Stopped for a stop signal."""
    deadline = time.monotonic() + _SECONDS
    flying: list[tuple[_Task, Flight]] = []
    answers: dict[str, str] = {}
    try:
        while tasks or flying:
            while tasks and len(flying) < _AT_ONCE:
                task = tasks.pop(0)
                flying.append((task, Flight(context, task.given)))
            for each in list(flying):
                results, is_done = each[1].poll()
                answers.update((each[0].target, one.words) for one in results)
                if is_done:
                    flying.remove(each)
            left = deadline - time.monotonic()
            if left <= 0:
                break
            if flying:
                context.children.pause(left)
    finally:
        for task, flight in flying:
            answers.update((task.target, one.words) for one in flight.end())
    late = [each for each, _ in flying] + tasks
    answers = {each.target: f"no answer within {_SECONDS:.0f} s" for each in late} | answers
    for target, words in answers.items():
        if words:
            log.warning(f"{target} has not taken the message about this: {words}", docs="get-notified")
    return "" in answers.values()


def _keep(context: Context, known: Sequence[Refusal], *, in_use: bool) -> None:
    """Remember refusals; `in_use`: another server runs on the data folder, so we write nothing there."""
    text = refusals.write(known)
    try:
        if not in_use and notes.cluster(context.settings.data_folder):
            notes.write(context.settings.data_folder, own.REFUSED, text)
            return
    except OSError:
        pass
    try:
        files.write_atomically(f"{context.runtime_folder}/{REFUSED}", text)
    except OSError as error:
        log.debug(f"refused starts cannot be remembered: {error.strerror}")


def read(context: Context) -> tuple[Refusal, ...]:
    """Return the starts that were refused since the last one that served."""
    paths = (notes.path(context.settings.data_folder, own.REFUSED), f"{context.runtime_folder}/{REFUSED}")
    known: tuple[Refusal, ...] = ()
    for path in paths:
        try:
            known = refusals.join(known, refusals.parse(small.read_text(path, most=_MOST)))
        except (OSError, ValueError):
            continue
    return known


def forget(context: Context) -> None:
    """Forget all refusals: a server serves."""
    paths = (notes.path(context.settings.data_folder, own.REFUSED), f"{context.runtime_folder}/{REFUSED}")
    for path in paths:
        try:
            os.unlink(path)
        except OSError:
            continue
