"""SQL for our own sessions, and PostgreSQL's files: quoted names and texts, session settings; pure.

Only we control these sessions: settings in the startup packet override `ALTER ROLE … SET`,
`ALTER DATABASE … SET` and the server's files.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_EVERYBODYS = {
    # An unqualified name finds nothing in a schema that others can write to; temporary tables come last.
    "search_path": "pg_catalog,pg_temp",
    "role": "none",
    "client_min_messages": "error",
    "row_security": "off",
    "local_preload_libraries": "",
    "default_transaction_isolation": "read committed",
    "default_transaction_deferrable": "off",
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
    # The server stops working for a client that was killed.
    "client_connection_check_interval": "5s",
    # A commit is complete once it is on this disk; do not wait for a standby, which may be gone.
    "synchronous_commit": "local",
    "exit_on_error": "off",
    "standard_conforming_strings": "on",
    "backslash_quote": "safe_encoding",
    "transform_null_equals": "off",
    "quote_all_identifiers": "off",
    "bytea_output": "hex",
    "datestyle": "ISO",
    "intervalstyle": "postgres",
    "timezone": "UTC",
    "extra_float_digits": "1",
    # Compiling one of our long queries would take longer than running it.
    "jit": "off",
    "plpgsql.extra_errors": "none",
    "plpgsql.extra_warnings": "none",
}
"""Settings that anybody may change, so that the owner of a database may have changed them."""
_EVERYBODYS_SINCE = {17: {"transaction_timeout": "0"}}
_SUPERUSERS = {"lc_messages": "C"}
_SUPERUSERS_SINCE = {17: {"event_triggers": "off"}}
"""Settings that only a superuser may change; the server refuses the connection of any other role."""

UNLOGGED = {
    "log_statement": "none",
    "log_min_duration_statement": "-1",
    "log_min_duration_sample": "-1",
    "log_transaction_sample_rate": "0",
    "log_min_error_statement": "panic",
    "debug_print_parse": "off",
    "debug_print_rewritten": "off",
    "debug_print_plan": "off",
    "track_activities": "off",
    "pg_stat_statements.track": "none",
}
"""Settings that keep a stored password out of everything but pg_authid."""


def settings(major: int, *, superuser: bool, writes: bool) -> dict[str, str]:
    """Return the settings of a session with a server of this major version."""
    found = {**_EVERYBODYS, "default_transaction_read_only": "off" if writes else "on"}
    for since, more in _EVERYBODYS_SINCE.items():
        found |= more if major >= since else {}
    if superuser:
        found |= _SUPERUSERS
        for since, more in _SUPERUSERS_SINCE.items():
            found |= more if major >= since else {}
    return found


_TIMEOUTS = (
    *("statement_timeout", "lock_timeout"),
    *("idle_in_transaction_session_timeout", "idle_session_timeout"),
)


def of_upgrade(before: int) -> dict[str, str]:
    """Return the settings of pg_upgrade's sessions with the servers of this major version and a newer one.

    A library of a role may be missing in the newer version, and a trigger may let nobody in.

    >>> [name for name in of_upgrade(17) if name not in of_upgrade(15)]
    ['transaction_timeout', 'event_triggers']
    """
    found = dict.fromkeys(_TIMEOUTS, "0") | {"role": "none"}
    found |= {"local_preload_libraries": "", "session_preload_libraries": ""}
    for since in (_EVERYBODYS_SINCE, _SUPERUSERS_SINCE):
        for major, more in since.items():
            found |= more if before >= major else {}
    return found


def is_refused_setting(words: str) -> bool:
    """Return whether a connection failed because its role is no superuser; works in any language."""
    names = [*_SUPERUSERS, *(name for more in _SUPERUSERS_SINCE.values() for name in more)]
    return any(name in words for name in names)


def options(values: Mapping[str, str]) -> str:
    r"""Return settings in the form of PGOPTIONS.

    >>> print(options({"datestyle": "ISO, DMY", "x.y": "a\\b"}))
    -c datestyle=ISO,\ DMY -c x.y=a\\b
    """
    escapes = {" ": "\\ ", "\\": "\\\\", "\t": "\\\t", "\n": "\\\n"}
    return " ".join(
        f"-c {name}={''.join(escapes.get(letter, letter) for letter in value)}"
        for name, value in values.items()
    )


def connection(**values: str) -> str:
    r"""Return a connection string whose values are quoted; empty ones are omitted.

    >>> print(connection(dbname="host=evil dbname='x'", port=""))
    dbname='host=evil dbname=\'x\''
    """
    escaped = {name: value.replace("\\", "\\\\").replace("'", "\\'") for name, value in values.items()}
    return " ".join(f"{name}='{value}'" for name, value in escaped.items() if value)


def identifier(name: str) -> str:
    """Return a name, quoted for SQL.

    >>> identifier('a"b')
    '"a""b"'
    """
    return '"' + name.replace('"', '""') + '"'


def conf_value(text: str) -> str:
    """Return a value, quoted for postgresql.conf.

    >>> conf_value("it's")
    "'it''s'"
    """
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


def literal(text: str) -> str:
    r"""Return a text, quoted for SQL with standard_conforming_strings, which our sessions have.

    >>> print(literal("it's a \\"))
    'it''s a \'
    """
    return "'" + text.replace("'", "''") + "'"


def lines(answer: str) -> list[str]:
    r"""Return the rows of an answer: only a line feed ends a row, whatever other characters a name contains.

    >>> lines("a\u2028b\r\nc\n")
    ['a\u2028b\r', 'c']
    """
    rows = answer.split("\n")
    return rows[:-1] if rows[-1] == "" else rows


def password_line(user: str, password: str, host: str = "localhost") -> str:
    r"""Return the line for the server's socket in a password file.

    >>> print(password_line("a:b", "c\\d"))
    localhost:*:*:a\:b:c\\d
    """
    fields = (each.replace("\\", "\\\\").replace(":", "\\:") for each in (user, password))
    return f"{host.replace(':', chr(92) + ':')}:*:*:{':'.join(fields)}"


def knows_password(text: str, user: str) -> bool:
    r"""Return whether a user's password file has a line for the server's socket and this role.

    >>> [knows_password(line, "me") for line in ("db1:*:*:me:x", "localhost:*:*:me:x", "*:*:*:*:x", "#")]
    [False, True, True, False]
    """
    wanted = user.replace("\\", "\\\\").replace(":", "\\:")
    for line in text.split("\n"):
        host, _, rest = line.partition(":")
        fields = rest.split(":", 2)
        if host in ("localhost", "*") and len(fields) == 3 and fields[2].startswith((f"{wanted}:", "*:")):
            return True
    return False


_PASSWORD_METHODS = ("scram-sha-256", "md5", "password", "ldap", "pam", "radius", "bsd")


def asks_for_password(hba: str) -> bool:
    """Return whether pg_hba.conf may require a password on the server's socket; an included file may.

    >>> [asks_for_password(f"{line} all all md5") for line in ("#local", "local", "host")]
    [False, True, False]
    """
    for line in hba.split("\n"):
        words = line.partition("#")[0].replace('"', " ").split()
        if not words:
            continue
        if words[0].startswith("include") or words[0].startswith("@"):
            return True
        if words[0] == "local" and any(word in _PASSWORD_METHODS for word in words[3:]):
            return True
    return False


_FOR_GOOD = (
    "does not exist",
    "authentication failed",
    "no password supplied",
    "pg_hba.conf",
    "not currently accepting connections",
    "cannot connect to invalid database",
    "permission denied",
    "not permitted to log in",
)
"""Messages of a server that will not let us in later either; in another language we just wait."""
TO_NO_DATABASE = _FOR_GOOD[1:3]
"""Those that apply to every database."""


def is_for_good(words: str) -> bool:
    """Return whether a server with this message will not let us in later either."""
    return any(each in words for each in _FOR_GOOD)


def words_of(text: str) -> str:
    """Return the error messages, without the notices that the server prints for every connection."""
    rows = text.strip().split("\n")
    starts = [
        number
        for number, row in enumerate(rows)
        if any(mark in row for mark in ("psql:", "ERROR:", "FATAL:"))
    ]
    return "\n".join(rows[starts[0] if starts else 0 :])
