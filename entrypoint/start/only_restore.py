"""What `entrypoint restore` would do, and why it cannot."""

from __future__ import annotations

from entrypoint import log
from entrypoint.errors import Failure, Problem
from entrypoint.server import opening, programs
from entrypoint.server.data_folder import data_version
from entrypoint.start import plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from entrypoint.restore.planning import Plan
    from entrypoint.server.context import Context
    from entrypoint.settings.values import Settings


def planned(raw: Mapping[str, str]) -> Plan:
    """Return what a restore would do; writes only below /run, and disturbs no running server."""
    import tempfile

    from entrypoint.restore import planning

    wanted = opening.load_settings(raw, ())
    if wanted.restore is None or wanted.source is None:
        raise Failure(impossible(wanted))
    context = as_its_major(opening.command_context(wanted), plan.RESTORE)
    with tempfile.TemporaryDirectory(dir=context.runtime_folder, prefix="plan-") as folder:
        return planning.look(context._replace(runtime_folder=folder), wanted.restore)


def as_its_major(context: Context, kind: plan.Kind) -> Context:
    """Return the context of the server that the backup needs: an image may have older ones for upgrades.

    The restored cluster is whole then, and a start with POSTGRES_UPGRADE=on upgrades it.
    """
    from entrypoint.restore import whereabouts
    from entrypoint.upgrade import older

    if len(programs.majors()) < 2:
        return context
    request = context.settings.restore
    if kind == plan.RECOVER or request is None:
        major = data_version(context.settings.data_folder)
    else:
        major = str(whereabouts.major_of(context, request))
    if not programs.of_major(major) or major == context.environment.get("PG_MAJOR"):
        return context
    log.info(f"restoring with the programs of PostgreSQL {major}")
    made = older.with_programs(context, major)
    return made._replace(environment={**made.environment, "PG_MAJOR": major})


def refuse_others(wanted: Settings, kind: plan.Kind) -> None:
    """Raise Failure if there is nothing to restore."""
    if kind not in (plan.RESTORE, plan.RECOVER):
        raise Failure(impossible(wanted))


def impossible(wanted: Settings) -> Problem:
    """Return why there is nothing to restore."""
    what, hint = "no backup to restore was named", "add --from LATEST, or --from with a backup's name"
    if wanted.restore is not None:
        what = f"{wanted.data_folder} already holds a database"
        hint = "restore onto an empty volume; this volume was not changed"
    return Problem(what, hint, docs="restore-to-a-moment")
