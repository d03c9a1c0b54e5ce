"""pgBackRest: its options, command lines and answers (tested with 2.45 of bookworm); pure."""

from __future__ import annotations

from entrypoint import own
from entrypoint.archivers.interface import Capabilities
from entrypoint.archivers.terms import (
    Answer,
    Backup,
    Check,
    Command,
    NoSegment,
    Object,
    Owner,
    Removal,
    Resources,
    Server,
    Storage,
    Stored,
    Verification,
    hide_address,
)
from entrypoint.archivers.tool_variables import GROUPS, PGBACKREST, option, takes_aws
from entrypoint.errors import Problem
from entrypoint.light import re
from entrypoint.postgres import segments
from entrypoint.system import guest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
    from typing import Any

    from entrypoint.archivers.interface import Consequence
    from entrypoint.archivers.judges import Catalogue, Judge, Unpacker

_OURS = frozenset(
    """
    archive-check archive-mode archive-push-queue-max cmd config config-include-path config-path
    delta force online output pg-database pg-host pg-path pg-port pg-socket-path pg-user recovery-option
    repo set spool-path lock-path log-path log-level-console log-level-stderr log-level-file target
    target-action target-exclusive target-timeline type
    """.split()
)
"""Options that the entrypoint sets itself, or that would make the tool lose segments or write elsewhere."""


_NEVER = {
    "archive-push-queue-max": "must not be set: when the backlog reaches it, pgBackRest drops all "
    "waiting WAL and reports it to PostgreSQL as archived (pgbackrest/pgbackrest#2714)",
}

_LISTS = frozenset(
    "annotation db-exclude db-include exclude link-map repo-storage-tag tablespace-map".split()
)
"""Options with several values: separated by colons in a variable, one line each in a file."""

_IMPATIENT = "--io-timeout=3"
"""For calls that somebody waits for: four tries take 12 s if the storage is down, 24 s if it is silent."""

_QUIET = "--log-level-stderr=warn"
"""PostgreSQL itself logs which segment it archives or restores; three more lines for each help nobody."""


_SURE = PGBACKREST + "ARCHIVE_ASYNC=n"
_UNKNOWN_SERVER = Problem(
    "the image's pgBackRest does not know this major version of PostgreSQL, so it cannot archive it",
    "use an image with a newer pgBackRest (2.59 is the first one for PostgreSQL 19), or another ARCHIVE_TOOL",
    docs="fix-archiving",
)
_NO_RATE = Problem(
    "BACKUP_RATE_LIMIT has no effect: pgBackRest cannot limit its rate",
    "remove it; PGBACKREST_PROCESS_MAX=1 puts the least load on the server",
)


class PgBackRest:
    """The adapter for pgBackRest."""

    name = "pgbackrest"
    group = GROUPS[name]
    config_name = "pgbackrest.conf"
    asks_version = "version"
    work_folder = "pgbackrest"
    segment_commands = frozenset(("archive-push", "archive-get"))
    top_folders: tuple[str, ...] = ("backup", "archive")
    backups_root = ""

    def __init__(self, values: Mapping[str, str]) -> None:
        self.stanza = values.get(PGBACKREST + "STANZA") or "main"
        self.own = frozenset(name for name, value in values.items() if value)
        """Variables that the user has set; they override our defaults."""
        self.capabilities = Capabilities(
            missing_code=1,
            damage="FormatError|ChecksumError",
            leaves_sums=True,
            sure=_SURE,
            encrypts=PGBACKREST + "REPO1_CIPHER_PASS" in self.own,  # accepted only with a cipher
            other_cluster_code=28,
            unknown_server_code=46,
            unknown_server=_UNKNOWN_SERVER,
            unknown_command_code=48,  # of repo-put, which 2.55 has and 2.60 lacks
            no_rate=_NO_RATE,
            readable=PGBACKREST + "COMPRESS_TYPE=gz",
            upgrading=self,
        )
        self.uses_aws_names = takes_aws(values)

    def is_own_variable(self, name: str) -> bool:
        """Return whether pgBackRest reads this environment variable."""
        return name.startswith(PGBACKREST) or (self.uses_aws_names and name.startswith("AWS_"))

    def storage(self, values: Mapping[str, str]) -> Storage | None:
        """Return the storage of the first repository."""
        kind = values.get(PGBACKREST + "REPO1_TYPE", "")
        path = values.get(PGBACKREST + "REPO1_PATH", "")
        if not kind and not path:
            return None
        if kind in ("", "posix", "cifs"):
            path = path or "/var/lib/pgbackrest"
            return Storage(hide_address(f"file://{path}"), path, from_url=False)
        container = {"s3": "S3_BUCKET", "gcs": "GCS_BUCKET", "azure": "AZURE_CONTAINER"}
        name = values.get(f"{PGBACKREST}REPO1_{container.get(kind, 'SFTP_HOST')}", "")
        return Storage(hide_address(f"{kind}://{name}{path}"), None, from_url=False)

    def check(self, values: Mapping[str, str]) -> list[Problem]:
        """Return the problems in the settings for pgBackRest."""
        problems = []
        for name in sorted(values):
            found = option(name)
            if found and found[0] in _OURS and values[name]:
                why = _NEVER.get(found[0], "is set by the entrypoint itself")
                problems.append(Problem(f"{name} {why}", f"remove {name}"))
            elif found and ("\n" in values[name] or "\r" in values[name]):
                problems.append(Problem(f"{name} contains a line break", f"correct {name}"))
        storage = self.storage(values)
        if storage and storage.folder and not storage.folder.startswith("/"):
            name = PGBACKREST + "REPO1_PATH"
            problems.append(Problem(f"{name} is not an absolute path", f"set {name} to an absolute path"))
        problems += [
            Problem(
                f"{name} has no effect: the entrypoint itself decides what to remove",
                "set BACKUP_RETAIN_FULL or BACKUP_RETAIN_DAYS instead",
                docs="schedule-backups",
            )
            for name in sorted(values)
            if values[name]
            and re.fullmatch(r"PGBACKREST_(REPO\d+_RETENTION_(?!HISTORY).*|EXPIRE_AUTO)", name)
        ]
        if values.get("ARCHIVE_URL", "").startswith("s3://"):
            problems += [
                Problem(f"ARCHIVE_URL needs {name} with pgbackrest", f"set {name}", docs="set-up-archiving")
                for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION")
                if not values.get(name)
            ]
        return problems

    def options(self, values: Mapping[str, str], storage: Storage, server: Server) -> dict[str, object]:
        """Return the global options and the stanza's options."""
        options: dict[str, object] = {
            "repo1-bundle": "y",
            "compress-type": "lz4",
            "start-fast": "y",
            "archive-timeout": "60",
            # The first of many waiting segments starts a process that archives all of them.
            "archive-async": "y",
            "process-max": str(server.processes),
            # A call may take eight times as long before it gives up; keep that below our deadline.
            "io-timeout": "10",
        }
        for name, value in sorted(values.items()):
            found = option(name)
            if found and value:
                options[found[1]] = value.split(":") if found[0] in _LISTS else value
        if storage.from_url:
            options |= _repository(values, storage)
        theirs = options.get("exclude", [])
        assert isinstance(theirs, list)
        options |= {
            # Of pg_wal and pg_stat_tmp, the tool leaves out only what it knows.
            "exclude": [*theirs, *(f"{folder}/{own.RESERVE}" for folder in ("pg_wal", "pg_stat_tmp"))],
            # The tool removes nothing by itself: the entrypoint decides about retention.
            "repo1-retention-full": "9999999",
            "expire-auto": "n",
            "spool-path": f"{server.runtime_folder}/{self.work_folder}/spool",
            "lock-path": f"{server.runtime_folder}/{self.work_folder}/lock",
            "log-path": f"{server.runtime_folder}/{self.work_folder}/log",
            "log-level-console": "off",
            "log-level-stderr": "info",
            "log-level-file": "off",
            "log-timestamp": "n",
        }
        options.pop("stanza", None)
        return {"options": options, "stanza": self.stanza, "server": server}

    def moved(self, text: str, old: Server, new: Server) -> str:
        """Return the settings file with other folders; its secrets may be nowhere else."""
        text = text.replace(
            f"-path={old.runtime_folder}/{self.work_folder}/",
            f"-path={new.runtime_folder}/{self.work_folder}/",
        )
        return re.sub("(?m)^pg1-path=.*$", lambda _: f"pg1-path={new.data_folder}", text)

    def changed(self, text: str, name: str, value: str) -> str:
        """Return the settings file with one variable changed; an option with several values stays."""
        found = option(name)
        key = _AWS.get(name) if found is None else found[1]
        if not key or (found and found[0] in _LISTS) or "\n" in value:
            return text
        return re.sub(f"(?m)^{key}=.*$", lambda _: f"{key}={value}", text)

    def _command(self, server: Server, command: str, *arguments: str) -> Command:
        return Command(
            (self.name, f"--stanza={self.stanza}", *arguments, command),
            {"PGBACKREST_CONFIG": f"{server.runtime_folder}/{self.config_name}"},
        )

    def by_hand(
        self, server: Server, arguments: Sequence[str], instead: Mapping[str, str] | None = None
    ) -> Command:
        """Return the typed command, for our stanza if it names none."""
        made = self._command(server, "").environment if instead is None else instead
        fixed = {PGBACKREST + "STANZA": self.stanza}
        if any(word.startswith("--log-level-console") for word in arguments):
            fixed[PGBACKREST + "LOG_LEVEL_STDERR"] = "warn"  # otherwise each line would appear twice
        return Command((self.name, *arguments), {**made, **fixed})

    def consequences(self, arguments: Sequence[str]) -> frozenset[Consequence]:
        """Return the effects of a typed command that the rest of the program must know."""
        words = {*arguments}
        found: set[Consequence] = set()
        if words & {"archive-push", "backup"} and "info" not in words:
            found.add("writes")
        if "archive-push" in words:
            found.add("archives")
        if "stanza-delete" in words:
            found.add("nothing left")
        if "stop" in words:
            found.add("stops archiving")
        return frozenset(found)

    def as_variables(self, options: Mapping[str, object]) -> dict[str, str]:
        """Return the options as variables, with no settings file."""
        server: Server = options["server"]  # type: ignore[assignment]
        found = {
            "config": "/dev/null",
            "pg1-path": server.data_folder,
            "pg1-socket-path": server.socket_folder,
            "pg1-port": server.port,
            "pg1-user": server.user,
            **options["options"],  # type: ignore[dict-item]
        }
        return {
            PGBACKREST + name.upper().replace("-", "_"): value if isinstance(value, str) else ":".join(value)
            for name, value in found.items()
        }

    def archive_segment(self, server: Server) -> Command:
        """Return the command that stores the segment `%p`."""
        command = self._command(server, "archive-push", _QUIET)
        return command._replace(argv=(*command.argv, "%p"))

    def fetch_segment(self, server: Server) -> Command:
        """Return the command that fetches segment `%f` to `%p`.

        It starts a process that reads ahead. Only that process's successes are trusted: before 2.59 it can
        fail at a timeline switch (pgbackrest/pgbackrest#2423).
        """
        command = self._command(server, "archive-get", "--repo=1", _QUIET)
        # Our shim tries again anyway, and reports sooner: the tool gives up after many times the
        # io-timeout: on a road that was cut, that took 112 s with 2.55.
        patience = {PGBACKREST + "IO_TIMEOUT": "5", PGBACKREST + "ARCHIVE_TIMEOUT": "20"}
        made = {name: value for name, value in patience.items() if name not in self.own}
        environment = {**command.environment, **made}
        return command._replace(argv=(*command.argv, "%f", "%p"), environment=environment)

    def read_back(self, server: Server) -> Command:
        """Return the command that fetches segment `%f` to `%p` without touching the data folder."""
        command = self.fetch_segment(server)
        name, _, value = _SURE.partition("=")
        return command._replace(environment={**command.environment, name: value})

    def s3_server(self, values: Mapping[str, str], storage: Storage) -> str:
        """Return the URL of the S3 server; pgBackRest supports TLS only."""
        given = values.get(PGBACKREST + "REPO1_S3_ENDPOINT", "")
        if storage.from_url and storage.folder is None:
            given = _repository(values, storage)["repo1-s3-endpoint"]
        return f"https://{given.removeprefix('https://')}" if given else ""

    def read_ahead(self, server: Server) -> str:
        """Return the folder of files that a recovery has fetched ahead: the tool's spool."""
        return f"{server.runtime_folder}/{self.work_folder}/spool"

    def stored(self, segment: str) -> str:
        """Return the pattern of the segment's file, whose name contains its checksum."""
        return f"archive/{self.stanza}/*/{segment[:16]}/{segment}-*"

    @property
    def wal_root(self) -> str:
        """Return the newest cluster's folder; it has a folder for each 256 segments of a timeline."""
        return f"archive/{self.stanza}/*"

    def stored_paths(self, segment: str) -> tuple[str, ...]:
        """Return no path: the file's name contains its checksum, so only a listing shows it."""
        del segment
        return ()

    @property
    def sign(self) -> str:
        """Return the path of the object that names the owner of the stanza's WAL."""
        return f"archive/{self.stanza}/archive.info"

    def prepare(self, server: Server) -> Command:
        """Return `stanza-create`, which needs only pg_control and refuses another cluster's archive."""
        return self._command(server, "stanza-create", "--no-online", _IMPATIENT)

    def identify(self, server: Server) -> Command:
        """Return the command that prints the stanza's state."""
        return self.list_backups(server)

    def parse_identity(self, code: int, output: str) -> str | None:
        """Return the newest system identifier of the stanza; raises ValueError with the tool's output."""
        if code:
            raise ValueError(output)
        stanzas = self._stanzas(output)
        with guest.Reading(_INFO):
            rows = [row for stanza in stanzas for row in stanza["db"]]
            newest = max(rows, key=lambda row: int(row["id"]), default=None)
            return guest.identifier(newest["system-id"]) if newest else None

    def parse_owners(self, code: int, output: str) -> list[Owner]:
        """Return the newest owner of the stanza in each repository; raises ValueError."""
        if code:
            raise ValueError(output)
        newest: dict[int, Owner] = {}
        stanzas = self._stanzas(output)
        with guest.Reading(_INFO):
            for stanza in stanzas:
                last = {
                    (row["database"]["repo-key"], row["database"]["id"]): row["max"]
                    for row in stanza["archive"]
                }
                for row in sorted(stanza["db"], key=lambda row: int(row["id"])):
                    segment = last.get((row["repo-key"], row["id"]))
                    owner = Owner(guest.identifier(row["system-id"]), _major(row), segment)
                    newest[row["repo-key"]] = owner._replace(last_segment=segment and guest.word(segment))
        return list(newest.values())

    def upgrade(self, server: Server) -> Command:
        """Return `stanza-upgrade`, which accepts any cluster.

        It writes two files and checks each separately, so it repairs what a killed call left.
        """
        return self._command(server, "stanza-upgrade", "--no-online", _IMPATIENT)

    def rehearse(self, data_folder: str, folder: str) -> Command:
        """Return `stanza-create` for a repository in this folder, which reads no settings of the user's."""
        return Command(
            (
                *(self.name, f"--stanza={self.stanza}", "--no-config", f"--pg1-path={data_folder}"),
                *(f"--repo1-path={folder}/repo", f"--lock-path={folder}/lock", "--log-level-file=off"),
                *("--log-level-console=off", _QUIET, "--no-online", "stanza-create"),
            ),
            {},
        )

    def wal_folder(self, identifier: str, code: int, output: str) -> str:
        """Return the folder of the cluster's segments in the first repository.

        A cluster whose upgrade was undone has two; the newer one counts. Raises NoSegment if it has no
        segment yet, and ValueError with the tool's output.
        """
        if code:
            raise ValueError(output)
        stanzas = self._stanzas(output)
        found: dict[int, str] = {}
        with guest.Reading(_INFO):
            for stanza in stanzas:
                ours = {row["id"] for row in stanza["db"] if str(row["system-id"]) == identifier}
                for row in stanza["archive"]:
                    number = row["database"]["id"]
                    if number in ours and row["database"]["repo-key"] == 1:
                        found[int(number)] = f"archive/{self.stanza}/{guest.word(row['id'])}"
        if found:
            return found[max(found)]
        raise NoSegment(f"the archive has no segment of the cluster {identifier}")

    def list_folder(self, server: Server, folder: str) -> Command:
        """Return the command that prints the names in a folder."""
        return self._object(server, "repo-ls", folder, _QUIET)

    def look(self, server: Server) -> Command:
        """Return the command that prints the names in the archive's top folder."""
        return self._command(server, "repo-ls", "--repo=1", _IMPATIENT)

    def list_backups(self, server: Server) -> Command:
        """Return the command that lists the backups."""
        return self._command(server, "info", "--output=json", _IMPATIENT)

    def _stanzas(self, output: str) -> list[dict[str, Any]]:
        """Return the stanzas that `info` lists; raises ValueError with the tool's output on an error."""
        # 2.59 writes warnings to stdout before the JSON.
        answer = re.search(r"^\[(?=[{\]\s]|\Z)", output, re.MULTILINE)
        try:
            stanzas: list[dict[str, Any]] = guest.parse_json(output[answer.start() :]) if answer else []
        except ValueError as error:
            found = re.findall(r'"message":"(\[\w+Error\][^"\\]*)', output)
            raise ValueError("\n".join(found) or str(error)) from error
        with guest.Reading(_INFO):
            for stanza in stanzas:
                code, message = stanza["status"]["code"], stanza["status"]["message"]
                if code not in (0, 1, 2):  # 1: no stanza yet, 2: no backup yet
                    words = [repo["status"]["message"] for repo in stanza.get("repo", ())]
                    text = _UNREADABLE.sub(r"\1", "\n".join(words))
                    raise ValueError(f"pgbackrest info: {message} (code {code})\n{text}")
        return stanzas

    def parse_backups(self, output: str) -> list[Backup]:
        """Return the backups, oldest first; raises ValueError with the tool's output."""
        stanzas = self._stanzas(output)
        with guest.Reading(_INFO):
            rows = [row for stanza in stanzas for row in stanza["db"]]
            identifiers = {row["id"]: guest.identifier(row["system-id"]) for row in rows}
            majors = {row["id"]: _major(row) for row in rows}
            backups = [_backup(row, identifiers, majors) for stanza in stanzas for row in stanza["backup"]]
        return sorted(backups, key=lambda backup: backup.finished)

    def list_wal(self, server: Server) -> Command:
        """Return the command that lists the archived WAL."""
        listing = self._command(
            server, "repo-ls", "--repo=1", "--recurse", "--output=json", "--log-level-stderr=warn"
        )
        return listing._replace(argv=(*listing.argv, f"archive/{self.stanza}"))

    def parse_wal(self, output: str, folders: Collection[str] = ()) -> list[Stored]:
        """Return a cluster's files, from paths like `15-1/0000000100000000/NAME-CHECKSUM.lz4`."""
        found = re.search(r"^\{.*", output, re.MULTILINE | re.DOTALL)
        stored = []
        with guest.Reading("the list of WAL"):
            paths: dict[str, dict[str, int]] = guest.parse_json(found[0]) if found else {}
            chosen = folders or _newest(paths)
            for path, entry in paths.items():
                name = segments.archived(path)
                if name and path.partition("/")[0] in chosen:
                    stored.append(Stored(name, f"archive/{self.stanza}/{path}", _time(entry.get("time", 0))))
        return stored

    def parse_names(self, output: str) -> list[str]:
        """Return the names that `list_folder` and `look` print, one per line."""
        return [line for line in output.split("\n") if line]

    def read_object(self, server: Server, path: str) -> Command:
        """Return the command that prints an object, decrypted."""
        return self._object(server, "repo-get", path)

    def raw_object(self, server: Server, path: str) -> Command:
        """Return the command that prints an object as it is stored."""
        return self._object(server, "repo-get", path, "--raw")

    def store(self, server: Server, path: str) -> Command:
        """Return the command that stores its stdin unchanged."""
        return self._object(server, "repo-put", path, "--raw")

    def remove(self, server: Server, path: str) -> Command:
        """Return the command that removes an object."""
        return self._object(server, "repo-rm", path)

    def _object(self, server: Server, command: str, path: str, *options: str) -> Command:
        made = self._command(server, command, "--repo=1", _IMPATIENT, *options)
        return made._replace(argv=(*made.argv, path))

    def push(
        self, server: Server, parent: Backup | None = None, resources: Resources | None = None
    ) -> Command:
        """Return the command that takes a full base backup, or an incremental one based on the newest."""
        kind = "--type=full" if parent is None else "--type=incr"
        processes = (
            ()
            if resources is None or PGBACKREST + "PROCESS_MAX" in self.own
            else (f"--process-max={resources.processes}",)
        )
        place = () if server.database == "postgres" else (f"--pg1-database={server.database}",)
        return self._command(server, "backup", kind, *processes, *place)

    def parent(self, backups: Sequence[Backup], broken: Collection[str]) -> Backup | None:
        """Return the newest backup, which the tool always builds on; None if that one is broken."""
        return backups[-1] if backups and backups[-1].name not in broken else None

    def verify(self, server: Server, check: Check) -> tuple[Command, ...]:
        """Return a listing of the archive: pgBackRest's `verify` misses gaps, and reads all or nothing."""
        del check
        return (self.list_wal(server),)

    def parse_verification(self, check: Check, answers: Sequence[Answer]) -> Verification:
        """Return what is missing or damaged."""
        (answer,) = answers
        if answer.code:
            raise ValueError(answer.stderr.strip() or f"no answer (exit code {answer.code})")
        found = re.search(r"^\{.*", answer.stdout, re.MULTILINE | re.DOTALL)
        damaged = {name for path in check.damaged if (name := segments.archived(path))}
        broken: dict[str, str] = {}
        for path, why in check.damaged.items():
            if path.startswith("backup/"):
                _, _, label, name = path.split("/", 3)
                broken.setdefault(label, f"{name}: {why}")
        with guest.Reading("the list of WAL"):
            paths = guest.parse_json(found[0]) if found else {}
            # An upgraded cluster is on timeline 1 again, ahead of the one that it was made of.
            folders = {each for backup in check.backups for each in backup.folders} or _newest(paths)
            listed = {
                path.rpartition("/")[2][:24]
                for path in paths
                if _SEGMENT.search(path) and path.partition("/")[0] in folders
            }
        present = listed - damaged
        size = check.segment_bytes
        for backup in check.backups:
            first = segments.of_lsn(backup.timeline, backup.start_lsn, size)
            last = segments.of_lsn(backup.timeline, backup.stop_lsn, size, end=True)
            lost = segments.gaps(present, first, last, (), size)
            if lost:
                broken.setdefault(backup.name, f"its segment {lost[0][0]} is missing or damaged")
        first = segments.of_lsn(check.root.timeline, check.root.start_lsn, size)
        newest = max(
            (each for each in listed if int(each[:8], 16) == check.timeline),
            default=segments.of_lsn(check.backups[-1].timeline, check.backups[-1].stop_lsn, size, end=True),
        )
        holes = segments.gaps(present, first, newest, check.forks, size)
        return Verification(tuple(holes), broken)

    def list_objects(self, server: Server) -> tuple[Command, ...]:
        """Return the listings of the stanza's WAL and of its backups."""
        wal = self.list_wal(server)
        return (wal, wal._replace(argv=(*wal.argv[:-1], f"backup/{self.stanza}")))

    def parse_objects(self, answers: Sequence[Answer], backups: Collection[str]) -> list[Object]:
        """Return segments and backup files; other objects have no checksum, or every call reads them."""
        made = []
        for answer, top in zip(answers, ("archive", "backup"), strict=True):
            if answer.code:
                raise ValueError(answer.stderr.strip() or f"no answer (exit code {answer.code})")
            found = re.search(r"^\{.*", answer.stdout, re.MULTILINE | re.DOTALL)
            with guest.Reading("the list of objects"):
                paths: dict[str, dict[str, Any]] = guest.parse_json(found[0]) if found else {}
                for path, entry in paths.items():
                    folder, _, _ = path.partition("/")
                    closed = top == "backup"
                    wanted = folder in backups if closed else _SEGMENT.search(path)
                    if wanted and entry.get("type") == "file":
                        group = folder if closed else path.rpartition("/")[0]
                        places = (f"{top}/{self.stanza}/{each}" for each in (path, group))
                        name, group = places
                        made.append(Object(name, int(entry["size"]), int(entry["time"]), group, closed))
        return made

    def catalogue(
        self, server: Server, group: str, there: Collection[str]
    ) -> tuple[str, Command, Catalogue] | None:
        """Return a backup's manifest."""
        from entrypoint.archivers.judges import Manifest

        del there
        if not group.startswith("backup/"):
            return None
        path = f"{group}/{_MANIFEST}"
        return path, self._object_of_any_size(server, path), Manifest(group)

    def judge(
        self, path: str, catalogue: Catalogue | None, unpack: Callable[[str], Unpacker | None]
    ) -> Judge | None:
        """Return an object's judge, made from a backup's manifest or a segment's name."""
        from entrypoint.archivers.judges import Manifest, Parts, Sum

        if isinstance(catalogue, Manifest):
            if path.endswith((f"/{_MANIFEST}", f"/{_MANIFEST}.copy")):
                return Manifest("")
            parts = catalogue.parts.get(path)
            return Parts(parts) if parts else None
        digest, ending = path.rpartition("-")[2][:40], path.rpartition("-")[2][40:]
        unpacker = unpack(ending) if ending else None
        return Sum(digest, unpacker) if unpacker or not ending else None

    def read_whole(self, server: Server, path: str) -> Command:
        """Return the command that prints an object: a backup's as stored, any other decrypted."""
        plain = path.startswith("archive/") or path.endswith((f"/{_MANIFEST}", f"/{_MANIFEST}.copy"))
        return self._object_of_any_size(server, path, *(() if plain else ("--raw",)))

    def _object_of_any_size(self, server: Server, path: str, *options: str) -> Command:
        made = self._command(server, "repo-get", "--repo=1", *options)
        return made._replace(argv=(*made.argv, path))

    def mark(self, server: Server, backup: str, *, permanent: bool) -> Command:
        """Return the command that annotates a backup as kept; pgBackRest has no such mark itself."""
        note = "yes" if permanent else ""
        return self._command(server, "annotate", f"--set={backup}", f"--annotation=keep={note}")

    def expire(self, server: Server, backup: str, *, dry_run: bool) -> Command:
        """Return the command that removes a backup and every backup that builds on it."""
        return self._expire(server, f"--set={backup}", dry_run=dry_run)

    def expire_wal(
        self, server: Server, root: Backup, backups: Sequence[Backup], *, dry_run: bool
    ) -> Command:
        """Return the command that removes the WAL before `root`.

        The tool counts full backups from the newest. It keeps all WAL since the last one counted, and for
        each older backup the WAL that makes it consistent.
        """
        fulls = [each for each in backups if each.kind == "full" and each.finished >= root.finished]
        return self._expire(server, f"--repo1-retention-archive={len(fulls)}", dry_run=dry_run)

    def _expire(self, server: Server, what: str, *, dry_run: bool) -> Command:
        fixed = ("--repo1-retention-full=9999999", "--log-level-stderr=info")
        return self._command(server, "expire", "--repo=1", *fixed, what, *(("--dry-run",) * dry_run))

    def parse_removal(self, text: str, major: int = 0) -> Removal:
        """Return the names in lines such as `repo1: remove expired backup LABEL`.

        After an upgrade, the tool removes WAL of each cluster on its own, and names its major version.
        """
        names = re.findall(r"remove expired backup (\S+)", text)
        of = rf" {major or '[0-9]+'}-[0-9]+ remove archive"
        ranges = re.findall(rf"{of}, start = ([0-9A-F]{{24}}), stop = ([0-9A-F]{{24}})", text)
        # Whole folders are named by the first 16 digits of their segments.
        folders = re.findall(rf"{of}, start = ([0-9A-F]{{16}}), stop = ([0-9A-F]{{16}})\b", text)
        return Removal(frozenset(names), tuple(each for pair in (*ranges, *folders) for each in pair))

    def fetch(
        self,
        server: Server,
        backup: str,
        folder: str,
        *,
        plan: str = "",
        resources: Resources | None = None,
    ) -> Command:
        """Return the command that restores a backup to an empty folder.

        With `--type=none` the tool writes no recovery settings to the cluster; they would override ours.
        """
        del plan
        chosen = [] if backup == "LATEST" else [f"--set={backup}"]
        if resources is not None and f"{PGBACKREST}PROCESS_MAX" not in self.own:
            chosen.append(f"--process-max={resources.processes}")
        return self._command(server, "restore", "--repo=1", "--type=none", f"--pg1-path={folder}", *chosen)


_INFO = "the output of pgbackrest info"


def _newest(paths: Iterable[str]) -> set[str]:
    """Return the folder of the archive's current cluster: the number behind its major counts up.

    >>> _newest(["15-9", "15-9/0000000300000000", "17-10/0000000100000000", "archive.info"])
    {'17-10'}
    """
    names = {path.partition("/")[0] for path in paths if re.match(r"[0-9]{1,4}-[0-9]{1,9}/", path)}
    return {max(names, key=lambda name: int(name.partition("-")[2]))} if names else set()


def _backup(row: Mapping[str, Any], identifiers: Mapping[int, str], majors: Mapping[int, int]) -> Backup:
    """Return a backup from a row of `info`."""
    first, database = guest.word(row["archive"]["start"]), row["database"]["id"]
    return Backup(
        name=guest.word(row["label"]),
        kind="full" if row["type"] == "full" else "incremental",
        started=_time(row["timestamp"]["start"]),
        finished=_time(row["timestamp"]["stop"]),
        size_bytes=int(row["info"]["size"]),
        start_lsn=guest.lsn(row["lsn"]["start"]),
        stop_lsn=guest.lsn(row["lsn"]["stop"]),
        permanent=row.get("annotation", {}).get("keep") == "yes",
        system_identifier=identifiers.get(database),
        parent=row["prior"] and guest.word(row["prior"]) if "prior" in row else None,
        timeline=int(first[:8], 16),
        stored_bytes=int(row["info"].get("repository", {}).get("delta") or 0),
        damaged=bool(row.get("error")),
        first_segment=first,
        major=majors.get(database, 0),
        folders=tuple(
            f"{majors[each]}-{each}"
            for each, name in identifiers.items()
            if name == identifiers.get(database)
        ),
    )


_UNREADABLE = re.compile(r"(?s)(found outside of section at line \d+): .*?(?=\n(?:\[?\w+Error|HINT)\b|\Z)")
"""A file that a wrong passphrase has made unreadable, and that pgBackRest repeats in full."""
_MANIFEST = "backup.manifest"
_SEGMENT = re.compile(r"/[0-9A-F]{24}-[0-9a-f]{40}[^/]*$")


def _major(row: Mapping[str, Any]) -> int:
    return int(str(row["version"]).partition(".")[0])


_AWS = {
    "AWS_ACCESS_KEY_ID": "repo1-s3-key",
    "AWS_SECRET_ACCESS_KEY": "repo1-s3-key-secret",
    "AWS_SESSION_TOKEN": "repo1-s3-token",
}
"""The secrets of the repository that ARCHIVE_URL names."""


def _repository(values: Mapping[str, str], storage: Storage) -> dict[str, str]:
    """Return the options of the repository that ARCHIVE_URL names."""
    if storage.folder:
        return {"repo1-type": "posix", "repo1-path": storage.folder}
    bucket, _, prefix = storage.url.removeprefix("s3://").partition("/")
    region = values.get("AWS_REGION", "")
    endpoint = values.get("AWS_ENDPOINT") or f"s3.{region}.amazonaws.com"
    options = {
        "repo1-type": "s3",
        "repo1-path": f"/{prefix}",
        "repo1-s3-bucket": bucket,
        "repo1-s3-endpoint": endpoint,
        "repo1-s3-region": region,
        **{key: values[name] for name, key in _AWS.items() if values.get(name)},
    }
    if values.get("AWS_S3_FORCE_PATH_STYLE", "").lower() in ("true", "1", "yes"):
        options["repo1-s3-uri-style"] = "path"
    if values.get("AWS_CA_BUNDLE"):
        options["repo1-storage-ca-file"] = values["AWS_CA_BUNDLE"]
    return options


def _time(seconds: int) -> str:
    """Return seconds since 1970 as ISO 8601 in UTC.

    >>> _time(1795364442)
    '2026-11-22T16:20:42+00:00'
    """
    from datetime import UTC, datetime

    return datetime.fromtimestamp(seconds, UTC).isoformat()
