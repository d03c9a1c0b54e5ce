"""What the rest of the program knows of an archiver: an adapter builds command lines and reads answers; pure.

Nothing here runs a program. `archive/opened.py` runs what an adapter returns.
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
    """Of a typed command: it writes to the archive (a segment), removes all of it, makes archiving fail."""


class Helping(Protocol):
    """A process of the tool that stays, and saves each segment a start and a connection."""

    client: str
    """A small program that talks to it.

    `CLIENT SOCKET wal-push NAME`, `CLIENT SOCKET wal-fetch NAME PLACE`.
    """

    def helper(self, server: Server, resources: Resources) -> Command:
        """Return the process that PID 1 keeps beside the server, listening on `socket(server)`."""

    def fetch_helper(self, server: Server) -> Command:
        """Return the process that reads ahead during a recovery, listening on `socket(server)`.

        Whatever it says is written to that name with `.log`: each segment that is not to be trusted.
        """

    def can_help(self, version: str) -> bool:
        """Tell by what `--version` prints whether the helper is to be trusted."""

    def socket(self, server: Server) -> str:
        """Return where the helper listens."""


class Upgrading(Protocol):
    """An archive that can go to the cluster that pg_upgrade made of its owner."""

    def parse_owners(self, code: int, output: str) -> list[Owner]:
        """Return the newest owner for each place that an archive is kept in, by the answer to `identify`.

        Raises ValueError with the tool's words.
        """

    def upgrade(self, server: Server) -> Command:
        """Return the command that gives an archive to the cluster that pg_upgrade made of its owner.

        The tool gives it to any cluster: that it is the same one must be proven first. May be run again
        after it was killed.
        """


class Planning(Protocol):
    """A restore that must be told where a backup's tablespaces go."""

    def describe_backup(self, server: Server, backup: str) -> Command:
        """Return the command that tells where a backup's tablespaces lie."""

    def plan_tablespaces(self, output: str, folder: str) -> tuple[str, tuple[str, ...]]:
        """Return the plan for `fetch` by the answer to `describe_backup`, and where the tablespaces lie."""


class Leaving(Protocol):
    """A killed backup leaves something that no later one removes."""

    def expire_remains(self, server: Server, *, dry_run: bool) -> Command:
        """Return the command that removes what killed backups left."""


class Redirecting(Protocol):
    """Settings that a typed command cannot set aside one by one."""

    def elsewhere(
        self, text: str, given: Mapping[str, str], arguments: Sequence[str]
    ) -> dict[str, str] | None:
        """Return the variables of a typed command that itself names another storage than the settings file.

        `text` is that file, `given` what is set beside it. None: it names none.
        """


class Capabilities(NamedTuple):
    """What a tool can do and how it behaves; the parts that are None it lacks, and need not have."""

    missing_code: int
    """Exit code of the fetch of a segment that is not in the archive."""
    damage: str
    """Extended regular expression: what the fetch of a segment says where the stored file is damaged."""
    leaves_sums: bool = False
    """Whether a fetch may give out a damaged file, whose checksum is a part of its name in the archive."""
    sure: str = ""
    """A setting with which `fetch_segment` itself answers, and no process that reads ahead; or empty."""
    alone: str = ""
    """A setting for `archive_segment` that makes it send nothing beside its segment; empty: none needed."""
    torn: re.Pattern[str] | None = None
    """Names of files that a killed call leaves in an archive on a folder, and that nothing else removes."""
    readable: str = ""
    """A setting with which what it stores can be judged without any library, where that may need one."""
    flat: bool = False
    """All segments lie in one folder, so that a far storage takes long to tell what is in it."""
    encrypts: bool = False
    """Whether what is stored can only be read with a key."""
    other_cluster_code: int | None = None
    """Exit code of `prepare` for another cluster's archive; None: it would take any."""
    unknown_command_code: int | None = None
    """Exit code of `store` where this version of the tool has no such command."""
    no_rate: Problem | None = None
    """What is said where a backup is to be slow, and the tool cannot limit its rate."""
    helping: Helping | None = None
    upgrading: Upgrading | None = None
    """Only where `other_cluster_code` is not None."""
    planning: Planning | None = None
    """None: the tool makes the links by itself."""
    leaving: Leaving | None = None
    """None: the next backup resumes or removes what a killed one left."""
    redirecting: Redirecting | None = None
    """None: what is given beside the settings file outranks it, each for itself."""


class Naming(Protocol):
    """The tool's name, its variables, its settings file, and who types its commands."""

    name: str
    """Also of its executable, to look for on PATH."""
    group: str
    """How its variables begin."""
    config_name: str
    """File name of the rendered settings, below the runtime folder; also the template's name."""
    work_folder: str
    """Its folder below the runtime folder, for what it works on (`known.WORK_FOLDERS`); or empty."""
    segment_commands: frozenset[str]
    """What a server of somebody's runs for each segment."""

    def is_own_variable(self, name: str) -> bool:
        """Tell whether the tool reads this environment variable."""

    def storage(self, values: Mapping[str, str]) -> Storage | None:
        """Return the storage that the tool's own variables name, if any."""

    def s3_server(self, values: Mapping[str, str], storage: Storage) -> str:
        """Return the URL of the S3 server that holds the archive; empty for another kind of storage."""

    def check(self, values: Mapping[str, str]) -> list[Problem]:
        """Return what is wrong with the settings for this tool."""

    def options(self, values: Mapping[str, str], storage: Storage, server: Server) -> dict[str, object]:
        """Return the variables of the template of the tool's settings file."""

    def moved(self, text: str, old: Server, new: Server) -> str:
        """Return the settings file of one server as that of another one in the same container."""

    def changed(self, text: str, name: str, value: str) -> str:
        """Return the settings file with another value of one of the tool's own variables."""

    def by_hand(
        self, server: Server, arguments: Sequence[str], instead: Mapping[str, str] | None = None
    ) -> Command:
        """Return the command that somebody has typed; `instead` of the settings file there are variables."""

    def as_variables(self, options: Mapping[str, object]) -> dict[str, str]:
        """Return what `options` has returned as the tool's own variables."""

    def consequences(self, arguments: Sequence[str]) -> frozenset[Consequence]:
        """Return what follows from a typed command that something else here counts on."""


class Segments(Protocol):
    """Calls for segments of WAL, and where these lie in an archive."""

    def archive_segment(self, server: Server) -> Command:
        """Return the command that stores the segment `%p`."""

    def fetch_segment(self, server: Server) -> Command:
        """Return the command that fetches segment `%f` to `%p`."""

    def read_back(self, server: Server) -> Command:
        """Return the command that fetches segment `%f` to `%p` without touching the data folder."""

    def read_ahead(self, server: Server) -> str:
        """Return the folder for what a recovery has fetched ahead, which need not be whole."""

    def stored(self, segment: str) -> str:
        """Return the pattern, for glob, of a segment's file below an archive on a folder."""

    def stored_paths(self, segment: str) -> tuple[str, ...]:
        """Return the paths that a segment may have in the archive; empty: the archive must be asked."""

    @property
    def wal_root(self) -> str:
        """Return the folder of the archive that holds the histories of timelines, and how far each has come.

        `*` stands for the folder of the newest cluster, which is named `MAJOR-NUMBER`.
        """

    def wal_folder(self, identifier: str, code: int, output: str) -> str:
        """Return the archive's folder of a cluster's segments, by the answer to `identify`.

        Raises NoSegment where there is none yet, and ValueError with the tool's words.
        """

    def list_wal(self, server: Server) -> Command:
        """Return the command that lists the archived WAL."""

    def parse_wal(self, output: str, major: int = 0) -> list[Stored]:
        """Return the segments and histories of the archive's present cluster, by the answer to `list_wal`."""


class Ownership(Protocol):
    """Whose an archive is."""

    @property
    def sign(self) -> str:
        """Return the path, in the archive, of what makes it a cluster's."""

    def prepare(self, server: Server) -> Command:
        """Return the command that makes an archive this cluster's.

        It may store the file IDENTITY of the runtime folder. Where there is no code for another cluster's
        (Capabilities) it would take any archive, so its owner must be asked for first.
        """

    def identify(self, server: Server) -> Command:
        """Return the command that asks the archive for its cluster."""

    def parse_identity(self, code: int, output: str) -> str | None:
        """Return the archive's system identifier, if it has one; raises ValueError with the tool's words."""


class BaseBackups(Protocol):
    """Base backups: taken, listed, verified, kept, removed, fetched."""

    backups_root: str
    """There, the folder of backups whose names begin with `base_` and the timeline."""

    def list_backups(self, server: Server) -> Command:
        """Return the command that lists the backups."""

    def parse_backups(self, output: str) -> list[Backup]:
        """Return the backups, oldest first; raises ValueError with the tool's words."""

    def push(
        self, server: Server, parent: Backup | None = None, resources: Resources | None = None
    ) -> Command:
        """Return the command that takes a full base backup, or an incremental one on `parent`."""

    def parent(self, backups: Sequence[Backup], broken: Collection[str]) -> Backup | None:
        """Return the backup that the next incremental one builds on; None: it must be a full one."""

    def verify(self, server: Server, check: Check) -> tuple[Command, ...]:
        """Return the commands that verify the archive."""

    def parse_verification(self, check: Check, answers: Sequence[Answer]) -> Verification:
        """Return what is wrong, by the answers to the commands of `verify`; raises ValueError."""

    def mark(self, server: Server, backup: str, *, permanent: bool) -> Command:
        """Return the command that keeps a backup from being removed, or allows it again."""

    def expire(self, server: Server, backup: str, *, dry_run: bool) -> Command:
        """Return the command that removes a backup and all that build on it, and no WAL."""

    def expire_wal(
        self, server: Server, root: Backup, backups: Sequence[Backup], *, dry_run: bool
    ) -> Command:
        """Return the command that removes the WAL before `root`, but for what permanent backups need."""

    def parse_removal(self, text: str) -> Removal:
        """Return what the output of `expire` or `expire_wal` names."""

    def fetch(
        self,
        server: Server,
        backup: str,
        folder: str,
        *,
        plan: str = "",
        resources: Resources | None = None,
    ) -> Command:
        """Return the command that puts a backup into an empty folder; `plan` is a file's path, or empty."""


class Objects(Protocol):
    """Whatever lies in an archive, by its path."""

    top_folders: tuple[str, ...]
    """The folders at the top of its archives."""

    def look(self, server: Server) -> Command:
        """Return the command that prints the names at the top of the archive."""

    def list_folder(self, server: Server, folder: str) -> Command:
        """Return the command that prints the names in a folder of the archive."""

    def parse_names(self, output: str) -> list[str]:
        """Return the names that `list_folder` or `look` has printed, without the `/` of folders."""

    def read_object(self, server: Server, path: str) -> Command:
        """Return the command that prints an object; a history comes as PostgreSQL wrote it."""

    def raw_object(self, server: Server, path: str) -> Command:
        """Return the command that prints an object as it is stored."""

    def store(self, server: Server, path: str) -> Command:
        """Return the command that stores what it is given on stdin, as it is, in place of what is there."""

    def remove(self, server: Server, path: str) -> Command:
        """Return the command that removes an object, which must be there."""

    def list_objects(self, server: Server) -> tuple[Command, ...]:
        """Return the commands that list all that is in the archive, with sizes and times."""

    def parse_objects(self, answers: Sequence[Answer], backups: Collection[str]) -> list[Object]:
        """Return what can be judged by reading it, of these backups and of WAL; raises ValueError."""

    def catalogue(
        self, server: Server, group: str, there: Collection[str]
    ) -> tuple[str, Command, Catalogue] | None:
        """Return the path of what tells how a group is judged, how that is read, and its own judge.

        None: they are judged without. `there`: the paths of all of them.
        """

    def judge(
        self, path: str, catalogue: Catalogue | None, unpack: Callable[[str], Unpacker | None]
    ) -> Judge | None:
        """Return what judges an object; None: nothing can. `unpack` gives what undoes a compression."""

    def read_whole(self, server: Server, path: str) -> Command:
        """Return the command that prints an object as its judge wants it, however large it is."""


class Archiver(Naming, Segments, Ownership, BaseBackups, Objects, Protocol):
    """What the rest of the program knows of an archiver."""

    capabilities: Capabilities
