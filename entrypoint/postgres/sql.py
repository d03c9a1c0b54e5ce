"""What a session of our own is told: names and texts quoted, its settings, passwords; pure.

A session is ruled by nobody but us: what the startup packet sets is stronger than `ALTER ROLE … SET`,
`ALTER DATABASE … SET` and the server's files.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_EVERYBODYS = {
    # Nothing of a schema that others can write is found by a plain name; temporary tables come last.
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
    # A server whose client was killed ends its work.
    "client_connection_check_interval": "5s",
    # What we have done is on this disk; no standby is waited for, which may be gone.
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
    # To compile one of our long queries would take longer than to answer it.
    "jit": "off",
    "plpgsql.extra_errors": "none",
    "plpgsql.extra_warnings": "none",
}
"""What anybody may set, and so the owner of a database may have set otherwise."""
_EVERYBODYS_SINCE = {17: {"transaction_timeout": "0"}}
_SUPERUSERS = {"lc_messages": "C"}
_SUPERUSERS_SINCE = {17: {"event_triggers": "off"}}
"""What only a superuser may set; the server refuses others who ask for it."""

UNTOLD = {
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
"""So that even what is stored of a password is kept nowhere but in pg_authid."""


def settings(major: int, *, superuser: bool, writes: bool) -> dict[str, str]:
    """Return the settings of a session with a server of this major."""
    found = {**_EVERYBODYS, "default_transaction_read_only": "off" if writes else "on"}
    for since, more in _EVERYBODYS_SINCE.items():
        found |= more if major >= since else {}
    if superuser:
        found |= _SUPERUSERS
        for since, more in _SUPERUSERS_SINCE.items():
            found |= more if major >= since else {}
    return found


def is_refused_setting(words: str) -> bool:
    """Tell, in whatever language, whether a connection failed since its role is no superuser."""
    names = [*_SUPERUSERS, *(name for more in _SUPERUSERS_SINCE.values() for name in more)]
    return any(name in words for name in names)


def options(values: Mapping[str, str]) -> str:
    r"""Return settings as PGOPTIONS wants them.

    >>> print(options({"datestyle": "ISO, DMY", "x.y": "a\\b"}))
    -c datestyle=ISO,\ DMY -c x.y=a\\b
    """
    escapes = {" ": "\\ ", "\\": "\\\\", "\t": "\\\t", "\n": "\\\n"}
    return " ".join(
        f"-c {name}={''.join(escapes.get(letter, letter) for letter in value)}"
        for name, value in values.items()
    )


def connection(**values: str) -> str:
    r"""Return a connection string in which no value is taken for more than it is; empty ones are left out.

    >>> print(connection(dbname="host=evil dbname='x'", port=""))
    dbname='host=evil dbname=\'x\''
    """
    escaped = {name: value.replace("\\", "\\\\").replace("'", "\\'") for name, value in values.items()}
    return " ".join(f"{name}='{value}'" for name, value in escaped.items() if value)


def identifier(name: str) -> str:
    """Return a name as SQL wants it.

    >>> identifier('a"b')
    '"a""b"'
    """
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    r"""Return a text as SQL wants it, where strings conform to the standard, as in our sessions.

    >>> print(literal("it's a \\"))
    'it''s a \'
    """
    return "'" + text.replace("'", "''") + "'"


def lines(answer: str) -> list[str]:
    r"""Return the rows of an answer: only a line feed ends one, whatever else a name holds.

    >>> lines("a\u2028b\r\nc\n")
    ['a\u2028b\r', 'c']
    """
    rows = answer.split("\n")
    return rows[:-1] if rows[-1] == "" else rows


def password_line(user: str, password: str, host: str = "localhost") -> str:
    r"""Return the line of a password file for the server's socket.

    >>> print(password_line("a:b", "c\\d"))
    localhost:*:*:a\:b:c\\d
    """
    fields = (each.replace("\\", "\\\\").replace(":", "\\:") for each in (user, password))
    return f"{host.replace(':', chr(92) + ':')}:*:*:{':'.join(fields)}"


def knows_password(text: str, user: str) -> bool:
    r"""Tell whether a password file of somebody else has a line for the server's socket and this role.

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
    """Tell whether pg_hba.conf may ask for a password on the server's socket; an included file may.

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
"""What the server says to whom it will not let in later either; in another language we just wait."""
TO_NO_DATABASE = _FOR_GOOD[1:3]
"""And what it says whatever the database."""


def is_for_good(words: str) -> bool:
    """Tell whether a server that says so will not let us in later either."""
    return any(each in words for each in _FOR_GOOD)


def words_of(text: str) -> str:
    """Return what was complained of, without what the server says to everybody who connects."""
    rows = text.strip().split("\n")
    starts = [
        number
        for number, row in enumerate(rows)
        if any(mark in row for mark in ("psql:", "ERROR:", "FATAL:"))
    ]
    return "\n".join(rows[starts[0] if starts else 0 :])
