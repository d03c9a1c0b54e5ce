"""Loads the settings, typed and checked, and reports all mistakes together; pure."""

from __future__ import annotations

from entrypoint.archivers.tool_variables import STORAGES, is_of_source
from entrypoint.postgres.argv import parse_server
from entrypoint.settings import foreign, serving, starting, variables
from entrypoint.settings.fields import PATRONI
from entrypoint.settings.values import Backups, Drills, Settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from entrypoint.errors import Problem
    from entrypoint.settings.archiving import Archives
    from entrypoint.settings.failing_over import Failover
    from entrypoint.settings.following import Standby
    from entrypoint.settings.restoring import Request
    from entrypoint.settings.upgrading import Upgrade
    from entrypoint.settings.watching import Watching


# The functions below load the sections that few starts use, and only if one of their variables is set.


def load(
    values: Mapping[str, str],
    arguments: Sequence[str],
    has_program: Mapping[str, bool],
    below: Callable[[str], str] | None = None,
) -> tuple[Settings, list[Problem]]:
    """Return the settings and all problems with them.

    `has_program` says for each archiver whether the image has it; `below` returns the folder below an
    archive that the cluster of a data folder has there, or nothing.
    """
    everything, others = values, foreign.theirs(values)
    values = {name: value for name, value in everything.items() if name not in others}
    archives, problems = _archives(values, arguments, has_program, below)
    archive, source, source_values = archives
    standby = _standby(values, problems, archive=source is not None or bool(problems))
    cluster, found = starting.parse(values)
    problems += found
    every_start, found = starting.parse_every_start(values)
    problems += found
    backup = _backup(values, problems, archive=archive is not None)
    drill = _drill(values, problems, archive=archive is not None)
    restore = _restore(values, problems, standby, source=source is not None)
    conf, found = serving.parse_conf(values, archive, source)
    problems += found
    served, found = serving.parse(values)
    problems += found
    watching = _watching(values, problems)
    settings = Settings(
        values=dict(everything),
        server=parse_server(arguments),
        data_folder=cluster.data_folder,
        port=cluster.port,
        server_timeout=cluster.server_timeout,
        init=cluster.init,
        every_start=every_start,
        archive=archive,
        backup=backup,
        drill=drill,
        restore=restore,
        standby=standby,
        source=source,
        source_values=source_values,
        conf=conf,
        serving=served,
        watching=watching,
        upgrade=_upgrade(values, problems),
        failover=_failover(values, problems),
    )
    return settings, problems


def _has(values: Mapping[str, str], beginning: str) -> bool:
    return any(value and name.startswith(beginning) for name, value in values.items())


def _names_archive(name: str) -> bool:
    return name in STORAGES or name in ("ARCHIVE_TOOL", "RESTORE_FROM") or is_of_source(name)


def _archives(
    values: Mapping[str, str],
    arguments: Sequence[str],
    has_program: Mapping[str, bool],
    below: Callable[[str], str] | None,
) -> tuple[Archives | tuple[None, None, dict[str, str]], list[Problem]]:
    if not any(value and _names_archive(name) for name, value in values.items()):
        return (None, None, dict(values)), []
    from entrypoint.settings import archiving

    folder = below(values.get("PGDATA", "")) if below else ""
    return archiving.parse(values, arguments, has_program, tuple(variables.table()), folder)


def _standby(values: Mapping[str, str], problems: list[Problem], *, archive: bool) -> Standby | None:
    if not _has(values, "STANDBY"):
        return None
    from entrypoint.settings import following

    standby, found = following.parse(values, archive=archive)
    problems += found
    return standby


def _backup(values: Mapping[str, str], problems: list[Problem], *, archive: bool) -> Backups:
    if not _has(values, "BACKUP_"):
        return Backups()
    from entrypoint.settings import backing_up

    backup, found = backing_up.parse(values, archive=archive, wrong=bool(problems))
    problems += found
    return backup


def _drill(values: Mapping[str, str], problems: list[Problem], *, archive: bool) -> Drills:
    if not _has(values, "DRILL_"):
        return Drills()
    from entrypoint.settings import rehearsing

    drill, found = rehearsing.parse(values, archive=archive, wrong=bool(problems))
    problems += [each for each in found if each not in problems]  # backups and drills share the time zone
    return drill


def _restore(
    values: Mapping[str, str], problems: list[Problem], standby: Standby | None, *, source: bool
) -> Request | None:
    if standby is None and not _has(values, "RESTORE_"):
        return None
    from entrypoint.settings import restoring

    restore, found = restoring.parse(values, standby, source=source)
    problems += found
    return restore


def _upgrade(values: Mapping[str, str], problems: list[Problem]) -> Upgrade | None:
    if not values.get("POSTGRES_UPGRADE"):
        return None
    from entrypoint.settings import upgrading

    found, wrong = upgrading.parse(values, variables.PLAIN["POSTGRES_UPGRADE"])
    problems += wrong
    return found


def _failover(values: Mapping[str, str], problems: list[Problem]) -> Failover | None:
    if not _has(values, PATRONI):
        return None
    from entrypoint.settings import failing_over

    failover, found = failing_over.parse(values)
    problems += found
    return failover


def _watching(values: Mapping[str, str], problems: list[Problem]) -> Watching | None:
    names = ("BACKUP_PING_URL", "DRILL_PING_URL", *variables.WATCHING)
    plain = ("STATUS_LOG_LEVEL", "STATUS_LOG_FORMAT")
    if not any(value and name.startswith(names) and name not in plain for name, value in values.items()):
        return None
    from entrypoint.settings import watching

    found, wrong = watching.parse(values)
    problems += wrong
    return found if watching.is_wanted(values) else None
