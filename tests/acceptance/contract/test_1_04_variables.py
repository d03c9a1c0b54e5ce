"""Row 1.4 of the contract: the effect of each variable at a first start."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from containers import FRESH, LOOK_INSIDE, Container, File, Files, create, in_volume, run, serve

FILE_VARIABLES = ("POSTGRES_PASSWORD", "POSTGRES_USER", "POSTGRES_DB", "POSTGRES_INITDB_ARGS")

WHERE = "CREATE TABLE place AS SELECT current_user AS who, current_database() AS what;"

USER = "app user"
DATABASE = "app \"quoted\" 'db'; --"
INITDB_ARGS = (
    """--no-sync --wal-segsize=$((2 * 4)) --locale="C.UTF-8" --lc-messages="$MESSAGES" -E "$(echo UTF8)" -k"""
)

SHOW_ENVIRONMENT = File("#!/bin/bash\nenv --null > /tmp/environment\n", 0o755)


def environment_of_init_files(container: Container) -> dict[str, str]:
    """The environment that the executed init file has written to a file."""
    raw = container.shell("tr '\\0' '\\1' < /tmp/environment")
    return dict(entry.split("=", 1) for entry in raw.split("\1") if "=" in entry)


def tcp_login(container: Container, password: str, user: str = "postgres") -> bool:
    """Whether the password works for a connection from outside."""
    asked = ("psql", "-w", "-h", container.address, "-U", user, "-d", "postgres", "-c", "SELECT 1")
    return (
        container.exec(*asked, env={"PGPASSWORD": password, "PGPORT": "", "PGHOSTADDR": ""}, check=False).code
        == 0
    )


@pytest.fixture(scope="module")
def filed() -> Iterator[Container]:
    """The started server."""
    env = {
        "POSTGRES_PASSWORD": "",
        "POSTGRES_PASSWORD_FILE": "/secrets/password",
        "POSTGRES_USER_FILE": "/secrets/user",
        "POSTGRES_DB_FILE": "/secrets/database",
        "POSTGRES_INITDB_ARGS_FILE": "/secrets/initdb args",
        "MESSAGES": "C",
    }
    files: Files = {
        "/secrets/password": File(" pass word'\"$\n\n\n", 0o400),
        "/secrets/user": f"{USER}\n",
        "/secrets/database": f"{DATABASE}\n\n",
        "/secrets/initdb args": f"{INITDB_ARGS}\n",
        "/docker-entrypoint-initdb.d/environment.sh": SHOW_ENVIRONMENT,
    }
    with serve(env=env, files=files, options=LOOK_INSIDE) as container:
        yield container


def test_password_that_only_root_can_read(filed: Container) -> None:
    """A secret that only root can read works, and loses only its trailing newlines."""
    assert tcp_login(filed, " pass word'\"$", USER)
    assert not tcp_login(filed, "wrong", USER)


def test_user_replaces_the_default_superuser(filed: Container) -> None:
    """That user is the only role that can log in; there is no `postgres`."""
    query = "SELECT rolname, rolsuper FROM pg_roles WHERE rolname !~ '^pg_'"
    assert f"{USER}|t" == filed.sql(query, user=USER, database="postgres")


def test_database_with_any_characters(filed: Container) -> None:
    """Quotes, blanks and text that looks like SQL are part of the name."""
    query = "SELECT datname FROM pg_database WHERE datname NOT IN ('postgres', 'template0', 'template1')"
    assert DATABASE == filed.sql(query, user=USER, database="postgres")


def test_arguments_of_initdb_are_evaluated(filed: Container) -> None:
    """The shell evaluates quotes, variables, commands and arithmetic in them."""
    query = (
        "SELECT current_setting('wal_segment_size'), datcollate, "
        "current_setting('lc_messages'), current_setting('data_checksums') "
        "FROM pg_database WHERE datname = 'template1'"
    )
    assert "8MB|C.UTF-8|C|on" == filed.sql(query, user=USER, database="postgres")


def test_values_are_exported_and_the_file_variables_are_gone(filed: Container) -> None:
    """Init files see the values themselves."""
    seen = environment_of_init_files(filed)
    expected = {
        "POSTGRES_PASSWORD": " pass word'\"$",
        "POSTGRES_USER": USER,
        "POSTGRES_DB": DATABASE,
        "POSTGRES_INITDB_ARGS": INITDB_ARGS,
    }
    assert expected == {name: seen[name] for name in expected}
    assert not [name for name in seen if name.startswith("POSTGRES_") and name.endswith("_FILE")]


@pytest.mark.parametrize("variable", FILE_VARIABLES)
def test_both_forms_are_an_error(variable: str) -> None:
    """A variable and its file form exclude each other, even when they agree."""
    env = {**FRESH, variable: "same", f"{variable}_FILE": "/given"}
    outcome = run(env=env, files={"/given": "same"})
    assert (1, True) == (outcome.code, f"both {variable} and {variable}_FILE are set" in outcome.stderr)


@pytest.mark.parametrize("variable", FILE_VARIABLES)
def test_missing_file_is_an_error(variable: str) -> None:
    """If the file does not exist, the start fails and the message names the file."""
    env = {**FRESH, variable: "", f"{variable}_FILE": "/no/such/file"}
    outcome = run(env=env)
    assert (1, True) == (outcome.code, "/no/such/file" in outcome.stderr)


def test_root_only_secret_is_out_of_reach_of_another_user() -> None:
    """With `--user`, that user must be able to read the file; initdb does not run."""
    env = {"POSTGRES_PASSWORD_FILE": "/secret", "PGDATA": "/tmp/data"}
    with create(
        env=env, files={"/secret": File("secret", 0o400)}, options=("--user", "postgres")
    ) as container:
        outcome = container.finish()
        assert (1, True) == (outcome.code, "/secret" in outcome.stderr)
        assert not [change for change in container.changes() if "PG_VERSION" in change]


@pytest.mark.parametrize(
    "env",
    [
        {},
        {"POSTGRES_PASSWORD": ""},
        {"POSTGRES_PASSWORD": "", "POSTGRES_PASSWORD_FILE": ""},
        {"POSTGRES_PASSWORD_FILE": "/empty"},
        {"POSTGRES_HOST_AUTH_METHOD": "md5"},
        {"PGPASSWORD": "secret"},
    ],
)
def test_missing_password_is_an_error(env: dict[str, str]) -> None:
    """Without a password nothing is initialized, unless the method is trust; the message names both."""
    outcome = run(env=env, files={"/empty": "\n"})
    assert (1, True, True) == (
        outcome.code,
        "POSTGRES_PASSWORD" in outcome.stderr,
        "POSTGRES_HOST_AUTH_METHOD=trust" in outcome.stderr,
    )


@pytest.fixture(scope="module")
def foreign() -> Iterator[Container]:
    """The started server."""
    env = {
        **FRESH,
        "POSTGRES_PASSWORD": "first\nsecond",
        "POSTGRES_DB": "postgres",
        "POSTGRES_INITDB_XLOGDIR": "/nowhere/xlog",
        "PGPORT": "6543",
        "PGUSER": "stranger",
        "PGDATABASE": "nowhere",
        "PGHOST": "nowhere.invalid",
        "PGHOSTADDR": "192.0.2.1",
        "NOTIFY_SOCKET": "/tmp/notify",
        "LANG": "C.UTF-8",
    }
    files: Files = {
        "/docker-entrypoint-initdb.d/environment.sh": SHOW_ENVIRONMENT,
        "/docker-entrypoint-initdb.d/temporary.sh": File(
            'cat /proc/$(head -n 1 "$PGDATA/postmaster.pid")/environ > /tmp/temporary\n'
        ),
        "/docker-entrypoint-initdb.d/where.sql": WHERE,
    }
    with serve(env=env, files=files, options=LOOK_INSIDE) as container:
        yield container


def test_sql_files_go_to_our_user_and_database(foreign: Container) -> None:
    """PGUSER, PGDATABASE, PGHOST and PGHOSTADDR do not disturb the entrypoint's own client."""
    assert "postgres|postgres" == foreign.sql("SELECT * FROM place")


def test_database_may_exist(foreign: Container) -> None:
    """POSTGRES_DB may name a database that initdb creates."""
    assert "1" == foreign.sql("SELECT count(*) FROM pg_database WHERE datname = 'postgres'")
    assert "CREATE DATABASE" not in foreign.logs().stdout


def test_port(foreign: Container) -> None:
    """The server listens on PGPORT."""
    assert "6543|environment variable" == foreign.sql(
        "SELECT setting, source FROM pg_settings WHERE name = 'port'"
    )


def test_first_line_of_the_password_counts(foreign: Container) -> None:
    """Initdb reads only one line."""
    login = ("psql", "-w", "-h", foreign.address, "-U", "postgres", "-d", "postgres", "-c", "SELECT 1")
    own = {"PGHOSTADDR": "", "PGPASSWORD": "first"}
    assert [0, 2] == [
        foreign.exec(*login, env={**own, "PGPASSWORD": word}, check=False).code
        for word in ("first", "second")
    ]


def test_scripts_inherit_the_host(foreign: Container) -> None:
    """Scripts get the deployment's variables, including the whole password."""
    expected = {
        "PGHOST": "nowhere.invalid",
        "PGHOSTADDR": "192.0.2.1",
        "PGUSER": "stranger",
        "PGPASSWORD": "first\nsecond",
        "NOTIFY_SOCKET": "/tmp/notify",
    }
    seen = environment_of_init_files(foreign)
    assert expected == {name: seen.get(name) for name in expected}


def test_temporary_server_must_not_notify(foreign: Container) -> None:
    """The temporary server has no NOTIFY_SOCKET; the real server has it."""
    temporary = foreign.shell("tr '\\0' '\\n' < /tmp/temporary").splitlines()
    assert {"NOTIFY_SOCKET="} >= {line for line in temporary if line.startswith("NOTIFY_SOCKET")}
    assert "/tmp/notify" == foreign.environ(foreign.postmaster())["NOTIFY_SOCKET"]


def test_locale_of_the_environment(foreign: Container) -> None:
    """Initdb takes the locale from LANG."""
    assert "C.UTF-8" == foreign.sql("SELECT datcollate FROM pg_database WHERE datname = 'template1'")


def test_default_locale(server: Container) -> None:
    """By default a cluster is American English in UTF-8."""
    columns = "datcollate, datctype, pg_encoding_to_char(encoding)"
    query = f"SELECT {columns} FROM pg_database WHERE datname = 'postgres'"
    assert "en_US.utf8|en_US.utf8|UTF8" == server.sql(query)


def test_default_user_and_database(server: Container) -> None:
    """By default both have the name postgres."""
    assert "postgres|postgres|t" == server.sql(
        "SELECT current_user, current_database(), rolsuper FROM pg_roles WHERE rolname = current_user"
    )


def test_database_has_the_name_of_the_user_and_commas_are_no_list() -> None:
    """POSTGRES_DB defaults to POSTGRES_USER, whatever characters the name has."""
    with serve(env={**FRESH, "POSTGRES_USER": "one,two"}) as container:
        assert "one,two|one,two" == container.sql("SELECT current_user, current_database()", user="one,two")


def test_name_that_initdb_rejects() -> None:
    """Names beginning with `pg_` belong to the server."""
    outcome = run(env={**FRESH, "POSTGRES_USER": "pg_mine"})
    assert (1, True) == (outcome.code, "pg_mine" in outcome.stderr)


def test_wal_folder(volume: str) -> None:
    """Each start creates it with the right owner and mode; it overrides `--waldir` in the arguments."""
    env = {
        **FRESH,
        "POSTGRES_INITDB_ARGS": "--no-sync --waldir=/volume/ignored",
        "POSTGRES_INITDB_WALDIR": "/volume/deep/wal",
        "PGDATA": "/volume/data",
    }
    with serve(env=env, volumes={"/volume": volume}) as container:
        look = 'readlink "$PGDATA/pg_wal"; stat --format "%a %U" /volume/deep/wal; find /volume -name ignored'
        assert ["/volume/deep/wal", "700 postgres"] == container.shell(look).splitlines()
        container.shell("chmod 755 /volume/deep/wal && chown 4242 /volume/deep/wal/*")
        container.stop()
        container.again()
        assert ["/volume/deep/wal", "700 postgres"] == container.shell(look).splitlines()
        assert "postgres" == container.shell("stat --format %U /volume/deep/wal/* | sort --unique")


def test_wal_folder_that_cannot_be_made(used_volume: str) -> None:
    """The failure ends every start, even that of an existing cluster."""
    env = {"POSTGRES_INITDB_WALDIR": "/proc/wal", "PGDATA": "/volume/data"}
    outcome = run(env=env, volumes={"/volume": used_volume})
    assert (1, True) == (outcome.code, "/proc/wal" in outcome.stderr)


def test_no_file_form() -> None:
    """Neither this variable nor the authentication method can come from a file; such names are not read."""
    env = {**FRESH, "POSTGRES_INITDB_WALDIR_FILE": "/no/such", "POSTGRES_HOST_AUTH_METHOD_FILE": "/no/such"}
    with serve(env=env) as container:
        assert "scram-sha-256" == container.sql(
            "SELECT auth_method FROM pg_hba_file_rules WHERE address = 'all'"
        )
        assert "directory" == container.shell('stat --format %F "$PGDATA/pg_wal"')


def test_default_is_how_passwords_are_stored(server: Container) -> None:
    """The line for all hosts comes last, after an empty line."""
    assert ["", "host all all all scram-sha-256"] == server.shell(
        'tail -n 2 "$PGDATA/pg_hba.conf"; echo .'
    ).splitlines()[:-1]


def test_local_connections_need_no_password(server: Container) -> None:
    """Socket and loopback are trusted; every other address needs the password."""
    assert "1" == server.sql("SELECT 1")
    assert "1" == server.sql("SELECT 1", host="127.0.0.1")
    assert [False, True] == [tcp_login(server, word) for word in ("wrong", "secret")]


def test_no_line_for_replication(server: Container) -> None:
    """Replication from outside is up to the deployment."""
    query = "SELECT count(*) FROM pg_hba_file_rules WHERE 'replication' = ANY(database) AND address = 'all'"
    assert "0" == server.sql(query)


def test_method_follows_the_arguments_of_the_server() -> None:
    """`-c password_encryption=md5` makes the method md5."""
    with serve("-c", "password_encryption=md5") as container:
        assert "host all all all md5" == container.shell('tail -n 1 "$PGDATA/pg_hba.conf"')


def test_method_follows_initdb_and_password_is_used_locally() -> None:
    """`--auth=md5` makes the method md5; the start then uses the password for its local connections."""
    env = {**FRESH, "POSTGRES_INITDB_ARGS": "--no-sync --auth=md5", "POSTGRES_DB": "made"}
    with serve(
        env=env, files={"/docker-entrypoint-initdb.d/1.sql": "CREATE TABLE made (a int);"}
    ) as container:
        assert "host all all all md5" == container.shell('tail -n 1 "$PGDATA/pg_hba.conf"')
        assert "0" == container.sql("SELECT count(*) FROM made", database="made", password="secret")


def test_method_with_options() -> None:
    """The text after the method's name is part of the line."""
    method = "ldap ldapserver=ldap.invalid ldapprefix=x"
    with serve(env={**FRESH, "POSTGRES_HOST_AUTH_METHOD": method}) as container:
        assert f"host all all all {method}" == container.shell('tail -n 1 "$PGDATA/pg_hba.conf"')


REPLICA = "host replication all 0.0.0.0/0 md5"


@pytest.mark.parametrize(
    ("method", "rules"),
    [
        # the most copied replica on the web
        (f"scram-sha-256\n{REPLICA}", ["scram-sha-256", "md5"]),
        (f"md5\n# for the replica\n\n{REPLICA}\n", ["md5", "md5"]),
        ('"scram-sha-256"', ["scram-sha-256"]),
        ("ident map=users\nlocal all all reject", ["ident", "reject"]),
    ],
    ids=["a second line", "a comment", "quotes", "options"],
)
def test_method_is_text_for_the_file(method: str, rules: list[str]) -> None:
    """Everything that the server accepts there is accepted: further lines, comments, quotes, options."""
    with serve(env={**FRESH, "POSTGRES_HOST_AUTH_METHOD": method}) as container:
        text = container.shell('cat "$PGDATA/pg_hba.conf"')
        assert text.endswith(f"host all all all {method}".rstrip("\n"))
        found = container.exec(
            *("psql", "-XAtqU", "postgres", "-h", "/var/run/postgresql", "-c"),
            "SELECT auth_method FROM pg_hba_file_rules ORDER BY line_number",
        )
        if "local all all reject" not in method:
            assert rules == found.stdout.splitlines()[-len(rules) :]


@pytest.mark.better
@pytest.mark.parametrize(
    ("method", "words"),
    [
        ("md5 nosuch=1", "line 1: unrecognized authentication option name"),
        ("md5\nhost all all geheim.invalid/33 md5", "line 2: "),
        ("ldap ldapserver=x", "ldapbasedn"),
        ("md5\nbogus", "line 2: invalid connection type"),
    ],
)
def test_method_that_the_server_rejects_is_refused(method: str, words: str, volume: str) -> None:
    """The server's own parser gives the reason, and the volume stays empty."""
    env = {**FRESH, "PGDATA": "/volume", "POSTGRES_HOST_AUTH_METHOD": method}
    outcome = run(env=env, volumes={"/volume": volume})
    assert (1, True, True) == (
        outcome.code,
        "the server does not accept POSTGRES_HOST_AUTH_METHOD" in outcome.stderr,
        words in outcome.stderr,
    )
    assert "geheim" not in outcome.output
    assert "" == in_volume(volume, "ls -A")


def test_trust_needs_no_password_and_warns() -> None:
    """Trust starts without a password, with a warning on stderr and two comments in the file."""
    env = {"POSTGRES_HOST_AUTH_METHOD": "trust", "POSTGRES_INITDB_ARGS": "--no-sync"}
    with serve(env=env) as container:
        empty, *comments, line = container.shell('tail -n 4 "$PGDATA/pg_hba.conf"').splitlines() or [""]
        assert ("", "##", "host all all all trust") == (
            empty,
            "".join(comment[0] for comment in comments),
            line,
        )
        assert tcp_login(container, "")
        warning = container.logs().stderr
        assert 'POSTGRES_HOST_AUTH_METHOD has been set to "trust"' in warning


def test_preset_client_password_wins() -> None:
    """A wrong PGPASSWORD cannot log in if local connections need a password: psql's exit code."""
    env = {
        **FRESH,
        "POSTGRES_DB": "app",
        "POSTGRES_INITDB_ARGS": "--no-sync --auth-local=scram-sha-256",
        "PGPASSWORD": "wrong",
    }
    outcome = run(env=env)
    assert (2, True) == (outcome.code, "password authentication failed" in outcome.stderr)


def test_another_data_folder(volume: str) -> None:
    """Any folder is accepted; its parents are created."""
    with serve(env={**FRESH, "PGDATA": "/volume/a/b c/data"}, volumes={"/volume": volume}) as container:
        assert "/volume/a/b c/data" == container.sql("SHOW data_directory")


def test_empty_version_file_is_no_database(volume: str) -> None:
    """The folder is not empty, so no cluster is initialized in it."""
    in_volume(volume, "mkdir data && touch data/PG_VERSION")
    outcome = run(env={**FRESH, "PGDATA": "/volume/data"}, volumes={"/volume": volume})
    assert 1 == outcome.code
    assert "data/PG_VERSION" == in_volume(volume, "find data -type f")


def test_time_that_pg_ctl_waits() -> None:
    """PGCTLTIMEOUT limits the temporary server; if it is too short, the start fails."""
    outcome = run(env={**FRESH, "PGCTLTIMEOUT": "0"})
    assert 1 == outcome.code
