"""The settings that PostgreSQL reads only in recovery, and what each says where nobody wants anything; pure.

A backup brings along whatever its cluster was once told: the target of a restore by hand, the delay of a
standby, a command that empties an archive. None of it was asked for now, so all of them are set on the
command line of every recovery of ours, which is stronger than postgresql.conf, its includes and ALTER SYSTEM.

Left out are `max_standby_*_delay`, `hot_standby_feedback`, `wal_receiver_status_interval` and
`wal_receiver_timeout`: how a standby treats its queries and its line, which changes nothing of what is
recovered, is tuned in the same files as the primary's.
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
"""Of these PostgreSQL takes one, and an empty one that comes after it undoes it or ends the server."""
DELAY = "recovery_min_apply_delay"
CONNECTION = ("primary_conninfo", "primary_slot_name", "restore_command")
"""What a standby follows by."""
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
    """Return what every setting of a recovery has where nobody wants anything, for this major."""
    return {
        name: value
        for name, value in _NEUTRAL.items()
        if _SINCE.get(name, 0) <= major <= _UNTIL.get(name, major)
    }


def ordered(options: Mapping[str, str]) -> dict[str, str]:
    """Return settings in the order for a command line: no empty target comes after the wanted one.

    >>> list(ordered({"recovery_target_name": "a", "hot_standby": "on", "recovery_target": ""}))
    ['recovery_target', 'hot_standby', 'recovery_target_name']
    """
    return dict(sorted(options.items(), key=lambda each: each[0] in TARGETS and (each[1] != "") * 2 - 1))


def words(options: Mapping[str, str]) -> list[str]:
    """Return the arguments of postgres that set these."""
    return [word for name, value in ordered(options).items() for word in ("-c", f"{name}={value}")]


def shown(name: str, value: str) -> str:
    """Return a setting for people, without what may be a secret.

    >>> shown("recovery_target_xid", "700"), shown("primary_conninfo", "host=a password=b")
    ('recovery_target_xid = 700', 'primary_conninfo')
    """
    if name in _MAY_HOLD_SECRETS:
        return name
    return f"{name} = {value[:99]}"
