"""The archiver's secrets in files, read again on SIGHUP: a rotated key needs no restart.

Only the files of the archiver's own variables are read; all other variables wait for the next start. The
files are read as the server's user, who may not be able to read everything that root read at the start.
"""

import json
import os
import signal

from entrypoint import log
from entrypoint.pid1 import lifecycle, status
from entrypoint.server.context import Context
from entrypoint.settings import environment
from entrypoint.system import files

_FILES = "secret-files.json"
"""In the runtime folder: the file of each variable that came from a file."""


def write_down(context: Context) -> None:
    """Keep the names of the files, if there are any; the archiver's settings file has their content."""
    archive = context.settings.our_archive
    if archive is None:
        return
    found = {
        name: file for name, file in context.settings.files.items() if archive.tool.is_own_variable(name)
    }
    if found:
        path = f"{context.runtime_folder}/{_FILES}"
        files.write_atomically(path, json.dumps(found))


def take_over(context: Context) -> None:
    """Read the files again, and give the archiver the values that have changed."""
    archive = context.settings.our_archive
    path = f"{context.runtime_folder}/{_FILES}"
    if archive is None or not os.path.exists(path):
        return
    settings = f"{context.runtime_folder}/{archive.tool.config_name}"
    text = files.read_text(settings)
    changed = []
    for name, file in json.loads(files.read_text(path)).items():
        try:
            value = environment.text_of(files.read_text(file))
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            hint = f"let uid {context.who.uid} read it, or restart the container: its start reads it as root"
            what = f"{name}_FILE={file} cannot be read again: {reason}; {name} keeps its value"
            log.warning(what, hint, docs="handle-secrets")
            continue
        new = archive.tool.changed(text, name, value) if value else text
        if new != text:
            changed.append(name)
            text = new
    if not changed:
        return
    files.write_atomically(settings, text)
    log.info(f"new values read from files: {', '.join(changed)}")
    known = status.read(status.RUNTIME_FOLDERS)
    helper = known and known.helpers.get(lifecycle.daemon_role(archive.tool.name))
    if helper and helper.pid:
        os.kill(helper.pid, signal.SIGTERM)  # PID 1 starts it again, and it then reads its settings
