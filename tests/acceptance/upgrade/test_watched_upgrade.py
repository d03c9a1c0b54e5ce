"""An upgrade is seen from outside: probes are answered meanwhile, and its begin and end are events."""

from __future__ import annotations

import http.client
import json
from typing import Any

import containers
from containers import FRESH, Container
from upgrades import DATA, NEW, OLD


def _get(container: Container, path: str) -> tuple[int, bytes]:
    client = http.client.HTTPConnection(container.address, 9187, timeout=20)
    try:
        client.request("GET", path)
        answer = client.getresponse()
        return answer.status, answer.read()
    except OSError:
        return 0, b"{}"  # nobody listens yet
    finally:
        client.close()


def test_probes_and_events_of_an_upgrade() -> None:
    """The container is alive and not ready, its phase is `upgrade`, and the watch serves the new cluster afterwards."""
    env = {"POSTGRES_UPGRADE": "on", "UPGRADE_WITHOUT_BACKUP": "on", "STATUS_LISTEN": ":9187"}
    with containers.volume() as data:
        volumes = {DATA: data}
        with containers.serve(env=FRESH, volumes=volumes, image=OLD) as server:
            assert 0 == server.stop(timeout=60)
        with containers.start(env=env, volumes=volumes, image=NEW) as server:

            def upgrading() -> bool:
                found: dict[str, Any] = json.loads(_get(server, "/ready")[1])
                return "upgrade" == found.get("phase")

            containers.until(upgrading, "the phase of an upgrade", 120)
            assert [200, 503] == [_get(server, path)[0] for path in ("/live", "/ready")]
            assert b'phase="upgrade"' in _get(server, "/metrics")[1]
            server.ready(240)
            containers.until(lambda: 200 == _get(server, "/ready")[0], "ready", 60)
            server.says("upgrade: an upgrade from PostgreSQL 15 has begun", 10)
            server.says("upgrade: an upgrade to PostgreSQL 17 has ended", 30)
            noted = containers.in_volume(data, "cat entrypoint.watch")
            assert "has begun" in noted
            assert "has ended" in noted
            assert 0 == server.stop(timeout=60)
        assert "entrypoint.watch" not in containers.in_volume(data, "ls -A pgsql_tmp/old-15")
