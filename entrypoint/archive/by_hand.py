"""An archiver that somebody calls by its name: with the settings that are in force, as the server's user.

`docker exec db wal-g backup-list` is what people type and what every guide says. The settings are those that
PID 1 has resolved and written down: secrets from files, our defaults and what a reload has changed are among
them. Where no server is beside us (`docker run … wal-g backup-list`) they follow from the environment. What
the caller himself sets for this call wins, be it an option or a variable. The program then takes the place of
this process, so that streams, signals and exit code are its own; nothing is added to its command line.
"""

from __future__ import annotations

import os

from entrypoint import log
from entrypoint.archive import calls, fork
from entrypoint.archive.calls import describe_server
from entrypoint.archivers import tool_variables
from entrypoint.archivers.known import TOOLS, adapter
from entrypoint.errors import Failure, Problem
from entrypoint.pid1 import status
from entrypoint.server import opening
from entrypoint.server.context import Context, helper_environment
from entrypoint.settings import serving
from entrypoint.system import files, identity
from entrypoint.system.children import Children, find_program, replace_process
from entrypoint.system.doors import is_door, path_without
from entrypoint.system.signals import Signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import NoReturn

    from entrypoint.archivers.interface import Archiver

    _Made = tuple[Mapping[str, str], Children | None]

_GROUPS = tuple(tool_variables.GROUPS.values())
_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
_OF_A_USER = ("HOME", "USER", "LOGNAME", "SHELL")


def is_asked_for(name: str) -> bool:
    """Tell whether an archiver's name means our door to it, and not what somebody has put there."""
    try:
        return is_door(find_program(name, os.environ))
    except Failure:
        return False


def run(name: str, arguments: Sequence[str]) -> NoReturn:
    """Become the archiver with these arguments; raises Failure."""
    folders, _ = path_without([name], os.environ.get("PATH", ""))
    program = find_program(name, {"PATH": ":".join(folders)})
    argv = [program, *arguments]  # by its path, since it starts processes of its own by that name
    tool = adapter(name, {})
    if _is_called_by_a_server(tool, arguments):
        replace_process(program, argv, os.environ)
    made, children = _environment(tool, arguments)
    if children is not None:
        children.signals.give_back()
    log.drain()
    replace_process(program, argv, made)


def _is_called_by_a_server(tool: Archiver, arguments: Sequence[str]) -> bool:
    """Tell whether this is a server's archive_command or restore_command, with variables of its own."""
    return (
        os.getuid() != 0
        and not tool.segment_commands.isdisjoint(arguments)
        and os.path.exists("PG_VERSION")  # a server lives in its data folder
        and any(map(tool_variables.is_of_storage, os.environ))
    )


def _environment(tool: Archiver, arguments: Sequence[str]) -> _Made:
    """Return the program's environment; where it is ours, root's rights are given up for good."""
    folder = status.folder_in_use()
    owner = None if folder is None else status.owner_of(folder)
    if folder is None or owner is None:
        return _given(tool, arguments)
    if not os.path.lexists(f"{folder}/{tool.config_name}"):
        for other in TOOLS:
            if os.path.lexists(f"{folder}/{adapter(other, {}).config_name}"):
                log.warning(
                    f"the server here archives with {other}, so there are no settings for {tool.name}"
                )
        return _given(tool, arguments)
    if os.getuid() not in (0, owner):
        return _given(tool, arguments, beside=owner)
    return _in_force(folder, tool, arguments)


def _in_force(folder: str, tool: Archiver, arguments: Sequence[str]) -> _Made:
    """Return the environment beside a server: its settings file, and what the caller has set beside that."""
    who, stepped_down = opening.user_beside(), os.getuid() == 0
    identity.become(who)  # before anything is read that is that user's
    known = opening.written_down(folder)
    path = {"PATH": os.environ.get("PATH", os.defpath)}
    wanted, _, _ = opening.read_settings({**(os.environ if known is None else known), **path}, ())
    context = Context(
        settings=wanted,
        children=Children(Signals()),
        who=who,
        runtime_folder=folder,
        environment=helper_environment(wanted, who, stepped_down=stepped_down),
    )
    if wanted.archive is not None:
        tool = wanted.archive.tool
    _say_what_follows(context, tool, arguments)
    given = _callers(context, known or {})
    redirecting = tool.capabilities.redirecting
    stored = files.read_text(f"{folder}/{tool.config_name}")
    other = redirecting.elsewhere(stored, given, arguments) if redirecting is not None else None
    command = tool.by_hand(describe_server(context), arguments, other)
    made = {**_user(context), **calls.environment(context, command)}
    return (made if other is not None else {**made, **given}), context.children


def _given(tool: Archiver, arguments: Sequence[str], *, beside: int | None = None) -> _Made:
    """Return the environment where no server is, or one of another user, `beside`: from the caller's own.

    Without any storage in it the program is simply run.
    """
    wanted, problems, _ = opening.read_settings({"ARCHIVE_TOOL": tool.name, **os.environ}, ())
    archive = wanted.archive or wanted.source
    if archive is None or archive.tool.name != tool.name:
        if beside is not None:
            raise Failure(_stranger(tool, beside))
        return os.environ, None
    for each in [*problems, *([] if beside is None else [_stranger(tool, beside)])]:
        log.warning(each.what, each.hint)
    context = opening.command_context(wanted)
    what = describe_server(context)
    options = archive.tool.options(wanted.values, archive.storage, what)
    command = archive.tool.by_hand(what, arguments, archive.tool.as_variables(options))
    made = {**_user(context), **calls.environment(context, command), **_callers(context, {})}
    return made, context.children


def _stranger(tool: Archiver, owner: int) -> Problem:
    return Problem(
        f"uid {os.getuid()} may not read the settings of {tool.name}, which are the server's user's, {owner}",
        f"call it as that one: docker exec --user {owner} …",
    )


def _user(context: Context) -> dict[str, str]:
    """Return the variables of the user that the program runs as."""
    name = context.who.name or str(context.who.uid)
    return {"HOME": context.who.home, "USER": name, "LOGNAME": name}


def _callers(context: Context, known: Mapping[str, str]) -> dict[str, str]:
    """Return what is handed on of the caller's variables: what an archiver, libpq and the C library read.

    What else the container's environment holds is for root alone, and the program is the server's user's.
    libpq's variables as the container has them, `known`, are for the server's clients: where the server is
    stands in the settings file.
    """
    asked = context.settings.serving.handed_on
    found = {}
    for name, value in os.environ.items():
        if not value or name in _OF_A_USER or opening.is_from_file(name):
            continue
        if name.startswith("PG") and not name.startswith(_GROUPS) and known.get(name) == value:
            continue
        if (
            name.startswith(tool_variables.FAMILIES)
            or name.lower() in _PROXIES
            or serving.is_for_server(name, value, asked, all_else=False)
        ):
            found[name] = value
    return found


def _say_what_follows(context: Context, tool: Archiver, arguments: Sequence[str]) -> None:
    """Warn of what the tool permits, and what something here counts on."""
    follows = tool.consequences(arguments)
    data = context.settings.data_folder
    if "writes" in follows:
        refused = fork.objection(data)
        if refused is not None:
            log.warning(f"this server is not to write into its archive: {refused.what}", refused.hint)
        elif "archives" in follows and status.in_recovery(data):
            log.warning(
                "this is a standby: its primary archives, and two that do may take each other's segments"
            )
    if "nothing left" in follows:
        log.warning(
            "after this nothing can be restored until there is a new backup", "entrypoint backup push"
        )
    if "stops archiving" in follows:
        log.warning(f"archiving fails until the next {tool.name} start; WAL stays in pg_wal meanwhile")
