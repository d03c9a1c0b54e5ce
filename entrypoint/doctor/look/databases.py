"""Checks of the contents of the cluster; most of them query the running server."""

from __future__ import annotations

import os
from collections.abc import Iterator

from entrypoint.collation import examine
from entrypoint.doctor import judge, questions
from entrypoint.doctor.judge.memory import size
from entrypoint.doctor.sight import CLUSTER, SERVER, Check, Sight
from entrypoint.finding import Finding, ok
from entrypoint.full_disk import filling
from entrypoint.server import programs
from entrypoint.system import files, space

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def _slots(sight: Sight) -> list[Finding]:
    rows: list[Any] = sight.answers["slots"]
    still = {each.name: each.still_since for each in filling.slots_in_files(sight.data_folder)}
    found = [
        judge.databases.Slot(
            row["name"], row["active"], row["wal_status"] or "", row["held"] or 0, still.get(row["name"])
        )
        for row in rows
    ]
    room = space.look(f"{sight.data_folder}/pg_wal")
    limit = size(str(sight.conf["max_slot_wal_keep_size"]["value"]))
    return judge.databases.slots(found, limit, room.free, room.size)


def _standby(sight: Sight) -> list[Finding]:
    rows: list[Any] = sight.answers["replay"]
    if not sight.answers["recovery"][0]["standby"]:
        return []
    (row,) = rows
    streaming = bool(str(sight.conf["primary_conninfo"]["value"]))
    return judge.databases.standby(
        paused=row["paused"], streaming=streaming, behind=row["behind"], seconds=row["seconds"] or 0
    )


def _wraparound(sight: Sight) -> list[Finding]:
    rows: list[Any] = sight.answers["databases"]
    limits = [
        int(str(sight.conf[name]["value"]))
        for name in ("autovacuum_freeze_max_age", "autovacuum_multixact_freeze_max_age")
    ]
    ages = {row["name"]: (row["transactions"], row["multixacts"]) for row in rows}
    return judge.databases.wraparound(ages, (limits[0], limits[1]))


def _restart(sight: Sight) -> list[Finding]:
    return judge.databases.restart([name for name, row in sight.conf.items() if row["pending_restart"]])


def _extensions(sight: Sight) -> list[Finding]:
    library = programs.folder_with("plpgsql.so", sight.context)
    offered: list[Any] = sight.answers["extensions"]
    available = {row["name"]: row["available"] for row in offered}
    told = judge.databases.libraries("every database", _missing(sight.answers["libraries"], library))
    for database, answers in sight.of_databases.items():
        rows: list[Any] = answers.rows.get("extensions", [])
        found = [
            judge.databases.Extension(row["name"], row["installed"], available.get(row["name"]))
            for row in rows
        ]
        told += judge.databases.extensions(
            database, found, _missing(answers.rows.get("libraries", []), library)
        )
    told += judge.databases.unlooked("extensions", _unlooked(sight, "extensions", "libraries"))
    return told or [ok(f"the extensions of {len(sight.of_databases)} databases are whole and up to date")]


def _missing(rows: questions.Rows, library: str) -> list[str]:
    return [str(row["path"]) for row in rows if not _is_there(str(row["path"]), library)]


def _unlooked(sight: Sight, *asked: str) -> judge.databases.Unlooked:
    """Return the databases that have not answered these questions; the locales check reports the others."""
    found = sight.of_databases
    return judge.databases.Unlooked(
        [name for name, each in found.items() if each.late],
        {
            name: each.words
            for name, each in found.items()
            if each.connected and not each.late and not each.rows.keys() >= {*asked}
        },
        len(found),
        sight.seconds,
    )


def _is_there(path: str, library: str) -> bool:
    """Return whether the server would find a library; a bare name may be anywhere in dynamic_library_path."""
    path = path.replace("$libdir", library)
    return "/" not in path or any(os.path.exists(f"{path}{ending}") for ending in ("", ".so"))


_SETTINGS = ("lc_messages", "lc_monetary", "lc_numeric", "lc_time")


def _locales(sight: Sight) -> list[Finding]:
    needed: dict[str, list[str]] = {}
    unreachable: list[str] = []
    late = judge.databases.NOTHING
    if sight.runs:
        rows: list[Any] = sight.answers["databases"]
        for row in rows:
            for name in dict.fromkeys((row["collate"], row["ctype"])):
                needed.setdefault(name or "C", []).append(f"database {row['name']}")
        unreachable = [
            name for name, each in sight.of_databases.items() if not each.connected and not each.late
        ]
        late = _unlooked(sight)
    else:
        for setting, name in _file_settings(f"{sight.data_folder}/postgresql.conf"):
            needed.setdefault(name, []).append(f"{setting} in postgresql.conf: the server does not start")
    missing = {name: places for name, places in needed.items() if not _has(name)}
    return judge.databases.locales(missing, unreachable, late)


def _file_settings(path: str) -> Iterator[tuple[str, str]]:
    """Return the settings of locales that initdb has written, with their values."""
    from entrypoint.light import re

    try:
        text = files.read_text(path)
    except OSError:
        return
    for name in _SETTINGS:
        found = re.findall(rf"(?m)^\s*{name}\s*=\s*'([^']*)'", text)
        if found and found[-1]:
            yield name, found[-1]


def _has(name: str) -> bool:
    """Return whether the C library, which the server uses too, has a locale."""
    import locale

    before = locale.setlocale(locale.LC_CTYPE)
    try:
        locale.setlocale(locale.LC_CTYPE, name)
    except locale.Error:
        return False
    else:
        return True
    finally:
        locale.setlocale(locale.LC_CTYPE, before)


def _collations(sight: Sight) -> list[Finding]:
    policy = sight.settings.serving.collation_policy
    if not sight.runs:
        return judge.databases.collations(examine.found(sight.context), policy)
    missed = _unlooked(sight, "collations")
    changed = [
        name
        for name, each in sight.of_databases.items()
        if not each.late and name not in missed.silent and each.rows.get("collations") != [{"changed": 0}]
    ]
    late: list[str] = []
    told = examine.found(
        sight.context,
        all_match=not changed and sight.answers["collations"] == [{"changed": 0}],
        only=changed,
        seconds=sight.databases_patience,
        late=late,
    )
    if late:
        missed = missed._replace(late=[name for name in sight.of_databases if name in {*missed.late, *late}])
    return judge.databases.collations(told, policy, missed)


def _password(sight: Sight) -> list[Finding]:
    init = sight.settings.init
    rows: list[Any] = sight.answers["password"]
    return judge.databases.password(init.user, init.password, rows[0]["verifier"]) if rows else []


CHECKS = (
    Check(
        "slots",
        "a slot without a reader keeps all later WAL, until the volume is full and the server stops",
        "pg_replication_slots: the bytes held, activity, wal_status; and max_slot_wal_keep_size",
        _slots,
        SERVER,
        "when-the-disk-fills",
    ),
    Check(
        "standby",
        "a standby that stays behind has lost what it lacks if it has to take over",
        "on a standby: whether replay is paused, and how far it is behind the server that it streams from",
        _standby,
        SERVER,
        "run-a-standby",
    ),
    Check(
        "wraparound",
        "the server stops accepting writes when its transaction IDs run out",
        "the ages of datfrozenxid and datminmxid, against autovacuum's limits",
        _wraparound,
        SERVER,
    ),
    Check(
        "collations",
        "an index that was built with the sort order of another C library misses rows and admits duplicates",
        "the recorded and the actual versions of the collations in all databases",
        _collations,
        CLUSTER,
        "fix-collations",
        costly=True,
    ),
    Check(
        "locales",
        "a database whose locale the image lacks refuses connections, and the server may not start",
        "the locales of all databases, or without a server those in postgresql.conf, against the C library's",
        _locales,
        CLUSTER,
        costly=True,
    ),
    Check(
        "extensions",
        "a missing library fails at the first call; one newer than its SQL definitions can crash the server",
        "pg_extension and the libraries in pg_proc in all databases, against the image's files",
        _extensions,
        SERVER,
        "install-extensions",
        costly=True,
    ),
    Check(
        "pending restart",
        "a setting that waits for a restart takes effect, or fails, at a restart that nobody planned",
        "pg_settings.pending_restart",
        _restart,
        SERVER,
        "configure-the-server",
    ),
    Check(
        "password",
        "only a first start uses POSTGRES_PASSWORD; a changed value that is not stored locks people out",
        "POSTGRES_PASSWORD against the verifier in pg_authid, without a login",
        _password,
        SERVER,
        "handle-secrets",
        costly=True,
    ),
)
