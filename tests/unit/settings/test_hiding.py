"""No part of a secret is ever shown, wherever it is and however it is written."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrypoint.archive import wal_commands
from entrypoint.archivers.known import TOOLS
from entrypoint.archivers.terms import hide_address
from entrypoint.config.complaints import Complaint, problem
from entrypoint.config.sources import Change, Source
from entrypoint.postgres import conninfo
from entrypoint.server.context import server_environment
from entrypoint.settings import loading, variables
from entrypoint.settings.environment import read
from entrypoint.settings.hiding import hide_arguments, hide_secrets, hide_words
from unit import made

MARK = "GEHEIM"
SIGNS = " '\"\\=:@/?&%#;,.$`[]{}()<>|!*~^+-_aB0äß漢"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("host=a password=b", "host=a password=***"),
        ("host=a password = 'b \\' c' user=d", "host=a password = *** user=d"),
        ("host=a password=b'c", "host=a password=***"),
        ("host=a password=b\\ c user=d", "host=a password=*** user=d"),
        ("sslpassword=x host=b", "sslpassword=*** host=b"),
        ("host=a password= user=d", "host=a password= ***"),  # libpq takes "user=d" for the password
        ("host='a' password='b'user=c", "host='a' password=***user=c"),
        ("host=a password='b GEHEIM", "***"),
        ("host=a password=b GEHEIM", "***"),
        ("host=a nosuch=b", "***"),
        ("postgresql://me:secret@host/db", "postgresql://me:***@host/db"),
        (
            "postgres://me@host,[::1]:5433/db?sslpassword=b&sslmode=prefer",
            "postgres://me@host,[::1]:5433/db?sslpassword=***&sslmode=prefer",
        ),
        ("postgres://host/db?user=me&password=b", "postgres://host/db?user=me&password=***"),
        ("postgres://host/db?pass%77ord=b", "postgres://host/db?pass%77ord=***"),
        ("postgres://me:sec@ret@host/db", "***"),
        ("postgres://me:sec/ret@host/db", "***"),
        ("postgres://me:100%@host/db", "***"),
        ("https://me:secret@host/folder?sig=x", "https://host/***"),
        ("https://hooks.example/T0/B0/secret", "https://hooks.example/***"),
        ("work_mem = 4MB", "work_mem = 4MB"),
        ('"$user", public', '"$user", public'),
        ("", ""),
    ],
)
def test_texts(text: str, expected: str) -> None:
    """The secrets in a connection string are hidden; a string that cannot be parsed is hidden completely."""
    assert expected == hide_secrets(text)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("primary_conninfo", "GEHEIM", "***"),
        ("primary_conninfo", "user=a host=/var/run port=5433", "user=a host=/var/run port=5433"),
        ("ssl_passphrase_command", "echo GEHEIM", "echo ***"),
        ("ssl_passphrase_command_supports_reload", "on", "on"),
        ("ssl_key_file", "/etc/key", "/etc/key"),
        ("password_encryption", "scram-sha-256", "scram-sha-256"),
        ("password_encryption", "GEHEIM", "***"),
        ("archive_command", "test ! -f /a/%f && cp '%p' /a/%f", "test ! -f /a/%f && cp '%p' /a/%f"),
        ("archive_command", "curl -u me:GEHEIM https://host -T %p", "curl ***"),
        ("archive_command", "AWS_SECRET_ACCESS_KEY=GEHEIM wal-g wal-push %p", "***"),
        ("archive_command", "wal-g wal-push %p", "wal-g wal-push %p"),
        ("archive_command", "sh -c 'GEHEIM", "***"),
        ("restore_command", "/bin/get --token GEHEIM %f %p", "/bin/get ***"),
        ("archive_cleanup_command", "/bin/clean %r", "/bin/clean %r"),
        ("app.jwt_secret", "GEHEIM", "***"),
        ("pgsodium.getkey_script", "/bin/key", "/bin/key"),
        ("vault.api_key", "GEHEIM", "***"),
        ("app.token", "GEHEIM", "***"),
        ("app.settings", '{"password": "GEHEIM"}', "***"),
        ("app.dsn", "GEHEIM", "***"),
        ("pg_net.url", "https://me:GEHEIM@host/x", "https://host/***"),
        ("tcp_keepalives_idle", "60", "60"),
        ("authentication_timeout", "60", "60"),
        ("log_line_prefix", "%t user=%u,db=%d,app=%a ", "%t user=%u,db=%d,app=%a "),
        ("cluster_name", "main", "main"),
    ],
)
def test_settings(name: str, text: str, expected: str) -> None:
    """A setting's name decides how its value is shown; of a command, only the program is shown."""
    assert expected == hide_secrets(text, name)


def _quoted(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _encoded(value: str) -> str:
    return "".join(f"%{byte:02X}" for byte in value.encode())


secrets = st.text(SIGNS, max_size=6).map(lambda text: f"{text}{MARK}{text[::-1]}")
names = st.sampled_from(["password", "sslpassword", "oauth_client_secret", "scram_client_key", "options"])
plain = st.sampled_from(["host=db", "port = 5432", "user='me'", "sslmode=require", "application_name=a"])


@given(secret=secrets, name=names, before=st.lists(plain), after=st.lists(plain), cut=st.integers(0, 3))
def test_pairs(secret: str, name: str, before: list[str], after: list[str], cut: int) -> None:
    """However a secret is quoted, and wherever a quote is missing, no part of the secret is shown."""
    right = " ".join([*before, f"{name}={_quoted(secret)}", *after])
    assert (name, secret) in {(part.name, part.value) for part in conninfo.parse(right)}
    for value in (
        _quoted(secret),
        secret,
        f"'{secret}",
        f"{secret}'",
        _quoted(secret)[: -1 - cut],
        f'"{secret}"',
    ):
        text = " ".join([*before, f"{name}={value}", *after])
        assert MARK not in hide_secrets(text, "primary_conninfo")
        assert MARK not in hide_secrets(text)


@given(
    secret=secrets,
    user=st.sampled_from(["", "me"]),
    rest=st.sampled_from(["", "/db", "/db?sslmode=prefer", ":5433"]),
)
def test_uris(secret: str, user: str, rest: str) -> None:
    """A password in a URI is hidden, percent-encoded or not, before the @ and after the ?."""
    right = f"postgres://{user}:{_encoded(secret)}@db{rest}"
    assert ("password", secret) in {(part.name, part.value) for part in conninfo.parse(right)}
    query = "&" if "?" in rest else "?"
    for value in (_encoded(secret), secret):
        for text in (f"postgres://{user}:{value}@db{rest}", f"postgresql://db{rest}{query}password={value}"):
            shown = hide_secrets(text, "primary_conninfo")
            assert MARK not in shown
            assert _encoded(MARK) not in shown


@given(secret=secrets, name=st.sampled_from(["archive_command", "restore_command", "ssl_passphrase_command"]))
def test_commands(secret: str, name: str) -> None:
    """Only the program of a command is shown, unless all its words are known to be harmless."""
    for text in (
        f"wal-g --key '{secret}' %p",
        f"KEY={secret} wal-g",
        f"curl -u a:{secret} https://h",
        f"echo {secret}",
    ):
        if "/" not in secret:  # a path is shown if all words are paths
            assert MARK not in hide_secrets(text, name)


@given(secret=secrets, scheme=st.sampled_from(["s3", "ssh", "gs", "azure"]))
def test_addresses(secret: str, scheme: str) -> None:
    """The place of an archive is shown without user, password and query."""
    for text in (f"{scheme}://me:{secret}@host/a", f"{scheme}://host/a?sig={secret}", f"{secret}"):
        assert MARK not in hide_address(text)


def test_our_own_commands_are_shown(tmp_path: str) -> None:
    """The commands that the entrypoint itself sets contain no secret, and people look for them."""
    for tool in TOOLS:
        given_ = made.settings({"ARCHIVE_URL": "file:///archive", "ARCHIVE_TOOL": tool})
        assert given_.archive is not None
        for command in (wal_commands.archive_command, wal_commands.restore_command):
            text = command(given_.archive, made.SERVER, "/bin")
            assert text == hide_secrets(text, "archive_command")


def test_messages_of_the_server() -> None:
    """The parts of a bad value or line that PostgreSQL repeats are hidden too."""
    said = Complaint("password_encryption", 'invalid value for parameter "password_encryption": "GEHEIM"', "")
    source = Source("password_encryption", "GEHEIM", "variable", "POSTGRES_CONF_password_encryption")
    assert MARK not in problem(source, said, []).what
    assert 'line 3, near token "***"' == hide_words('line 3, near token "GEH"EIM"')
    assert "x *** y" == hide_words(
        "x host=GEHEIM y", [("primary_conninfo", "host=GEHEIM"), ("app.key", "host=GEHEIM")]
    )
    change = Change("app.key", "GEHEIM1", "GEHEIM2", restart=False, where="")
    assert ("***", "***") == change.hidden()[1:3]
    assert "-c app.key=*** --app-token=*** -C port" == hide_arguments(
        ["-c", "app.key=GEHEIM", "--app-token=GEHEIM", "-C", "port"]
    ).replace("'", "")


def _reader(value: str) -> Callable[[str], str]:
    """Return a reader that knows only `/file`."""

    def read_file(path: str) -> str:
        if path != "/file":
            raise FileNotFoundError(2, "No such file or directory")
        return value

    return read_file


@pytest.mark.parametrize("switch", [{}, {"STANDBY": "on"}, {"RESTORE_FROM": "LATEST"}])
@pytest.mark.parametrize(
    "value", ["GEHEIM", "s3://AKIA:GEHEIM@bucket/x", "user=a GEHEIM", "GEH\nEIM", "/GEHEIM ?", "GEHEIM://@"]
)
def test_no_mistake_repeats_a_hidden_value(value: str, switch: dict[str, str]) -> None:
    """No message about a variable that may hold a secret repeats any part of its value."""
    names_ = [name for name, variable in variables.table().items() if variable.hidden]
    names_ += [
        "WALG_S3_PREFIX",
        "WALG_FILE_PREFIX",
        "WALG_SSH_PREFIX",
        "WALG_COMPRESSION_METHOD",
        "WALG_LIBSODIUM_KEY",
    ]
    names_ += ["PGBACKREST_REPO1_PATH", "PGBACKREST_REPO1_CIPHER_PASS", "PGBACKREST_STANZA"]
    names_ += ["POSTGRES_CONF_primary_conninfo", "POSTGRES_CONF_ssl_passphrase_command"]
    for name in [*names_, *(f"RESTORE_{each}" for each in names_)]:
        for given_ in ({name: value}, {f"{name}_FILE": value}, {f"{name}_FILE": "/file"}):
            found = read({"PGDATA": "/data", **switch, **given_}, _reader(value))
            made_, problems = loading.load(found.values, (), dict.fromkeys(TOOLS, True))
            told = [f"{each.what} {each.hint}" for each in (*found.problems, *found.warnings, *problems)]
            told += [
                each.storage.url
                for each in (made_.archive, made_.source)
                if each is not None and not each.storage.folder
            ]
            if value != "/GEHEIM ?":
                assert [] == [text for text in told if "GEH" in text or "EIM" in text], name


ENVIRONMENT = {
    "PATH": "/bin",
    "LANG": "C",
    "LC_CTYPE": "C",
    "PGDATA": "/data",
    "PGSSLROOTCERT": "/ca",
    "MY_VARIABLE": "mine",
    "SOME_TOKEN": "GEHEIM",
    "AWS_SECRET_ACCESS_KEY": "GEHEIM",
    "WALG_LIBSODIUM_KEY": "GEHEIM",
    "PGBACKREST_REPO1_CIPHER_PASS": "GEHEIM",
    "HTTPS_PROXY": "http://me:GEHEIM@proxy",
    "no_proxy": "localhost",
    "POSTGRES_PASSWORD": "GEHEIM",
    "PGPASSWORD": "GEHEIM",
    "RESTORE_AWS_SECRET_ACCESS_KEY": "GEHEIM",
    "STANDBY_PRIMARY_CONNINFO": "GEHEIM",
}
NEEDED = ["PATH", "LANG", "LC_CTYPE", "PGDATA", "PGSSLROOTCERT", "no_proxy"]


@pytest.mark.parametrize(
    ("values", "arguments", "expected"),
    [
        ({"ARCHIVE_URL": "file:///a"}, (), NEEDED),
        ({"RESTORE_ARCHIVE_URL": "file:///a", "RESTORE_FROM": "LATEST"}, (), NEEDED),
        (
            {"ARCHIVE_URL": "file:///a", "POSTGRES_ENVIRONMENT": "MY_* PGPASSWORD"},
            (),
            [*NEEDED, "MY_VARIABLE", "PGPASSWORD"],
        ),
        ({"ARCHIVE_URL": "file:///a", "POSTGRES_ENVIRONMENT": "*"}, (), [*ENVIRONMENT][:12]),
        ({}, (), [*ENVIRONMENT][:12]),
        ({"POSTGRES_ENVIRONMENT": "PGPASSWORD,POSTGRES_PASSWORD"}, (), [*[*ENVIRONMENT][:12], "PGPASSWORD"]),
        ({"ARCHIVE_URL": "file:///a"}, ("-c", "archive_command=mine"), [*ENVIRONMENT][:12]),
    ],
)
def test_environment_of_the_server(
    values: dict[str, str], arguments: tuple[str, ...], expected: list[str]
) -> None:
    """With an archive the server gets only what it needs, else the same as in the official image."""
    found = server_environment(made.settings(values, arguments), ENVIRONMENT)
    assert set(expected) == set(found)
