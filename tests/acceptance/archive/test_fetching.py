"""Recovery from an archive with a hole, with damage, or out of reach: the archive must not seem to end there."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest

import archives
import containers
from archives import LATEST, TOOLS, Archive, write
from containers import FRESH, Container
from s3 import S3

SHORT = {**LATEST, "ARCHIVE_COMMAND_TIMEOUT": "8"}
SEGMENTS = 6

LONG = pytest.mark.long
DAMAGES = (
    *(pytest.param("pgbackrest", {"PGBACKREST_COMPRESS_TYPE": name}, marks=marks, id=f"pgbackrest-{name}")
      for name, marks in (("lz4", ()), ("none", ()), ("gz", LONG), ("bz2", LONG), ("zst", LONG))),
    *(pytest.param("wal-g", {"WALG_COMPRESSION_METHOD": name}, marks=pytest.mark.walg, id=f"wal-g-{name}")
      for name in ("lz4", "zstd")),
)  # fmt: skip
"""Both tools with every compression that segments may have."""


def _fill(archive: Archive, env: dict[str, str]) -> None:
    """Store a backup and segments after it, full of incompressible data, with a row for each."""
    noise = "SELECT string_agg(sha512(random()::text::bytea)::text, '') FROM generate_series(1, 60000)"
    with archive.serve({**FRESH, **env}) as server:
        server.exec("entrypoint", "backup", "push", timeout=60)
        server.sql("CREATE TABLE kept (i int)")
        for _ in range(SEGMENTS):
            server.sql(f"SELECT pg_logical_emit_message(true, 'noise', ({noise}))")
            server.sql("INSERT INTO kept VALUES (1)")
            server.sql("SELECT pg_switch_wal()")
        server.sql("SELECT pg_create_restore_point('end')")
        server.sql("SELECT pg_switch_wal()")
        assert 0 == server.stop(timeout=60)


BEYOND_THE_PLAN: Mapping[str, str] = {"RESTORE_TARGET_NAME": "end"}
"""Only the replay can find out whether a name comes before a hole; for the archive's end the plan refuses."""


@pytest.fixture(scope="module", params=TOOLS)
def source(request: pytest.FixtureRequest) -> Iterator[Archive]:
    """An archive in a folder, of a cluster that is gone."""
    with archives.made(request.param, None) as made:
        _fill(made, {})
        yield made


@pytest.fixture
def archive(source: Archive) -> Iterator[Archive]:
    """A copy of the archive that a test may damage."""
    with source.copy() as copy:
        yield copy


def _change(archive: Archive, segment: str, text: str) -> None:
    """Run a piece of shell that changes the file of a segment, $f."""
    containers.in_volume(archive.volume, f'f=$(find . -name "{segment}[-.]*" ! -name "*.backup*"); {text}')


def _put_back(archive: Archive, lost: str, beside: str) -> None:
    containers.in_volume(
        archive.volume,
        f'f=$(find . -name "kept-{lost}*"); d=$(dirname "$(find . -name "{beside}[-.]*")"); '
        'mv "$f" "$d/${f#./kept-}"',
    )


_FLIP = "size=$(stat -c %s $f); printf XXXX | dd of=$f bs=1 seek=$((size * 2 / 5)) conv=notrunc status=none"
_CUT = "truncate -s $(($(stat -c %s $f) / 2)) $f"


def _refused(container: Container, segment: str, timeout: float = 90) -> str:
    """Return the log of a restore that must end without a promotion and name the segment."""
    container.begin()
    assert 0 != container.wait(timeout)
    said = container.logs().output
    assert "selected new timeline" not in said
    (line,) = [line for line in said.splitlines() if "recovery stops here" in line]
    assert segment in line
    return said


def test_a_hole_is_not_the_end_of_the_archive(archive: Archive) -> None:
    """The server does not promote; the message has both names; once the segment is back, every row is there."""
    names = archive.segments()
    lost = names[len(names) // 2]
    _change(archive, lost, 'mv $f "./kept-$(basename $f)"')
    planned = archive.run(LATEST, timeout=40)
    assert 12 == planned.code, planned.output
    assert f"lacks the WAL segments {lost} to {lost}" in planned.stderr
    assert "fetching backup" not in planned.output
    with archive.create({**SHORT, **BEYOND_THE_PLAN}) as restored:
        said = _refused(restored, lost)
        later = names[names.index(lost) + 1]
        assert f"{lost} is missing from the archive, which holds the later {later}" in said
        assert "hint: restore to a target before it" in said
        _put_back(archive, lost, later)
        restored.begin()
        restored.ready(60)
        assert str(SEGMENTS) == restored.sql("SELECT count(*) FROM kept")


def test_the_way_out_of_a_hole_works(archive: Archive) -> None:
    """The refusal's own target restores what was archived before the hole, and nothing else is needed."""
    names = archive.segments()
    lost = names[len(names) // 2]
    _change(archive, lost, "rm $f")
    refused = archive.run(LATEST, timeout=40)
    (target,) = re.findall("RESTORE_TARGET_LSN=([0-9A-F/]+)", refused.stderr)
    with archive.serve({**SHORT, "RESTORE_TARGET_LSN": target}, timeout=90) as restored:
        assert 0 < int(restored.sql("SELECT count(*) FROM kept")) < SEGMENTS


def test_a_hole_that_is_filled_meanwhile_does_no_harm(archive: Archive) -> None:
    """Archivers push several segments at once: a missing segment may only be late."""
    names = archive.segments()
    lost, later = names[-4], names[-3]
    _change(archive, lost, 'mv $f "./kept-$(basename $f)"')
    with archive.create({**LATEST, **BEYOND_THE_PLAN, "ARCHIVE_COMMAND_TIMEOUT": "60"}) as restored:
        restored.begin()
        restored.says(f"{lost} cannot be fetched from the archive (hole)", 60)
        _put_back(archive, lost, later)
        restored.ready(60)
        assert str(SEGMENTS) == restored.sql("SELECT count(*) FROM kept")
        assert 1 == restored.logs().output.count("works again")


@pytest.mark.parametrize(("tool", "env"), DAMAGES)
def test_damage_is_not_replayed(tool: str, env: dict[str, str]) -> None:
    """A segment that was changed or cut short stops the recovery, even if it was fetched ahead."""
    with archives.made(tool, None) as source:
        _fill(source, env)
        names = source.segments()
        for number, text in ((-5, _FLIP), (-4, _CUT)):
            with source.copy() as broken:
                _change(broken, names[number], text)
                with broken.create({**LATEST, **env}) as restored:
                    began = time.monotonic()
                    said = _refused(restored, names[number]) if text == _FLIP else _stopped(restored)
                    assert names[number] in said
                    assert time.monotonic() - began < 60, "nobody waits for a damaged segment"
        with source.copy() as whole, whole.serve({**LATEST, **env}, timeout=60) as restored:
            assert str(SEGMENTS) == restored.sql("SELECT count(*) FROM kept")
            assert "" == restored.shell(
                "ls -d $PGDATA/pg_wal/.wal-g /run/*/*/spool/archive/*/in 2>/dev/null || true"
            )


def _stopped(container: Container) -> str:
    container.begin()
    assert 0 != container.wait(90)
    said = container.logs().output
    assert "selected new timeline" not in said
    return said


@contextmanager
def _cut_off(tool: str, road: S3) -> Iterator[Container]:
    """Yield a container in the middle of a replay of 25 rows that has noticed that its storage is away."""
    with archives.made(tool, road) as archive:
        with archive.serve(FRESH) as server:
            server.exec("entrypoint", "backup", "push", timeout=60)
            write(server, 25)
            assert 0 == server.stop()
        # Each attempt of pgBackRest ends sooner: 2.55 makes more of them than 2.45 before it gives up.
        sooner = {"PGBACKREST_IO_TIMEOUT": "2"} if tool == "pgbackrest" else {}
        with archive.create({**LATEST, **sooner}) as restored:
            restored.begin()
            restored.says("redo starts", 60)
            road.relay.cut()
            restored.says("cannot be fetched from the archive", 90)
            yield restored


@pytest.mark.parametrize("tool", TOOLS)
def test_a_replay_waits_for_a_storage_that_comes_back_in_time(tool: str, road: S3) -> None:
    """It continues by itself to the last row, and says so once."""
    with _cut_off(tool, road) as restored:
        time.sleep(5)
        road.relay.restore()
        restored.ready(90)
        said = restored.logs().output
        assert (1, 1) == (said.count("cannot be fetched"), said.count("works again"))
        assert "25" == restored.sql("SELECT count(*) FROM kept")


@pytest.mark.long
@pytest.mark.parametrize("tool", TOOLS)
def test_a_stop_during_an_outage_is_not_delayed(tool: str, road: S3) -> None:
    """`docker stop` of a restore that waits for its storage ends soon, and nothing is left running."""
    with _cut_off(tool, road) as restored:
        began = time.monotonic()
        restored.stop(timeout=60)
        assert time.monotonic() - began < 10
        road.relay.restore()
        restored.begin()
        restored.ready(90)
        assert "25" == restored.sql("SELECT count(*) FROM kept")
