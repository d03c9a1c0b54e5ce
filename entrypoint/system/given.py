"""The environment as it was given to us: Python changes it before our first line runs."""

import os

_COERCED = ("C.UTF-8", "C.utf8", "UTF-8")


def undo_coercion() -> None:
    """Give LC_CTYPE back what this program was started with.

    In the locale C, Python sets it to a UTF-8 one, for itself and for all that it starts (PEP 538), and
    isolated mode ignores PYTHONCOERCECLOCALE. initdb would make databases of another ctype and encoding.
    """
    if os.environ.get("LC_CTYPE") not in _COERCED:
        return
    try:
        with open("/proc/self/environ", "rb") as file:
            entries = file.read().split(b"\0")
    except OSError:
        return
    given = next((entry for entry in entries if entry.startswith(b"LC_CTYPE=")), None)
    if given is None:
        del os.environ["LC_CTYPE"]
    else:
        os.environ["LC_CTYPE"] = os.fsdecode(given.removeprefix(b"LC_CTYPE="))
