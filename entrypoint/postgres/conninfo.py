"""Connection strings, parsed as libpq does it (fe-connect.c), and checked without quoting them; pure.

libpq itself cannot do this: when a program gives it a malformed string, libpq's error message contains the
part that it did not expect, which may be the password.
"""

from __future__ import annotations

from urllib.parse import unquote

from entrypoint.light import NamedTuple, re

PLAIN = frozenset(
    """
    application_name channel_binding client_encoding connect_timeout dbname fallback_application_name
    gssdelegation gssencmode gsslib host hostaddr keepalives keepalives_count keepalives_idle
    keepalives_interval krbsrvname load_balance_hosts max_protocol_version min_protocol_version passfile port
    replication require_auth requirepeer service servicefile ssl_max_protocol_version
    ssl_min_protocol_version sslcert sslcertmode sslcompression sslcrl sslcrldir sslkey sslmode
    sslnegotiation sslrootcert sslsni target_session_attrs tcp_user_timeout user
    """.split()
)
"""Parameters whose values are not secret."""
KNOWN = PLAIN | frozenset(
    """
    authtype oauth_ca_file oauth_client_id oauth_client_secret oauth_issuer oauth_scope options password
    requiressl scram_client_key scram_server_key sslkeylogfile sslpassword tty
    """.split()
)
"""All parameters of libpq 14 to 18."""
URI = "postgres(?:ql)?://"

_PAIR = re.compile(
    r"""(?xsa)\s* (?P<name> [^\s=]+ ) \s* = \s*
    (?P<value> '(?: [^'\\] | \\. )*' | (?: [^\s\\'] | \\. | \\\Z ) (?: [^\s\\] | \\. | \\\Z )* | (?!') )"""
)
_PARTS = re.compile(
    r"""(?xs)(?P<scheme> postgres(?:ql)?:// )
    (?: (?P<user> [^:@/?]* ) (?: : (?P<password> [^@/?]* ) )? @ )?
    (?P<hosts> [^/?@]* ) (?: / (?P<dbname> [^?/@]* ) )? (?: \? (?P<query> .* ) )?"""
)
_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.%\w]+\]|[^\s:\[\]]*)(?::(?P<port>[0-9]*))?")
_INTEGERS = frozenset(
    "connect_timeout keepalives keepalives_count keepalives_idle keepalives_interval tcp_user_timeout".split()
)
_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")


class Part(NamedTuple):
    """One parameter of a connection string."""

    name: str
    value: str
    """The value as libpq uses it: without quotes and escapes."""
    begin: int
    """The offset of the value in the text, with its quotes and escapes."""
    end: int


def parse(text: str) -> list[Part]:
    r"""Return the parameters; raises ValueError with a message that quotes nothing from the text.

    >>> [(part.name, part.value) for part in parse(r"host=a password='b \' c'")]
    [('host', 'a'), ('password', "b ' c")]
    >>> [(part.name, part.value) for part in parse("postgres://me:p%40ss@db1:5433/app?sslmode=prefer")][:4]
    [('user', 'me'), ('password', 'p@ss'), ('host', 'db1'), ('port', '5433')]
    """
    parts = _of_uri(text) if re.match(URI, text) else _of_pairs(text)
    for part in parts:
        _judge(part.name, part.value)
    return parts


def _of_pairs(text: str) -> list[Part]:
    found = []
    position = 0
    while text[position:].strip(" \t\n\r\f\v"):
        pair = _PAIR.match(text, position)
        if pair is None:
            raise ValueError("a part of it is not name=value, or it lacks a closing quote")
        value = pair["value"]
        bare = value[1:-1] if value[:1] == "'" else value
        plain = re.sub(r"(?s)\\(.?)", r"\1", bare)
        found.append(Part(pair["name"], plain, pair.start("value"), pair.end("value")))
        position = pair.end()
    return found


def _of_uri(text: str) -> list[Part]:
    parts = _PARTS.fullmatch(text)
    if parts is None:
        raise ValueError("it is not a valid URI; write %40 for @ and %2F for / in a user, password or name")
    found = [
        Part(name, _decode(parts[name]), parts.start(name), parts.end(name))
        for name in ("user", "password", "dbname")
        if parts[name]
    ]
    begin = parts.start("hosts")
    for host in parts["hosts"].split(","):
        one = _HOST.fullmatch(host)
        if one is None:
            raise ValueError("a host is not NAME, NAME:PORT or [ADDRESS]:PORT; write %3A for : in a host")
        name_end = one.start("port") - 1 if one["port"] is not None else len(host)
        found.append(Part("host", _decode(host[:name_end]), begin, begin + name_end))
        if one["port"]:
            found.append(Part("port", one["port"], begin + one.start("port"), begin + len(host)))
        begin += len(host) + 1
    begin = parts.start("query")
    for pair in (parts["query"] or "").split("&") if parts["query"] else ():
        name, equals, value = pair.partition("=")
        if not equals or "=" in value:
            raise ValueError("a part after the ? is not name=value")
        plain = "sslmode" if (name, value) == ("ssl", "true") else _decode(name)
        shown = "require" if plain != name == "ssl" else _decode(value)
        found.append(Part(plain, shown, begin + len(name) + 1, begin + len(pair)))
        begin += len(pair) + 1
    order = ("user", "password", "host", "port", "dbname")
    return sorted(found, key=lambda part: order.index(part.name) if part.name in order else len(order))


def _decode(text: str) -> str:
    if re.search(r"%(?![0-9A-Fa-f]{2})|%00", text):
        raise ValueError("a % is not followed by two hexadecimal digits; write %25 for a percent sign")
    return unquote(text)


def _judge(name: str, value: str) -> None:
    """Refuse values that libpq refuses later: the server would keep logging that, with the value."""
    if name not in KNOWN:
        raise ValueError(
            "it has a parameter that libpq does not know; a value with blanks needs quotes: 'a b'"
        )
    if name == "port" and not re.fullmatch(r"[0-9]{0,5}(,[0-9]{0,5})*", value):
        raise ValueError("its port is not a number; write %3A, %40 and %2F for : @ / in a URI's password")
    if name == "host" and re.search(r"[\s@]", value.removeprefix("@")):
        raise ValueError("its host is not a host name; write %40 for @ in a URI's password")
    if name in _INTEGERS and not re.fullmatch(r"-?[0-9]{1,10}|", value.strip()):
        raise ValueError(f"its {name} is not a number")
    if name == "sslmode" and value not in _SSL_MODES:
        raise ValueError(f"its sslmode is not one of {', '.join(_SSL_MODES)}")
