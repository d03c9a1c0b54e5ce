"""From the raw environment to checked values: files, unknown names, and names of other programs."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from entrypoint.archivers import tool_variables
from entrypoint.settings import environment, fields, foreign, variables
from entrypoint.settings.environment import Environment

FILES = {
    "/secret": "from file\n\n",
    "/empty": "",
    "/lines": "a\nb\r\n",
    "/bytes": os.fsdecode(b"\xff\n"),
    "/zero": "a\0b",
}


def _read_file(path: str) -> str:
    if path not in FILES:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
    return FILES[path]


def _read(**raw: str) -> Environment:
    return environment.read(raw, _read_file)


def _whats(found: Environment) -> list[str]:
    return [problem.what for problem in found.problems]


FROM_FILE = [
    *(name for name, variable in variables.table().items() if variable.from_file and "PING" not in name),
    "WALG_PGP_KEY_PASSPHRASE",
    "WALG_S3_PREFIX",
    "PGBACKREST_REPO1_CIPHER_PASS",
    "PGBACKREST_REPO2_S3_KEY_SECRET",
]


@pytest.mark.parametrize("name", FROM_FILE)
def test_a_value_can_come_from_a_file(name: str) -> None:
    """`X_FILE` becomes `X`, without trailing newlines; the file's path is remembered."""
    found = _read(**{f"{name}_FILE": "/secret", name: ""})
    assert Environment({name: "from file"}, (), files={name: "/secret"}) == found


@pytest.mark.parametrize("name", FROM_FILE)
def test_a_value_and_a_file_for_it_are_a_mistake(name: str) -> None:
    """The refusal has the official image's text and names both variables."""
    found = _read(**{f"{name}_FILE": "/secret", name: "x"})
    assert [f"both {name} and {name}_FILE are set (but are exclusive)"] == _whats(found)
    assert f"set only one of {name} and {name}_FILE" == found.problems[0].hint


@pytest.mark.parametrize("name", FROM_FILE)
def test_an_empty_file_variable_is_not_set(name: str) -> None:
    """A variable is set if it is not empty, as in the official image."""
    assert Environment({name: "x"}, ()) == _read(**{f"{name}_FILE": "", name: "x"})


def test_a_file_that_cannot_be_read() -> None:
    """The message names the variable, the file and the system's reason."""
    found = _read(POSTGRES_PASSWORD_FILE="/none")
    assert ["POSTGRES_PASSWORD_FILE=/none: cannot be read: No such file or directory"] == _whats(found)
    assert "POSTGRES_PASSWORD" not in found.values


def test_a_value_that_is_not_a_path() -> None:
    """A reader's ValueError (a zero byte in a path) is a mistake like any other."""

    def read_file(path: str) -> str:
        raise ValueError("embedded null byte")

    found = environment.read({"POSTGRES_USER_FILE": "x"}, read_file)
    expected = "POSTGRES_USER_FILE is not the path of a file that can be read: embedded null byte"
    assert [expected] == _whats(found), "the value in place of the path may be the secret itself"


def test_a_file_with_a_zero_byte() -> None:
    """No environment can hold a zero byte, so this is a mistake, and the value is dropped."""
    found = _read(POSTGRES_PASSWORD_FILE="/zero")
    assert 1 == len(found.problems)
    assert "POSTGRES_PASSWORD_FILE=/zero" in found.problems[0].what
    assert "zero byte" in found.problems[0].what
    assert {} == found.values


@pytest.mark.parametrize(
    ("path", "expected"),
    [("/empty", ""), ("/lines", "a\nb\r"), ("/bytes", os.fsdecode(b"\xff")), ("/secret", "from file")],
)
def test_the_text_of_a_file_is_kept(path: str, expected: str) -> None:
    """Only trailing newlines are dropped; bytes that are not UTF-8 are kept."""
    assert expected == _read(POSTGRES_PASSWORD_FILE=path).values["POSTGRES_PASSWORD"]


def test_all_mistakes_are_found_at_once() -> None:
    """Nobody has to start three times to learn of three mistakes."""
    found = _read(
        POSTGRES_USER_FILE="/none", POSTGRES_DB="a", POSTGRES_DB_FILE="/secret", ARCHIVE_URI="file:///archive"
    )
    assert 3 == len(found.problems)


OF_THEIR_OWN = [
    *(
        "WALG_S3_CA_CERT_FILE",
        "AWS_CONFIG_FILE",
        "AWS_SHARED_CREDENTIALS_FILE",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
    ),
    *(
        "YC_SERVICE_ACCOUNT_KEY_FILE",
        "PGBACKREST_REPO1_STORAGE_CA_FILE",
        "PGBACKREST_REPO1_SFTP_PRIVATE_KEY_FILE",
    ),
    *(
        "POSTGRES_CONF_ssl_cert_file",
        "POSTGRES_CONF_hba_file",
        "POSTGRES_PASSFILE",
        "SSL_CERT_FILE",
        "MY_FILE",
    ),
    *("POSTGRES_INITDB_WALDIR_FILE", "PGDATA_FILE"),
]


@pytest.mark.parametrize("name", OF_THEIR_OWN)
def test_a_name_with_the_suffix_may_be_a_variable_in_its_own_right(name: str) -> None:
    """A variable whose own name ends in `_FILE`, or that nobody here knows, stays as it is."""
    assert Environment({name: "/none"}, ()) == _read(**{name: "/none"})


def test_secrets_of_others_stay_files_without_an_archive() -> None:
    """Without an archive, the cloud's secrets belong to the user's scripts, as in the official image.

    Reading them would hide `X_FILE` from init files and put the secret into the server's environment.
    """
    raw = {"AWS_SECRET_ACCESS_KEY_FILE": "/secret", "SSH_PASSWORD_FILE": "/none"}
    assert Environment(raw, ()) == _read(**raw)


def test_secrets_of_an_archive_come_from_files() -> None:
    """With an archive, the cloud's secrets are read from files."""
    found = _read(ARCHIVE_URL="s3://bucket", AWS_SECRET_ACCESS_KEY_FILE="/secret")
    assert {"ARCHIVE_URL": "s3://bucket", "AWS_SECRET_ACCESS_KEY": "from file"} == found.values


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("ARCHIVE_URI", "ARCHIVE_URL"),
        ("ARCHIVE_ULR_FILE", "ARCHIVE_URL"),
        ("ARCHIVE_TOOLS", "ARCHIVE_TOOL"),
        ("ARCHIVE_TOOL_FILE", "ARCHIVE_TOOL"),
        ("RESTORE_FORM", "RESTORE_FROM"),
        ("STOP_FAST_TIMOUT", "STOP_FAST_TIMEOUT"),
        ("WALG_S3_PERFIX", "WALG_S3_PREFIX"),
        ("PGBACKREST_REPO2_S3_BUKCET", "PGBACKREST_REPO2_S3_BUCKET"),
        ("PGBACKREST_PG_PATH", "PGBACKREST_PG1_PATH"),
        # ends like a name that `docker run --link` sets, but is only misspelt
        ("WALG_DELTA_FORM_NAME", "WALG_DELTA_FROM_NAME"),
    ],
)
def test_a_misspelt_name_is_reported(name: str, meant: str) -> None:
    """The problem names the variable as written, and its hint names the variable that is probably meant."""
    found = _read(WALG_FILE_PREFIX="/archive", **{name: "x"})
    assert [f"unknown variable {name}"] == _whats(found)
    assert f"did you mean {meant}?" == found.problems[0].hint


OUR_NAMES = sorted(
    name for name in variables.table() if name.startswith((*foreign.STRICT_GROUPS, *foreign.OUR_GROUPS))
)


@given(name=st.sampled_from(OUR_NAMES), place=st.integers(0, 30), letter=st.sampled_from("AEX_0"))
def test_any_slip_of_one_letter_is_reported(name: str, place: int, letter: str) -> None:
    """A missing, extra or wrong letter in any of our names is found, and the hint gives the right name."""
    group = name.index("_") + 1
    at = group + place % (len(name) - group)
    for slip in (
        name[:at] + name[at + 1 :],
        name[:at] + letter + name[at:],
        name[:at] + letter + name[at + 1 :],
    ):
        if slip in variables.table() or fields.INJECTED.fullmatch(slip):
            continue
        found = _read(WALG_FILE_PREFIX="/archive", **{slip: "x"})
        assert [f"unknown variable {slip}"] == _whats(found)
        assert f"did you mean {name}?" == found.problems[0].hint


@pytest.mark.parametrize("name", ["ARCHIVE_FLOPPY", "WALG_FLOPPY_DISK_SIZE", "PGBACKREST_XYZZY"])
def test_an_unknown_name_of_a_strict_group_is_reported(name: str) -> None:
    """With an archive, all names of these groups must be known."""
    found = _read(WALG_FILE_PREFIX="/archive", **{name: "x"})
    assert [f"unknown variable {name}"] == _whats(found)
    hint = f"remove {name}; docs/reference/variables.md lists every variable"
    assert (hint, ()) == (found.problems[0].hint, found.warnings)


@pytest.mark.parametrize("name", ["BACKUP_BUCKET", "STATUS_PAGE_TITLE", "RESTORE_POINT_HOOK"])
def test_an_unknown_name_of_a_common_group_is_only_doubtful(name: str) -> None:
    """A user's script may use such a name: a warning mentions it, and the start continues."""
    found = _read(**{name: "x"})
    assert [f"unknown variable {name}"] == [doubt.what for doubt in found.warnings]
    assert () == found.problems


@pytest.mark.parametrize(
    "name",
    ["ARCHIVE_SERVICE_HOST", "WALG_PORT_80_TCP_ADDR", "BACKUP_NAME", "ARCHIVER", "MYARCHIVE_URL", "WALG"],
)
def test_names_of_others_are_left_alone(name: str) -> None:
    """Names that an engine injects, and names that only resemble a group, are no mistakes."""
    assert Environment({name: "x"}, ()) == _read(**{name: "x"})


@pytest.mark.parametrize(
    "names",
    [tuple(variables.table()), tuple(tool_variables.all_like("PGBACKREST_REPO1_PATH"))],
    ids=["ours", "archivers"],
)
def test_every_known_name_is_accepted(names: tuple[str, ...]) -> None:
    """All declared variables and all variables of both archivers pass without a message."""
    raw = dict.fromkeys(names, "x") | {"WALG_FILE_PREFIX": "/archive"}
    assert Environment(raw, ()) == _read(**raw)


@given(st.dictionaries(st.text(min_size=1), st.text()))
def test_other_variables_pass_unchanged(raw: Mapping[str, str]) -> None:
    """Variables that are not ours are passed on unchanged."""
    ours = (*foreign.STRICT_GROUPS, *foreign.OUR_GROUPS, "POSTGRES_", "PG")
    assume(not any(name.startswith(ours) or name.endswith("_FILE") for name in raw))
    assert Environment(dict(raw), ()) == environment.read(raw, _read_file)
