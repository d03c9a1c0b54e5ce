"""Row 3.6: a stop during the first start ends it quickly and cleanly."""

from __future__ import annotations

import time

import pytest

from containers import FRESH, READY, Container, Files, complaints, in_volume, run, script, serve, start

pytestmark = pytest.mark.better

INIT = "/docker-entrypoint-initdb.d"
ENV = {**FRESH, "PGDATA": "/volume/data"}
PROMPT = 5

CODES = {"INT": 130, "TERM": 143}

WAITS: dict[str, Files] = {
    "sourced": {f"{INIT}/1.sh": "echo waiting now\nsleep 60\n"},
    "executed": {f"{INIT}/1.sh": script("#!/bin/bash\necho waiting now\nsleep 60\n")},
    "deaf": {f"{INIT}/1.sh": script("#!/bin/bash\ntrap '' INT TERM\necho waiting now\nsleep 60\n")},
    "sql": {f"{INIT}/1.sql": "\\echo waiting now\nSELECT pg_sleep(60);\n"},
}


def stop(container: Container, signal: str) -> None:
    """The container ends quickly, with 128 plus the signal."""
    began = time.monotonic()
    assert CODES[signal] == container.stop(signal, timeout=8)
    assert time.monotonic() - began < PROMPT


@pytest.mark.parametrize("signal", CODES)
def test_stop_in_initdb(volume: str, signal: str) -> None:
    """Initdb ends, and the next start begins from scratch."""
    with start(
        env={**ENV, "POSTGRES_INITDB_ARGS": "--encoding=UTF8"}, volumes={"/volume": volume}
    ) as container:
        container.says("creating configuration files ... ok")
        stop(container, signal)
        assert READY not in container.logs().output
    with serve(env=ENV, volumes={"/volume": volume}) as container:
        assert "1" == container.sql("SELECT 1")


@pytest.mark.parametrize("signal", CODES)
@pytest.mark.parametrize("kind", WAITS)
def test_stop_in_an_init_file(volume: str, kind: str, signal: str) -> None:
    """The file ends, the temporary server stops cleanly, and the next start reports it."""
    with start(env=ENV, files=WAITS[kind], volumes={"/volume": volume}) as container:
        container.says("waiting now")
        stop(container, signal)
        assert "database system is shut down" in container.logs().output
    assert "" == in_volume(volume, "find . -name postmaster.pid")
    outcome = run(env=ENV, files=WAITS[kind], volumes={"/volume": volume})
    assert (10, True) == (outcome.code, any(f"{INIT}/1.s" in text for text in complaints(outcome)))
