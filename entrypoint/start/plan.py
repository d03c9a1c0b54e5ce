"""What to do, given the settings and the facts; a refusal is a value with an exit code; pure."""

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
    """What a start is going to do."""

    kind: Kind
    """`recover`: continue an interrupted restore."""
    discard: bool
    """First delete what our own interrupted first start has built; it has not run any user code."""
    move_aside: bool
    """First move an unfinished cluster aside, as the user has requested."""
    refusals: tuple[Problem, ...]
    warnings: tuple[Problem, ...]


def decide(settings: Settings, facts: Facts) -> Plan:
    """Return what to do; nothing has been changed yet."""
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
    """Return whether the unfinished restore is not the one that the settings request now.

    The unfinished restore has built a copy of the archive that was never promoted. Continuing it would
    promote the copy, so a standby is built from scratch.
    """
    if settings.standby is not None:
        return True
    if settings.restore is None:
        return False
    from entrypoint.restore.record import recorded  # most starts have no restore to continue

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
        empty = folder.readable and not (unfinished or folder.foreign)
        refusals = [
            no_permission(folder.path, "use", facts.uid, folder.owner, folder.filesystem, empty=empty)
        ]
    return refusals + _not_empty_handed(settings)


def _not_ours(facts: Facts) -> bool:
    """Return whether the server would refuse the folder: it must own it, and only root can change that."""
    folder = facts.data_folder
    return folder.exists and (not folder.readable or facts.uid not in (0, folder.owner))


def _needs_password(settings: Settings) -> list[Problem]:
    if settings.init.password or settings.init.auth_method.split()[:1] == ["trust"]:
        return []
    return [
        Problem(
            f"{settings.data_folder} holds no database yet, and no superuser password is specified "
            "for a new one",
            "set POSTGRES_PASSWORD (-e POSTGRES_PASSWORD=…) or POSTGRES_PASSWORD_FILE; "
            "POSTGRES_HOST_AUTH_METHOD=trust, for tests only, lets everybody in without a password",
            docs="handle-secrets",
        )
    ]


def _old_databases(facts: Facts) -> list[Problem]:
    if not facts.old_databases:
        return []
    there = [place for place in facts.old_databases if place.startswith("/") and " (" not in place]
    serve = " or ".join(f"-e PGDATA={place}" for place in there)
    named = (
        f"serve it where it is, with {serve}; data of an older major version is upgraded there with -e "
        "POSTGRES_UPGRADE=on, by an image that has its programs, and else by pg_upgrade"
    )
    moved = "name the data folder in it with PGDATA"
    return [
        Problem(
            f"{facts.data_folder.path} holds no database, but there appears to be PostgreSQL data "
            f"of another version or layout in: {' '.join(facts.old_databases)}",
            "from PostgreSQL 18 on, the data folder is /var/lib/postgresql/<major>/docker, with a single "
            f"mount at /var/lib/postgresql: {named if there else moved}; or return to the image of the "
            "data's major version; see https://github.com/docker-library/postgres/pull/1259 and "
            "https://github.com/docker-library/postgres/issues/37",
            docs="upgrade-to-a-newer-major",
        )
    ]


def _foreign(facts: Facts) -> list[Problem]:
    folder = facts.data_folder
    if not folder.foreign:
        return []
    names = ", ".join(folder.foreign[:5]) + (", …" if len(folder.foreign) > 5 else "")
    if folder.foreign == ("lost+found",):
        what = f"{folder.path} is the top folder of a filesystem (it contains lost+found)"
    else:
        what = f"{folder.path} is not empty, but it holds no database; it contains: {names}"
    return [
        Problem(
            what,
            f"use a folder below it: -e PGDATA={folder.path}/pgdata, or empty it if nothing in it is needed",
            docs="mount-the-volume",
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
                docs="mount-the-volume",
            )
        ]
    given = settings.server.data_folder
    if given is not None and (given.rstrip("/") or "/") != settings.data_folder:
        return [
            Problem(
                f"-D {settings.server.data_folder} differs from PGDATA ({settings.data_folder}), where the "
                "first start would create the database",
                f"set PGDATA={settings.server.data_folder} and omit -D",
                docs="mount-the-volume",
            )
        ]
    return []


def _init_files_unfinished(settings: Settings, unfinished: Unfinished) -> Problem:
    where = f"{settings.data_folder}/{own.UNFINISHED}"
    if unfinished.stage == "unknown" and not unfinished.detail:
        why = (
            "it is unknown which init file was running, or another server has used the database since, "
            "or somebody else put the database there"
        )
    else:
        file = unfinished.detail or "(unknown)"
        why = f"the init file {file} failed or was interrupted, so the database is only partly set up"
    return Problem(
        f"an earlier first start did not finish: {why}",
        "correct the file, then either empty the volume (docker rm CONTAINER, docker volume rm VOLUME) "
        "or start once with -e POSTGRES_INIT_UNFINISHED=restart, which moves the existing "
        "files aside and starts from scratch. If you have checked the database yourself and want to keep "
        f"it as it is: rm -r {where}",
        exits.UNFINISHED_FIRST_START,
        docs="finish-a-first-start",
    )


def _cannot_move_wal(settings: Settings) -> Problem:
    return Problem(
        "POSTGRES_INIT_UNFINISHED=restart cannot move a write-ahead log outside the data folder "
        f"({settings.init.wal_folder})",
        f"empty {settings.data_folder} and {settings.init.wal_folder} yourself",
        exits.UNFINISHED_FIRST_START,
        docs="finish-a-first-start",
    )


def _nothing_to_build_from(settings: Settings) -> Problem:
    return Problem(
        f"STANDBY=on, but {settings.data_folder} holds no database yet, and there is no archive to build the "
        "standby from",
        "set ARCHIVE_URL to the primary's archive, or put a copy of the primary there with pg_basebackup",
        docs="run-a-standby",
    )


def _recovery_without_archive(settings: Settings, detail: str) -> Problem:
    from entrypoint.restore.record import recorded

    backup = recorded(detail).backup
    return Problem(
        f"the restore of backup {backup} into {settings.data_folder} is not finished, and no archive "
        "is set to continue it from",
        "set the same ARCHIVE_* variables as when the restore began, or empty the volume",
        exits.UNFINISHED_RESTORE,
        docs="restore-a-lost-volume",
    )


def _warnings(settings: Settings, facts: Facts, kind: Kind) -> list[Problem]:
    folder = facts.data_folder
    found = []
    if folder.place == "container layer":
        found.append(
            Problem(
                f"the data folder {folder.path} is in the container's own layer and is deleted "
                "together with the container",
                f"mount a volume: -v NAME:{_volume_for(settings)}",
                docs="mount-the-volume",
            )
        )
    elif folder.place == "anonymous volume" and facts.stray_mounts:
        found.append(
            Problem(
                f"the data folder {folder.path} is on an anonymous volume, although a volume is "
                f"mounted at {', '.join(facts.stray_mounts)}: a new container will not find the data again",
                f"mount the volume at {folder.mount_point} instead",
                docs="mount-the-volume",
            )
        )
    elif folder.place == "anonymous volume" and kind != START:
        found.append(
            Problem(
                f"the data folder {folder.path} is on an anonymous volume: a new container will not find "
                "the data again",
                f"mount a named volume: -v NAME:{folder.mount_point}",
                docs="mount-the-volume",
            )
        )
    if kind == START and folder.standby and settings.standby is None:
        found.append(
            Problem(
                f"the database in {folder.path} is a standby (it has standby.signal), although STANDBY is "
                "not on: it remains a standby",
                "set STANDBY=on; to make it a primary: entrypoint promote",
                docs="run-a-standby",
            )
        )
    if settings.init.auth_method.split()[:1] == ["trust"] and kind == INITIALIZE:
        found.append(
            Problem(
                'POSTGRES_HOST_AUTH_METHOD has been set to "trust": anybody who can reach the port, '
                "including any other container, gets in without a password, even if POSTGRES_PASSWORD is set",
                "set POSTGRES_PASSWORD and remove POSTGRES_HOST_AUTH_METHOD",
                docs="handle-secrets",
            )
        )
    return found


def _volume_for(settings: Settings) -> str:
    home = "/var/lib/postgresql"
    path = settings.data_folder
    return home if path.startswith(f"{home}/") and path != f"{home}/data" else path
