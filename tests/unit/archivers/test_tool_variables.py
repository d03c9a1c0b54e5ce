"""The names of the variables that an archiver reads."""

from __future__ import annotations

import pytest

from entrypoint.archivers import tool_variables, walg
from entrypoint.archivers.known import adapters


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("PGBACKREST_REPO1_PATH", True),
        ("PGBACKREST_REPO12_S3_KEY_SECRET", True),
        ("PGBACKREST_PROCESS_MAX", True),
        ("PGBACKREST_PG1_PATH", True),
        ("PGBACKREST_STANZA", True),
        # an index is missing, invalid or not allowed
        ("PGBACKREST_REPO_PATH", False),
        ("PGBACKREST_PG_PATH", False),
        ("PGBACKREST_REPO0_PATH", False),
        ("PGBACKREST_REPO01_PATH", False),
        ("PGBACKREST_REPO1", False),
        ("PGBACKREST_NOSUCH", False),
        ("PGBACKREST_", False),
        ("REPO1_PATH", False),
        ("pgbackrest_repo1_path", False),
    ],
)
def test_options_are_known(name: str, *, expected: bool) -> None:
    """An environment variable is an option if pgBackRest knows it, with the index that it must have."""
    assert expected == tool_variables.is_known(name)


def test_every_proposed_name_is_an_option() -> None:
    """Every name proposed for a misspelled one is an option, with the same index."""
    names = tool_variables.all_like("PGBACKREST_REPO3_PAHT")
    assert [] == [name for name in names if not tool_variables.is_known(name)]
    assert {"PGBACKREST_REPO3_PATH", "PGBACKREST_PROCESS_MAX", "PGBACKREST_PG3_PATH"} <= set(names)
    assert set(tool_variables.all_like("WALG_S3_PREFIX")) == tool_variables.WALG


def test_every_setting_of_the_list_is_a_name() -> None:
    """The list has no misprint that an environment variable could not have as its name."""
    assert [] == [
        name for name in tool_variables.WALG if not name.replace("_", "").isalnum() or name != name.upper()
    ]
    assert set(tool_variables.WALG_PREFIXES) <= tool_variables.WALG
    assert walg.OURS <= tool_variables.WALG


@pytest.mark.parametrize("url", ["file:///archive", "s3://bucket/db"])
@pytest.mark.parametrize(
    "name", ["AWS_REGION", "AWS_NOSUCH", "WALG_S3_PREFIX", "PGBACKREST_NOSUCH", "PGDATA", "WALG_NOSUCH"]
)
def test_the_owner_of_a_variable_is_known_without_an_adapter(name: str, url: str) -> None:
    """The names alone give the same answer as the adapters."""
    values = {"ARCHIVE_URL": url}
    expected = any(tool.is_own_variable(name) for tool in adapters(values).values())
    assert expected == tool_variables.is_own(name, values)
