"""The query to the other server of a pair, before this one becomes a primary: the other must not be one."""

from __future__ import annotations

import os
from contextlib import contextmanager

from entrypoint import exits, log
from entrypoint.errors import Failure, Problem
from entrypoint.light import NamedTuple
from entrypoint.server import control_file
from entrypoint.server.context import Context, server_environment
from entrypoint.system import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_SECONDS = 3
"""Seconds for the connection and both answers: a dead host must not keep a server down for long."""
_LONGER = 60
"""Seconds for an answer that a person waits for."""
SERVICE = "service=peer"
_PSQL = ("psql", "--no-psqlrc", "--no-password", "--no-align", "--tuples-only", "--dbname", SERVICE)


class Peer(NamedTuple):
    """What another server reports about itself."""

    identifier: str
    timeline: int
    primary: bool


def check(context: Context, conninfo: str) -> None:
    """Query the server that a standby would follow; raises Failure if both would be primaries.

    The answer is used for nothing else. A server that does not answer as PostgreSQL does is no obstacle.
    """
    found = ask(context, conninfo)
    mine = control_file.timeline(context)
    if found is None or not found.primary or found.timeline < mine:
        return
    if found.identifier != control_file.read_control(context).get("Database system identifier"):
        return
    raise Failure(
        Problem(
            "the server of STANDBY_PRIMARY_CONNINFO is already a primary of this cluster, on timeline "
            f"{found.timeline}; this one is on timeline {mine}",
            "make this server its standby: start it with STANDBY=on on an empty volume, and keep this volume "
            "until nobody needs the data that only it has; or stop the other server for good, and start this "
            "one again",
            exits.SUPERSEDED,
            docs="resolve-two-writers",
        )
    )


def ask(context: Context, conninfo: str) -> Peer | None:
    """Return what the server of a connection string reports about itself; None without a valid answer."""
    options = parse(conninfo)
    if not options:
        log.debug("the server of STANDBY_PRIMARY_CONNINFO is not queried: the value cannot be parsed")
        return None
    # The same password that the server will get.
    handed = server_environment(context.settings, context.environment)
    options |= {"replication": "true", "connect_timeout": "2"}
    argv = [*_PSQL, "--command", "IDENTIFY_SYSTEM", "--command", "SHOW in_hot_standby"]
    nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    try:
        with reached(context, options, handed.get("PGPASSWORD")) as environment:
            code, text = context.children.output(argv, environment, seconds=_SECONDS, stderr=nowhere)
    except TimeoutError:
        return None
    finally:
        os.close(nowhere)
    return _parse_answer(text) if code == 0 else None


def query(context: Context, environment: Mapping[str, str], text: str) -> tuple[int, str]:
    """Return how psql ends, and what it prints, when it asks the server that this environment reaches."""
    argv = [*_PSQL, "--quiet", "--set=ON_ERROR_STOP=1", "--command", text]
    try:
        return context.children.output(argv, environment, seconds=_LONGER, errors=True)
    except TimeoutError:
        return 1, f"no answer within {_LONGER} seconds"


@contextmanager
def reached(context: Context, options: Mapping[str, str], password: str | None) -> Iterator[dict[str, str]]:
    """Yield the environment in which a client's connection string SERVICE leads to a server.

    `password` counts if the options have none. No password is in a command line.
    """
    path = f"{context.runtime_folder}/peer-{os.getpid()}.conf"
    given = {**options, "application_name": "entrypoint"}
    password = given.pop("password", password)
    environment = {name: value for name, value in context.environment.items() if not name.startswith("PG")}
    environment |= {"PGSERVICEFILE": path, "LC_ALL": "C"}
    if password is not None:
        environment["PGPASSWORD"] = password
    if "PGPASSFILE" in context.environment:
        environment["PGPASSFILE"] = context.environment["PGPASSFILE"]
    files.write_atomically(path, "[peer]\n" + "".join(f"{name}={value}\n" for name, value in given.items()))
    try:
        yield environment
    finally:
        os.unlink(path)


def _parse_answer(text: str) -> Peer | None:
    rows = text.strip("\n").split("\n")
    if len(rows) != 2 or rows[1] not in ("on", "off"):
        return None
    words = rows[0].split("|")
    if len(words) < 2 or not (words[0].isdigit() and words[1].isdigit()):
        return None
    return Peer(words[0], int(words[1]), primary=rows[1] == "off")


def parse(text: str) -> dict[str, str] | None:
    r"""Return a connection string as the lines of a service file; None if that is impossible.

    >>> parse(r"host=db1 user=replicator password='it\'s'")
    {'host': 'db1', 'user': 'replicator', 'password': "it's"}
    >>> parse("postgresql://me:s%40crt@db1:5433,[::1]:5434/app?sslmode=require")["host"]
    'db1,::1'
    >>> parse("service=pair"), parse("postgresql://db1:5433,db2"), parse("host=db1 password=a%0Ab") is None
    (None, None, False)
    """
    from entrypoint.postgres import conninfo

    found: dict[str, str] = {}
    hosts, ports = [], []
    try:
        for part in conninfo.parse(text):
            if part.name == "host":
                hosts.append(part.value.removeprefix("[").removesuffix("]"))
            elif part.name == "port":
                ports.append(part.value)
            else:
                found[part.name] = part.value
    except ValueError:
        return None
    if hosts:
        found = {"host": ",".join(hosts), **found}
    if ports:
        found["port"] = ",".join(ports)
    odd = (
        "service" in found
        or any("\n" in value for value in found.values())
        or (len(hosts) > 1 and len(ports) not in (0, 1, len(hosts)))
        or (len(hosts) > 1 and len(ports) == 1 and text.startswith("postgres"))
    )
    return None if odd else found
