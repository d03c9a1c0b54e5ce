"""An archiver that a person calls by name: it runs with the settings in effect, as the server's user.

People type `docker exec db wal-g backup-list`, as every guide shows it. The settings are those that PID 1 has
resolved and written down, including secrets from files, our defaults and changes by a reload. Where no server
runs (`docker run … wal-g backup-list`), the settings come from the environment. An option or a variable that
the caller sets for this call wins. The program then replaces this process, so that the streams, the signals
and the exit code are its own. Nothing is added to its command line.
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
    """Return whether an archiver's name leads to our wrapper, and not to another program of that name."""
    try:
        return is_door(find_program(name, os.environ))
    except Failure:
        return False


def run(name: str, arguments: Sequence[str]) -> NoReturn:
    """Become the archiver with these arguments; raises Failure."""
    folders, _ = path_without([name], os.environ.get("PATH", ""))
    program = find_program(name, {"PATH": ":".join(folders)})
    argv = [program, *arguments]  # the full path, since the program starts itself again by this name
    tool = adapter(name, {})
    if _is_called_by_a_server(tool, arguments):
        replace_process(program, argv, os.environ)
    made, children = _environment(tool, arguments)
    if children is not None:
        children.signals.give_back()
    log.drain()
    replace_process(program, argv, made)


def _is_called_by_a_server(tool: Archiver, arguments: Sequence[str]) -> bool:
    """Return whether a server runs this as its archive_command or restore_command, with its own variables."""
    return (
        os.getuid() != 0
        and not tool.segment_commands.isdisjoint(arguments)
        and os.path.exists("PG_VERSION")  # a server's working directory is its data folder
        and any(map(tool_variables.is_of_storage, os.environ))
    )


def _environment(tool: Archiver, arguments: Sequence[str]) -> _Made:
    """Return the program's environment; if it is not the caller's, drop root's rights for good."""
    folder = status.folder_in_use()
    owner = None if folder is None else status.owner_of(folder)
    if folder is None or owner is None:
        return _given(tool, arguments)
    if not os.path.lexists(f"{folder}/{tool.config_name}"):
        for other in TOOLS:
            if os.path.lexists(f"{folder}/{adapter(other, {}).config_name}"):
                log.warning(
                    f"the server here archives with {other}, so there are no settings for {tool.name}",
                    docs="call-the-archivers",
                )
        return _given(tool, arguments)
    if os.getuid() not in (0, owner):
        return _given(tool, arguments, beside=owner)
    return _in_force(folder, tool, arguments)


def _in_force(folder: str, tool: Archiver, arguments: Sequence[str]) -> _Made:
    """Return the environment next to a server: its settings file, and the variables that the caller set."""
    who, stepped_down = opening.user_beside(), os.getuid() == 0
    identity.become(who)  # before reading any file of that user
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
    """Return an environment made from the caller's: no server runs, or it runs as another user, `beside`.

    If the caller's environment names no storage, the program runs with it unchanged.
    """
    wanted, problems, _ = opening.read_settings({"ARCHIVE_TOOL": tool.name, **os.environ}, ())
    archive = wanted.archive or wanted.source
    if archive is None or archive.tool.name != tool.name:
        if beside is not None:
            raise Failure(_stranger(tool, beside))
        return os.environ, None
    for each in [*problems, *([] if beside is None else [_stranger(tool, beside)])]:
        log.warning(each.what, each.hint, each.docs)
    context = opening.command_context(wanted)
    what = describe_server(context)
    options = archive.tool.options(wanted.values, archive.storage, what)
    command = archive.tool.by_hand(what, arguments, archive.tool.as_variables(options))
    made = {**_user(context), **calls.environment(context, command), **_callers(context, {})}
    return made, context.children


def _stranger(tool: Archiver, owner: int) -> Problem:
    return Problem(
        f"uid {os.getuid()} may not read the settings of {tool.name}, which belong to the server's user, "
        f"uid {owner}",
        f"call it as that user: docker exec --user {owner} …",
        docs="call-the-archivers",
    )


def _user(context: Context) -> dict[str, str]:
    """Return the variables that describe the user the program runs as."""
    name = context.who.name or str(context.who.uid)
    return {"HOME": context.who.home, "USER": name, "LOGNAME": name}


def _callers(context: Context, known: Mapping[str, str]) -> dict[str, str]:
    """Return the caller's variables that are passed on: those that an archiver, libpq and the C library read.

    The rest of the container's environment is for root alone, and the program runs as the server's user.
    libpq's variables with the container's values, `known`, are for the server's clients and are not passed
    on: the settings file says where the server is.
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
    """Warn before a command that the tool permits although it breaks something here."""
    follows = tool.consequences(arguments)
    data = context.settings.data_folder
    if "writes" in follows:
        refused = fork.objection(data)
        if refused is not None:
            log.warning(
                f"this server must not write to its archive: {refused.what}", refused.hint, refused.docs
            )
        elif "archives" in follows and status.in_recovery(data):
            log.warning(
                "this is a standby, and its primary archives: two servers that archive may take each other's "
                "segment names",
                docs="call-the-archivers",
            )
    if "nothing left" in follows:
        log.warning(
            "after this, nothing can be restored until there is a new backup",
            "take one afterwards: entrypoint backup push",
        )
    if "stops archiving" in follows:
        log.warning(f"archiving fails until you run {tool.name} start; until then, WAL stays in pg_wal")
