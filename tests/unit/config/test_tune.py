"""How the server and the archiver share a container."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrypoint.archive import shares
from entrypoint.config import tune
from entrypoint.config.tune import GB, MB, Machine
from entrypoint.doctor.judge import memory
from entrypoint.finding import OK

MACHINES = st.builds(
    Machine,
    memory=st.integers(64 * MB, 4096 * GB),
    limited=st.booleans(),
    processors=st.integers(1, 256),
    wal_bytes=st.integers(0, 4096 * GB),
    archives=st.booleans(),
)
CONNECTIONS = st.integers(1, 5000)
SIZES = (
    "shared_buffers",
    "effective_cache_size",
    "maintenance_work_mem",
    "work_mem",
    "max_wal_size",
    "min_wal_size",
)


def _numbers(machine: Machine, connections: int = 100) -> dict[str, int]:
    found = {}
    for each in tune.tune(machine, connections):
        size = tune.size_bytes(each.value, "kB") if each.name in SIZES else int(each.value)
        assert size is not None
        assert each.reason
        found[each.name] = size
    return found


@given(machine=MACHINES, connections=CONNECTIONS)
def test_never_more_memory_than_there_is(machine: Machine, connections: int) -> None:
    """The server's memory at its worst, with the archiver's and a backup's, fits into the container.

    The exception are PostgreSQL's minimum values, which tiny containers with many connections cannot hold.
    """
    found = _numbers(machine, connections)
    vacuums = max(MB, found["maintenance_work_mem"]) * (tune.AUTOVACUUM_WORKERS + 1)
    sorts = found["work_mem"] * connections
    if found["work_mem"] > 64 * 1024 and found["maintenance_work_mem"] > MB:
        used = found["shared_buffers"] + vacuums + sorts
        if machine.archives and machine.memory >= GB:
            used += shares.push(machine.memory).memory_bytes or 0
            used += shares.backup(machine.processors, machine.memory, None).memory_bytes or 0
        assert used <= machine.memory


@given(machine=MACHINES, memory=st.integers(0, 64 * GB), processors=st.integers(0, 64))
def test_more_gives_never_less(machine: Machine, memory: int, processors: int) -> None:
    """A larger container makes no setting smaller."""
    larger = machine._replace(
        memory=machine.memory + memory,
        processors=machine.processors + processors,
        wal_bytes=machine.wal_bytes + memory,
    )
    before, after = _numbers(machine), _numbers(larger)
    assert [] == [name for name, value in before.items() if after[name] < value]


@given(MACHINES)
def test_archiving_leaves_less(machine: Machine) -> None:
    """With an archive, the server gets no more than without one, and at least half."""
    alone = tune.server(machine._replace(archives=False))
    assert alone // 2 <= tune.server(machine._replace(archives=True)) <= alone


def test_a_gigabyte() -> None:
    """The documented numbers for a common container."""
    found = {
        each.name: each.value
        for each in tune.tune(Machine(GB, limited=True, processors=2, wal_bytes=100 * GB, archives=False))
    }
    expected = {
        "shared_buffers": "256MB",
        "effective_cache_size": "768MB",
        "maintenance_work_mem": "64MB",
        "work_mem": "5242kB",
        "max_parallel_workers": "2",
        "max_parallel_workers_per_gather": "1",
        "max_parallel_maintenance_workers": "1",
    }
    assert expected == found


@given(st.integers(0, 2**50))
def test_a_size_is_read_back(count: int) -> None:
    """A size is at most the given number, and differs from it by less than its unit."""
    read = tune.size_bytes(tune.size(count), "B")
    assert read is not None
    assert read <= count < read + (1024 if count < 10 * MB else MB)


@given(MACHINES)
def test_doctor_accepts_tuned_settings(machine: Machine) -> None:
    """Doctor finds nothing wrong with the settings of POSTGRES_TUNE."""
    defaults = {
        "max_connections": "100",
        "autovacuum_work_mem": "-1",
        "autovacuum_max_workers": "3",
        "maintenance_work_mem": "64MB",
        "work_mem": "4MB",
        "shared_buffers": "128MB",
    }
    tuned = {each.name: each.value for each in tune.tune(machine)}
    found = memory.memory(machine.memory, defaults | tuned)
    assert [OK] == [each.level for each in found]


@pytest.mark.parametrize("text", ["", "many", "1 apple", "1e999MB", "MB"])
def test_a_value_that_is_not_a_size(text: str) -> None:
    """The server judges such a value."""
    assert tune.size_bytes(text, "kB") is None


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"work_mem": "256MB"}, 64 * MB + 12 * 512 * MB),
        ({"work_mem": "256MB", "max_parallel_workers_per_gather": "0"}, 64 * MB),
        ({"max_parallel_workers": "1", "work_mem": "1GB", "hash_mem_multiplier": "1"}, 64 * MB + 2 * GB),
        ({"max_parallel_workers": "many"}, 64 * MB),
    ],
)
def test_shared_memory(wanted: dict[str, str], expected: int) -> None:
    """The memory that parallel hash joins and a parallel VACUUM can request at once."""
    assert expected == tune.shared_memory(wanted)
