"""What a start does if text may no longer sort as it did when it was indexed: COLLATION_POLICY."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from entrypoint import exits, log
from entrypoint.backup import history
from entrypoint.collation import dependents, rebuild, remembered
from entrypoint.collation.asking import private_server
from entrypoint.collation.dependents import Finding
from entrypoint.collation.examine import ODD, PAGE, look
from entrypoint.collation.rebuild import Outcome
from entrypoint.collation.remembered import CHANGED, MATCHED, Memory
from entrypoint.errors import Failure, Problem
from entrypoint.volume import past

TYPE_CHECKING = False
if TYPE_CHECKING:
    from entrypoint.backup.runs import Run
    from entrypoint.collation.asking import Session
    from entrypoint.collation.dependents import Report
    from entrypoint.server.context import Context

RECENT = 2 * 86400
"""Seconds: the maximum age of the last base backup for a rebuild. A nightly backup may fail once."""


def gate(context: Context, given: list[str]) -> None:
    """Look at the collations with a private server, and do what COLLATION_POLICY says.

    Nothing that a role can cause with its own objects keeps the server down: if an object cannot be repaired,
    the server starts and logs that. `refuse` only counts findings beyond that (`Report.weighs`). If nothing
    can be found out at all, only `warn` starts.
    """
    data, policy = context.settings.data_folder, context.settings.serving.collation_policy
    mark, memory = remembered.fingerprint(context), remembered.read(data)
    mixed = memory.mixed(mark)
    same = remembered.same_libraries(data, memory, mark)  # before the private server leaves its traces
    log.info(f"checking whether text still sorts as it did when it was indexed ({remembered.libraries()})")
    try:
        with private_server(context, given) as session:
            found = look(session, mixed)
            outcome = None
            if not found.matches and policy == "reindex":
                if found.weighs:
                    _demand_backup(session)
                outcome = _hint_what_can_be(session, found, memory, mark)
    except (Failure, OSError, *ODD) as error:
        failure = error if isinstance(error, Failure) else Failure(Problem(repr(error), "report this bug"))
        _not_looked(failure)
        if policy == "warn":
            return
        raise Failure(
            *(each._replace(code=exits.COLLATION_CHANGED) for each in failure.problems)
        ) from failure
    if found.matches:
        remembered.write(data, Memory(MATCHED, mark))
    elif outcome is not None:
        if outcome.findings:
            _tell_unfinished(outcome)
    elif policy == "refuse" and found.weighs and not same:
        raise Failure(
            Problem(
                "\n".join([dependents.headline(found), *dependents.describe(found)]),
                "start the image that built the indexes; or rebuild them before clients can connect: "
                "COLLATION_POLICY=reindex; or start at once with COLLATION_POLICY=warn, then: "
                "docker exec CONTAINER entrypoint collation fix",
                exits.COLLATION_CHANGED,
                PAGE,
            )
        )
    else:
        _note_serving(data, memory, mark)
        log.warning(
            "\n".join([dependents.headline(found), *dependents.describe(found)]),
            "docker exec CONTAINER entrypoint collation fix (until then, rows may not be found); "
            "COLLATION_POLICY=reindex rebuilds before clients can connect",
            PAGE,
        )


def _note_serving(data: str, memory: Memory, mark: str) -> None:
    """Record that the cluster is served as it is; indexes rebuilt for other libraries no longer count."""
    if memory.mixed(mark):
        remembered.write(data, memory._replace(rebuilt=frozenset()))
    elif (memory.state, memory.fingerprint) != (CHANGED, mark):
        remembered.write(data, Memory(CHANGED, mark))


def _not_looked(failure: Failure) -> None:
    log.warning(
        f"the collations could not be checked: {failure.problems[0].what}",
        "fix the cause that the message names; once the server is up: entrypoint collation show",
        PAGE,
    )


def _hint_what_can_be(session: Session, found: Report, memory: Memory, mark: str) -> Outcome:
    """Rebuild; a failure becomes a finding, and the indexes that are rebuilt by then stay rebuilt."""
    try:
        return rebuild.fix(session, found, memory, mark)
    except Failure as failure:
        words = f"not everything could be checked: {failure.problems[0].what}"
        return Outcome((), (), (Finding("", "server", "", words, "entrypoint collation fix"),))


def _tell_unfinished(outcome: Outcome) -> None:
    lines = [f"{each.words}: {each.hint}" for each in outcome.findings[: dependents.SHOWN]]
    if len(outcome.findings) > len(lines):
        lines.append(f"and {len(outcome.findings) - len(lines)} more: entrypoint collation check")
    log.warning(
        "\n".join(["not everything that depends on the changed collations could be repaired:", *lines]),
        "the server starts all the same; follow these hints, then: docker exec CONTAINER entrypoint "
        "collation fix; indexes that are rebuilt already are not rebuilt again",
        PAGE,
    )


def has_recent_backup(context: Context) -> bool:
    """Return whether a good base backup has been taken within RECENT, or there is no archive."""
    archive = context.settings.our_archive
    if archive is None:
        return True
    last = history.last_runs(context.settings.data_folder).success
    return last is not None and last.url == archive.storage.url and _is_recent(last, time.time())


def _is_recent(last: Run, at: float) -> bool:
    return at - datetime.fromisoformat(last.started).timestamp() < RECENT + last.seconds


def _was_recent(context: Context) -> bool:
    """Return whether a good base backup of the old cluster had been taken within RECENT when it was upgraded.

    The new cluster gets its first one while it serves, which is after the rebuild. Until `finish`, the old
    cluster's history is kept with it.
    """
    known = past.read(context.settings.data_folder)
    if known is None or known.undone or not known.kept:
        return False
    last = history.last_runs(known.kept).success
    return last is not None and _is_recent(last, datetime.fromisoformat(known.at).timestamp())


def _demand_backup(session: Session) -> None:
    if not has_recent_backup(session.context) and not _was_recent(session.context):
        raise Failure(
            Problem(
                "indexes must be rebuilt, but the archive has no base backup of the last "
                f"{RECENT // 3600} hours (now {datetime.now(UTC):%Y-%m-%d %H:%M} UTC)",
                "take one with the previous image (entrypoint backup push); or start with "
                "COLLATION_POLICY=warn, then: docker exec CONTAINER entrypoint collation fix "
                "(it takes a backup first)",
                exits.COLLATION_CHANGED,
                PAGE,
            )
        )
