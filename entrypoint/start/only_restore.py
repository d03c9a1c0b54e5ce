"""What `entrypoint restore` would do, and why it cannot."""

from __future__ import annotations

from entrypoint.errors import Failure, Problem
from entrypoint.server import opening

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from entrypoint.restore.planning import Plan
    from entrypoint.settings.values import Settings


def planned(raw: Mapping[str, str]) -> Plan:
    """Return what a restore would do; writes only below /run, and disturbs no running server."""
    import tempfile

    from entrypoint.restore import planning

    wanted = opening.load_settings(raw, ())
    if wanted.restore is None or wanted.source is None:
        raise Failure(impossible(wanted))
    context = opening.command_context(wanted)
    with tempfile.TemporaryDirectory(dir=context.runtime_folder, prefix="plan-") as folder:
        return planning.look(context._replace(runtime_folder=folder), wanted.restore)


def impossible(wanted: Settings) -> Problem:
    """Return why there is nothing to restore."""
    what, hint = "no backup to restore was named", "add --from LATEST, or --from with a backup's name"
    if wanted.restore is not None:
        what = f"{wanted.data_folder} already holds a database"
        hint = "restore onto an empty volume; this volume was not changed"
    return Problem(what, hint, docs="restore-to-a-moment")
