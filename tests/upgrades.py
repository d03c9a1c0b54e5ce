"""Clusters that are upgraded, killed on the way, and examined without our program."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import containers
import disks
from containers import FRESH, Container, File, Outcome
from disks import MB

__all__ = [
    "ALONE",
    "AS_OLD_MINOR",
    "COUNTS",
    "DATA",
    "EXPECTED",
    "KINDS",
    "LONG",
    "NEW",
    "OLD",
    "Home",
    "dump",
    "home",
    "made",
]

DATA = "/var/lib/postgresql/data"
SPACES = "/spaces"
OLD = containers.kin("15-bookworm")
NEW = containers.kin("17-trixie-upgrade")
AS_OLD_MINOR = "UPDATE pg_attribute SET attoptions = NULL WHERE attrelid >= 16384"
"""Debian's 18 and 19 may be older than its 15 and 17, whose columns then have options that these do not know."""
ALONE: Mapping[str, str] = {"UPGRADE_WITHOUT_BACKUP": "on"}
KINDS = Path(__file__).parent.joinpath("acceptance/upgrade/kinds.sql").read_text(encoding="utf-8")
COUNTS = "SELECT (SELECT count(*) FROM shop.items) || ',' || (SELECT count(*) FROM shop.far)"
EXPECTED = "1800,500"
LONG = 300

_EVER_DIFFERENT = re.compile(r"--|\\(un)?restrict|$")

_ROOM = "/usr/local/lib/nix-postgres/entrypoint/upgrade/__init__.py"
_STOPPING = '''"""The room of upgrades, which prints each change of a name in the volumes, and stops before one of them."""
import os
import time

_done = 0


def _told(name):
    real = getattr(os, name)

    def call(path, *more, **named):
        global _done
        if isinstance(path, str) and path.startswith(("/var/lib/postgresql/", "/spaces", "/wal")):
            _done += 1
            print(f"CHANGE {_done} {name} {path} {more[0] if more else ''}", flush=True)
            if _done == POINT:
                print("POINT", flush=True)
                time.sleep(1000)
        return real(path, *more, **named)

    setattr(os, name, call)


for _each in ("mkdir", "rename", "replace", "unlink", "rmdir", "symlink", "link"):
    _told(_each)
'''

_PROVE = f"""
cd /
for major in MAJORS; do
    bin=/usr/lib/postgresql/$major/bin
    if gosu postgres $bin/pg_ctl --pgdata={DATA} --wait --timeout=60 --log=/tmp/log \
            --options='-c listen_addresses= -c unix_socket_directories=/tmp' start >/dev/null 2>&1; then
        printf '%s:' $major
        gosu postgres psql -qAtX --host=/tmp --dbname=postgres --command="{COUNTS}"
        gosu postgres $bin/pg_ctl --pgdata={DATA} --wait --mode=fast stop >/dev/null
    fi
done
"""


class Change(NamedTuple):
    """A change that our program makes in the volumes."""

    number: int
    what: str


class Home(NamedTuple):
    """A folder of this machine with the data of a cluster, and its tablespace."""

    folder: str

    @property
    def volumes(self) -> dict[str, str]:
        """Where both are mounted."""
        return {DATA: f"{self.folder}/data", SPACES: f"{self.folder}/spaces"}

    @property
    def major(self) -> str:
        """What PG_VERSION says."""
        return Path(self.folder, "data/PG_VERSION").read_text(encoding="ascii").strip()

    @property
    def unfinished(self) -> bool:
        """Whether the record of an upgrade, or of its undoing, is there."""
        return Path(self.folder, "data/entrypoint.upgrade").exists()

    @contextmanager
    def copy(self) -> Iterator[Home]:
        """Yield a copy, which is removed at the end; where the filesystem can, it shares the blocks."""
        made = f"{self.folder}.copy-{time.monotonic_ns()}"
        subprocess.run(("cp", "--archive", "--reflink=auto", self.folder, made), check=True)
        try:
            yield Home(made)
        finally:
            subprocess.run(("rm", "-rf", made), check=True)

    def upgrade(self, word: str, mode: str = "auto", *options: str) -> Outcome:
        """Return how a command of `entrypoint upgrade` ends."""
        env = {**ALONE, "UPGRADE_MODE": mode}
        argv = ("entrypoint", "upgrade", word, *options)
        return containers.run(*argv, env=env, volumes=self.volumes, image=NEW, timeout=LONG)

    def changes(self, word: str, mode: str) -> list[Change]:
        """Let a command end, and return the changes that it made."""
        with self._told(word, mode, -1) as container:
            ended = container.finish(LONG)
        assert 0 == ended.code, ended.output
        return [
            Change(int(number), what)
            for number, what in re.findall(r"^CHANGE (\d+) (.*)$", ended.stdout, re.MULTILINE)
        ]

    def killed_before(self, change: int, word: str, mode: str) -> None:
        """Kill the container of a command just before one of its changes."""
        with self._told(word, mode, change) as container:
            container.begin()
            container.says("POINT", LONG)
            container.kill()
            container.wait(60)

    def killed_after(self, seconds: float, word: str, mode: str) -> None:
        """Kill the container of a command some time after its begin, unless it has ended by then."""
        env = {**ALONE, "UPGRADE_MODE": mode}
        with containers.start(
            "entrypoint", "upgrade", word, env=env, volumes=self.volumes, image=NEW
        ) as container:
            time.sleep(seconds)  # no condition to wait for: this is the point in time
            containers.docker("kill", container.name, check=False)
            container.wait(60)

    @contextmanager
    def _told(self, word: str, mode: str, change: int) -> Iterator[Container]:
        env = {**ALONE, "UPGRADE_MODE": mode}
        files = {_ROOM: File(_STOPPING.replace("== POINT", f"== {change}"))}
        with containers.create(
            *("entrypoint", "upgrade", word), env=env, files=files, volumes=self.volumes, image=NEW
        ) as container:
            yield container

    def served(self, majors: str = "15 17") -> str:
        """Return which majors' programs serve the data without our program, each with what the tables hold."""
        text = _PROVE.replace("MAJORS", majors)
        options = ("--entrypoint", "bash")
        done = containers.run("-c", text, volumes=self.volumes, options=options, image=NEW, timeout=LONG)
        return " ".join(done.stdout.split())

    def settled(self) -> str:
        """Let our program finish what was interrupted, at a start; return the major and what the tables hold."""
        image = OLD if self.major == "15" else NEW
        with containers.start(env={}, volumes=self.volumes, image=image) as server:
            server.ready(LONG)
            answer = server.sql(COUNTS)
            assert 0 == server.stop(timeout=60)
        return f"{self.major}:{answer}"


@contextmanager
def home(kind: str = "xfs", size: int = 3000 * MB) -> Iterator[Home]:
    """Yield an empty home on a filesystem of its own."""
    with disks.disk(kind, size) as disk:
        made = Home(f"{disk.folder}/home")
        names = [made.folder, *(f"{made.folder}/{name}" for name in ("data", "spaces", "spaces/fast"))]
        subprocess.run(("install", "-d", "-o", "999", "-g", "999", "-m", "700", *names), check=True)
        yield made


@contextmanager
def made(kind: str = "xfs") -> Iterator[Home]:
    """Yield the home of a stopped server of 15 with objects of every kind."""
    with home(kind) as found:
        with containers.serve(env=FRESH, volumes=found.volumes, image=OLD) as server:
            server.exec("psql", "-q", "-U", "postgres", "-v", "ON_ERROR_STOP=1", stdin=KINDS, timeout=120)
            assert 0 == server.stop(timeout=60)
        yield found


def dump(server: Container, image: str = NEW) -> str:
    """Return the dump of all databases, by the pg_dumpall of an image, without comments."""
    words = ("pg_dumpall", "--host", server.address, "--username", "postgres")
    done = containers.run(*words, env={"PGPASSWORD": "secret"}, image=image, timeout=120)
    assert 0 == done.code, done.output
    # Since 16, a membership has options of its own.
    text = re.sub(r", INHERIT TRUE GRANTED BY \w+", "", done.stdout)
    return "\n".join(line for line in text.split("\n") if not _EVER_DIFFERENT.match(line))
