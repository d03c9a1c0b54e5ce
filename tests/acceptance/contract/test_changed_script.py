"""If an image or a mount has changed docker-entrypoint.sh, the changed script runs, as officially."""

from __future__ import annotations

import pytest

from containers import FRESH, File, Files, build, docker, in_volume, run, script, serve

SCRIPT = "/usr/local/bin/docker-entrypoint.sh"
INIT = "/docker-entrypoint-initdb.d"
HOOK = r"sed -i 's#^if ! _is_sourced; then#echo HOOK >\&2\nif ! _is_sourced; then#' " + SCRIPT


@pytest.mark.parametrize("arguments", [("postgres", "--version"), ("id", "-un"), ("-V",)])
def test_a_file_in_its_place_runs_first(arguments: tuple[str, ...]) -> None:
    """It gets the arguments unchanged, and decides what to do with them."""
    mine = '#!/bin/bash\necho "MINE: $*"\n[[ $1 != -* ]] || set -- postgres "$@"\nexec gosu postgres "$@"\n'
    outcome = run(*arguments, env=FRESH, files={SCRIPT: script(mine)})
    first, second = outcome.stdout.splitlines()
    assert (0, f"MINE: {' '.join(arguments)}") == (outcome.code, first)
    assert second.startswith("postgres")


@pytest.mark.parametrize("entrypoint", ["", 'ENTRYPOINT ["docker-entrypoint.sh"]'], ids=["ours", "repeated"])
def test_a_hook_runs_once_at_every_start(entrypoint: str, volume: str) -> None:
    """The database is created, served and stopped as with the image's own file."""
    files: Files = {f"{INIT}/1.sql": "CREATE TABLE made (a int);"}
    env = {**FRESH, "PGDATA": "/volume/data"}
    with (
        build(f"FROM IMAGE\nRUN {HOOK}\n{entrypoint}\n") as image,
        serve("postgres", env=env, files=files, volumes={"/volume": volume}, image=image) as container,
    ):
        assert "0" == container.sql("SELECT count(*) FROM made")
        logs = container.logs()
        assert (1, 1) == (logs.output.count("HOOK\n"), logs.stdout.count("init process complete"))
        assert 0 == container.stop()
        container.again()
        assert "0" == container.sql("SELECT count(*) FROM made")
        assert 2 == container.logs().output.count("HOOK\n")


def test_a_hook_in_a_function_runs_as_the_user_of_the_server(volume: str) -> None:
    """A changed function in the file is called at the same point as in the official script."""
    change = r"sed -i 's#^docker_setup_db() {#docker_setup_db() {\necho \"HOOK by $(id -un)\"#' " + SCRIPT
    files: Files = {f"{INIT}/1.sql": "CREATE TABLE made (a int);"}
    env = {**FRESH, "PGDATA": "/volume/data"}
    with (
        build(f"FROM IMAGE\nRUN {change}\n") as image,
        serve(env=env, files=files, volumes={"/volume": volume}, image=image) as container,
    ):
        assert "0" == container.sql("SELECT count(*) FROM made")
        assert 1 == container.logs().stdout.count("HOOK by postgres\n")
        assert 0 == container.stop()


@pytest.mark.parametrize("end", ['echo "not now"', ":", "exit 0 #"])
def test_a_last_line_that_starts_no_server_bakes_a_database(end: str) -> None:
    """This is the documented way to build an image with a database: the build step creates it, and ends."""
    dockerfile = (
        "FROM IMAGE AS dumper\n"
        f"COPY 1.sql {INIT}/\n"
        f"RUN sed -i 's/exec \"$@\"/{end}/' {SCRIPT}\n"
        "ENV POSTGRES_USER=u1 POSTGRES_PASSWORD=pw POSTGRES_DB=d1 PGDATA=/data POSTGRES_INITDB_ARGS=--no-sync\n"
        'RUN ["/usr/local/bin/docker-entrypoint.sh", "postgres"]\n'
        "FROM IMAGE\n"
        "ENV PGDATA=/data\n"
        "COPY --from=dumper /data /data\n"
    )
    with (
        build(dockerfile, {"1.sql": "CREATE TABLE made AS SELECT 42 AS answer;"}) as image,
        serve(image=image) as container,
    ):
        assert "42" == container.sql("SELECT answer FROM made", user="u1", database="d1")


def test_a_file_that_cannot_run_is_an_error() -> None:
    """It is an error in docker too, which could not start it either; the message names the file."""
    outcome = run(env=FRESH, files={SCRIPT: File("#!/bin/sh\n", 0o644)})
    assert (126, True) == (outcome.code, SCRIPT in outcome.stderr)


def test_an_identical_file_is_no_change(volume: str) -> None:
    """A copy with the same content is not a change."""
    with build(f"FROM IMAGE\nRUN cp {SCRIPT} /tmp/x && rm {SCRIPT} && cp /tmp/x {SCRIPT}\n") as image:
        outcome = docker("run", "--rm", image, "id", "-un")
        assert (0, "root\n", "") == outcome
    assert "" == in_volume(volume, "ls")
