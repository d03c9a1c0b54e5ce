"""What a new cluster under Patroni needs for its standbys: a role, and its line in pg_hba.conf."""

from __future__ import annotations

import os

from entrypoint.errors import Failure, Problem
from entrypoint.postgres import sql
from entrypoint.server import programs, sessions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from entrypoint.server.context import Context
    from entrypoint.settings.failing_over import Failover

_ROLE = ("postgresql", "authentication", "replication")


def user(node: Failover) -> str:
    """Return the role with which nodes stream from the leader."""
    return str(node.values[*_ROLE, "username"])


def encryption(context: Context, given: Sequence[str]) -> str:
    """Return how the server stores passwords, which is the method by which clients give them."""
    code, text = programs.ask(context, "password_encryption", given, context.settings.data_folder)
    if code:
        raise Failure(
            Problem(
                f"the server does not report its password_encryption:\n{text}",
                "correct the arguments after the image's name",
                docs="configure-the-server",
            )
        )
    return text.splitlines()[-1]


def append_hba(context: Context, node: Failover, given: Sequence[str]) -> None:
    """Let the role in over TCP: the line of the official image, for all databases, is not for replication."""
    data = context.settings.data_folder
    method = "trust"
    if context.settings.init.auth_method.split()[:1] != ["trust"]:
        method = encryption(context, given)
    line = f"host replication {sql.identifier(user(node))} all {method}"
    with open(f"{data}/pg_hba.conf", "a", encoding="utf-8", errors="surrogateescape") as file:
        file.write(f"\n# for the standbys under Patroni\n{line}\n")
        file.flush()
        os.fsync(file.fileno())


def create_role(context: Context, node: Failover) -> None:
    """Create the role with its password; Patroni keeps both as they are set."""
    password = node.values.get((*_ROLE, "password"))
    known = f" PASSWORD {sql.literal(str(password))}" if password is not None else ""
    text = f"CREATE ROLE {sql.identifier(user(node))} LOGIN REPLICATION{known}"
    sessions.query(context, text, writes=True, private=True)
