"""What the watch makes of its looks."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from entrypoint import own
from entrypoint.noted import ledger
from entrypoint.noted.conditions import Condition, Noted
from entrypoint.noted.ledger import Record
from entrypoint.volume import notes
from entrypoint.watch.forecast import Point
from entrypoint.watch.loop import Watch
from unit import made


def test_each_filesystem_has_a_forecast_of_its_own() -> None:
    """The archive fills up, the data does not; on a third disk the inodes are used up before the bytes."""

    def falling(start: int, step: int) -> tuple[Point, ...]:
        return tuple(Point(60.0 * number, start - step * number) for number in range(20))

    watch: Any = SimpleNamespace(
        points={
            ("/data", "bytes"): falling(1000, 0),
            ("/archive", "bytes"): falling(1000, 10),
            ("/fast", "bytes"): falling(1000, 10),
            ("/fast", "inodes"): falling(500, 10),
        }
    )
    assert {"/archive": 4860, "/fast": 1860} == Watch._forecast(watch)


def test_the_record_of_another_node(tmp_path: Path) -> None:
    """A standby is a copy of the leader, with what the leader has noted: its conditions did not begin here."""
    folder = str(made.cluster(tmp_path))
    noted = Noted((Condition("archive", "error", 1.0, "it fails"),), total=0)
    started_over = []

    class Copy(Watch):
        data_folder = folder

        def __init__(self, node: str) -> None:
            self.node, self.logged, self.written = node, 0, Record()
            self.notifier: Any = SimpleNamespace(start_over=lambda: started_over.append(node))

    for writer, reader, kept in (
        ("db1", "db1", True),
        ("db1", "db2", False),
        ("", "db2", True),
        ("db1", "", True),
    ):
        notes.write(folder, own.WATCH, ledger.write(Record(noted, node=writer)))
        watch = Copy(reader)
        watch._read_record()
        assert (reader, kept) == (watch.record.node, bool(watch.record.noted.conditions))
    assert ["db2"] == started_over
