"""The names of all variables that an archiver reads, available without loading an adapter; pure."""

from __future__ import annotations

from entrypoint.light import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "COMMAND_TIMEOUT",
    "COMMAND_WORDS",
    "FAMILIES",
    "GROUPS",
    "KINDS",
    "PGBACKREST",
    "PLACES",
    "SOURCE_PREFIX",
    "STORAGES",
    "WALG",
    "WALG_PREFIXES",
    "all_like",
    "is_known",
    "is_of_source",
    "is_of_storage",
    "is_own",
    "is_place",
    "option",
]

GROUPS = {"wal-g": "WALG_", "pgbackrest": "PGBACKREST_"}
"""The prefix of each tool's variables, by the tool's name; a tool may read other variables as well."""

WALG_PREFIXES = (
    "WALG_OSS_PREFIX",
    "WALG_S3_PREFIX",
    "WALG_FILE_PREFIX",
    "WALG_GS_PREFIX",
    "WALG_AZ_PREFIX",
    "WALG_SWIFT_PREFIX",
    "WALG_SSH_PREFIX",
)
"""wal-g uses the first one that is set, in this order, and silently ignores the others."""

WALG = frozenset(
    """
    WALG_ALIVE_CHECK_INTERVAL WALG_AZURE_BUFFER_SIZE WALG_AZURE_MAX_BUFFERS WALG_AZ_PREFIX
    WALG_BACKUP_DOWNLOAD_MAX_RETRY WALG_COMPRESSION_METHOD WALG_CONFIG_PATH WALG_CSE_KMS_ID
    WALG_CSE_KMS_REGION WALG_DAEMON_WAL_UPLOAD_TIMEOUT WALG_DELTA_FROM_NAME
    WALG_DELTA_FROM_USER_DATA WALG_DELTA_MAX_STEPS WALG_DELTA_ORIGIN WALG_DIRECT_IO
    WALG_DIRECT_IO_BLOCK_COUNT WALG_DISABLE_PARTIAL_RESTORE WALG_DISK_RATE_LIMIT
    WALG_DOWNLOAD_CONCURRENCY WALG_DOWNLOAD_FILE_RETRIES WALG_ENVELOPE_CACHE_EXPIRATION
    WALG_ENVELOPE_PGP_KEY WALG_ENVELOPE_PGP_KEY_PATH WALG_ENVELOPE_PGP_YC_CSE_KMS_KEY_ID
    WALG_ENVELOPE_PGP_YC_ENDPOINT WALG_ENVELOPE_PGP_YC_SERVICE_ACCOUNT_KEY_FILE
    WALG_FAILOVER_STORAGES WALG_FAILOVER_STORAGES_CACHE_EMA_ALIVE_LIMIT
    WALG_FAILOVER_STORAGES_CACHE_EMA_ALPHA_ALIVE_MAX
    WALG_FAILOVER_STORAGES_CACHE_EMA_ALPHA_ALIVE_MIN
    WALG_FAILOVER_STORAGES_CACHE_EMA_ALPHA_DEAD_MAX
    WALG_FAILOVER_STORAGES_CACHE_EMA_ALPHA_DEAD_MIN WALG_FAILOVER_STORAGES_CACHE_EMA_DEAD_LIMIT
    WALG_FAILOVER_STORAGES_CACHE_LIFETIME WALG_FAILOVER_STORAGES_CHECK
    WALG_FAILOVER_STORAGES_CHECK_SIZE WALG_FAILOVER_STORAGES_CHECK_TIMEOUT
    WALG_FETCH_TARGET_USER_DATA WALG_FILE_PREFIX WALG_FORCE_WAL_DELTA WALG_GPG_KEY_ID
    WALG_GS_PREFIX WALG_INTEGRITY_MAX_DELAYED_WALS WALG_LIBSODIUM_KEY WALG_LIBSODIUM_KEY_PATH
    WALG_LIBSODIUM_KEY_TRANSFORM WALG_LOG_DESTINATION WALG_LOG_LEVEL WALG_NETWORK_RATE_LIMIT
    WALG_OSS_PREFIX WALG_PGP_KEY WALG_PGP_KEY_PASSPHRASE WALG_PGP_KEY_PATH WALG_PG_BLOCK_SIZE
    WALG_PG_WAL_PAGE_SIZE WALG_PG_WAL_SIZE WALG_PREFETCH_DIR WALG_PREVENT_WAL_OVERWRITE
    WALG_S3_CA_CERT_FILE WALG_S3_ENDPOINT_PORT WALG_S3_ENDPOINT_PROTOCOL WALG_S3_ENDPOINT_SOURCE
    WALG_S3_LOG_LEVEL WALG_S3_MAX_PART_SIZE WALG_S3_MAX_RETRIES WALG_S3_PREFIX
    WALG_S3_RANGE_BATCH_ENABLED WALG_S3_RANGE_MAX_RETRIES WALG_S3_SSE WALG_S3_SSE_C
    WALG_S3_SSE_KMS_ID WALG_S3_STORAGE_CLASS WALG_S3_USE_LIST_OBJECTS_V1 WALG_SENTINEL_USER_DATA
    WALG_SERIALIZER_TYPE WALG_SKIP_REDUNDANT_TARS WALG_SLOTNAME WALG_SSH_PREFIX
    WALG_STATSD_ADDRESS WALG_STATSD_EXTRA_TAGS WALG_STOP_BACKUP_TIMEOUT WALG_STORAGE_PREFIX
    WALG_STORE_ALL_CORRUPT_BLOCKS WALG_SWIFT_PREFIX WALG_TARGET_STORAGE WALG_TAR_DISABLE_FSYNC
    WALG_TAR_SIZE_THRESHOLD WALG_UPLOAD_CONCURRENCY WALG_UPLOAD_DISK_CONCURRENCY
    WALG_UPLOAD_QUEUE WALG_UPLOAD_WAL_METADATA WALG_USE_COPY_COMPOSER WALG_USE_DATABASE_COMPOSER
    WALG_USE_RATING_COMPOSER WALG_USE_REVERSE_UNPACK WALG_USE_WAL_DELTA
    WALG_VERIFY_PAGE_CHECKSUMS WALG_WITHOUT_FILES_METADATA WALG_ZSTD_LEVEL
    AWS_ACCESS_KEY_ID AWS_CA_BUNDLE AWS_CONFIG_FILE AWS_DEFAULT_REGION AWS_DUAL_STACK AWS_ENDPOINT
    AWS_PROFILE AWS_REGION AWS_ROLE_ARN AWS_ROLE_SESSION_NAME AWS_S3_FORCE_PATH_STYLE
    AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN AWS_SHARED_CREDENTIALS_FILE
    AWS_WEB_IDENTITY_TOKEN_FILE
    AZURE_ENDPOINT_SUFFIX AZURE_ENVIRONMENT_NAME AZURE_STORAGE_ACCESS_KEY AZURE_STORAGE_ACCOUNT
    AZURE_STORAGE_SAS_TOKEN AZURE_TRY_TIMEOUT
    GCS_CONTEXT_TIMEOUT GCS_ENCRYPTION_KEY GCS_MAX_CHUNK_SIZE GCS_MAX_RETRIES GCS_NORMALIZE_PREFIX
    GOOGLE_APPLICATION_CREDENTIALS
    OSS_ACCESS_KEY_ID OSS_ACCESS_KEY_SECRET OSS_CONNECT_TIMEOUT OSS_COPY_PART_SIZE OSS_ENDPOINT
    OSS_MAX_RETRIES OSS_REGION OSS_ROLE_ARN OSS_ROLE_SESSION_NAME OSS_SESSION_TOKEN
    OSS_SKIP_VALIDATION OSS_UPLOAD_PART_SIZE
    OS_AUTH_URL OS_PASSWORD OS_REGION_NAME OS_TENANT_NAME OS_USERNAME
    S3_DELETE_BATCH_SIZE S3_DISABLE_100_CONTINUE S3_ENABLE_VERSIONING
    S3_MAX_THROTTLING_RETRY_DELAY S3_MIN_THROTTLING_RETRY_DELAY S3_REQUEST_ADDITIONAL_HEADERS
    S3_RETENTION_MODE S3_RETENTION_PERIOD S3_SKIP_VALIDATION S3_USE_YC_SESSION_TOKEN
    SSH_PASSWORD SSH_PORT SSH_PRIVATE_KEY_PATH SSH_USERNAME
    YC_CSE_KMS_KEY_ID YC_SERVICE_ACCOUNT_KEY_FILE
    TOTAL_BG_UPLOADED_LIMIT PG_READY_RENAME
    """.split()
)

PGBACKREST = GROUPS["pgbackrest"]
_STORAGE = (PGBACKREST + "REPO1_TYPE", PGBACKREST + "REPO1_PATH")
"""Each of them names a storage; if neither is set, pgBackRest's own variables name none."""
_TYPES = ("posix", "cifs", "s3", "gcs", "azure", "sftp")

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

PLACES = {"wal-g": WALG_PREFIXES, "pgbackrest": _STORAGE}
"""The variables that name a storage, by tool."""
KINDS = {PGBACKREST + "REPO1_TYPE": _TYPES}
"""The variables that set the kind of storage, with their allowed values."""

COMMAND_WORDS = ("wal-g", "wal-push", "wal-fetch", "pgbackrest", "archive-push", "archive-get")
"""The words that identify a command that stores or fetches a segment."""

STORAGES = frozenset(("ARCHIVE_URL", *(name for places in PLACES.values() for name in places)))
"""Variables that name an archive's place; with `SOURCE_PREFIX`, the place of the archive to restore from."""
SOURCE_PREFIX = "RESTORE_"
"""A variable of the archive with this prefix applies to the archive to restore from."""
COMMAND_TIMEOUT = 300
"""Default of ARCHIVE_COMMAND_TIMEOUT: seconds for one call for one segment."""

FAMILIES = (
    *(
        "WALG_",
        "WALE_",
        "PGBACKREST_",
        "PG",
        "AWS_",
        "AZURE_",
        "GCS_",
        "GOOGLE_",
        "OSS_",
        "OS_",
        "S3_",
        "SSH_",
    ),
    *("YC_", "GNUPG", "GO", "HTTP_", "PROFILE_", "TOTAL_BG_"),
)
"""Prefixes of the variables that the archivers and their libraries read."""


def is_known(name: str) -> bool:
    """Return whether an archiver has a variable of this name."""
    return name in WALG or option(name) is not None


def is_own(name: str, values: Mapping[str, str]) -> bool:
    """Return whether an archiver reads a variable with these settings, even if its name is unknown."""
    return name in WALG or name.startswith(PGBACKREST) or (name.startswith("AWS_") and takes_aws(values))


def is_of_source(name: str) -> bool:
    """Return whether a variable is an archive's variable for the archive to restore from."""
    rest = name.removeprefix(SOURCE_PREFIX)
    return rest != name and (rest in ("ARCHIVE_URL", "ARCHIVE_TOOL") or is_own(rest, {}))


def takes_aws(values: Mapping[str, str]) -> bool:
    """Return whether pgBackRest's settings are also taken from Amazon's variable names."""
    return values.get("ARCHIVE_URL", "").startswith("s3://")


def is_of_storage(name: str) -> bool:
    """Return whether an archiver's variable configures its storage."""
    return name.startswith(PGBACKREST + "REPO") or (name.startswith("WALG_") and name.endswith("_PREFIX"))


def is_place(name: str) -> bool:
    """Return whether a variable names a storage or its access data; it means nothing for another storage."""
    return re.fullmatch(r"WALG_[A-Z0-9]+_PREFIX|PGBACKREST_REPO\d*_(?!CIPHER).*", name) is not None


def all_like(name: str) -> list[str]:
    """Return every archiver variable that a misspelled name may mean."""
    return [*WALG, *_options_like(name)]


def option(variable: str) -> tuple[str, str] | None:
    """Return an option's plain and its indexed name.

    >>> option("PGBACKREST_REPO1_S3_KEY")
    ('repo-s3-key', 'repo1-s3-key')
    >>> option("PGBACKREST_NOSUCH") is None
    True
    """
    if not variable.startswith(PGBACKREST):
        return None
    indexed = variable.removeprefix(PGBACKREST).lower().replace("_", "-")
    plain = re.sub(r"^(repo|pg)([1-9]\d*)-", r"\1-", indexed)
    needs_index = plain.startswith(("repo-", "pg-"))
    if plain not in _OPTIONS or (needs_index and plain == indexed):
        return None
    return plain, indexed


def _options_like(variable: str) -> list[str]:
    """Return every option's variable, with the index of the misspelled name."""
    if not variable.startswith(PGBACKREST):
        return []
    found = re.search(r"_(?:REPO|PG)([1-9]\d*)", variable)
    index = found[1] if found else "1"
    names = [re.sub(r"^(repo|pg)-", rf"\g<1>{index}-", each) for each in _OPTIONS if each != "repo"]
    return [PGBACKREST + name.upper().replace("-", "_") for name in names]
