"""A first start that is killed at any point: afterwards the database is complete, or the start refuses."""

import threading
import time

import pytest

import containers
from containers import FRESH, Container

FILES = {
    "/docker-entrypoint-initdb.d/1.sql": "CREATE TABLE one AS SELECT generate_series(1, 100) AS i;",
    "/docker-entrypoint-initdb.d/2.sh": 'docker_process_sql <<<"CREATE TABLE two AS SELECT 2 i"\nsleep 0.5\n',
    "/docker-entrypoint-initdb.d/3.sql": "SELECT pg_sleep(0.5); CREATE TABLE three AS SELECT 3 AS i;",
}
COMPLETE = "SELECT (SELECT count(*) FROM one) || ',' || (SELECT i FROM two) || ',' || (SELECT i FROM three)"
POINTS = [8, pytest.param(20, marks=pytest.mark.long)]


def _outcome(container: Container) -> str:
    """Start once more and return the outcome: `complete`, `refused`, or what is wrong."""
    container.begin()
    ended: list[int] = []
    waiter = threading.Thread(target=lambda: ended.append(container.wait(60)))
    waiter.start()
    answer = ""
    while waiter.is_alive() and not answer:
        asked = container.exec(
            *("psql", "-qAtX", "-h", "127.0.0.1", "-U", "postgres", "-c", COMPLETE), check=False
        )
        # docker writes its own errors to stdout
        answer = asked.stdout.strip() if asked.code == 0 else ""
        if "relation" in asked.stderr:
            answer = f"half: {asked.stderr}"
    if answer:
        container.kill("INT")
    waiter.join()
    if answer == "100,2,3":
        return "complete"
    return "refused" if not answer and ended == [10] else f"{answer or ended}\n{container.logs().output}"


@pytest.mark.parametrize("points", POINTS)
@pytest.mark.parametrize("arguments", ["", "--encoding=UTF8"], ids=["copy", "initdb"])
def test_killed_on_the_way_it_is_never_half(arguments: str, points: int) -> None:
    """After SIGKILL at many points of a first start it is complete, or refused with exit code 10."""
    env = {**FRESH, "POSTGRES_INITDB_ARGS": arguments}
    began = time.monotonic()
    with containers.serve(env=env, files=FILES) as whole:
        length = time.monotonic() - began
        assert "100,2,3" == whole.sql(COMPLETE)
    seen = []
    for point in range(points):
        with containers.create(env=env, files=FILES) as container:
            container.begin()
            time.sleep(length * point / (points - 1))  # no condition to wait for: this is the point in time
            container.kill()
            seen.append(_outcome(container))
    assert {"complete", "refused"} >= set(seen), seen
    # The sweep must have hit both the part that starts from scratch and the part that is refused.
    assert "complete" in seen
    assert "refused" in seen
