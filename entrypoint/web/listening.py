"""The sockets that wait for HTTP connections."""

from __future__ import annotations

import errno
import os
import socket
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from entrypoint.settings.watching import Address

_QUEUE = 128
"""Connections that the kernel keeps until they are taken."""
_IN, _OUT = 16 * 1024, 64 * 1024
"""Bytes that the kernel keeps for a connection, in place of up to 6 MB."""
_NOT_HERE = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)
"""The errors for an address that this machine does not have."""


def named(address: Address) -> str:
    """Return an address as in STATUS_LISTEN.

    >>> from entrypoint.settings.watching import Address
    >>> named(Address("", 9187)), named(Address("::1", 9187)), named(Address("", 0, "/run/http"))
    (':9187', '[::1]:9187', 'unix:/run/http')
    """
    if address.path:
        return f"unix:{address.path}"
    return f"[{address.host}]:{address.port}" if ":" in address.host else f"{address.host}:{address.port}"


def listen(address: Address) -> list[socket.socket]:
    """Return sockets that listen at an address; raises OSError.

    Without a host they listen at all addresses, of IPv4 and of IPv6 if the kernel has it. With a name they
    listen at those of its addresses that exist here: containers often know `localhost` as `::1`, but have no
    IPv6.
    """
    if address.path:
        return [_listen_unix(address.path)]
    if not address.host:
        return [_listen_everywhere(address.port)]
    found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    listening: list[socket.socket] = []
    missing: OSError | None = None
    for family, where in dict.fromkeys((each[0], each[4]) for each in found):
        try:
            listening.append(_listen_at(family, where))
        except OSError as error:
            missing = error
            if error.errno not in _NOT_HERE:
                break
    if missing is not None and (not listening or missing.errno not in _NOT_HERE):
        for each in listening:
            each.close()
        raise missing
    return listening


def end(address: Address, listening: list[socket.socket]) -> None:
    """Listen no longer."""
    for each in listening:
        each.close()
    if address.path:
        try:
            os.unlink(address.path)
        except OSError:
            pass  # it is not there any more, or the next start replaces it


def _listen_everywhere(port: int) -> socket.socket:
    try:
        return _listen_at(socket.AF_INET6, ("::", port), v6only=0)
    except OSError as error:
        if error.errno not in _NOT_HERE:
            raise
        return _listen_at(socket.AF_INET, ("0.0.0.0", port))  # noqa: S104 - as wanted


def _listen_at(family: int, where: object, *, v6only: int = 1) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, v6only)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _IN)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _OUT)
        made.bind(where)  # type: ignore[arg-type]
        made.listen(_QUEUE)
    except OSError:
        made.close()
        raise
    return made


def _listen_unix(path: str) -> socket.socket:
    """Return a socket that everybody may connect to who can reach its folder, as for an address of IP."""
    _remove_stale(path)
    before = os.umask(0o111)
    try:
        return _listen_at(socket.AF_UNIX, path)
    finally:
        os.umask(before)


def _remove_stale(path: str) -> None:
    """Remove the socket of an earlier start: one that is ours and that nobody listens at."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode) or found.st_uid != os.geteuid():
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as asked:
        if asked.connect_ex(path) != errno.ECONNREFUSED:
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE), path)
    os.unlink(path)


def hint(address: Address, code: int | None) -> str:
    """Return what to do about an address at which listening has failed with this error number."""
    if address.path:
        if code == errno.EEXIST:
            return f"remove {address.path}, which is not our socket, or set STATUS_LISTEN to another path"
        return "set STATUS_LISTEN=unix:/path to a path in a folder that the server's user may write to"
    if code in (errno.EACCES, errno.EPERM):
        return "set STATUS_LISTEN to a port of 1024 or more: STATUS_LISTEN=:9187"
    if code == errno.EADDRINUSE:
        other = address.port + 1 if 1024 <= address.port < 65535 else 9187
        return f"end the other program, or set STATUS_LISTEN to another port: STATUS_LISTEN=:{other}"
    return (
        f"set STATUS_LISTEN to an address of this container, or to all of them: STATUS_LISTEN=:{address.port}"
    )
