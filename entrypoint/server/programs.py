"""The image's server as a program: where its files are, its version, and its answers about settings."""

from __future__ import annotations

import os

from entrypoint.errors import Failure, Problem
from entrypoint.light import re
from entrypoint.server.context import Context, server_environment
from entrypoint.system import files
from entrypoint.system.children import find_program

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

SAMPLE = "postgresql.conf.sample"
"""The file from which initdb makes postgresql.conf; the folder of extensions is next to it."""

HOME = "/usr/lib/postgresql"
"""The folder with the programs of each major version, in Debian's packages and in our Nix images."""


def of_major(major: str) -> str:
    """Return the folder of a major version's programs; empty if the image does not have them."""
    folder = f"{HOME}/{major}/bin"
    return folder if major.isdigit() and os.access(f"{folder}/postgres", os.X_OK) else ""


def majors() -> list[int]:
    """Return the major versions whose programs are in the image, the newest last."""
    try:
        names = os.listdir(HOME)
    except OSError:
        return []
    return sorted(int(name) for name in names if of_major(name))


def binary_major(context: Context) -> int:
    """Return the major version of the image's server; 0 if the server does not report it."""
    _, text = context.children.output(["postgres", "--version"], context.environment)
    found = re.search(r"(\d+)", text)
    return int(found[1]) if found else 0


def folder_with(name: str, context: Context) -> str:
    """Return the folder of the image's server that contains a file, such as its sample; empty if none does.

    The folder is derived from the place of `postgres`, since neither nixpkgs' program pg_config nor its view
    reports it.
    """
    try:
        program = find_program("postgres", context.environment)
    except Failure:
        return ""
    for path in (program, os.path.realpath(program)):
        prefix = os.path.dirname(os.path.dirname(path))
        for folder in (
            f"/usr/share/postgresql/{os.path.basename(prefix)}",  # Debian's
            *(f"{prefix}/{each}" for each in ("share/postgresql", "share", "lib/postgresql", "lib")),
        ):
            if os.path.exists(f"{folder}/{name}"):
                return folder
    return ""


def check_shell(context: Context) -> Problem | None:
    """Run /bin/sh as PostgreSQL does for archive_command; return what is wrong with it, or None."""
    hint = "use an image that has /bin/sh: archive_command, restore_command and COPY PROGRAM need it"
    if not os.path.exists("/bin/sh"):
        return Problem("/bin/sh is missing: the server's commands would end with code 127", hint)
    argv = ["/bin/sh", "-c", "exit 0"]
    try:
        code = context.children.run(argv, context.environment, become=context.who)
    except Failure as failure:
        return Problem(f"/bin/sh does not work: {failure.problems[0].what}", hint)
    if code:
        return Problem(f"/bin/sh ends with code {code} if uid {context.who.uid} runs it", hint)
    return None


class ScratchFolder:
    """A temporary data folder to query the server's binary with; it belongs to the server's user."""

    def __init__(self, context: Context) -> None:
        self._path = f"{context.runtime_folder}/check-{os.getpid()}"

    def __enter__(self) -> str:
        if os.path.lexists(self._path):
            files.remove_tree(self._path)  # of a process that was killed
        os.mkdir(self._path, 0o700)
        return self._path

    def __exit__(self, *_: object) -> None:
        files.remove_tree(self._path)


def ask(context: Context, setting: str, given: Sequence[str], data: str) -> tuple[int, str]:
    """Return the exit code and the output of `postgres -C setting` for a data folder."""
    argv = ["postgres", "-D", data, *given, "-C", setting]
    environment = server_environment(context.settings, context.environment) | {"PGDATA": data, "LC_ALL": "C"}
    code, text = context.children.output(argv, environment, errors=True, become=context.who)
    return code, text.strip()
