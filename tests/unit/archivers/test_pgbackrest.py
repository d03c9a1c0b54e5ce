"""pgBackRest: its options, command lines and answers."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from entrypoint.archivers import pgbackrest, tool_variables
from entrypoint.archivers.judges import Sum
from entrypoint.archivers.pgbackrest import PgBackRest
from entrypoint.archivers.terms import (
    Answer,
    Backup,
    Check,
    Object,
    Owner,
    Removal,
    Resources,
    Storage,
    Stored,
)
from unit import made
from unit.made import SERVER

TOOL = PgBackRest({})
FOLDER = Storage("file:///archive", "/archive", from_url=True)
BUCKET = Storage("s3://bucket/a/b", None, from_url=True)
KEYS = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "key", "AWS_REGION": "eu-1"}


def _options(values: dict[str, str], storage: Storage = FOLDER) -> dict[str, object]:
    found = TOOL.options(values, storage, SERVER)["options"]
    assert isinstance(found, dict)
    return found


def test_its_variables() -> None:
    """Every variable with its prefix is its own, and never in the server's environment."""
    assert TOOL.is_own_variable("PGBACKREST_REPO1_CIPHER_PASS")
    assert not TOOL.is_own_variable("PGDATA")


@pytest.mark.parametrize("name", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"])
def test_the_keys_of_a_bucket_are_its_variables(name: str) -> None:
    """ARCHIVE_URL=s3:// takes the keys from AWS_*: these must not be in the server's environment either."""
    assert PgBackRest({"ARCHIVE_URL": "s3://bucket"}).is_own_variable(name)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, None),
        ({"PGBACKREST_REPO1_PATH": "", "PGBACKREST_PROCESS_MAX": "2"}, None),
        ({"PGBACKREST_REPO1_PATH": "/a"}, Storage("file:///a", "/a", from_url=False)),
        (
            {"PGBACKREST_REPO1_PATH": "/a", "PGBACKREST_REPO1_TYPE": "cifs"},
            Storage("file:///a", "/a", from_url=False),
        ),
        # pgBackRest's default, which is checked like any other folder
        (
            {"PGBACKREST_REPO1_TYPE": "posix"},
            Storage("file:///var/lib/pgbackrest", "/var/lib/pgbackrest", from_url=False),
        ),
        (
            {
                "PGBACKREST_REPO1_TYPE": "s3",
                "PGBACKREST_REPO1_S3_BUCKET": "b",
                "PGBACKREST_REPO1_PATH": "/p",
                "PGBACKREST_REPO1_S3_KEY_SECRET": "secret",
            },
            Storage("s3://b/p", None, from_url=False),
        ),
        (
            {"PGBACKREST_REPO1_TYPE": "azure", "PGBACKREST_REPO1_AZURE_CONTAINER": "c"},
            Storage("azure://c", None, from_url=False),
        ),
        (
            {
                "PGBACKREST_REPO1_TYPE": "sftp",
                "PGBACKREST_REPO1_SFTP_HOST": "h",
                "PGBACKREST_REPO1_PATH": "/p",
            },
            Storage("sftp://h/p", None, from_url=False),
        ),
    ],
)
def test_storage(values: dict[str, str], expected: Storage | None) -> None:
    """The first repository is the storage; its shown address contains no secret."""
    assert expected == TOOL.storage(values)


QUEUE_MAX = (
    "PGBACKREST_ARCHIVE_PUSH_QUEUE_MAX must not be set: when the backlog reaches it, pgBackRest drops all "
    "waiting WAL and reports it to PostgreSQL as archived (pgbackrest/pgbackrest#2714)"
)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, []),
        ({"PGBACKREST_COMPRESS_TYPE": "lz4", "PGBACKREST_PROCESS_MAX": "2", "PGBACKREST_DELTA": ""}, []),
        ({"PGBACKREST_DELTA": "y"}, ["PGBACKREST_DELTA is set by the entrypoint itself"]),
        ({"PGBACKREST_PG1_PATH": "/x"}, ["PGBACKREST_PG1_PATH is set by the entrypoint itself"]),
        (
            {"PGBACKREST_ARCHIVE_PUSH_QUEUE_MAX": "1GB"},
            [QUEUE_MAX],
        ),
        ({"PGBACKREST_REPO1_RETENTION_HISTORY": "30", "PGBACKREST_REPO1_RETENTION_FULL": ""}, []),
        (
            {"PGBACKREST_REPO1_RETENTION_FULL": "7", "PGBACKREST_EXPIRE_AUTO": "y"},
            [
                f"{name} has no effect: the entrypoint itself decides what to remove"
                for name in ("PGBACKREST_EXPIRE_AUTO", "PGBACKREST_REPO1_RETENTION_FULL")
            ],
        ),
        ({"PGBACKREST_REPO1_PATH": "/a\nb"}, ["PGBACKREST_REPO1_PATH contains a line break"]),
        ({"PGBACKREST_STANZA": "a\r"}, ["PGBACKREST_STANZA contains a line break"]),
        ({"ARCHIVE_URL": "s3://b", **KEYS}, []),
        (
            {"ARCHIVE_URL": "s3://b", **KEYS, "AWS_REGION": ""},
            ["ARCHIVE_URL needs AWS_REGION with pgbackrest"],
        ),
    ],
)
def test_mistakes(values: dict[str, str], expected: list[str]) -> None:
    """Settings of the entrypoint, values that no file can contain and missing settings are reported."""
    assert expected == [problem.what for problem in TOOL.check(values)]


@pytest.mark.parametrize("name", ["none", "zst", "lz4"])
def test_every_compression_is_allowed(name: str) -> None:
    """If the tool does not compare checksums when it fetches a segment, shims/fetch-segment does."""
    assert [] == TOOL.check({"PGBACKREST_COMPRESS_TYPE": name})
    assert TOOL.capabilities.leaves_sums


def test_an_empty_compression_is_the_default() -> None:
    """An empty variable counts as not set."""
    assert [] == TOOL.check({"PGBACKREST_COMPRESS_TYPE": ""})
    assert "lz4" == _options({"PGBACKREST_COMPRESS_TYPE": ""})["compress-type"]


def test_options() -> None:
    """Nothing expires automatically, everything it writes is in the runtime folder, and it logs little."""
    expected = {
        "repo1-type": "posix",
        "repo1-path": "/archive",
        "repo1-bundle": "y",
        "repo1-retention-full": "9999999",
        "compress-type": "lz4",
        "start-fast": "y",
        "archive-timeout": "60",
        "archive-async": "y",
        "process-max": "2",
        "io-timeout": "10",
        "exclude": ["pg_wal/entrypoint.reserve", "pg_stat_tmp/entrypoint.reserve"],
        "expire-auto": "n",
        "spool-path": "/run/entrypoint/pgbackrest/spool",
        "lock-path": "/run/entrypoint/pgbackrest/lock",
        "log-path": "/run/entrypoint/pgbackrest/log",
        "log-level-console": "off",
        "log-level-stderr": "info",
        "log-level-file": "off",
        "log-timestamp": "n",
    }
    assert expected == _options({"POSTGRES_PASSWORD": "x", "WALG_S3_PREFIX": "x"})


def test_the_users_options_win() -> None:
    """A user's setting overrides the recommended value, but an empty value counts as not set."""
    values = {
        "PGBACKREST_PROCESS_MAX": "4",
        "PGBACKREST_REPO1_BUNDLE": "n",
        "PGBACKREST_REPO2_PATH": "/second",
        "PGBACKREST_START_FAST": "",
        "PGBACKREST_STANZA": "mine",
    }
    found = _options(values)
    expected: dict[str, object] = {
        "process-max": "4",
        "repo1-bundle": "n",
        "repo2-path": "/second",
        "start-fast": "y",
    }
    assert expected == {name: found[name] for name in expected}
    assert "stanza" not in found


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (KEYS, {"repo1-s3-endpoint": "s3.eu-1.amazonaws.com"}),
        ({**KEYS, "AWS_ENDPOINT": "https://host:9000"}, {"repo1-s3-endpoint": "https://host:9000"}),
        ({**KEYS, "AWS_SESSION_TOKEN": "t"}, {"repo1-s3-token": "t"}),
        ({**KEYS, "AWS_S3_FORCE_PATH_STYLE": "True"}, {"repo1-s3-uri-style": "path"}),
        ({**KEYS, "AWS_CA_BUNDLE": "/ca"}, {"repo1-storage-ca-file": "/ca"}),
    ],
)
def test_a_bucket(values: dict[str, str], expected: dict[str, str]) -> None:
    """ARCHIVE_URL=s3://… takes its keys from the same variables as wal-g."""
    whole = {
        "repo1-type": "s3",
        "repo1-path": "/a/b",
        "repo1-s3-bucket": "bucket",
        "repo1-s3-region": "eu-1",
        "repo1-s3-key": "id",
        "repo1-s3-key-secret": "key",
        **expected,
    }
    found = _options(values, BUCKET)
    assert whole == {name: found.get(name) for name in whole}
    optional = {"repo1-s3-token", "repo1-s3-uri-style", "repo1-storage-ca-file"}
    assert optional & set(expected) == optional & set(found)


def test_command_lines() -> None:
    """The calls are those of pgBackRest's documentation; segments come from one repository only."""
    expected = [
        "pgbackrest --stanza=main --log-level-stderr=warn archive-push %p",
        "pgbackrest --stanza=main --repo=1 --log-level-stderr=warn archive-get %f %p",
        "pgbackrest --stanza=main --no-online --io-timeout=3 stanza-create",
        "pgbackrest --stanza=main --no-online --io-timeout=3 stanza-upgrade",
        (
            "pgbackrest --stanza=main --no-config --pg1-path=/new --repo1-path=/try/repo --lock-path=/try/lock "
            "--log-level-file=off --log-level-console=off --log-level-stderr=warn --no-online stanza-create"
        ),
        "pgbackrest --stanza=main --output=json --io-timeout=3 info",
        "pgbackrest --stanza=main --type=full backup",
        "pgbackrest --stanza=main --repo=1 --type=none --pg1-path=/folder restore",
        "pgbackrest --stanza=main --repo=1 --type=none --pg1-path=/folder --set=x restore",
    ]
    commands = [
        TOOL.archive_segment(SERVER),
        TOOL.fetch_segment(SERVER),
        TOOL.prepare(SERVER),
        TOOL.upgrade(SERVER),
        TOOL.rehearse("/new", "/try"),
        TOOL.list_backups(SERVER),
        TOOL.push(SERVER),
        TOOL.fetch(SERVER, "LATEST", "/folder"),
        TOOL.fetch(SERVER, "x", "/folder"),
    ]
    assert expected == [_in_order(command.argv) for command in commands if command]


def _in_order(argv: tuple[str, ...]) -> str:
    """Return a command line with its command after the options; pgBackRest accepts both orders."""
    program, *words = argv
    options = [word for word in words if word.startswith("--")]
    return " ".join([program, *options, *(word for word in words if not word.startswith("--"))])


@pytest.mark.parametrize(("value", "expected"), [("", "main"), ("mine", "mine")])
def test_the_stanza(value: str, expected: str) -> None:
    """The stanza is main unless the user sets another one."""
    tool = PgBackRest({"PGBACKREST_STANZA": value})
    assert expected == tool.options({}, FOLDER, SERVER)["stanza"]
    assert f"--stanza={expected}" in tool.push(SERVER).argv


def test_backups() -> None:
    """A real answer (full, annotated incremental and differential backup) is parsed with all fields."""
    identifier = "7711066109405266527"
    expected = [
        Backup(
            name="20261122-183502F",
            kind="full",
            started="2026-11-22T18:35:02+00:00",
            finished="2026-11-22T18:35:03+00:00",
            size_bytes=22992664,
            start_lsn="0/2000028",
            stop_lsn="0/2000100",
            permanent=False,
            system_identifier=identifier,
            stored_bytes=4519927,
            first_segment="000000010000000000000002",
            major=15,
            folders=("15-1",),
        ),
        Backup(
            name="20261122-183502F_20261122-183504I",
            kind="incremental",
            started="2026-11-22T18:35:04+00:00",
            finished="2026-11-22T18:35:05+00:00",
            size_bytes=23361304,
            start_lsn="0/4000028",
            stop_lsn="0/4000100",
            permanent=True,
            system_identifier=identifier,
            parent="20261122-183502F",
            stored_bytes=357834,
            first_segment="000000010000000000000004",
            major=15,
            folders=("15-1",),
        ),
        Backup(
            name="20261122-183502F_20261122-183505D",
            kind="incremental",
            started="2026-11-22T18:35:05+00:00",
            finished="2026-11-22T18:35:07+00:00",
            size_bytes=23361304,
            start_lsn="0/5000028",
            stop_lsn="0/6000050",
            permanent=False,
            system_identifier=identifier,
            parent="20261122-183502F",
            stored_bytes=357834,
            first_segment="000000010000000000000005",
            major=15,
            folders=("15-1",),
        ),
    ]
    assert expected == TOOL.parse_backups(made.sample("pgbackrest-info.json"))


@pytest.mark.parametrize(
    "output",
    [made.sample("pgbackrest-info-no-stanza.json"), made.sample("pgbackrest-info-no-backup.json"), "[]", ""],
)
def test_no_backups(output: str) -> None:
    """A repository without a stanza and a stanza without a backup have no backups; that is not an error."""
    assert [] == TOOL.parse_backups(output)


@pytest.mark.parametrize(
    ("name", "words"),
    [("wrong-passphrase", "cipher header invalid"), ("no-permission", "Permission denied")],
)
def test_a_repository_that_cannot_be_read(name: str, words: str) -> None:
    """The tool still exits with 0; the message that it gives for the repository is the reason."""
    with pytest.raises(ValueError, match=words):
        TOOL.parse_backups(made.sample(f"pgbackrest-info-{name}.json"))


@pytest.mark.parametrize(
    "garbage", ["\x05\u023a\x8e", "a\nb\nc", "[x] \\"], ids=["binary", "lines", "no JSON"]
)
def test_the_garbage_from_a_wrong_passphrase_is_not_repeated(garbage: str) -> None:
    """The tool's error message is shown, even if the garbage in it makes the answer unreadable."""
    words = "[FormatError] unable to load info file '/a':"
    words += f"\\nFormatError: key/value found outside of section at line 1: {garbage}\\nHINT: look"
    status = f'{{"code":99,"message":"other"}},"repo":[{{"status":{{"code":99,"message":"{words}"}}}}]'
    with pytest.raises(ValueError, match="unable to load info file") as told:
        TOOL.parse_backups(f'[{{"backup":[],"db":[],"status":{status}}}]')
    assert garbage not in str(told.value)


@pytest.mark.parametrize(
    "warning",
    [
        "WARN: environment contains invalid option 'nosuch'\n",
        "WARN: unable to check pg1: [FileMissingError] missing file\n",
    ],
)
def test_warnings_before_the_answer(warning: str) -> None:
    """Newer versions write warnings to stdout, before the JSON."""
    expected = TOOL.parse_backups(made.sample("pgbackrest-info.json"))
    assert expected == TOOL.parse_backups(warning + made.sample("pgbackrest-info.json"))


OLD = "7711066109405266527"
NEW = "7711127586748387343"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("", [Owner(OLD, 15, "000000010000000000000006")]),
        ("-upgraded", [Owner(NEW, 17, None)]),
        ("-no-stanza", []),
    ],
)
def test_the_owner_is_the_newest(name: str, expected: list[Owner]) -> None:
    """It comes with its major version and its last segment, which a stanza lacks right after its upgrade."""
    assert expected == TOOL.parse_owners(0, made.sample(f"pgbackrest-info{name}.json"))


def test_each_repository_has_its_owner() -> None:
    """A killed upgrade may have reached one repository and not the other."""
    (stanza,) = json.loads(made.sample("pgbackrest-info-upgraded.json"))
    stanza["db"] += [{"id": 1, "repo-key": 2, "system-id": 5, "version": "9.6"}]
    stanza["archive"] += [{"database": {"id": 1, "repo-key": 2}, "id": "9.6-1", "max": "F", "min": "F"}]
    assert [Owner(NEW, 17, None), Owner("5", 9, "F")] == TOOL.parse_owners(0, json.dumps([stanza]))


def test_an_owner_that_cannot_be_found_out() -> None:
    """The error contains the tool's output."""
    for code, text in ((103, "unable to find"), (0, made.sample("pgbackrest-info-no-permission.json"))):
        with pytest.raises(ValueError, match=r"unable|Permission denied"):
            TOOL.parse_owners(code, text)


@pytest.mark.parametrize("output", ["[", "[{}]", '[{"status":{"code":0,"message":"ok"}}]'])
def test_an_invalid_answer(output: str) -> None:
    """An invalid answer raises an error that the caller handles."""
    with pytest.raises((ValueError, KeyError, TypeError)):
        TOOL.parse_backups(output)


def test_backups_are_sorted_by_age() -> None:
    """LATEST is the last backup to finish, in whatever order the tool lists them."""
    (stanza,) = json.loads(made.sample("pgbackrest-info.json"))
    stanza["backup"].reverse()
    assert TOOL.parse_backups(made.sample("pgbackrest-info.json")) == TOOL.parse_backups(json.dumps([stanza]))


def test_what_the_entrypoint_decides_are_options() -> None:
    """Every refused option is a known option; an unknown name could not be refused."""
    assert [] == sorted(pgbackrest._OURS - tool_variables._OPTIONS)


@pytest.mark.parametrize("option", ["PG1_HOST", "PG2_HOST"])
def test_no_other_server(option: str) -> None:
    """The server is in this container; the tool would take another host only in a section that we write."""
    assert 1 == len(TOOL.check({f"PGBACKREST_{option}": "elsewhere"}))


LISTED = TOOL.parse_backups(made.sample("pgbackrest-info.json"))
CHECK = Check(LISTED, LISTED[0], 1, (), 16 * 1024**2, live=True)


def _listing(*segments: str) -> Answer:
    paths = {f"15-1/{name[:16]}/{name}-{'0' * 40}.lz4": {"type": "file"} for name in segments}
    return Answer(0, json.dumps({".": {"type": "path"}, **paths}), "")


def _segments(first: int, last: int) -> list[str]:
    return [f"0000000100000000{number:08X}" for number in range(first, last + 1)]


def test_a_whole_archive_is_sound() -> None:
    """Every segment since the first backup exists."""
    assert TOOL.parse_verification(CHECK, [_listing(*_segments(2, 9))]).sound
    assert TOOL.parse_verification(CHECK, [_listing(*_segments(1, 6))]).sound


def test_a_cluster_whose_upgrade_was_undone_has_two_folders() -> None:
    """The newer cluster's WAL is ahead on the same timeline, and is no hole of the older one."""
    before, after = ("15-1", _segments(2, 5)), ("15-3", _segments(6, 9))
    paths = {
        f"{folder}/{name[:16]}/{name}-{'0' * 40}.lz4": {"type": "file", "time": 1795364442}
        for folder, names in (before, after, ("17-2", _segments(20, 22)))
        for name in names
    }
    answer = Answer(0, json.dumps(paths), "")
    backups = [each._replace(folders=("15-1", "15-3")) for each in LISTED]
    assert TOOL.parse_verification(CHECK._replace(backups=backups), [answer]).sound
    stored = TOOL.parse_wal(answer.stdout, backups[-1].folders)
    assert _segments(2, 9) == sorted(each.name for each in stored)
    assert _segments(6, 9) == sorted(each.name for each in TOOL.parse_wal(answer.stdout))
    info = json.loads(made.sample("pgbackrest-info-upgraded.json"))
    listed = TOOL.parse_backups(json.dumps(info))
    assert [each.folders for each in listed] == [
        (f"{each.major}-{number}",) for number, each in enumerate(listed, 1)
    ]


def test_gaps_are_found_by_names() -> None:
    """A missing segment is a hole; if a backup needs the segment, that backup is also broken."""
    found = TOOL.parse_verification(CHECK, [_listing(*_segments(2, 2), *_segments(4, 9))])
    assert (((_segments(3, 3)[0],) * 2,), {}) == (found.holes, found.broken)
    found = TOOL.parse_verification(CHECK, [_listing(*_segments(2, 3), *_segments(5, 5), *_segments(7, 9))])
    assert [("000000010000000000000004",) * 2, ("000000010000000000000006",) * 2] == list(found.holes)
    assert [LISTED[1].name, LISTED[2].name] == list(found.broken)
    # The stop segment of the newest backup is found missing even if no segment follows it.
    found = TOOL.parse_verification(CHECK, [_listing()])
    assert [("000000010000000000000002", "000000010000000000000006")] == list(found.holes)


def test_objects_that_were_read_and_are_damaged() -> None:
    """A damaged segment is a hole; a damaged file of a backup breaks that backup."""
    damaged = {
        f"archive/main/15-1/0000000100000000/{_segments(8, 8)[0]}-{'0' * 40}.lz4": "x",
        f"backup/main/{LISTED[0].name}/bundle/1": "base/1/2: its checksum differs",
        f"backup/main/{LISTED[0].name}/bundle/2": "base/1/3: its checksum differs",
    }
    found = TOOL.parse_verification(CHECK._replace(damaged=damaged), [_listing(*_segments(2, 9))])
    assert ((_segments(8, 8)[0],) * 2,) == found.holes
    assert {LISTED[0].name: "bundle/1: base/1/2: its checksum differs"} == found.broken


def test_a_failed_verification_is_not_a_good_one() -> None:
    """If the tool could not look, nothing counts as sound."""
    refused = Answer(103, "", "unable to find a valid repository")
    with pytest.raises(ValueError, match="repository"):
        TOOL.parse_verification(CHECK, [refused])
    with pytest.raises(ValueError, match="repository"):
        TOOL.parse_objects([_listing(), refused], ())


def test_objects_of_a_listing() -> None:
    """Segments by folder and files of listed backups are listed, but no object that every call reads."""
    label, folder = LISTED[0].name, "15-1/0000000100000000"
    segment = f"{folder}/000000010000000000000001-{'0' * 40}.lz4"
    file = {"type": "file", "size": 5, "time": 7}
    wal = {".": {"type": "path"}, segment: file, f"{folder}/000000010000000000000002.00000028.backup": file}
    rows = {
        f"{label}/bundle": {"type": "path"},
        f"{label}/bundle/1": file,
        "backup.info": file,
        "other/x": file,
    }
    found = TOOL.parse_objects([Answer(0, json.dumps(each), "") for each in (wal, rows)], {label})
    assert [
        Object(f"archive/main/{segment}", 5, 7, f"archive/main/{folder}", closed=False),
        Object(f"backup/main/{label}/bundle/1", 5, 7, f"backup/main/{label}", closed=True),
    ] == found
    assert TOOL.catalogue(SERVER, found[0].group, ()) is None
    given = TOOL.catalogue(SERVER, found[1].group, ())
    assert given is not None
    assert f"backup/main/{label}/backup.manifest" == given[0] == given[1].argv[-1]
    # Files of backups are judged as they are stored, without a key; segments after decompression.
    assert "--raw" in TOOL.read_whole(SERVER, found[1].path).argv
    assert "--raw" not in TOOL.read_whole(SERVER, found[0].path).argv
    assert TOOL.judge(found[0].path, None, lambda _: None) is None
    assert isinstance(TOOL.judge(found[0].path.removesuffix(".lz4"), None, lambda _: None), Sum)


def test_what_a_removal_names() -> None:
    """It names backups one by one, and WAL by ranges, of one major version if asked."""
    expected = Removal(
        frozenset({"20261122-213103F", "20261122-213103F_20261122-213316I"}),
        ("000000010000000000000001", "000000010000000000000010"),
    )
    text = made.sample("pgbackrest-expire.txt")
    assert [expected, expected] == [TOOL.parse_removal(text), TOOL.parse_removal(text, 15)]
    assert Removal(expected.backups, ()) == TOOL.parse_removal(text, 17)


def test_command_lines_of_backups() -> None:
    """Only what the entrypoint chose expires, whatever PGBACKREST_REPO1_RETENTION_FULL is."""
    commands = [
        TOOL.push(SERVER, None, Resources(3)),
        TOOL.push(SERVER, LISTED[0]),
        PgBackRest({"PGBACKREST_PROCESS_MAX": "9"}).push(SERVER, None, Resources(3)),
        TOOL.mark(SERVER, "x", permanent=True),
        TOOL.mark(SERVER, "x", permanent=False),
        TOOL.expire(SERVER, "x", dry_run=True),
        TOOL.expire(SERVER, "x", dry_run=False),
        TOOL.expire_wal(SERVER, LISTED[0], LISTED, dry_run=False),
        *TOOL.verify(SERVER, CHECK),
    ]
    ours = "--repo=1 --repo1-retention-full=9999999 --log-level-stderr=info"
    expected = [
        "--type=full --process-max=3 backup",
        "--type=incr backup",
        "--type=full backup",
        "--set=x --annotation=keep=yes annotate",
        "--set=x --annotation=keep= annotate",
        f"{ours} --set=x --dry-run expire",
        f"{ours} --set=x expire",
        f"{ours} --repo1-retention-archive=1 expire",
        "--repo=1 --recurse --output=json --log-level-stderr=warn repo-ls archive/main",
    ]
    assert expected == [
        " ".join(command.argv).removeprefix("pgbackrest --stanza=main ") for command in commands
    ]


def test_the_parent_is_the_newest() -> None:
    """The tool itself chooses the newest, so if that one is broken, there is no parent."""
    assert LISTED[2] == TOOL.parent(LISTED, ())
    assert TOOL.parent(LISTED, {LISTED[2].name}) is None
    assert TOOL.parent([], ()) is None


def test_segments_are_those_of_the_current_cluster() -> None:
    """After pg_upgrade the old major version's timelines are another cluster's, even if they are higher."""
    segment = "000000010000000000000005-a7a566ee25e4b92e2700f47e02fab01a3e2e5f14.lz4"
    paths = [
        "15-9/0000000300000000",
        f"15-9/0000000300000000/00000003{segment[8:]}",
        "15-9/00000003.history",
        "17-10",
        f"17-10/0000000100000000/{segment}",
        "17-10/0000000100000000/000000010000000000000005.00000028.backup",
        "archive.info",
    ]
    tool = PgBackRest({})

    def listed(paths: Sequence[str]) -> list[Stored]:
        return tool.parse_wal(json.dumps({path: {"type": "file", "time": 1795364442} for path in paths}))

    path = f"archive/main/17-10/0000000100000000/{segment}"
    assert [(segment[:24], path, "2026-11-22T16:20:42+00:00")] == listed(paths)
    assert ["000000030000000000000005", "00000003.history"] == [each.name for each in listed(paths[:3])]
    assert [] == listed(["archive.info"])


def test_the_folder_of_a_clusters_segments() -> None:
    """An upgraded archive has one folder for each cluster; segments come from the first repository only."""
    text = made.sample("pgbackrest-info-upgraded.json")
    rows = json.loads(text)[0]
    for row in rows["archive"]:
        found = [each["system-id"] for each in rows["db"] if each["id"] == row["database"]["id"]]
        assert f"archive/main/{row['id']}" == TOOL.wal_folder(str(found[0]), 0, text)
    assert len({row["id"] for row in rows["archive"]}) > 1
    undone = json.loads(text)
    again = {**rows["archive"][0], "database": {**rows["archive"][0]["database"], "id": 99}, "id": "15-99"}
    owner = {**rows["db"][0], "id": 99}
    undone[0]["db"].append(owner)
    undone[0]["archive"].append(again)
    assert "archive/main/15-99" == TOOL.wal_folder(str(owner["system-id"]), 0, json.dumps(undone))
    with pytest.raises(ValueError, match="no segment of the cluster 1"):
        TOOL.wal_folder("1", 0, text)
    with pytest.raises(ValueError, match="dead"):
        TOOL.wal_folder("1", 103, "dead")
    assert "archive/main/15-1" == TOOL.list_folder(SERVER, "archive/main/15-1").argv[-1]


def test_a_read_back_is_the_tools_own_answer() -> None:
    """The process that reads ahead for a recovery is not involved."""
    assert "n" == TOOL.read_back(SERVER).environment["PGBACKREST_ARCHIVE_ASYNC"]
    assert TOOL.capabilities.helping is None


def test_the_users_timeouts_win() -> None:
    """A fetch gives up sooner, since it is tried again; the user's settings are left alone."""
    assert "5" == TOOL.fetch_segment(SERVER).environment["PGBACKREST_IO_TIMEOUT"]
    own = PgBackRest({"PGBACKREST_IO_TIMEOUT": "60"})
    assert "PGBACKREST_IO_TIMEOUT" not in own.fetch_segment(SERVER).environment


def test_a_settings_file_for_a_copy() -> None:
    """Data, spool and locks are in other folders; the repository and the secrets stay."""
    text = (
        "repo1-path=/run/entrypoint/archive\nrepo1-cipher-pass=secret\n"
        "spool-path=/run/entrypoint/pgbackrest/spool\nlock-path=/run/entrypoint/pgbackrest/lock\n"
        "[main]\npg1-path=/var/lib/postgresql/data\npg1-port=5432\n"
    )
    expected = (
        "repo1-path=/run/entrypoint/archive\nrepo1-cipher-pass=secret\n"
        "spool-path=/run/copy/pgbackrest/spool\nlock-path=/run/copy/pgbackrest/lock\n"
        "[main]\npg1-path=/copy\npg1-port=5432\n"
    )
    other = SERVER._replace(data_folder="/copy", runtime_folder="/run/copy")
    assert expected == TOOL.moved(text, SERVER, other)


def test_a_fetch_with_limited_resources() -> None:
    """A drill fetches with its share of the processors; the user's setting wins."""
    assert "--process-max=2" in TOOL.fetch(SERVER, "LATEST", "/copy", resources=Resources(processes=2)).argv
    own = PgBackRest({"PGBACKREST_PROCESS_MAX": "9"}).fetch(
        SERVER, "LATEST", "/copy", resources=Resources(processes=2)
    )
    assert "--process-max=2" not in own.argv


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        (
            "AWS_SECRET_ACCESS_KEY",
            r"a\1b",
            "repo1-s3-key=k\nrepo1-s3-key-secret=a\\1b\nrepo1-cipher-pass=p\n",
        ),
        (
            "PGBACKREST_REPO1_CIPHER_PASS",
            "new",
            "repo1-s3-key=k\nrepo1-s3-key-secret=s\nrepo1-cipher-pass=new\n",
        ),
        ("PGBACKREST_REPO2_S3_KEY", "new", "repo1-s3-key=k\nrepo1-s3-key-secret=s\nrepo1-cipher-pass=p\n"),
        ("AWS_ACCESS_KEY_ID", "a\nb", "repo1-s3-key=k\nrepo1-s3-key-secret=s\nrepo1-cipher-pass=p\n"),
    ],
)
def test_another_value_in_the_settings_file(name: str, value: str, expected: str) -> None:
    """The new value replaces the old one, and nothing else changes."""
    text = "repo1-s3-key=k\nrepo1-s3-key-secret=s\nrepo1-cipher-pass=p\n"
    assert expected == TOOL.changed(text, name, value)


def test_a_typed_command_reads_the_settings_file() -> None:
    """It uses our stanza if it names none; log lines that it turns on do not appear twice."""
    command = TOOL.by_hand(SERVER, ("info",))
    assert ("pgbackrest", "info") == command.argv
    assert {"PGBACKREST_CONFIG", "PGBACKREST_STANZA"} == set(command.environment)
    loud = TOOL.by_hand(SERVER, ("--log-level-console=info", "check"))
    assert "warn" == loud.environment["PGBACKREST_LOG_LEVEL_STDERR"]
    assert TOOL.capabilities.redirecting is None


def test_options_as_variables() -> None:
    """Without a rendered file the options are variables with full names; list values are joined by colons."""
    values = {"PGBACKREST_REPO1_CIPHER_PASS": "a b", "PGBACKREST_EXCLUDE": "x:y"}
    found = TOOL.as_variables(TOOL.options(values, FOLDER, SERVER))
    expected = {
        "PGBACKREST_REPO1_CIPHER_PASS": "a b",
        "PGBACKREST_EXCLUDE": "x:y:pg_wal/entrypoint.reserve:pg_stat_tmp/entrypoint.reserve",
        "PGBACKREST_REPO1_PATH": "/archive",
        "PGBACKREST_PG1_PATH": SERVER.data_folder,
        "PGBACKREST_CONFIG": "/dev/null",
    }
    assert expected.items() <= found.items()
    assert [] == [name for name in found if not tool_variables.is_known(name)]
