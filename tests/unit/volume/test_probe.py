"""The facts about the volume."""

from __future__ import annotations

from pathlib import Path

import pytest

from entrypoint import own
from entrypoint.postgres import cluster
from entrypoint.postgres.cluster import CONTROL_BYTES
from entrypoint.system.files import Mount
from entrypoint.volume import probe
from entrypoint.volume.facts import DataFolder, Unfinished
from unit import made

TYPE_CHECKING = False
if TYPE_CHECKING:
    from entrypoint.volume.facts import Stage

ANONYMOUS = "0123456789abcdef" * 4


def _cluster(path: Path) -> None:
    path.mkdir(parents=True, exist_ok=True)
    (path / "PG_VERSION").write_text("15\n")


def _look(path: Path, table: list[Mount] | None = None) -> DataFolder:
    return probe.data_folder(str(path), table or [])


def test_no_folder(tmp_path: Path) -> None:
    """A folder that does not exist contains nothing and has no owner."""
    found = _look(tmp_path / "none")
    expected = (False, False, False, None, (), None)
    assert expected == (
        found.exists,
        found.readable,
        found.has_cluster,
        found.unfinished,
        found.foreign,
        found.owner,
    )


def test_an_empty_folder(tmp_path: Path) -> None:
    """An empty folder is ready for a first start."""
    found = _look(tmp_path)
    assert (True, True, False, ()) == (found.exists, found.readable, found.has_cluster, found.foreign)
    assert tmp_path.stat().st_uid == found.owner


def test_a_cluster(tmp_path: Path) -> None:
    """PG_VERSION marks a cluster; all other files in the folder belong to the cluster's owner."""
    _cluster(tmp_path)
    (tmp_path / "server.crt").touch()
    found = _look(tmp_path)
    assert (True, (), None) == (found.has_cluster, found.foreign, found.unfinished)


def test_an_empty_version_makes_no_cluster(tmp_path: Path) -> None:
    """As in the official image; the files in the folder are named, so that they are not overwritten."""
    (tmp_path / "PG_VERSION").touch()
    found = _look(tmp_path)
    assert (False, ("PG_VERSION",)) == (found.has_cluster, found.foreign)


def test_foreign_files_are_named_in_order(tmp_path: Path) -> None:
    """Every file that is neither part of a cluster nor ours is foreign."""
    for name in ("b", "a", ".hidden"):
        (tmp_path / name).touch()
    for name in ("entrypoint.finished", ".entrypoint.done", "unfinished-20261122T180000Z", "lost+found"):
        (tmp_path / name).mkdir()
    assert (".hidden", "a", "b", "lost+found") == _look(tmp_path).foreign


@pytest.mark.parametrize(
    "name",
    [*own._ALL, *map(own.former, own._ALL), "unfinished-20261122T180000Z", ".unfinished-20261122T180000Z"],
)
def test_a_folder_with_only_our_files_counts_as_empty(tmp_path: Path, name: str) -> None:
    """Files of this or an earlier version count, complete or half written, with or without a record."""
    (tmp_path / name).mkdir()
    (tmp_path / name / "state").write_text("files \nfile /a.sh\n")
    if name.rpartition(".")[2] in ("fork", "archive-words"):
        (tmp_path / f"{name}.new").touch()
    found = _look(tmp_path)
    assert (False, ()) == (found.has_cluster, found.foreign)
    assert found.unfinished in (None, Unfinished("building", ""))
    (tmp_path / "base").mkdir()
    assert ("base",) == _look(tmp_path).foreign or _look(tmp_path).unfinished == Unfinished("files", "/a.sh")


@pytest.mark.parametrize(
    ("state", "has_cluster", "expected"),
    [
        (None, False, Unfinished("building", "")),
        (None, True, Unfinished("unknown", "")),
        ("", False, Unfinished("building", "")),
        ("building \n", True, Unfinished("unknown", "")),
        ("building discarded\n", True, Unfinished("building", "discarded")),
        ("files \n", True, Unfinished("files", "")),
        ("files \nfile /a.sh\nfile /b c.sql\n", True, Unfinished("files", "/b c.sql")),
        ("files \nfile /a.sh\nfile /b.s", True, Unfinished("files", "/b.s")),
        ("recovery 20261122-183502F\n", False, Unfinished("building", "")),
        ("recovery 20261122-183502F\n", True, Unfinished("promoted", "20261122-183502F")),
        ("something else\n", True, Unfinished("unknown", "")),
    ],
)
def test_the_record_of_an_unfinished_start(
    tmp_path: Path, state: str | None, *, has_cluster: bool, expected: Unfinished
) -> None:
    """The stage and the last file that started are read; without a stage, a cluster's state is unknown."""
    (tmp_path / "entrypoint.unfinished").mkdir()
    if state is not None:
        (tmp_path / "entrypoint.unfinished" / "state").write_text(state)
    if has_cluster:
        _cluster(tmp_path)
        (tmp_path / "postgresql.conf").touch()
    found = _look(tmp_path)
    assert (expected, ()) == (found.unfinished, found.foreign)


@pytest.mark.parametrize(
    ("state", "signal", "stage"),
    [
        (5, True, "recovery"),
        (5, False, "recovery"),
        (2, False, "recovery"),
        (6, False, "promoted"),
        (1, False, "promoted"),
    ],
)
def test_a_promotion_counts_once_the_server_has_noted_it(
    tmp_path: Path, state: int, *, signal: bool, stage: Stage
) -> None:
    """A cluster without a signal file is no primary while its state is still that of a recovery."""
    _cluster(tmp_path)
    for name in ("entrypoint.unfinished", "global"):
        (tmp_path / name).mkdir()
    (tmp_path / "entrypoint.unfinished" / "state").write_text("recovery name\n")
    control = (bytes(16) + state.to_bytes(4, "little")).ljust(CONTROL_BYTES, b"\0")
    (tmp_path / "global" / "pg_control").write_bytes(control)
    if signal:
        (tmp_path / "recovery.signal").touch()
    assert Unfinished(stage, "name") == _look(tmp_path).unfinished


OURS, OTHERS = "0700000000000000", "0800000000000000"
CLOSED, OPEN = 'postgres "-c" "listen_addresses="', 'postgres "-c" "listen_addresses=*"'


@pytest.mark.parametrize("stage", ["building", "recovery"])
@pytest.mark.parametrize(
    ("moved", "served", "whose"),
    [
        (f"{OURS}\0base", None, "ours"),
        (f"{OURS}\0base", CLOSED, "ours"),
        (f"{OURS}\0base", OPEN, "served"),
        (f"{OURS}\0base", "postgres", "served"),
        (f"{OTHERS}\0base", None, "another"),
        ("backup_label\0base", None, "earlier version"),
        (None, None, "earlier version"),
    ],
)
def test_a_cluster_that_is_not_only_our_work(
    tmp_path: Path, stage: Stage, moved: str | None, served: str | None, whose: str
) -> None:
    """Only a cluster that we made and nobody has served may be removed with an unfinished start."""
    made.cluster(tmp_path)
    (tmp_path / "recovery.signal").touch()
    work = tmp_path / "entrypoint.unfinished"
    work.mkdir()
    (work / "state").write_text(f"{stage} \n")
    if moved is not None:
        (work / "names").write_text(moved)
    if served is not None:
        (tmp_path / "postmaster.opts").write_text(f"{served}\n")
    trusted = ("ours",) if stage == "building" else ("ours", "served", "earlier version")
    assert Unfinished(stage if whose in trusted else "unknown", "") == _look(tmp_path).unfinished


def test_foreign_files_next_to_an_unfinished_start(tmp_path: Path) -> None:
    """Files that the user has put there are named, so that they are not removed with our work."""
    (tmp_path / "entrypoint.unfinished").mkdir()
    (tmp_path / "base").mkdir()
    (tmp_path / "notes").touch()
    assert ("notes",) == _look(tmp_path).foreign


VOLUMES = "/var/lib/docker/volumes"


@pytest.mark.parametrize(
    ("mount", "expected"),
    [
        (Mount("/", "/", "overlay", ""), "container layer"),
        (Mount("/", "/", "ext4", ""), "container layer"),
        (Mount("/data", "/x", "overlay", ""), "container layer"),
        (Mount("/data", f"{VOLUMES}/{ANONYMOUS}/_data", "ext4", ""), "anonymous volume"),
        (
            Mount("/data", f"/home/u/.local/share/containers/storage/volumes/{ANONYMOUS}/_data", "xfs", ""),
            "anonymous volume",
        ),
        (Mount("/data", f"{VOLUMES}/name/_data", "ext4", ""), "volume"),
        (Mount("/data", f"{VOLUMES}/cafe/_data", "ext4", ""), "volume"),
        (Mount("/data", "/", "nfs4", ""), "volume"),
        (Mount("/other", "/", "nfs4", ""), "unknown"),
    ],
)
def test_places(mount: Mount, expected: str) -> None:
    """A volume, an anonymous volume and the container's layer are distinguished by the mount."""
    found = probe.data_folder("/data", [mount])
    assert expected == found.place
    known = expected != "unknown"
    assert (mount.point if known else "", mount.filesystem if known else "unknown") == (
        found.mount_point,
        found.filesystem,
    )


def test_a_link_leads_to_its_target(tmp_path: Path) -> None:
    """PGDATA may be a link to a folder on the volume: the link's target decides."""
    (tmp_path / "volume").mkdir()
    (tmp_path / "data").symlink_to(tmp_path / "volume")
    table = [Mount("/", "/", "overlay", ""), Mount(str(tmp_path / "volume"), "/", "ext4", "")]
    assert "volume" == _look(tmp_path / "data", table).place


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in place of /var/lib/postgresql."""
    monkeypatch.setattr(cluster, "HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("places", "expected"),
    [
        ([], []),
        (["data"], ["data"]),
        (["."], ["."]),
        (["17/docker", "16/docker"], ["16/docker", "17/docker"]),
        (["data/17/docker"], ["data/17/docker"]),
        (["18/other"], []),
    ],
)
def test_old_databases(home: Path, places: list[str], expected: list[str]) -> None:
    """Data of other major versions and layouts is found in the same places as by the official image."""
    for place in places:
        _cluster(home / place)
    names = [str(home / place) if place != "." else str(home) for place in expected]
    assert tuple(names) == probe._old_databases(f"{home}/18/docker", "18", [])


def test_old_databases_are_looked_for_in_the_usual_layout_only(home: Path) -> None:
    """With another PGDATA, the user has chosen the place of the data."""
    _cluster(home / "data")
    assert () == probe._old_databases("/somewhere", "18", [])
    assert () == probe._old_databases(f"{home}/data", "17", [])


@pytest.mark.parametrize(("major", "found"), [("18", True), ("19", True), ("17", False), ("", False)])
def test_a_volume_in_a_place_that_is_no_longer_used(home: Path, major: str, *, found: bool) -> None:
    """Since 18 a mount at …/data contains nothing: the official image refuses it, and so do we."""
    mount = Mount(f"{home}/data", "/", "ext4", "")
    expected = (f"{home}/data (unused mount/volume)",) if found else ()
    assert expected == probe._old_databases(f"{home}/{major}/docker", major, [mount])


def test_stray_mounts(home: Path) -> None:
    """A named volume near misplaced data is reported if it does not contain the data folder."""
    path = f"{home}/data"
    table = [
        Mount("/", "/", "overlay", ""),
        Mount(str(home), "/var/lib/docker/volumes/name/_data", "ext4", ""),
        Mount(path, f"{VOLUMES}/{ANONYMOUS}/_data", "ext4", ""),
        Mount("/srv", "/", "ext4", ""),
    ]
    assert (str(home),) == probe._stray_mounts(probe.data_folder(path, table), table)
    assert () == probe._stray_mounts(made.data_folder(place="volume"), table)


def test_init_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hidden files do not run and are not named; a missing folder has no files."""
    monkeypatch.setattr(probe, "INIT_FOLDER", str(tmp_path))
    for name in ("b.sql", "a.sh", ".gitkeep"):
        (tmp_path / name).touch()
    assert ("a.sh", "b.sql") == probe.init_files()
    monkeypatch.setattr(probe, "INIT_FOLDER", str(tmp_path / "none"))
    assert () == probe.init_files()


def test_a_standby(tmp_path: Path) -> None:
    """PostgreSQL's own signal file decides; a half-built cluster is no standby."""
    (tmp_path / "standby.signal").touch()
    assert not _look(tmp_path).standby
    _cluster(tmp_path)
    assert _look(tmp_path).standby


@pytest.mark.parametrize(
    ("root", "expected"),
    [
        (f"/var/lib/docker/volumes/{ANONYMOUS}/_data", "anonymous volume"),
        (f"/volumes/docker/volumes/{ANONYMOUS}/_data/below", "anonymous volume"),
        ("/var/lib/docker/volumes/mine/_data", "volume"),
        (f"/var/lib/docker/volumes/{ANONYMOUS[1:]}g/_data", "volume"),
        (f"/srv/{ANONYMOUS}/_data", "volume"),
    ],
)
def test_anonymous_volumes_are_known_by_their_names(root: str, expected: str) -> None:
    """The folder in which the container engine keeps them does not matter."""
    assert expected == probe.place(Mount("/data", root, "ext4", "rw"))
