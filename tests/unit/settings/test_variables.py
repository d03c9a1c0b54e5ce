"""The table of variables."""

from __future__ import annotations

import pytest

from entrypoint.settings import (
    archiving,
    backing_up,
    failing_over,
    fields,
    following,
    foreign,
    rehearsing,
    restoring,
    serving,
    starting,
    upgrading,
    variables,
    watching,
)
from entrypoint.settings.fields import Variable
from entrypoint.settings.starting import OFFICIAL

EVERY = [*variables.table().values()]
OURS = [each for each in EVERY if each not in OFFICIAL]


def test_each_is_declared_once() -> None:
    """No name is in the table twice, and each name alone leads to its section."""
    assert EVERY == [variables.find(each.name) for each in EVERY]
    rows = (starting.OFFICIAL, starting.OURS, serving.SERVER, serving.POLICIES)
    few = (archiving, backing_up, rehearsing, restoring, following, upgrading, watching, failing_over)
    assert len(EVERY) == sum(map(len, rows)) + sum(len(each.VARIABLES) for each in few)


@pytest.mark.parametrize("variable", EVERY, ids=lambda variable: str(variable.name))
def test_each_is_documented(variable: Variable) -> None:
    """Each description consists of whole sentences and fits into a Markdown table."""
    assert variable.doc.endswith(".")
    assert [] == [text for text in (variable.doc, variable.default) if set(text) & set("|\n")]


def test_secrets_have_no_default() -> None:
    """The default of a secret is empty, or says where the secret comes from."""
    expected = {
        "POSTGRES_PASSWORD": "",
        "PGPASSWORD": "value of `POSTGRES_PASSWORD`",
        "STANDBY_PRIMARY_CONNINFO": "",
        "PATRONI_REPLICATION_PASSWORD": "",
        "BACKUP_PING_URL": "",
        "DRILL_PING_URL": "",
        "NOTIFY_URLS": "",
        "NOTIFY_HEARTBEAT_URL": "",
        "STATUS_TOKEN": "",
    }
    assert expected == {each.name: each.default for each in EVERY if each.secret}


def test_the_official_image_reads_these_from_files() -> None:
    """The four variables for which the official image knows `_FILE` may come from files."""
    expected = {"POSTGRES_PASSWORD", "POSTGRES_USER", "POSTGRES_DB", "POSTGRES_INITDB_ARGS"}
    assert expected == {variable.name for variable in OFFICIAL if variable.from_file}


def test_timeouts_are_numbers() -> None:
    """The default of every timeout is a number of seconds, since the settings use it as such."""
    times = [variable for variable in EVERY if variable.name.endswith("TIMEOUT")]
    assert 8 == len(times)
    assert [] == [variable for variable in times if not variable.default.isdigit()]


@pytest.mark.parametrize(
    "name",
    [
        # Kubernetes, for a service "archive"
        "ARCHIVE_SERVICE_HOST",
        "ARCHIVE_SERVICE_PORT",
        "ARCHIVE_SERVICE_PORT_HTTPS",
        "ARCHIVE_PORT",
        "ARCHIVE_PORT_9000_TCP",
        "ARCHIVE_PORT_9000_TCP_ADDR",
        "ARCHIVE_PORT_9000_TCP_PROTO",
        # docker run --link db:backup
        "BACKUP_NAME",
        "BACKUP_ENV_PGDATA",
        "BACKUP_PORT_5432_TCP_PORT",
    ],
)
def test_injected_names_are_known(name: str) -> None:
    """Names that Docker and Kubernetes set for a service are no mistakes."""
    assert fields.INJECTED.fullmatch(name)


def test_none_of_our_names_looks_injected() -> None:
    """If one of our names looked injected, it would never be checked."""
    checked = (name for name in variables.table() if not name.startswith(fields.PATRONI))
    assert [] == [name for name in checked if fields.INJECTED.fullmatch(name)]


def test_our_names_are_in_our_groups() -> None:
    """Each of our names begins like one of our groups, or is its name, so that a misspelt one is noticed."""
    groups = (*foreign.STRICT_GROUPS, *foreign.OUR_GROUPS, "POSTGRES_", fields.PATRONI)
    assert [] == [variable.name for variable in OURS if not f"{variable.name}_".startswith(groups)]
