"""A standby: the settings with which it follows, how far it has come, and its promotion."""

from entrypoint import conf, exits, ruled
from entrypoint.effects import fetching, ruling, server, sessions, status
from entrypoint.effects.context import Context, tool_path
from entrypoint.effects.source import find_source, source_of
from entrypoint.errors import Failure, Problem
from entrypoint.facts import Following

_HOW_FAR = """
SELECT pg_last_wal_replay_lsn(),
       extract(epoch FROM now() - pg_last_xact_replay_timestamp())::numeric(12, 1),
       EXISTS (SELECT FROM pg_stat_wal_receiver WHERE status = 'streaming')
"""


def settings(context: Context) -> dict[str, str]:
    """Return the server's settings for it; renders those of the archive that it follows.

    Without STANDBY=on, or without an archive, what the cluster's own configuration says stays as it is.
    """
    if context.settings.source is not None and not context.settings.own_recovery:
        source, _ = source_of(context)
        fetching.prepare(source)
    return values(context)


def values(context: Context) -> dict[str, str]:
    """Return the same settings, without rendering anything."""
    wanted = context.settings
    found: dict[str, str] = {}
    if wanted.source is not None and not wanted.own_recovery:
        source, archive = find_source(context)
        command = conf.restore_command(archive, server.describe(source), tool_path(context))
        found = {"restore_command": command, "recovery_target_timeline": "latest"}
    if server.is_our_standby(context) or wanted.standby is not None:
        found |= {"hot_standby": "on", "recovery_target_timeline": "latest"}
    if wanted.standby is not None:
        if wanted.standby.conninfo:
            found["primary_conninfo"] = wanted.standby.conninfo
        if wanted.standby.slot:
            found["primary_slot_name"] = wanted.standby.slot
    return found


def ruling_words(context: Context) -> list[str]:
    """Return the arguments by which nothing that a backup brought along rules a standby of ours.

    ALTER SYSTEM is stronger than every file, so what this says no file can say. Tells what has no effect.
    Raises Failure where a target is asked for. A standby that somebody else has made stays as it is.
    """
    if not server.is_our_standby(context):
        return []
    ruling.refuse_targets(context)
    found = ruled_settings(context)
    ruling.tell("this standby", found.idle)
    ruling.forget_conninfo(context, found.conninfo)
    return ruled.words(found.options)


def ruled_settings(context: Context) -> ruling.Ruling:
    """Return what rules a standby of ours."""
    follows_ours = context.settings.standby is not None
    return ruling.for_standby(context, values(context), follows_ours=follows_ours)


def look(context: Context) -> Following | None:
    """Return how far a standby has come, or None where its server does not tell."""
    try:
        lsn, seconds, streams = sessions.query(context, _HOW_FAR, seconds=5).split("|")
    except (Failure, ValueError):
        return None
    return Following(
        replayed_lsn=lsn or None,
        seconds_since_transaction=float(seconds) if seconds else None,
        by="streaming" if streams == "t" else "archive",
    )


def promote(context: Context, seconds: int) -> None:
    """Promote the running standby and wait until it takes writes; raises Failure where it does not."""
    data = context.settings.data_folder
    found = server.live_postmaster(data)
    if found is None:
        raise Failure(
            Problem(
                f"no server runs on {data}, so there is none to promote",
                "run this in the standby's container: docker exec CONTAINER entrypoint promote",
            )
        )
    if not status.in_recovery(data):
        raise Failure(
            Problem(
                f"the server on {data} is a primary already",
                "nothing is to be done; to promote another server, run this in its container",
            )
        )
    if found.status != "ready":
        # A promotion before it is consistent would end the server.
        raise Failure(
            Problem(
                "the standby has not replayed enough to be consistent, so it cannot be promoted yet",
                "come again when entrypoint ready says: ready: standby",
            )
        )
    argv = ["pg_ctl", "promote", "--pgdata", data, "--timeout", str(seconds), "--silent"]
    code, words = context.children.output(argv, context.environment, errors=True)
    if code == 0:
        return
    if status.in_recovery(data) and server.live_postmaster(data) is not None and not words.strip():
        words = "it is still in recovery"
    raise Failure(
        Problem(
            f"the server was not promoted within {seconds} seconds: {words.strip()}",
            "the request stands: see the server's log, and whether entrypoint status says primary",
            exits.FAILURE,
        )
    )
