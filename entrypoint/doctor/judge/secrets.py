"""Secrets where others can see them; pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from entrypoint.finding import Finding, error, ok, several, warning
from entrypoint.light import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    Where = Literal["environment", "command line"]


class Seen(NamedTuple):
    """A secret that is visible in a process."""

    variable: str
    process: str
    """Its name and pid."""
    where: Where


def secrets(
    seen: Iterable[Seen], open_files: Iterable[tuple[str, str, int]], plain: Sequence[str]
) -> list[Finding]:
    """Judge where secrets are visible: in processes, in files (variable, path, mode), in plain variables.

    A plain variable is mentioned, but is no warning: the official image is started with plain variables.
    """
    told = []
    for each in seen:
        what = f"the {each.where} of {each.process} shows {each.variable}"
        if each.where == "command line":
            told.append(
                error(f"{what} to every user of the host", "pass it in a file or a variable, and change it")
            )
        else:
            hint = "start this process without the variable: the entrypoint withholds it from the server"
            told.append(warning(what, hint))
    for variable, path, mode in open_files:
        what = f"{path}, which {variable} names, can be read by everybody (mode {mode:04o})"
        told.append(
            warning(what, f"on the host: chmod 0400 FILE, owned by root or by the server's user ({path})")
        )
    if told:
        return told
    if plain:
        shown = f"docker inspect shows {several(list(plain))} in plain text; {plain[0]}_FILE hides it"
        return [ok(f"no process shows a secret, but {shown}")]
    return [ok("no process and no file shows a secret")]


_DAY = 86400
_SOON = 14 * _DAY
_VERY_SOON = 3 * _DAY
"""Seconds that are left to renew a certificate."""


def certificate(path: str, left: float | None) -> list[Finding]:
    """Judge how many seconds the server's certificate is still valid; None: that is not known."""
    if left is None:
        return [ok(f"{path} cannot be read as a certificate here, so its end is not known")]
    hint = "put a new certificate and its key there, then reload: docker kill --signal HUP CONTAINER"
    if left <= 0:
        return [error(f"{path} expired {-left / _DAY:.0f} days ago", hint)]
    what = f"{path} expires in {left / _DAY:.0f} days"
    if left < _SOON:
        return [(error if left < _VERY_SOON else warning)(what, hint)]
    return [ok(what)]
