"""What speaks against an upgrade, and what it would change: the findings of `entrypoint upgrade check`."""

from __future__ import annotations

import os

from entrypoint import own
from entrypoint.archive import fork
from entrypoint.every_start import extensions
from entrypoint.finding import Finding, error, ok, several, warning
from entrypoint.light import NamedTuple
from entrypoint.postgres import sql
from entrypoint.server import programs, sessions, tour
from entrypoint.system.children import find_program
from entrypoint.upgrade import carry, moves, odd, parameters, settle, underway
from entrypoint.volume import past

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from entrypoint.server.context import Context

_SERVER = """\
SELECT json_build_object(
    'superuser', (SELECT rolname FROM pg_roles WHERE oid = 10),
    'databases', (SELECT json_agg(datname ORDER BY datname) FROM pg_database WHERE datallowconn),
    'spaces', (SELECT coalesce(json_agg(pg_tablespace_location(oid)), '[]') FROM pg_tablespace
               WHERE spcname NOT IN ('pg_default', 'pg_global')),
    'prepared', (SELECT coalesce(json_agg(json_build_array(gid, database) ORDER BY gid), '[]')
                 FROM pg_prepared_xacts),
    'physical', (SELECT coalesce(json_agg(slot_name), '[]') FROM pg_replication_slots
                 WHERE slot_type = 'physical'),
    'logical', (SELECT coalesce(json_agg(slot_name), '[]') FROM pg_replication_slots
                WHERE slot_type = 'logical'),
    'subscriptions', (SELECT coalesce(json_agg(subname), '[]') FROM pg_subscription))
"""
_EXTENSIONS = "SELECT coalesce(json_agg(extname ORDER BY extname), '[]') FROM pg_extension"
_OPTIONS = """\
SELECT coalesce(json_agg(DISTINCT split_part(option, '=', 1)), '[]')
FROM pg_attribute, unnest(attoptions) AS option WHERE attrelid >= 16384
"""
"""The options of users' columns: a minor version may bring one, which a dump repeats."""
_TABLES = "SELECT count(*) FROM pg_class WHERE relkind IN ('r', 'p', 'v', 'm', 'f', 'S')"
_SLOTS_SURVIVE = 17
"""The first major version from which pg_upgrade takes over logical slots."""
_LOWEST = 16
"""The lowest major version to upgrade to: from it on, pg_upgrade takes over encodings and locales itself."""
_PAGE = underway.PAGE
UNASKED = warning(
    "a server uses the volume, or was not shut down cleanly, so pg_upgrade --check and the questions to the "
    "old server were left out",
    "stop the old container (after a crash, start it again before), and check again",
    _PAGE,
)
"""What `check` says if it must not start the old server: that would change the cluster, or do harm to it."""


class Known(NamedTuple):
    """What the old cluster's server says of itself."""

    superuser: str
    databases: tuple[str, ...]
    """Those that accept connections."""
    spaces: tuple[str, ...]
    """The folders of its tablespaces."""
    tables: int
    """Of all databases together."""
    findings: tuple[Finding, ...]


def files(context: Context, before: str, after: str) -> list[Finding]:
    """Return what speaks against an upgrade, as far as the files say; also while a server runs on them."""
    data = context.settings.data_folder
    found: list[Finding] = []
    if not programs.of_major(before):
        there = ", ".join(str(each) for each in programs.majors() if str(each) != after) or "no older major"
        found.append(
            error(
                f"the image has no programs of PostgreSQL {before}, which pg_upgrade needs (it has {there})",
                f'use an image that has them: make image MAJOR={after} UPGRADE_FROM="{before}"',
                _PAGE,
            )
        )
    if int(after) < _LOWEST:
        found.append(
            error(
                f"this upgrades to {_LOWEST} and newer, but the image has {after}",
                f"upgrade from {before} to a newer major at once, or use pg_upgrade yourself",
                _PAGE,
            )
        )
    restoring = "finish it first, with the old image"
    for name, what, hint in (
        ("standby.signal", "is a standby", parameters.STANDBYS),
        ("recovery.signal", "is being restored", restoring),
        ("backup_label", "is a base backup that was never started", restoring),
    ):
        if os.path.lexists(f"{data}/{name}"):
            found.append(
                error(
                    f"the cluster in {data} {what} ({name} is there)",
                    hint,
                    _PAGE,
                )
            )
    if not context.who.name:
        found.append(
            error(
                f"uid {context.who.uid} has no name in this container, and pg_upgrade needs one",
                "start as root (no --user) for the upgrade, or mount an /etc/passwd that has it",
                _PAGE,
            )
        )
    found += room(data)
    names = moves.leaving(os.listdir(data)) if os.path.isdir(data) else ()
    found += [
        error(each, "mount it elsewhere, or move it out of the data folder, before the upgrade", _PAGE)
        for each in settle.immovable(data, (f"{data}/{name}" for name in names))
    ]
    known = past.read(data)
    if known is not None and known.kept and os.path.lexists(known.kept):
        found.append(
            error(
                f"{known.kept} still holds the cluster of PostgreSQL "
                f"{known.after if known.undone else known.before}",
                "remove it first: entrypoint upgrade finish",
                _PAGE,
            )
        )
    return found + _settings(context, data)


def room(data: str) -> list[Finding]:
    """Return what speaks against the folder in which the new cluster is built, and the old one kept."""
    path = f"{data}/{own.KEPT}"
    if not os.path.lexists(path):
        return []
    if os.path.isdir(path) and not os.path.islink(path) and os.stat(path).st_dev == os.stat(data).st_dev:
        return []
    return [
        error(
            f"{path} is a link, no folder, or on another filesystem: the old cluster cannot be moved there",
            "move it elsewhere; PostgreSQL does not need it",
            _PAGE,
        )
    ]


def others(context: Context, before: str) -> list[Finding]:
    """Return what speaks against an upgrade because of other servers: not here, or not yet, a primary.

    The new cluster would take writes, and write to the archive. A copy that nobody archives may be upgraded:
    its archive is not handed over.
    """
    data = context.settings.data_folder
    found = fork.objection(data)
    if found is None or (context.settings.our_archive is None and not fork.is_superseded(data)):
        return []
    return [error(found.what, f"settle that first, with the image of {before}: {found.hint}", found.docs)]


def served(context: Context, before: str, after: str) -> list[Finding]:
    """Return what the files say against an upgrade of a served cluster, not of a rehearsal's copy."""
    data = context.settings.data_folder
    found = [*files(context, before, after), *others(context, before)]
    if settle.is_layered(data):
        found.append(
            error(
                f"{data} is in the container itself, not in a volume, so its folders may not be movable",
                "copy it to a volume, and mount that there",
                "mount-the-volume",
            )
        )
    return found


def _settings(context: Context, data: str) -> list[Finding]:
    """Return the lines of the configuration that the new server refuses; they become comments."""
    found = []
    for each in carry.refused(context, data):
        inside = carry.is_inside(each.file, data)
        what = (
            f"{each.file}:{each.line}: PostgreSQL {context.environment.get('PG_MAJOR', '')} does not "
            f"accept {each.name}: {each.why}"
        )
        if inside:
            found.append(warning(f"{what}; the upgrade makes the line a comment", each.hint, _PAGE))
        else:
            found.append(error(what, each.hint, _PAGE))
    return found


def preloaded(context: Context, libraries: str, setting: str = "shared_preload_libraries") -> list[Finding]:
    """Return the libraries of a setting that the new server does not have."""
    folder = _library_folder(context)
    names = [each.strip().strip('"') for each in libraries.split(",") if each.strip()]
    missing = [
        name
        for name in names
        if folder and "/" not in name and not os.path.exists(f"{folder}/{name.removesuffix('.so')}.so")
    ]
    if not missing:
        return []
    return [
        error(
            f"{setting} has {several(missing)}, which the new server does not have in {folder}",
            "install the package of it for the new major in the image, or remove it from the settings "
            "with the old image",
            "install-extensions",
        )
    ]


def _library_folder(context: Context) -> str:
    folder = f"{programs.HOME}/{context.environment.get('PG_MAJOR', '')}/lib"
    return folder if os.path.isdir(folder) else ""


def server(context: Context, old_context: Context, host: str, before: str) -> Known:
    """Ask the private server of the old cluster."""
    found = sessions.query_json(old_context, _SERVER, dict, host=host, patience=sessions.PATIENCE)
    data = context.settings.data_folder
    findings: list[Finding] = []
    inside = [
        each for each in found["spaces"] if not each.startswith("/") or f"{each}/".startswith(f"{data}/")
    ]
    if inside:
        findings.append(
            error(
                f"tablespaces lie in the data folder itself: {several(inside)}",
                "move their tables with the old image (ALTER TABLE … SET TABLESPACE), and drop them",
                _PAGE,
            )
        )
    if found["prepared"]:
        findings.append(
            error(
                f"transactions are prepared and not ended: {several([gid for gid, _ in found['prepared']])}",
                "end each with the old image, by COMMIT PREPARED or ROLLBACK PREPARED: "
                + several([f"{sql.literal(gid)} in {database}" for gid, database in found["prepared"]]),
                _PAGE,
            )
        )
    if found["logical"] and int(before) < _SLOTS_SURVIVE:
        findings.append(
            warning(
                f"the upgrade drops the logical slots {several(found['logical'])}: they survive from "
                f"PostgreSQL {_SLOTS_SURVIVE} on",
                "let their consumers read everything, and make the slots again afterwards",
                _PAGE,
            )
        )
    if found["physical"]:
        findings.append(
            warning(
                f"the upgrade drops the physical slots {several(found['physical'])}",
                "standbys that use them stop following: build each again on an empty volume, and make the "
                "slots again",
                _PAGE,
            )
        )
    if found["subscriptions"]:
        findings.append(
            warning(
                f"the cluster has subscriptions: {several(found['subscriptions'])}",
                "disable them before the upgrade, and look at their state afterwards: ALTER "
                "SUBSCRIPTION … DISABLE",
                _PAGE,
            )
        )
    lacking, tables = _extensions(context, old_context, host, found["databases"], before)
    findings += [*lacking, *odd.look(old_context, host)]
    return Known(
        found["superuser"], tuple(found["databases"]), tuple(found["spaces"]), tables, tuple(findings)
    )


def _extensions(
    context: Context, old_context: Context, host: str, databases: list[str], before: str
) -> tuple[list[Finding], int]:
    """Return the extensions that the image does not have for the new major, and how many tables there are."""
    import json

    there = extensions.available(context)
    lacking: dict[str, list[str]] = {}
    options: set[str] = set()
    tables, found = 0, []
    asked = {"extensions": _EXTENSIONS, "options": _OPTIONS, "tables": _TABLES}
    for name, look in tour.ask(
        old_context, databases, asked, each=sessions.QUICK, host=host, patience=sessions.PATIENCE
    ):
        if not asked.keys() <= look.answers.keys():
            found.append(
                error(
                    f"the database {name} cannot be asked for its extensions: {look.words or 'no answer'}",
                    "fix what the message names with the old image; drop the database if a DROP DATABASE was "
                    "interrupted",
                    _PAGE,
                )
            )
            continue
        for extension in json.loads(look.answers["extensions"]):
            if extension not in there:
                lacking.setdefault(extension, []).append(name)
        options |= set(json.loads(look.answers["options"]))
        tables += int(look.answers["tables"])
    after = context.environment.get("PG_MAJOR", "")
    found += [
        error(
            f"the image does not have the extension {name} for PostgreSQL {after}; it is used in "
            f"{several(where)}",
            f"install its package in the image (postgresql-{after}-…), or drop the extension with the "
            f"image of {before}",
            "install-extensions",
        )
        for name, where in sorted(lacking.items())
    ]
    return _older(context, options) + found, tables


def locks(tables: int, raised: Mapping[str, str]) -> list[Finding]:
    """Return that pg_dump needs settings of the old server which its WAL then names."""
    changes = " and ".join(f"{name}={value}" for name, value in raised.items())
    if not changes:
        return []
    return [
        warning(
            f"pg_dump locks {tables} tables, for which the old server gets {changes} during the upgrade",
            "give standbys of the old server as much before: if the upgrade fails, they stop otherwise",
            _PAGE,
        )
    ]


def _older(context: Context, options: set[str]) -> list[Finding]:
    """Return the options of columns that the new server does not know: its program does not contain them."""
    if not options:
        return []
    program = find_program("postgres", context.environment)
    with open(os.path.realpath(program), "rb") as file:
        text = file.read()
    unknown = sorted(option for option in options if option.encode() not in text)
    if not unknown:
        return []
    version = context.environment.get("PG_VERSION", context.environment.get("PG_MAJOR", ""))
    return [
        error(
            f"columns have options that PostgreSQL {version} does not know: {several(unknown)}. It is older "
            "than the old server, whose minor version brought them",
            "build the image with a newer minor version (FRESH=1 make image …), from the day of the old "
            "server's or later; until there is one, upgrade with a dump",
            _PAGE,
        )
    ]


def shape(control: dict[str, str], after: str) -> list[Finding]:
    """Return what else is worth knowing of the old cluster."""
    found = []
    if (
        control.get("Data page checksum version", "0") == "0"
        and int(after) >= parameters.CHECKSUMS_BY_DEFAULT
    ):
        found.append(
            ok(
                "the cluster has no data checksums, so the new one gets none (pg_checksums --enable "
                "adds them)"
            )
        )
    if control.get("track_commit_timestamp setting") == "on":
        found.append(
            warning(
                "track_commit_timestamp is on: the new cluster does not know when the old one's transactions "
                "were committed",
                "save what you need of pg_xact_commit_timestamp with the old image",
                _PAGE,
            )
        )
    if control.get("Database cluster state") != "shut down":
        found.append(
            warning(
                f"the old server was not shut down cleanly ({control.get('Database cluster state')}): "
                "its WAL is replayed first",
                "stop it with the old image: docker stop",
                _PAGE,
            )
        )
    return found
