"""Hides the secrets in settings before people see them: the only place that does so; pure.

A setting's value is the user's text, and a secret may be anywhere in it. If a value cannot be parsed, all of
it is hidden. Shown are the harmless parts of a connection string, the program of a command, and values in
which nothing hints at a secret.
"""

from __future__ import annotations

from entrypoint.archivers import tool_variables
from entrypoint.light import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

HIDDEN = "***"

# Each is compiled only where it is used: a plain start needs none of them.
_SPEAKS = (
    r"(?i)passw|passphrase|\bpwd\b|_pwd|secret|token|credential|jwt|bearer|api_?key"
    r"|(?:^|[._-])(?:key|pass)s?(?:$|[._-])"
)
"""If a setting's name matches, its value is a secret."""
_BESIDE = r"(?i)_(?:file|path|dir|length|timeout|size|iterations|supports_reload)$"
"""If such a name ends with one of these, its value is not the secret itself."""
_ENCRYPTION = r"(?i)md5|scram-sha-256|on|off|true|false|yes|no|0|1"
_IN_TEXT = (
    r"(?i)(?:passw|passphrase|pwd|secret|token|credential|jwt|sig(?:nature)?\b"
    r"|(?:api|access|account|private|\b)[_-]?key\b)"
    r"""[\w-]*["']?\s*(?:=|:|%3d)|\bbearer\s|\bbasic\s|-----BEGIN|AKIA[0-9A-Z]{8}|\beyJ[\w-]{8}"""
)
"""If a value matches, there is a secret somewhere in it."""
_CONNECTION = r"(?i)conninfo|connstr|connection_string|(?:^|[._])(?:dsn|conn|ur[il])s?$"
_FORMATS = ("log_line_prefix", "log_filename")
"""Settings whose values look like pairs of a connection string, but are not."""
_COMMAND = r"(?i)_(?:command|script|program|cmd)$"
_URL = r"(?P<scheme>[A-Za-z][\w+.-]*://)(?:[^/?#@\s]*@)?(?P<host>[\w.:\[\]-]*)(?P<rest>[/?#]\S*)?"
_PLAIN_VALUE = r"'?[\w./:,+*%\[\]~-]*'?"

_HARMLESS = frozenset(
    """
    %p %f %r %% && || | ; ! ( ) > >> < 2>&1 [ ] [[ ]] test cp mv cat gzip gunzip zcat true false exit exec
    if then else fi -f -e -n -p -i -c -d 0 1 2
    pg_archivecleanup
    """.split()
).union(tool_variables.COMMAND_WORDS)
"""Words of commands that contain no secret."""
_PATH = r"/[\w./%+-]*"
_OURS = r"(?:trap 'exit 126' EXIT; )?set -- [^;]*; \. \S*/shims/(?:archive|fetch)-segment(?: # [\w-]+)?"


def hide_secrets(text: str, name: str = "") -> str:
    """Return a value with its secrets hidden; `name` is the setting's name, empty for any other text.

    >>> hide_secrets("host=a password=b user=c")
    'host=a password=*** user=c'
    >>> hide_secrets("password='b c")
    '***'
    >>> hide_secrets("/bin/push --key b %p", "archive_command")
    '/bin/push ***'
    >>> hide_secrets("b", "app.jwt_secret"), hide_secrets("64MB", "work_mem")
    ('***', '64MB')
    """
    if not text:
        return text
    if name == "password_encryption":
        return text if re.fullmatch(_ENCRYPTION, text) else HIDDEN
    if re.search(_COMMAND, name):
        return _command(text)
    if re.search(_CONNECTION, name):
        return _connection(text)
    if re.search(_SPEAKS, name) and not re.search(_BESIDE, name):
        return HIDDEN
    if _looks_like_a_connection(text) and name not in _FORMATS:
        return _connection(text)
    if "://" in text:
        return _address(text)
    return HIDDEN if re.search(_IN_TEXT, text) else text


def hide_words(words: str, values: Iterable[tuple[str, str]] = ()) -> str:
    """Return the server's messages about its settings without the secrets that they repeat.

    `values` are the settings' names and values. The part of a file that the server could not parse is always
    hidden.

    >>> hide_words('syntax error in file "/a" line 3, near token "b"')
    'syntax error in file "/a" line 3, near token "***"'
    """
    for name, value in sorted(values, key=lambda pair: -len(pair[1])):
        if value and hide_secrets(value, name) != value:
            words = words.replace(value, HIDDEN)
    return re.sub(r'(near token ")(?:[^"\n]|"(?!\n|$))*', rf"\1{HIDDEN}", words)


def hide_within(text: str, known: Iterable[str] = ()) -> str:
    """Return sentences for people with only the secrets in them hidden; `known` are secrets to look for.

    >>> hide_within("cannot reach https://a:b@c/d?e=f: password=g is wrong")
    'cannot reach https://***@c/d?***: password=*** is wrong'
    >>> hide_within("Authorization: Bearer abcdefghij", ["Authorization"])
    '***: Bearer ***'
    """
    text = hide_known(text, known)
    text = re.sub(r"-----BEGIN[\s\S]*?(?:-----END[^\n]*|$)", HIDDEN, text)
    text = re.sub(
        r"(?<![\w+.-])[A-Za-z][\w+.-]*://[^\s'\"<>]+", lambda found: _within_address(found[0]), text
    )
    text = re.sub(_PAIR, rf"\1{HIDDEN}", text)
    text = re.sub(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{8,}", rf"\1 {HIDDEN}", text)
    return re.sub(r"AKIA[0-9A-Z]{8,}|\beyJ[\w.-]{8,}", HIDDEN, text)


def hide_known(text: str, known: Iterable[str]) -> str:
    """Return a text in which these secrets are hidden."""
    for value in sorted(known, key=len, reverse=True):
        if len(value) >= _SHORTEST_SECRET:
            text = text.replace(value, HIDDEN)
    return text


_SHORTEST_SECRET = 4
"""A shorter value cannot be looked for: it is part of ordinary words."""
_ANY_URL = r"(?<![\w+.-])[A-Za-z][\w+.-]*://[^\s'\"<>]+"
_PAIR = (
    r"""(?i)(?<![\w.-])((?:[\w.-]*(?:passw|passphrase|pwd|secret|token|credential)[\w.-]*["']?\s*(?:=|:|%3d)"""
    r"""|(?:[\w.-]*[_.-])?(?:key|pass)["']?\s*=)\s*)"""
    r"""(?:"[^"]*"|'[^']*'|[^\s,;&:]+)"""
)
"""A name that hints at a secret, and the value after it."""


def _within_address(text: str) -> str:
    """Return a URL without its user, password, query and fragment."""
    shown = re.sub(r"(://)[^/?#]*@", rf"\1{HIDDEN}@", text, count=1)
    shown = re.sub(r"([?#])[^:,;)]+", rf"\1{HIDDEN}", shown, count=1)
    scheme, _, rest = shown.partition("://")
    # A password may contain a slash: then the last @ is beyond it.
    return f"{scheme}://{HIDDEN}" if "@" in rest.removeprefix(f"{HIDDEN}@") else shown


def hide_arguments(words: Iterable[str]) -> str:
    """Return the arguments of a server as one text, without secrets.

    >>> hide_arguments(["--single", "-c", "primary_conninfo=host=a password=b", "--app.key=c"])
    "--single -c 'primary_conninfo=host=a password=***' '--app.key=***'"
    """
    import shlex

    pairs = (word.partition("=") for word in words)
    return shlex.join(
        f"{name}{equals}{hide_secrets(value, name.lstrip('-').replace('-', '_'))}"
        for name, equals, value in pairs
    )


def _looks_like_a_connection(text: str) -> bool:
    """Return whether a text may be a connection string, even a malformed one."""
    from entrypoint.postgres import conninfo

    pairs = rf"(?:^|[\s'\"])(?:{'|'.join(sorted(conninfo.KNOWN))})\s*="
    return bool(re.search(conninfo.URI, text) or ("=" in text and re.search(pairs, text)))


def _connection(text: str) -> str:
    """Return a connection string in which only the harmless parts are shown."""
    from entrypoint.postgres import conninfo

    if "://" in text and not re.match(conninfo.URI, text):
        return _address(text)
    try:
        parts = conninfo.parse(text)
    except ValueError:
        return HIDDEN
    for part in sorted(parts, key=lambda part: -part.begin):
        raw = text[part.begin : part.end]
        if raw and not (part.name in conninfo.PLAIN and re.fullmatch(_PLAIN_VALUE, raw)):
            text = text[: part.begin] + HIDDEN + text[part.end :]
    return text


def _address(text: str) -> str:
    """Return only the scheme and host of a URL: its user, path and query may each contain a secret."""
    found = re.fullmatch(_URL, text)
    if found is None:
        return HIDDEN
    if found["scheme"] == "file://" and not found["host"]:
        return text
    rest = f"/{HIDDEN}" if (found["rest"] or "/") != "/" else found["rest"] or ""
    return f"{found['scheme']}{found['host']}{rest}"


def _command(text: str) -> str:
    """Return a command of known words as it is, and only the program of any other command."""
    if re.fullmatch(_OURS, text):
        return text
    import shlex

    try:
        lexer = shlex.shlex(text, posix=True, punctuation_chars=True)
        lexer.whitespace_split, lexer.commenters = True, ""
        words = list(lexer)
    except ValueError:
        return HIDDEN
    first = words[0] if words else ""
    begins = first in _HARMLESS or re.fullmatch(_PATH, first) or re.fullmatch(r"[a-z][\w.-]*", first)
    if begins and all(word in _HARMLESS or re.fullmatch(_PATH, word) for word in words[1:]):
        return text
    return f"{first} {HIDDEN}" if begins and "%" not in first else HIDDEN
