"""One line per event on stderr; no logging module, since PID 1 pays for every import."""

import os

from entrypoint.errors import Problem

_STDERR = 2


debugging = False
"""Whether `debug` says anything."""


def _write(level: str, message: str) -> None:
    lines = message.rstrip("\n").split("\n")
    text = f"entrypoint: {level}: {lines[0]}\n" + "".join(f"  {line}\n" for line in lines[1:])
    _put(text.encode("utf-8", "surrogateescape"))


def _put(data: bytes) -> None:
    try:
        while data:
            data = data[os.write(_STDERR, data) :]
    except OSError:
        pass  # nobody reads the log any more; that must never stop the database


def relay(role: str, line: bytes) -> None:
    """Pass a line of a helper on, with its role."""
    _put(role.encode() + b": " + line + b"\n")


def debug(message: str) -> None:
    """Say what only somebody who looks for a mistake wants to know."""
    if debugging:
        _write("debug", message)


def info(message: str) -> None:
    """Say what happens."""
    _write("info", message)


def warning(message: str, mend: str | None = None) -> None:
    """Say what will hurt later, and what to do about it."""
    _write("warning", message if mend is None else f"{message}\nmend: {mend}")


def problem(problem: Problem) -> None:
    """Say what is wrong and how it is mended."""
    _write("error", f"{problem.what}\nmend: {problem.mend}")
