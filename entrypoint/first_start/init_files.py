"""The init files of a first start: they run once, and their digests are noted to detect later changes."""

from __future__ import annotations

import os

from entrypoint import log, own
from entrypoint.errors import Failure
from entrypoint.every_start import user_files
from entrypoint.system import doors
from entrypoint.volume import notes, probe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from entrypoint.server.context import Context
    from entrypoint.volume.unfinished import Unfinished


def run(context: Context, unfinished: Unfinished) -> dict[str, str]:
    """Run the init files and return the environment that their shell ended with; raises Failure."""
    if not probe.init_files():
        log.say(f"\n{doors.SCRIPT}: ignoring {probe.INIT_FOLDER}/*\n\n")  # as the shell would
        return context.environment
    try:
        return user_files.run(context, probe.INIT_FOLDER, unfinished.state)
    except Failure as failure:
        (problem,) = failure.problems
        raise Failure(
            problem._replace(
                what=f"the init file {problem.what}; the database is only partly set up, so it is not served",
                hint=f"{problem.hint}, then empty the volume or start once with "
                "-e POSTGRES_INIT_UNFINISHED=restart",
                docs="finish-a-first-start",
            )
        ) from None


def note(data_folder: str, folder: str) -> None:
    """Note the files that a first start has run, a digest and a name in each line."""
    lines = [f"{digest} {name}\n" for name, digest in digests(folder).items()]
    try:
        notes.write(data_folder, own.INIT, "".join(lines))
    except OSError as error:
        log.warning(f"cannot note the init files in {data_folder}: {error.strerror}")


def noted(data_folder: str) -> dict[str, str] | None:
    """Return the digests of the files that a first start ran, by name; None if they are not noted."""
    try:
        lines = notes.read_text(data_folder, own.INIT).split("\n")[:-1]
    except OSError:
        return None
    return {name: digest for digest, _, name in (line.partition(" ") for line in lines)}


def digests(folder: str) -> dict[str, str]:
    """Return the SHA-256 digests of the readable files in a folder, by name."""
    import hashlib

    found = {}
    for entry in sorted(os.scandir(folder), key=lambda each: each.name) if os.path.isdir(folder) else ():
        try:
            if entry.is_file() and not entry.name.startswith("."):
                with open(entry.path, "rb") as file:
                    found[entry.name] = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError:
            continue
    return found
