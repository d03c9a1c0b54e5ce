"""When and where restores are rehearsed; pure."""

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
        "When to rehearse a restore: the newest backup is restored into `DRILL_FOLDER`, checked and "
        "removed. In cron's syntax and in `BACKUP_TIMEZONE`, for example `0 5 * * 0`.",
    ),
    Variable(
        "DRILL_FOLDER",
        "/var/lib/postgresql/drill",
        "The folder that drills restore into: outside `PGDATA`, with room for the whole database.",
    ),
    Variable(
        "DRILL_PING_URL",
        "",
        "As `BACKUP_PING_URL`, for drills.",
        secret=True,
        from_file=True,
    ),
)
_ALL = {each.name: each for each in VARIABLES}


def parse(values: Mapping[str, str], *, archive: bool, wrong: bool) -> tuple[Drills, list[Problem]]:
    """Return when and where restores are rehearsed, and the problems with that.

    `archive`: there is one to restore from. `wrong`: other problems exist, which may be why there is none.
    """
    problems: list[Problem] = []
    schedule = values.get("DRILL_SCHEDULE", "").strip()
    folder = normal(_ALL["DRILL_FOLDER"].of(values))
    if schedule:
        from entrypoint.settings import cron

        if not archive and not wrong:
            problems.append(
                Problem(
                    "DRILL_SCHEDULE is set, but there is no archive to restore from",
                    "set ARCHIVE_URL, for example ARCHIVE_URL=file:///archive",
                    docs="rehearse-restores",
                )
            )
        problems += cron.check(schedule, timezone_of(values), "DRILL_SCHEDULE")
    if schedule or values.get("DRILL_FOLDER"):
        problem = drill_folder_problem(folder, normal(values.get("PGDATA") or "/"))
        problems += [problem] if problem is not None else []
    return Drills(schedule or None, folder), problems


def drill_folder_problem(folder: str, data_folder: str) -> Problem | None:
    """Return what is wrong with the folder that drills restore into; None if nothing is."""
    if not folder.startswith("/") or folder == "/":
        return Problem(
            f"DRILL_FOLDER={folder} is not an absolute path of a folder",
            "set DRILL_FOLDER to an absolute path, for example DRILL_FOLDER=/drill",
        )
    if f"{folder}/".startswith(f"{data_folder}/"):
        return Problem(
            f"DRILL_FOLDER={folder} is in the data folder {data_folder}: each base backup would contain a "
            "second copy of the database",
            "set DRILL_FOLDER to a folder outside the data folder, preferably on a volume of its own",
            docs="rehearse-restores",
        )
    return None
