"""Opens the settings, the rights and the context of every command."""

from __future__ import annotations

import errno
import os
import stat

from entrypoint import log, own
from entrypoint.archivers import tool_variables
from entrypoint.archivers.known import TOOLS
from entrypoint.errors import Failure, Problem
from entrypoint.pid1 import status
from entrypoint.pid1.status import RUNTIME_FOLDERS, SOCKET_FOLDER
from entrypoint.server.context import (
    SETTINGS_FILE,
    SETTINGS_VARIABLE,
    Context,
    handed_on_folder,
    helper_environment,
)
from entrypoint.settings import environment, foreign, loading, variables
from entrypoint.settings.fields import FILE_SUFFIX, HIDDEN_VALUE
from entrypoint.settings.values import Settings
from entrypoint.system import files, identity, locks, space, walk
from entrypoint.system.children import Children, find_program, read_back
from entrypoint.system.doors import path_without
from entrypoint.system.identity import Identity
from entrypoint.system.signals import Signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_RUNTIME_MODE = 0o711
_ROOM, _FILES = 256 * 1024, 32
"""Bytes and inodes that a start needs in the runtime folder."""
REFUSED = "refused"
"""The one file of the runtime folder that a start keeps: what is remembered of starts that were refused."""


def open_settings(raw: Mapping[str, str], arguments: Sequence[str]) -> tuple[Settings, list[Problem]]:
    """Return the settings of a start, and the problems with them; log the doubts about them.

    Raises Failure if the data folder is unknown.
    """
    wanted, problems, doubts = read_settings(raw, arguments)
    if not wanted.values.get("PGDATA", "").startswith("/"):
        raise Failure(*problems)
    for doubt in doubts:
        log.warning(doubt.what, doubt.hint, doubt.docs)
    return wanted, problems


def read_settings(
    raw: Mapping[str, str], arguments: Sequence[str]
) -> tuple[Settings, list[Problem], tuple[Problem, ...]]:
    """Return the settings, all problems with them, and the doubts about them."""
    read = environment.read(raw, read_named)
    programs = {name: has_program(name, raw) for name in TOOLS}
    wanted, problems = loading.load(read.values, arguments, programs, _below)
    return wanted._replace(files=read.files), [*read.problems, *problems], read.warnings


def _below(data_folder: str) -> str:
    """Return the folder of an upgraded cluster below the archive's place; empty: there is none."""
    if not os.path.lexists(f"{data_folder}/{own.UPGRADED}"):
        return ""
    from entrypoint.volume import past

    return past.place(data_folder)


def read_named(path: str) -> str:
    """Return the text of a file that a variable names; the file may be a FIFO with a writer.

    It is read as the server's user if possible, else as root: often only root may read a secret.
    """
    if os.getuid() == 0:
        try:
            with identity.Acting(server_identity()):
                return walk.read_named(os.open(path, walk.NAMED), path)
        except PermissionError:
            # A descriptor that the caller opened for us has no path to walk.
            if not path.startswith(("/dev/fd/", "/dev/std", "/proc/self/fd/")):
                return walk.read_named(walk.open_named(path), path)
    return walk.read_named(os.open(path, walk.NAMED), path)


def load_settings(raw: Mapping[str, str], arguments: Sequence[str]) -> Settings:
    """Return the settings, or raise Failure with all problems with them.

    A program that PID 1 starts does not check the settings again: the start did, and the settings that it
    passed on lack the secrets.
    """
    wanted, problems, _ = read_settings(raw, arguments)
    if problems and handed_on_folder() is None:
        raise Failure(*problems)
    return wanted


def has_program(name: str, environ: Mapping[str, str]) -> bool:
    """Return whether the image has this program itself, not only our wrapper of it."""
    folders, _ = path_without([name], environ.get("PATH", ""))
    try:
        find_program(name, {**environ, "PATH": ":".join(folders)})
    except Failure:
        return False
    return True


def secret_names(values: Mapping[str, str]) -> set[str]:
    """Return the variables to withhold: ours that are declared secret, and all of the archivers'."""
    return {name for name in values if variables.is_withheld(name)}


def received() -> dict[str, str]:
    """Return the variables that PID 1 passed on stdin, and close stdin to the programs that we start."""
    values = environment.unpack(read_back(0))
    nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    os.dup2(nothing, 0)
    os.close(nothing)
    return values


def environ() -> Mapping[str, str]:
    """Return the environment's variables; in a program that PID 1 starts, also those that PID 1 stored."""
    path = os.environ.get(SETTINGS_VARIABLE)
    if not path:
        return os.environ
    import json

    values: dict[str, str] = json.loads(files.read_text(path))
    return {**os.environ, **values}


def in_force() -> dict[str, str] | None:
    """Return the variables that this container's PID 1 stored; None if there are none or we may not see them.

    Only root and the server's user may see them.
    """
    folder = status.folder_in_use()
    if SETTINGS_VARIABLE in os.environ or folder is None:
        return None
    if os.getuid() not in (0, status.owner_of(folder)):
        return None
    with identity.Acting(user_beside()):
        return written_down(folder)


def written_down(folder: str) -> dict[str, str] | None:
    """Return the variables that a PID 1 stored in its runtime folder; None if it stored none."""
    import json

    try:
        values: dict[str, str] = json.loads(files.read_text(f"{folder}/{SETTINGS_FILE}"))
    except FileNotFoundError:
        return None
    return values


def beside(known: Mapping[str, str] | None) -> Mapping[str, str]:
    """Return the variables of a command: those of the running server, `known`, overridden by this call's own.

    The archiver's variables are not overridden, since its settings file is the server's. Values from files
    were read by the start, with rights that we may not have.
    """
    if known is None:
        return environ()
    archives = foreign.has_storage(known)
    given = {
        name: value
        for name, value in os.environ.items()
        if (value or name not in known) and not (archives and tool_variables.is_own(name, known))
        if not is_from_file(name) or (name[: -len(FILE_SUFFIX)] not in known and os.access(value, os.R_OK))
    }
    return {**known, **given}


def is_as_known(name: str, value: str, known: Mapping[str, str]) -> bool:
    """Return whether a variable has the value that it had at the start, as far as the start stored it."""
    return is_from_file(name) or known.get(name) in (value, HIDDEN_VALUE)


def is_from_file(name: str) -> bool:
    """Return whether a variable names the file that contains another variable's value."""
    base = name.removesuffix(FILE_SUFFIX)
    return base != name and environment.may_come_from_file(base, name, archives=True)


def make_context(wanted: Settings, children: Children, held: list[int] | None = None) -> Context:
    """Return the context of a start, and create its runtime folder; `held`: see `_make_runtime_folder`."""
    who = server_identity()
    return Context(
        settings=wanted,
        children=children,
        who=who,
        runtime_folder=_make_runtime_folder(who, held),
        environment=helper_environment(wanted, who, stepped_down=os.getuid() == 0),
    )


def command_context(wanted: Settings) -> Context:
    """Return the context of a command, next to a running server or without one.

    Root gives up its rights, so that the files of an archiver belong to the server's user.
    """
    who = user_beside()
    children = Children(Signals())
    context = Context(
        settings=wanted,
        children=children,
        who=who,
        runtime_folder=handed_on_folder() or status.own_folder(who.uid) or _make_runtime_folder(who),
        environment=helper_environment(wanted, who, stepped_down=os.getuid() == 0),
    )
    identity.become(who)
    return context


def user_beside() -> Identity:
    """Return the user of the running server, or without a server the user that root would start it as.

    If we are not root, return our own user.
    """
    folder = status.folder_in_use()
    if os.getuid() != 0 or folder is None:
        return server_identity()
    found = os.stat(folder)
    known = identity.resolve(str(found.st_uid))
    return known if known.name else identity.resolve(f"{found.st_uid}:{found.st_gid}")


def server_identity() -> Identity:
    """Return the user that the server runs as: `postgres` if we are root, else our own user."""
    if os.getuid() != 0:
        return identity.current()
    try:
        return identity.resolve(status.SERVER_USER)
    except ValueError:
        raise Failure(
            Problem(
                f"the image has no user {status.SERVER_USER}",
                "add the user to /etc/passwd, or start with --user UID:GID",
                docs="run-without-root",
            )
        ) from None


def _make_runtime_folder(who: Identity, held: list[int] | None = None) -> str:
    """Return a folder for the files that we render; only the server's user can list it.

    Only that user can read its files, except the status, which health checks of any user read.

    The folder is /run/entrypoint, or next to the sockets or in /tmp if /run is full or not writable. A start
    passes `held`: the folder is then emptied but for `REFUSED`, unless another start of this container uses
    it, and the descriptor that marks the folder as used is added to `held`.
    """
    found: dict[str, int] = {}
    for folder in RUNTIME_FOLDERS:
        descriptor = _take_runtime_folder(folder, who, empties=held is not None)
        if descriptor is None:
            continue
        found[folder] = descriptor
        if _has_room(descriptor):
            break
    if not found:
        raise Failure(
            Problem(
                f"uid {who.uid} cannot write to any of {', '.join(RUNTIME_FOLDERS)}",
                f"mount two small tmpfs: --tmpfs {SOCKET_FOLDER} --tmpfs /tmp",
                docs="run-without-root",
            )
        )
    chosen = next((folder for folder, each in found.items() if _has_room(each)), next(iter(found)))
    for folder, descriptor in found.items():
        if folder == chosen and held is not None:
            held.append(descriptor)
            continue
        os.close(descriptor)
        if folder != chosen and held is not None:
            from entrypoint.system import refusal

            log.warning(
                f"{chosen} is used, because the filesystem of {folder} is full: {refusal.free(folder)}",
                f"make room there, or mount a tmpfs: --tmpfs {os.path.dirname(folder)}",
                docs="when-the-disk-fills",
            )
    return chosen


def _take_runtime_folder(folder: str, who: Identity, *, empties: bool) -> int | None:
    """Return the descriptor of a folder that is ours now; None: it cannot be used."""
    try:
        descriptor = _open_runtime_folder(folder, who)
    except OSError:
        return None
    with identity.Acting(who):
        found = os.fstat(descriptor)
        usable = found.st_uid == who.uid and not os.fstatvfs(descriptor).f_flag & os.ST_RDONLY
        if usable and stat.S_IMODE(found.st_mode) != _RUNTIME_MODE:
            os.fchmod(descriptor, _RUNTIME_MODE)
        if usable and empties and _is_free(descriptor):
            _empty(descriptor, folder)
    if usable:
        return descriptor
    os.close(descriptor)
    return None


def _has_room(descriptor: int) -> bool:
    """Return whether our files of a start fit into a folder."""
    found = space.look(descriptor)
    return found.free >= _ROOM and found.has_files(_FILES)


def _open_runtime_folder(folder: str, who: Identity) -> int:
    """Open the folder, and create it if it is missing: as root if only root can do so, else as the user."""
    parent, name = os.path.split(folder)
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    if os.geteuid() == 0:
        above = walk.open_folder(parent)
        try:
            if walk.is_closed(os.fstat(above)):
                _make_folder(name, above)
                descriptor = os.open(name, flags, dir_fd=above)
                if os.fstat(descriptor).st_uid != who.uid:
                    os.fchown(descriptor, who.uid, -1)
                return descriptor
        except PermissionError:
            pass  # root without its capabilities
        finally:
            os.close(above)
    with identity.Acting(who):
        _make_folder(folder)
        return os.open(folder, flags)


def _make_folder(name: str, folder: int | None = None) -> None:
    try:
        os.mkdir(name, _RUNTIME_MODE, dir_fd=folder)
    except FileExistsError:
        pass


def _is_free(descriptor: int) -> bool:
    """Mark this folder as used by a start; return whether no other start uses it."""
    try:
        return locks.take(descriptor)
    except OSError as error:
        return error.errno != errno.EACCES  # on a filesystem without locks, no other start holds one


def _empty(descriptor: int, folder: str) -> None:
    """Remove what an earlier start left or somebody else put there."""
    try:
        walk.empty(descriptor, folder, but=REFUSED)
    except OSError as error:
        log.warning(
            f"{folder} cannot be emptied: {error.filename or ''}: {error.strerror}",
            f"remove its content: docker exec -u 0 CONTAINER sh -c 'rm -r {folder}/*'",
        )
