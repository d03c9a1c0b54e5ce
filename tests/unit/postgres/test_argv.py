"""Command lines of postgres."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrypoint.postgres.argv import parse_server

WORDS = st.sampled_from(
    [
        *("-c", "-C", "-D", "-p", "-F", "-i", "--", "", "-", "postgres"),
        *("config_file=/a", "-cconfig_file=/b", "--config-file=/c", "--Config_File=/d"),
        *("port=1", "-p2", "--port=3", "-cPort=4", "work_mem", "-D/x", "--single"),
    ]
)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], {}),
        (["-c", "work_mem=1MB"], {"work_mem": "1MB"}),
        (["-cwork_mem=1MB"], {"work_mem": "1MB"}),
        (["--work_mem=1MB"], {"work_mem": "1MB"}),
        (["--work-mem=1MB"], {"work_mem": "1MB"}),
        (["--Work-Mem=a=b"], {"work_mem": "a=b"}),
        (["-c", "log_line_prefix="], {"log_line_prefix": ""}),
        (["-p", "5433"], {"port": "5433"}),
        (["-p5433"], {"port": "5433"}),
        (["-h", "::", "-k", "/tmp"], {"listen_addresses": "::", "unix_socket_directories": "/tmp"}),
        (
            ["-B", "16MB", "-N", "7", "-S", "8"],
            {"shared_buffers": "16MB", "max_connections": "7", "work_mem": "8"},
        ),
        (["-c", "port=1", "-p", "2", "--port=3"], {"port": "3"}),
        (["-d", "-p"], {}),
        (["-F", "-i", "-l"], {}),
        (["--", "-"], {}),
        (["-c"], {}),
    ],
)
def test_settings_are_parsed_as_postgres_does_it(arguments: list[str], expected: dict[str, str]) -> None:
    """Every spelling of a setting is understood, the last one wins, and a value is not mistaken for an option."""
    assert expected == parse_server(arguments).settings


@pytest.mark.parametrize(
    ("arguments", "kept"),
    [
        (["-c", "config_file=/a", "-c", "port=1"], ("-c", "port=1")),
        (["-cconfig_file=/a", "-F"], ("-F",)),
        (["--config_file=/a"], ()),
        (["--config-file=/a", "x"], ("x",)),
        (["-c", "CONFIG_FILE=/a"], ()),
        (["-c", "hba_file=/a"], ("-c", "hba_file=/a")),
    ],
)
def test_the_configuration_file_can_be_removed(arguments: list[str], kept: tuple[str, ...]) -> None:
    """Without the arguments that name the configuration file, ours can take its place."""
    found = parse_server(arguments)
    assert kept == found.without_config_file
    assert tuple(arguments) == found.given


@given(st.lists(WORDS))
def test_nothing_else_is_removed(arguments: list[str]) -> None:
    """The remaining arguments name no configuration file, and set the same as all arguments."""
    found = parse_server(arguments)
    again = parse_server(found.without_config_file)
    assert again.without_config_file == found.without_config_file
    expected = {name: value for name, value in found.settings.items() if name != "config_file"}
    assert (expected, found.data_folder, found.prints_a_setting) == (
        again.settings,
        again.data_folder,
        again.prints_a_setting,
    )


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [(["-C", "port"], True), (["-Cport"], True), (["-c", "-C"], False), (["-D", "-C"], False), ([], False)],
)
def test_printing_a_setting_is_recognized(arguments: list[str], *, expected: bool) -> None:
    """`-C` makes postgres print a setting, unless it is the value of another option."""
    assert expected == parse_server(arguments).prints_a_setting


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["-D", "/a"], "/a"),
        (["-D/a"], "/a"),
        (["-D", "/a", "-D", "/b"], "/b"),
        (["-d", "-D"], None),
        ([], None),
    ],
)
def test_the_data_folder_is_read(arguments: list[str], expected: str | None) -> None:
    """`-D` is found in both spellings; the last one wins."""
    assert expected == parse_server(arguments).data_folder
