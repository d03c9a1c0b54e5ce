"""pgBackRest: its options, command lines and answers (tested with 2.45 of bookworm)."""

import re
from collections.abc import Mapping
from typing import Any

from entrypoint.archivers import Backup, Command, Server, Storage
from entrypoint.errors import Problem

PREFIX = "PGBACKREST_"

_OPTIONS = frozenset(
    """
    archive-async archive-check archive-copy archive-get-queue-max archive-header-check
    archive-missing-retry archive-mode archive-mode-check archive-push-batch-size
    archive-push-queue-max archive-timeout annotation backup-standby beta buffer-size
    checksum-page cmd cmd-ssh compress compress-level compress-level-network compress-type config
    config-include-path config-path db-exclude db-include db-timeout delta exclude expire-auto
    force io-timeout job-retry job-retry-interval link-all link-map lock-path log-level-console
    log-level-file log-level-stderr log-path log-subprocess log-timestamp manifest-save-threshold
    neutral-umask online output page-header-check pg-database pg-host pg-path pg-port
    pg-socket-path pg-user pg-version-force process-max protocol-timeout recovery-option repo
    resume sck-block sck-keep-alive set spool-path stanza start-fast stop-auto tablespace-map
    tablespace-map-all target target-action target-exclusive target-timeline tcp-keep-alive-count
    tcp-keep-alive-idle tcp-keep-alive-interval type
    repo-azure-account repo-azure-container repo-azure-endpoint repo-azure-key repo-azure-key-type
    repo-azure-uri-style repo-block repo-block-age-map repo-block-checksum-size-map
    repo-block-size-map repo-block-size-super repo-block-size-super-full repo-bundle
    repo-bundle-limit repo-bundle-size repo-cipher-pass repo-cipher-type repo-gcs-bucket
    repo-gcs-endpoint repo-gcs-key repo-gcs-key-type repo-gcs-user-project repo-hardlink repo-host
    repo-host-ca-file repo-host-ca-path repo-host-cert-file repo-host-cmd repo-host-config
    repo-host-config-include-path repo-host-config-path repo-host-key-file repo-host-port
    repo-host-type repo-host-user repo-path repo-retention-archive repo-retention-archive-type
    repo-retention-diff repo-retention-full repo-retention-full-type repo-retention-history
    repo-s3-bucket repo-s3-endpoint repo-s3-key repo-s3-key-secret repo-s3-key-type
    repo-s3-kms-key-id repo-s3-region repo-s3-requester-pays repo-s3-role
    repo-s3-sse-customer-key repo-s3-token repo-s3-uri-style repo-sftp-host
    repo-sftp-host-fingerprint repo-sftp-host-key-check-type repo-sftp-host-key-hash-type
    repo-sftp-host-port repo-sftp-host-user repo-sftp-known-host repo-sftp-private-key-file
    repo-sftp-private-key-passphrase repo-sftp-public-key-file repo-storage-ca-file
    repo-storage-ca-path repo-storage-host repo-storage-port repo-storage-tag
    repo-storage-upload-chunk-size repo-storage-verify-tls repo-symlink repo-target-time repo-type
    """.split()
)

_OURS = frozenset(
    """
    archive-check archive-mode archive-push-queue-max cmd config config-include-path config-path
    delta force online output pg-database pg-host pg-path pg-port pg-socket-path pg-user recovery-option
    repo set spool-path lock-path log-path log-level-console log-level-stderr log-level-file target
    target-action target-exclusive target-timeline type
    """.split()
)
"""Options that the entrypoint decides, or that would make the tool lose segments or write elsewhere."""


_LISTS = frozenset(
    "annotation db-exclude db-include exclude link-map repo-storage-tag tablespace-map".split()
)
"""Options with several values: parted by colons in a variable, a line each in a file."""

_IMPATIENT = "--io-timeout=3"
"""For calls that somebody waits for: four tries take 12 seconds with a dead storage, 24 with a silent one."""

_QUIET = "--log-level-stderr=warn"
"""PostgreSQL says itself which segment it archives and restores; three lines more for each help nobody."""


def _option(variable: str) -> tuple[str, str] | None:
    """Return an option's plain and its indexed name.

    >>> _option("PGBACKREST_REPO1_S3_KEY")
    ('repo-s3-key', 'repo1-s3-key')
    >>> _option("PGBACKREST_NOSUCH") is None
    True
    """
    if not variable.startswith(PREFIX):
        return None
    indexed = variable.removeprefix(PREFIX).lower().replace("_", "-")
    plain = re.sub(r"^(repo|pg)([1-9]\d*)-", r"\1-", indexed)
    needs_index = plain.startswith(("repo-", "pg-"))
    if plain not in _OPTIONS or (needs_index and plain == indexed):
        return None
    return plain, indexed


def is_option(variable: str) -> bool:
    """Tell whether this environment variable is an option of pgBackRest."""
    return _option(variable) is not None


def names_like(variable: str) -> list[str]:
    """Return every option's variable, with the index that a misspelt name has."""
    if not variable.startswith(PREFIX):
        return []
    found = re.search(r"_(?:REPO|PG)([1-9]\d*)", variable)
    index = found[1] if found else "1"
    names = [re.sub(r"^(repo|pg)-", rf"\g<1>{index}-", option) for option in _OPTIONS if option != "repo"]
    return [PREFIX + name.upper().replace("-", "_") for name in names]


class PgBackRest:
    """The adapter for pgBackRest."""

    name = "pgbackrest"
    program = "pgbackrest"
    config_name = "pgbackrest.conf"
    missing_code = 1
    other_cluster_code = 28
    client = ""

    def __init__(self, values: Mapping[str, str]) -> None:
        self.stanza = values.get(PREFIX + "STANZA") or "main"
        self.uses_aws_names = values.get("ARCHIVE_URL", "").startswith("s3://")

    def is_own_variable(self, name: str) -> bool:
        """Tell whether pgBackRest reads this environment variable."""
        return name.startswith(PREFIX) or (self.uses_aws_names and name.startswith("AWS_"))

    def storage(self, values: Mapping[str, str]) -> Storage | None:
        """Return the storage of the first repository."""
        kind = values.get(PREFIX + "REPO1_TYPE", "")
        path = values.get(PREFIX + "REPO1_PATH", "")
        if not kind and not path:
            return None
        if kind in ("", "posix", "cifs"):
            path = path or "/var/lib/pgbackrest"
            return Storage(f"file://{path}", path, from_url=False)
        container = {"s3": "S3_BUCKET", "gcs": "GCS_BUCKET", "azure": "AZURE_CONTAINER"}
        name = values.get(f"{PREFIX}REPO1_{container.get(kind, 'SFTP_HOST')}", "")
        return Storage(f"{kind}://{name}{path}", None, from_url=False)

    def check(self, values: Mapping[str, str]) -> list[Problem]:
        """Return what is wrong with the settings for pgBackRest."""
        problems = []
        for name in sorted(values):
            option = _option(name)
            if option and option[0] in _OURS and values[name]:
                problems.append(Problem(f"{name} is set by the entrypoint itself", f"remove {name}"))
            elif option and ("\n" in values[name] or "\r" in values[name]):
                problems.append(Problem(f"{name} holds a line break", f"correct {name}"))
        storage = self.storage(values)
        if storage and storage.folder and not storage.folder.startswith("/"):
            name = PREFIX + "REPO1_PATH"
            problems.append(
                Problem(f"{name}={values.get(name)} is not an absolute path", f"give {name} in full")
            )
        compression = values.get(PREFIX + "COMPRESS_TYPE", "lz4")
        if compression in ("none", "zst"):
            problems.append(
                Problem(
                    f"PGBACKREST_COMPRESS_TYPE={compression}: a damaged segment would be replayed "
                    "unnoticed, since the tool does not compare checksums when it fetches one",
                    "set PGBACKREST_COMPRESS_TYPE to lz4, gz or bz2, or remove it",
                )
            )
        if values.get("ARCHIVE_URL", "").startswith("s3://"):
            problems += [
                Problem(f"{name} is needed for ARCHIVE_URL with pgbackrest", f"set {name}")
                for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION")
                if not values.get(name)
            ]
        return problems

    def options(self, values: Mapping[str, str], storage: Storage, server: Server) -> dict[str, object]:
        """Return the global options and those of the stanza."""
        options: dict[str, object] = {
            "repo1-bundle": "y",
            "compress-type": "lz4",
            "start-fast": "y",
            "archive-timeout": "60",
            # The first of many waiting segments starts a process that archives all of them.
            "archive-async": "y",
            "process-max": str(server.processes),
            # A call may take eight times as long before it gives up: keep that below our deadline.
            "io-timeout": "10",
        }
        for name, value in sorted(values.items()):
            option = _option(name)
            if option and value:
                options[option[1]] = value.split(":") if option[0] in _LISTS else value
        if storage.from_url:
            options |= _repository(values, storage)
        options |= {
            # Nothing expires by itself: retention is ours to decide.
            "repo1-retention-full": options.get("repo1-retention-full", "9999999"),
            "expire-auto": "n",
            "spool-path": f"{server.runtime_folder}/pgbackrest/spool",
            "lock-path": f"{server.runtime_folder}/pgbackrest/lock",
            "log-path": f"{server.runtime_folder}/pgbackrest/log",
            "log-level-console": "off",
            "log-level-stderr": "info",
            "log-level-file": "off",
            "log-timestamp": "n",
        }
        options.pop("stanza", None)
        return {"options": options, "stanza": self.stanza, "server": server}

    def _command(self, server: Server, command: str, *arguments: str) -> Command:
        return Command(
            (self.program, f"--stanza={self.stanza}", *arguments, command),
            {"PGBACKREST_CONFIG": f"{server.runtime_folder}/{self.config_name}"},
        )

    def helper(self, server: Server) -> Command | None:
        """Return nothing: a call starts what it needs."""
        del server
        return None

    def can_help(self, version: str) -> bool:
        """Tell that there is no helper."""
        del version
        return False

    def socket(self, server: Server) -> str:
        """Return no place."""
        del server
        return ""

    def archive_segment(self, server: Server) -> Command:
        """Return the command that stores the segment `%p`."""
        command = self._command(server, "archive-push", _QUIET)
        return command._replace(argv=(*command.argv, "%p"))

    def fetch_segment(self, server: Server) -> Command:
        """Return the command that fetches segment `%f` to `%p`.

        Not asynchronously: before 2.59 that can end a recovery at a timeline switch
        (pgbackrest/pgbackrest#2423).
        """
        command = self._command(server, "archive-get", "--repo=1", "--no-archive-async", _QUIET)
        return command._replace(argv=(*command.argv, "%f", "%p"))

    def read_back(self, server: Server) -> Command:
        """Return the same, which reads nothing ahead."""
        return self.fetch_segment(server)

    def prepare(self, server: Server) -> Command:
        """Return stanza-create, which needs only pg_control and refuses another cluster's archive."""
        return self._command(server, "stanza-create", "--no-online", _IMPATIENT)

    def identify(self, server: Server) -> Command:
        """Return the command that tells about the stanza."""
        return self.list_backups(server)

    def parse_identity(self, code: int, output: str) -> str | None:
        """Return the newest system identifier of the stanza; raises ValueError with the tool's words."""
        if code:
            raise ValueError(output)
        rows = [row for stanza in self._stanzas(output) for row in stanza["db"]]
        return str(max(rows, key=lambda row: int(row["id"]))["system-id"]) if rows else None

    def look(self, server: Server) -> Command:
        """Return the command that prints the names at the top of the archive."""
        return self._command(server, "repo-ls", "--repo=1", _IMPATIENT)

    def list_backups(self, server: Server) -> Command:
        """Return the command that lists the backups."""
        return self._command(server, "info", "--output=json", _IMPATIENT)

    def _stanzas(self, output: str) -> list[dict[str, Any]]:
        """Return what `info` tells; raises ValueError with the tool's words where it tells of an error."""
        import json

        # 2.59 writes warnings to stdout before the JSON.
        answer = re.search(r"^\[(?=[{\]\s]|\Z)", output, re.MULTILINE)
        stanzas: list[dict[str, Any]] = json.loads(output[answer.start() :]) if answer else []
        for stanza in stanzas:
            code, message = stanza["status"]["code"], stanza["status"]["message"]
            if code not in (0, 1, 2):  # 1: no stanza yet, 2: no backup yet
                words = [repo["status"]["message"] for repo in stanza.get("repo", ())]
                raise ValueError(f"pgbackrest info: {message} (code {code})\n" + "\n".join(words))
        return stanzas

    def parse_backups(self, output: str) -> list[Backup]:
        """Return the backups, oldest first; raises ValueError with the tool's words."""
        stanzas = self._stanzas(output)
        identifiers = {row["id"]: str(row["system-id"]) for stanza in stanzas for row in stanza["db"]}
        backups = [
            Backup(
                name=row["label"],
                kind="full" if row["type"] == "full" else "incremental",
                started=_time(row["timestamp"]["start"]),
                finished=_time(row["timestamp"]["stop"]),
                size_bytes=int(row["info"]["size"]),
                start_lsn=row["lsn"]["start"],
                stop_lsn=row["lsn"]["stop"],
                permanent=row.get("annotation", {}).get("keep") == "yes",
                system_identifier=identifiers.get(row["database"]["id"]),
            )
            for stanza in stanzas
            for row in stanza["backup"]
        ]
        return sorted(backups, key=lambda backup: backup.finished)

    def push(self, server: Server) -> Command:
        """Return the command that takes a full base backup."""
        return self._command(server, "backup", "--type=full")

    def fetch(self, server: Server, backup: str, folder: str) -> Command:
        """Return the command that puts a backup into an empty folder.

        `--type=none` leaves no recovery settings of the tool in the cluster; they would outrank ours.
        """
        chosen = () if backup == "LATEST" else (f"--set={backup}",)
        return self._command(server, "restore", "--repo=1", "--type=none", f"--pg1-path={folder}", *chosen)


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
        "repo1-s3-key": values.get("AWS_ACCESS_KEY_ID", ""),
        "repo1-s3-key-secret": values.get("AWS_SECRET_ACCESS_KEY", ""),
    }
    if values.get("AWS_SESSION_TOKEN"):
        options["repo1-s3-token"] = values["AWS_SESSION_TOKEN"]
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
