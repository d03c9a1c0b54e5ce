"""What a start does not do because there is a database."""

from __future__ import annotations

import os

from entrypoint import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from entrypoint.volume.facts import Facts


def say(facts: Facts) -> None:
    """Report that the database exists, and which init files therefore do not run."""
    log.say("\nPostgreSQL Database directory appears to contain a database; Skipping initialization\n\n")
    if facts.init_files:
        since = _made(facts.data_folder.path)
        names = ", ".join(facts.init_files[:5]) + (", …" if len(facts.init_files) > 5 else "")
        log.info(f"init files do not run, because the database has existed since {since}: {names}")


def _made(folder: str) -> str:
    """Return when a cluster was created: initdb writes PG_VERSION, and nothing changes it later."""
    from time import gmtime, strftime

    return strftime("%Y-%m-%d %H:%M:%S UTC", gmtime(os.stat(f"{folder}/PG_VERSION").st_mtime))
