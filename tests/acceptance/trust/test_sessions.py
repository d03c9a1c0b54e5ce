"""Objects in a database and variables in the environment cannot control the entrypoint's own sessions."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator

import pytest

import containers
from containers import FRESH, Container, Files, serve, until

TOOLS = ("pgbackrest", pytest.param("wal-g", marks=pytest.mark.walg))
LOCAL_PASSWORD = "--no-sync --auth-local=scram-sha-256"
PASSWORD = 'it\'s: a \\ "pass:word" \u00e4'
IS_SUPERUSER = "SELECT rolsuper FROM pg_roles WHERE rolname = 'app'"
PLACE = "SELECT nspname FROM pg_extension JOIN pg_namespace n ON n.oid = extnamespace WHERE extname = '{}'"
VERSION = "SELECT extversion = default_version FROM pg_extension JOIN pg_available_extensions ON name = extname WHERE name = 'hstore'"

ODD_NAMES = (
    "host=192.0.2.1 dbname=x",
    "tenant=42",
    "postgresql://192.0.2.1/x",
    'it\'s = \\"odd"',
    "new\nline=\u2028",
)

#: Variables that would disturb a client that obeys them, as the client of init files does.
STRANGE = {
    "PGOPTIONS": "-c search_path=nowhere -c statement_timeout=5min",
    "PGHOSTADDR": "192.0.2.1",
    "PGSSLMODE": "verify-full",
    "PGTARGETSESSIONATTRS": "standby",
    "PGCHANNELBINDING": "require",
    "PGREQUIREPEER": "nobody",
    "PGCLIENTENCODING": "LATIN1",
    "PGSYSCONFDIR": "/strange",
    "PGSERVICEFILE": "/strange/pg_service.conf",
}

#: Traps in every database of a stranger: a session that calls one by its plain name makes the stranger a superuser.
TRAPS = r"""
CREATE FUNCTION public.pwn() RETURNS void LANGUAGE plpgsql AS $$ BEGIN
    IF current_setting('is_superuser') = 'on' THEN EXECUTE 'ALTER ROLE app SUPERUSER'; END IF; END $$;
CREATE FUNCTION public.step(text, name) RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM public.pwn(); RETURN '["hstore"]'; END $$;
CREATE FUNCTION public.step(text, json) RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM public.pwn(); RETURN '[]'; END $$;
CREATE FUNCTION public.step(text, text, json) RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM public.pwn(); RETURN '{}'; END $$;
CREATE AGGREGATE public.json_agg(name) (SFUNC = public.step, STYPE = text);
CREATE AGGREGATE public.json_agg(json) (SFUNC = public.step, STYPE = text);
CREATE AGGREGATE public.json_object_agg(text, json) (SFUNC = public.step, STYPE = text);
CREATE FUNCTION public.json_build_object(text, text, text, text, text, int) RETURNS json LANGUAGE plpgsql
    AS $$ BEGIN PERFORM public.pwn(); RETURN '{}'; END $$;
CREATE FUNCTION public.json_build_object(text, json, text, text, text, text) RETURNS json LANGUAGE plpgsql
    AS $$ BEGIN PERFORM public.pwn(); RETURN '{}'; END $$;
CREATE FUNCTION public.same(name, text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM public.pwn(); RETURN true; END $$;
CREATE OPERATOR public.= (LEFTARG = name, RIGHTARG = text, FUNCTION = public.same);
"""

#: Settings that the owner of a database may make for it.
SETTINGS = (
    "statement_timeout = 1",
    "lock_timeout = 1",
    "idle_in_transaction_session_timeout = 1",
    "role = 'app'",
    "client_min_messages = debug5",
    "default_transaction_read_only = on",
    "default_transaction_isolation = 'serializable'",
    "search_path = evil, public",
    "local_preload_libraries = 'nosuch'",
    "quote_all_identifiers = on",
    "exit_on_error = on",
    "plpgsql.extra_errors = 'all'",
    "password_encryption = 'md5'",
)


def _settings(database: str) -> str:
    """Return the statements that make all settings; plpgsql's can be set once plpgsql is loaded."""
    return "DO $$ BEGIN NULL; END $$;" + "".join(
        f"ALTER DATABASE {database} SET {each};" for each in SETTINGS
    )


def _ask(
    container: Container, text: str, user: str = "postgres", database: str = "postgres", options: str = ""
) -> str:
    """Return a database's answer to a client without any of the strange variables."""
    place = "dbname='" + database.replace("\\", "\\\\").replace("'", "\\'") + "'"
    argv = ("psql", "-XAtqU", user, "-v", "ON_ERROR_STOP=1", "-d", place)
    clean = [word for name in STRANGE for word in ("--unset", name)]
    # PGCLIENTENCODING is also the server's default.
    asked = container.exec("env", *clean, "PGCLIENTENCODING=UTF8", f"PGOPTIONS={options}", *argv, stdin=text)
    return asked.stdout.strip()


@pytest.fixture(scope="module")
def besieged() -> Iterator[Container]:
    """Yield a server before the attacks of a database owner."""
    env = {
        **FRESH,
        **STRANGE,
        "POSTGRES_DB": "app",
        "POSTGRES_EXTENSIONS": "hstore",
        "POSTGRES_EXTENSIONS_UPDATE": "on",
        "POSTGRES_CONF_work_mem": "8MB",
    }
    files: Files = {
        "/var/lib/postgresql/.psqlrc": "\\! touch /tmp/psqlrc\n",
        "/docker-entrypoint-conf.d/own.conf": "maintenance_work_mem = 70MB\n",
    }
    with serve(env=env, files=files) as container:
        until(lambda: container.exec("entrypoint", "ready", check=False).code == 0, "ready")
        yield container


@pytest.fixture(scope="module")
def attacked(besieged: Container) -> Container:
    """Return the server after the attacks and a restart."""
    box = besieged

    def ask(text: str, user: str = "postgres", database: str = "postgres") -> None:
        _ask(box, text, user, database)

    ask(
        "CREATE ROLE app LOGIN CREATEDB; ALTER DATABASE app OWNER TO app; GRANT CREATE ON SCHEMA public TO PUBLIC"
    )
    for name in ODD_NAMES:
        quoted = '"' + name.replace('"', '""') + '"'
        ask(f"CREATE DATABASE {quoted} TEMPLATE template0", "app")
        ask("CREATE EXTENSION hstore VERSION '1.4'", database=name)
        ask(f"CREATE SCHEMA evil; {TRAPS}", "app", name)
        ask(_settings(quoted), "app")
    ask(TRAPS, "app")
    ask("CREATE SCHEMA evil", "app", "app")
    ask(TRAPS, "app", "app")
    ask(_settings("app"), "app")
    ask("DROP EXTENSION hstore", database="template1")
    ask(
        "ALTER ROLE postgres IN DATABASE template1 SET search_path = pg_catalog; CREATE DATABASE gone; CREATE DATABASE closed"
    )
    ask(
        "UPDATE pg_database SET datconnlimit = -2 WHERE datname = 'gone'; ALTER DATABASE closed ALLOW_CONNECTIONS false"
    )
    if int(box.shell('cat "$PGDATA/PG_VERSION"')) >= 15:
        ask("UPDATE pg_database SET datcollversion = '1.0' WHERE datcollversion IS NOT NULL")
    box.shell("rm -f /tmp/psqlrc", user="0")
    assert 0 == box.stop()
    box.begin()
    until(lambda: not box.running or box.exec("entrypoint", "ready", check=False).code == 0, "ready", 60)
    assert box.running, box.logs().output
    return box


def _is_superuser(container: Container) -> bool:
    return _ask(container, IS_SUPERUSER, database="template1") == "t"


def _asked(container: Container, database: str, text: str) -> str:
    options = "-c role=none -c local_preload_libraries= -c statement_timeout=0 -c client_min_messages=error"
    return _ask(container, text, database=database, options=options)


def test_a_start_obeys_no_database_owner(attacked: Container) -> None:
    """A start checks and updates extensions and compares the password; nobody becomes a superuser, nothing breaks."""
    output = attacked.logs().output
    assert "Traceback" not in output
    assert not _is_superuser(attacked)
    assert "cannot compare POSTGRES_PASSWORD" not in output
    for name in ODD_NAMES:
        assert "t" == _asked(attacked, name, VERSION), name
    assert "cannot update the extensions in gone: it does not accept connections" in output
    assert "cannot update the extensions in closed: it does not accept connections" in output
    assert "" == attacked.shell("ls /tmp/psqlrc 2> /dev/null || true", user="0")


def test_extensions_are_where_they_belong(attacked: Container) -> None:
    """They are in public, whatever the search_path of the database or the role is."""
    assert "public" == _asked(attacked, "app", PLACE.format("hstore"))
    assert "public" == _asked(attacked, "template1", PLACE.format("hstore"))


def test_commands_and_signals_obey_no_database_owner(attacked: Container) -> None:
    """Commands on a running server get their answers, in spite of warnings at each connection."""
    for command in (("config", "diff"), ("config", "show"), ("doctor",), ("collation", "show")):
        outcome = attacked.exec("entrypoint", *command, check=False, timeout=60)
        assert "Traceback" not in outcome.output, outcome.output
        assert not _is_superuser(attacked), command
    assert "maintenance_work_mem" in attacked.exec("entrypoint", "config", "show").stdout
    found = json.loads(attacked.exec("entrypoint", "doctor", "--json", check=False, timeout=60).stdout)
    assert "the check itself failed" not in json.dumps(found)
    attacked.shell("echo 'maintenance_work_mem = 80MB' > /docker-entrypoint-conf.d/own.conf", user="0")
    attacked.kill("HUP")
    attacked.says("maintenance_work_mem: 70MB → 80MB")
    assert not _is_superuser(attacked)


@pytest.mark.parametrize("tool", TOOLS)
def test_the_socket_may_require_a_password(tool: str) -> None:
    """A first start, extensions, scheduled and other backups, SIGHUP, a drill and the next start use it.

    The password is in no environment, and in one file that nobody else can read.
    """
    env = {
        "POSTGRES_PASSWORD": PASSWORD,
        "POSTGRES_PASSWORD_UPDATE": "on",
        "POSTGRES_INITDB_ARGS": LOCAL_PASSWORD,
        "POSTGRES_DB": "app",
        "POSTGRES_EXTENSIONS": "hstore",
        "ARCHIVE_URL": "file:///archive",
        "ARCHIVE_TOOL": tool,
        "BACKUP_SCHEDULE": "0 0 1 1 *",
    }
    options = ("--volume", "/archive", *containers.LOOK_INSIDE)
    with serve(env=env, files={"/docker-entrypoint-conf.d/own.conf": ""}, options=options) as container:

        def backups() -> int:
            return len(json.loads(container.exec("entrypoint", "backup", "list", "--json").stdout))

        until(lambda: backups() == 1, "the first scheduled backup", 60)
        container.shell("echo 'work_mem = 5MB' > /docker-entrypoint-conf.d/own.conf", user="0")
        container.kill("HUP")
        container.says("work_mem: 4MB → 5MB")
        assert "600 postgres" == container.shell("stat -c '%a %U' /run/entrypoint/passfile", user="0")
        pid = container.postmaster()
        assert PASSWORD not in str([container.environ(pid), container.environ(1)])
        container.exec("entrypoint", "backup", "push", timeout=60)
        assert "found nothing wrong" in container.exec("entrypoint", "backup", "drill", timeout=60).output
        assert 0 == container.stop()
        container.again()
        until(lambda: container.exec("entrypoint", "ready", check=False).code == 0, "ready")
        assert "no password" not in container.logs().output
        assert "authentication failed" not in container.logs().output


def test_a_wrong_password_is_reported_if_the_socket_requires_one() -> None:
    """If POSTGRES_PASSWORD is not the stored password or not set, the log says what will fail, with a hint."""
    env = {**FRESH, "POSTGRES_INITDB_ARGS": LOCAL_PASSWORD, "PGDATA": "/volume/data"}
    with containers.volume() as name:
        with serve(env=env, volumes={"/volume": name}) as container:
            assert 0 == container.stop()
        with serve(env={**env, "POSTGRES_PASSWORD": "other"}, volumes={"/volume": name}) as container:
            container.says("scheduled backups and SIGHUP fail")
            container.stop()
        later = {"PGDATA": "/volume/data"}
        with serve(env=later, volumes={"/volume": name}) as container:
            assert "the password of postgres is unknown" in container.logs().output
            container.stop()
        both = {**env, "PGPASSWORD": "secret", "POSTGRES_PASSWORD": "new", "POSTGRES_PASSWORD_UPDATE": "on"}
        for _ in range(2):  # the second time PGPASSWORD is the wrong one
            with serve(env=both, volumes={"/volume": name}) as container:
                until(lambda: container.exec("entrypoint", "ready", check=False).code == 0, "ready")
                assert "1" == container.sql("SELECT 1", password="new")
                container.stop()


@pytest.mark.parametrize("tool", TOOLS)
def test_no_database_is_needed(tool: str) -> None:
    """Without `postgres`, and with a POSTGRES_DB that is gone, everything that queries the server still works."""
    env = {
        **FRESH,
        "POSTGRES_DB": "app",
        "POSTGRES_EXTENSIONS": "hstore",
        "POSTGRES_EXTENSIONS_UPDATE": "on",
        "ARCHIVE_URL": "file:///archive",
        "ARCHIVE_TOOL": tool,
    }
    with serve(env=env, options=("--volume", "/archive")) as container:
        until(lambda: container.exec("entrypoint", "ready", check=False).code == 0, "ready")
        container.sql("DROP DATABASE postgres", database="template1")
        container.exec("entrypoint", "backup", "push", timeout=60)
        container.sql("DROP DATABASE app", database="template1")
        assert 0 == container.stop()
        container.begin()
        until(
            lambda: not container.running or container.exec("entrypoint", "ready", check=False).code == 0,
            "ready",
            60,
        )
        assert container.running, container.logs().output
        assert "cannot query the database app for its extensions" in container.logs().output
        container.exec("entrypoint", "backup", "push", timeout=60)
        container.exec("entrypoint", "config", "diff")
        container.exec("entrypoint", "archive", "check", timeout=60)


@contextlib.contextmanager
def _flood(container: Container) -> Iterator[None]:
    """Begin as many logins as the server accepts and finish none; each start may have another address."""
    over = threading.Event()
    packet = b"\x00\x03\x00\x00user\x00nobody\x00database\x00postgres\x00\x00"
    begun: list[socket.socket] = []

    def begin() -> None:
        address = ""
        while not over.is_set():
            address = address or container.address
            try:
                one = socket.create_connection((address or "127.0.0.1", 5432 if address else 1), timeout=1)
                one.sendall((len(packet) + 4).to_bytes(4, "big") + packet)
                begun.append(one)
            except OSError:
                time.sleep(0.01)

    threads = [threading.Thread(target=begin) for _ in range(4)]
    for each in threads:
        each.start()
    try:
        yield
    finally:
        over.set()
        for each in threads:
            each.join()
        for one in begun:
            one.close()


def test_a_start_waits_for_a_session() -> None:
    """While unfinished logins take all connections, the start retries, and the server stays up."""
    env = {**FRESH, "POSTGRES_EXTENSIONS": "hstore"}
    with serve("-c", "max_connections=12", env=env) as container:
        until(lambda: container.exec("entrypoint", "ready", check=False).code == 0, "ready")
        assert 0 == container.stop()
        waited = False
        for _ in range(8):  # the session of the start is sometimes quicker than the flood
            with _flood(container):
                container.begin()
                answer = container.exec("entrypoint", "ready", check=False)
                while container.running and answer.code and not waited:
                    answer = container.exec("entrypoint", "ready", check=False)
                    waited = "waiting for a session with the server" in container.logs().stderr
                if waited:
                    assert "not ready: startdb" in container.exec("entrypoint", "ready", check=False).output
                    break
            assert 0 == container.stop()
        assert waited
        until(
            lambda: not container.running or container.exec("entrypoint", "ready", check=False).code == 0,
            "ready",
            60,
        )
        assert container.running, container.logs().output
