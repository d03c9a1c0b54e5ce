"""The parser for postmaster.pid; pure.

It is also light, because `entrypoint ready` needs it every few seconds.
"""


class Postmaster:
    """The values in postmaster.pid; not a named tuple, which would take longer to import than to read."""

    def __init__(
        self,
        pid: int,
        data_folder: str,
        started: int,
        status: str,
        *,
        port: str = "",
        socket_folder: str = "",
    ) -> None:
        """Store the values.

        `started` is in seconds since 1970; `status` is `starting`, `stopping`, `ready`, `standby` or empty;
        `socket_folder` is the first socket folder, or empty if there is none.
        """
        self.pid = pid
        self.data_folder = data_folder
        self.started = started
        self.status = status
        self.port = port
        self.socket_folder = socket_folder


def parse_postmaster(text: str) -> Postmaster | None:
    r"""Parse postmaster.pid; None: it is still being written.

    >>> found = parse_postmaster("42\n/data\n1795364442\n5432\n/run\n*\n 1 2\nready   \n")
    >>> found.pid, found.data_folder, found.started, found.status, found.port, found.socket_folder
    (42, '/data', 1795364442, 'ready', '5432', '/run')
    """
    lines = text.split("\n")
    if len(lines) < 4:
        return None
    pid = lines[0].removeprefix("-")
    for word, most in ((pid, 9), (lines[2], 18), (lines[3], 9)):
        if not (word.isascii() and word.isdigit() and len(word) <= most):
            return None
    status = lines[7].strip() if len(lines) > 8 else ""
    folder = lines[4] if len(lines) > 5 else ""
    return Postmaster(int(pid), lines[1], int(lines[2]), status, port=lines[3], socket_folder=folder)


def pid_in(text: str) -> int:
    r"""Return the pid in a lock file, parsed with atoi as PostgreSQL does it; 0 if there is none.

    >>> [pid_in(text) for text in ("42\n/data\n", "-7\n", " 12 x", "", "\0\0", "x1", "9" * 20)]
    [42, 7, 12, 0, 0, 0, 0]
    """
    word = text.partition("\n")[0].lstrip(" \t\r\v\f")
    word = word[1:] if word[:1] in ("-", "+") else word
    digits = word[: len(word) - len(word.lstrip("0123456789"))]
    return int(digits) if 0 < len(digits) < 10 else 0


def split_folders(text: str) -> list[str]:
    """Return the folders in a value of unix_socket_directories, split as PostgreSQL does it.

    >>> split_folders('/run/postgresql , "/a, ""b""/",@abstract,,')
    ['/run/postgresql', '/a, "b"/', '@abstract']
    """
    folders = []
    word, quoted = "", False
    for place, letter in enumerate(text):
        if letter == '"':
            quoted = not quoted
            word += '"' if quoted and text[place - 1 : place] == '"' else ""
        elif letter == "," and not quoted:
            folders.append(word.strip())
            word = ""
        else:
            word += letter
    return [folder for folder in (*folders, word.strip()) if folder]
