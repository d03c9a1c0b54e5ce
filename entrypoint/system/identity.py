"""Who we are and whom we become: user lookup, and giving up root's rights."""

from __future__ import annotations

import grp
import os
import pwd

from entrypoint.errors import Failure, Problem
from entrypoint.light import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class Identity(NamedTuple):
    """A user as the kernel sees it, and its home."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str
    name: str


def resolve(spec: str) -> Identity:
    """Return the identity for `user[:group]`, names or numbers, as `docker run --user` accepts it.

    Without a group, it is the user's own group with all supplementary groups; an unknown number keeps the
    caller's group. With a group, there is only that group. Raises ValueError.
    """
    user, _, group = spec.partition(":")
    uid, gid, name, home = os.getuid(), os.getgid(), "", "/"
    if user:
        entry = _passwd(user)
        if entry is not None:
            uid, gid, name, home = entry.pw_uid, entry.pw_gid, entry.pw_name, entry.pw_dir
        elif user.isascii() and user.isdigit():
            uid = _number(user)
        else:
            raise ValueError(f"unable to find user {user}")
    else:
        known = _passwd(str(uid))
        if known is not None:
            name, home = known.pw_name, known.pw_dir
    groups: tuple[int, ...]
    if group:
        gid = _group(group)
        groups = (gid,)
    elif not user:
        groups = tuple(os.getgroups())
    else:
        groups = tuple(os.getgrouplist(name, gid)) if name else (gid,)
    return Identity(uid, gid, groups, home or "/", name)


def current() -> Identity:
    """Return the identity of this process."""
    return resolve("")


def _passwd(user: str) -> pwd.struct_passwd | None:
    try:
        if user.isascii() and user.isdigit():
            return pwd.getpwuid(int(user))
        return pwd.getpwnam(user)
    except (KeyError, OverflowError):
        return None


def _number(text: str) -> int:
    """Return an id; ids above 2^31 - 1 come close to the kernel's -1, which means "leave it as it is"."""
    if len(text) > 10 or int(text) >= 2**31:
        raise ValueError(f"{text} is out of range: ids go from 0 to {2**31 - 1}")
    return int(text)


def _group(group: str) -> int:
    try:
        if group.isascii() and group.isdigit():
            return _number(group)
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise ValueError(f"unable to find group {group}") from None


def become(identity: Identity) -> None:
    """Give up all other rights for good: groups, then gid, then uid, then verify.

    The order matters: after setuid, there is no right left to change the others.
    """
    try:
        if os.getuid() == 0:
            os.seteuid(0)  # within `Acting`, root's rights are suspended
        if os.getuid() == 0 or set(os.getgroups()) != set(identity.groups):
            os.setgroups(list(identity.groups))
        os.setresgid(identity.gid, identity.gid, identity.gid)
        os.setresuid(identity.uid, identity.uid, identity.uid)
    except OSError as error:
        raise _no_right(identity, error) from error
    _verify(identity)


_CAPABILITIES = {0: "CHOWN", 1: "DAC_OVERRIDE", 3: "FOWNER", 6: "SETGID", 7: "SETUID"}


def missing_capabilities() -> str:
    """Return the capabilities for a start as root that this process lacks; empty unless it is root."""
    if os.geteuid() != 0:
        return ""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as file:
            mask = int(file.read().partition("CapEff:")[2].split()[0], 16)
    except (OSError, IndexError, ValueError):
        return ""
    return ", ".join(name for bit, name in _CAPABILITIES.items() if not mask >> bit & 1)


def _no_right(identity: Identity, error: OSError) -> Failure:
    missing = missing_capabilities()
    lacks = f"; the container lacks the capabilities {missing}" if missing else ""
    return Failure(
        Problem(
            f"cannot become uid {identity.uid}, gid {identity.gid}: {error.strerror}{lacks}",
            "grant the capabilities SETUID and SETGID "
            f"(--cap-add SETUID --cap-add SETGID), or start with "
            f"--user {identity.uid}:{identity.gid}",
            docs="run-without-root",
        )
    )


class Acting:
    """A block in which root acts as another user, and reads and writes only what that user may.

    Root's rights return after the block, so no code of another user may run in it: a process that is started
    here becomes the user for good (`Children`). For users other than root nothing changes. Raises Failure
    without the right to step down.
    """

    present: Identity | None = None
    """The user that we act as."""

    def __init__(self, who: Identity) -> None:
        self._who = who
        self._back: tuple[tuple[Callable[[Any], None], object], ...] = ()

    def __enter__(self) -> None:
        """Suspend root's rights."""
        if os.geteuid() != 0 or self._who.uid == 0:
            return
        # First in this list, because without root there is no right to the others.
        self._back = ((os.seteuid, 0), (os.setegid, os.getegid()), (os.setgroups, os.getgroups()))
        try:
            os.setgroups([*self._who.groups])
            os.setegid(self._who.gid)
            os.seteuid(self._who.uid)
        except OSError as error:
            raise _no_right(self._who, error) from error
        Acting.present = self._who

    def __exit__(self, *_: object) -> None:
        """Restore root's rights, unless they were given up for good in the meantime."""
        if os.getuid() == 0 and self._back:
            Acting.present = None
            for take, value in self._back:
                take(value)
            self._back = ()


def _verify(identity: Identity) -> None:
    same = (
        os.getresuid() == (identity.uid,) * 3
        and os.getresgid() == (identity.gid,) * 3
        and set(os.getgroups()) == set(identity.groups)
    )
    regained = False
    if identity.uid != 0:
        try:
            os.setuid(0)
            regained = True
        except PermissionError:
            pass
    if not same or regained:
        raise Failure(
            Problem(
                f"could not give up root's rights: uids {os.getresuid()}, "
                f"gids {os.getresgid()}, groups {os.getgroups()}",
                "report this with the name of your container runtime; "
                f"--user {identity.uid}:{identity.gid} avoids it",
                docs="run-without-root",
            )
        )
