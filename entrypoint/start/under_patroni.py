"""The end of a start under Patroni: Patroni creates the cluster, or starts the server on it."""

from __future__ import annotations

import os

from entrypoint import exits, log
from entrypoint.archive import fork
from entrypoint.collation import remembered
from entrypoint.config import collector, when_full
from entrypoint.errors import Failure, Problem
from entrypoint.failover import half_copy, interrupted, patroni
from entrypoint.pid1 import status, stops
from entrypoint.pid1.handoff import HelperSpec, ServerSpec, hand_over
from entrypoint.server import leftover, login
from entrypoint.server.context import Context
from entrypoint.settings.for_dcs import PAGE
from entrypoint.settings.patroni_variables import SCOPE
from entrypoint.start import cleared, helpers, plan, skipped
from entrypoint.system import files
from entrypoint.volume import installing, probe
from entrypoint.volume.unfinished import Unfinished

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from entrypoint.volume.facts import Facts


def run(
    context: Context,
    facts: Facts,
    decided: plan.Plan,
    held: list[int],
    *,
    watch: HelperSpec | None,
    alone: bool,
) -> NoReturn:
    """Hand over to the supervisor, with Patroni as what it runs.

    `held` are the descriptors of locks; the first one is the data folder's. `watch` runs already. `alone`: a
    command restores or upgrades the database without serving it; raises Failure, since Patroni decides who
    serves.
    """
    node = context.settings.failover
    assert node is not None
    _refuse(alone=alone)
    if decided.kind == plan.RECOVER:
        decided = decided._replace(discard=True)  # nobody has seen it yet, and it begins again from scratch
    if decided.kind != plan.START:
        cleared.clear(context, decided)
    data = context.settings.data_folder
    has_cluster = _settle_folder(context, facts)
    context = _open_archive(context, has_cluster=has_cluster)
    wanted = context.settings
    argv = patroni.write_down(context, node)
    if decided.discard:
        interrupted.give_back(context, node)
    folders = ",".join(f'"{each}"' for each in patroni.sockets(context))
    past = leftover.clear(context, ["-c", f"unix_socket_directories={folders}"])
    login.keep_password(context)
    if wanted.serving.json_log:
        collector.say(context)
    context.children.raise_if_stopped()
    stop = wanted.serving.stop
    spec = ServerSpec(
        argv=argv,
        environment=patroni.environment(context, node) | past,
        timeouts=[stop.smart, stop.fast, stop.immediate],
        helpers=helpers.under_patroni(context, watch, has_cluster=has_cluster),
        runtime_folder=context.runtime_folder,
        data_folder=data,
        cluster="",
        archive_status=f"{data}/pg_wal/archive_status" if helpers.archives(context) else "",
        disks=when_full.disks(data),
        segment=installing.segment_bytes(data),
        debug=wanted.serving.debug,
        patroni=True,
    )
    kept = context.children.kept
    hand_over(context.children.signals, spec, held, ([], []) if kept is None else kept.handed())


def _open_archive(context: Context, *, has_cluster: bool) -> Context:
    """Return the context with the decision who archives, after the archive was checked and set up.

    The node that creates the cluster claims the archive itself, and a copy of the leader follows its claim.
    """
    if context.settings.archive is None:
        return context
    from entrypoint.archive import calls, claim, fetching
    from entrypoint.archive.opened import OpenedArchive
    from entrypoint.config import charge

    context = charge.settle(context)
    if not _say_overruled(context):
        charge.say(context)
    archive = context.settings.our_archive
    if archive is None:
        return context
    data = context.settings.data_folder
    calls.forget(context.runtime_folder, data)
    opened = OpenedArchive(context, archive)
    opened.render()
    fetching.prepare(context)
    if has_cluster:
        fork.reopen(opened)
        if (refused := fork.refusal(data)) is not None:
            raise Failure(refused)  # the other nodes would read what another cluster has archived
        known = fork.read(data)
        if known is not None and known.state == fork.RESTORED and not status.in_recovery(data):
            context = context._replace(near=claim.prepare(opened, must_work=True))
        else:
            context = context._replace(near=claim.prepare_node(opened))
    else:
        claim.prepare_later(context)
    files.write_atomically(f"{context.runtime_folder}/{calls.LOOK}", claim.script(context, "look-first"))
    return context


def _say_overruled(context: Context) -> bool:
    """Report what ALTER SYSTEM sets instead of our archiving: the server's command line is Patroni's."""
    from entrypoint.config import charge, precedence, sources

    if context.settings.our_archive is None:
        return False
    stronger = [each for each in charge.decide(context).idle if each.origin == sources.ALTER]
    if not stronger:
        return False
    shown = "".join(f"\n{precedence.shown(each)}" for each in stronger)
    log.problem(
        Problem(
            f"the entrypoint does not archive as long as ALTER SYSTEM sets something else:{shown}",
            f"{'; '.join(map(precedence.remove, stronger))}; then restart the node: patronictl restart",
            docs=precedence.PAGE,
        )
    )
    return True


def _refuse(*, alone: bool) -> None:
    if alone:
        raise Failure(
            Problem(
                "this node belongs to a cluster under Patroni, so it is neither restored nor upgraded alone",
                f"run the command without {SCOPE}, while Patroni runs on no node",
                docs=PAGE,
            )
        )


def _settle_folder(context: Context, facts: Facts) -> bool:
    """Bring the data folder into a state that Patroni knows; return whether it holds a cluster."""
    wanted = context.settings
    data = wanted.data_folder
    half_copy.remove(data)
    has_cluster = os.path.exists(f"{data}/PG_VERSION")
    if has_cluster:
        Unfinished(data).remove_finished()
        stops.look_back(data)
        skipped.say(facts)
        _check_collations(context)
    else:
        _refuse_leftovers(data)
    if probe.asks_for_startdb(wanted):
        log.info(
            f"not done under Patroni: {probe.STARTDB_FOLDER}, POSTGRES_EXTENSIONS on an existing database, "
            "POSTGRES_PASSWORD_UPDATE"
        )
    return has_cluster


def _refuse_leftovers(data: str) -> None:
    """Raise Failure if Patroni would not take the folder for an empty one, and wait for good."""
    names = [name for name in os.listdir(data) if not name.startswith(".") and name != "lost+found"]
    if names:
        raise Failure(
            Problem(
                f"{data} holds no database, but Patroni needs it empty; it contains: {', '.join(names[:5])}",
                "move them elsewhere, or remove them if nothing in them is needed",
                docs=PAGE,
            )
        )


def _check_collations(context: Context) -> None:
    """Look whether other libraries have sorted the text; no private server may write to this node's database.

    Each promotion changes the timeline, so only the libraries are compared.
    """
    then, now = remembered.read(context.settings.data_folder).libraries, remembered.libraries()
    if not then or then == now:
        return
    what = f"text may sort differently: the indexes were built with {then}, this image has {now}"
    if context.settings.serving.collation_policy != "warn":
        raise Failure(
            Problem(
                what,
                "start the image that built the indexes; or COLLATION_POLICY=warn, and on the leader: docker "
                "exec CONTAINER entrypoint collation fix",
                exits.COLLATION_CHANGED,
                docs="fix-collations",
            )
        )
    log.warning(what, "on the leader: docker exec CONTAINER entrypoint collation fix", docs="fix-collations")
