"""The cluster that was made with the image: a first start copies it where initdb would make the same one.

`entrypoint internal template` makes it when the image is built, with the image's own initdb and its usual
locale. `made-from` beside it describes everything that initdb's result depends on; a start for which that
reads differently (another locale or time zone, a changed sample file, an upgraded package) runs initdb.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from entrypoint import log
from entrypoint.collation import remembered
from entrypoint.errors import Failure, Problem
from entrypoint.first_start import image_cluster
from entrypoint.light import NamedTuple
from entrypoint.postgres.argv import first_line
from entrypoint.postgres.cluster import parse_control
from entrypoint.server.context import Context, server_environment
from entrypoint.server.data_folder import data_major
from entrypoint.system import files
from entrypoint.system.children import Children, find_program, memory_file
from entrypoint.system.identity import Identity

FOLDER = "/usr/local/share/nix-postgres/template"
"""As in image/layout.json."""

_MEND = "POSTGRES_INITDB_ARGS=--encoding=UTF8 lets initdb make the cluster; report this"
LOCALES = "/usr/lib/locale/locale-archive"
_STANDALONE = "--single -F -j -c search_path=pg_catalog -c exit_on_error=true -c log_checkpoints=false"
"""How initdb itself starts the server for its own statements, but for -O, which these do not need."""
_USUAL = ("max_connections = 100", "shared_buffers = 128MB", "dynamic_shared_memory_type = posix")
"""What initdb finds out about a machine and writes into postgresql.conf; hardly any has less."""


class Template(NamedTuple):
    """A template that serves a start."""

    control: str
    """Path of the control file: with or without data checksums."""
    nonce_at: int
    crc_at: int
    encryption: str
    """What the server tells for password_encryption where nobody has set anything."""


def find(context: Context, arguments: Sequence[str], folder: str = FOLDER) -> Template | None:
    """Return what a copy is to be made of, or None where only initdb makes what this start asks for."""
    try:
        head, _, described = files.read_text(f"{folder}/made-from").partition("\n")
        share, locales, nonce_at, crc_at, encryption = head.split("\t")
        major = data_major(f"{folder}/cluster")
    except (OSError, ValueError):
        return None
    checksums = image_cluster.checksums(arguments, major)
    init = context.settings.init
    if (
        checksums is None
        or init.wal_folder
        or not image_cluster.can_rename(init.user)
        or not context.who.name
        or not os.access("/dev/shm", os.W_OK)  # noqa: S108 - initdb looks whether it can be used
        or describe(context.environment, share, locales) != described
    ):
        return None
    control = f"{folder}/cluster/global/pg_control" if checksums else f"{folder}/pg_control"
    return Template(control, int(nonce_at), int(crc_at), encryption)


def describe(environment: Mapping[str, str], share: str, locales: str) -> str:
    """Return what initdb's result depends on, as text: programs, files, libraries, locale, time zone.

    `share` is the folder of the server's own files, `locales` the archive of locales.
    """
    programs = [os.path.realpath(find_program(name, environment)) for name in ("initdb", "postgres")]
    read = [
        f"{share}/{name}"
        for name in sorted(os.listdir(share))
        if name.endswith((".bki", ".sample", ".sql", ".txt"))
    ]
    read += [f"{share}/extension/plpgsql.control", locales, "/etc/localtime"]
    names = [name for name in environment if name.startswith(("LANG", "LC_", "LOC", "TZ"))]
    lines = [remembered.libraries(), *(_file(path) for path in [*programs, *read])]
    lines += [f"{name}={environment[name]}" for name in sorted(names) if environment[name]]
    return "".join(f"{line}\n" for line in lines)


def _file(path: str) -> str:
    """Return the place, the size and the time of change of a file: layers of images keep whole seconds."""
    path = os.path.realpath(path)
    try:
        found = os.stat(path)
    except OSError:
        return f"{path} is not there"
    return f"{path} {found.st_size} {int(found.st_mtime)}"


def fill(context: Context, source: Template, cluster: str, folder: str = FOLDER) -> None:
    """Fill an empty folder with a copy that is a cluster of its own; nothing of it is synced.

    Raises Failure where it cannot be done.
    """
    log.say(
        f'The files belonging to this database system will be owned by user "{context.who.name}".\n'
        "They are a copy of those that initdb made with the image.\n\n"
    )
    try:
        _copy_files(context, source, cluster, folder)
    except (Failure, OSError):
        files.remove_tree(cluster)  # as initdb does: on a full disk the next start needs some room
        raise


def _copy_files(context: Context, source: Template, cluster: str, folder: str) -> None:
    argv = ["cp", "-R", "--no-preserve=mode", "--reflink=auto", f"{folder}/cluster/.", cluster]
    with _closed_files():
        code = context.children.run(argv, context.environment)
        if code:
            raise Failure(
                Problem(
                    f"the cluster of the image could not be copied to {cluster}, see cp's words above",
                    "free some space there",
                )
            )
        _make_unique(source, cluster)
    text = image_cluster.statements(context.settings.init.user, first_line(context.settings.init.password))
    if text:
        _run_standalone(context, cluster, text)


@contextmanager
def _closed_files() -> Iterator[None]:
    """Let nobody else read what is made."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


def _make_unique(source: Template, cluster: str) -> None:
    """Give a copy its own system identifier and nonce, and its WAL segment its size."""
    random = os.urandom(image_cluster.NONCE_BYTES + 2)
    identifier = image_cluster.identifier(time.time(), int.from_bytes(random[:2], "little"))
    try:
        own = image_cluster.own_control(
            _content(source.control), source.nonce_at, source.crc_at, identifier, random[2:]
        )
    except ValueError as error:
        raise Failure(Problem(f"{source.control}: {error}", _MEND)) from error
    with open(f"{cluster}/global/pg_control", "r+b") as file:
        file.write(own)
    with open(_segment(cluster), "r+b") as file:
        file.seek(image_cluster.IDENTIFIER_IN_WAL.start)
        file.write(identifier)
        # Written and not only made longer: the room must be there when the server needs it.
        left = image_cluster.SEGMENT_BYTES - file.seek(0, os.SEEK_END)
        file.write(bytes(left))


def _segment(cluster: str) -> str:
    """Return the path of the only WAL segment of a new cluster."""
    (name,) = (name for name in os.listdir(f"{cluster}/pg_wal") if len(name) == 24)
    return f"{cluster}/pg_wal/{name}"


def _run_standalone(context: Context, cluster: str, text: str) -> None:
    """Run statements in template1 as initdb does: without the user's settings, and nothing is logged."""
    environment = server_environment(context.settings, context.environment) | {"PGDATA": cluster}
    script, said = memory_file(text), memory_file("")
    argv = ["postgres", *_STANDALONE.split(), "-D", cluster, "template1"]
    try:
        code = context.children.run(argv, environment, descriptors={0: script, 1: said})
    finally:
        os.close(script)
        os.close(said)
    if code:
        what = (
            "the copied cluster did not take the superuser's name and password, see the server's words above"
        )
        raise Failure(Problem(what, _MEND))


def make(
    folder: str,
    environment: Mapping[str, str],
    children: Children,
    who: Identity,
    locales: str = LOCALES,
) -> None:
    """Make a template in a folder of its own; raises Failure where initdb does not do as usual."""
    import shutil
    import tempfile

    with tempfile.TemporaryDirectory() as scratch:
        os.chown(scratch, who.uid, who.gid)
        cluster = f"{scratch}/cluster"

        def run(*argv: str, **more: str) -> str:
            given = {**environment, "LOCALE_ARCHIVE": locales, **more}
            code, text = children.output(argv, given, errors=True, become=who)
            if code:
                raise Failure(Problem(f"{argv[0]} failed:\n{text}", "mend what it says"))
            return text

        shown = [line.partition("=") for line in run("initdb", "--show", cluster).splitlines()]
        (share,) = (value for name, _, value in shown if name == "share_path")
        run("initdb", "--username=postgres", "--no-sync", "--no-instructions", "--data-checksums", cluster)
        settings = files.read_text(f"{cluster}/postgresql.conf")
        unusual = [line for line in _USUAL if f"\n{line}" not in settings]
        if unusual:
            hint = "build where a server may have 128 MB and /dev/shm"
            raise Failure(Problem(f"initdb did not choose {', '.join(unusual)}", hint))
        encryption = run("postgres", "-D", cluster, "-C", "password_encryption").strip()
        if os.path.exists(f"{folder}/made-from"):
            files.remove_tree(folder)  # that of the image that this one is built on
        shutil.copytree(cluster, f"{folder}/cluster", copy_function=shutil.copyfile)
        run("pg_checksums", "--disable", "--no-sync", cluster)
        shutil.copyfile(f"{cluster}/global/pg_control", f"{folder}/pg_control")
        nonce = parse_control(run("pg_controldata", cluster, LC_ALL="C"))["Mock authentication nonce"]
    control = _content(f"{folder}/pg_control")
    _cut(_segment(f"{folder}/cluster"), control)
    _share_same(f"{folder}/cluster/base")
    head = (share, locales, control.index(bytes.fromhex(nonce)), image_cluster.crc_at(control), encryption)
    described = describe(environment, share, locales)
    files.write_atomically(f"{folder}/made-from", "\t".join(map(str, head)) + f"\n{described}")
    for path, _, names in os.walk(folder):
        os.chmod(path, 0o755)  # noqa: S103 - as all of the image; nothing in it is secret
        for name in names:
            os.chmod(f"{path}/{name}", 0o644)


def _cut(segment: str, control: bytes) -> None:
    """Take off the empty end of a WAL segment, after a look whether it is what we take it for."""
    with open(segment, "r+b") as file:
        data = file.read()
        if len(data) != image_cluster.SEGMENT_BYTES or data[image_cluster.IDENTIFIER_IN_WAL] != control[:8]:
            raise Failure(Problem(f"{segment} is no first segment of this cluster", "report this"))
        file.truncate(len(data.rstrip(b"\0")))


def _share_same(base: str) -> None:
    """Keep the files of template0 and postgres that are the same as those of template1 only once."""
    for folder in os.listdir(base):
        for name in os.listdir(f"{base}/{folder}"):
            path, first = f"{base}/{folder}/{name}", f"{base}/1/{name}"
            if folder != "1" and os.path.exists(first) and _content(path) == _content(first):
                os.unlink(path)
                os.link(first, path)


def _content(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()
