"""The upgrade to the image's major version that a start does before anything else."""

from __future__ import annotations

from entrypoint import log
from entrypoint.archive import below
from entrypoint.errors import Ended, Failure, Problem
from entrypoint.pid1 import status
from entrypoint.server.context import later_environment
from entrypoint.start import plan
from entrypoint.system import identity
from entrypoint.volume import holder, notes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from entrypoint.pid1.handoff import HelperSpec
    from entrypoint.server.context import Context


def settle(context: Context) -> Context:
    """Finish an upgrade that was interrupted, and return the context from now on; the folder is locked."""
    from entrypoint.upgrade.settle import settle as finish

    with identity.Acting(context.who):
        finish(context.settings.data_folder)
    return below.place(context)


def upgrade(context: Context, lock: int, decided: plan.Plan, *, only: bool) -> tuple[Context, int]:
    """Upgrade the cluster if it is of an older major version.

    Returns the context from now on, and the descriptor that holds the lock.
    """
    from entrypoint.upgrade import convert

    data = context.settings.data_folder
    if decided.kind == plan.START and convert.is_due(context):
        status.enter(context.runtime_folder, status.UPGRADE)
        convert.upgrade(context)
        lock = holder.keep_locked(lock, data)
        notes.expect(data, notes.cluster(data))
        context = below.place(context)
        status.enter(context.runtime_folder, status.BOOT)
    elif only and decided.kind != plan.START:
        raise Failure(
            Problem(
                f"{data} holds no cluster, so nothing is to be upgraded",
                "set PGDATA, or mount the volume that has it",
                docs="mount-the-volume",
            )
        )
    elif only:
        log.info(f"the cluster in {data} is of the image's major version: nothing is to be upgraded")
    if only:
        raise Ended(0)
    return context, lock


def for_new_cluster(context: Context, watch: HelperSpec | None) -> HelperSpec | None:
    """Return how PID 1 starts the watch again: it writes its notes only next to the cluster that it knows."""
    return watch and watch._replace(environment=later_environment(context))
