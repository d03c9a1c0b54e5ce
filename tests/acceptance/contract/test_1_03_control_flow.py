"""Row 1.3 of the contract: which commands get a preparation, which do not, and the order of the steps."""

from __future__ import annotations

import pytest

from containers import FRESH, Container, create, run, serve


def test_flag_as_first_argument_means_postgres(used_volume: str) -> None:
    """`docker run IMAGE -c name=value` starts the server with that setting."""
    with serve(
        "-c", "work_mem=7MB", env={"PGDATA": "/volume/data"}, volumes={"/volume": used_volume}
    ) as container:
        assert "7MB|command line" == container.sql(
            "SELECT current_setting(name), source FROM pg_settings WHERE name = 'work_mem'"
        )


@pytest.mark.parametrize(
    "arguments",
    [
        ("postgres", "--help"),
        ("--help",),
        ("-?",),
        ("-V",),
        ("--version",),
        ("postgres", "--describe-config"),
    ],
)
def test_questions_are_answered_without_any_preparation(arguments: tuple[str, ...]) -> None:
    """Help and version work without a password and as root, and leave no trace."""
    with create(*arguments, env={"PGDATA": "/elsewhere/data"}) as container:
        answer = container.finish()
        assert (0, "", []) == (answer.code, answer.stderr, container.changes())
        assert answer.stdout


def test_question_among_other_arguments_skips_preparation() -> None:
    """Any argument counts, but the server accepts these words only in front: here it refuses root."""
    with create("-c", "work_mem=7MB", "-V", env={"PGDATA": "/elsewhere/data"}) as container:
        answer = container.finish()
        assert (1, []) == (answer.code, container.changes())
        assert '"root" execution of the PostgreSQL server is not permitted' in answer.stderr


def test_full_path_to_postgres_is_a_command_like_any_other(image_env: dict[str, str]) -> None:
    """Only the bare word gets a preparation; the server itself refuses root."""
    program = f"/usr/lib/postgresql/{image_env['PG_MAJOR']}/bin/postgres"
    with create(program, env={**FRESH, "PGDATA": "/elsewhere/data"}) as container:
        answer = container.finish()
        assert (1, []) == (answer.code, container.changes())
        assert '"root" execution of the PostgreSQL server is not permitted' in answer.stderr


def test_other_commands_run_as_they_are() -> None:
    """Any other command replaces PID 1 as root, with environment, HOME and folders untouched."""
    with create(
        "bash",
        "-c",
        'echo "$$ $(id -u) $HOME $PWD $POSTGRES_PASSWORD"',
        env={**FRESH, "PGDATA": "/elsewhere/data"},
    ) as container:
        answer = container.finish()
        assert (0, "1 0 /root / secret\n", "", []) == (*answer, container.changes())


def test_other_commands_run_as_the_given_user() -> None:
    """The user that docker was given stays unchanged."""
    assert (0, "4242\n", "") == run("id", "-u", options=("--user", "4242"))


def test_missing_password_is_reported_before_old_data() -> None:
    """A start without the password reports that, even if old data would stop it next."""
    asked = {"PG_MAJOR": "18", "PGDATA": "/var/lib/postgresql/18/docker"}
    outcome = run(env=asked, files={"/var/lib/postgresql/data/PG_VERSION": "15\n"})
    assert (1, True) == (outcome.code, "POSTGRES_PASSWORD" in outcome.stderr)


def test_steps_of_a_first_start_come_in_order(server: Container) -> None:
    """The order is: initdb, temporary server, init files, stop, the line that reports the end."""
    text = server.logs().stdout
    steps = [
        "The files belonging to this database system will be owned by user",
        "database system is ready to accept connections",
        "ignoring /docker-entrypoint-initdb.d/*",
        "database system is shut down",
        "PostgreSQL init process complete; ready for start up.",
    ]
    found = [text.find(step) for step in steps]
    assert -1 not in found
    assert sorted(found) == found


def test_first_start_ends_with_the_server_of_the_postgres_user(server: Container) -> None:
    """The server runs as postgres and listens."""
    assert "999" == server.process(server.postmaster())["Uid"].split()[0]
    assert "f" == server.sql("SELECT pg_is_in_recovery()")
