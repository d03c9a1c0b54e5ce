"""When restores are rehearsed, and where; pure."""

from __future__ import annotations

from entrypoint.errors import Problem
from entrypoint.settings.backing_up import timezone_of
from entrypoint.settings.fields import Variable, normal
from entrypoint.settings.values import Drills

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


VARIABLES = (
    Variable(
        "DRILL_SCHEDULE",
        "",
        "When the newest backup is restored into `DRILL_FOLDER`, checked and thrown away, in cron's syntax "
        "and in `BACKUP_TIMEZONE`, for example `0 5 * * 0`.",
    ),
    Variable(
        "DRILL_FOLDER",
        "/var/lib/postgresql/drill",
        "Where drills restore to: outside `PGDATA`, with room for the whole database.",
    ),
)
_ALL = {each.name: each for each in VARIABLES}


def parse(values: Mapping[str, str], *, archive: bool, wrong: bool) -> tuple[Drills, list[Problem]]:
    """Return when restores are rehearsed, and what is wrong with that.

    `archive`: there is one to restore from; `wrong`: something else is, which is maybe why there is none.
    """
    problems: list[Problem] = []
    schedule = values.get("DRILL_SCHEDULE", "").strip()
    folder = normal(_ALL["DRILL_FOLDER"].of(values))
    if schedule:
        from entrypoint.settings import cron

        if not archive and not wrong:
            problems.append(
                Problem(
                    "DRILL_SCHEDULE, but no archive is set to restore from",
                    "set ARCHIVE_URL, for example ARCHIVE_URL=file:///archive",
                )
            )
        problems += cron.check(schedule, timezone_of(values), "DRILL_SCHEDULE")
    if schedule or values.get("DRILL_FOLDER"):
        problem = drill_folder_problem(folder, normal(values.get("PGDATA") or "/"))
        problems += [problem] if problem is not None else []
    return Drills(schedule or None, folder), problems


def drill_folder_problem(folder: str, data_folder: str) -> Problem | None:
    """Return what is wrong with the folder of drills."""
    if not folder.startswith("/") or folder == "/":
        return Problem(f"DRILL_FOLDER={folder} is not an absolute path", "give DRILL_FOLDER in full")
    if f"{folder}/".startswith(f"{data_folder}/"):
        return Problem(
            f"DRILL_FOLDER={folder} lies in the data folder {data_folder}: each base backup would hold a "
            "second copy of the database",
            "set DRILL_FOLDER to a folder outside of it, best on a volume of its own",
        )
    return None
