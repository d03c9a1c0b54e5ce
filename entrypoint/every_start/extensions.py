"""Creates and updates extensions: compares those in the image with those in the databases."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence

from entrypoint import log
from entrypoint.errors import Failure, Problem
from entrypoint.every_start import known_extensions
from entrypoint.postgres import sql
from entrypoint.server import programs, sessions, tour
from entrypoint.server.context import Context

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeVar

    Kind = TypeVar("Kind")

_LOCKED = "60s"
"""How long to wait for a lock that a client holds."""
_SERVER = """\
SELECT json_build_object(
    'databases', (SELECT json_agg(json_build_array(datname, datallowconn AND datconnlimit > -2)
                                  ORDER BY datname) FROM pg_database WHERE datname <> 'template0'),
    'preloaded', current_setting('shared_preload_libraries'),
    'cron', coalesce(current_setting('cron.database_name', true), 'postgres'))
"""
_DATABASE = """\
SELECT json_build_object(
    'there', coalesce((SELECT json_agg(extname) FROM pg_extension), '[]'),
    'placed', coalesce((SELECT json_object_agg(name, schema) FROM pg_available_extension_versions v
                        JOIN pg_available_extensions a USING (name)
                        WHERE v.version = a.default_version AND v.schema IS NOT NULL), '{}'),
    'public', to_regnamespace('public') IS NOT NULL)
"""
_OUTDATED = """\
SELECT coalesce(json_agg(json_build_array(extname, extversion, default_version, (
    SELECT path FROM pg_extension_update_paths(extname) WHERE source = extversion AND target = default_version
)) ORDER BY extname), '[]')
FROM pg_extension JOIN pg_available_extensions ON name = extname WHERE extversion <> default_version
"""


def available(context: Context) -> set[str]:
    """Return the extensions that the image's server can create, by their control files."""
    found = set()
    for folder in _folders(context, programs.folder_with(programs.SAMPLE, context)):
        try:
            names = os.listdir(folder)
        except OSError:
            continue
        found |= {name.removesuffix(".control") for name in names if name.endswith(".control")}
    return {name for name in found if "--" not in name}


def _folders(context: Context, system: str) -> list[str]:
    """Return the folders of control files; since PostgreSQL 18 a setting may name further ones."""
    wanted = context.settings
    name = "extension_control_path"
    path = wanted.server.settings.get(name) or wanted.conf.get(name) or "$system"
    return [f"{each.replace('$system', system)}/extension" for each in path.split(":")]


def check(context: Context) -> None:
    """Refuse names in POSTGRES_EXTENSIONS that the image does not have."""
    wanted = context.settings.every_start.extensions
    problems = known_extensions.unknown(wanted, sorted(available(context))) if wanted else []
    if problems:
        raise Failure(*problems)


def create(context: Context) -> None:
    """Create the missing extensions of POSTGRES_EXTENSIONS; raises Failure if that fails.

    A database that cannot be queried is reported, since it is unknown whether an extension is missing there.
    """
    wanted = context.settings.every_start.extensions
    found = _ask(context, _SERVER, None, dict)
    if found is None:
        return
    unloaded = known_extensions.not_preloaded(wanted, found["preloaded"])
    if unloaded is not None:
        log.warning(unloaded.what, unloaded.hint, unloaded.docs)
    places = known_extensions.places(wanted, context.settings.init.database, found["cron"])
    for database, names in places.items():
        has = _ask(context, _DATABASE, database, dict)
        if has is None:
            continue
        for name in names:
            if name in has["there"]:
                continue
            if not has["public"] and name not in has["placed"]:
                log.problem(
                    Problem(
                        f"cannot create the extension {name} in {database}: it has no schema public",
                        "create the extension in another schema: "
                        f"CREATE EXTENSION {sql.identifier(name)} SCHEMA …",
                        docs="install-extensions",
                    )
                )
                continue
            hint = f"fix the error above, or remove {name} from POSTGRES_EXTENSIONS"
            statement = known_extensions.create(name, public=has["public"])
            _change(context, database, statement, unloaded.hint if unloaded else hint)
            log.info(f"created the extension {name} in {database}")


def update(context: Context, hint: str = "fix the error above, or remove POSTGRES_EXTENSIONS_UPDATE") -> bool:
    """Update all extensions in all databases to the version in the image; return whether all could be asked.

    One that cannot be updated stops none of the others. Raises Failure with each of them in the end, with
    this hint.
    """
    found = _ask(context, _SERVER, None, dict)
    databases = found["databases"] if found is not None else ()
    failed: list[Problem] = []
    for database, connects in databases:
        if not connects:
            log.warning(
                f"cannot update the extensions in {database}: it does not accept connections",
                "drop the database if a DROP DATABASE was interrupted, or allow connections: "
                f"ALTER DATABASE {sql.identifier(database)} ALLOW_CONNECTIONS true",
            )
    names = [name for name, connects in databases if connects]
    answered = 0
    for database, outdated in _outdated(context, names):
        answered += 1
        for name, old, new, path in outdated:
            if path is None:
                log.warning(
                    f"cannot update the extension {name} in {database}: it has version {old}, the image has "
                    f"{new}, and {name} has no update script from one to the other",
                    f"see the manual of {name} for the way from {old} to {new}",
                )
                continue
            try:
                _change(context, database, known_extensions.update(name), hint)
            except Failure as failure:
                failed += failure.problems
                continue
            log.info(f"updated the extension {name} in {database} from {old} to {new}")
    if failed:
        raise Failure(*failed)
    return found is not None and answered == len(names)


def _outdated(context: Context, names: Sequence[str]) -> Iterator[tuple[str, list[Any]]]:
    """Yield the outdated extensions of each database; report a database that cannot be queried."""
    asked = {"outdated": _OUTDATED}
    # All databases are queried before any is changed: a connected client might not see a change.
    looks = dict(
        tour.ask(context, names, asked, each=sessions.QUICK, patience=sessions.PATIENCE) if names else ()
    )
    for database in names:
        text = looks[database].answers.get("outdated")
        if text is None:
            _unlooked(f"the database {database}", looks[database].words)
        else:
            yield database, json.loads(text)


def _unlooked(where: str, words: str) -> None:
    log.problem(
        Problem(
            f"cannot query {where} for its extensions: {words}",
            "fix the reported error; the next start tries again",
        )
    )


def _ask(context: Context, text: str, database: str | None, kind: type[Kind]) -> Kind | None:
    """Return a database's answer; if there is none, report that and return None."""
    try:
        return sessions.query_json(context, text, kind, database=database, patience=sessions.PATIENCE)
    except Failure as failure:
        _unlooked("the server" if database is None else f"the database {database}", str(failure))
        return None


def _change(context: Context, database: str, statement: str, hint: str) -> None:
    """Change a database; raises Failure, also if another session holds a lock for too long.

    An extension's script runs with a search_path that PostgreSQL sets to the extension's own schema. Our
    search_path is empty, so that nothing is created anywhere else.
    """
    try:
        sessions.query(
            context,
            statement,
            database=database,
            writes=True,
            settings={"search_path": "", "lock_timeout": _LOCKED},
            seconds=None,
            patience=sessions.PATIENCE,
        )
    except Failure as failure:
        raise Failure(
            Problem(
                f"{statement} failed in the database {database}:\n{failure}", hint, docs="install-extensions"
            )
        ) from None
