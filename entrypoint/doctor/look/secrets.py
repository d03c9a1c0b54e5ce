"""The checks of secrets and of the server's certificate."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator, Mapping

from entrypoint.doctor import judge
from entrypoint.doctor.sight import ALWAYS, SERVER, Check, Sight
from entrypoint.finding import Finding
from entrypoint.light import re
from entrypoint.noted import certificate
from entrypoint.settings import variables
from entrypoint.settings.fields import FILE_SUFFIX
from entrypoint.system import files

_SHORTEST = 6
"""Characters: a shorter value may appear in command lines by chance."""


def _secrets(sight: Sight) -> list[Finding]:
    known = {*sight.settings.values, *variables.table()}
    names = [name for name in known if variables.is_withheld(name) and variables.is_told_when_seen(name)]
    values = {name: sight.settings.values[name] for name in names if sight.settings.values.get(name)}
    plain = [name for name in sorted(values) if name in sight.raw and variables.find(name) is not None]
    return judge.secrets.secrets(_seen(values), _open_files(sight.raw, names), plain)


def _seen(values: Mapping[str, str]) -> Iterator[judge.secrets.Seen]:
    """Return the secrets visible to the server's user: in PID 1, the server and all processes below them."""
    for pid in sorted(int(name) for name in os.listdir("/proc") if name.isdigit()):
        if pid == os.getpid():
            continue
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                arguments = file.read()
            program = os.path.basename(os.fsdecode(arguments.partition(b"\0")[0]))
            name = f"{program or 'process'} (pid {pid})"
            for variable, value in values.items():
                if _is_word(os.fsencode(value), arguments):
                    yield judge.secrets.Seen(variable, name, "command line")
            # Processes of docker exec have the container's variables; processes that PID 1 starts must not.
            if pid == 1 or _is_below_1(pid):
                with open(f"/proc/{pid}/environ", "rb") as file:
                    entries = set(file.read().split(b"\0"))
                for variable, value in values.items():
                    if os.fsencode(f"{variable}={value}") in entries:
                        yield judge.secrets.Seen(variable, name, "environment")
        except OSError:
            continue  # the process has ended, or we may not look into it


def _is_word(value: bytes, arguments: bytes) -> bool:
    """Return whether a command line contains a value as a whole word, not as a part of another word."""
    return len(value) >= _SHORTEST and bool(re.search(rb"(?<!\w)%b(?!\w)" % re.escape(value), arguments))


def _is_below_1(pid: int) -> bool:
    """Return whether a process is a child of PID 1; processes of docker exec are not."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        return int(file.read().rpartition(b")")[2].split()[1]) == 1


def _open_files(raw: Mapping[str, str], names: list[str]) -> Iterator[tuple[str, str, int]]:
    """Return the secret files that everybody can read, except those in memory: the engine made them."""
    table = files.mounts()
    for name in names:
        path = raw.get(name + FILE_SUFFIX)
        if not path:
            continue
        try:
            mode = stat.S_IMODE(os.stat(path).st_mode)
        except OSError:
            continue  # the check of the settings reports the problem
        mount = files.mount_of(os.path.realpath(path), table)
        if mode & 0o004 and (mount is None or mount.filesystem not in ("tmpfs", "ramfs")):
            yield name + FILE_SUFFIX, path, mode


def _certificate(sight: Sight) -> list[Finding]:
    if str(sight.conf["ssl"]["value"]) != "on":
        return []
    path = os.path.join(sight.data_folder, str(sight.conf["ssl_cert_file"]["value"]))
    expires = certificate.expiry(path)
    return judge.secrets.certificate(path, None if expires is None else expires - time.time())


CHECKS = (
    Check(
        "secrets",
        "a password that ps, docker inspect or a file shows to others is no longer a secret",
        "command lines, the environments of PID 1 and its children, and the modes of files that X_FILE names",
        _secrets,
        ALWAYS,
        "handle-secrets",
        costly=True,
    ),
    Check(
        "certificate",
        "clients that check the certificate cannot connect once it has expired",
        "the first certificate in ssl_cert_file, if ssl is on",
        _certificate,
        SERVER,
    ),
)
