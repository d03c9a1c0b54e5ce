"""What a start does where it is not known that text still sorts as it was indexed: COLLATION_POLICY."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from entrypoint import exits, log
from entrypoint.backup import history
from entrypoint.collation import dependents, rebuild, remembered
from entrypoint.collation.asking import private_server
from entrypoint.collation.dependents import Finding
from entrypoint.collation.examine import ODD, look
from entrypoint.collation.rebuild import Outcome
from entrypoint.collation.remembered import CHANGED, MATCHED, Memory
from entrypoint.errors import Failure, Problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from entrypoint.collation.asking import Session
    from entrypoint.collation.dependents import Report
    from entrypoint.server.context import Context

RECENT = 2 * 86400
"""Seconds: how old the last base backup may be when indexes are rebuilt. A nightly one may fail once."""


def gate(context: Context, given: list[str]) -> None:
    """Look by a server that nobody else can reach, and do what COLLATION_POLICY says.

    What a role can bring about by objects of its own never keeps the server down: where an object cannot be
    mended the server starts, and says so; `refuse` counts what is more than that (`Report.weighs`). Where
    nothing can be known at all, only `warn` starts.
    """
    data, policy = context.settings.data_folder, context.settings.serving.collation_policy
    mark, memory = remembered.fingerprint(context), remembered.read(data)
    mixed = memory.mixed(mark)
    same = remembered.same_libraries(data, memory, mark)  # before a server leaves its traces
    log.info(f"looking whether text still sorts as it did when it was indexed ({remembered.libraries()})")
    try:
        with private_server(context, given) as session:
            found = look(session, mixed)
            outcome = None
            if not found.matches and policy == "reindex":
                if found.weighs:
                    _demand_backup(session)
                outcome = _hint_what_can_be(session, found, memory, mark)
    except (Failure, OSError, *ODD) as error:
        failure = error if isinstance(error, Failure) else Failure(Problem(repr(error), "report it"))
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
                "start the image that it was built with; or have all rebuilt before anybody can connect: "
                "COLLATION_POLICY=reindex; or serve at once with COLLATION_POLICY=warn, then: "
                "docker exec CONTAINER entrypoint collation fix",
                exits.COLLATION_CHANGED,
            )
        )
    else:
        _note_serving(data, memory, mark)
        log.warning(
            "\n".join([dependents.headline(found), *dependents.describe(found)]),
            "docker exec CONTAINER entrypoint collation fix (rows may not be found until then); "
            "COLLATION_POLICY=reindex does it before anybody can connect",
        )


def _note_serving(data: str, memory: Memory, mark: str) -> None:
    """Note that it is served as it is; what was rebuilt for other libraries no longer counts."""
    if memory.mixed(mark):
        remembered.write(data, memory._replace(rebuilt=frozenset()))
    elif (memory.state, memory.fingerprint) != (CHANGED, mark):
        remembered.write(data, Memory(CHANGED, mark))


def _not_looked(failure: Failure) -> None:
    log.warning(
        f"the collations could not be looked at: {failure.problems[0].what}",
        "see its own words; once it serves: entrypoint collation show",
    )


def _hint_what_can_be(session: Session, found: Report, memory: Memory, mark: str) -> Outcome:
    """Mend; what ends it half way becomes a finding, and what is rebuilt by then stays rebuilt."""
    try:
        return rebuild.fix(session, found, memory, mark)
    except Failure as failure:
        words = f"not all could be looked through: {failure.problems[0].what}"
        return Outcome((), (), (Finding("", "server", "", words, "entrypoint collation fix"),))


def _tell_unfinished(outcome: Outcome) -> None:
    lines = [f"{each.words}: {each.hint}" for each in outcome.findings[: dependents.SHOWN]]
    if len(outcome.findings) > len(lines):
        lines.append(f"and {len(outcome.findings) - len(lines)} more: entrypoint collation check")
    log.warning(
        "\n".join(["not everything that depends on the changed collations could be mended:", *lines]),
        "it is served as it is; mend what is named, then: docker exec CONTAINER entrypoint collation fix; "
        "what is rebuilt already is not rebuilt again",
    )


def has_recent_backup(context: Context) -> bool:
    """Tell whether a base backup that was good has been taken within RECENT, or none is asked for."""
    archive = context.settings.our_archive
    if archive is None:
        return True
    last = history.last_runs(context.settings.data_folder).success
    if last is None or last.url != archive.storage.url:
        return False
    began = datetime.fromisoformat(last.started)
    return time.time() - began.timestamp() < RECENT + last.seconds


def _demand_backup(session: Session) -> None:
    if not has_recent_backup(session.context):
        raise Failure(
            Problem(
                "indexes are to be rebuilt, and no base backup of the last "
                f"{RECENT // 3600} hours is in the archive (now {datetime.now(UTC):%Y-%m-%d %H:%M} UTC)",
                "take one with the image of before (entrypoint backup push); or start with "
                "COLLATION_POLICY=warn, then: docker exec CONTAINER entrypoint collation fix takes one first",
                exits.COLLATION_CHANGED,
            )
        )
