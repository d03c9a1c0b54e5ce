"""Private servers of the image's older major version on the old cluster, and of its own on the new one."""

from __future__ import annotations

import os
from contextlib import contextmanager

from entrypoint.errors import Failure, Problem
from entrypoint.postgres.argv import parse_server
from entrypoint.server import programs, temporary
from entrypoint.server.context import server_environment
from entrypoint.system import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from entrypoint.server.context import Context

_RUNTIME = "upgrade"


def with_programs(context: Context, major: str) -> Context:
    """Return the context with the programs of this major version first."""
    path = f"{programs.of_major(major)}:{context.environment.get('PATH', '')}"
    return context._replace(environment={**context.environment, "PATH": path})


def context_of(context: Context, major: str, data: str) -> Context:
    """Return the context of a private server of this major version, on this data folder.

    It gets no secret of the archive either: its libraries and its superusers could read them.
    """
    wanted = context.settings._replace(
        data_folder=data, server=parse_server(()), conf={}, archive=None, source=None, port="5432"
    )
    made = with_programs(context, major)
    environment = {
        **server_environment(context.settings, made.environment),
        "PATH": made.environment["PATH"],
        "PGDATA": data,
        "PGPORT": "5432",
    }
    return made._replace(settings=wanted, environment=environment)


def newest(context: Context, cluster: str) -> Context:
    """Return the context of a private server of the image's own major version, on the new cluster."""
    made = context_of(context, context.environment.get("PG_MAJOR", ""), cluster)
    path = context.environment.get("PATH", "")
    return made._replace(environment={**made.environment, "PATH": path})


@contextmanager
def private_server(context: Context, whose: str = "the old cluster") -> Iterator[str]:
    """Run a server during a block that only we can reach; yields the folder of its socket.

    Raises Failure with the end of the server's log if it does not start. After a crash it replays WAL first,
    however long that takes.
    """
    folder = f"{context.runtime_folder}/{_RUNTIME}"
    files.ensure_folder(folder, 0o700)
    closed = {"unix_socket_directories": folder, "autovacuum": "off"}
    arguments = [word for name, value in closed.items() for word in ("-c", f"{name}={value}")]
    output = os.open(f"{folder}/log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        with temporary.serve(context, arguments, seconds=None, output=output):
            yield folder
    except temporary.EarlyEnd as failure:
        words = "\n".join(files.read_text(f"{folder}/log").rstrip("\n").split("\n")[-9:])
        raise Failure(
            Problem(
                f"the server of {whose} does not start:\n{words}",
                "start the old image, and see what it says; nothing was changed",
                docs="upgrade-to-a-newer-major",
            )
        ) from failure
    finally:
        os.close(output)
        files.remove_tree(folder)
