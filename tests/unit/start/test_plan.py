"""What a start does, given the settings and the facts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrypoint import exits
from entrypoint.errors import no_permission
from entrypoint.settings.values import Settings
from entrypoint.start import plan
from entrypoint.start.plan import Plan
from entrypoint.volume.facts import DataFolder, Facts, Unfinished
from unit import made

TYPE_CHECKING = False
if TYPE_CHECKING:
    from entrypoint.volume.facts import Stage

ARCHIVE = {"ARCHIVE_URL": "file:///archive"}
RESTORE = {**ARCHIVE, "RESTORE_FROM": "LATEST"}
RESTART = {"POSTGRES_INIT_UNFINISHED": "restart"}
NO_PASSWORD = {"POSTGRES_PASSWORD": ""}
CLUSTER = made.facts(made.data_folder(has_cluster=True))
EMPTY = made.facts()


def _whats(decided: Plan) -> list[str]:
    assert [] == [each for each in decided.refusals + decided.warnings if not each.hint]
    return [refusal.what for refusal in decided.refusals]


@pytest.mark.parametrize(
    ("values", "found", "expected"),
    [
        ({}, CLUSTER, Plan(plan.START, discard=False, move_aside=False, refusals=(), warnings=())),
        (RESTORE, CLUSTER, Plan(plan.START, discard=False, move_aside=False, refusals=(), warnings=())),
        (NO_PASSWORD, CLUSTER, Plan(plan.START, discard=False, move_aside=False, refusals=(), warnings=())),
        ({}, EMPTY, Plan(plan.INITIALIZE, discard=False, move_aside=False, refusals=(), warnings=())),
        (
            {},
            made.facts(made.data_folder(exists=False, readable=False, owner=None)),
            Plan(plan.INITIALIZE, discard=False, move_aside=False, refusals=(), warnings=()),
        ),
        (RESTORE, EMPTY, Plan(plan.RESTORE, discard=False, move_aside=False, refusals=(), warnings=())),
        (
            {**RESTORE, **NO_PASSWORD},
            EMPTY,
            Plan(plan.RESTORE, discard=False, move_aside=False, refusals=(), warnings=()),
        ),
        (
            {},
            made.unfinished("building"),
            Plan(plan.INITIALIZE, discard=True, move_aside=False, refusals=(), warnings=()),
        ),
        (
            RESTORE,
            made.unfinished("building", has_cluster=False),
            Plan(plan.RESTORE, discard=True, move_aside=False, refusals=(), warnings=()),
        ),
        (
            RESTART,
            made.unfinished("files", "/docker-entrypoint-initdb.d/a.sql"),
            Plan(plan.INITIALIZE, discard=False, move_aside=True, refusals=(), warnings=()),
        ),
        (
            RESTART,
            made.unfinished("unknown"),
            Plan(plan.INITIALIZE, discard=False, move_aside=True, refusals=(), warnings=()),
        ),
        (
            ARCHIVE,
            made.unfinished("recovery", "base_1"),
            Plan(plan.RECOVER, discard=False, move_aside=False, refusals=(), warnings=()),
        ),
        (
            {**RESTORE, **RESTART},
            made.unfinished("recovery", "base_1"),
            Plan(plan.RECOVER, discard=False, move_aside=False, refusals=(), warnings=()),
        ),
    ],
)
def test_the_plan(values: dict[str, str], found: Facts, expected: Plan) -> None:
    """The state of the volume decides first, the settings second."""
    assert expected == plan.decide(made.settings(values), found)


def test_a_first_start_needs_a_password() -> None:
    """Without a password nothing is created; the message contains the official image's text."""
    (refusal,) = plan.decide(made.settings(NO_PASSWORD), EMPTY).refusals
    assert "superuser password is specified" in refusal.what
    assert "POSTGRES_PASSWORD_FILE" in refusal.hint
    assert exits.FAILURE == refusal.code


@pytest.mark.parametrize("method", ["trust", "trust clientcert=verify-ca"])
def test_trust_needs_no_password_but_causes_a_warning(method: str) -> None:
    """Without authentication no password is needed; the warning says what that means."""
    values = {**NO_PASSWORD, "POSTGRES_HOST_AUTH_METHOD": method}
    decided = plan.decide(made.settings(values), EMPTY)
    assert [] == _whats(decided)
    assert [True] == ["POSTGRES_HOST_AUTH_METHOD" in each.what for each in decided.warnings]
    assert () == plan.decide(made.settings(values), CLUSTER).warnings


@pytest.mark.parametrize("stage", ["files", "unknown"])
def test_a_half_initialized_database_is_refused(stage: Stage) -> None:
    """After an init file has begun, only the user knows what is good; the message names the file and all ways out."""
    found = made.unfinished(stage, "/docker-entrypoint-initdb.d/2.sql")
    (refusal,) = plan.decide(made.settings(NO_PASSWORD), found).refusals
    assert exits.UNFINISHED_FIRST_START == refusal.code
    assert "/docker-entrypoint-initdb.d/2.sql" in refusal.what
    ways = ("docker volume rm", "POSTGRES_INIT_UNFINISHED=restart", "rm -r /data/entrypoint.unfinished")
    assert [] == [way for way in ways if way not in refusal.hint]


def test_a_half_initialized_database_without_a_known_file() -> None:
    """A record without a file still gives a complete sentence."""
    assert (
        "it is unknown which init file was running"
        in _whats(plan.decide(made.settings(), made.unfinished("unknown")))[0]
    )


FILLED = made.data_folder(
    has_cluster=True, unfinished=Unfinished("files", "a.sh"), foreign=("server.crt", "log")
)


def test_a_half_initialized_database_with_more_files_is_refused_for_one_reason() -> None:
    """Init files may have put files into the data folder; that is no second mistake of the user."""
    decided = plan.decide(made.settings(), made.facts(FILLED))
    assert [exits.UNFINISHED_FIRST_START] == [refusal.code for refusal in decided.refusals]


def test_a_half_initialized_database_with_more_files_can_be_moved_aside() -> None:
    """Files that init files have put next to the database move too, so they do not prevent a fresh start."""
    decided = plan.decide(made.settings(RESTART), made.facts(FILLED))
    assert (True, []) == (decided.move_aside, _whats(decided))


def test_a_write_ahead_log_elsewhere_cannot_be_moved_aside() -> None:
    """The hint is to empty both folders."""
    values = {**RESTART, "POSTGRES_INITDB_WALDIR": "/wal"}
    (refusal,) = plan.decide(made.settings(values), made.unfinished("files")).refusals
    assert exits.UNFINISHED_FIRST_START == refusal.code
    assert "empty /data and /wal" in refusal.hint


def test_a_restore_without_its_archive_is_refused() -> None:
    """An unfinished restore cannot continue without the archive that it came from."""
    decided = plan.decide(made.settings(), made.unfinished("recovery", "base_000000010000000000000007"))
    assert [exits.UNFINISHED_RESTORE] == [refusal.code for refusal in decided.refusals]
    assert "base_000000010000000000000007" in decided.refusals[0].what


def test_foreign_files_are_refused() -> None:
    """A data folder with any other content stays untouched; the message names some of it."""
    (what,) = _whats(plan.decide(made.settings(), made.facts(made.data_folder(foreign=("a", "b")))))
    assert "/data is not empty, but it holds no database; it contains: a, b" == what
    (what,) = _whats(plan.decide(made.settings(), made.facts(made.data_folder(foreign="abcdefg"))))
    assert what.endswith("a, b, c, d, e, …")
    (refusal,) = plan.decide(made.settings(), made.facts(made.data_folder(foreign=("lost+found",)))).refusals
    assert "top folder of a filesystem" in refusal.what
    assert "PGDATA=/data/pgdata" in refusal.hint


def test_old_databases_are_refused() -> None:
    """Data of another major version or layout is never ignored in favor of a new, empty database."""
    (refusal,) = plan.decide(made.settings(), made.facts(old_databases=("/a", "/b"))).refusals
    assert "in: /a /b" in refusal.what
    assert "-e PGDATA=/a or -e PGDATA=/b" in refusal.hint
    assert "pg_upgrade" in refusal.hint
    (refusal,) = plan.decide(
        made.settings(), made.facts(old_databases=("/a (unused mount/volume)",))
    ).refusals
    assert "single mount" in refusal.hint


def test_an_unreadable_folder_is_one_refusal() -> None:
    """Nothing else is known about a folder that cannot be read."""
    folder = made.data_folder(readable=False, owner=5, filesystem="nfs4")
    (refusal,) = plan.decide(made.settings(NO_PASSWORD), made.facts(folder, uid=1000)).refusals
    words = ("uid 1000 cannot", "/data", "belongs to uid 5", "nfs4")
    assert [] == [word for word in words if word not in refusal.what]
    assert "--user 5:5" in refusal.hint


@pytest.mark.parametrize("arguments", [["-C", "port"], ["--single", "postgres"], ["--boot"], ["--check"]])
@pytest.mark.parametrize("values", [{}, RESTORE])
def test_no_database_is_created_for_a_postgres_that_is_no_server(
    arguments: list[str], values: dict[str, str]
) -> None:
    """`postgres -C port` on an empty volume does not create a database on the way."""
    (what,) = _whats(plan.decide(made.settings(values, arguments), EMPTY))
    assert f"postgres {' '.join(arguments)} needs a database, and /data holds none" == what
    assert [] == _whats(plan.decide(made.settings(values, arguments), CLUSTER))


def test_a_restore_is_not_continued_for_a_postgres_that_is_no_server() -> None:
    """`postgres -C port` in the middle of a restore does not continue it."""
    decided = plan.decide(made.settings(ARCHIVE, ["-C", "port"]), made.unfinished("recovery", "base_1"))
    assert 1 == len(decided.refusals)


def test_the_data_folder_has_one_name() -> None:
    """A first start with another `-D` would create a database where nobody looks for it."""
    (refusal,) = plan.decide(made.settings({}, ["-D", "/other"]), EMPTY).refusals
    assert "-D /other differs from PGDATA (/data)" in refusal.what
    assert "PGDATA=/other" in refusal.hint
    assert [] == _whats(plan.decide(made.settings({}, ["-D", "/data"]), EMPTY))


@pytest.mark.parametrize("given_path", ["/data/", "/data//"])
def test_a_trailing_slash_means_the_same_folder(given_path: str) -> None:
    """`-D /data/` is PGDATA=/data."""
    assert [] == _whats(plan.decide(made.settings({}, ["-D", given_path]), EMPTY))


def test_several_refusals_come_together() -> None:
    """All objections to a start are reported at once."""
    found = made.facts(made.data_folder(foreign=("x",)), old_databases=("/a",))
    assert 4 == len(_whats(plan.decide(made.settings(NO_PASSWORD, ["-C", "port"]), found)))


@pytest.mark.parametrize(
    ("folder", "stray", "words"),
    [
        (made.data_folder(place="container layer"), (), ["deleted together with the container"]),
        (
            made.data_folder(place="anonymous volume"),
            ("/var/lib/postgresql",),
            ["although a volume is mounted at /var/lib/postgresql"],
        ),
        (made.data_folder(place="anonymous volume"), (), ["a new container will not find the data again"]),
        (made.data_folder(place="volume"), ("/var/lib/postgresql",), []),
        (made.data_folder(place="unknown"), (), []),
    ],
)
def test_data_in_the_wrong_place_causes_a_warning(
    folder: DataFolder, stray: tuple[str, ...], words: list[str]
) -> None:
    """It comes before any data is written that a new container would not find, and names the mount to use."""
    decided = plan.decide(made.settings(), made.facts(folder, stray_mounts=stray))
    assert len(words) == len(decided.warnings)
    assert [] == [word for word, each in zip(words, decided.warnings, strict=True) if word not in each.what]


def test_an_anonymous_volume_is_mentioned_once() -> None:
    """There is no warning about the anonymous volume of a database that already exists."""
    folder = made.data_folder(has_cluster=True, place="anonymous volume")
    assert () == plan.decide(made.settings(), made.facts(folder)).warnings


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/var/lib/postgresql/data", "/var/lib/postgresql/data"),
        ("/var/lib/postgresql/18/docker", "/var/lib/postgresql"),
        ("/srv/data", "/srv/data"),
    ],
)
def test_the_proposed_mount(path: str, expected: str) -> None:
    """It is where the image of that major version expects the volume."""
    folder = made.data_folder(path=path, place="container layer")
    (warning,) = plan.decide(made.settings({"PGDATA": path}), made.facts(folder)).warnings
    assert f"mount a volume: -v NAME:{expected}" == warning.hint


@pytest.mark.parametrize(
    ("uid", "owner", "words"),
    [
        (999, 0, ["belongs to uid 0", "--user 0:0", "chown -R 999 FOLDER"]),
        (0, 5, ["belongs to uid 5", "--user 5:5"]),
        # its owner cannot open it: so the mode is the cause, and another user would not help
        (999, 999, ["chmod"]),
    ],
)
def test_permission_messages(uid: int, owner: int, words: list[str]) -> None:
    """The message names the uid, owner, path and filesystem, and its hint helps."""
    problem = no_permission("/data", "read", uid, owner, "ext4")
    text = f"{problem.what} {problem.hint}"
    assert [] == [word for word in [f"uid {uid}", "/data", "ext4", *words] if word not in text]


@pytest.mark.parametrize(
    ("folder", "empty"),
    [
        (made.data_folder(), True),
        (made.data_folder(unfinished=Unfinished("building", "")), False),
        (made.data_folder(foreign=["x"]), False),
        (made.data_folder(readable=False), False),
    ],
)
def test_an_empty_volume_does_not_keep_its_owner(folder: DataFolder, *, empty: bool) -> None:
    """Docker changes the owner of an empty named volume back, so the hint is to use a folder of the host."""
    (problem,) = plan.decide(made.settings(), made.facts(folder, uid=1234)).refusals
    assert "uid 1234 cannot use /data" in problem.what
    assert ("--user 999:999" in problem.hint, "chown -R 1234 FOLDER" in problem.hint) == (True, True)
    assert empty == ("mount a folder of the host" in problem.hint)
    assert empty == ("an empty named volume does not keep its owner" in problem.hint)


@pytest.mark.parametrize("owner", [0, 5])
def test_missing_capabilities_are_the_cause(owner: int) -> None:
    """The message says which capabilities root lacks, even if root owns the folder, and gives no hint that would not help."""
    problem = no_permission("/data", "read", 0, owner, "ext4", missing="CHOWN, FOWNER")
    assert "the container lacks the capabilities CHOWN, FOWNER" in problem.what
    assert "--cap-add CHOWN --cap-add FOWNER" in problem.hint
    assert "chmod" not in problem.hint


def _settings() -> st.SearchStrategy[Settings]:
    values = st.sampled_from([{}, NO_PASSWORD, ARCHIVE, RESTORE, RESTART, {**RESTORE, **RESTART}])
    arguments = st.sampled_from([[], ["-c", "port=1"], ["-C", "port"], ["-D", "/other"]])
    return st.builds(made.settings, values, arguments)


def _facts() -> st.SearchStrategy[Facts]:
    stage = st.sampled_from(["building", "files", "recovery", "unknown"])
    folders = st.builds(
        made.data_folder,
        has_cluster=st.booleans(),
        readable=st.booleans(),
        unfinished=st.none() | st.builds(Unfinished, stage, st.just("x")),
        foreign=st.sampled_from([(), ("a",), ("lost+found",)]),
        place=st.sampled_from(["volume", "anonymous volume", "container layer", "unknown"]),
    )
    return st.builds(made.facts, folders, old_databases=st.sampled_from([(), ("/a",)]))


@given(wanted=_settings(), found=_facts())
def test_no_plan_destroys_or_serves_the_wrong_data(wanted: Settings, found: Facts) -> None:
    """Whatever is found, no incomplete database is served, and only our own unfinished work is deleted."""
    decided = plan.decide(wanted, found)
    folder = found.data_folder
    stage = folder.unfinished.stage if folder.unfinished else None
    if decided.kind == plan.START:
        assert folder.has_cluster
        assert stage is None
    if decided.discard:
        assert "building" == stage
    if decided.move_aside:
        assert wanted.init.restart_unfinished
        assert stage in ("files", "unknown")
    if stage in ("files", "unknown") and not decided.move_aside:
        assert decided.refusals
    if decided.kind == plan.RECOVER:
        assert "recovery" == stage
    if decided.kind in (plan.INITIALIZE, plan.RESTORE) and found.old_databases:
        assert decided.refusals
    if stage is None and folder.foreign and decided.kind != plan.START:
        assert decided.refusals


STANDBY = {**ARCHIVE, "STANDBY": "on"}


@pytest.mark.parametrize(
    ("values", "found", "kind", "discard"),
    [
        (STANDBY, EMPTY, plan.RESTORE, False),
        (STANDBY, CLUSTER, plan.START, False),
        (STANDBY, made.facts(made.data_folder(has_cluster=True, standby=True)), plan.START, False),
        (STANDBY, made.unfinished("building"), plan.RESTORE, True),
        # Continuing it would promote it.
        (STANDBY, made.unfinished("recovery", "base_1"), plan.RESTORE, True),
        ({**STANDBY, "RESTORE_FROM": "base_1"}, made.unfinished("recovery", "base_1"), plan.RESTORE, True),
    ],
)
def test_a_standby_is_built_or_started(
    values: dict[str, str], found: Facts, kind: plan.Kind, *, discard: bool
) -> None:
    """It is built on an empty volume; an unfinished restore is deleted; an existing database is started."""
    expected = Plan(kind, discard=discard, move_aside=False, refusals=(), warnings=())
    assert expected == plan.decide(made.settings(values), found)


def test_a_standby_without_a_source_is_refused() -> None:
    """Streaming alone cannot build one, and a first start would create a primary."""
    values = {"STANDBY": "on", "STANDBY_PRIMARY_CONNINFO": "host=db"}
    (what,) = _whats(plan.decide(made.settings(values), EMPTY))
    assert "no archive to build the standby from" in what
    assert [] == _whats(plan.decide(made.settings(values), CLUSTER))


def test_a_standby_stays_one_without_the_variable() -> None:
    """The volume decides; the warning says what to do if STANDBY=on was forgotten, or a primary is wanted."""
    found = made.facts(made.data_folder(has_cluster=True, standby=True))
    decided = plan.decide(made.settings(ARCHIVE), found)
    assert plan.START == decided.kind
    (warning,) = decided.warnings
    assert "it remains a standby" in warning.what
    assert "entrypoint promote" in warning.hint
