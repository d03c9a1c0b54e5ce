"""Random bad environments: always a clear message and an exit code, no traceback, an unchanged volume.

The real program is started on this machine, without a container and without privileges, and must refuse. Each
example is bad in at least one known way; everything else in it is random.
"""

from __future__ import annotations

import compileall
import fcntl
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import hypothesis
import jinja2
import markupsafe
import pytest
from hypothesis import HealthCheck, Phase, given
from hypothesis import strategies as st

REPOSITORY = Path(__file__).resolve().parents[2]
EXAMPLES = 600
PARTS = 4
"""The number of tests that share the examples, so that they can run in parallel."""

OUR_CODES = {1, 2, 10, 11, 12, 13}
UID = 12345 if os.getuid() == 0 else os.getuid()
SECRET = "vErY-sEcReT"
START = """
import sys
sys.path.insert(0, sys.argv.pop(1))
from entrypoint.server import opening
opening.RUNTIME_FOLDERS = (sys.argv.pop(1),)
from entrypoint.__main__ import main
sys.exit(main())
"""
"""The image's program, but with the test's own folder in place of those below /run."""


class Case:
    """One start: its environment, its arguments, its volume, and the expected messages."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.volume = folder / "volume"
        self.data = self.volume / "data"
        self.secrets = folder / "secrets"
        self.runtime = folder / "run"
        for path in (self.data, self.secrets, self.runtime):
            path.mkdir(parents=True)
        (self.volume / "neighbour").write_text("not ours")
        self.environment: dict[bytes, bytes] = {}
        self.arguments: list[str] = ["postgres"]
        self.expected: list[str] = []
        """Texts that must be in the errors."""
        self.set(PATH="/usr/bin:/bin", PGDATA=str(self.data), POSTGRES_PASSWORD=SECRET)

    def set(self, *words: str, **values: str) -> None:
        """Set variables, and expect these texts in an error."""
        self.environment |= {os.fsencode(name): os.fsencode(value) for name, value in values.items()}
        self.expected += words

    def unset(self, name: str) -> None:
        """Remove a variable."""
        self.environment.pop(os.fsencode(name), None)

    def file(self, name: str, content: bytes = b"x", mode: int = 0o600) -> str:
        """Create a file that a `_FILE` variable may name, and return its path."""
        path = self.secrets / name
        path.write_bytes(content)
        path.chmod(mode)
        return str(path)

    def fill(self, *names: str) -> None:
        """Create files in the data folder; a name with a trailing slash is a folder."""
        for name in names:
            path = self.data / name
            if name.endswith("/"):
                path.mkdir(parents=True)
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text("15\n")

    def give_away(self) -> None:
        """Change the owner of everything to the user that the program runs as."""
        if os.getuid() == 0:
            for path in (self.folder, *self.folder.rglob("*")):
                os.chown(path, UID, UID, follow_symlinks=False)


Draw = Callable[[st.SearchStrategy[Any]], Any]


class Way(NamedTuple):
    """One way in which a start is bad."""

    name: str
    topics: frozenset[str]
    """Two ways with a common topic are not combined, since one could hide the other."""
    apply: Callable[[Case, Draw], None]


WAYS: list[Way] = []
TOPICS = (
    *("password", "user", "db", "initdb", "auth", "unfinished", "wal", "conf", "times", "archive", "names"),
    *("pgdata", "volume", "arguments", "handoff"),
)


def _way(*topics: str) -> Callable[[Callable[[Case, Draw], None]], None]:
    def add(apply: Callable[[Case, Draw], None]) -> None:
        WAYS.append(Way(apply.__name__.strip("_"), frozenset(topics), apply))

    return add


# Any text that an environment can contain: no zero byte.
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30)
NASTY = st.sampled_from(
    [
        "",
        " ",
        "\n",
        "\r\n",
        "'",
        '"',
        "%s %p %%",
        "$(false)",
        "`false`",
        "${x",
        "\\",
        "-",
        "--help",
        "é",
        "\x1b[31m",
    ]
)
VALUES = TEXT | NASTY | st.lists(NASTY, max_size=4).map("".join)
WORDS = st.text("abcdefghij", min_size=1, max_size=8)
FROM_FILE = {
    "password": "POSTGRES_PASSWORD",
    "user": "POSTGRES_USER",
    "db": "POSTGRES_DB",
    "initdb": "POSTGRES_INITDB_ARGS",
    "archive": "ARCHIVE_URL",
}


def _bad(draw: Draw, good: Callable[[str], object]) -> str:
    """Return any text that is not good."""
    text: str = draw(VALUES)
    return f"x{text}" if good(text) else text


def _is_empty(text: str) -> bool:
    return not text


@_way()
def _both_a_value_and_a_file(case: Case, draw: Draw) -> None:
    secrets = {"POSTGRES_PASSWORD": SECRET, "WALG_PGP_KEY": SECRET, "PGBACKREST_REPO1_CIPHER_PASS": SECRET}
    values = {**dict.fromkeys(FROM_FILE.values(), "x"), **secrets}
    name = draw(st.sampled_from(sorted(values)))
    path = draw(st.sampled_from([case.file("both"), "/none", "\n"]))
    case.set(f"both {name} and {name}_FILE are set", **{name: values[name], f"{name}_FILE": path})


@_way("archive")
def _a_file_that_cannot_be_read(case: Case, draw: Draw) -> None:
    case.set(**ARCHIVED)
    name = draw(st.sampled_from([*FROM_FILE.values(), "WALG_PGP_KEY", "PGBACKREST_REPO2_S3_KEY"]))
    loop = case.secrets / "loop"
    loop.symlink_to(loop)
    (case.secrets / "folder").mkdir()
    bad = [
        *("/none", "relative/none", str(case.secrets / "folder"), str(loop), f"{case.file('file')}/below"),
        *("/" + "x" * 300, "/none\nentrypoint: info: forged", case.file("closed", mode=0)),
    ]
    case.unset(name)
    case.set(f"{name}_FILE", **{f"{name}_FILE": draw(st.sampled_from(bad))})


@_way("user", "db", "initdb")
def _a_file_with_a_zero_byte(case: Case, draw: Draw) -> None:
    name = draw(st.sampled_from(["POSTGRES_USER", "POSTGRES_DB", "POSTGRES_INITDB_ARGS"]))
    case.unset(name)
    case.set("zero byte", **{f"{name}_FILE": case.file("zero", b"a\0b")})


@_way("times", "archive")
def _a_bad_number(case: Case, draw: Draw) -> None:
    case.set(**ARCHIVED)
    names = ("STOP_SMART_TIMEOUT", "STOP_FAST_TIMEOUT", "STOP_IMMEDIATE_TIMEOUT", "PGCTLTIMEOUT")
    for name in draw(st.lists(st.sampled_from(names), min_size=1, unique=True)):
        text = _bad(draw, lambda text: not text or re.fullmatch("[0-9]{1,7}", text))
        case.set(f"{name}=", **{name: text})


ARCHIVED = {"ARCHIVE_URL": "file:///archive"}
"""With it, names and values of our groups are ours; otherwise they may belong to another program."""

UNKNOWN = [
    *("ARCHIVE_URI", "ARCHIVE_FLOPPY", "ARCHIVE_TOOLS", "ARCHIVE_TOOL_FILE", "ARCHIVE_"),
    *(
        "WALG_S3_PERFIX",
        "WALG_XYZZY",
        "WALG_",
        "PGBACKREST_REPO_PATH",
        "PGBACKREST_XYZZY",
        "PGBACKREST_REPO1_PTAH",
    ),
    *("RESTORE_FORM", "STOP_FAST_TIMOUT", "STOP_SMART_TIMEOUTS"),
]


@_way("names", "archive")
def _names_that_nobody_knows(case: Case, draw: Draw) -> None:
    case.set(**ARCHIVED)
    for name in draw(st.lists(st.sampled_from(UNKNOWN), min_size=1, max_size=4, unique=True)):
        case.set(f"unknown variable {name}", **{name: draw(VALUES)})


@_way("names", "archive")
def _a_random_name_of_our_groups(case: Case, draw: Draw) -> None:
    case.set(**ARCHIVED)
    group = draw(st.sampled_from(["ARCHIVE_", "WALG_", "PGBACKREST_"]))
    # names that end like those that a container engine sets are left alone
    name = group + draw(st.text("QXZ_", min_size=4, max_size=12))
    case.set(f"unknown variable {name}", **{name: draw(VALUES)})


@_way("auth")
def _no_authentication_method(case: Case, draw: Draw) -> None:
    bad = [" ", "peer", "MD5", "scram", "md5,trust", "none", "host all all all trust", "\n"]
    text = draw(st.sampled_from(bad)) + draw(st.just("") | VALUES.map(lambda text: f"x{text}"))
    case.set("POSTGRES_HOST_AUTH_METHOD", POSTGRES_HOST_AUTH_METHOD=text)


@_way("unfinished")
def _no_way_to_treat_what_is_unfinished(case: Case, draw: Draw) -> None:
    text = _bad(draw, lambda text: text in ("", "refuse", "restart"))
    case.set("POSTGRES_INIT_UNFINISHED", POSTGRES_INIT_UNFINISHED=text)


@_way("wal")
def _a_relative_wal_folder(case: Case, draw: Draw) -> None:
    text = _bad(draw, lambda text: not text or text.startswith("/"))
    case.set("POSTGRES_INITDB_WALDIR", POSTGRES_INITDB_WALDIR=text)


@_way("conf")
def _no_server_setting(case: Case, draw: Draw) -> None:
    bad = ["", "1x", "a-b", "a.b.c", "a b", "ö", "config_file", "DATA_DIRECTORY", "a\n", "a'", "..", "%p"]
    for setting in draw(st.lists(st.sampled_from(bad), min_size=1, max_size=3, unique=True)):
        name = f"POSTGRES_CONF_{setting}"
        case.set(name.split("\n", 1)[0], **{name: draw(VALUES)})


@_way("conf")
def _a_server_setting_of_several_lines(case: Case, draw: Draw) -> None:
    text = draw(VALUES) + draw(st.sampled_from(["\n", "\r", "\r\n"])) + draw(VALUES)
    case.set("POSTGRES_CONF_work_mem", POSTGRES_CONF_work_mem=text)


@_way("archive")
def _no_archive_url(case: Case, draw: Draw) -> None:
    bad = [
        "archive",
        "file://x",
        "file:///",
        "s3://",
        "gs://bucket/x",
        "file:///a b",
        "file:///a%",
        "s3://b/'",
    ]
    text = draw(st.sampled_from(bad) | VALUES.map(lambda text: f"x{text}"))
    case.set("ARCHIVE_URL", ARCHIVE_URL=text)
    if draw(st.booleans()):
        case.set(RESTORE_FROM=draw(VALUES))


@_way("archive")
def _an_unknown_tool(case: Case, draw: Draw) -> None:
    text = _bad(draw, lambda text: text in ("", "wal-g", "pgbackrest"))
    case.set("ARCHIVE_TOOL", ARCHIVE_TOOL=text, **ARCHIVED)


@_way("archive")
def _a_tool_without_a_storage(case: Case, draw: Draw) -> None:
    case.set("ARCHIVE_TOOL", ARCHIVE_TOOL=draw(st.sampled_from(["wal-g", "pgbackrest"])))


@_way("archive")
def _a_restore_from_nowhere(case: Case, draw: Draw) -> None:
    name = draw(st.sampled_from(["LATEST", "base_1", "latest", "20261129-063541F"]))
    case.set("there is no archive to restore from", RESTORE_FROM=name)


STORAGES = {
    "ARCHIVE_URL": "file:///archive",
    "WALG_FILE_PREFIX": "/archive",
    "PGBACKREST_REPO1_PATH": "/archive",
}


@_way("archive")
def _two_storages(case: Case, draw: Draw) -> None:
    names = draw(st.lists(st.sampled_from(sorted(STORAGES)), min_size=2, unique=True))
    case.set("storages", **{name: STORAGES[name] for name in names})


@_way("archive")
def _two_prefixes(case: Case, draw: Draw) -> None:
    known = ["WALG_S3_PREFIX", "WALG_FILE_PREFIX", "WALG_GS_PREFIX", "WALG_AZ_PREFIX"]
    names = draw(st.lists(st.sampled_from(known), min_size=2, unique=True))
    case.set("several storages", *names, **dict.fromkeys(names, "/archive"))


@_way("archive")
def _an_option_that_is_not_the_users(case: Case, draw: Draw) -> None:
    known = ["DELTA", "PG1_PATH", "ARCHIVE_PUSH_QUEUE_MAX", "SPOOL_PATH", "LOG_LEVEL_CONSOLE"]
    name = f"PGBACKREST_{draw(st.sampled_from(known))}"
    case.set(name, **{name: _bad(draw, _is_empty), "PGBACKREST_REPO1_PATH": "/archive"})


@_way("archive")
def _a_time_that_is_none(case: Case, draw: Draw) -> None:
    name = draw(st.sampled_from(["ARCHIVE_TIMEOUT", "ARCHIVE_COMMAND_TIMEOUT"]))
    text = _bad(draw, lambda text: not text or re.match("[0-9]", text))
    case.set(name, **{name: text, "ARCHIVE_URL": "file:///archive"})


@_way("pgdata", "volume", "password", "arguments")
def _no_data_folder(case: Case, draw: Draw) -> None:
    case.set("PGDATA", PGDATA=_bad(draw, lambda text: text.startswith("/")))


@_way("volume", "password", "archive", "auth")
def _no_password(case: Case, draw: Draw) -> None:
    case.unset("POSTGRES_PASSWORD")
    if draw(st.booleans()):
        case.set(POSTGRES_PASSWORD="")
    if draw(st.booleans()):
        case.set(POSTGRES_PASSWORD_FILE=case.file("empty", b"\n\n"))
    case.set("superuser password")


@_way("volume")
def _foreign_files(case: Case, draw: Draw) -> None:
    names = draw(st.lists(WORDS, min_size=1, max_size=7, unique=True))
    case.fill(*draw(st.sampled_from([names, ["lost+found/"], [".hidden"], ["base/1/"]])))
    case.set(str(case.data))


@_way("volume", "unfinished")
def _a_half_made_database(case: Case, draw: Draw) -> None:
    file = draw(st.sampled_from(["", "file /docker-entrypoint-initdb.d/x.sql\n", "file"]))
    case.fill("PG_VERSION", "base/", "global/", "entrypoint.unfinished/")
    (case.data / "entrypoint.unfinished" / "state").write_text(f"files \n{file}")
    case.set("did not finish")


@_way("volume", "archive")
def _a_restore_without_its_archive(case: Case, draw: Draw) -> None:
    case.fill("PG_VERSION", "base/", "entrypoint.unfinished/", "recovery.signal")
    (case.data / "entrypoint.unfinished" / "state").write_text(f"recovery {draw(WORDS)}\n")
    case.set("is not finished")


@_way("volume")
def _a_data_folder_that_cannot_be_read(case: Case, draw: Draw) -> None:
    case.fill("PG_VERSION", "base/")
    case.data.chmod(draw(st.sampled_from([0, 0o200, 0o600])))
    case.set(str(case.data))


@_way("volume", "arguments")
def _arguments_that_need_a_database(case: Case, draw: Draw) -> None:
    arguments = [["-C", "port"], ["--single", "postgres"], ["-C", "'"], ["-D", "/elsewhere"]]
    case.arguments += draw(st.sampled_from(arguments))
    case.set(case.arguments[-1])


@_way(*TOPICS)
def _a_data_folder_that_is_none(case: Case, draw: Draw) -> None:
    case.data.rmdir()
    case.data.write_text("a file")
    case.set(str(case.data), PGDATA=f"{case.data}{draw(st.sampled_from(['', '/', '//']))}")


@_way(*TOPICS)
def _a_handoff_that_is_none(case: Case, draw: Draw) -> None:
    numbers = ["0", "1", "2", "3", "77", "-1", "99999999999999999999"]
    case.set("ENTRYPOINT_HANDOFF", ENTRYPOINT_HANDOFF=draw(st.sampled_from(numbers) | VALUES))


@_way(*TOPICS)
def _a_volume_in_use(case: Case, draw: Draw) -> None:
    case.fill(*draw(st.sampled_from([(), ("PG_VERSION", "base/"), ("notes",)])))
    case.set(f"{case.data} is in use")


NOISE = st.sampled_from(
    [
        *(
            "POSTGRES_DB",
            "POSTGRES_USER",
            "POSTGRES_INITDB_ARGS",
            "POSTGRES_CONF_a.b",
            "PGUSER",
            "PGPASSWORD",
        ),
        *(
            "PG_MAJOR",
            "LANG",
            "LC_ALL",
            "TZ",
            "HOME",
            "PYTHONPATH",
            "PYTHONHOME",
            "PYTHONSTARTUP",
            "BASH_ENV",
            "ENV",
        ),
        *(
            "COLUMNS",
            "PS4",
            "IFS",
            "BACKUP_SCRIPT",
            "MY_FILE",
            "ARCHIVE_SERVICE_HOST",
            "BACKUP_PORT_1_TCP",
            "LD_X",
        ),
    ]
)
OWN = re.compile(rb"ARCHIVE_|WALG_|PGBACKREST_|BACKUP_|RESTORE_|STANDBY_|STOP_|COLLATION_|STATUS_|DRILL_")
OTHERS = re.compile(rb"POSTGRES_|PG|PATH|LD_|ENTRYPOINT_|AWS_|.*_FILE\Z|SHELLOPTS|BASHOPTS", re.DOTALL)
"""Names that are not harmless: ours, and those that affect the programs that are started."""
NAME = st.binary(min_size=1, max_size=12).map(lambda name: re.sub(rb"[=\0]", b"x", name))
VALUE = st.binary(max_size=30).map(lambda value: value.replace(b"\0", b"0"))


def _make(case: Case, draw: Draw) -> list[str]:
    """Make a case bad and add random variables; return the names of the ways."""
    used: set[str] = set()
    names = []
    for way in draw(st.lists(st.sampled_from(WAYS), min_size=1, max_size=5, unique_by=lambda way: way.name)):
        # a way without topics may affect any of these variables
        topics = way.topics or {"password", "user", "db", "initdb", "archive"}
        if not used & set(topics):
            used |= set(topics)
            names.append(way.name)
            hypothesis.event(way.name)  # for --hypothesis-show-statistics
            way.apply(case, draw)
    if "volume" not in used and "pgdata" not in used:
        case.fill(
            *draw(
                st.sampled_from(
                    [(), ("PG_VERSION", "base/1/", "postgresql.conf"), ("entrypoint.unfinished/",)]
                )
            )
        )
    if "user" not in used:
        for name in draw(st.lists(NOISE, max_size=4, unique=True)):
            case.environment.setdefault(os.fsencode(name), os.fsencode(draw(VALUES)))
    for key, value in draw(st.dictionaries(NAME, VALUE, max_size=4)).items():
        if not OWN.match(key) and not OTHERS.match(key):
            case.environment.setdefault(key, value)
    if "arguments" not in used:
        case.arguments += draw(
            st.sampled_from([[], ["-c", "work_mem='%p"], ["-cx.y=\n"], ["--a-b=é"], ["-F", ""]])
        )
    if draw(st.booleans()) and len(case.arguments) > 1 and case.arguments[1].startswith("-"):
        del case.arguments[0]
    return names


def _interpreter() -> str:
    """Return a Python that an unprivileged user can start."""
    for program in (sys.executable, "/usr/bin/python3"):
        try:
            argv = [program, "-IS", "-c", "import sys; sys.exit(sys.version_info < (3, 11))"]
            if subprocess.run(argv, check=False, capture_output=True, **_as_user()).returncode == 0:
                return program
        except OSError:
            continue
    raise AssertionError(f"no Python 3.11 or newer that uid {UID} can start: install python3")


def _as_user() -> dict[str, Any]:
    return {"user": UID, "group": UID, "extra_groups": []} if os.getuid() == 0 else {}


@pytest.fixture(scope="module")
def program() -> Iterator[list[str]]:
    """The program in a folder that everybody can read, and the command that starts it."""
    folder = Path(tempfile.mkdtemp(prefix="entrypoint-"))
    folder.chmod(0o755)
    try:
        for name in ("entrypoint", "conf_templates"):
            shutil.copytree(REPOSITORY / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        for module in (jinja2, markupsafe):
            shutil.copytree(Path(str(module.__file__)).parent, folder / module.__name__)
        for path in folder.rglob("*"):
            path.chmod(path.stat().st_mode | 0o444 | (0o111 if path.is_dir() else 0))
        python = _interpreter()
        if python == sys.executable:
            compileall.compile_dir(folder, quiet=1)
        else:
            subprocess.run([python, "-m", "compileall", "-q", folder], check=True)
        yield [python, "-IS", "-c", START, str(folder)]
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A folder for volumes that an unprivileged user can reach."""
    folder = Path(tempfile.mkdtemp(prefix="volumes-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@contextmanager
def _case(place: Path) -> Iterator[Case]:
    """Provide a case in its own folder, which is removed whatever its modes are by then."""
    folder = Path(tempfile.mkdtemp(dir=place))
    folder.chmod(0o755)
    try:
        yield Case(folder)
    finally:
        for path in (folder / "volume" / "data", folder / "secrets" / "closed"):
            if path.exists():
                path.chmod(0o700)
        shutil.rmtree(folder)


def _snapshot(top: Path) -> dict[str, object]:
    """Return everything about a folder and its content, except the times of access."""
    found: dict[str, object] = {}
    for path in (top, *sorted(top.rglob("*"))):
        status = path.lstat()
        content: object = None
        if stat.S_ISREG(status.st_mode) and os.access(path, os.R_OK):
            content = path.read_bytes()
        attributes = {name: os.getxattr(path, name) for name in os.listxattr(path)} if _readable(path) else {}
        owner = (status.st_uid, status.st_gid, oct(status.st_mode))
        found[str(path.relative_to(top))] = (
            owner,
            status.st_mtime_ns,
            status.st_ctime_ns,
            attributes,
            content,
        )
    return found


def _readable(path: Path) -> bool:
    return os.access(path, os.R_OK)


def _run(program: Sequence[str], case: Case) -> subprocess.CompletedProcess[bytes]:
    argv: list[Any] = [*program, str(case.runtime), *case.arguments]
    environment: Mapping[bytes, bytes] = case.environment
    return subprocess.run(
        argv,
        env=environment,
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        cwd="/",
        start_new_session=True,  # it must not affect our process group
        **_as_user(),
    )


def _errors(text: str) -> list[tuple[str, str]]:
    """Return each logged error: what is wrong, and its hint."""
    found: list[list[str]] = []
    inside = False
    for line in text.split("\n"):
        if line.startswith("entrypoint: "):
            inside = line.startswith("entrypoint: error: ")
            if inside:
                found.append([line.removeprefix("entrypoint: error: ")])
        elif inside and line.startswith("  "):
            found[-1].append(line[2:])
        else:
            inside = False
    errors = []
    for lines in found:
        hints = [number for number, line in enumerate(lines) if line.startswith("hint: ")]
        at = hints[-1] if hints else len(lines)
        errors.append(("\n".join(lines[:at]), "\n".join(lines[at:]).removeprefix("hint: ")))
    return errors


@hypothesis.settings(
    max_examples=EXAMPLES // PARTS,
    deadline=None,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
        HealthCheck.function_scoped_fixture,
    ],
)
@given(data=st.data())
@pytest.mark.parametrize("part", range(PARTS))
def test_a_bad_environment_is_refused(
    program: list[str], place: Path, part: int, data: st.DataObject
) -> None:
    """Every mistake is named with a hint, the exit code is one of our codes, and the volume is unchanged."""
    with _case(place) as case:
        names = _make(case, data.draw)
        case.give_away()
        before = _snapshot(case.volume)
        lock = None
        if "a_volume_in_use" in names:
            lock = os.open(case.data, os.O_RDONLY)
            fcntl.flock(lock, fcntl.LOCK_EX)
        done = _run(program, case)
        if lock is not None:
            os.close(lock)
        text = done.stderr.decode("utf-8", "replace")
        hypothesis.note(
            f"part {part}: {names}\n{case.arguments}\n{case.environment}\n{done.returncode}\n{text}"
        )
        assert "Traceback" not in text
        assert done.returncode in OUR_CODES
        errors = _errors(text)
        assert errors
        assert [] == [what for what, hint in errors if not what.strip() or not hint.strip()]
        said = "\n".join(what for what, _ in errors)
        assert [] == [words for words in case.expected if words not in said]
        assert SECRET not in text
        assert SECRET not in done.stdout.decode("utf-8", "replace")
        assert before == _snapshot(case.volume)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: str(way.name))
@hypothesis.settings(
    max_examples=2,
    deadline=None,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_every_way_alone_is_refused(program: list[str], place: Path, way: Way, data: st.DataObject) -> None:
    """Each known mistake alone is enough, and the message names it: no other mistake hides it."""
    with _case(place) as case:
        way.apply(case, data.draw)
        case.give_away()
        lock = os.open(case.data, os.O_RDONLY) if way.name == "a_volume_in_use" else None
        if lock is not None:
            fcntl.flock(lock, fcntl.LOCK_EX)
        done = _run(program, case)
        if lock is not None:
            os.close(lock)
        text = done.stderr.decode("utf-8", "replace")
        hypothesis.note(f"{case.environment}\n{done.returncode}\n{text}")
        assert done.returncode in OUR_CODES
        said = "\n".join(what for what, _ in _errors(text))
        assert [] == [words for words in case.expected if words not in said]


@pytest.mark.parametrize(
    ("way", "expected"),
    [("a_half_made_database", 10), ("a_volume_in_use", 11), ("a_restore_without_its_archive", 13)],
)
def test_refusals_have_their_own_codes(program: list[str], place: Path, way: str, expected: int) -> None:
    """Refusals that a script may want to distinguish have different exit codes."""
    (apply,) = (each.apply for each in WAYS if each.name == way)
    with _case(place) as case:
        apply(case, lambda strategy: hypothesis.find(strategy, lambda _: True, settings=_QUICK))
        case.give_away()
        lock = os.open(case.data, os.O_RDONLY)
        if expected == 11:
            fcntl.flock(lock, fcntl.LOCK_EX)
        assert expected == _run(program, case).returncode
        os.close(lock)


_QUICK = hypothesis.settings(database=None, deadline=None, max_examples=10)


def test_a_refused_second_start_leaves_the_first_alone(program: list[str], place: Path) -> None:
    """A refused start, for example by docker exec, does not overwrite the status of PID 1."""
    with _case(place) as case:
        case.fill("PG_VERSION")
        (case.runtime / "status").write_text("phase serving 1 -\nserver 1\n")
        case.give_away()
        before = _snapshot(case.runtime)["status"]
        lock = os.open(case.data, os.O_RDONLY)
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert 11 == _run(program, case).returncode
        os.close(lock)
        assert before == _snapshot(case.runtime)["status"]


def test_every_change_is_noticed(place: Path) -> None:
    """A changed content, mode, time or name is noticed; otherwise the tests above would prove nothing."""
    with _case(place) as case:
        case.fill("a")
        file = case.data / "a"
        seen = [_snapshot(case.volume)]
        changes: list[tuple[Callable[..., Any], tuple[Any, ...]]] = [
            (file.write_text, ("16\n",)),
            (file.chmod, (0o640,)),
            (os.utime, (file, (1, 1))),
            (file.rename, (case.data / "b",)),
            ((case.volume / "new").touch, ()),
            (case.data.chmod, (0o711,)),
        ]
        for change, arguments in changes:
            change(*arguments)
            seen.append(_snapshot(case.volume))
        assert len(seen) == len({repr(each) for each in seen})
