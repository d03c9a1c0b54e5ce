"""What a newer major version changes by itself in what indexes hold: check names the indexes."""

from __future__ import annotations

import pytest

import containers
import upgrades
from containers import FRESH
from upgrades import ALONE, AS_OLD_MINOR, DATA, LONG

_MADE = """\
CREATE EXTENSION fuzzystrmatch;
CREATE TABLE pages (body text, plain text);
INSERT INTO pages VALUES ('added', 'Ä');
CREATE INDEX stems ON pages USING gin (to_tsvector('english', body));
CREATE INDEX sounds ON pages (soundex(body));
CREATE INDEX untouched ON pages (plain);
"""
_UNICODE = "CREATE INDEX unicode ON pages (lower(plain COLLATE pg_c_utf8))"


@pytest.mark.long
@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        ("15-bookworm", "18-sid-upgrade", ("stems",)),
        pytest.param(
            *("18-sid", "19-experimental-upgrade", ("stems", "sounds", "unicode")),
            marks=pytest.mark.preview("19-experimental-upgrade"),
        ),
    ],
)
def test_check_names_the_indexes(before: str, after: str, found: tuple[str, ...]) -> None:
    """Those of stemmed words and of sounds, and what pg_upgrade itself only warns of, with its list."""
    env = {**FRESH, "PGDATA": DATA, "POSTGRES_INITDB_ARGS": "--no-sync --locale=C.UTF-8"}
    with upgrades.home() as home:
        with containers.serve(env=env, volumes=home.volumes, image=containers.kin(before)) as server:
            server.sql(_MADE + (_UNICODE if "unicode" in found else ""))
            server.sql(AS_OLD_MINOR)
            assert 0 == server.stop(timeout=60)
        looked = containers.run(
            *("entrypoint", "upgrade", "check"),
            env={**ALONE, "PGDATA": DATA},
            volumes=home.volumes,
            image=containers.kin(after),
            timeout=LONG,
        )
        assert 1 == looked.code, looked.output
        texts = {
            "stems": "among them English and German ones; in postgres, these indexes are from before: public.stems",
            "sounds": "letters other than ASCII differently; in postgres, these indexes are from before: public.sounds",
            "unicode": "pg_upgrade warns: Your installation contains relations that might be affected by a new",
        }
        for name, text in texts.items():
            assert (name in found) == (text in looked.stdout), looked.output
        assert (") public.unicode" in looked.stdout) == ("unicode" in found), looked.output
        assert "untouched" not in looked.stdout
