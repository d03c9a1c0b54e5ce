"""Row 1.7 of the contract: how server and client are called; row 1.5 fixes the calls themselves."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from containers import FRESH, READY, Container, run, serve

#: Blanks, both quotes, a dollar, a backslash and a blank at the end.
VERBATIM = r"it's \"quoted\" $HOME `id` \ two  blanks "

RECORD = """
CREATE TABLE seen AS SELECT
    current_setting('port') AS port,
    current_setting('listen_addresses') AS addresses,
    current_setting('work_mem') AS work_mem,
    current_setting('cluster_name') AS cluster_name;
"""


@pytest.fixture(scope="module")
def with_arguments() -> Iterator[Container]:
    """A server with arguments of every kind, which an init file has examined too."""
    arguments = ("postgres", "-p", "5433", "-c", "work_mem=7MB", "-c", f"cluster_name={VERBATIM}")
    files = {"/docker-entrypoint-initdb.d/1.sql": RECORD}
    with serve(*arguments, env={**FRESH, "POSTGRES_DB": "app"}, files=files) as container:
        yield container


def ask(container: Container, query: str) -> str:
    """The answer of the server on the port of the arguments."""
    return container.exec("psql", "-XAtq", "-p", "5433", "-U", "postgres", "-d", "app", "-c", query).stdout[
        :-1
    ]


def test_temporary_server_has_its_own_port_and_no_address(with_arguments: Container) -> None:
    """Port and addresses in the arguments do not apply to the temporary server."""
    assert "5432||7MB" == ask(with_arguments, "SELECT port, addresses, work_mem FROM seen")


def test_arguments_arrive_verbatim(with_arguments: Container) -> None:
    """Blanks, quotes and dollars in arguments reach the temporary and the real server unchanged."""
    assert VERBATIM == ask(with_arguments, "SELECT cluster_name FROM seen")
    assert VERBATIM == ask(with_arguments, "SHOW cluster_name")


def test_real_server_has_the_arguments(with_arguments: Container) -> None:
    """The real server listens where its arguments say."""
    query = "SELECT name, setting, source FROM pg_settings WHERE name IN ('port', 'work_mem') ORDER BY name"
    assert ["port|5433|command line", "work_mem|7168|command line"] == ask(with_arguments, query).splitlines()


def test_logs_of_the_two_servers(with_arguments: Container) -> None:
    """The temporary server writes to stdout, the real one to stderr."""
    logs = with_arguments.logs()
    assert (1, 1) == (logs.stdout.count(READY), logs.stderr.count(READY))
    assert [False, True] == ["listening on IPv4" in text for text in (logs.stdout, logs.stderr)]


def test_temporary_server_is_stopped_fast(with_arguments: Container) -> None:
    """The stop is clean and does not wait for sessions."""
    assert "received fast shutdown request" in with_arguments.logs().stdout
    assert "database system was not properly shut down" not in with_arguments.logs().output


@pytest.mark.parametrize(
    ("address", "method"),
    [(None, "trust"), ("127.0.0.1", "trust"), ("::1", "trust"), ("all", "scram-sha-256")],
)
def test_rules_for_connections(server: Container, address: str | None, method: str) -> None:
    """Initdb's rules stay: trust on socket and loopback, the password for all other addresses."""
    given = "address IS NULL" if address is None else f"address = '{address}'"
    query = f"SELECT DISTINCT auth_method FROM pg_hba_file_rules WHERE 'all' = ANY(database) AND {given}"
    assert method == server.sql(query)


def test_socket_folder_of_the_arguments_breaks_the_first_start() -> None:
    """The client that runs init files does not find a socket in another folder: psql's exit code."""
    files = {"/docker-entrypoint-initdb.d/1.sql": RECORD}
    assert 2 == run("-c", "unix_socket_directories=/tmp", env=FRESH, files=files).code


def test_other_data_folder_in_the_arguments_breaks_the_first_start() -> None:
    """`-D` in the arguments contradicts PGDATA."""
    outcome = run("-D", "/other", env=FRESH)
    assert outcome.code in {1, 2}
    assert "/other" in outcome.stderr


@pytest.mark.better
def test_asking_for_a_setting_on_an_empty_folder_does_no_lasting_harm(volume: str) -> None:
    """After `-C`, a start on the volume works; with the official image pg_hba.conf is broken."""
    env = {**FRESH, "PGDATA": "/volume/data"}
    run("-C", "port", env=env, volumes={"/volume": volume})
    with serve(env=env, volumes={"/volume": volume}) as container:
        assert "1" == container.sql("SELECT 1")
