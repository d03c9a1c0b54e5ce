"""PostgreSQL 14 only records versions of collations: queries, a start and doctor work with its real programs."""

from __future__ import annotations

import json
import platform
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import containers
from containers import FRESH, Container, File

pytestmark = [
    pytest.mark.skipif(platform.machine() != "x86_64", reason="no such PostgreSQL 14 is published"),
    pytest.mark.debian,  # where its programs find their loader
]

SCRIPT = Path(__file__).parents[2] / "postgres14.sh"
SOCKETS = {"POSTGRES_CONF_unix_socket_directories": "/var/run/postgresql"}
"""The default that Debian has compiled in, unlike other builds."""
DATA = containers.data_folder()
SORTED = """
CREATE TABLE words (plain text CONSTRAINT words_plain UNIQUE, icu text COLLATE "und-x-icu" CONSTRAINT words_icu UNIQUE);
INSERT INTO words SELECT 'a' || i, 'a' || i FROM generate_series(1, 100) AS i;
UPDATE pg_collation SET collversion = '1' WHERE collname = 'und-x-icu';
"""


@pytest.fixture(scope="module")
def image() -> Iterator[str]:
    """The image under test, with the programs of 14 first on its PATH."""
    top = Path(subprocess.run((SCRIPT,), check=True, stdout=subprocess.PIPE, text=True).stdout.strip())
    files: dict[str, File] = {}
    for path in top.rglob("*"):
        name = f"14/{path.relative_to(top)}"
        if path.is_symlink():
            files[name] = containers.link(str(path.readlink()))
        elif path.is_file() and path.suffix != ".a":
            files[name] = File(path.read_bytes(), stat.S_IMODE(path.stat().st_mode))
    dockerfile = "FROM IMAGE\nCOPY 14 /opt/14\nENV PATH=/opt/14/bin:$PATH\n"
    with containers.build(dockerfile, files) as made:
        yield made


def _ask(server: Container, *words: str) -> Any:
    return json.loads(server.exec("entrypoint", "collation", *words, "--json", timeout=60).stdout)


def test_a_version_for_each_collation(image: str, volume: str) -> None:
    """Objects that depend on a changed collation are listed, repaired and their versions recorded; no others."""
    place: dict[str, Any] = {"volumes": {DATA: volume}, "image": image}
    with containers.serve(env={**FRESH, **SOCKETS}, **place) as server:
        assert "14.23" == server.sql("SHOW server_version")
        assert [] == _ask(server, "show")["changes"]
        server.sql(SORTED)
        report = _ask(server, "show")
        (change,) = report["changes"]
        assert ('"und-x-icu"', "1") == (change["collation"].rpartition(".")[2], change["recorded"])
        assert ["public.words_icu"] == [each["name"] for each in report["dependents"]]
        everything = {each["name"] for each in _ask(server, "show", "--all")["dependents"]}
        assert {"public.words_icu", "public.words_plain"} == everything
        assert 0 == server.stop()
    # This has the effect of another library: a start looks if nothing is remembered.
    containers.in_volume(volume, "rm entrypoint.collation")
    refused = containers.run(env={**SOCKETS, "COLLATION_POLICY": "refuse"}, **place)
    assert (14, True) == (refused.code, "public.words_icu" in refused.stderr)
    with containers.serve(env=SOCKETS, **place) as server:
        assert "1 is recorded, " in server.logs().stderr
        assert [] == _ask(server, "check", "--amcheck")["findings"]
        plain = server.sql("SELECT pg_relation_filenode('words_plain')")
        (rebuilt,) = _ask(server, "fix")["rebuilt"]
        assert "words_icu" in rebuilt
        assert plain == server.sql("SELECT pg_relation_filenode('words_plain')")
        assert [] == _ask(server, "show")["changes"]
        found = server.exec("entrypoint", "doctor", check=False)
        assert [] == [line for line in found.output.splitlines() if line.startswith(("ERROR", "Traceback"))]
        assert 0 == server.stop()
