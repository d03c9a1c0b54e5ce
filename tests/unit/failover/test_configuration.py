"""Patroni's configuration of a node, and what of it is checked before anything starts."""

from __future__ import annotations

import json
from typing import Any

import pytest

from entrypoint.config.sources import VARIABLE, Source
from entrypoint.failover import configuration
from entrypoint.failover.configuration import Place
from entrypoint.settings.failing_over import Failover
from unit import made

PLACE = Place(
    data_folder="/data",
    runtime_folder="/run/entrypoint",
    folder="/run/entrypoint/patroni",
    programs="/usr/lib/postgresql/17/bin",
    included="/run/entrypoint/postgresql.conf",
    sockets="/var/run/postgresql",
    first_start="entrypoint internal patroni-first-start",
    hba_file="/data/pg_hba.conf",
    ident_file="/data/pg_ident.conf",
)
NODE = {
    "PATRONI_SCOPE": "shop",
    "PATRONI_NAME": "db1",
    "PATRONI_ETCD3_HOSTS": "etcd1:2379",
    "PATRONI_ETCD3_PASSWORD": "of-the-dcs",
    "PATRONI_POSTGRESQL_CONNECT_ADDRESS": "db1:5432",
    "PATRONI_REPLICATION_PASSWORD": "streams",
}


def _node(**more: str) -> Failover:
    found = made.settings({**NODE, **more}).failover
    assert found is not None
    return found


def _of(
    node: Failover, shared: dict[str, str] | None = None, local: dict[str, str] | None = None
) -> dict[str, Any]:
    return configuration.of_node(node, PLACE, "*:5432", shared or {}, local or {})


def _set(**values: str) -> dict[str, Source]:
    return {name: Source(name, value, VARIABLE, f"POSTGRES_CONF_{name}") for name, value in values.items()}


def test_nothing_of_the_configuration_is_in_the_data_folder() -> None:
    """Patroni writes the server's files into the runtime folder, and reads pg_hba.conf in the data folder."""
    found = _of(_node())["postgresql"]
    assert ("/data", "/run/entrypoint/patroni", "/run/entrypoint/postgresql.conf") == (
        found["data_dir"],
        found["config_dir"],
        found["custom_conf"],
    )
    assert "/data/pg_hba.conf" == found["parameters"]["hba_file"]
    assert found["pgpass"].startswith("/run/entrypoint/patroni/")


def test_patroni_creates_the_cluster_by_our_first_start() -> None:
    """What is shared goes into the DCS then, with our defaults."""
    found = _of(_node(PATRONI_DCS_TTL="40"), {"max_connections": "200"})["bootstrap"]
    assert {"command": PLACE.first_start, "keep_existing_recovery_conf": False} == found[found["method"]]
    assert (40, True) == (found["dcs"]["ttl"], found["dcs"]["failsafe_mode"])
    assert {"max_connections": "200"} == found["dcs"]["postgresql"]["parameters"]


def test_what_the_archive_adds() -> None:
    """With an archive, Patroni asks us before a promotion, and standbys also read the archive."""
    assert [] == [name for name in _of(_node())["postgresql"] if name in ("pre_promote", "recovery_conf")]
    place = PLACE._replace(may_lead="may-lead", restore="fetch %f %p")
    found = configuration.of_node(_node(), place, "*:5432", {}, {})["postgresql"]
    assert ("may-lead", {"restore_command": "fetch %f %p"}) == (found["pre_promote"], found["recovery_conf"])


def test_patronis_variables_are_stronger() -> None:
    """What follows from our settings is only a default."""
    found = _of(_node(PATRONI_POSTGRESQL_LISTEN="10.0.0.1:5432", PATRONI_LOG_LEVEL="DEBUG"))
    assert ("10.0.0.1:5432", "DEBUG") == (found["postgresql"]["listen"], found["log"]["level"])


def test_who_may_give_commands() -> None:
    """The nodes of one cluster have the same password for Patroni's REST API, and nobody else can know it."""
    logins = [
        _of(_node(**more))["restapi"]["authentication"]
        for more in (
            {},
            {"PATRONI_NAME": "db2", "PATRONI_ETCD3_HOSTS": "etcd2:2379"},
            {"PATRONI_SCOPE": "other"},
            {"PATRONI_REPLICATION_PASSWORD": "another"},
        )
    ]
    assert logins[0] == logins[1]
    assert 3 == len({each["password"] for each in logins})
    assert "streams" not in str(logins)


def test_own_login_of_the_api() -> None:
    """Patroni's variables for it are stronger; without any password, there is nothing to protect it with."""
    own = {"PATRONI_RESTAPI_USERNAME": "me", "PATRONI_RESTAPI_PASSWORD": "mine"}
    assert {"username": "me", "password": "mine"} == _of(_node(**own))["restapi"]["authentication"]
    none = {"PATRONI_REPLICATION_PASSWORD": "", "POSTGRES_PASSWORD": "", "POSTGRES_HOST_AUTH_METHOD": "trust"}
    assert "authentication" not in _of(_node(**none))["restapi"]


def test_a_check_needs_no_dcs_and_no_secrets() -> None:
    """Patroni's check connects to the DCS, whose members may be away, and prints what it does not accept."""
    node = _node()
    before = _of(node)
    found = configuration.for_a_check(before, node, "/nowhere")
    text = json.dumps(found)
    secrets = ["of-the-dcs", "streams", "secret", "etcd1", before["restapi"]["authentication"]["password"]]
    assert [] == [word for word in secrets if word in text]
    assert "/nowhere" == found["postgresql"]["data_dir"]
    assert _of(node) == before


def test_where_settings_go() -> None:
    """Some are for all nodes; arguments of the server are for this node; the rest is in the included file."""
    assert {"max_connections": "200"} == configuration.for_all_nodes(
        _set(max_connections="200", work_mem="8MB")
    )
    arguments = {"jit": "off", "wal_level": "logical", "port": "5433", "config_file": "/a"}
    assert {"jit": "off"} == configuration.for_this_node(arguments)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("max_connections", "20", "Patroni takes no less than 25"),
        ("max_wal_senders", "0", "Patroni takes no less than 3"),
        ("wal_level", "Minimal", "sets wal_level to minimal"),
        ("hot_standby", "off", "turns hot_standby off"),
        ("listen_addresses", "", "sets listen_addresses to nothing"),
    ],
)
def test_settings_that_patroni_would_replace(name: str, value: str, words: str) -> None:
    """Patroni would take its default instead, and only log that."""
    found = [*configuration.objections(_set(**{name: value}))]
    assert [True] == [words in each.what for each in found]


def test_settings_that_patroni_takes() -> None:
    """Other values, and values that the server's binary judges, are no matter here."""
    assert [] == [
        *configuration.objections(_set(max_connections="25", wal_level="logical", max_wal_senders="x"))
    ]


DYNAMIC = {"ttl": 30, "synchronous_mode": False, "postgresql": {"parameters": {"max_connections": 100}}}


def test_what_the_dcs_has_instead() -> None:
    """A variable that is set, and that the DCS contradicts, gets the command that changes it for all."""
    node = _node(PATRONI_DCS_TTL="60")
    found = configuration.drift(DYNAMIC, node, {"PATRONI_DCS_TTL": "60"}, {"max_connections": "200"})
    assert [
        "PATRONI_DCS_TTL=60 has no effect: all nodes share the setting in the DCS, which has 30",
        "max_connections=200 has no effect: all nodes share the setting in the DCS, which has 100",
    ] == [each.what for each in found]
    assert "patronictl edit-config -s ttl=60" in found[0].hint
    assert "patronictl restart shop --pending" in found[1].hint


@pytest.mark.parametrize("value", ["off", "false", "FALSE"])
def test_the_same_value_in_other_words(value: str) -> None:
    """Patroni has JSON's words, people have PostgreSQL's."""
    values = {"PATRONI_DCS_SYNCHRONOUS_MODE": value}
    assert [] == configuration.drift(DYNAMIC, _node(**values), values, {"max_connections": "100"})


def test_a_variable_that_is_not_set_asks_for_nothing() -> None:
    """Our defaults are for a new cluster only."""
    assert [] == configuration.drift({}, _node(), {}, {})


@pytest.mark.parametrize(
    ("line", "granted"),
    [
        ("host replication all all scram-sha-256", True),
        ("hostssl replication,app replicator 10.0.0.0/8 cert", True),
        ('host replication "replicator" all md5', True),
        ("host all all all scram-sha-256", False),
        ("local replication all trust", False),
        ("host replication all 127.0.0.1/32 trust", False),
        ("# host replication all all trust", False),
        ("host replication other all trust", False),
        ("host replication", False),
    ],
)
def test_who_may_stream(line: str, granted: bool) -> None:
    """`all` databases do not include replication, and a connection of this container proves nothing."""
    assert granted == configuration.grants_replication(f"local all all trust\n{line}\n", "replicator")
