"""The settings that PostgreSQL reads only in recovery, and their neutral values; pure.

A backup contains whatever its cluster was once configured for: the target of a manual restore, the delay of a
standby, a command that empties an archive. None of it was requested now. So every recovery that we run sets
all of them on its command line, which overrides postgresql.conf, its includes and ALTER SYSTEM.

The list omits `max_standby_*_delay`, `hot_standby_feedback`, `wal_receiver_status_interval` and
`wal_receiver_timeout`. They control how a standby treats its queries and its connection, do not change what
is recovered, and are tuned in the same files as the primary's.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

TARGETS = (
    "recovery_target",
    "recovery_target_lsn",
    "recovery_target_name",
    "recovery_target_time",
    "recovery_target_xid",
)
"""PostgreSQL takes one of these; an empty one that follows it cancels it or ends the server."""
DELAY = "recovery_min_apply_delay"
CONNECTION = ("primary_conninfo", "primary_slot_name", "restore_command")
"""The settings that tell a standby what to follow."""
_NEUTRAL = {
    **dict.fromkeys(TARGETS, ""),
    "recovery_target_inclusive": "on",
    "recovery_target_timeline": "latest",
    "recovery_target_action": "pause",
    "restore_command": "",
    "recovery_end_command": "",
    "archive_cleanup_command": "",
    "primary_conninfo": "",
    "primary_slot_name": "",
    DELAY: "0",
    "hot_standby": "on",
    "promote_trigger_file": "",
    "recovery_prefetch": "try",
    "sync_replication_slots": "off",
    "wal_receiver_create_temp_slot": "off",
    "wal_retrieve_retry_interval": "5s",
}
"""PostgreSQL's own defaults."""
_SINCE = {"recovery_prefetch": 15, "sync_replication_slots": 17}
_UNTIL = {"promote_trigger_file": 15}
_MAY_HOLD_SECRETS = ("primary_conninfo", "restore_command", "recovery_end_command", "archive_cleanup_command")


def neutral(major: int) -> dict[str, str]:
    """Return the neutral value of every recovery setting of this major version."""
    return {
        name: value
        for name, value in _NEUTRAL.items()
        if _SINCE.get(name, 0) <= major <= _UNTIL.get(name, major)
    }


def ordered(options: Mapping[str, str]) -> dict[str, str]:
    """Return settings in the order for a command line: no empty target may follow the real one.

    >>> list(ordered({"recovery_target_name": "a", "hot_standby": "on", "recovery_target": ""}))
    ['recovery_target', 'hot_standby', 'recovery_target_name']
    """
    return dict(sorted(options.items(), key=lambda each: each[0] in TARGETS and (each[1] != "") * 2 - 1))


def words(options: Mapping[str, str]) -> list[str]:
    """Return the arguments of postgres that set these options."""
    return [word for name, value in ordered(options).items() for word in ("-c", f"{name}={value}")]


def shown(name: str, value: str) -> str:
    """Return a setting for people, without a value that may be a secret.

    >>> shown("recovery_target_xid", "700"), shown("primary_conninfo", "host=a password=b")
    ('recovery_target_xid = 700', 'primary_conninfo')
    """
    if name in _MAY_HOLD_SECRETS:
        return name
    return f"{name} = {value[:99]}"
