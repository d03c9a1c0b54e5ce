"""The interface of an archiver: an adapter builds command lines and parses answers; pure.

Nothing here runs a program. `archive/opened.py` runs the commands that an adapter returns.
"""

from __future__ import annotations

from entrypoint.errors import Problem
from entrypoint.light import NamedTuple, Protocol, re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from typing import Literal

    from entrypoint.archivers.judges import Catalogue, Judge, Unpacker
    from entrypoint.archivers.terms import (
        Answer,
        Backup,
        Check,
        Command,
        Object,
        Owner,
        Removal,
        Resources,
        Server,
        Storage,
        Stored,
        Verification,
    )

    Consequence = Literal["writes", "archives", "nothing left", "stops archiving"]
    """Effect of a typed command: it writes to the archive, archives a segment, empties the archive, or makes
    archiving fail."""


class Helping(Protocol):
    """A long-running process of the tool, which saves each segment a program start and a connection."""

    client: str
    """A small program that talks to the helper.

    `CLIENT SOCKET wal-push NAME`, `CLIENT SOCKET wal-fetch NAME PLACE`.
    """

    def helper(self, server: Server, resources: Resources) -> Command:
        """Return the process that PID 1 runs next to the server; it listens on `socket(server)`."""

    def fetch_helper(self, server: Server) -> Command:
        """Return the process that reads ahead during a recovery; it listens on `socket(server)`.

        Its output goes to the file of that name with `.log`. It names each segment that must not be trusted.
        """

    def can_help(self, version: str) -> bool:
        """Return whether the helper can be trusted, given the output of `--version`."""

    def socket(self, server: Server) -> str:
        """Return the path of the socket on which the helper listens."""


class Upgrading(Protocol):
    """An archive that can be handed to the cluster that pg_upgrade made of its owner."""

    def parse_owners(self, code: int, output: str) -> list[Owner]:
        """Return the newest owner in each repository of an archive, from the answer to `identify`.

        Raises ValueError with the tool's output.
        """

    def upgrade(self, server: Server) -> Command:
        """Return the command that hands an archive to the cluster that pg_upgrade made of its owner.

        The tool accepts any cluster, so the caller must first prove that it is the same one. A command that
        was killed can be run again.
        """

    def rehearse(self, data_folder: str, folder: str) -> Command:
        """Return the command that makes an archive for a cluster in an empty folder of this machine.

        It shows whether the tool knows the cluster's major version, and touches no other archive.
        """


class Dividing(Protocol):
    """A tool that mixes the files of two clusters: after an upgrade, the new one has a folder of its own."""

    def below(self, text: str, old: str, new: str) -> str:
        """Return the settings file for the folder `new` below the place that is set, in place of `old`.

        Either may be empty, which is the place itself.
        """


class Planning(Protocol):
    """A restore that needs a plan of where a backup's tablespaces go."""

    def describe_backup(self, server: Server, backup: str) -> Command:
        """Return the command that prints the locations of a backup's tablespaces."""

    def plan_tablespaces(self, output: str, folder: str) -> tuple[str, tuple[str, ...]]:
        """Return the plan for `fetch` and the tablespaces' locations; `output` is from `describe_backup`."""


class Leaving(Protocol):
    """A tool whose killed backups leave files that no later backup removes."""

    def expire_remains(self, server: Server, *, dry_run: bool) -> Command:
        """Return the command that removes the files that killed backups left."""


class Redirecting(Protocol):
    """Settings that a typed command cannot override one by one."""

    def elsewhere(
        self, text: str, given: Mapping[str, str], arguments: Sequence[str]
    ) -> dict[str, str] | None:
        """Return the variables of a typed command that names a storage other than the settings file's.

        `text` is the settings file, `given` are the variables that are set in addition. None: the command
        names no other storage.
        """


class Capabilities(NamedTuple):
    """What a tool can do and how it behaves; a part is None where the tool lacks it and need not have it."""

    missing_code: int
    """Exit code of the fetch of a segment that is not in the archive."""
    damage: str
    """Extended regular expression for the output of a fetch whose stored file is damaged."""
    leaves_sums: bool = False
    """Whether a fetch may deliver a damaged file; the file's name in the archive then has its checksum."""
    sure: str = ""
    """A setting that makes `fetch_segment` itself answer, not a process that reads ahead; or empty."""
    alone: str = ""
    """A setting that makes `archive_segment` send its segment only; empty: none is needed."""
    torn: re.Pattern[str] | None = None
    """Names of files that a killed call leaves in an archive in a folder, and that nothing else removes."""
    readable: str = ""
    """A setting that makes stored objects checkable without a library, where a library may be missing."""
    flat: bool = False
    """All segments are in one folder, so that a remote storage takes long to list it."""
    encrypts: bool = False
    """Whether the stored objects can be read with a key only."""
    other_cluster_code: int | None = None
    """Exit code of `prepare` for another cluster's archive; None: it accepts any archive."""
    unknown_server_code: int | None = None
    """Exit code of `prepare` for a server whose major version this version of the tool does not know."""
    unknown_server: Problem | None = None
    """What is wrong in this case."""
    unknown_command_code: int | None = None
    """Exit code of `store` where this version of the tool lacks that command."""
    no_rate: Problem | None = None
    """The warning for a rate limit that the tool cannot apply to a backup."""
    helping: Helping | None = None
    upgrading: Upgrading | None = None
    """Only where `other_cluster_code` is not None."""
    planning: Planning | None = None
    """None: the tool creates the links itself."""
    leaving: Leaving | None = None
    """None: the next backup resumes or removes what a killed backup left."""
    dividing: Dividing | None = None
    """None: one archive holds several clusters."""
    redirecting: Redirecting | None = None
    """None: each variable that is set in addition overrides the settings file."""


class Naming(Protocol):
    """The tool's name, its variables, its settings file, and the commands that people type."""

    name: str
    """Also the name of its executable, which is looked up on PATH."""
    group: str
    """The prefix of its variables."""
    config_name: str
    """File name of the rendered settings in the runtime folder; also the template's name."""
    work_folder: str
    """Its working folder in the runtime folder (`known.WORK_FOLDERS`); or empty."""
    asks_version: str
    """Its argument that prints its version."""
    segment_commands: frozenset[str]
    """The subcommands that a server runs for each segment."""

    def is_own_variable(self, name: str) -> bool:
        """Return whether the tool reads this environment variable."""

    def storage(self, values: Mapping[str, str]) -> Storage | None:
        """Return the storage that the tool's own variables name; None: they name none."""

    def s3_server(self, values: Mapping[str, str], storage: Storage) -> str:
        """Return the URL of the S3 server that holds the archive; empty for other kinds of storage."""

    def check(self, values: Mapping[str, str]) -> list[Problem]:
        """Return the problems in the settings for this tool."""

    def options(self, values: Mapping[str, str], storage: Storage, server: Server) -> dict[str, object]:
        """Return the variables for the template of the tool's settings file."""

    def moved(self, text: str, old: Server, new: Server) -> str:
        """Return the settings file of one server, adapted to another server in the same container."""

    def changed(self, text: str, name: str, value: str) -> str:
        """Return the settings file with one of the tool's own variables changed."""

    def by_hand(
        self, server: Server, arguments: Sequence[str], instead: Mapping[str, str] | None = None
    ) -> Command:
        """Return the command that somebody typed; the variables `instead` replace the settings file."""

    def as_variables(self, options: Mapping[str, object]) -> dict[str, str]:
        """Return the result of `options` as the tool's own variables."""

    def consequences(self, arguments: Sequence[str]) -> frozenset[Consequence]:
        """Return the effects of a typed command that the rest of the program must know."""


class Segments(Protocol):
    """Calls for WAL segments, and the places of segments in an archive."""

    def archive_segment(self, server: Server) -> Command:
        """Return the command that stores the segment `%p`."""

    def fetch_segment(self, server: Server) -> Command:
        """Return the command that fetches segment `%f` to `%p`."""

    def read_back(self, server: Server) -> Command:
        """Return the command that fetches segment `%f` to `%p` without touching the data folder."""

    def read_ahead(self, server: Server) -> str:
        """Return the folder of files that a recovery has fetched ahead; they may be incomplete."""

    def stored(self, segment: str) -> str:
        """Return the glob pattern of a segment's file in an archive in a folder."""

    def stored_paths(self, segment: str) -> tuple[str, ...]:
        """Return the paths that a segment may have in the archive; empty: only a listing shows its path."""

    @property
    def wal_root(self) -> str:
        """Return the archive's folder of timeline histories and segments.

        `*` means the folder of the newest cluster, whose name is `MAJOR-NUMBER`.
        """

    def wal_folder(self, identifier: str, code: int, output: str) -> str:
        """Return the archive's folder of a cluster's segments, from the answer to `identify`.

        Raises NoSegment if it has no segment yet, and ValueError with the tool's output.
        """

    def list_wal(self, server: Server) -> Command:
        """Return the command that lists the archived WAL."""

    def parse_wal(self, output: str, folders: Collection[str] = ()) -> list[Stored]:
        """Return the segments and histories of a cluster, as `list_wal` lists them.

        `folders` are those of the cluster's backups; without any, it is the archive's current cluster.
        """


class Ownership(Protocol):
    """The cluster that an archive belongs to."""

    @property
    def sign(self) -> str:
        """Return the path, in the archive, of the object that names its cluster."""

    def prepare(self, server: Server) -> Command:
        """Return the command that claims an archive for this cluster.

        It may store the file IDENTITY of the runtime folder. If `Capabilities.other_cluster_code` is None,
        the command accepts any archive, so the caller must look up the owner first.
        """

    def identify(self, server: Server) -> Command:
        """Return the command that prints the archive's cluster."""

    def parse_identity(self, code: int, output: str) -> str | None:
        """Return the archive's system identifier, if it has one; raises ValueError with the tool's output."""


class BaseBackups(Protocol):
    """Base backups: take, list, verify, keep, remove and fetch them."""

    backups_root: str
    """The archive's folder of backups whose names begin with `base_` and the timeline; or empty."""

    def list_backups(self, server: Server) -> Command:
        """Return the command that lists the backups."""

    def parse_backups(self, output: str) -> list[Backup]:
        """Return the backups, oldest first; raises ValueError with the tool's output."""

    def push(
        self, server: Server, parent: Backup | None = None, resources: Resources | None = None
    ) -> Command:
        """Return the command that takes a full base backup, or an incremental one based on `parent`."""

    def parent(self, backups: Sequence[Backup], broken: Collection[str]) -> Backup | None:
        """Return the backup that the next incremental one builds on; None: the next one must be full."""

    def verify(self, server: Server, check: Check) -> tuple[Command, ...]:
        """Return the commands that verify the archive."""

    def parse_verification(self, check: Check, answers: Sequence[Answer]) -> Verification:
        """Return what is wrong, from the answers to the commands of `verify`; raises ValueError."""

    def mark(self, server: Server, backup: str, *, permanent: bool) -> Command:
        """Return the command that protects a backup from removal, or ends that protection."""

    def expire(self, server: Server, backup: str, *, dry_run: bool) -> Command:
        """Return the command that removes a backup and every backup that builds on it, but no WAL."""

    def expire_wal(
        self, server: Server, root: Backup, backups: Sequence[Backup], *, dry_run: bool
    ) -> Command:
        """Return the command that removes the WAL before `root`, except what permanent backups need."""

    def parse_removal(self, text: str, major: int = 0) -> Removal:
        """Return the backups and segments that the output of `expire` or `expire_wal` names.

        `major`: only segments of this major version; 0: of any.
        """

    def fetch(
        self,
        server: Server,
        backup: str,
        folder: str,
        *,
        plan: str = "",
        resources: Resources | None = None,
    ) -> Command:
        """Return the command that restores a backup to an empty folder; `plan` is a file's path or empty."""


class Objects(Protocol):
    """The objects in an archive, by path."""

    top_folders: tuple[str, ...]
    """The top folders of its archives."""

    def look(self, server: Server) -> Command:
        """Return the command that prints the names in the archive's top folder."""

    def list_folder(self, server: Server, folder: str) -> Command:
        """Return the command that prints the names in a folder of the archive."""

    def parse_names(self, output: str) -> list[str]:
        """Return the names that `list_folder` or `look` printed, without the `/` of folders."""

    def read_object(self, server: Server, path: str) -> Command:
        """Return the command that prints an object; a history is printed as PostgreSQL wrote it."""

    def raw_object(self, server: Server, path: str) -> Command:
        """Return the command that prints an object as it is stored."""

    def store(self, server: Server, path: str) -> Command:
        """Return the command that stores its stdin unchanged and replaces the object that is there."""

    def remove(self, server: Server, path: str) -> Command:
        """Return the command that removes an existing object."""

    def list_objects(self, server: Server) -> tuple[Command, ...]:
        """Return the commands that list everything in the archive, with sizes and times."""

    def parse_objects(self, answers: Sequence[Answer], backups: Collection[str]) -> list[Object]:
        """Return the objects of WAL and of these backups that reading can check; raises ValueError."""

    def catalogue(
        self, server: Server, group: str, there: Collection[str]
    ) -> tuple[str, Command, Catalogue] | None:
        """Return the path of a group's catalogue, the command that reads it, and its own judge.

        The catalogue says how the objects of the group are judged. None: they are judged without a catalogue.
        `there`: the paths of all objects of the group.
        """

    def judge(
        self, path: str, catalogue: Catalogue | None, unpack: Callable[[str], Unpacker | None]
    ) -> Judge | None:
        """Return the judge of an object; None: there is none. `unpack` returns a decompressor."""

    def read_whole(self, server: Server, path: str) -> Command:
        """Return the command that prints an object of any size in the form that its judge needs."""


class Archiver(Naming, Segments, Ownership, BaseBackups, Objects, Protocol):
    """The whole interface of an archiver."""

    capabilities: Capabilities
