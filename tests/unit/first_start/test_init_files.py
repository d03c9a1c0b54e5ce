"""The noted digests of init files, which show later changes."""

from __future__ import annotations

from pathlib import Path

from entrypoint import own
from entrypoint.first_start import init_files
from unit import made


def test_the_note_is_read(tmp_path: Path) -> None:
    """Digests are noted by name, which may have any character but a line feed.

    Hidden files and folders are skipped.
    """
    folder, data = tmp_path / "files", str(made.cluster(tmp_path / "data"))
    (folder / "sub").mkdir(parents=True)
    for name in ("1 a.sql", "2.sh", ".hidden"):
        (folder / name).write_text(name)
    init_files.note(data, str(folder))
    noted = init_files.noted(data)
    assert noted == init_files.digests(str(folder))
    assert ["1 a.sql", "2.sh"] == [*(noted or {})]
    (folder / "2.sh").write_text("changed")
    now = init_files.digests(str(folder))
    assert ["2.sh"] == [name for name, digest in now.items() if (noted or {})[name] != digest]


def test_a_failed_note_ends_no_start(tmp_path: Path) -> None:
    """Without a folder there is nothing to note; without a cluster nothing is written."""
    data = str(made.cluster(tmp_path))
    assert init_files.noted(data) is None
    init_files.note(data, "/nowhere")
    assert {} == init_files.noted(data)
    (tmp_path / own.INIT).unlink()
    (tmp_path / own.INIT).mkdir()
    init_files.note(data, "/nowhere")
    assert init_files.noted(data) is None
