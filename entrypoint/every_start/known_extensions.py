"""Known facts about extensions: which ones need preloading, and how to create them; pure."""

from collections.abc import Collection, Mapping, Sequence

from entrypoint.errors import Problem
from entrypoint.postgres.sql import identifier

PRELOADED = frozenset(
    """
    citus credcheck pg_cron pg_duckdb pg_net pg_qualstats pg_show_plans pg_squeeze pg_stat_kcache
    pg_stat_monitor pg_stat_statements pg_tle pg_wait_sampling pgaudit pglogical set_user timescaledb vchord
    """.split()
)
"""Extensions that work only if their library, of the same name, is in shared_preload_libraries."""

CRON = "pg_cron"
"""pg_cron can be in one database only, the one in its setting cron.database_name."""


def unknown(wanted: Sequence[str], available: Collection[str]) -> list[Problem]:
    """Return a problem for each extension that the image does not have."""
    import difflib  # only for a mistake

    problems = []
    for name in wanted:
        if name in available:
            continue
        near = difflib.get_close_matches(name, available, n=1)
        problems.append(
            Problem(
                f"POSTGRES_EXTENSIONS names {name}, which this image does not have",
                f"did you mean {near[0]}?" if near else "use an image that has it, or remove the name",
                docs="" if near else "install-extensions",
            )
        )
    return problems


def not_preloaded(wanted: Sequence[str], setting: str) -> Problem | None:
    """Return the warning about libraries that are missing in shared_preload_libraries, or None."""
    loaded = [name for word in setting.split(",") if (name := word.strip().strip('"'))]
    names = {word.rpartition("/")[2].removesuffix(".so") for word in loaded}
    missing = [name for name in wanted if name in PRELOADED and name not in names]
    if not missing:
        return None
    return Problem(
        f"the server does not preload the libraries that these extensions need: {', '.join(missing)}",
        f"set POSTGRES_CONF_shared_preload_libraries={','.join([*loaded, *missing])} and start again",
        docs="install-extensions",
    )


def places(wanted: Sequence[str], database: str, cron_database: str) -> Mapping[str, list[str]]:
    """Return the extensions for each database; databases that are created from template1 get them too."""
    others = [name for name in wanted if name != CRON]
    found: dict[str, list[str]] = {name: list(others) for name in (database, "template1") if others}
    if CRON in wanted:
        found.setdefault(cron_database, []).append(CRON)
    return found


def create(name: str, *, public: bool) -> str:
    """Return the statement that creates an extension and the extensions that it requires.

    Each goes to the schema that its author chose, else to `public`, if the database has that schema.

    >>> create("uuid-ossp", public=True)
    'CREATE EXTENSION IF NOT EXISTS "uuid-ossp" SCHEMA public CASCADE'
    """
    return f"CREATE EXTENSION IF NOT EXISTS {identifier(name)} {'SCHEMA public ' * public}CASCADE"


def update(name: str) -> str:
    """Return the statement that updates an extension to the image's version."""
    return f"ALTER EXTENSION {identifier(name)} UPDATE"
