"""What follows from the settings and the facts, a refusal being a value with an exit code; pure."""

from __future__ import annotations

from entrypoint import exits, own
from entrypoint.errors import Problem, no_permission
from entrypoint.light import NamedTuple
from entrypoint.settings.values import Settings
from entrypoint.volume.facts import Facts, Unfinished

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final, Literal

    Kind = Literal["start", "initialize", "restore", "recover"]

START: Final = "start"
INITIALIZE: Final = "initialize"
RESTORE: Final = "restore"
RECOVER: Final = "recover"


class Plan(NamedTuple):
    """What a start will do."""

    kind: Kind
    """`recover`: go on with a restore that was interrupted."""
    discard: bool
    """Throw away first what an interrupted first start of ours has built; no user code has run in it."""
    move_aside: bool
    """Move an unfinished cluster aside first, as the user asked."""
    refusals: tuple[Problem, ...]
    warnings: tuple[Problem, ...]


def decide(settings: Settings, facts: Facts) -> Plan:
    """Return what to do; nothing has been touched yet."""
    folder = facts.data_folder
    unfinished = folder.unfinished
    stage = unfinished.stage if unfinished else ""
    anew = unfinished is not None and stage == "recovery" and _is_for_something_else(settings, unfinished)
    refusals: list[Problem] = []
    kind: Kind
    if stage == "promoted" or (unfinished is None and folder.has_cluster):
        kind = START
    elif unfinished is not None and stage == "recovery" and not anew:
        kind = RECOVER
        if settings.source is None:
            refusals.append(_recovery_without_archive(settings, unfinished.detail))
        refusals += _not_empty_handed(settings)
    else:
        kind = RESTORE if settings.restore else INITIALIZE
        if settings.standby is not None and kind == INITIALIZE:
            refusals.append(_nothing_to_build_from(settings))
        else:
            refusals += _against_a_new_cluster(settings, facts, kind, anew=anew)
    return Plan(
        kind=kind,
        discard=anew or stage == "building",
        move_aside=kind != START and stage in ("files", "unknown") and settings.init.restart_unfinished,
        refusals=tuple(refusals),
        warnings=tuple(_warnings(settings, facts, kind)),
    )


def _is_for_something_else(settings: Settings, unfinished: Unfinished) -> bool:
    """Tell whether a restore that is not finished was begun for something else than is asked for now.

    What it has built is a copy of the archive that was never promoted. To go on with it would promote it,
    so a standby is built anew.
    """
    if settings.standby is not None:
        return True
    if settings.restore is None:
        return False
    from entrypoint.restore.record import recorded  # most starts have nothing to go on with

    return not recorded(unfinished.detail).is_for(settings.restore)


def _against_a_new_cluster(settings: Settings, facts: Facts, kind: Kind, *, anew: bool) -> list[Problem]:
    folder = facts.data_folder
    unfinished = folder.unfinished
    refusals: list[Problem] = []
    if unfinished is not None and unfinished.stage in ("files", "unknown"):
        if not settings.init.restart_unfinished:
            refusals.append(_init_files_unfinished(settings, unfinished))
        elif settings.init.wal_folder:
            refusals.append(_cannot_move_wal(settings))
    if kind == INITIALIZE and not refusals:
        refusals += _needs_password(settings)
    refusals += _old_databases(facts)
    if not anew and (unfinished is None or unfinished.stage == "building"):
        refusals += _foreign(facts)
    if _not_ours(facts):
        refusals = [no_permission(folder.path, "use", facts.uid, folder.owner, folder.filesystem)]
    return refusals + _not_empty_handed(settings)


def _not_ours(facts: Facts) -> bool:
    """Tell whether the server would refuse the folder: it must own it, and only root can mend that."""
    folder = facts.data_folder
    return folder.exists and (not folder.readable or facts.uid not in (0, folder.owner))


def _needs_password(settings: Settings) -> list[Problem]:
    if settings.init.password or settings.init.auth_method.split()[:1] == ["trust"]:
        return []
    return [
        Problem(
            f"{settings.data_folder} holds no database yet, and no superuser password is specified "
            "to make one",
            "set POSTGRES_PASSWORD (-e POSTGRES_PASSWORD=…) or POSTGRES_PASSWORD_FILE; "
            "POSTGRES_HOST_AUTH_METHOD=trust lets everybody in without one",
        )
    ]


def _old_databases(facts: Facts) -> list[Problem]:
    if not facts.old_databases:
        return []
    return [
        Problem(
            f"{facts.data_folder.path} holds no database, but there appears to be PostgreSQL data "
            f"of another version or layout in: {' '.join(facts.old_databases)}",
            "from 18 on the data lies in /var/lib/postgresql/<major>/docker: use a single mount at "
            "/var/lib/postgresql and move the data with pg_upgrade, or go back to the image of the "
            "data's major version; see https://github.com/docker-library/postgres/pull/1259 and "
            "https://github.com/docker-library/postgres/issues/37",
        )
    ]


def _foreign(facts: Facts) -> list[Problem]:
    folder = facts.data_folder
    if not folder.foreign:
        return []
    names = ", ".join(folder.foreign[:5]) + (", …" if len(folder.foreign) > 5 else "")
    if folder.foreign == ("lost+found",):
        what = f"{folder.path} is the top of a filesystem (it holds lost+found)"
    else:
        what = f"{folder.path} is not empty and holds no database, but: {names}"
    return [
        Problem(
            what,
            f"use a folder below it: -e PGDATA={folder.path}/pgdata, or empty it if nothing in it is needed",
        )
    ]


def _not_empty_handed(settings: Settings) -> list[Problem]:
    arguments = settings.server.given
    if not settings.server.is_server:
        from entrypoint.settings.hiding import hide_arguments

        return [
            Problem(
                f"postgres {hide_arguments(arguments)} needs a database, and {settings.data_folder} holds "
                "none",
                "start the container without these arguments first",
            )
        ]
    given = settings.server.data_folder
    if given is not None and (given.rstrip("/") or "/") != settings.data_folder:
        return [
            Problem(
                f"-D {settings.server.data_folder} is not PGDATA ({settings.data_folder}), where the "
                "first start would make the database",
                f"set PGDATA={settings.server.data_folder} and leave -D out",
            )
        ]
    return []


def _init_files_unfinished(settings: Settings, unfinished: Unfinished) -> Problem:
    where = f"{settings.data_folder}/{own.UNFINISHED}"
    if unfinished.stage == "unknown" and not unfinished.detail:
        why = (
            "the init file that it came to is (unknown), or somebody else has served the database since, "
            "or put it there"
        )
    else:
        file = unfinished.detail or "(unknown)"
        why = f"the init file {file} failed or was interrupted, so the database is only partly set up"
    return Problem(
        f"an earlier first start did not finish: {why}",
        "correct the file, then either empty the volume (docker volume rm, docker compose down "
        "--volumes) or start once with -e POSTGRES_INIT_UNFINISHED=restart, which moves what is "
        f"there aside and begins anew. If you have checked the database yourself and want it as it "
        f"is: rm -r {where}",
        exits.UNFINISHED_FIRST_START,
    )


def _cannot_move_wal(settings: Settings) -> Problem:
    return Problem(
        "POSTGRES_INIT_UNFINISHED=restart cannot move a write-ahead log that lies elsewhere "
        f"({settings.init.wal_folder})",
        f"empty {settings.data_folder} and {settings.init.wal_folder} yourself",
        exits.UNFINISHED_FIRST_START,
    )


def _nothing_to_build_from(settings: Settings) -> Problem:
    return Problem(
        f"STANDBY=on, but {settings.data_folder} holds no database yet, and there is no archive to build it "
        "from",
        "set ARCHIVE_URL to the primary's archive, or put a copy of the primary there with pg_basebackup",
    )


def _recovery_without_archive(settings: Settings, detail: str) -> Problem:
    from entrypoint.restore.record import recorded

    backup = recorded(detail).backup
    return Problem(
        f"the restore of backup {backup} into {settings.data_folder} is not finished, and no archive "
        "is set to go on with",
        "set the same ARCHIVE_* variables as when it began, or empty the volume",
        exits.UNFINISHED_RESTORE,
    )


def _warnings(settings: Settings, facts: Facts, kind: Kind) -> list[Problem]:
    folder = facts.data_folder
    found = []
    if folder.place == "container layer":
        found.append(
            Problem(
                f"the data folder {folder.path} lies in the container's own layer and is deleted "
                "together with the container",
                f"mount a volume: -v NAME:{_volume_for(settings)}",
            )
        )
    elif folder.place == "anonymous volume" and facts.stray_mounts:
        found.append(
            Problem(
                f"the data folder {folder.path} lies on an anonymous volume, although a volume is "
                f"mounted at {', '.join(facts.stray_mounts)}: the data is lost from sight when the "
                "container is made anew",
                f"mount the volume at {folder.mount_point} instead",
            )
        )
    elif folder.place == "anonymous volume" and kind != START:
        found.append(
            Problem(
                f"the data folder {folder.path} lies on an anonymous volume, which a new container "
                "does not find again",
                f"mount a volume with a name: -v NAME:{folder.mount_point}",
            )
        )
    if kind == START and folder.standby and settings.standby is None:
        found.append(
            Problem(
                f"the database in {folder.path} is a standby (it has standby.signal), although STANDBY is "
                "not on: it goes on following",
                "set STANDBY=on; to make it a primary: entrypoint promote",
            )
        )
    if settings.init.auth_method.split()[:1] == ["trust"] and kind == INITIALIZE:
        found.append(
            Problem(
                'POSTGRES_HOST_AUTH_METHOD has been set to "trust": everybody who reaches the port, also '
                "any other container, gets in without a password, even if POSTGRES_PASSWORD is set",
                "set POSTGRES_PASSWORD and remove POSTGRES_HOST_AUTH_METHOD",
            )
        )
    return found


def _volume_for(settings: Settings) -> str:
    home = "/var/lib/postgresql"
    path = settings.data_folder
    return home if path.startswith(f"{home}/") and path != f"{home}/data" else path
