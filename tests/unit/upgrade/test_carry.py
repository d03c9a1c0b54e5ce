"""What a new cluster gets of the old one's configuration and of people's own files."""

from __future__ import annotations

import os
from pathlib import Path

from entrypoint.server.context import Context
from entrypoint.system.children import Children
from entrypoint.system.identity import current
from entrypoint.upgrade import carry
from entrypoint.upgrade.carry import Refused
from unit import made


def _clusters(tmp_path: Path) -> tuple[Path, Path]:
    """Return an old and a new cluster, each with its configuration files."""
    old, new = made.cluster(tmp_path / "old"), made.cluster(tmp_path / "new", 8)
    for folder in (old, new):
        for name in ("postgresql.conf", "postgresql.auto.conf", "pg_hba.conf", "pg_ident.conf"):
            (folder / name).write_text(f"# {name} of {folder.name}\n")
    return old, new


def test_configuration_and_files_of_people(tmp_path: Path, children: Children) -> None:
    """Certificates, included files and rules of access come along; a refused line becomes a comment."""
    old, new = _clusters(tmp_path)
    (old / "server.crt").write_text("certificate")
    (old / "conf.d").mkdir()
    (old / "conf.d/one.conf").write_text("a = 1\nb = 2\n")
    (old / "entrypoint.stops").write_text("ours")
    context = Context(made.settings(), children, current(), str(tmp_path), {**os.environ, "PG_MAJOR": "17"})
    line = Refused(f"{old}/conf.d/one.conf", 2, "b", "unknown", "")
    carry.carry(context, str(old), str(new), [line])
    assert "# pg_hba.conf of old\n" == (new / "pg_hba.conf").read_text()
    assert "certificate" == (new / "server.crt").read_text()
    assert "a = 1\n#b = 2  # refused by PostgreSQL 17: unknown\n" == (new / "conf.d/one.conf").read_text()
    assert "a = 1\nb = 2\n" == (old / "conf.d/one.conf").read_text()
    assert not (new / "entrypoint.stops").exists()


def test_a_link_to_a_mounted_file_stays_one(tmp_path: Path, children: Children) -> None:
    """Later changes of that file still count, and nothing is written to it; a link within the folder is followed."""
    old, new = _clusters(tmp_path)
    mounted = tmp_path / "mounted.conf"
    mounted.write_text("shared_buffers = 1GB\n")
    (old / "real.conf").write_text("local all all trust\n")
    for name, target in (("postgresql.conf", "../mounted.conf"), ("pg_hba.conf", "real.conf")):
        (old / name).unlink()
        (old / name).symlink_to(target)
    context = Context(made.settings(), children, current(), str(tmp_path), {**os.environ, "PG_MAJOR": "17"})
    outside = Refused(f"{old}/postgresql.conf", 1, "shared_buffers", "too much", "")
    carry.carry(context, str(old), str(new), [outside])
    assert "../mounted.conf" == os.readlink(new / "postgresql.conf")
    assert "shared_buffers = 1GB\n" == mounted.read_text()
    assert not (new / "pg_hba.conf").is_symlink()
    assert "local all all trust\n" == (new / "pg_hba.conf").read_text()
