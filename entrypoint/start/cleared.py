"""Makes room for a new cluster."""

from entrypoint.server.context import Context
from entrypoint.start import plan
from entrypoint.volume import notes, reserve
from entrypoint.volume.unfinished import Unfinished


def clear(context: Context, decided: plan.Plan) -> None:
    """Make room for a new cluster: remove our files of an interrupted start or an earlier cluster."""
    unfinished = Unfinished(context.settings.data_folder)
    if decided.discard:
        unfinished.discard()
    if decided.move_aside:
        unfinished.move_aside()
    notes.clear(context.settings.data_folder)
    reserve.clear(context.settings.init.wal_folder)
