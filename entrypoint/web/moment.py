"""A moment that somebody picked: whether it can be restored, and the commands that do it; pure.

The commands are those of the pages inspect-a-copy and restore-to-a-moment, with this moment and this archive.
"""

from __future__ import annotations

import shlex
from datetime import UTC, datetime

from entrypoint.light import NamedTuple, re
from entrypoint.settings import restoring
from entrypoint.shown import iso
from entrypoint.web.times import lasting, second

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from entrypoint.backup.window import Tick, Window
    from entrypoint.noted.seen import Seen

_LONGEST = 64
"""Characters of a moment that are read."""
_NEW_VOLUME = 18
"""Since this major version, the volume is mounted one folder higher."""
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
    ways = _ways(seen, host, datetime.fromtimestamp(moment, UTC).isoformat())
    return Picked(moment, f"{second(moment)} UTC can be restored.", (), ways, _start(seen, tick, moment))


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


def _ways(seen: Seen, host: str, time: str) -> tuple[Way, ...]:
    """Return the ways to this moment, that without any risk first."""
    name = host if _CONTAINER.fullmatch(host) else "db"
    dry = f"entrypoint restore --dry-run --target-time {time}"
    look = Step("What a restore would do; this writes nothing:", f"docker exec {name} {dry}")
    variables = ("RESTORE_FROM=LATEST", f"RESTORE_TARGET_TIME={time}", "ARCHIVE_FORK=confirm")
    return (_copy(seen, name, time, look), _compose(time), _docker(name, variables, _mounted(seen)))


def _copy(seen: Seen, name: str, time: str, look: Step) -> Way:
    """Return how to look at the moment in a copy."""
    url = "" if seen.archive is None else seen.archive.url
    words = "The server keeps running. The copy writes nothing to the archive."
    if name == "db":
        words += " Put the name of your container in place of db."
    if not url.startswith("file://"):
        words += (
            " Add the variables with the storage's keys, each with RESTORE_ before its name, for example "
            "--env RESTORE_AWS_ACCESS_KEY_ID=…"
        )
    options = (
        f"--volumes-from {name}:ro",
        f"--volume copy:{_mounted(seen)}",
        f"--env RESTORE_ARCHIVE_URL={shlex.quote(url)}",
        "--env RESTORE_FROM=LATEST",
        f"--env RESTORE_TARGET_TIME={time}",
        f"\"$(docker inspect --format '{{{{.Config.Image}}}}' {name})\"",
    )
    steps = (
        look,
        Step("Start a copy of that moment:", " \\\n  ".join(("docker run --detach --name copy", *options))),
        Step(
            "When it is ready, look for your rows:",
            "until docker exec copy entrypoint ready; do sleep 1; done\n"
            "docker exec -it copy psql --username postgres",
        ),
        Step("Remove the copy:", "docker rm --force copy\ndocker volume rm copy"),
    )
    return Way("Look at it in a copy", words, steps, "inspect-a-copy")


def _compose(time: str) -> Way:
    """Return how to put the server back with Compose."""
    variables = f'RESTORE_FROM: LATEST\nRESTORE_TARGET_TIME: "{time}"\nARCHIVE_FORK: confirm'
    steps = (
        Step("Stop the server. The volumes stay; do not add --volumes:", "docker compose down"),
        Step(
            "Replace the volume data by a new, empty one; the old one is kept:",
            r"sed --in-place 's/\bdata:/data2:/' compose.yaml",
        ),
        Step("Add these variables below ARCHIVE_URL in compose.yaml:", variables),
        Step("Start, and watch:", "docker compose up --detach\ndocker compose logs --follow db"),
        Step(
            "When you have seen your rows, remove the variables of this restore:",
            "sed --in-place '/RESTORE_TARGET_TIME/d; /ARCHIVE_FORK/d' compose.yaml\n"
            "docker compose up --detach",
        ),
    )
    words = "Everything that was written after this moment is gone from the new database."
    return Way("Put the server back, with Compose", words, steps, "restore-to-a-moment")


def _docker(name: str, variables: Sequence[str], mounted: str) -> Way:
    """Return how to put the server back with docker run."""
    given = "\n".join(f"--env {each}" for each in variables)
    steps = (
        Step("Stop the server. Its volume stays:", f"docker stop -t 120 {name}\ndocker rm {name}"),
        Step(
            "Type your docker run command again, with these options in place of the volume's:",
            f"--volume data2:{mounted}\n{given}",
        ),
        Step(
            "When you have seen your rows, remove the container, and type your command again without:",
            "\n".join(given.splitlines()[1:]),
        ),
    )
    words = "Everything that was written after this moment is gone from the new database."
    return Way("Put the server back, with docker run", words, steps, "restore-to-a-moment")


def _mounted(seen: Seen) -> str:
    """Return where the volume is mounted, which depends on the major version."""
    major = max((each.major for each in seen.backups or ()), default=0)
    if seen.server is not None and (found := re.match("[0-9]+", seen.server.version)):
        major = int(found[0])
    return "/var/lib/postgresql" if major >= _NEW_VOLUME else "/var/lib/postgresql/data"
