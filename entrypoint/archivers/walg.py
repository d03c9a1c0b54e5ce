"""wal-g: its variables, command lines and answers (wal-g/wal-g, tested with 3.0.9); pure."""

from __future__ import annotations

from entrypoint.archivers.interface import Capabilities
from entrypoint.archivers.terms import (
    IDENTITY,
    Answer,
    Backup,
    Check,
    Command,
    Object,
    Removal,
    Resources,
    Server,
    Storage,
    Stored,
    Verification,
    hide_address,
)
from entrypoint.archivers.tool_variables import COMMAND_TIMEOUT, GROUPS, WALG, WALG_PREFIXES
from entrypoint.errors import Problem
from entrypoint.light import re
from entrypoint.postgres import segments
from entrypoint.postgres.segments import lsn_text
from entrypoint.system import guest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from typing import Any

    from entrypoint.archivers.interface import Consequence
    from entrypoint.archivers.judges import Catalogue, Judge, Unpacker

OURS = {"WALG_CONFIG_PATH", "WALG_PG_WAL_SIZE", "WALG_PREVENT_WAL_OVERWRITE"}
"""Variables that the entrypoint sets itself."""

_KEYS = frozenset(
    """
    WALG_LIBSODIUM_KEY WALG_LIBSODIUM_KEY_PATH WALG_PGP_KEY WALG_PGP_KEY_PATH WALG_GPG_KEY_ID WALG_CSE_KMS_ID
    WALG_ENVELOPE_PGP_KEY WALG_ENVELOPE_PGP_KEY_PATH YC_CSE_KMS_KEY_ID
    """.split()
)
"""Variables each of which turns encryption on."""

_QUICK = {"WALG_S3_MAX_RETRIES": "2", "S3_ENABLE_VERSIONING": "disabled"}
"""For calls that somebody waits for: they answer within seconds, with one request instead of two."""


_WAL = "wal_005"
_BACKUPS = "basebackups_005"

_WITHOUT_SUMS = ("brotli", "lzma", "none", "zlib")


class WalG:
    """The adapter for wal-g."""

    name = "wal-g"
    group = GROUPS[name]
    config_name = "walg.json"
    asks_version = "--version"
    work_folder = ""
    segment_commands = frozenset(("wal-push", "wal-fetch"))
    top_folders: tuple[str, ...] = (_BACKUPS, _WAL)
    backups_root = _BACKUPS
    client = "walg-daemon-client"

    def __init__(self, values: Mapping[str, str] | None = None) -> None:
        given = values or {}
        self.own = frozenset(name for name, value in given.items() if value)
        """Variables that the user has set; they override our defaults."""
        damage = "lz4: |CRC check|checksum|corrupt|magic number|invalid input|size exceeded|block size"
        if given.get("WALG_FILE_PREFIX") or given.get("ARCHIVE_URL", "").startswith("file:"):
            damage += "|unexpected EOF"  # with a remote storage, the connection may have been cut
        self.capabilities = Capabilities(
            missing_code=74,  # EX_IOERR, the tool's own choice: wal-g/wal-g#1195
            damage=damage,
            alone="WALG_UPLOAD_CONCURRENCY=1",
            torn=re.compile(r".*\.tmp\.[0-9]{8}T[0-9]{6}Z-[0-9a-f]{16}"),
            flat=True,
            encrypts=not self.own.isdisjoint(_KEYS),
            helping=self,
            planning=self,
            leaving=self,
            redirecting=self,
            dividing=self,
        )
        # Our shim retries a push anyway: the tool's own 15 tries take minutes if the storage is down.
        self.patience = {"WALG_S3_MAX_RETRIES": given.get("WALG_S3_MAX_RETRIES") or "5"}
        """Variables for pushing and fetching segments."""
        # The daemon's default of 60 seconds is too short on a slow line: it sends other segments as well.
        seconds = given.get("ARCHIVE_COMMAND_TIMEOUT") or COMMAND_TIMEOUT
        self.deadline = {"WALG_DAEMON_WAL_UPLOAD_TIMEOUT": f"{seconds}s"}
        if not given.get("WALG_LOG_LEVEL"):
            self.patience["WALG_LOG_LEVEL"] = "ERROR"  # otherwise it logs lines for each segment

    def is_own_variable(self, name: str) -> bool:
        """Return whether wal-g reads this environment variable."""
        return name in WALG

    def storage(self, values: Mapping[str, str]) -> Storage | None:
        """Return the storage of the prefix that is set."""
        for name in WALG_PREFIXES:
            if values.get(name):
                folder = values[name] if name == "WALG_FILE_PREFIX" else None
                url = hide_address(f"file://{folder}" if folder else values[name])
                return Storage(url, folder, from_url=False)
        return None

    def check(self, values: Mapping[str, str]) -> list[Problem]:
        """Return the problems in the settings for wal-g."""
        problems = []
        prefixes = [name for name in WALG_PREFIXES if values.get(name)]
        if len(prefixes) > 1:
            problems.append(
                Problem(
                    f"several storages are set: {', '.join(prefixes)}; wal-g would silently use one",
                    f"keep only one of {', '.join(prefixes)}",
                    docs="set-up-archiving",
                )
            )
        problems += [
            Problem(f"{name} contains a line break", f"correct {name}")
            for name in prefixes
            if "\n" in values[name]
        ]
        problems += [
            Problem(
                f"{name} contains a user, a password or something else besides the place",
                f"give {name} as SCHEME://PLACE/FOLDER; users and keys have variables of their own, such as "
                "AWS_ACCESS_KEY_ID or SSH_USERNAME",
                docs="set-up-archiving",
            )
            for name in prefixes
            if name != "WALG_FILE_PREFIX" and "\n" not in values[name]
            if hide_address(values[name]) != values[name]
        ]
        folder = values.get("WALG_FILE_PREFIX", "/")
        if folder and not folder.startswith("/"):
            problems.append(
                Problem(
                    "WALG_FILE_PREFIX is not an absolute path", "set WALG_FILE_PREFIX to an absolute path"
                )
            )
        problems += [
            Problem(f"{name} is set by the entrypoint itself", f"remove {name}")
            for name in sorted(OURS)
            if values.get(name)
        ]
        if values.get("ARCHIVE_UPGRADED_FROM"):
            problems.append(
                Problem(
                    "ARCHIVE_UPGRADED_FROM is set, but wal-g cannot keep two major versions apart in one "
                    "archive: the names of their segments and backups would mix",
                    "remove ARCHIVE_UPGRADED_FROM, set an ARCHIVE_URL of its own for the new major version, "
                    "and keep the old archive for the old backups",
                    docs="upgrade-to-a-newer-major",
                )
            )
        return [*problems, *_check_compression(values)]

    def options(self, values: Mapping[str, str], storage: Storage, server: Server) -> dict[str, object]:
        """Return all settings for wal-g's JSON file."""
        settings = {name: values[name] for name in sorted(WALG) if values.get(name)}
        if storage.from_url:
            if storage.folder:
                settings["WALG_FILE_PREFIX"] = storage.folder
            else:
                settings["WALG_S3_PREFIX"] = storage.url
        elif storage.below:
            settings |= self._at(settings, storage.below)
        settings |= {
            # A second cluster must never overwrite the first one's segments.
            "WALG_PREVENT_WAL_OVERWRITE": "true",
            # Any other size makes wal-g throw its prefetched segments away: wal-g/wal-g#779.
            "WALG_PG_WAL_SIZE": str(server.segment_bytes // 1024**2),
            "PGDATA": server.data_folder,
            # Without it wal-g falls back to localhost:5432, which can be another server.
            "PGHOST": server.socket_folder,
            "PGPORT": server.port,
            "PGUSER": server.user,
            "PGDATABASE": "postgres",
        }
        return {"settings": settings}

    def _at(self, settings: Mapping[str, str], below: str) -> dict[str, str]:
        return {name: f"{settings[name].rstrip('/')}/{below}" for name in WALG_PREFIXES if settings.get(name)}

    def below(self, text: str, old: str, new: str) -> str:
        """Return the settings file for another folder below the place that is set."""
        import json

        settings = json.loads(text)
        for name in WALG_PREFIXES:
            if settings.get(name):
                place = settings[name].removesuffix(f"/{old}" if old else "").rstrip("/")
                settings[name] = f"{place}/{new}" if new else place
        return json.dumps(settings, indent=2) + "\n"

    def moved(self, text: str, old: Server, new: Server) -> str:
        """Return the settings file with another data folder; its secrets may be nowhere else."""
        import json

        del old
        return json.dumps({**json.loads(text), "PGDATA": new.data_folder}, indent=2) + "\n"

    def changed(self, text: str, name: str, value: str) -> str:
        """Return the settings file with one variable changed."""
        import json

        settings = json.loads(text)
        if settings.get(name) == value:
            return text
        return json.dumps({**settings, name: value}, indent=2) + "\n"

    def _command(self, server: Server, *arguments: str) -> Command:
        return Command(
            (self.name, *arguments),
            {
                "WALG_CONFIG_PATH": f"{server.runtime_folder}/{self.config_name}",
                "HOME": server.runtime_folder,  # where it keeps its caches
            },
        )

    def _quick(self, server: Server, *arguments: str) -> Command:
        command = self._command(server, *arguments)
        return command._replace(environment={**command.environment, **_QUICK})

    def by_hand(
        self, server: Server, arguments: Sequence[str], instead: Mapping[str, str] | None = None
    ) -> Command:
        """Return the typed command."""
        command = self._command(server, *arguments)
        if instead is None:
            return command
        return command._replace(environment={"HOME": server.runtime_folder, **instead})

    def consequences(self, arguments: Sequence[str]) -> frozenset[Consequence]:
        """Return the effects of a typed command that the rest of the program must know."""
        words = {*arguments}
        found: set[Consequence] = set()
        if words & {"wal-push", "backup-push"}:
            found.add("writes")
        if "wal-push" in words:
            found.add("archives")
        if {"delete", "everything", "--confirm"} <= words:
            found.add("nothing left")
        return frozenset(found)

    def as_variables(self, options: Mapping[str, object]) -> dict[str, str]:
        """Return the settings; their names are names of variables already."""
        settings: dict[str, str] = options["settings"]  # type: ignore[assignment]
        return settings

    def elsewhere(
        self, text: str, given: Mapping[str, str], arguments: Sequence[str]
    ) -> dict[str, str] | None:
        """Return all settings, with the given prefix only: of several, wal-g would silently use one."""
        import json

        settings = json.loads(text)
        own = {
            name: given[name]
            for name in WALG_PREFIXES
            if given.get(name) not in (None, settings.get(name))
            and not self._is_below(name, given[name], settings.get(name, ""))
        }
        flags = tuple(f"--{name.lower().replace('_', '-')}" for name in WALG_PREFIXES)
        if not own and not any(word.startswith(flags) for word in arguments):
            return None
        rest = {name: value for name, value in {**settings, **given}.items() if name not in WALG_PREFIXES}
        return {**rest, **own}

    def _is_below(self, name: str, place: str, now: str) -> bool:
        """Return whether the container's own variable names the place below which an upgraded cluster is."""
        return name in self.own and now.startswith(f"{place.rstrip('/')}/upgraded-")

    def helper(self, server: Server, resources: Resources) -> Command:
        """Return the daemon, which saves each segment a program start and a connection."""
        command = self._command(server, "daemon", self.socket(server))
        made = _push_limits(resources) | self.deadline
        return command._replace(
            environment={**command.environment, **self._unless_own(made), **self.patience}
        )

    def fetch_helper(self, server: Server) -> Command:
        """Return the daemon, which fetches the following segments to `pg_wal/.wal-g`."""
        command = self._command(server, "daemon", self.socket(server))
        # Its log must name the segments that it failed to fetch ahead, and nothing else.
        spoken = {"WALG_LOG_LEVEL": "ERROR", "WALG_LOG_DESTINATION": "stderr"}
        return command._replace(environment={**command.environment, **self.patience, **spoken})

    def _unless_own(self, made: Mapping[str, str]) -> dict[str, str]:
        return {name: value for name, value in made.items() if name not in self.own}

    def can_help(self, version: str) -> bool:
        """Return whether wal-g is 3.0.9 or newer; the older daemons are broken (wal-g/wal-g#2404)."""
        found = re.search(r"wal-g version v?(\d+)\.(\d+)\.(\d+)", version)  # no v: as nixpkgs builds it
        return found is not None and tuple(int(number) for number in found.groups()) >= (3, 0, 9)

    def socket(self, server: Server) -> str:
        """Return the path of the daemon's socket."""
        return f"{server.runtime_folder}/wal-g.socket"

    def archive_segment(self, server: Server) -> Command:
        """Return the command that stores the segment `%p`."""
        command = self._command(server, "wal-push", "%p")
        made = {"GOMEMLIMIT": str(16 * PUSH_STREAM_BYTES)}  # for the 16 segments that it sends at once
        return command._replace(environment={**command.environment, **made, **self.patience})

    def fetch_segment(self, server: Server) -> Command:
        """Return the command that fetches segment `%f` to `%p`.

        It neither reads ahead nor uses files that were fetched ahead: they may be damaged, and only the
        helper's log says so.
        """
        command = self._command(server, "wal-fetch", "%f", "%p")
        alone = {"WALG_DOWNLOAD_CONCURRENCY": "1", "WALG_PREFETCH_DIR": f"{server.runtime_folder}/none"}
        return command._replace(environment={**command.environment, **alone, **self.patience})

    def read_back(self, server: Server) -> Command:
        """Return the command that fetches segment `%f` to `%p` without touching the data folder."""
        return self.fetch_segment(server)

    def s3_server(self, values: Mapping[str, str], storage: Storage) -> str:
        """Return the URL of the S3 server."""
        if not storage.url.startswith("s3://"):
            return ""
        given = values.get("AWS_ENDPOINT") or f"s3.{values.get('AWS_REGION', 'us-east-1')}.amazonaws.com"
        return given if "://" in given else f"https://{given}"

    def read_ahead(self, server: Server) -> str:
        """Return the folder of files that a recovery has fetched ahead, next to the segments."""
        return f"{server.data_folder}/pg_wal/.wal-g"

    def stored(self, segment: str) -> str:
        """Return the pattern of the segment's file; its suffix names the compression."""
        return f"wal_005/{segment}.[lzb]*"

    @property
    def wal_root(self) -> str:
        """Return the archive's folder of timeline histories and all segments."""
        return _WAL

    def stored_paths(self, segment: str) -> tuple[str, ...]:
        """Return a path for each compression that `check` allows."""
        return tuple(f"{_WAL}/{segment}{ending}" for ending in (".lz4", ".zst"))

    @property
    def sign(self) -> str:
        """Return the path of the object that `prepare` stores."""
        return IDENTITY

    def prepare(self, server: Server) -> Command:
        """Return the command that stores the archive's owner, readable without a key."""
        path = f"{server.runtime_folder}/{IDENTITY}"
        return self._quick(server, "st", "put", path, IDENTITY, "--no-compress", "--no-encrypt")

    def identify(self, server: Server) -> Command:
        """Return the command that prints the object that `prepare` stored."""
        return self._quick(server, "st", "cat", IDENTITY)

    def parse_identity(self, code: int, output: str) -> str | None:
        """Return the archive's system identifier, if it has one; raises ValueError with the tool's output."""
        if code and "not found in storage" in output:
            return None
        if code:
            raise ValueError(output)
        with guest.Reading(IDENTITY):
            return guest.identifier(guest.parse_json(_object(output))["system_identifier"])

    def wal_folder(self, identifier: str, code: int, output: str) -> str:
        """Return the archive's only folder of segments."""
        del identifier, code, output
        return _WAL

    def list_folder(self, server: Server, folder: str) -> Command:
        """Return the command that prints the names in a folder, each after its size and time."""
        return self._quick(server, "st", "ls", f"{folder}/")

    def look(self, server: Server) -> Command:
        """Return the command that prints the names in the archive's top folder."""
        return self._quick(server, "st", "ls")

    def list_backups(self, server: Server) -> Command:
        """Return the command that lists the backups."""
        return self._quick(server, "backup-list", "--json", "--detail")

    def parse_backups(self, output: str) -> list[Backup]:
        """Return the backups, oldest first; raises ValueError."""
        with guest.Reading("the list of backups"):
            backups = [_backup(row) for row in guest.parse_json(output or "[]") or []]
        # A backup's name contains only the first segment of its parent.
        names = {backup.name[:29]: backup.name for backup in backups}
        backups = [
            backup._replace(parent=names.get(f"base_{backup.name[32:]}", f"base_{backup.name[32:]}"))
            if backup.kind == "incremental"
            else backup
            for backup in backups
        ]
        return sorted(backups, key=lambda backup: backup.finished)

    def list_wal(self, server: Server) -> Command:
        """Return the command that lists the archived WAL."""
        return self._quick(server, "st", "ls", "-r", _WAL)

    def parse_wal(self, output: str, folders: Collection[str] = ()) -> list[Stored]:
        """Return the files in lines such as `obj 258 DATE TIME +0000 UTC NAME.lz4`."""
        del folders
        found = []
        for row in _LISTED.finditer(output):
            name = segments.archived(row["name"]) if row["kind"] == "obj" else None
            if name:
                found.append(Stored(name, f"{_WAL}/{row['name']}", f"{row['date']}T{row['time']}+00:00"))
        return found

    def parse_names(self, output: str) -> list[str]:
        """Return the names that `list_folder` and `look` print: everything after the time."""
        return [row["name"].strip("/") for row in _LISTED.finditer(output)]

    def read_object(self, server: Server, path: str) -> Command:
        """Return the command that prints an object, decrypted and decompressed."""
        return self._quick(server, "st", "cat", path, "--decrypt", "--decompress")

    def raw_object(self, server: Server, path: str) -> Command:
        """Return the command that prints an object as it is stored."""
        return self._quick(server, "st", "cat", path)

    def store(self, server: Server, path: str) -> Command:
        """Return the command that stores its stdin unchanged."""
        return self._quick(server, "st", "put", "-s", path, "--force", "--no-compress", "--no-encrypt")

    def remove(self, server: Server, path: str) -> Command:
        """Return the command that removes an object; for a missing one it creates an empty folder."""
        return self._quick(server, "st", "rm", path)

    def push(
        self, server: Server, parent: Backup | None = None, resources: Resources | None = None
    ) -> Command:
        """Return the command that takes a full base backup, or an incremental one based on `parent`."""
        base = ("--full",) if parent is None else ("--delta-from-name", parent.name)
        command = self._command(server, "backup-push", *base, server.data_folder)
        # Without a limit it would wait forever if archiving fails during the backup: wal-g/wal-g#1048.
        made = {"WALG_STOP_BACKUP_TIMEOUT": "10m", **_limits(resources or Resources())}
        if parent is not None:
            made["WALG_DELTA_MAX_STEPS"] = "1000000"  # the entrypoint decides how many there are
        ours = {name: value for name, value in made.items() if "DELTA" in name}
        if server.database != "postgres":
            ours["PGDATABASE"] = server.database
        return command._replace(environment={**command.environment, **self._unless_own(made), **ours})

    def parent(self, backups: Sequence[Backup], broken: Collection[str]) -> Backup | None:
        """Return the newest good backup that is not permanent; wal-g never builds on a permanent one."""
        return next(
            (each for each in reversed(backups) if each.name not in broken and not each.permanent), None
        )

    def verify(self, server: Server, check: Check) -> tuple[Command, ...]:
        """Return the command; if no server runs, its arguments say how far the archive must reach."""
        newest = check.backups[-1]
        where = () if check.live else ("--timeline", str(newest.timeline), "--lsn", newest.stop_lsn)
        arguments = ("wal-verify", "integrity", "timeline", "--json", "--backup-name", check.root.name)
        command = self._command(server, *arguments, *where)
        return (command._replace(environment={**command.environment, **_TALKATIVE}),)

    def parse_verification(self, check: Check, answers: Sequence[Answer]) -> Verification:
        """Return what is missing or damaged; wal-g's exit code is 0 whatever it finds.

        The last segments may be missing, since they may be on their way. Segments up to the end of the
        newest backup may not: that backup waited for them.
        """
        (answer,) = answers
        found = re.search(r"^\{.*", answer.stdout, re.MULTILINE)
        if answer.code or not found:
            raise ValueError(answer.stderr.strip() or f"no answer (exit code {answer.code})")
        size = check.segment_bytes
        newest = check.backups[-1]
        sure = segments.number(segments.of_lsn(newest.timeline, newest.stop_lsn, size, end=True), size)
        damaged = {name for path in check.damaged if (name := segments.archived(path))}
        begin = segments.number(segments.of_lsn(check.root.timeline, check.root.start_lsn, size), size)
        missing = [(each, each) for each in damaged if segments.number(each, size) >= begin]
        broken: dict[str, str] = {}
        for path, why in check.damaged.items():
            if named := _BACKUP_NAME.search(path):
                broken.setdefault(named[0], f"{path.partition('/')[2]}: {why}")
        for backup in check.backups:
            start = segments.of_lsn(backup.timeline, backup.start_lsn, size)
            stop = segments.of_lsn(backup.timeline, backup.stop_lsn, size, end=True)
            lost = sorted(each for each in damaged if start <= each <= stop)
            if lost:
                broken.setdefault(backup.name, f"its segment {lost[0]} is damaged")
        with guest.Reading("the output of wal-verify"):
            for row in guest.parse_json(found[0])["integrity"]["details"] or []:
                first, last = (segments.number(row[name], size) for name in ("start_segment", "end_segment"))
                if row["status"] != "MISSING_LOST":
                    last = min(last, sure)
                if row["status"] != "FOUND" and first <= last:
                    names = (segments.name(row["timeline_id"], each, size) for each in (first, last))
                    missing.append((next(names), next(names)))
        return Verification(tuple(segments.runs(sorted(missing), size)), broken)

    def list_objects(self, server: Server) -> tuple[Command, ...]:
        """Return the listings of WAL and of backups."""
        return tuple(self._command(server, "st", "ls", "-r", folder) for folder in (_WAL, _BACKUPS))

    def parse_objects(self, answers: Sequence[Answer], backups: Collection[str]) -> list[Object]:
        """Return segments and the objects of backups."""
        from datetime import UTC, datetime

        made = []
        for answer, top in zip(answers, (_WAL, _BACKUPS), strict=True):
            if answer.code:
                raise ValueError(answer.stderr.strip() or f"no answer (exit code {answer.code})")
            for row in _LISTED.finditer(answer.stdout):
                place = row["name"].lstrip("/")
                path = f"{top}/{place}"
                if top == _WAL:
                    name = segments.archived(place)
                    group = name[:16] if name and len(name) == 24 else ""
                else:
                    named = _BACKUP_NAME.match(place)
                    group = named[0] if named and named[0] in backups else ""
                if row["kind"] == "obj" and group:
                    with guest.Reading("the list of objects"):
                        when = datetime.fromisoformat(f"{row['date']}T{row['time']}").replace(tzinfo=UTC)
                        size = int(row["size"])
                    made.append(Object(path, size, int(when.timestamp()), f"{top}/{group}", top != _WAL))
        return made

    def catalogue(
        self, server: Server, group: str, there: Collection[str]
    ) -> tuple[str, Command, Catalogue] | None:
        """Return the list of a backup's files; it may lack one (WALG_WITHOUT_FILES_METADATA)."""
        from entrypoint.archivers.judges import Tars

        path = f"{group}/files_metadata.json"
        return (path, self.read_whole(server, path), Tars(group)) if path in there else None

    def judge(
        self, path: str, catalogue: Catalogue | None, unpack: Callable[[str], Unpacker | None]
    ) -> Judge | None:
        """Return an object's judge: wal-g itself, except for JSON texts, which it does not compress."""
        from entrypoint.archivers.judges import Ended, Text

        del catalogue, unpack
        return Text() if path.endswith(".json") else Ended()

    def read_whole(self, server: Server, path: str) -> Command:
        """Return the command that prints an object: a JSON text as stored, any other decoded."""
        plain = () if path.endswith(".json") else ("--decrypt", "--decompress")
        return self._command(server, "st", "cat", path, *plain)

    def mark(self, server: Server, backup: str, *, permanent: bool) -> Command:
        """Return the command that marks a backup; wal-g also marks the backups that it builds on."""
        return self._command(server, "backup-mark", *(() if permanent else ("--impermanent",)), backup)

    def expire(self, server: Server, backup: str, *, dry_run: bool) -> Command:
        """Return the command that removes a backup and every backup that builds on it."""
        return self._delete(server, ("target", backup), dry_run=dry_run)

    def expire_wal(
        self, server: Server, root: Backup, backups: Sequence[Backup], *, dry_run: bool
    ) -> Command:
        """Return the command that removes the WAL before `root`.

        Not `delete garbage ARCHIVES`: it gives up if the oldest backup is an increment on a permanent one.
        """
        del backups
        return self._delete(server, ("before", root.name), dry_run=dry_run)

    def expire_remains(self, server: Server, *, dry_run: bool) -> Command:
        """Return the command that removes the files of killed backups before the oldest backup."""
        return self._delete(server, ("garbage", "BACKUPS"), dry_run=dry_run)

    def _delete(self, server: Server, what: Sequence[str], *, dry_run: bool) -> Command:
        confirm = () if dry_run else ("--confirm",)
        # By time, not by name: once there is a new timeline, names do not show the age (wal-g/wal-g#636).
        command = self._command(server, "delete", *what, "--use-sentinel-time", *confirm)
        return command._replace(environment={**command.environment, **_TALKATIVE})

    def parse_removal(self, text: str, major: int = 0) -> Removal:
        """Return the names in lines like `Object marked for deletion: wal_005/….lz4 storage=default`."""
        del major  # each cluster has a folder of its own
        objects = re.findall(r"marked for deletion: (\S+)", text)
        names = {found[0] for each in objects if (found := _BACKUP_NAME.search(each))}
        wal = [
            found[1] for each in objects if (found := re.match(r"wal_005/([0-9A-F]{24})(?![0-9A-F])", each))
        ]
        return Removal(frozenset(names), tuple(wal))

    def describe_backup(self, server: Server, backup: str) -> Command:
        """Return the command that prints a backup's sentinel, the object that completes the backup."""
        return self._quick(server, "st", "cat", f"basebackups_005/{backup}_backup_stop_sentinel.json")

    def plan_tablespaces(self, output: str, folder: str) -> tuple[str, tuple[str, ...]]:
        """Return wal-g's restore specification; without one, links point to the original's tablespaces."""
        import json

        with guest.Reading("the backup's sentinel"):
            spec = guest.parse_json(_object(output)).get("Spec") or {}
            names = spec.get("tablespaces") or []
            text = json.dumps({**spec, "base_prefix": folder}) if names else ""
            return text, tuple(str(spec[name]["loc"]) for name in names)

    def fetch(
        self,
        server: Server,
        backup: str,
        folder: str,
        *,
        plan: str = "",
        resources: Resources | None = None,
    ) -> Command:
        """Return the command that restores a backup to an empty folder."""
        spec = ("--restore-spec", plan) if plan else ()
        command = self._command(server, "backup-fetch", folder, backup, *spec)
        if resources is None:
            return command
        made = {name: str(resources.processes) for name in ("GOMAXPROCS", "WALG_DOWNLOAD_CONCURRENCY")}
        # A damaged file is retried once, after a minute; the tool's default of 15 retries takes an hour.
        made["WALG_DOWNLOAD_FILE_RETRIES"] = "1"
        return command._replace(environment={**command.environment, **self._unless_own(made)})


def _check_compression(values: Mapping[str, str]) -> list[Problem]:
    problems = []
    compression = values.get("WALG_COMPRESSION_METHOD") or "lz4"
    if compression not in ("lz4", "zstd"):
        shown = f"={compression}" if compression in _WITHOUT_SUMS else " is neither lz4 nor zstd"
        problems.append(
            Problem(
                f"WALG_COMPRESSION_METHOD{shown}: a damaged segment would be replayed unnoticed, since "
                "wal-g's files then contain no checksum",
                "set WALG_COMPRESSION_METHOD to lz4 or zstd, or remove it",
            )
        )
    if values.get("WALG_ZSTD_LEVEL") and values.get("WALG_COMPRESSION_METHOD") != "zstd":
        problems.append(
            Problem(
                "WALG_ZSTD_LEVEL is set, but WALG_COMPRESSION_METHOD is not zstd",
                "set WALG_COMPRESSION_METHOD=zstd or remove WALG_ZSTD_LEVEL",
            )
        )
    return problems


def _object(output: str) -> str:
    """Return a JSON object without the text that an older wal-g writes before it."""
    begin = output.find("{")
    if begin < 0:
        raise ValueError(f"{output[:40]!r} is not a JSON object")
    return output[begin:]


def _backup(row: Mapping[str, Any]) -> Backup:
    """Return a backup from a row of wal-g's list."""
    name = guest.word(row["backup_name"])
    return Backup(
        name=name,
        kind="incremental" if "_D_" in name else "full",
        started=_time(row["start_time"]),
        finished=_time(row["finish_time"]),
        size_bytes=int(row["uncompressed_size"]),
        start_lsn=guest.lsn(lsn_text(int(row["start_lsn"]))),
        stop_lsn=guest.lsn(lsn_text(int(row["finish_lsn"]))),
        permanent=bool(row["is_permanent"]),
        system_identifier=guest.identifier(row["system_identifier"]) if row["system_identifier"] else None,
        timeline=int(name[5:13], 16),
        stored_bytes=int(row.get("compressed_size") or 0),
        first_segment=name[5:29],
        major=int(row.get("pg_version") or 0) // 10000,
    )


_LISTED = re.compile(
    r"(?m)^(?P<kind>obj|dir) +(?P<size>\d+) +(?P<date>\S{10}) (?P<time>[\d:]{8})\S* [+-]\d{4} \S+ +"
    r"(?P<name>.+?) *$"
)
"""A line of `st ls`."""


_TALKATIVE = {"WALG_LOG_LEVEL": "NORMAL", "WALG_LOG_DESTINATION": "stderr"}
"""For calls whose log lines are parsed."""

_BACKUP_NAME = re.compile(r"base_[0-9A-F]{24}(?:_D_[0-9A-F]{24})?")

PUSH_STREAM_BYTES = 8 * 1024**2
"""Memory for a segment on its way. Measured: 64 in 512 MiB are as fast as without a limit, in 3.6 GiB."""
FAR_STREAMS = 64
"""Overwrite protection looks up each segment with every suffix before it is sent. With a remote storage, a
backlog shrinks only if many segments are sent at once."""
NEAR_STREAMS = 8
"""With a near storage, more are slower: wal-g keeps two connections open, and opens new ones for the rest."""


def _push_limits(resources: Resources) -> dict[str, str]:
    """Return the resource limits for pushing segments, as wal-g's variables."""
    memory = resources.memory_bytes or 0
    most = NEAR_STREAMS if resources.near else FAR_STREAMS
    return {
        "WALG_UPLOAD_CONCURRENCY": str(max(1, min(most, memory // PUSH_STREAM_BYTES))),
        # Segments that follow the requested one; otherwise the daemon waits for 32 before it continues.
        "TOTAL_BG_UPLOADED_LIMIT": "256",
        "GOMEMLIMIT": str(memory),
    }


_STREAM_BYTES = 64 * 1024**2
"""Memory of an upload stream: parts of 20 MiB, one of which is sent while others are filled."""


def _limits(resources: Resources) -> dict[str, str]:
    """Return the resource limits for a backup, as wal-g's variables."""
    memory = resources.memory_bytes
    streams = 16 if memory is None else max(1, min(16, memory // _STREAM_BYTES))
    made = {
        "GOMAXPROCS": str(resources.processes),
        "WALG_UPLOAD_DISK_CONCURRENCY": str(resources.processes),
        "WALG_UPLOAD_CONCURRENCY": str(streams),
    }
    if memory is not None:
        made["GOMEMLIMIT"] = str(memory)
    if resources.rate_limit is not None:
        made["WALG_DISK_RATE_LIMIT"] = str(resources.rate_limit)
    return made


def _time(text: str) -> str:
    """Return a time from wal-g in whole seconds and with an offset.

    >>> _time("2026-11-22T18:01:02.123456Z")
    '2026-11-22T18:01:02+00:00'
    """
    from datetime import datetime

    seconds, _, fraction = text.partition(".")
    zone = fraction.lstrip("0123456789") if fraction else seconds[19:]
    return datetime.fromisoformat(seconds[:19] + ("+00:00" if zone in ("Z", "") else zone)).isoformat()
