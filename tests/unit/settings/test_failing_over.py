"""The settings of a node under Patroni: what they become, and what is refused."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from entrypoint.settings import environment, failing_over, patroni_variables
from entrypoint.settings.failing_over import Failover
from unit import made

NODE: Mapping[str, str] = {
    **made.PLAIN,
    "PATRONI_SCOPE": "shop",
    "PATRONI_NAME": "db1",
    "PATRONI_ETCD3_HOSTS": "etcd1:2379, etcd2:2379",
    "PATRONI_POSTGRESQL_CONNECT_ADDRESS": "db1:5432",
    "PATRONI_REPLICATION_PASSWORD": "streams",
}


def _node(changes: Mapping[str, str]) -> tuple[Failover, str]:
    """Return the node of these variables, and everything that is wrong with them."""
    settings, problems = made.load({**NODE, **changes})
    assert settings.failover is not None
    return settings.failover, "\n".join(f"{each.what}\n{each.hint}" for each in problems)


def test_a_node() -> None:
    """Patroni's settings follow from its variables and from ours."""
    node, wrong = _node({})
    roles = ("postgresql", "authentication")
    assert "" == wrong
    assert ("shop", "db1", "etcd3", {}) == (node.scope, node.name, node.store, node.passed_on)
    assert {
        ("scope",): "shop",
        ("name",): "db1",
        ("etcd3", "hosts"): ["etcd1:2379", "etcd2:2379"],
        ("postgresql", "connect_address"): "db1:5432",
        ("restapi", "connect_address"): "db1:8008",
        ("restapi", "listen"): "*:8008",
        (*roles, "superuser", "username"): "postgres",
        (*roles, "superuser", "password"): "secret",
        (*roles, "replication", "username"): "replicator",
        (*roles, "replication", "password"): "streams",
    } == node.values


def test_what_goes_into_the_dcs() -> None:
    """Our defaults are those for few small nodes; Patroni has no variables for them."""
    node, _ = _node({"PATRONI_DCS_SYNCHRONOUS_MODE": "quorum", "PATRONI_DCS_TTL": "60"})
    assert {
        "ttl": 60,
        "loop_wait": 10,
        "retry_timeout": 10,
        "maximum_lag_on_failover": 16 * 1024**2,
        "synchronous_mode": "quorum",
        "synchronous_mode_strict": False,
        "synchronous_node_count": 1,
        "failsafe_mode": True,
    } == node.shared


def test_no_scope_is_no_patroni() -> None:
    """Without PATRONI_SCOPE the server runs alone, also if a variable of another container is there."""
    settings, problems = made.load({**made.PLAIN, "PATRONI_NAME": "db1"})
    assert (None, []) == (settings.failover, problems)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"PATRONI_SCOPE": "a/b"}, "PATRONI_SCOPE is not a name"),
        ({"PATRONI_SCOPE": "a\nb"}, "PATRONI_SCOPE is not a name"),
        ({"PATRONI_NAME": "", "HOSTNAME": "0123456789ab"}, "PATRONI_NAME is not set"),
        ({"PATRONI_NAME": ""}, "PATRONI_NAME is not set"),
        ({"PATRONI_NAME": "a/b"}, "PATRONI_NAME is not a name"),
        ({"PATRONI_NAME": "a\x01"}, "PATRONI_NAME contains a control character"),
        ({"PATRONI_ETCD3_HOSTS": ""}, "neither etcd nor Consul is set"),
        ({"PATRONI_CONSUL_HOST": "c:8500"}, "both etcd and Consul are set"),
        ({"PATRONI_ETCD3_HOSTS": "", "PATRONI_ETCD3_USERNAME": "a"}, "set PATRONI_ETCD3_HOSTS or"),
        ({"PATRONI_ETCD3_HOSTS": "etcd1"}, "PATRONI_ETCD3_HOSTS is not an address"),
        ({"PATRONI_ETCD3_HOSTS": "etcd1:0"}, "PATRONI_ETCD3_HOSTS is not an address"),
        ({"PATRONI_ETCD3_HOSTS": "a:1,,b:1"}, "is not a list, separated by commas"),
        ({"PATRONI_ETCD_HOSTS": "etcd1:2379"}, "PATRONI_ETCD3_HOSTS=…"),
        ({"PATRONI_RAFT_SELF_ADDR": "a:1"}, "PATRONI_RAFT_SELF_ADDR is set, but the image has"),
        ({"PATRONI_KUBERNETES_LABELS": "{}"}, "remove PATRONI_KUBERNETES_LABELS"),
        ({"PATRONI_POSTGRESQL_CONNECT_ADDRESS": ""}, "PATRONI_POSTGRESQL_CONNECT_ADDRESS is not set"),
        ({"PATRONI_POSTGRESQL_CONNECT_ADDRESS": "db1"}, "PATRONI_POSTGRESQL_CONNECT_ADDRESS=db1:5432"),
        ({"PATRONI_POSTGRESQL_CONNECT_ADDRESS": "localhost:5432"}, "an address of this container for itself"),
        ({"PATRONI_RESTAPI_CONNECT_ADDRESS": "db1:http"}, "PATRONI_RESTAPI_CONNECT_ADDRESS is not"),
        ({"PATRONI_RESTAPI_LISTEN": "8008"}, "PATRONI_RESTAPI_LISTEN is not an address"),
        ({"PATRONI_POSTGRESQL_LISTEN": "*:5433"}, "has another port than the server (5432)"),
        ({"PATRONI_POSTGRESQL_DATA_DIR": "/x"}, "set PGDATA instead"),
        ({"PATRONI_POSTGRESQL_BIN_PG_CTL": "/x"}, "the entrypoint determines this"),
        ({"PATRONI_CONFIGURATION": "{}"}, "the entrypoint determines this"),
        ({"PATRONI_SUPERUSER_USERNAME": "admin"}, "PATRONI_SUPERUSER_USERNAME differs from POSTGRES_USER"),
        ({"PATRONI_SUPERUSER_PASSWORD": "hidden"}, "differs from POSTGRES_PASSWORD"),
        ({"PATRONI_REPLICATION_USERNAME": "postgres"}, "PATRONI_REPLICATION_USERNAME is the superuser"),
        ({"PATRONI_REPLICATION_USERNAME": 'a" all'}, "is not the name of a role"),
        ({"PATRONI_REPLICATION_PASSWORD": ""}, "PATRONI_REPLICATION_PASSWORD is not set"),
        ({"POSTGRES_PASSWORD": ""}, "POSTGRES_PASSWORD is not set: the nodes"),
        ({"PATRONI_CONSUL_PORT": "x"}, "PATRONI_CONSUL_PORT=x is not a whole number"),
        ({"PATRONI_CTL_INSECURE": "maybe"}, "PATRONI_CTL_INSECURE=maybe is not on or off"),
        ({"PATRONI_DCS_TTL": "15"}, "PATRONI_DCS_TTL=15 is not a whole number of at least 20"),
        ({"PATRONI_DCS_TTL": "20"}, "raise PATRONI_DCS_TTL to 30"),
        ({"PATRONI_DCS_TTL": "-1"}, "PATRONI_DCS_TTL"),
        ({"PATRONI_DCS_SYNCHRONOUS_MODE": "yes please"}, "on, off or quorum"),
        ({"PATRONI_DCS_FAILSAFE_MODE": "quorum"}, "set PATRONI_DCS_FAILSAFE_MODE to on or off"),
        ({"PATRONI_ETCD3_HOSTSS": "a:1"}, "did you mean PATRONI_ETCD3_HOSTS?"),
        ({"PATRONI_DCS_TLL": "30"}, "did you mean PATRONI_DCS_TTL?"),
        ({"STANDBY": "on", "STANDBY_PRIMARY_CONNINFO": "host=a"}, "patronictl switchover"),
        (
            {"ARCHIVE_URL": "file:///a", "ARCHIVE_FORK": "readonly"},
            "ARCHIVE_FORK=readonly cannot be set together with PATRONI_SCOPE",
        ),
        ({"POSTGRES_UPGRADE": "on"}, "remove POSTGRES_UPGRADE"),
        ({"POSTGRES_INITDB_WALDIR": "/wal"}, "remove POSTGRES_INITDB_WALDIR"),
    ],
)
def test_what_is_refused(changes: Mapping[str, str], words: str) -> None:
    """Each mistake is refused with what fixes it."""
    assert words in _node(changes)[1]


def test_no_message_repeats_a_secret() -> None:
    """A password that differs, or that has a control character, is not in what is printed."""
    secret = "hid\x02den"
    _, wrong = _node(
        {
            "PATRONI_SUPERUSER_PASSWORD": "hidden",
            "PATRONI_ETCD3_PASSWORD": secret,
            "PATRONI_CONSUL_TOKEN": "hidden",
        }
    )
    assert "PATRONI_ETCD3_PASSWORD" in wrong
    assert "hid" not in wrong


@pytest.mark.parametrize("name", ["PATRONI_SCOPE_", "PATRONI_SCOP", "PATRONI_SCPOE"])
def test_a_misspelt_scope_is_no_server_of_its_own(name: str) -> None:
    """A node that would serve alone is refused, since its data would separate from that of its cluster."""
    values = {each: value for each, value in NODE.items() if each != "PATRONI_SCOPE"}
    settings, problems = made.load({**values, name: "shop"})
    assert (None, ["did you mean PATRONI_SCOPE?"]) == (settings.failover, [each.hint for each in problems])


def test_a_missing_scope_is_no_server_of_its_own() -> None:
    """The same holds if only the place of the DCS is set."""
    settings, problems = made.load({**made.PLAIN, "PATRONI_ETCD3_HOSTS": "a:1"})
    assert (None, 1) == (settings.failover, len(problems))
    assert "would run alone" in problems[0].what


def test_consul() -> None:
    """Numbers, switches and lists are values, not texts."""
    node, wrong = _node(
        {
            "PATRONI_ETCD3_HOSTS": "",
            "PATRONI_CONSUL_HOST": "consul",
            "PATRONI_CONSUL_PORT": "8500",
            "PATRONI_CONSUL_REGISTER_SERVICE": "true",
            "PATRONI_CONSUL_SERVICE_TAGS": "a,b",
        }
    )
    found = {place[1]: value for place, value in node.values.items() if place[0] == "consul"}
    assert ("", "consul") == (wrong, node.store)
    assert {"host": "consul", "port": 8500, "register_service": True, "service_tags": ["a", "b"]} == found


def test_tables_and_unknown_names_are_passed_on() -> None:
    """Patroni itself reads them from its environment; a warning names those that nobody knows."""
    given = {"PATRONI_LOG_LOGGERS": "{urllib3: DEBUG}", "PATRONI_QUITE_NEW": "1"}
    node, wrong = _node(given)
    assert ("", given) == (wrong, node.passed_on)
    read = environment.read({**NODE, **given}, lambda _: "")
    assert ["unknown variable PATRONI_QUITE_NEW"] == [each.what for each in read.warnings]


def test_each_variable_may_be_a_file() -> None:
    """`NAME_FILE` works for ours and for Patroni's own, known or not; a name that ends so is not a file."""
    names = ("PATRONI_SCOPE", "PATRONI_ETCD3_PASSWORD", "PATRONI_QUITE_NEW", "PATRONI_DCS_TTL")
    read = environment.read(
        {f"{name}_FILE": f"/{name}" for name in names}, lambda path: f"{path[1:].lower()}\n"
    )
    assert {name: name.lower() for name in names} == {name: read.values.get(name) for name in names}
    assert {} == environment.read({"PATRONI_LOG_LEVEL_FILE": "/x"}, lambda _: "").files
    read = environment.read({"PATRONI_SCOPE": "a", "PATRONI_RESTAPI_CERTFILE": "/x"}, lambda _: "")
    assert {} == read.files


def test_files_that_cannot_be_read() -> None:
    """They are a mistake, as for our own secrets."""

    def read(path: str) -> str:
        raise FileNotFoundError(2, "No such file or directory", path)

    found = environment.read({"PATRONI_SCOPE": "a", "PATRONI_ETCD3_PASSWORD_FILE": "/x"}, read)
    assert ["PATRONI_ETCD3_PASSWORD_FILE=/x: cannot be read: No such file or directory"] == [
        each.what for each in found.problems
    ]


def test_our_variables_and_patronis_do_not_overlap_by_accident() -> None:
    """What we declare is either Patroni's own, or for the DCS."""
    ours = {each.name for each in failing_over.VARIABLES}
    assert ours - patroni_variables.PLACES.keys() == {
        name for name in ours if name.startswith("PATRONI_DCS_")
    }
