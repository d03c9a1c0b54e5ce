"""Extensions as the image has them and as databases have them."""

import json
import os

from entrypoint import extensions, log
from entrypoint.effects import server
from entrypoint.effects.server import Context
from entrypoint.errors import Failure, Problem

_SERVER = """\
SELECT json_build_object(
    'databases', (SELECT json_agg(datname ORDER BY datname) FROM pg_database WHERE datallowconn),
    'preloaded', current_setting('shared_preload_libraries'),
    'cron', coalesce(current_setting('cron.database_name', true), 'postgres'))
"""
_THERE = "SELECT coalesce(json_agg(extname), '[]') FROM pg_extension"
_OUTDATED = """\
SELECT coalesce(json_agg(json_build_array(extname, extversion, default_version, (
    SELECT path FROM pg_extension_update_paths(extname) WHERE source = extversion AND target = default_version
)) ORDER BY extname), '[]')
FROM pg_extension JOIN pg_available_extensions ON name = extname WHERE extversion <> default_version
"""


def available(context: Context) -> set[str]:
    """Return the extensions that the image's server can create, by their control files."""
    found = set()
    for folder in _folders(context, server.folder_with(server.SAMPLE, context)):
        try:
            names = os.listdir(folder)
        except OSError:
            continue
        found |= {name.removesuffix(".control") for name in names if name.endswith(".control")}
    return {name for name in found if "--" not in name}


def _folders(context: Context, system: str) -> list[str]:
    """Return where control files lie, from PostgreSQL 18 on also by a setting."""
    wanted = context.settings
    name = "extension_control_path"
    path = wanted.server.settings.get(name) or wanted.conf.get(name) or "$system"
    return [f"{each.replace('$system', system)}/extension" for each in path.split(":")]


def check(context: Context) -> None:
    """Refuse names in POSTGRES_EXTENSIONS that the image does not have."""
    wanted = context.settings.every_start.extensions
    problems = extensions.unknown(wanted, sorted(available(context))) if wanted else []
    if problems:
        raise Failure(*problems)


def create(context: Context) -> None:
    """Create what POSTGRES_EXTENSIONS asks for, where it is missing; raises Failure where that fails."""
    wanted = context.settings.every_start.extensions
    found = json.loads(server.query(context, _SERVER))
    unloaded = extensions.not_preloaded(wanted, found["preloaded"])
    if unloaded is not None:
        log.warning(unloaded.what, unloaded.mend)
    for database, names in extensions.places(wanted, context.settings.init.database, found["cron"]).items():
        there = json.loads(server.query(context, _THERE, database=database))
        for name in names:
            if name not in there:
                mend = (
                    unloaded.mend
                    if unloaded
                    else f"see the words above, or remove {name} from POSTGRES_EXTENSIONS"
                )
                _change(context, database, extensions.create(name), mend)
                log.info(f"created the extension {name} in {database}")


def update(context: Context) -> None:
    """Bring all extensions of all databases to the version that the image has."""
    for database in json.loads(server.query(context, _SERVER))["databases"]:
        for name, old, new, path in json.loads(server.query(context, _OUTDATED, database=database)):
            if path is None:
                log.warning(
                    f"the extension {name} in {database} is {old}, the image has {new}, and no script leads "
                    "from one to the other",
                    f"see the manual of {name} for how to get from {old} to {new}",
                )
                continue
            mend = "see the words above, or remove POSTGRES_EXTENSIONS_UPDATE"
            _change(context, database, extensions.update(name), mend)
            log.info(f"updated the extension {name} in {database} from {old} to {new}")


def _change(context: Context, database: str, statement: str, mend: str) -> None:
    try:
        server.query(context, statement, None, database=database)
    except Failure as failure:
        words = failure.problems[0].what.partition("\n")[2]
        raise Failure(Problem(f"{statement}, in the database {database}:\n{words}", mend)) from None
