"""A moment that somebody picked: whether it can be restored, and the commands that do it; pure.

The commands are those of the pages inspect-a-copy and restore-to-a-moment, with this moment and this archive.
"""

from __future__ import annotations

import shlex
from datetime import UTC, datetime

from entrypoint.light import NamedTuple, re
from entrypoint.settings import restoring
from entrypoint.shown import iso
from entrypoint.web.times import at, lasting, second

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from entrypoint.backup.window import Tick, Window
    from entrypoint.noted.seen import Seen

_LONGEST = 64
"""Characters of a moment that are read."""
_NEW_VOLUME = 18
"""Since this major version, the volume is mounted one folder higher."""
_LOSS = "Everything that was written after this moment is gone from the new database."
_SEEN = "When you have seen your rows"
_CONTAINER = re.compile("[0-9a-f]{12}")
"""The host name of a container whose name nobody has set is its ID, which every command of docker takes."""


class Step(NamedTuple):
    """A command, and what it does."""

    words: str
    command: str


class Way(NamedTuple):
    """Steps that lead to one end, with the page of the manual that explains them."""

    title: str
    words: str
    steps: tuple[Step, ...]
    page: str


class Picked(NamedTuple):
    """What is said to a moment that was picked."""

    moment: float | None
    """None: the text names no moment."""
    words: str
    """The moment, or why it cannot be restored."""
    near: tuple[str, ...]
    """The nearest moments that can be restored, if this one cannot."""
    ways: tuple[Way, ...]
    """Empty: it cannot be restored."""
    backup: str = ""
    """Where the restore starts."""


def pick(text: str, seen: Seen | None, window: Window | None, host: str, now: float) -> Picked:
    """Return what to say to a moment, given as a person or the form of the page writes it."""
    found = restoring.moment(text.strip()[:_LONGEST], datetime.fromtimestamp(now, UTC))
    try:
        moment = None if found is None else found.timestamp()
    except (ValueError, OverflowError):
        moment = None
    if moment is None:
        example = "2026-11-22T14:02:00+01:00, or 10 minutes ago"
        return Picked(
            None, f"This is not a moment. Write it as {example}; without an offset, it is UTC.", (), ()
        )
    if seen is None or window is None:
        return Picked(moment, "It is not known yet which moments can be restored.", (), ())
    refused = _refused(moment, window, now)
    if refused is not None:
        return refused
    tick = [each for each in window.ticks if each.moment <= moment][-1]
    words = f"{second(moment)} UTC can be restored."
    time = datetime.fromtimestamp(moment, UTC).isoformat()
    archived = None if seen.archive is None else at(seen.archive.last_archived_at or "")
    if archived is None or moment > archived:
        # a restore refuses a target that no archived WAL reaches
        words += " Nothing was archived after it, so the restore goes to the end of the archive."
        time = ""
    return Picked(moment, words, (), _ways(seen, host, time), _start(seen, tick, moment))


def _refused(moment: float, window: Window, now: float) -> Picked | None:
    """Return why a moment cannot be restored; None: it can."""
    words = f"{second(moment)} UTC cannot be restored: "
    first, last = iso(-(-window.start // 1)), iso(window.end)
    if moment < window.start:
        why = "it is before the end of the first backup in the archive."
        return Picked(moment, words + why, (first,), ())
    if moment > window.end:
        why = "it is in the future." if moment > now else "its WAL is not in the archive yet."
        return Picked(moment, words + why, (last,), ())
    for gap in window.gaps:
        if gap.start < moment and (gap.end is None or moment < gap.end):
            why = f"the archive lacks the WAL segments {gap.first} to {gap.last}."
            if gap.why:
                why = f"{gap.why}."
            near = [gap.start, *([] if gap.end is None else [-(-gap.end // 1)])]
            return Picked(moment, words + why, tuple(iso(each) for each in near), ())
    return None


def _start(seen: Seen, tick: Tick, moment: float) -> str:
    """Return where a restore starts, and how long one took."""
    words = f"The restore starts from backup {tick.name} and replays {lasting(moment - tick.moment)} of WAL."
    drill = next((each for each in reversed(seen.drills) if each.outcome == "ok"), None)
    if drill is not None:
        took = lasting(drill.fetch_seconds + drill.replay_seconds)
        words += f" The last drill restored backup {drill.backup} in {took}."
    return words


def container(host: str) -> str:
    """Return a name of the container for commands on its host; empty: it is not known."""
    return host if _CONTAINER.fullmatch(host) else ""


def _ways(seen: Seen, host: str, time: str) -> tuple[Way, ...]:
    """Return the ways to this moment, that without any risk first; no moment is the end of the archive."""
    name = container(host) or "db"
    variables = {"RESTORE_FROM": "LATEST"}
    if time:
        # the archive holds what was written later
        variables |= {"RESTORE_TARGET_TIME": time, "ARCHIVE_FORK": "confirm"}
    page = "restore-to-a-moment" if time else "restore-a-lost-volume"
    return (
        _copy(seen, name, time),
        Way("Put the server back, with Compose", _LOSS, _compose(variables), page),
        Way("Put the server back, with docker run", _LOSS, _docker(name, variables, _mounted(seen)), page),
    )


def _copy(seen: Seen, name: str, time: str) -> Way:
    """Return how to look at the moment in a copy."""
    words = (
        "The server keeps running, and the copy writes nothing to the archive. If the archive needs keys, "
        "add their variables with RESTORE_ before the name, for example --env RESTORE_AWS_ACCESS_KEY_ID=…"
    )
    if name == "db":
        words += " Put the name of your container in place of db."
    archive = () if seen.archive is None else (("URL", seen.archive.url), ("TOOL", seen.archive.tool))
    options = (
        f"--volumes-from {name}:ro",
        f"--volume copy:{_mounted(seen)}",
        *(f"--env RESTORE_ARCHIVE_{each}={shlex.quote(value)}" for each, value in archive),
        "--env RESTORE_FROM=LATEST",
        *([f"--env RESTORE_TARGET_TIME={time}"] if time else []),
        f"\"$(docker inspect --format '{{{{.Config.Image}}}}' {name})\"",
    )
    target = f" --target-time {time}" if time else ""
    steps = (
        Step(
            "What a restore would do; this writes nothing:",
            f"docker exec {name} entrypoint restore --dry-run{target}",
        ),
        Step("Start a copy of that moment:", " \\\n  ".join(("docker run --detach --name copy", *options))),
        Step(
            "When it is ready, look for your rows:",
            "until docker exec copy entrypoint ready; do sleep 1; done\n"
            "docker exec -it copy psql --username postgres",
        ),
        Step("Remove the copy:", "docker rm --force copy\ndocker volume rm copy"),
    )
    return Way("Look at it in a copy", words, steps, "inspect-a-copy")


def _compose(variables: Mapping[str, str]) -> tuple[Step, ...]:
    """Return how to put the server back with Compose."""
    given = "\n".join(f'{name}: "{value}"' for name, value in variables.items())
    steps = (
        Step("Stop the server. The volumes stay; do not add --volumes:", "docker compose down"),
        Step(
            "Replace the volume data by a new, empty one; the old one is kept:",
            r"sed --in-place 's/\bdata:/data2:/' compose.yaml",
        ),
        Step("Add this below ARCHIVE_URL in compose.yaml:", given),
        Step("Start, and watch:", "docker compose up --detach\ndocker compose logs --follow db"),
    )
    if len(variables) == 1:
        return steps
    lines = "sed --in-place '/RESTORE_TARGET_TIME/d; /ARCHIVE_FORK/d' compose.yaml"
    return (*steps, Step(f"{_SEEN}, remove the last two variables:", f"{lines}\ndocker compose up --detach"))


def _docker(name: str, variables: Mapping[str, str], mounted: str) -> tuple[Step, ...]:
    """Return how to put the server back with docker run."""
    given = [f"--env {variable}={value}" for variable, value in variables.items()]
    steps = (
        Step("Stop the server. Its volume stays:", f"docker stop -t 120 {name}\ndocker rm {name}"),
        Step(
            "Type your docker run command again, with these options in place of the volume's:",
            "\n".join((f"--volume data2:{mounted}", *given)),
        ),
    )
    if len(variables) == 1:
        return steps
    words = f"{_SEEN}, remove the container, and type your command again without:"
    return (*steps, Step(words, "\n".join(given[1:])))


def _mounted(seen: Seen) -> str:
    """Return where the volume is mounted, which depends on the major version."""
    major = max((each.major for each in seen.backups or ()), default=0)
    if seen.server is not None:
        major = seen.server.major or major
    return "/var/lib/postgresql" if major >= _NEW_VOLUME else "/var/lib/postgresql/data"
