"""The HTTP probes in each phase of a container's life, with a real server."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import rude
from containers import FRESH, Container, script, start, until

WAIT = "#!/bin/sh\nuntil [ -e /tmp/{name} ]; do sleep 0.1; done\n"
TOKEN = "a-token-of-the-tests"


def _get(container: Container, path: str, **headers: str) -> tuple[int, bytes]:
    client = http.client.HTTPConnection(container.address, 9187, timeout=20)
    try:
        client.request("GET", path, headers=headers)
        answer = client.getresponse()
        return answer.status, answer.read()
    finally:
        client.close()


def _state(container: Container) -> dict[str, Any]:
    """Return the body of `/ready`, or nothing while nobody listens."""
    try:
        found: dict[str, Any] = json.loads(_get(container, "/ready")[1])
    except OSError:
        return {}
    return found


def _reaches(container: Container, phase: str, role: str | None = None) -> None:
    expected = {"phase": phase, "role": role, "ready": role is not None}
    until(lambda: expected.items() <= _state(container).items(), f"{expected}", timeout=40)


def _codes(container: Container) -> list[int]:
    paths = ("/live", "/healthz", "/ready", "/primary", "/standby", "/startupz")
    return [_get(container, path)[0] for path in paths]


@contextmanager
def _watched(container: Container) -> Iterator[None]:
    """Ask `/live` all the time; it must be answered each time."""
    ended = threading.Event()
    codes = set()

    def ask() -> None:
        while not ended.wait(0.05):
            codes.add(_get(container, "/live")[0])

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield
    finally:
        ended.set()
        asking.join()
    assert {200} == codes


def _watch_memory(container: Container) -> int:
    """Return the kilobytes of memory that only the watch uses, or its share of what others use as well."""
    found = container.shell(
        'for each in /proc/[0-9]*; do tr "\\0" " " <$each/cmdline | grep -q "internal watch" && '
        'grep "^Pss:" $each/smaps_rollup; done; true',
        user="postgres",
    )
    return max(int(line.split()[1]) for line in found.splitlines())


def test_each_phase() -> None:
    """
    Whoever asks gets the code of the phase, and what is alive stays alive through all of them.

    Clients that misbehave change nothing about it.
    """
    files = {
        "/docker-entrypoint-initdb.d/wait.sh": script(WAIT.format(name="init")),
        "/docker-entrypoint-startdb.d/wait.sh": script(WAIT.format(name="startdb")),
    }
    env = {**FRESH, "STATUS_LISTEN": ":9187", "STATUS_TOKEN": TOKEN}
    with start(env=env, files=files) as container:
        _reaches(container, "init")
        assert [200, 200, 503, 503, 503, 503] == _codes(container)
        with _watched(container):
            container.shell("touch /tmp/init")
            _reaches(container, "startdb")
            assert [200, 200, 503, 503, 503, 503] == _codes(container)
            container.shell("touch /tmp/startdb")
            _reaches(container, "serving", "primary")
            assert [200, 200, 200, 200, 503, 200] == _codes(container)
            postmaster = container.postmaster()
            container.shell(f"kill -STOP {postmaster}", user="0")
            until(lambda: 503 == _get(container, "/ready")[0], "a server that does not answer is not ready")
            container.shell(f"kill -CONT {postmaster}", user="0")
            _reaches(container, "serving", "primary")
        assert [401, 401, 401] == [_get(container, path)[0] for path in ("/", "/metrics", "/status.json")]
        bearer = {"Authorization": f"Bearer {TOKEN}"}
        assert [200, 200, 200] == [
            _get(container, path, **bearer)[0] for path in ("/", "/metrics", "/status.json")
        ]
        for seed in range(500):
            rude.misbehave(container.address, 9187, seed, "/metrics")
        with rude.occupied(container.address, 9187, 150, "/metrics"):
            assert [200] * 200 == rude.crowd(container.address, 9187, 200, "/ready")
            assert _watch_memory(container) < 30 * 1024
            assert "1" == container.sql("SELECT 1")
        assert TOKEN not in container.logs().output

        # hot_standby=off keeps a standby in the phase in which it lets nobody in
        container.sql("ALTER SYSTEM SET hot_standby = off")
        container.shell('touch "$PGDATA/standby.signal"', user="postgres")
        with container.session("SELECT pg_sleep(600)"):
            container.kill("TERM")
            _reaches(container, "stopping")
            assert [200, 200, 503, 503, 503, 200] == _codes(container)
            container.kill("TERM")
            container.wait()
        container.begin()
        _reaches(container, "recovery")
        assert [200, 200, 503, 503, 503, 503] == _codes(container)

        container.shell('sed -i /hot_standby/d "$PGDATA/postgresql.auto.conf"', user="postgres")
        container.stop()
        container.begin()
        _reaches(container, "serving", "standby")
        assert [200, 200, 200, 503, 200, 200] == _codes(container)
        code, body = _get(container, "/standby?lag=1TB")
        assert (503, None, True) == (
            code,
            json.loads(body)["lag_bytes"],
            "is not known" in json.loads(body)["reason"],
        )
