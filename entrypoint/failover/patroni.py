"""Patroni as a program: whether this node can run under it, and its configuration and environment."""

from __future__ import annotations

import json
import os

from entrypoint import log
from entrypoint.archive import wal_commands
from entrypoint.archive.calls import describe_server
from entrypoint.config import chosen, collect, from_patroni, render, sources
from entrypoint.errors import Failure, Problem
from entrypoint.failover import configuration
from entrypoint.failover.configuration import Place
from entrypoint.first_start import replication
from entrypoint.pid1 import status
from entrypoint.pid1.status import SOCKET_FOLDER
from entrypoint.postgres.argv import parse_server
from entrypoint.postgres.postmaster import split_folders
from entrypoint.server import programs
from entrypoint.server.context import (
    OUR_PROGRAM,
    Context,
    later_environment,
    server_environment,
    server_port,
    tool_path,
    write_down_settings,
)
from entrypoint.settings.failing_over import Failover
from entrypoint.settings.fields import PATRONI
from entrypoint.settings.for_dcs import PAGE
from entrypoint.settings.patroni_variables import SCOPE
from entrypoint.system import files
from entrypoint.system.children import find_program

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from entrypoint.config.sources import Source
    from entrypoint.postgres.argv import ServerArguments

PROGRAM = "patroni"
DYNAMIC = "patroni.dynamic.json"
"""Patroni's own file in the data folder: what it last saw in the DCS."""
_SECONDS = 30
"""Seconds for Patroni to check its configuration."""
_LOOK_UPS = "timeout:1 attempts:2"
"""How long a look-up of a name may take (resolv.conf). A leader that is cut off looks up names one after the
other before it gives its place up, usually for 10 s each. It took writes for 17 s beside the next leader."""


def objections(context: Context, node: Failover) -> list[Problem]:
    """Return why this node cannot run under Patroni; changes nothing."""
    try:
        find_program(PROGRAM, context.environment)
    except Failure:
        return [
            Problem(
                f"{SCOPE} is set, but the image has no Patroni",
                f"use an image with Patroni (its tag ends with -ha), or remove {SCOPE} to run this server "
                "alone",
                docs=PAGE,
            )
        ]
    wanted = _wanted(context)
    found = [*configuration.objections(wanted)]
    return found or [
        *_rejected(context, node, _configuration(context, node, wanted, context.settings.server))
    ]


def _wanted(context: Context) -> dict[str, Source]:
    """Return what a person or POSTGRES_TUNE has set for the server, but not by ALTER SYSTEM."""
    every = [*chosen.chosen(context), *collect.overriding(context)]
    return sources.winners(each for each in every if each.origin != sources.ALTER)


def _configuration(
    context: Context, node: Failover, wanted: Mapping[str, Source], arguments: ServerArguments
) -> dict[str, Any]:
    """Return Patroni's configuration for a server with these arguments."""
    data = context.settings.data_folder
    postgres = os.path.realpath(find_program("postgres", context.environment))

    def said(name: str, usual: str) -> str:
        return wanted[name].value if name in wanted else usual

    place = Place(
        data_folder=data,
        runtime_folder=context.runtime_folder,
        folder=from_patroni.folder(context.runtime_folder),
        programs=os.path.dirname(postgres),
        included=arguments.settings.get("config_file") or collect.own_file(context),
        sockets=said("unix_socket_directories", SOCKET_FOLDER),
        first_start=_hook(context, "patroni-first-start"),
        hba_file=said("hba_file", f"{data}/pg_hba.conf"),
        ident_file=said("ident_file", f"{data}/pg_ident.conf"),
    )
    archive = context.settings.our_archive
    if archive is not None:
        place = place._replace(
            may_lead=_hook(context, "patroni-may-lead"),
            copy=_hook(context, "patroni-copy"),
            restore=wal_commands.restore_command(archive, describe_server(context), tool_path(context)),
        )
    listen = f"{said('listen_addresses', '*')}:{server_port(context.settings)}"
    shared = configuration.for_all_nodes(wanted)
    local = configuration.for_this_node(arguments.settings)
    return configuration.of_node(node, place, listen, shared, local)


def _hook(context: Context, name: str) -> str:
    """Return one of our commands for Patroni, which splits it like a shell and runs it without one."""
    import shlex

    made = (f"{name}={value}" for name, value in later_environment(context).items())
    return shlex.join(["env", "-i", *made, OUR_PROGRAM, "internal", name])


def _rejected(context: Context, node: Failover, found: dict[str, Any]) -> list[Problem]:
    """Let Patroni check the configuration, without the DCS, which may be away just now."""
    with programs.ScratchFolder(context) as scratch:
        path = f"{scratch}/{from_patroni.CONFIGURATION}"
        checked = configuration.for_a_check(found, node, f"{scratch}/data")
        files.write_atomically(path, json.dumps(checked), 0o644)
        argv = [PROGRAM, "--validate-config", "--ignore-listen-port", path]
        try:
            code, text = context.children.output(
                argv, environment(context, node), seconds=_SECONDS, errors=True, become=context.who
            )
        except TimeoutError:
            return []
    if code == 0:
        return []
    words = text.strip().removeprefix(path).strip()
    return [
        Problem(
            f"Patroni does not accept its settings:\n{words}",
            "correct the PATRONI_* variable that is named like this",
            docs=PAGE,
        )
    ]


def environment(context: Context, node: Failover) -> dict[str, str]:
    """Return the environment of Patroni, which the server inherits without what is Patroni's."""
    inherited = server_environment(context.settings, context.environment)
    kept = {name: value for name, value in inherited.items() if not name.startswith(PATRONI)}
    return {"RES_OPTIONS": _LOOK_UPS, **kept, **node.passed_on}


def write_down(context: Context, node: Failover) -> list[str]:
    """Write what Patroni and its hooks read, and return Patroni's command line."""
    settings = context.settings
    given = render.arguments(context)
    write_down_settings(context)
    os.makedirs(from_patroni.folder(context.runtime_folder), mode=0o700, exist_ok=True)
    wanted = _wanted(context)
    found = _configuration(context, node, wanted, parse_server(given))
    path = f"{context.runtime_folder}/{from_patroni.CONFIGURATION}"
    files.write_atomically(path, json.dumps(found, indent=1))
    if os.path.exists(f"{settings.data_folder}/PG_VERSION"):
        _look_at_cluster(context, node, wanted, given)
    else:
        kept = {
            "values": settings.values,
            "environment": context.environment,
            "arguments": settings.server.given,
        }
        files.write_atomically(f"{context.runtime_folder}/{status.FIRST_START}.json", json.dumps(kept))
    return [PROGRAM, path]


def _look_at_cluster(
    context: Context, node: Failover, wanted: Mapping[str, Source], given: list[str]
) -> None:
    """Say what the DCS has instead of our settings, and let standbys in."""
    data = context.settings.data_folder
    user = replication.user(node)
    let_in(context, node, given)
    try:
        dynamic = json.loads(files.read_text(f"{data}/{DYNAMIC}"))
    except FileNotFoundError:
        log.warning(
            "this database was not under Patroni yet: if the DCS knows no cluster of this name, it becomes "
            "its leader",
            f"once it is the leader, create the role of the standbys: CREATE ROLE {user} LOGIN REPLICATION "
            "PASSWORD '…'",
            docs=PAGE,
        )
        return
    except (OSError, ValueError):
        return  # Patroni reads it from the DCS again
    if isinstance(dynamic, dict):
        # What fits this machine need not fit the others.
        own = {name: each for name, each in wanted.items() if each.origin != sources.TUNE}
        shared = configuration.for_all_nodes(own)
        for each in configuration.drift(dynamic, node, context.settings.values, shared):
            log.warning(each.what, each.hint, each.docs)


def let_in(context: Context, node: Failover, given: list[str]) -> None:
    """Let the role of the standbys in if pg_hba.conf does not."""
    data = context.settings.data_folder
    user = replication.user(node)
    wanted = _wanted(context)
    hba = wanted["hba_file"].value if "hba_file" in wanted else f"{data}/pg_hba.conf"
    try:
        granted = configuration.grants_replication(files.read_text(hba), user)
    except OSError:
        granted = True  # the server says what is wrong with the file
    if not granted and hba == f"{data}/pg_hba.conf":
        replication.append_hba(context, node, given)
        log.info(f"let {user} in for replication: see the last line of pg_hba.conf")
    elif not granted:
        log.warning(
            f"{hba} does not let {user} in for replication, so the other nodes cannot stream from this one",
            f"add to it: host replication {user} all scram-sha-256",
            docs=PAGE,
        )


def sockets(context: Context) -> list[str]:
    """Return the folders of the server's sockets."""
    wanted = _wanted(context).get("unix_socket_directories")
    return split_folders(wanted.value if wanted is not None else SOCKET_FOLDER)
