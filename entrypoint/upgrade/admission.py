"""Whether the new server accepts pg_hba.conf and pg_ident.conf: an empty cluster starts with them once."""

from __future__ import annotations

import os

from entrypoint.finding import Finding, error, ok
from entrypoint.server import programs, temporary
from entrypoint.system import files
from entrypoint.upgrade import older

TYPE_CHECKING = False
if TYPE_CHECKING:
    from entrypoint.server.context import Context

_LINES = 9
"""Lines of the server's log that a message repeats."""


def look(context: Context, here: Context, cluster: str) -> list[Finding]:
    """Return what the new server says to these files; `here` is the context of the old one's programs.

    `cluster` is the new, empty one. A server that refuses a line of one of them does not start.
    """
    data, major = here.settings.data_folder, context.environment.get("PG_MAJOR", "")
    named = {}
    for name, usual in (("hba_file", "pg_hba.conf"), ("ident_file", "pg_ident.conf")):
        code, path = programs.ask(here, name, [], data)
        path = path if code == 0 else f"{data}/{usual}"
        if os.path.exists(path):
            named[name] = path
    private = older.newest(context, cluster)
    folder = f"{context.runtime_folder}/admission"
    files.ensure_folder(folder, 0o700)
    given = {**named, "unix_socket_directories": folder, "autovacuum": "off", "fsync": "off"}
    words = [word for name, value in given.items() for word in ("-c", f"{name}={value}")]
    output = os.open(f"{folder}/log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        with temporary.serve(private, words, output=output):
            return [ok(f"PostgreSQL {major} accepts {' and '.join(named.values())}")]
    except temporary.EarlyEnd:
        said = "\n".join(files.read_text(f"{folder}/log").rstrip("\n").split("\n")[-_LINES:])
        return [
            error(
                f"the new server does not start with {' and '.join(named.values())}:\n{said}",
                "correct the lines that it names, with the old image",
                "upgrade-to-a-newer-major",
            )
        ]
    finally:
        os.close(output)
        files.remove_tree(folder)
