"""Who archives: the entrypoint, or the user's own command."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from entrypoint.config import precedence
from entrypoint.config.sources import ALTER, COMMAND, FILE, FOLDER, VARIABLE, Source
from unit import made

if TYPE_CHECKING:
    from entrypoint.config.sources import Origin


OURS = "set -- 60; . /shims/archive-segment"
OWN = "cp %p /a/%f"


def _said(*places: tuple[Origin, str, str]) -> list[Source]:
    return [Source(name, value, origin, f"/{origin}:1") for origin, name, value in places]


def _on(origin: Origin = FILE) -> tuple[Origin, str, str]:
    return (origin, "archive_mode", "on")


@pytest.mark.parametrize("origin", [FILE, VARIABLE, FOLDER, ALTER])
@pytest.mark.parametrize("mode", ["on", "ON", "always", "true", "1"])
def test_the_users_own_command_archives(origin: Origin, mode: str) -> None:
    """It does wherever it is set, if no variable makes the entrypoint archive."""
    said = _said((FILE, "archive_mode", mode), (origin, "archive_command", OWN))
    assert said[1] == precedence.decide(said, OURS, "").own
    library = _said(_on(), (origin, "archive_library", "basic_archive"))
    assert library[1] == precedence.decide(library, OURS, "").own


@pytest.mark.parametrize("origin", [VARIABLE, FOLDER, ALTER])
def test_our_command_is_stronger_if_a_variable_requests_it(origin: Origin) -> None:
    """The command line overrides stronger sources than our file; the cluster's own file is not stronger."""
    said = _said(_on(), (origin, "archive_command", OWN))
    found = precedence.decide(said, OURS, "ARCHIVE_URL")
    assert (None, (said[1],), {"archive_command": OURS}) == (found.own, found.idle, found.options)
    weak = _said(_on(), (FILE, "archive_command", OWN))
    assert (None, (weak[1],), {}) == precedence.decide(weak, OURS, "ARCHIVE_URL")[:3]


@pytest.mark.parametrize("asked", ["", "ARCHIVE_URL"])
@pytest.mark.parametrize(("name", "value"), [("archive_command", ""), ("archive_library", "basic_archive")])
def test_the_command_line_is_the_users(asked: str, name: str, value: str) -> None:
    """A command on the command line wins, even an empty one, whatever the files say."""
    said = _said(_on(), (FILE, "archive_library", "x"), (COMMAND, name, value))
    assert said[2] == precedence.decide(said, OURS, asked).own


@pytest.mark.parametrize(
    "said",
    [
        _said(_on(ALTER), (ALTER, "archive_command", "/bin/true")),
        _said(_on(ALTER), (ALTER, "archive_command", "")),
        _said(_on(ALTER), (ALTER, "archive_command", "echo 100%%p")),
        _said((FILE, "archive_mode", "off"), (ALTER, "archive_command", OWN)),
        _said((ALTER, "archive_command", OWN)),
        _said(_on(), (ALTER, "archive_command", OWN), (COMMAND, "archive_mode", "off")),
    ],
)
def test_a_command_that_archives_nothing_does_not_count(said: list[Source]) -> None:
    """The entrypoint then archives, even if no variable requests it."""
    found = precedence.decide(said, OURS, "")
    assert (None, OURS) == (found.own, found.options["archive_command"])


def test_all_settings_that_archiving_needs_are_set() -> None:
    """PostgreSQL does not accept a library with a command, and does not archive with wal_level=minimal."""
    said = _said(
        (FILE, "archive_library", "x"), (ALTER, "archive_mode", "off"), (FOLDER, "wal_level", "minimal")
    )
    found = precedence.decide(said, OURS, "ARCHIVE_URL")
    assert {"archive_library": "", "archive_mode": "on", "wal_level": "replica"} == found.options
    assert tuple(said) == found.idle


def test_there_is_no_report_without_a_contradiction() -> None:
    """Defaults in the cluster's own file, and settings that suit our archiving, do not contradict it."""
    said = _said((FILE, "archive_command", ""), _on(ALTER), (FILE, "wal_level", "logical"))
    assert precedence.Charge(None, (), {}, None) == precedence.decide(said, OURS, "ARCHIVE_URL")
    assert precedence.tell(precedence.decide(said, OURS, "ARCHIVE_URL"), "ARCHIVE_URL", "wal-g") is None


def test_archive_mode_on_the_command_line_turns_ours_off() -> None:
    """It wins, as every argument does, and the report says that nothing is archived."""
    said = _said((COMMAND, "archive_mode", "off"))
    found = precedence.decide(said, OURS, "ARCHIVE_URL")
    assert ({}, said[0]) == (found.options, found.off)
    told = precedence.tell(found, "ARCHIVE_URL", "wal-g")
    assert told is not None
    assert told.lost


def test_secrets_are_not_shown() -> None:
    """A command may contain a secret."""
    said = _said(_on(), (ALTER, "archive_command", "push --key=geheim %p"))
    for asked in ("", "ARCHIVE_URL"):
        told = precedence.tell(precedence.decide(said, OURS, asked), asked, "wal-g")
        assert told is not None
        assert "geheim" not in told.what + told.hint
    assert "geheim" not in str(precedence.tell_change(said[1], "")) + str(precedence.tell_next(said[1]))


@pytest.mark.parametrize(
    ("values", "asked"),
    [
        ({"WALG_FILE_PREFIX": "/a"}, ""),
        ({"PGBACKREST_REPO1_PATH": "/a"}, ""),
        ({"WALG_FILE_PREFIX": "/a", "STANDBY": "off", "BACKUP_TIMEZONE": ""}, ""),
        ({"ARCHIVE_URL": "file:///a"}, "ARCHIVE_URL"),
        ({"WALG_FILE_PREFIX": "/a", "BACKUP_SCHEDULE": "@daily"}, "BACKUP_SCHEDULE"),
        ({"WALG_FILE_PREFIX": "/a", "RESTORE_FROM": "LATEST"}, "RESTORE_FROM"),
        ({"WALG_FILE_PREFIX": "/a", "STANDBY": "on"}, "STANDBY"),
    ],
)
def test_variables_that_make_the_entrypoint_archive(values: dict[str, str], asked: str) -> None:
    """Each of our variables that is useless unless the entrypoint archives."""
    archive = made.settings(values).archive
    assert archive is not None
    assert asked == archive.asked


def test_variables_for_the_users_own_command() -> None:
    """With only the tool's own variables, POSTGRES_CONF_* may set the user's own command."""
    own = {"POSTGRES_CONF_archive_command": OWN, "POSTGRES_CONF_archive_timeout": "9"}
    assert {"archive_command": OWN, "archive_timeout": "9"} == made.settings(
        {"WALG_FILE_PREFIX": "/a", **own}
    ).conf
    _, problems = made.load({"ARCHIVE_URL": "file:///a", **own})
    assert 2 == len(problems)
