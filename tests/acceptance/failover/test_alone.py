"""One node under Patroni, or none: what is refused, and first starts that fail."""

from __future__ import annotations

import pytest

import containers
import nodes


def _refused(env: dict[str, str], image: str = nodes.HA) -> str:
    """The problems of a node that is not started."""
    outcome = containers.run(env={**nodes.variables("db1", 1), **env}, image=image)
    assert 1 == outcome.code, outcome.output
    return "\n".join(containers.complaints(outcome))


def test_the_plain_image_has_no_patroni() -> None:
    """It refuses the node, rather than to serve a database of its own."""
    assert "the image has no Patroni" in _refused({}, containers.IMAGE)


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({"PATRONI_SCOPE": "", "PATRONI_SCOPPE": "shop"}, "did you mean PATRONI_SCOPE?"),
        ({"STANDBY": "on", "STANDBY_PRIMARY_CONNINFO": "host=a"}, "patronictl switchover"),
        ({"PATRONI_LOG_TYPE": "xml"}, "log.type xml"),
        ({"PATRONI_RESTAPI_VERIFY_CLIENT": "maybe"}, "restapi.verify_client maybe"),
        ({"POSTGRES_CONF_max_connections": "10"}, "Patroni takes no less than 25"),
        ({"POSTGRES_CONF_wal_level": "minimal"}, "sets wal_level to minimal"),
        ({"POSTGRES_CONF_work_memm": "1MB"}, "work_memm"),
    ],
)
def test_what_is_refused(env: dict[str, str], words: str) -> None:
    """Each is found before anything starts, and nothing is created."""
    assert words in _refused(env)


def test_an_init_file_that_fails() -> None:
    """The container ends with its code, nothing is served, and the next start says how to continue."""
    files: containers.Files = {"/docker-entrypoint-initdb.d/1.sql": "CREATE TABLE a ();\nSELECT 1/0;\n"}
    with nodes.serve(1, files=files) as cluster:
        (node,) = cluster.nodes
        assert 3 == node.container.wait(60)
        assert "division by zero" in node.container.logs().output
        outcome = node.container.finish(60)
        assert 10 == outcome.code, outcome.output
        assert "POSTGRES_INIT_UNFINISHED=restart" in containers.complaints(outcome)[-1]


def test_a_dcs_that_is_away_for_the_first_time() -> None:
    """The node waits, is not ready, and stops in order; when the DCS is there, it creates the cluster."""
    with nodes.serve(1) as cluster:
        (node,) = cluster.nodes
        cluster.etcds[0].kill()
        node.container.stop(timeout=30)
        node.container.begin()
        containers.until(lambda: node.patroni > 0, "Patroni runs")
        assert 1 == node.container.exec("entrypoint", "ready", check=False).code
        assert 0 == node.container.stop(timeout=30)
        cluster.etcds[0].begin()
        node.container.begin()
        assert node is cluster.settled()


def test_a_first_start_that_was_killed() -> None:
    """The place that the killed node has in the DCS is given back, so that the nodes create the cluster."""
    with nodes.serve(1) as cluster:
        (node,) = cluster.nodes
        cluster.settled()
        node.container.stop(timeout=60)
        record = "entrypoint.unfinished"
        made = f"mkdir -p {record}/cluster && echo building >{record}/state && chown -R 999:999 . && chmod 700 {record}"
        containers.in_volume(node.volume, f"find . -mindepth 1 -delete && {made}")
        for words in (["del", "--prefix", "/service/shop/"], ["put", "/service/shop/initialize", ""]):
            cluster.etcds[0].exec("etcdctl", *words, env={"ETCDCTL_API": "3"})
        node.container.begin()
        node.container.says(
            "the first start of the cluster was interrupted on this node: the nodes begin again"
        )
        assert node is cluster.settled()
