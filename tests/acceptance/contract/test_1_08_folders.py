"""Row 1.8 of the contract: folders, their modes and their owners."""

from __future__ import annotations

import pytest

from containers import FRESH, Container, in_volume, run, serve

AT_VOLUME = {**FRESH, "PGDATA": "/volume/data"}
USED = {"PGDATA": "/volume/data"}


def test_folders_are_made(volume: str) -> None:
    """Parents belong to root and are open; the data folder is closed to others."""
    with serve(env={**FRESH, "PGDATA": "/volume/some/where/data"}, volumes={"/volume": volume}) as container:
        look = "cd /volume && stat --format '%n %a %U' . some some/where some/where/data some/where/data/base"
        expected = [". 755 root", "some 755 root", "some/where 755 root", "some/where/data 700 postgres"]
        assert [*expected, "some/where/data/base 700 postgres"] == container.shell(look).splitlines()
        assert "3775 postgres" == container.shell("stat --format '%a %U' /var/run/postgresql")


def test_special_bits_are_cleared(used_volume: str) -> None:
    """A data folder with setgid and sticky bits becomes 0700."""
    in_volume(used_volume, "chown 999:999 data && chmod 3750 data")
    with serve(env=USED, volumes={"/volume": used_volume}) as container:
        assert "700 postgres" == container.shell("stat --format '%a %U' /volume/data")


def test_nothing_but_the_cluster_is_in_the_data_folder(server: Container) -> None:
    """The folder stays like that of any PostgreSQL, so that the official image can take it over.

    Our only note records which library sorted the text; no server reads the note.
    """
    server.shell("gosu postgres initdb --no-sync --pgdata /tmp/plain")
    expected = {*server.shell("ls -A /tmp/plain").splitlines(), "postmaster.pid", "postmaster.opts"}
    assert expected == set(server.shell('ls -A "$PGDATA"').splitlines()) - {"entrypoint.collation"}


def test_group_access_is_undone(volume: str) -> None:
    """`--allow-group-access` affects files, but the next start of the server closes the folder."""
    env = {**AT_VOLUME, "POSTGRES_INITDB_ARGS": "--no-sync --allow-group-access"}
    with serve(env=env, volumes={"/volume": volume}) as container:
        container.stop()
        container.again()
        assert ["700", "640"] == container.shell(
            "stat --format %a /volume/data /volume/data/PG_VERSION"
        ).splitlines()


def test_wrong_owner_is_fixed(used_volume: str) -> None:
    """As root, everything that another user owns becomes postgres's; groups stay."""
    in_volume(used_volume, "chown --recursive 1234:4321 data && chmod 755 data")
    with serve(env=USED, volumes={"/volume": used_volume}) as container:
        assert "42" == container.sql("SELECT answer FROM kept")
        assert "" == container.shell("find /volume/data ! -user postgres")
        assert "700 4321" == container.shell("stat --format '%a %g' /volume/data")
        assert "4321" == container.shell("stat --format %g /volume/data/base/1/PG_VERSION")


def test_mount_of_root_is_fixed(volume: str) -> None:
    """An empty volume that belongs to root can be the data folder itself."""
    with serve(env={**FRESH, "PGDATA": "/volume"}, volumes={"/volume": volume}) as container:
        assert "700 postgres" == container.shell("stat --format '%a %U' /volume")


def test_another_user_cannot_make_folders(volume: str) -> None:
    """With `--user` a mount of root is not writable: the start fails."""
    outcome = run(env=AT_VOLUME, volumes={"/volume": volume}, options=("--user", "1234"))
    assert (1, True) == (outcome.code, "/volume/data" in outcome.stderr)


def test_another_user_cannot_take_a_data_folder(used_volume: str) -> None:
    """With `--user` another user's cluster is refused."""
    outcome = run(env=USED, volumes={"/volume": used_volume}, options=("--user", "1234"))
    assert (1, True) == (outcome.code, "/volume/data" in outcome.stderr)


@pytest.mark.parametrize("capability", ["SETUID", "SETGID"])
def test_stepping_down_needs_its_capabilities(capability: str) -> None:
    """Root that may not become postgres fails."""
    assert 1 == run(env=FRESH, options=("--cap-drop", capability)).code


def test_fixing_needs_its_capability(used_volume: str) -> None:
    """Root that may not change owners fails if an owner is wrong."""
    in_volume(used_volume, "chown --recursive 1234 data")
    outcome = run(env=USED, volumes={"/volume": used_volume}, options=("--cap-drop", "CHOWN"))
    assert (1, True) == (outcome.code, "/volume/data" in outcome.stderr)


def test_right_owner_needs_no_capability(used_volume: str) -> None:
    """If all owners are right, root starts without the right to change owners or modes."""
    drop = ("--cap-drop", "CHOWN", "--cap-drop", "FOWNER")
    with serve(env=USED, volumes={"/volume": used_volume}, options=drop) as container:
        assert "42" == container.sql("SELECT answer FROM kept")


def test_read_only_root_with_two_scratch_folders() -> None:
    """A read-only container needs its volume, `/var/run/postgresql` and `/tmp`, no more."""
    options = ("--read-only", "--tmpfs", "/var/run/postgresql", "--tmpfs", "/tmp")
    with serve(options=options) as container:
        assert "1" == container.sql("SELECT 1")
        mode, owner = container.shell("stat --format '%a %U' /var/run/postgresql").split()
        # If the server itself changes the mode last, and the group is not its own, the setgid bit is lost.
        assert ("775", "postgres") == (mode[-3:], owner)


def test_read_only_run_folder_ends_the_start() -> None:
    """Without a place for its socket the server cannot run."""
    assert 1 == run(env=FRESH, options=("--read-only", "--tmpfs", "/tmp")).code
