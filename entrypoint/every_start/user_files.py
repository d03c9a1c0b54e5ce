"""Checks and runs the files that people put into the folders of init files and start files."""

from __future__ import annotations

import os

from entrypoint import exits
from entrypoint.errors import Failure, Problem
from entrypoint.settings.environment import unpack
from entrypoint.system import doors
from entrypoint.system.children import memory_file, read_back
from entrypoint.volume import probe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from entrypoint.server.context import Context

_FILES = """\
source "$1"
_entrypoint_folder=$2 _entrypoint_state=$3 _entrypoint_done=$4
set --
docker_process_init_files "$_entrypoint_folder"/*
command env -0 >&"$_entrypoint_done"
"""
"""The script of the shell that runs all init files, or all start files, and then prints its variables.

The functions are the image's own, even if another script has replaced docker-entrypoint.sh.
"""
_BEGUN = "file "
"""The prefix of an entry for each file that starts; these entries come before the variables."""


def check_folder(context: Context, folder: str = probe.INIT_FOLDER) -> None:
    """Make sure that the server's user can list these files; otherwise they would be skipped silently."""
    code, text = context.children.output(
        ["ls", f"{folder}/"], context.environment, errors=True, become=context.who
    )
    if code:
        raise Failure(
            Problem(
                f"uid {context.who.uid} cannot list the files of {folder}: {text.strip()}",
                f"make the mounted folder readable: chmod a+rx FOLDER (mounted at {folder})",
                exits.UNREADABLE_INIT_FOLDER,
            )
        )


def run(context: Context, folder: str, state: str = "") -> dict[str, str]:
    """Run the files of a folder in one shell; return the environment that the shell ended with.

    Before each file, the shell adds a line `file PATH` to the file `state`, if that exists. Raises Failure
    with the exit code of the file that failed.
    """
    done = memory_file("")
    descriptor = 8
    argv = ["bash", "-c", _FILES, doors.SCRIPT, doors.ORIGINAL_SCRIPT, folder, state, str(descriptor)]
    try:
        code = context.children.run(argv, context.environment, descriptors={descriptor: done})
        handed_over = read_back(done)
    finally:
        os.close(done)
    begun = [each for each in handed_over.split("\0") if each.startswith(_BEGUN)]
    ended_with = unpack("\0".join(handed_over.split("\0")[len(begun) :]))
    if code == 0 and ended_with:
        return {
            name: value for name, value in ended_with.items() if name not in ("_", "SHLVL", "PWD", "OLDPWD")
        }
    file = begun[-1].removeprefix(_BEGUN) if begun else folder
    if code == 0:
        what = f"{file} called `exit 0`, which ended the shell that runs all these files"
        hint = "use `return` instead of `exit`, or make the file executable (chmod +x)"
    else:
        what = f"{file} failed with exit code {code}"
        hint = _why(file, code) or "correct the file"
    raise Failure(Problem(what, hint, code or exits.FAILURE))


def _why(file: str, code: int) -> str:
    """Return a hint if one of the usual reasons prevents a script's execution; else empty."""
    if code not in (exits.NOT_EXECUTABLE, exits.NOT_FOUND) or not file.endswith(".sh"):
        return ""
    if os.path.isdir(file):
        return f"{file} is a folder: put the files directly into {os.path.dirname(file)}"
    try:
        with open(file, "rb") as script:
            first = script.readline(200)
    except OSError:
        return ""
    interpreter = first[2:].split()[0].decode("utf-8", "replace") if first[2:].split() else ""
    if first.startswith(b"#!") and first.endswith(b"\r\n"):
        return f"its lines end with CRLF, so {interpreter} is not found: run sed -i 's/\\r$//' {file}"
    if first.startswith(b"#!") and not os.path.exists(interpreter):
        return f"its interpreter {interpreter} is not in the image: change its first line"
    if first.startswith(b"#!") and not os.access(interpreter, os.X_OK):
        return f"there is no permission to execute its interpreter {interpreter}: run chmod +x {interpreter}"
    if os.statvfs(file).f_flag & os.ST_NOEXEC:
        return "it is on a noexec mount: mount it without noexec, or remove its x bit so that it is sourced"
    return ""
