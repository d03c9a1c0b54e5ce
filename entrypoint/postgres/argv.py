"""Parsers for the command lines of postgres and initdb; pure."""

from __future__ import annotations

from entrypoint.light import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_SHORT_WITH_VALUE = "BCDNSWcdfhkprtv"
"""Short options of postgres that take a value (postgres/postgres:src/backend/postmaster/postmaster.c)."""
_SHORT_FOR = {
    "B": "shared_buffers",
    "h": "listen_addresses",
    "k": "unix_socket_directories",
    "N": "max_connections",
    "p": "port",
    "S": "work_mem",
}
NOT_A_SERVER = ("--single", "--boot", "--check", "--describe-config")
"""First arguments with which postgres is not a server."""
HELP = ("-?", "--help", "--describe-config", "-V", "--version")
"""Arguments that make the official image skip all preparation, wherever they are."""


class ServerArguments(NamedTuple):
    """The parsed arguments of `postgres`."""

    given: tuple[str, ...]
    """All arguments, unchanged."""
    settings: dict[str, str]
    """Settings by name; the last value wins, as in postgres."""
    without_config_file: tuple[str, ...]
    """The arguments, except for those that name the configuration file."""
    prints_a_setting: bool
    """-C is given: postgres prints one setting and ends."""
    data_folder: str | None
    """-D, if given."""

    @property
    def is_server(self) -> bool:
        """Whether postgres becomes a server; otherwise it prints something, or runs in single-user mode."""
        return not self.prints_a_setting and not (self.given and self.given[0] in NOT_A_SERVER)


def parse_server(arguments: Sequence[str]) -> ServerArguments:
    """Parse the arguments of postgres; arguments that are not understood are left to postgres.

    >>> parse_server(["-c", "Shared-Buffers=1GB", "-p5433"]).settings
    {'shared_buffers': '1GB', 'port': '5433'}
    """
    settings: dict[str, str] = {}
    kept: list[str] = []
    prints = False
    data_folder = None
    rest = list(arguments)
    while rest:
        words = [rest.pop(0)]
        word = words[0]
        name = value = ""
        if word.startswith("--") and "=" in word:
            name, _, value = word[2:].partition("=")
        elif len(word) >= 2 and word[0] == "-" and word[1] in _SHORT_WITH_VALUE:
            option, value = word[1], word[2:]
            if not value and rest:
                words.append(rest.pop(0))
                value = words[1]
            prints = prints or option == "C"
            if option == "D":
                data_folder = value
            if option == "c":
                name, _, value = value.partition("=")
            else:
                name = _SHORT_FOR.get(option, "")
        name = name.replace("-", "_").lower()
        if name:
            settings[name] = value
        if name != "config_file":
            kept += words
    return ServerArguments(tuple(arguments), settings, tuple(kept), prints, data_folder)


def first_line(password: str) -> str:
    r"""Return the part of POSTGRES_PASSWORD that initdb uses: it reads one line.

    >>> [first_line(text) for text in ("a b", "a\nb", "a\r\nb", "\na")]
    ['a b', 'a', 'a', '']
    """
    return password.partition("\n")[0].rstrip("\r")
