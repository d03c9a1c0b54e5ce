"""Our files in the data folder are visible, go with `rm -rf data/*`, and are in nobody's way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest

import containers
from containers import FRESH, Container, Files, Outcome, complaints, in_volume, run, script, serve, start
from repository import REPOSITORY

DATA = "/volume/data"
ENV = {**FRESH, "PGDATA": DATA}
INIT = "/docker-entrypoint-initdb.d"
LOOKS: Files = {f"{INIT}/look.sh": 'ls -A "$PGDATA" >/tmp/meanwhile\n'}
ARCHIVE = {"ARCHIVE_URL": "file:///volume/archive", "ARCHIVE_TOOL": "pgbackrest"}
NOTED = "archive backups collation drills init stops".split()
"""The files that a server with an archive leaves at least."""

#: The official script, with the image's programs, step by step.
OFFICIAL: Files = {
    "/official.sh": script((REPOSITORY / "benchmarks/official.sh").read_text(encoding="utf-8"))
}
AS_OFFICIAL = ("--entrypoint", "/official.sh")

EMPTY = (
    'rm -rf "$PGDATA"/*',
    'rm -rf "${PGDATA:?}/"*',
    'shopt -s dotglob; rm -rf "$PGDATA"/*',
    'find "$PGDATA" -mindepth 1 -delete',
)
"""How people empty a data folder."""


def left(volume: str) -> str:
    """The names that `rm -rf data/*` leaves."""
    return in_volume(volume, "rm -rf data/*; ls -A data")


def hidden(volume: str) -> str:
    """The names that begin with a dot, anywhere in the data folder."""
    return in_volume(volume, "find data -name '.*'")


def official(volume: str) -> Outcome | None:
    """None if the official script serves the volume, else how it ended."""
    with start(
        "postgres", env=ENV, files=OFFICIAL, volumes={"/volume": volume}, options=AS_OFFICIAL
    ) as container:
        try:
            container.ready()
        except AssertionError:
            return container.logs()._replace(code=container.wait())
        assert 0 == container.stop("INT")
    return None


def answers(container: Container) -> None:
    """Wait until a server answers, even if it is a standby."""
    asked = ("psql", "-qAtX", "-h", "127.0.0.1", "-U", "postgres", "-c", "SELECT 1")
    containers.until(lambda: container.exec(*asked, check=False).code == 0, "it answers", 60)


@contextmanager
def built(volume: str, **more: str) -> Iterator[Container]:
    """A server that was restored from the archive, or follows it."""
    with start(env={"PGDATA": DATA, **ARCHIVE, **more}, volumes={"/volume": volume}) as container:
        container.says("restore is complete" if "RESTORE_FROM" in more else "the standby is built", 60)
        answers(container)
        assert "42" == container.sql("SELECT answer FROM kept")
        yield container


BUILT: Mapping[str, Mapping[str, str]] = {"restore": {"RESTORE_FROM": "LATEST"}, "standby": {"STANDBY": "on"}}


@contextmanager
def initialized(env: Mapping[str, str], volumes: Mapping[str, str], **texts: str) -> Iterator[Container]:
    """A server after its init files, which may have started another server."""
    files: Files = {f"{INIT}/{name}.sh": text for name, text in texts.items()}
    with start(env=env, files=files, volumes=volumes) as container:
        container.says("PostgreSQL init process complete", 60)
        answers(container)
        yield container


def again(volume: str, env: Mapping[str, str] = ENV) -> None:
    """Our next start makes a new database, in which nothing is hidden."""
    with serve(env=env, files=LOOKS, volumes={"/volume": volume}) as container:
        assert "0" == container.sql("SELECT count(*) FROM pg_class WHERE relname = 'kept'")
        assert 0 == container.stop()
    assert "" == hidden(volume)


@pytest.fixture(scope="module")
def archived() -> Iterator[str]:
    """A volume with notes of every kind: from init files, an archive, a backup, a drill and stops."""
    with containers.volume() as volume:
        in_volume(volume, "install --directory --owner=postgres archive drill")
        env = {**ENV, **ARCHIVE, "DRILL_FOLDER": "/volume/drill"}
        with serve(env=env, files=LOOKS, volumes={"/volume": volume}) as container:
            container.sql("CREATE TABLE kept AS SELECT 42 AS answer")
            container.exec("entrypoint", "backup", "push", timeout=120)
            container.exec("entrypoint", "backup", "drill", timeout=120)
            assert 0 == container.stop()
        yield volume


@contextmanager
def copied(volume: str) -> Iterator[str]:
    """A copy of a volume, to be emptied."""
    with containers.copied_volume(volume) as name:
        yield name


@pytest.mark.better
def test_all_our_files_are_visible(archived: str) -> None:
    """Notes of every kind exist; none is hidden, and `rm -rf data/*` removes all of them."""
    with copied(archived) as volume:
        ours = in_volume(volume, "cd data; ls -d entrypoint*").split()
        assert {f"entrypoint.{name}" for name in NOTED} <= set(ours)
        assert ("", "") == (hidden(volume), left(volume))


@pytest.mark.better
def test_any_start_works_on_an_emptied_folder(archived: str) -> None:
    """The official script, our first start, a restore and a standby work on the emptied folder."""
    for what in ("official", "ours", "restore", "standby"):
        with copied(archived) as volume:
            assert "" == left(volume)
            if what == "official":
                assert official(volume) is None
            elif what == "ours":
                again(volume)
            else:
                with built(volume, **BUILT[what]) as container:
                    assert 0 == container.stop()
                assert ("", "") == (hidden(volume), left(volume))


@pytest.mark.better
@pytest.mark.parametrize("what", ["plain", "restore", "standby"])
def test_a_folder_with_only_our_files_counts_as_empty(archived: str, what: str) -> None:
    """Files of an earlier version, which `rm -rf data/*` has left, and of this one are removed."""
    with copied(archived) as volume:
        in_volume(
            volume,
            f"""
            find data -mindepth 1 ! -path 'data/entrypoint.*' -delete; cd data
            mv entrypoint.collation .entrypoint.collation; mv entrypoint.backups .entrypoint.backups
            echo '{{"state": "refused", "what": "old", "mend": "old"}}' >.entrypoint.fork
            mkdir .entrypoint .entrypoint.done
            echo 'files ' >.entrypoint/state; echo 'file {INIT}/1.sql' >>.entrypoint/state
            touch .entrypoint.fork.new; chown -R postgres: .
            """,
        )
        if what == "plain":
            again(volume)
            noted = in_volume(volume, "cd data; ls -d entrypoint*").split()
            assert ["entrypoint.collation", "entrypoint.init", "entrypoint.stops"] == noted
            return
        with built(volume, **BUILT[what]) as container:
            assert "old" not in container.shell("cat $PGDATA/entrypoint.fork")
        assert "" == hidden(volume)


@pytest.mark.better
def test_notes_of_an_earlier_version_are_carried_over(archived: str) -> None:
    """A refused fork still does not archive; backups, drills and the archive's mark stay known."""
    with copied(archived) as volume:
        names = in_volume(volume, "cd data; ls -d entrypoint*").split()
        before = in_volume(
            volume,
            """
            cd data; for name in entrypoint*; do mv $name .$name; done
            echo '{"state": "refused", "url": "file:///volume/archive", "what": "another", "mend": "see"}' >.entrypoint.fork
            chown postgres: .entrypoint.fork; mkdir .unfinished-20261122T180000Z; touch .unfinished-20261122T180000Z/theirs
            cat .entrypoint.archive .entrypoint.backups .entrypoint.drills .entrypoint.init .entrypoint.fork
            """,
        )
        told = run(
            "entrypoint",
            "backup",
            "list",
            env={"PGDATA": DATA, **ARCHIVE},
            volumes={"/volume": volume},
            timeout=60,
        )
        with serve(env={"PGDATA": DATA, **ARCHIVE}, volumes={"/volume": volume}) as container:
            assert "off" == container.sql("SHOW archive_mode")
            assert "42" == container.sql("SELECT answer FROM kept")
            after = container.exec("entrypoint", "backup", "list", timeout=60)
            assert told.stdout == after.stdout
            assert 0 == container.stop()
        kept = [f"entrypoint.{name}" for name in ("archive", "backups", "drills", "init", "fork")]
        assert before == in_volume(volume, f"cd data; cat {' '.join(kept)}")
        assert {*names, "entrypoint.fork"} == set(in_volume(volume, "cd data; ls -d entrypoint*").split())
        assert ("", "theirs") == (hidden(volume), in_volume(volume, "ls data/unfinished-20261122T180000Z"))


@pytest.mark.parametrize("empty", EMPTY)
def test_a_folder_that_is_emptied_under_the_server_stays_empty(volume: str, empty: str) -> None:
    """A stop writes nothing into it; then the same or another container makes a new database there."""
    with serve(env=ENV, volumes={"/volume": volume}) as container:
        container.sql("CREATE TABLE kept AS SELECT 42 AS answer")
        container.exec("bash", "-c", empty)
        container.stop()
        assert "" == in_volume(volume, "ls -A data")
        container.again()
        assert "0" == container.sql("SELECT count(*) FROM pg_class WHERE relname = 'kept'")
        container.exec("bash", "-c", empty)
        container.stop()
    assert official(volume) is None


@pytest.mark.better
@pytest.mark.parametrize("signal", ["INT", "TERM", "QUIT"])
def test_a_cluster_that_is_put_there_under_the_server_stays_as_it_is(
    volume: str, used_volume: str, signal: str
) -> None:
    """A stop writes neither a note nor a last checkpoint of the old server there."""
    digests = "find data -type f -not -path 'data/pg_stat/*' -exec sha256sum {} + | sort"
    expected = in_volume(used_volume, f"rm data/entrypoint*; {digests}")
    with serve(env=ENV, volumes={"/volume": volume, "/other": used_volume}) as container:
        container.exec("bash", "-c", 'rm -rf "$PGDATA"/*; cp -a /other/data/. "$PGDATA"')
        container.stop(signal)
    assert expected == in_volume(volume, digests)
    with serve(env={"PGDATA": DATA}, volumes={"/volume": volume}) as container:
        assert "42" == container.sql("SELECT answer FROM kept")


@pytest.mark.better
def test_a_base_backup_is_taken_into_an_emptied_folder(used_volume: str, volume: str) -> None:
    """This includes a backup of this image's own cluster, whose notes are copied and are still valid."""
    again(volume)
    assert "" == left(volume)
    env = {**ENV, "PGDATA": DATA}
    with serve(env=env, volumes={"/volume": used_volume, "/other": volume}) as container:
        container.exec(
            *("pg_basebackup", "-D", "/other/data", "-U", "postgres", "-c", "fast", "-X", "stream"),
            user="postgres",
        )
    with serve(env=env, volumes={"/volume": volume}) as container:
        assert "42" == container.sql("SELECT answer FROM kept")
    assert "" == hidden(volume)


def test_nothing_hidden_is_there_while_init_files_run(volume: str) -> None:
    """Another program's script sees every file there, and `rm -rf "$PGDATA"/*` empties the folder."""
    with serve(env=ENV, files=LOOKS, volumes={"/volume": volume}) as container:
        names = container.shell("cat /tmp/meanwhile").splitlines()
        assert "PG_VERSION" in names
        assert [] == [name for name in names if name.startswith(".")]


@pytest.fixture(scope="module")
def primary() -> Iterator[Container]:
    """A server that anybody may copy."""
    env = {**FRESH, "POSTGRES_HOST_AUTH_METHOD": "trust\nhost replication all all trust"}
    with serve(env=env) as container:
        container.sql("CREATE TABLE kept AS SELECT 42 AS answer")
        yield container


CLONE = """\
#!/bin/bash
set -e
pg_ctl -D "$PGDATA" -m fast -w stop
EMPTY
pg_basebackup -h PRIMARY -U postgres -D "$PGDATA" -R -X stream -c fast
START
"""
RESTART = 'pg_ctl -D "$PGDATA" -w start'


@pytest.mark.parametrize("empty", EMPTY)
def test_an_init_file_makes_a_replica(primary: Container, volume: str, empty: str) -> None:
    """Its well-known steps are: stop, remove all, pg_basebackup, start. The standby streams, even later."""
    text = CLONE.replace("EMPTY", empty).replace("PRIMARY", primary.address).replace("START", RESTART)
    with initialized(ENV, {"/volume": volume}, clone=text, then="echo all is there\n") as container:
        for _ in range(2):
            answers(container)
            assert "t" == container.sql("SELECT pg_is_in_recovery()")
            assert "42" == container.sql("SELECT answer FROM kept")
            containers.until(
                lambda: container.sql("SELECT status FROM pg_stat_wal_receiver") == "streaming", "it streams"
            )
            container.stop()
            container.begin()
        assert "all is there" in container.logs().output
    assert "" == in_volume(volume, "ls -d data/*unfinished* 2>/dev/null || true")
    assert "" == left(volume)


COPIES = {
    "cp": 'rm -rf "$PGDATA"/*; cp -a /other/data/. "$PGDATA"',
    "tar": 'find "$PGDATA" -mindepth 1 -delete; tar -C /other/data -c . | tar -C "$PGDATA" -x',
    "over it": 'cp -a /other/data/. "$PGDATA"',
    "folder recreated": 'rm -rf "$PGDATA"; cp -a /other/data "$PGDATA"',
}


@pytest.mark.parametrize("copy", COPIES.values(), ids=COPIES)
@pytest.mark.parametrize("again", [RESTART, ""], ids=["started", "left to the entrypoint"])
def test_an_init_file_puts_another_cluster_there(
    volume: str, used_volume: str, request: pytest.FixtureRequest, copy: str, again: str
) -> None:
    """The file uses cp or tar, with or without emptying the folder; the cluster is served and locked."""
    if not again:
        request.applymarker(pytest.mark.better)  # the official script expects a server that it can stop
    in_volume(volume, "install --directory --owner=postgres place")
    text = f'#!/bin/bash\nset -e\npg_ctl -D "$PGDATA" -m fast -w stop\n{copy}\n{again}\n'
    env, volumes = {**FRESH, "PGDATA": "/volume/place/data"}, {"/volume": volume, "/other": used_volume}
    with initialized(env, volumes, other=text) as container:
        assert "42" == container.sql("SELECT answer FROM kept")
        container.stop()
        container.again()
        assert "42" == container.sql("SELECT answer FROM kept")
        assert "" == container.shell(
            "find $PGDATA -name '.*'; ls -d $PGDATA/*unfinished* 2>/dev/null || true"
        )


@pytest.mark.better
def test_a_folder_that_init_files_recreated_is_locked(volume: str, used_volume: str) -> None:
    """The lock was on the removed folder, but the volume still allows only one server."""
    in_volume(volume, "install --directory --owner=postgres place")
    text = f'#!/bin/bash\nset -e\npg_ctl -D "$PGDATA" -w stop\n{COPIES["folder recreated"]}\n'
    env, volumes = {**FRESH, "PGDATA": "/volume/place/data"}, {"/volume": volume, "/other": used_volume}
    with serve(env=env, files={f"{INIT}/1.sh": script(text)}, volumes=volumes):
        second = run(env=env, volumes=volumes)
        assert (11, True) == (second.code, "is in use by" in complaints(second)[0])


@pytest.mark.better
def test_a_cluster_under_a_running_server_is_not_written_to(volume: str, used_volume: str) -> None:
    """If an init file forgets to stop the server, its last writes must not go into the other cluster."""
    text = f"#!/bin/bash\nset -e\n{COPIES['cp']}\n"
    volumes = {"/volume": volume, "/other": used_volume}
    with serve(env=ENV, files={f"{INIT}/1.sh": script(text)}, volumes=volumes) as container:
        assert "42" == container.sql("SELECT answer FROM kept")
        assert "was shut down at" in container.logs().output


@pytest.mark.better
@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"{EMPTY[0]}\nexit 3", f"{INIT}/2.sh failed with exit code 3"),
        (f"{EMPTY[3]}\nfalse", f"{INIT}/2.sh failed with exit code 1"),
        (EMPTY[0], "left no database"),
    ],
    ids=["exit 3", "false", "nothing put there"],
)
def test_an_init_file_that_fails_after_it_has_emptied_the_folder(volume: str, text: str, words: str) -> None:
    """The message names it, and the next start begins from scratch: there is no half database."""
    failing = {f"{INIT}/2.sh": script(f'#!/bin/bash\nset -e\npg_ctl -D "$PGDATA" -w stop\n{text}\n')}
    outcome = run(env=ENV, files=failing, volumes={"/volume": volume})
    assert words in " ".join(complaints(outcome))
    assert "" == in_volume(volume, "ls -A data")
    again(volume)


@pytest.mark.better
def test_the_official_script_in_the_midst_of_an_init_file(volume: str) -> None:
    """It serves the cluster, as it serves its own half one; we then refuse it, and do not remove it."""
    with start(
        env=ENV, files={f"{INIT}/1.sh": "echo waiting now; sleep 60\n"}, volumes={"/volume": volume}
    ) as one:
        one.says("waiting now")
        one.kill()
        one.wait()
    assert official(volume) is None
    refused = run(env=ENV, volumes={"/volume": volume})
    assert (10, True) == (refused.code, f"rm -r {DATA}/entrypoint.unfinished" in complaints(refused)[0])
    assert "" == left(volume)
    again(volume)


@pytest.mark.better
def test_the_official_script_in_the_midst_of_initdb(volume: str) -> None:
    """Without PG_VERSION it refuses, as with its own half cluster; only visible files are in its way."""
    env = {**ENV, "POSTGRES_INITDB_ARGS": "--encoding=UTF8"}
    with start(env=env, volumes={"/volume": volume}) as container:
        container.says("creating configuration files ... ok")
        container.kill()
        container.wait()
    assert "entrypoint.unfinished" == in_volume(volume, "ls -A data")
    refused = official(volume)
    assert refused is not None
    assert "exists but is not empty" in refused.output
    assert "" == left(volume)
    assert official(volume) is None


@pytest.mark.better
@pytest.mark.parametrize("name", ["entrypoint.unfinished", ".entrypoint"])
def test_a_cluster_that_the_official_script_served_is_never_removed(used_volume: str, name: str) -> None:
    """After a kill before any init file, a start begins from scratch only on our own work."""
    in_volume(
        used_volume,
        f"""
        cd data; mkdir {name}; echo 'building ' >{name}/state
        printf '%s\\0PG_VERSION' $(od -A n -t x1 -N 8 global/pg_control | tr -d ' ') >{name}/names
        chown -R postgres: {name}
        """,
    )
    assert official(used_volume) is None
    refused = run(env=ENV, volumes={"/volume": used_volume})
    assert (10, True) == (refused.code, "another server has used the database" in complaints(refused)[0])
    in_volume(used_volume, "rm -r data/*entrypoint.unfinished data/.entrypoint 2>/dev/null || true")
    with serve(env={"PGDATA": DATA}, volumes={"/volume": used_volume}) as container:
        assert "42" == container.sql("SELECT answer FROM kept")
