"""A cluster of several nodes under Patroni, of which this server is one; pure."""

from __future__ import annotations

from entrypoint.errors import Problem
from entrypoint.light import NamedTuple, re
from entrypoint.settings import beside_patroni, for_dcs, patroni_variables
from entrypoint.settings.fields import FILE_SUFFIX, HIDDEN_VALUE, PATRONI, Variable, is_whole
from entrypoint.settings.for_dcs import PAGE
from entrypoint.settings.patroni_variables import DCS_PREFIX, OTHER_STORES, PLACES, SCOPE, STORES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from entrypoint.settings.patroni_variables import Value

VARIABLES = (
    Variable(
        SCOPE,
        "",
        "Name of the cluster: turns Patroni on, which chooses the leader among the nodes of this name. Needs "
        "an image with Patroni (`-ha`).",
        from_file=True,
    ),
    Variable(
        "PATRONI_NAME",
        "the container's hostname",
        "Name of this node, which stays the same when the container is created again. A hostname that Docker "
        "has made up is refused.",
        from_file=True,
    ),
    Variable(
        "PATRONI_POSTGRESQL_CONNECT_ADDRESS",
        "",
        "Address of this node's server for the other nodes, as `host:port`. Required.",
        from_file=True,
    ),
    Variable(
        "PATRONI_RESTAPI_CONNECT_ADDRESS",
        "the same host, port 8008",
        "Address of this node's Patroni for the other nodes, as `host:port`.",
        from_file=True,
    ),
    Variable(
        "PATRONI_ETCD3_HOSTS",
        "",
        "The etcd servers, as `host:port`, separated by commas. Patroni's other variables for etcd "
        "(`PATRONI_ETCD3_*`) and Consul (`PATRONI_CONSUL_*`) work too.",
        from_file=True,
    ),
    Variable(
        "PATRONI_REPLICATION_USERNAME",
        "replicator",
        "Role with which a node streams from the leader. Patroni creates it.",
        from_file=True,
    ),
    Variable(
        "PATRONI_REPLICATION_PASSWORD",
        "",
        "Password of that role, the same on all nodes. Required unless the authentication method is `trust`.",
        secret=True,
        from_file=True,
    ),
    *for_dcs.VARIABLES,
)
_ALL = {each.name: each for each in VARIABLES}
_OURS = {
    "PATRONI_POSTGRESQL_DATA_DIR": "PGDATA",
    "PATRONI_POSTGRESQL_CONFIG_DIR": "",
    "PATRONI_POSTGRESQL_PGPASS": "",
    "PATRONI_POSTGRESQL_BIN_DIR": "",
    "PATRONI_CONFIGURATION": "",
}
"""What the entrypoint sets, each with the variable that it follows from."""
_NAME = "[A-Za-z0-9][A-Za-z0-9_.-]{0,62}"
_HOSTNAME_OF_DOCKER = "[0-9a-f]{12}"


class Failover(NamedTuple):
    """This node of a cluster under Patroni."""

    scope: str
    name: str
    store: str
    """Patroni's name of the DCS."""
    values: dict[tuple[str, ...], Value]
    """Patroni's own settings, by their places in its configuration."""
    passed_on: dict[str, str]
    """Variables for Patroni's environment."""
    shared: dict[str, Value]
    """What goes into the DCS when the cluster is created, by Patroni's names."""


def parse(values: Mapping[str, str]) -> tuple[Failover | None, list[Problem]]:
    """Return this node's place in a cluster, and the problems with that; None: Patroni is not wanted."""
    given = {name: value for name, value in values.items() if name.startswith(PATRONI) and value}
    scope = given.get(SCOPE, "")
    if not scope:
        return None, [*_without_scope(given)]
    problems = [*_names(given), *beside_patroni.objections(values), *_scope(scope)]
    store = _store(given, problems)
    found = _read(given, problems)
    _login(values, given, found, problems)
    name = given.get("PATRONI_NAME") or values.get("HOSTNAME", "")
    if not given.get("PATRONI_NAME") and (not name or re.fullmatch(_HOSTNAME_OF_DOCKER, name)):
        problems.append(
            Problem(
                "PATRONI_NAME is not set, and the container has no hostname of its own",
                "set PATRONI_NAME to a name that no other node has, and that stays the same, for example "
                "PATRONI_NAME=db1",
                docs=PAGE,
            )
        )
    elif not re.fullmatch(_NAME, name):
        problems.append(
            Problem(
                "PATRONI_NAME is not a name",
                "give at most 63 letters, digits, dots, underscores and hyphens, for example "
                "PATRONI_NAME=db1",
                docs=PAGE,
            )
        )
    found["scope",], found["name",] = scope, name
    _addresses(values, found, problems)
    shared = for_dcs.parse(values, problems)
    passed_on = {name: each for name, each in given.items() if _is_passed_on(name)}
    return Failover(scope, name, store, found, passed_on, shared), problems


def doubts(values: Mapping[str, str]) -> list[Problem]:
    """Return the names that neither we nor our list of Patroni's variables know; Patroni gets them."""
    if not values.get(SCOPE):
        return []
    return [
        Problem(f"unknown variable {name}", "it is passed on to Patroni; check the spelling", docs=PAGE)
        for name in values
        if name.startswith(PATRONI) and values[name] and not _is_known(name)
    ]


def may_come_from_file(name: str, values: Mapping[str, str]) -> bool:
    """Return whether a variable of Patroni's may be given as the name of a file."""
    asked = values.get(SCOPE) or values.get(SCOPE + FILE_SUFFIX)
    return bool(asked) and name.startswith(PATRONI) and name + FILE_SUFFIX not in PLACES


def _is_known(name: str) -> bool:
    return name in PLACES or name in _ALL or name in _OURS or name.startswith(OTHER_STORES)


def _is_passed_on(name: str) -> bool:
    if name in PLACES:
        return PLACES[name][1] == "table"
    return not _is_known(name) and not name.startswith(DCS_PREFIX)


def _without_scope(given: Mapping[str, str]) -> Iterator[Problem]:
    """Refuse a node that would serve alone although its variables name a DCS or a misspelt scope.

    Its data would separate from that of the cluster that it belongs to.
    """
    named = sorted(name for name in given if name.startswith((*STORES.values(), *OTHER_STORES)))
    slips = sorted(name for name in given if name not in PLACES and _near(name) == SCOPE)
    for name in slips[:1]:
        yield Problem(f"unknown variable {name}", f"did you mean {SCOPE}?", docs=PAGE)
    if named and not slips:
        yield Problem(
            f"{named[0]} is set, but {SCOPE} is not: this server would run alone",
            f"set {SCOPE} to the name of the cluster, or remove {named[0]}",
            docs=PAGE,
        )


def _names(given: Mapping[str, str]) -> Iterator[Problem]:
    for name in sorted(given):
        if name in _OURS or name.startswith("PATRONI_POSTGRESQL_BIN_"):
            instead = f"; set {_OURS[name]} instead" if _OURS.get(name) else ""
            yield Problem(
                f"{name} is set, but the entrypoint determines this", f"remove {name}{instead}", docs=PAGE
            )
        elif not _is_known(name) and (near := _near(name)):
            yield Problem(f"unknown variable {name}", f"did you mean {near}?", docs=PAGE)


def _near(name: str) -> str | None:
    import difflib  # loaded only for a name that is unknown

    known = [*PLACES, *(each for each in _ALL if each not in PLACES)]
    found = difflib.get_close_matches(name.removesuffix(FILE_SUFFIX), known, n=1, cutoff=0.85)
    return found[0] if found else None


def _scope(scope: str) -> Iterator[Problem]:
    if not re.fullmatch(_NAME, scope):
        yield Problem(
            f"{SCOPE} is not a name",
            "give at most 63 letters, digits, dots, underscores and hyphens, for example PATRONI_SCOPE=shop",
            docs=PAGE,
        )


def _store(given: Mapping[str, str], problems: list[Problem]) -> str:
    """Return Patroni's name of the DCS; empty if it is not clear."""
    found = [name for name, beginning in STORES.items() if any(each.startswith(beginning) for each in given)]
    others = sorted(name for name in given if name.startswith(OTHER_STORES))
    if others:
        three = " (PATRONI_ETCD3_HOSTS=…)" if others[0].startswith("PATRONI_ETCD_") else ""
        problems.append(
            Problem(
                f"{others[0]} is set, but the image has Patroni's clients for etcd, version 3 of its "
                "protocol, and for Consul only",
                f"use PATRONI_ETCD3_* or PATRONI_CONSUL_*{three}, and remove {', '.join(others)}",
                docs=PAGE,
            )
        )
    elif len(found) != 1:
        what = "neither etcd nor Consul is" if not found else "both etcd and Consul are"
        problems.append(
            Problem(
                f"{what} set as the place where the nodes agree on a leader",
                "set PATRONI_ETCD3_HOSTS=etcd1:2379,etcd2:2379,etcd3:2379, or PATRONI_CONSUL_HOST, not both",
                docs=PAGE,
            )
        )
    elif not any(f"{STORES[found[0]]}{each}" in given for each in ("HOST", "HOSTS", "URL", "SRV", "PROXY")):
        names = " or ".join(
            name for each in ("HOSTS", "HOST", "URL") if (name := f"{STORES[found[0]]}{each}") in PLACES
        )
        problems.append(
            Problem(f"{STORES[found[0]]}* is set, but not where it is", f"set {names}", docs=PAGE)
        )
    return found[0] if len(found) == 1 and not others else ""


def _read(given: Mapping[str, str], problems: list[Problem]) -> dict[tuple[str, ...], Value]:
    found: dict[tuple[str, ...], Value] = {}
    for name, text in given.items():
        place, kind = PLACES.get(name, ((), "table"))
        if kind == "table":
            continue
        if any(ord(letter) < 32 for letter in text):
            problems.append(Problem(f"{name} contains a control character", f"correct {name}", docs=PAGE))
            continue
        try:
            found[place] = patroni_variables.read(name, text)
        except ValueError as error:
            said = name if patroni_variables.is_secret(name) else f"{name}={text}"
            problems.append(Problem(f"{said} is not {error}", f"give {name} as {error}", docs=PAGE))
    for name in ("PATRONI_ETCD3_HOST", "PATRONI_ETCD3_HOSTS"):
        hosts = found.get(PLACES[name][0], [])
        hosts = [hosts] if isinstance(hosts, str) else hosts
        if isinstance(hosts, list) and not all(map(_is_address, hosts)):
            problems.append(_no_address(name, "etcd1:2379"))
    return found


def _is_address(text: str) -> bool:
    host, colon, port = text.rpartition(":")
    return (
        bool(host and colon) and not set(host) & set(" /@,") and is_whole(port, 5) and 0 < int(port) < 65536
    )


def _no_address(name: str, example: str) -> Problem:
    return Problem(f"{name} is not an address", f"give host and port: {name}={example}", docs=PAGE)


_NOT_FOR_OTHERS = ("127.0.0.1", "0.0.0.0", "*", "::1", "[::1]", "localhost")  # noqa: S104 - refused


def _addresses(
    values: Mapping[str, str], found: dict[tuple[str, ...], Value], problems: list[Problem]
) -> None:
    """Check the addresses of this node, and set those that follow from others."""
    port = values.get("PGPORT") or "5432"
    ours, theirs = ("postgresql", "connect_address"), ("restapi", "connect_address")
    address = found.get(ours)
    if not isinstance(address, str):
        problems.append(
            Problem(
                "PATRONI_POSTGRESQL_CONNECT_ADDRESS is not set: the other nodes would not find this one",
                f"set it to the address of this node: PATRONI_POSTGRESQL_CONNECT_ADDRESS=db1:{port}",
                docs=PAGE,
            )
        )
        address = ""
    host = address.rpartition(":")[0]
    if address and not _is_address(address):
        problems.append(_no_address("PATRONI_POSTGRESQL_CONNECT_ADDRESS", f"db1:{port}"))
    found.setdefault(theirs, f"{host}:8008")
    if not _is_address(str(found[theirs])) and _is_address(address):
        problems.append(_no_address("PATRONI_RESTAPI_CONNECT_ADDRESS", "db1:8008"))
    for name, place in (
        ("PATRONI_POSTGRESQL_CONNECT_ADDRESS", ours),
        ("PATRONI_RESTAPI_CONNECT_ADDRESS", theirs),
    ):
        if str(found.get(place, "")).rpartition(":")[0] in _NOT_FOR_OTHERS:
            problems.append(
                Problem(
                    f"{name} is an address of this container for itself",
                    f"give the address by which the other nodes reach it: {name}=db1:…",
                    docs=PAGE,
                )
            )
    listen = found.get(("postgresql", "listen"), f"*:{port}")
    if str(listen).rpartition(":")[2] != port:
        problems.append(
            Problem(
                f"PATRONI_POSTGRESQL_LISTEN has another port than the server ({port})",
                f"set PGPORT to the port, or PATRONI_POSTGRESQL_LISTEN=*:{port}",
                docs=PAGE,
            )
        )
    if not _is_address(str(found.setdefault(("restapi", "listen"), "*:8008"))):
        problems.append(_no_address("PATRONI_RESTAPI_LISTEN", "*:8008"))


def _login(
    values: Mapping[str, str],
    given: Mapping[str, str],
    found: dict[tuple[str, ...], Value],
    problems: list[Problem],
) -> None:
    """Check with which roles Patroni connects, and set those that follow from our variables."""
    roles = ("postgresql", "authentication")
    trusted = (values.get("POSTGRES_HOST_AUTH_METHOD") or "").split()[:1] == ["trust"]
    for ours, theirs in (
        ("POSTGRES_USER", "PATRONI_SUPERUSER_USERNAME"),
        ("POSTGRES_PASSWORD", "PATRONI_SUPERUSER_PASSWORD"),
    ):
        wanted = values.get(ours) or ("postgres" if ours == "POSTGRES_USER" else "")
        if given.get(theirs, wanted) not in (wanted, HIDDEN_VALUE):
            problems.append(
                Problem(
                    f"{theirs} differs from {ours}",
                    f"set {ours} (or {ours}_FILE), and remove {theirs}",
                    docs=PAGE,
                )
            )
    found[*roles, "superuser", "username"] = values.get("POSTGRES_USER") or "postgres"
    found.setdefault((*roles, "replication", "username"), "replicator")
    if found[*roles, "replication", "username"] == found[*roles, "superuser", "username"]:
        problems.append(
            Problem(
                "PATRONI_REPLICATION_USERNAME is the superuser",
                "give another name; Patroni creates the role: PATRONI_REPLICATION_USERNAME=replicator",
                docs=PAGE,
            )
        )
    role = found[*roles, "replication", "username"]
    if not re.fullmatch("[A-Za-z_][A-Za-z0-9_-]{0,62}", str(role)) or str(role).startswith("pg_"):
        problems.append(
            Problem(
                "PATRONI_REPLICATION_USERNAME is not the name of a role",
                "give at most 63 letters, digits, underscores and hyphens",
                docs=PAGE,
            )
        )
    if values.get("POSTGRES_PASSWORD"):
        found[*roles, "superuser", "password"] = values["POSTGRES_PASSWORD"].partition("\n")[0].rstrip("\r")
    for name, place in (
        ("POSTGRES_PASSWORD", "superuser"),
        ("PATRONI_REPLICATION_PASSWORD", "replication"),
    ):
        if (*roles, place, "password") not in found and not trusted:
            problems.append(
                Problem(
                    f"{name} is not set: the nodes could not connect to each other",
                    f"set {name} or {name}_FILE to the same password on all nodes",
                    docs=PAGE,
                )
            )
