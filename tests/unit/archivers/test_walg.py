"""wal-g: its variables, command lines and answers."""

from __future__ import annotations

import json
import re

import pytest

from entrypoint.archive import shares
from entrypoint.archivers import walg
from entrypoint.archivers.terms import Answer, Backup, Check, Command, Object, Removal, Resources, Storage
from entrypoint.archivers.tool_variables import WALG_PREFIXES
from entrypoint.archivers.walg import WalG
from unit import made
from unit.made import SERVER

TOOL = WalG()
FOLDER = Storage("file:///archive", "/archive", from_url=True)


def test_its_variables_are_known() -> None:
    """Its settings and those of its storages are its variables; libpq's and the server's are not."""
    known = (
        "WALG_COMPRESSION_METHOD",
        "AWS_SECRET_ACCESS_KEY",
        "TOTAL_BG_UPLOADED_LIMIT",
        "SSH_PASSWORD",
        *WALG_PREFIXES,
    )
    assert [] == [name for name in known if not TOOL.is_own_variable(name)]
    others = ("PGDATA", "PGHOST", "POSTGRES_USER", "HOME", "PATH", "WALG_", "PGBACKREST_STANZA")
    assert [] == [name for name in others if TOOL.is_own_variable(name)]


@pytest.mark.parametrize("name", WALG_PREFIXES)
def test_a_prefix_is_a_storage(name: str) -> None:
    """Each prefix turns archiving on; only a folder can be inspected directly."""
    folder = "/archive" if name == "WALG_FILE_PREFIX" else None
    value = folder or "s3://bucket/prefix"
    expected = Storage(f"file://{folder}" if folder else value, folder, from_url=False)
    assert expected == TOOL.storage({name: value})


def test_no_storage() -> None:
    """Without a prefix, or with an empty one, there is no storage."""
    assert TOOL.storage({"WALG_S3_PREFIX": "", "AWS_REGION": "x", "WALG_UPLOAD_CONCURRENCY": "2"}) is None


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, []),
        ({"WALG_S3_PREFIX": "s3://b", "WALG_ZSTD_LEVEL": "best", "WALG_COMPRESSION_METHOD": "zstd"}, []),
        ({"WALG_CONFIG_PATH": "/x"}, ["WALG_CONFIG_PATH is set by the entrypoint itself"]),
        ({"WALG_PG_WAL_SIZE": "64"}, ["WALG_PG_WAL_SIZE is set by the entrypoint itself"]),
        ({"WALG_PREVENT_WAL_OVERWRITE": ""}, []),
        *(
            (
                {"WALG_COMPRESSION_METHOD": name},
                [
                    (
                        f"WALG_COMPRESSION_METHOD={name}: a damaged segment would be replayed unnoticed, since "
                        "wal-g's files then contain no checksum"
                    )
                ],
            )
            for name in ("none", "lzma", "brotli")
        ),
        ({"WALG_ZSTD_LEVEL": "best"}, ["WALG_ZSTD_LEVEL is set, but WALG_COMPRESSION_METHOD is not zstd"]),
        (
            {"ARCHIVE_UPGRADED_FROM": "71"},
            [
                (
                    "ARCHIVE_UPGRADED_FROM is set, but wal-g cannot keep two major versions apart in one "
                    "archive: the names of their segments and backups would mix"
                )
            ],
        ),
        (
            {"WALG_S3_PREFIX": "s3://b", "WALG_FILE_PREFIX": "/a", "WALG_GS_PREFIX": ""},
            ["several storages are set: WALG_S3_PREFIX, WALG_FILE_PREFIX; wal-g would silently use one"],
        ),
    ],
)
def test_mistakes(values: dict[str, str], expected: list[str]) -> None:
    """Values that wal-g would silently misunderstand and settings of the entrypoint are reported."""
    assert expected == [problem.what for problem in TOOL.check(values)]


@pytest.mark.parametrize("name", ["WALG_S3_PREFIX", "WALG_FILE_PREFIX"])
def test_a_prefix_is_one_line(name: str) -> None:
    """A prefix is in a comment of postgresql.conf: a second line of it would be a setting."""
    assert 1 == len(TOOL.check({name: "/archive\narchive_mode = off"}))


def test_options() -> None:
    """Its file contains all its settings and what it must know of the server, and no other variables."""
    values = {
        "WALG_COMPRESSION_METHOD": "zstd",
        "WALG_ZSTD_LEVEL": "",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "POSTGRES_PASSWORD": "other",
        "PGHOST": "elsewhere",
    }
    expected = {
        "WALG_COMPRESSION_METHOD": "zstd",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "WALG_FILE_PREFIX": "/archive",
        "WALG_PREVENT_WAL_OVERWRITE": "true",
        "WALG_PG_WAL_SIZE": "16",
        "PGDATA": "/var/lib/postgresql/data",
        "PGHOST": "/var/run/postgresql",
        "PGPORT": "5432",
        "PGUSER": "postgres",
        "PGDATABASE": "postgres",
    }
    assert {"settings": expected} == TOOL.options(values, FOLDER, SERVER)


def test_options_of_a_bucket() -> None:
    """A bucket of ARCHIVE_URL becomes wal-g's prefix; a prefix that is set stays; segments may be larger."""
    server = SERVER._replace(segment_bytes=64 * 1024**2)
    found = TOOL.options({}, Storage("s3://b/p", None, from_url=True), server)["settings"]
    assert isinstance(found, dict)
    assert ("s3://b/p", "64", False) == (
        found["WALG_S3_PREFIX"],
        found["WALG_PG_WAL_SIZE"],
        "WALG_FILE_PREFIX" in found,
    )
    values = {"WALG_GS_PREFIX": "gs://b"}
    found = TOOL.options(values, Storage("gs://b", None, from_url=False), server)["settings"]
    assert isinstance(found, dict)
    assert {"WALG_GS_PREFIX"} == set(found) & set(WALG_PREFIXES)


def test_options_of_an_upgraded_cluster() -> None:
    """It has a folder of its own, whatever names the storage; the settings file can be changed to another one."""
    below = "upgraded-17-7"
    folder, bucket = (each.at(below) for each in (FOLDER, Storage("s3://b/p", None, from_url=True)))
    own = Storage("gs://b/p", None, from_url=False).at(below)
    found = [
        TOOL.options(values, storage, SERVER)["settings"]
        for values, storage in (({}, folder), ({}, bucket), ({"WALG_GS_PREFIX": "gs://b/p/"}, own))
    ]
    places = [next(each[name] for name in WALG_PREFIXES if name in each) for each in found]  # type: ignore[index, operator]
    assert ["/archive/upgraded-17-7", "s3://b/p/upgraded-17-7", "gs://b/p/upgraded-17-7"] == places
    text = json.dumps(found[2])
    back = json.loads(TOOL.below(text, below, ""))
    assert "gs://b/p" == back["WALG_GS_PREFIX"]
    assert found[2] == json.loads(TOOL.below(json.dumps(back), "", below))


def test_command_lines() -> None:
    """The calls are those of wal-g's documentation; a push names the data folder to run in parallel."""
    expected = [
        "wal-g wal-push %p",
        "wal-g wal-fetch %f %p",
        "wal-g backup-list --json --detail",
        "wal-g backup-push --full /var/lib/postgresql/data",
        "wal-g backup-fetch /folder LATEST",
    ]
    commands = [
        TOOL.archive_segment(SERVER),
        TOOL.fetch_segment(SERVER),
        TOOL.list_backups(SERVER),
        TOOL.push(SERVER),
        TOOL.fetch(SERVER, "LATEST", "/folder"),
    ]
    assert expected == [" ".join(command.argv) for command in commands]
    put = "wal-g st put /run/entrypoint/cluster.json cluster.json --no-compress --no-encrypt"
    assert put == " ".join(TOOL.prepare(SERVER).argv)


def test_fetching() -> None:
    """Only the helper reads ahead; its log names failures, at a level that the user cannot change."""
    tool = WalG({"WALG_LOG_LEVEL": "DEVEL"})
    helper = tool.fetch_helper(SERVER)
    assert ("wal-g", "daemon", "/run/entrypoint/wal-g.socket") == helper.argv
    assert {"ERROR", "stderr"} <= set(helper.environment.values())
    assert "WALG_DOWNLOAD_CONCURRENCY" not in helper.environment
    assert "1" == tool.fetch_segment(SERVER).environment["WALG_DOWNLOAD_CONCURRENCY"]
    assert "/run/entrypoint/none" == tool.fetch_segment(SERVER).environment["WALG_PREFETCH_DIR"]
    assert tool.fetch_segment(SERVER) == tool.read_back(SERVER)
    folder = tool.wal_folder("1", 0, "")
    assert "wal-g st ls wal_005/" == " ".join(tool.list_folder(SERVER, folder).argv)


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("v3.0.9", True),
        ("v3.1.0", True),
        ("3.0.9", True),
        ("v3.0.8", False),
        ("3.0.7", False),
        ("devel", False),
    ],
)
def test_the_daemon_is_for_new_versions(version: str, expected: bool) -> None:
    """The daemon mode of versions before 3.0.9 loses answers."""
    assert expected == TOOL.can_help(f"wal-g version {version}\t3e49\t2026.11.30_20:00:00\tPostgreSQL")


def test_identity() -> None:
    """Our object names the cluster; without it the archive has no owner; anything else is an error."""
    assert "77" == TOOL.parse_identity(0, 'INFO: a line\n{"system_identifier": "77"}\n')
    assert TOOL.parse_identity(1, "ERROR: object 'cluster.json' not found in storage\n") is None
    for code, text in ((1, "ERROR: connection refused"), (0, "not JSON"), (0, "{}")):
        with pytest.raises((ValueError, KeyError)):
            TOOL.parse_identity(code, text)


def test_backups() -> None:
    """A real list (a full backup, an increment on it, a permanent one) is parsed with all its fields."""
    identifier = "7711066109405266527"
    expected = [
        Backup(
            name="base_000000010000000000000007",
            kind="full",
            started="2026-11-22T18:35:07+00:00",
            finished="2026-11-22T18:35:08+00:00",
            size_bytes=23551441,
            start_lsn="0/7000028",
            stop_lsn="0/7000100",
            permanent=False,
            system_identifier=identifier,
            stored_bytes=4411025,
            first_segment="000000010000000000000007",
            major=15,
        ),
        Backup(
            name="base_000000010000000000000009_D_000000010000000000000007",
            kind="incremental",
            started="2026-11-22T18:35:09+00:00",
            finished="2026-11-22T18:35:10+00:00",
            size_bytes=723155,
            start_lsn="0/9000028",
            stop_lsn="0/9000100",
            permanent=False,
            system_identifier=identifier,
            parent="base_000000010000000000000007",
            stored_bytes=156497,
            first_segment="000000010000000000000009",
            major=15,
        ),
        Backup(
            name="base_00000001000000000000000A",
            kind="full",
            started="2026-11-22T18:35:10+00:00",
            finished="2026-11-22T18:35:11+00:00",
            size_bytes=24082741,
            start_lsn="0/A000028",
            stop_lsn="0/A000100",
            permanent=True,
            system_identifier=identifier,
            stored_bytes=4524398,
            first_segment="00000001000000000000000A",
            major=15,
        ),
    ]
    assert expected == TOOL.parse_backups(made.sample("walg-backup-list.json"))


@pytest.mark.parametrize("output", [made.sample("walg-backup-list-empty.json"), "", "null"])
def test_no_backups(output: str) -> None:
    """An empty archive has no backups; that is not an error."""
    assert [] == TOOL.parse_backups(output)


def test_backups_are_sorted_by_age() -> None:
    """After a new timeline or an upgrade, names do not show the age: LATEST is the last to finish."""
    newer = '{"backup_name":"base_000000010000000000000002","start_time":"2026-11-22T18:00:00Z",'
    older = '{"backup_name":"base_0000000200000000000000FF","start_time":"2026-11-21T18:00:00Z",'
    rest = (
        '"finish_time":"2026-11-2%dT18:00:01Z","uncompressed_size":1,"start_lsn":1,"finish_lsn":2,'
        '"is_permanent":false,"system_identifier":null}'
    )
    found = TOOL.parse_backups(f"[{newer}{rest % 2},{older}{rest % 1}]")
    assert ["base_0000000200000000000000FF", "base_000000010000000000000002"] == [each.name for each in found]
    assert [None, None] == [each.system_identifier for each in found]


@pytest.mark.parametrize("output", ["no backups found", "[{}]", "{", '[{"backup_name": "x"}]'])
def test_an_invalid_answer(output: str) -> None:
    """An invalid list of backups raises an error that the caller handles."""
    with pytest.raises((ValueError, KeyError, TypeError)):
        TOOL.parse_backups(output)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-22T18:01:02.123456Z", "2026-11-22T18:01:02+00:00"),
        ("2026-11-22T18:01:02Z", "2026-11-22T18:01:02+00:00"),
        ("2026-11-22T18:01:02", "2026-11-22T18:01:02+00:00"),
        ("2026-11-22T19:01:02.5+01:00", "2026-11-22T19:01:02+01:00"),
        ("2026-11-22T13:01:02-05:00", "2026-11-22T13:01:02-05:00"),
    ],
)
def test_times(text: str, expected: str) -> None:
    """Go drops trailing zeros of a fraction; the offset is kept."""
    assert expected == walg._time(text)


def _check(backups: list[Backup], *, live: bool = True) -> Check:
    return Check(backups, backups[0], 1, (), 16 * 1024**2, live)


LISTED = TOOL.parse_backups(made.sample("walg-backup-list.json"))


def test_a_missing_segment_before_the_newest_backup_is_a_hole() -> None:
    """It is a hole even if wal-g reports it as being uploaded, which only a later segment may be."""
    text = made.sample("walg-verify.json")
    lost = "000000010000000000000012"
    newest = LISTED[2]._replace(stop_lsn="0/14000100")
    found = TOOL.parse_verification(_check([*LISTED[:2], newest]), [Answer(0, text, "")])
    assert (((lost, lost),), {}) == found
    assert TOOL.parse_verification(_check(LISTED), [Answer(0, text, "")]).sound
    gone = text.replace("MISSING_UPLOADING", "MISSING_LOST")
    assert ((lost, lost),) == TOOL.parse_verification(_check(LISTED), [Answer(0, gone, "")]).holes


def test_objects_that_were_read_and_are_damaged() -> None:
    """A damaged segment is a hole and breaks the backup that needs it; a damaged part breaks its backup."""
    text = made.sample("walg-verify.json").replace("MISSING_UPLOADING", "FOUND")
    own, part = LISTED[1].first_segment, f"basebackups_005/{LISTED[0].name}/tar_partitions/part_1.tar.lz4"
    damaged = {f"wal_005/{own}.lz4": "a", part: "lz4: invalid"}
    found = TOOL.parse_verification(_check(LISTED)._replace(damaged=damaged), [Answer(0, text, "")])
    assert ((own, own),) == found.holes
    assert {
        LISTED[0].name: f"{LISTED[0].name}/tar_partitions/part_1.tar.lz4: lz4: invalid",
        LISTED[1].name: f"its segment {own} is damaged",
    } == found.broken


def test_objects_of_a_listing() -> None:
    """Segments in groups of 256 and objects of listed backups are listed; remains and other names are not."""
    name, other = LISTED[0].name, "base_000000010000000000000099"
    wal = """type size    last modified                           name
obj  1977245 2026-11-23 01:06:37.756380918 +0000 UTC 000000010000000000000001.lz4
obj  259     2026-11-23 01:06:42.57638109 +0000 UTC  000000010000000000000005.00000028.backup.lz4
obj  41      2026-11-23 01:06:42.57638109 +0000 UTC  00000002.history.lz4
"""
    rows = (f"/{name}/tar_partitions/part_1.tar.lz4", f"{name}_backup_stop_sentinel.json", f"{other}/x.lz4")
    backups = "".join(f"obj  5 2026-11-23 01:06:42.5 +0000 UTC {row}\n" for row in rows)
    found = TOOL.parse_objects([Answer(0, wal, ""), Answer(0, backups, "")], {name})
    group = f"basebackups_005/{name}"
    assert [
        Object(
            "wal_005/000000010000000000000001.lz4",
            1977245,
            1795395997,
            "wal_005/0000000100000000",
            closed=False,
        ),
        *(
            Object(f"basebackups_005/{row.lstrip('/')}", 5, 1795396002, group, closed=True)
            for row in rows[:2]
        ),
    ] == found
    with pytest.raises(ValueError, match="no such bucket"):
        TOOL.parse_objects([Answer(0, wal, ""), Answer(1, "", "no such bucket")], {name})
    assert TOOL.catalogue(SERVER, group, ()) is None
    listed = TOOL.catalogue(SERVER, group, [f"{group}/files_metadata.json"])
    assert listed is not None
    listed[2].feed(b'{"TarFileSets": {"part_1.tar.lz4": []}}')
    assert "" == listed[2].verdict()
    parts = {f"{group}/tar_partitions/{each}" for each in ("part_1.tar.lz4", "pg_control.tar.lz4")}
    assert [] == listed[2].missing(frozenset(parts))
    assert [f"{group}/tar_partitions/{each}" for each in ("part_1.tar.lz4", "pg_control.tar")] == listed[
        2
    ].missing(frozenset())
    texts = TOOL.judge(found[2].path, None, lambda _: None)
    assert texts is not None
    texts.feed(b'{"a": ')
    assert texts.verdict()
    assert ("--decrypt", "--decompress") == TOOL.read_whole(SERVER, found[1].path).argv[-2:]
    assert found[2].path == TOOL.read_whole(SERVER, found[2].path).argv[-1]


@pytest.mark.parametrize("answer", [Answer(1, "", "no such bucket"), Answer(0, "", ""), Answer(0, "{", "x")])
def test_a_failed_verification_is_not_a_good_one(answer: Answer) -> None:
    """An invalid answer is an error, not an archive without holes."""
    with pytest.raises(ValueError, match=r"."):
        TOOL.parse_verification(_check(LISTED), [answer])


def test_what_a_removal_names() -> None:
    """Removed objects name backups and segments; names that are only mentioned do not count."""
    expected = Removal(
        frozenset(
            {"base_00000001000000000000000B_D_000000010000000000000006", "base_000000010000000000000011"}
        ),
        ("000000010000000000000001", "00000001000000000000000B"),
    )
    assert expected == TOOL.parse_removal(made.sample("walg-delete.txt"))


@pytest.mark.parametrize(
    ("memory", "streams", "limit"), [(2**35, "64", 2**29), (2**31, "32", 2**28), (2**27, "8", 2**26)]
)
def test_the_daemon_is_limited_to_a_part_of_the_memory(memory: int, streams: str, limit: int) -> None:
    """Without a limit it uses gigabytes for a backlog; the user's settings stay in the settings file."""
    environment = (TOOL.helper(SERVER, shares.push(memory)) or TOOL.look(SERVER)).environment
    assert (streams, str(limit)) == (environment["WALG_UPLOAD_CONCURRENCY"], environment["GOMEMLIMIT"])
    near = TOOL.helper(SERVER, shares.push(memory, near=True))
    assert near is not None
    assert near.environment["WALG_UPLOAD_CONCURRENCY"] == "8"
    own = WalG({"WALG_UPLOAD_CONCURRENCY": "3"}).helper(SERVER, shares.push(memory))
    assert own is not None
    assert "WALG_UPLOAD_CONCURRENCY" not in own.environment


def test_the_users_own_limits_win() -> None:
    """Our defaults do not replace WALG_* variables; only the number of increments is always ours."""
    resources = Resources(2, 512 * 1024**2, 1000)
    environment = TOOL.push(SERVER, LISTED[0], resources).environment
    expected = {
        "GOMAXPROCS": "2",
        "GOMEMLIMIT": "536870912",
        "WALG_UPLOAD_CONCURRENCY": "8",
        "WALG_UPLOAD_DISK_CONCURRENCY": "2",
        "WALG_DISK_RATE_LIMIT": "1000",
        "WALG_DELTA_MAX_STEPS": "1000000",
    }
    assert expected == {name: environment[name] for name in expected}
    own = WalG({"WALG_UPLOAD_CONCURRENCY": "3", "WALG_DISK_RATE_LIMIT": "7", "WALG_DELTA_MAX_STEPS": "1"})
    environment = own.push(SERVER, LISTED[0], resources).environment
    assert ["WALG_UPLOAD_CONCURRENCY", "WALG_DISK_RATE_LIMIT"] == [
        name for name in expected if name not in environment
    ]


def test_the_parent_is_the_newest_good_one_that_is_not_permanent() -> None:
    """Based on a permanent backup, wal-g would take a full one."""
    assert LISTED[1] == TOOL.parent(LISTED, ())
    assert LISTED[0] == TOOL.parent(LISTED, {LISTED[1].name})
    assert TOOL.parent(LISTED[2:], ()) is None


def test_command_lines_of_backups() -> None:
    """Removal goes by time, and is a dry run unless confirmed; verification names its first backup."""
    check = _check(LISTED)
    commands = [
        TOOL.push(SERVER, LISTED[0]),
        TOOL.mark(SERVER, "x", permanent=True),
        TOOL.mark(SERVER, "x", permanent=False),
        TOOL.expire(SERVER, "x", dry_run=True),
        TOOL.expire(SERVER, "x", dry_run=False),
        TOOL.expire_wal(SERVER, LISTED[0], LISTED, dry_run=True),
        TOOL.expire_remains(SERVER, dry_run=True) or Command((), {}),
        *TOOL.verify(SERVER, check),
        *TOOL.verify(SERVER, check._replace(live=False)),
    ]
    name = LISTED[0].name
    verify = f"wal-g wal-verify integrity timeline --json --backup-name {name}"
    expected = [
        f"wal-g backup-push --delta-from-name {name} /var/lib/postgresql/data",
        "wal-g backup-mark x",
        "wal-g backup-mark --impermanent x",
        "wal-g delete target x --use-sentinel-time",
        "wal-g delete target x --use-sentinel-time --confirm",
        f"wal-g delete before {name} --use-sentinel-time",
        "wal-g delete garbage BACKUPS --use-sentinel-time",
        verify,
        f"{verify} --timeline 1 --lsn 0/A000100",
    ]
    assert expected == [" ".join(command.argv) for command in commands]


def test_segments_are_the_last_words_of_a_listing() -> None:
    """`st ls` prints a header, then lines with size, time and name."""
    listing = """type size    last modified                           name
obj  1977245 2026-11-23 01:06:37.756380918 +0000 UTC 000000010000000000000001.lz4                  
obj  259     2026-11-23 01:06:42.57638109 +0000 UTC  000000010000000000000005.00000028.backup.lz4  
obj  41      2026-11-23 01:06:42.57638109 +0000 UTC  00000002.history.lz4
"""  # noqa: W291 - the tool's own
    expected = [
        ("000000010000000000000001", "wal_005/000000010000000000000001.lz4", "2026-11-23T01:06:37+00:00"),
        ("00000002.history", "wal_005/00000002.history.lz4", "2026-11-23T01:06:42+00:00"),
    ]
    assert expected == WalG().parse_wal(listing)
    assert [] == WalG().parse_wal("type size last modified name\n")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"ARCHIVE_URL": "file:///a"}, True),
        ({"WALG_FILE_PREFIX": "/a"}, True),
        ({"ARCHIVE_URL": "s3://b"}, False),
    ],
)
def test_which_errors_mean_damage(values: dict[str, str], expected: bool) -> None:
    """In a folder, a file that ends early is truncated; with a remote storage the connection may be."""
    damage = WalG(values).capabilities.damage
    assert expected == bool(re.search(damage, "ERROR: unexpected EOF"))
    assert re.search(damage, "ERROR: lz4: invalid frame checksum: got ec09bee1; expected d10f281c")
    assert re.search(damage, "ERROR: CRC check failed")
    assert not re.search(damage, "ERROR: dial tcp 10.0.0.1:443: connect: connection refused")


def test_a_settings_file_for_a_copy() -> None:
    """Only the data folder changes; the secrets stay."""
    text = json.dumps({"PGDATA": "/data", "WALG_LIBSODIUM_KEY": "secret"})
    other = SERVER._replace(data_folder="/copy")
    assert {"PGDATA": "/copy", "WALG_LIBSODIUM_KEY": "secret"} == json.loads(TOOL.moved(text, SERVER, other))


def test_a_fetch_with_limited_resources() -> None:
    """A drill fetches with its share of the processors; the user's setting wins."""
    made_for = TOOL.fetch(SERVER, "base_1", "/copy", resources=Resources(processes=2)).environment
    assert ("2", "1") == (made_for["WALG_DOWNLOAD_CONCURRENCY"], made_for["WALG_DOWNLOAD_FILE_RETRIES"])
    own = WalG({"WALG_DOWNLOAD_CONCURRENCY": "9"}).fetch(
        SERVER, "base_1", "/copy", resources=Resources(processes=2)
    )
    assert "WALG_DOWNLOAD_CONCURRENCY" not in own.environment
    assert "GOMAXPROCS" not in TOOL.fetch(SERVER, "base_1", "/copy").environment


def test_another_value_in_the_settings_file() -> None:
    """The new value replaces the old one, and nothing else changes."""
    text = json.dumps({"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s"}, indent=2) + "\n"
    changed = json.loads(TOOL.changed(text, "AWS_SECRET_ACCESS_KEY", 'a"b'))
    assert {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": 'a"b'} == changed
    assert text == TOOL.changed(text, "AWS_SECRET_ACCESS_KEY", "s")


STORED = json.dumps({"WALG_S3_PREFIX": "s3://ours", "WALG_PGP_KEY": "key", "AWS_REGION": "eu-1"})


@pytest.mark.parametrize(
    ("given", "arguments", "expected"),
    [
        ({}, ("st", "ls"), None),
        ({"WALG_S3_PREFIX": "s3://ours", "WALG_LOG_LEVEL": "DEVEL"}, ("st", "ls"), None),
        ({}, ("st", "ls", "--walg-log-level=DEVEL"), None),
        ({"WALG_FILE_PREFIX": "/other"}, (), {"WALG_FILE_PREFIX": "/other"}),
        (
            {"WALG_S3_PREFIX": "s3://ours", "WALG_SSH_PREFIX": "ssh://h/p"},
            (),
            {"WALG_SSH_PREFIX": "ssh://h/p"},
        ),
        ({"WALG_S3_PREFIX": "s3://other", "AWS_REGION": "us-1"}, (), {"WALG_S3_PREFIX": "s3://other"}),
        ({}, ("--walg-file-prefix=/other", "st", "ls"), {}),
        ({}, ("st", "ls", "--walg-gs-prefix", "gs://other"), {}),
    ],
)
def test_a_call_that_names_another_storage(
    given: dict[str, str], arguments: tuple[str, ...], expected: dict[str, str] | None
) -> None:
    """Its prefix is the only one left, since wal-g uses the first of several; other settings stay."""
    found = TOOL.elsewhere(STORED, given, arguments)
    if expected is None:
        assert found is None
        return
    assert found == {"WALG_PGP_KEY": "key", "AWS_REGION": given.get("AWS_REGION", "eu-1"), **expected}
    command = TOOL.by_hand(SERVER, arguments, found)
    assert "WALG_CONFIG_PATH" not in command.environment
    assert ("wal-g", *arguments) == command.argv


def test_a_typed_command_reads_the_settings_file() -> None:
    """No argument is added to it, and no secret to its environment."""
    command = TOOL.by_hand(SERVER, ("backup-list", "--pretty"))
    assert ("wal-g", "backup-list", "--pretty") == command.argv
    assert {"WALG_CONFIG_PATH", "HOME"} == set(command.environment)
    made_from = TOOL.options({"WALG_PGP_KEY": "key"}, FOLDER, SERVER)
    assert "key" == TOOL.as_variables(made_from)["WALG_PGP_KEY"]


def test_a_typed_command_of_an_upgraded_cluster_stays_in_its_folder() -> None:
    """The container's own variable names the place above it; one that is typed in addition names another place."""
    stored = json.dumps({"WALG_GS_PREFIX": "gs://b/p/upgraded-17-7"})
    given = {"WALG_GS_PREFIX": "gs://b/p"}
    assert WalG(given).elsewhere(stored, given, ("backup-list",)) is None
    assert given == WalG().elsewhere(stored, given, ("backup-list",))
    other = {"WALG_GS_PREFIX": "gs://b/q"}
    assert other == WalG(given).elsewhere(stored, other, ("backup-list",))
