"""How any command gets its settings, its rights and its context."""

from __future__ import annotations

import errno
import os
import stat

from entrypoint import log
from entrypoint.archivers import tool_variables
from entrypoint.archivers.known import TOOLS
from entrypoint.errors import Failure, Problem
from entrypoint.pid1 import status
from entrypoint.pid1.status import RUNTIME_FOLDERS
from entrypoint.server.context import (
    HIDDEN_VALUE,
    SETTINGS_FILE,
    SETTINGS_VARIABLE,
    Context,
    handed_on_folder,
    helper_environment,
)
from entrypoint.settings import environment, foreign, loading, variables
from entrypoint.settings.fields import FILE_SUFFIX
from entrypoint.settings.values import Settings
from entrypoint.system import files, identity, locks, walk
from entrypoint.system.children import Children, find_program
from entrypoint.system.doors import path_without
from entrypoint.system.identity import Identity
from entrypoint.system.signals import Signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_RUNTIME_MODE = 0o711


def open_settings(raw: Mapping[str, str], arguments: Sequence[str]) -> tuple[Settings, list[Problem]]:
    """Return the settings of a start, and what is wrong with them.

    Raises Failure where the data folder itself is not known.
    """
    wanted, problems, doubts = read_settings(raw, arguments)
    if not wanted.values.get("PGDATA", "").startswith("/"):
        raise Failure(*problems)
    for doubt in doubts:
        log.warning(doubt.what, doubt.hint)
    return wanted, problems


def read_settings(
    raw: Mapping[str, str], arguments: Sequence[str]
) -> tuple[Settings, list[Problem], tuple[Problem, ...]]:
    """Return the settings, everything that is wrong with them, and what is doubtful."""
    read = environment.read(raw, read_named)
    programs = {name: has_program(name, raw) for name in TOOLS}
    wanted, problems = loading.load(read.values, arguments, programs)
    return wanted._replace(files=read.files), [*read.problems, *problems], read.warnings


def read_named(path: str) -> str:
    """Return the text of a file that a variable names, also of a FIFO that somebody writes to.

    The server's user reads it where he may, else root does: a secret is often for root alone.
    """
    if os.getuid() == 0:
        try:
            with identity.Acting(server_identity()):
                return walk.read_named(os.open(path, walk.NAMED), path)
        except PermissionError:
            # What the caller has opened for us has no path.
            if not path.startswith(("/dev/fd/", "/dev/std", "/proc/self/fd/")):
                return walk.read_named(walk.open_named(path), path)
    return walk.read_named(os.open(path, walk.NAMED), path)


def load_settings(raw: Mapping[str, str], arguments: Sequence[str]) -> Settings:
    """Return the settings, or raise Failure with everything that is wrong with them.

    What PID 1 starts does not judge them again: the start has, and what was handed on lacks the secrets.
    """
    wanted, problems, _ = read_settings(raw, arguments)
    if problems and handed_on_folder() is None:
        raise Failure(*problems)
    return wanted


def has_program(name: str, environ: Mapping[str, str]) -> bool:
    """Tell whether the image has this program itself."""
    folders, _ = path_without([name], environ.get("PATH", ""))
    try:
        find_program(name, {**environ, "PATH": ":".join(folders)})
    except Failure:
        return False
    return True


def secret_names(values: Mapping[str, str]) -> set[str]:
    """Return the variables that hold secrets: ours by their declaration, the archivers' all."""
    return {name for name in values if variables.is_withheld(name)}


def environ() -> Mapping[str, str]:
    """Return the variables: the environment's, or for what PID 1 starts those that it has written down."""
    path = os.environ.get(SETTINGS_VARIABLE)
    if not path:
        return os.environ
    import json

    values: dict[str, str] = json.loads(files.read_text(path))
    return {**os.environ, **values}


def in_force() -> dict[str, str] | None:
    """Return what the PID 1 beside us has written down of its variables, for root and its own user."""
    folder = status.folder_in_use()
    if SETTINGS_VARIABLE in os.environ or folder is None:
        return None
    if os.getuid() not in (0, status.owner_of(folder)):
        return None
    with identity.Acting(user_beside()):
        return written_down(folder)


def written_down(folder: str) -> dict[str, str] | None:
    """Return the variables that a PID 1 has written down in its runtime folder, if it has."""
    import json

    try:
        values: dict[str, str] = json.loads(files.read_text(f"{folder}/{SETTINGS_FILE}"))
    except FileNotFoundError:
        return None
    return values


def beside(known: Mapping[str, str] | None) -> Mapping[str, str]:
    """Return the variables of a command, where `known` are those in force: this call's own win.

    But for the archiver's, whose settings file is the server's. What comes from a file was read by the start,
    with rights that we may not have.
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
    """Tell whether a variable is as the start had it, as far as that is written down."""
    return is_from_file(name) or known.get(name) in (value, HIDDEN_VALUE)


def is_from_file(name: str) -> bool:
    """Tell whether a variable names the file that holds the value of another one."""
    base = name.removesuffix(FILE_SUFFIX)
    return base != name and environment.may_come_from_file(base, name, archives=True)


def make_context(wanted: Settings, children: Children, held: list[int] | None = None) -> Context:
    """Return the context of a start, of which a folder under /run is made; `held` as for that."""
    who = server_identity()
    return Context(
        settings=wanted,
        children=children,
        who=who,
        runtime_folder=_make_runtime_folder(who, held),
        environment=helper_environment(wanted, who, stepped_down=os.getuid() == 0),
    )


def command_context(wanted: Settings) -> Context:
    """Return the context of a command, beside a running server or alone.

    As root the rights are given up: what an archiver writes belongs to that user.
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
    """Return the user of the server beside us, for root; without one, as whom root would start it."""
    folder = status.folder_in_use()
    if os.getuid() != 0 or folder is None:
        return server_identity()
    found = os.stat(folder)
    known = identity.resolve(str(found.st_uid))
    return known if known.name else identity.resolve(f"{found.st_uid}:{found.st_gid}")


def server_identity() -> Identity:
    """Return the user that the server runs as: `postgres` if we are root, else ourselves."""
    if os.getuid() != 0:
        return identity.current()
    try:
        return identity.resolve(status.SERVER_USER)
    except ValueError:
        raise Failure(
            Problem(
                f"the image has no user {status.SERVER_USER}",
                "add it to /etc/passwd, or start with --user UID:GID",
            )
        ) from None


def _make_runtime_folder(who: Identity, held: list[int] | None = None) -> str:
    """Return a folder for what we render, which only the server's user can list.

    Its files are for that user alone, but for the status, which health checks of any user read.

    /run/entrypoint, or beside the sockets or in /tmp where /run cannot be written. A start gives `held`: then
    the folder is emptied, unless another start of this container lives in it, and `held` gets the descriptor
    that says so.
    """
    for folder in RUNTIME_FOLDERS:
        try:
            descriptor = _open_runtime_folder(folder, who)
        except OSError:
            continue
        with identity.Acting(who):
            found = os.fstat(descriptor)
            usable = found.st_uid == who.uid and not os.fstatvfs(descriptor).f_flag & os.ST_RDONLY
            if usable and stat.S_IMODE(found.st_mode) != _RUNTIME_MODE:
                os.fchmod(descriptor, _RUNTIME_MODE)
            if usable and held is not None and _is_free(descriptor):
                _empty(descriptor, folder)
        if usable and held is not None:
            held.append(descriptor)
        else:
            os.close(descriptor)
        if usable:
            return folder
    raise Failure(
        Problem(
            f"uid {who.uid} can write to none of {', '.join(RUNTIME_FOLDERS)}",
            "mount a small tmpfs: --tmpfs /run --tmpfs /tmp",
        )
    )


def _open_runtime_folder(folder: str, who: Identity) -> int:
    """Open the folder, made where it is missing: by root if only root can make it there, else by the user."""
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
    """Say that a start lives in this folder, unless one does already."""
    try:
        return locks.take(descriptor)
    except OSError as error:
        return error.errno != errno.EACCES  # where nothing can be locked, nobody holds it


def _empty(descriptor: int, folder: str) -> None:
    """Remove what an earlier start has left, or somebody else has put there."""
    try:
        walk.empty(descriptor, folder)
    except OSError as error:
        log.warning(
            f"{folder} cannot be emptied: {error.filename or ''}: {error.strerror}",
            f"remove what is in it: docker exec -u 0 CONTAINER sh -c 'rm -r {folder}/*'",
        )
