"""Patroni's configuration of this node: what follows from our settings; pure.

What must be the same on all nodes goes into the DCS when the cluster is created. Patroni ignores it in the
settings of a node. All our other settings are in the server's configuration file, which Patroni includes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from entrypoint.config import sources
from entrypoint.errors import Problem
from entrypoint.light import NamedTuple
from entrypoint.settings.failing_over import Failover
from entrypoint.settings.fields import FALSE, TRUE
from entrypoint.settings.for_dcs import PAGE
from entrypoint.settings.patroni_variables import DCS_PREFIX

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from entrypoint.config.sources import Source
    from entrypoint.settings.patroni_variables import Value

SHARED = {
    "max_connections": 25,
    "max_locks_per_transaction": 32,
    "max_prepared_transactions": 0,
    "max_replication_slots": 4,
    "max_wal_senders": 3,
    "max_worker_processes": 2,
    "track_commit_timestamp": None,
    "wal_keep_size": None,
    "wal_level": None,
    "wal_log_hints": None,
}
"""The settings that Patroni takes only from the DCS; with a lower number it uses its default instead."""
_HOOK = "entrypoint"
"""Patroni's name for our way to create a cluster."""
_ARCHIVE = "archive"
"""Patroni's name for our way to make a standby."""


class Place(NamedTuple):
    """Where this node has what Patroni needs."""

    data_folder: str
    runtime_folder: str
    folder: str
    """Where Patroni writes the server's configuration."""
    programs: str
    """The folder of the server's programs."""
    included: str
    """The configuration file that the server's file includes: our own, or the cluster's."""
    sockets: str
    first_start: str
    """The command that creates the cluster."""
    hba_file: str
    ident_file: str
    may_lead: str = ""
    """The command that says, before a promotion, whether this node may lead; empty: nothing is archived."""
    copy: str = ""
    """The command that makes a standby from the archive; empty: nothing is archived."""
    restore: str = ""
    """The server's restore_command; empty: nothing is archived."""


def of_node(
    node: Failover, place: Place, listen: str, shared: Mapping[str, str], local: Mapping[str, str]
) -> dict[str, Any]:
    """Return Patroni's configuration; `shared` and `local` are settings of the server.

    Patroni's own variables are stronger than what we set.
    """
    marks = f"{place.runtime_folder}/first-start {place.runtime_folder}/first-start.json"
    found: dict[str, Any] = {
        "bootstrap": {
            "dcs": {
                **node.shared,
                "postgresql": {"use_pg_rewind": True, "use_slots": True, "parameters": {**shared}},
            },
            "method": _HOOK,
            _HOOK: {"command": place.first_start, "keep_existing_recovery_conf": False},
        },
        "postgresql": {
            "listen": listen,
            "data_dir": place.data_folder,
            "config_dir": place.folder,
            "bin_dir": place.programs,
            "custom_conf": place.included,
            "pgpass": f"{place.folder}/pgpass",
            "use_unix_socket": True,
            "use_unix_socket_repl": True,
            "parameters": {
                "unix_socket_directories": place.sockets,
                "hba_file": place.hba_file,
                "ident_file": place.ident_file,
                **local,
            },
            "create_replica_methods": ["basebackup"],
            "basebackup": [{"checkpoint": "fast"}],
            # Only once a first start is whole may what it has left be served.
            "callbacks": {"on_start": f"sh -c 'rm -f {marks}'"},
        },
    }
    if place.may_lead:
        found["postgresql"] |= {
            "pre_promote": place.may_lead,
            "recovery_conf": {"restore_command": place.restore},
            "create_replica_methods": [_ARCHIVE, "basebackup"],
            # Also while no node leads: then a lost cluster comes back from its archive.
            _ARCHIVE: {"command": place.copy, "no_leader": True, "keep_data": False},
        }
    for path, value in node.values.items():
        inner = found
        for key in path[:-1]:
            inner = inner.setdefault(key, {})
        inner[path[-1]] = value
    _close_api(node, found)
    return found


def _close_api(node: Failover, found: dict[str, Any]) -> None:
    """Let only the nodes themselves give commands to Patroni's REST API; anybody may ask it.

    Without a password, whoever reaches its port can change the server's settings, such as `archive_command`,
    and so runs programs on all nodes. All nodes must have the same password, so it follows from one that they
    share. The server accepts that one for replication, so the other one must not give it away.
    """
    import hashlib
    import hmac

    roles = found["postgresql"]["authentication"]
    shared = roles["replication"].get("password") or roles["superuser"].get("password")
    if shared:
        made = hmac.digest(
            f"{shared}".encode(), f"Patroni's REST API of {node.scope}".encode(), hashlib.sha256
        )
        login = found.setdefault("restapi", {}).setdefault("authentication", {})
        login.setdefault("username", "patroni")
        login.setdefault("password", made.hex())


def for_a_check(found: Mapping[str, Any], node: Failover, unused: str) -> dict[str, Any]:
    """Return a configuration that Patroni checks without connecting to anything, and without secrets.

    Its check connects to each address of the DCS, and refuses a data folder with only our files. `unused` is
    the path of a folder that does not exist.
    """
    store = {
        name: value for name, value in found[node.store].items() if name not in ("host", "hosts", "token")
    }
    checked = {
        **found,
        "postgresql": {**found["postgresql"], "data_dir": unused},
        node.store: {**store, "url": "http://checked-later:1"},
    }
    return _without_passwords(checked)


def _without_passwords(found: dict[str, Any]) -> dict[str, Any]:
    return {
        name: _without_passwords(value) if isinstance(value, dict) else "x" if "password" in name else value
        for name, value in found.items()
    }


def for_all_nodes(winning: Mapping[str, Source]) -> dict[str, str]:
    """Return the settings for the DCS; `winning` holds what a person or POSTGRES_TUNE has set."""
    return {name: each.value for name, each in winning.items() if name in SHARED}


def for_this_node(arguments: Mapping[str, str]) -> dict[str, str]:
    """Return the settings among the server's arguments that are for this node, which get into a file.

    The server's command line is Patroni's.
    """
    return {
        name: value
        for name, value in arguments.items()
        if name not in SHARED and name not in sources.COMMANDED
    }


def objections(winning: Mapping[str, Source]) -> Iterable[Problem]:
    """Return what is wrong with the server's settings for a node under Patroni."""
    for name, each in winning.items():
        least = SHARED.get(name)
        low = least is not None and each.value.isascii() and each.value.isdigit() and int(each.value) < least
        if low:
            yield Problem(
                f"{each.where} sets {name} to {each.value}, but Patroni takes no less than {least}",
                f"set {name} to {least} or more",
                docs=PAGE,
            )
        elif name == "wal_level" and each.value.lower() == "minimal":
            yield Problem(
                f"{each.where} sets wal_level to minimal, but the other nodes stream from this one",
                "set wal_level to replica or logical",
                docs=PAGE,
            )
        elif name == "hot_standby" and each.value.lower() in FALSE:
            yield Problem(
                f"{each.where} turns hot_standby off, but Patroni connects to standbys",
                "remove hot_standby",
                docs=PAGE,
            )
        elif name == "listen_addresses" and not each.value.strip():
            yield Problem(
                f"{each.where} sets listen_addresses to nothing, but the other nodes connect to this one",
                "remove it, or name addresses",
                docs=PAGE,
            )


def drift(
    dynamic: Mapping[str, Any], node: Failover, values: Mapping[str, str], shared: Mapping[str, str]
) -> list[Problem]:
    """Return the settings that differ from the DCS; `dynamic` is what Patroni last saw there.

    Variables of a node change nothing there, since nodes may be started with different ones.
    """
    found = []
    for key, value in node.shared.items():
        name = f"{DCS_PREFIX}{key.upper()}"
        if values.get(name) and not _is_same(dynamic.get(key), value):
            command = f"patronictl edit-config -s {key}={_word(value)}"
            found.append(_differs(name, values[name], dynamic.get(key), command))
    there = (dynamic.get("postgresql") or {}).get("parameters") or {}
    for key, wanted in shared.items():
        if not _is_same(there.get(key), wanted):
            command = (
                f"patronictl edit-config -p {key}={wanted}; then patronictl restart {node.scope} --pending"
            )
            found.append(_differs(key, wanted, there.get(key), command))
    return found


def _differs(name: str, wanted: str, there: object, command: str) -> Problem:
    known = "nothing" if there is None else _word(there)
    return Problem(
        f"{name}={wanted} has no effect: all nodes share the setting in the DCS, which has {known}",
        f"change it for all nodes: {command}",
        docs=PAGE,
    )


def _word(value: Value | object) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value}"


def _is_same(there: object, wanted: Value) -> bool:
    one, other = _word(there).lower(), _word(wanted).lower()
    return one == other or any(one in words and other in words for words in (TRUE, FALSE))


def grants_replication(text: str, user: str) -> bool:
    r"""Return whether a pg_hba.conf lets this role in for replication over TCP, by any method.

    >>> grants_replication("host replication all 10.0.0.0/8 scram-sha-256", "replicator")
    True
    >>> grants_replication("host all all all md5\nlocal replication all trust", "replicator")
    False
    """
    for line in text.splitlines():
        words = line.partition("#")[0].split()
        if len(words) > 3 and words[0].startswith("host") and "replication" in words[1].split(","):
            names = [name.strip('"') for name in words[2].split(",")]
            far = words[3] not in ("127.0.0.1/32", "::1/128", "localhost", "samehost")
            if far and ("all" in names or user in names):
                return True
    return False
