"""The image's own cluster, the template: a first start copies it if initdb would make the same cluster.

`entrypoint internal template` makes it when the image is built, with the image's own initdb and its usual
locale. The file `made-from` next to it describes everything that initdb's result depends on. A start for
which that description differs (another locale or time zone, a changed sample file, an upgraded package) runs
initdb.
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
"""The same path as in image/layout.json."""

_HINT = "set POSTGRES_INITDB_ARGS=--encoding=UTF8, so that initdb makes the cluster, and report this"
LOCALES = "/usr/lib/locale/locale-archive"
_STANDALONE = "--single -F -j -c search_path=pg_catalog -c exit_on_error=true -c log_checkpoints=false"
"""The arguments by which initdb starts the server for its own statements, without -O, which is not needed."""
_USUAL = ("max_connections = 100", "shared_buffers = 128MB", "dynamic_shared_memory_type = posix")
"""The settings that initdb chooses by testing the machine; hardly any machine gets lower ones."""


class Template(NamedTuple):
    """A template that a start can copy."""

    control: str
    """Path of the control file: with or without data checksums."""
    nonce_at: int
    crc_at: int
    encryption: str
    """The server's password_encryption if nobody has set it."""


def find(context: Context, arguments: Sequence[str], folder: str = FOLDER) -> Template | None:
    """Return the template for a copy; None if only initdb can make the cluster that this start requests."""
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


def describe(environment: Mapping[str, str], share: str, locales: str, icu: str = "") -> str:
    """Return everything that initdb's result depends on, as text: programs, files, locale, time zone.

    `share` is the folder of the server's own files, `locales` is the locale archive; `icu` is the folder of
    ICU's libraries while an image is built and they are not yet in their usual place.
    """
    programs = [os.path.realpath(find_program(name, environment)) for name in ("initdb", "postgres")]
    read = [
        f"{share}/{name}"
        for name in sorted(os.listdir(share))
        if name.endswith((".bki", ".sample", ".sql", ".txt"))
    ]
    read += [f"{share}/extension/plpgsql.control", locales, "/etc/localtime"]
    names = [name for name in environment if name.startswith(("LANG", "LC_", "LOC", "TZ"))]
    lines = [remembered.libraries(icu), *(_file(path) for path in [*programs, *read])]
    lines += [f"{name}={environment[name]}" for name in sorted(names) if environment[name]]
    return "".join(f"{line}\n" for line in lines)


def _file(path: str) -> str:
    """Return a file's path, size and time of change, in whole seconds, which is what image layers keep."""
    path = os.path.realpath(path)
    try:
        found = os.stat(path)
    except OSError:
        return f"{path} is not there"
    return f"{path} {found.st_size} {int(found.st_mtime)}"


def fill(context: Context, source: Template, cluster: str, folder: str = FOLDER) -> None:
    """Fill an empty folder with a copy that is a cluster in its own right; nothing is synced.

    Raises Failure if the copy fails.
    """
    log.say(
        f'The files belonging to this database system will be owned by user "{context.who.name}".\n'
        "They are copied from the cluster that initdb made for the image.\n\n"
    )
    try:
        _copy_files(context, source, cluster, folder)
    except (Failure, OSError):
        files.remove_tree(cluster)  # as initdb does: on a full disk the next start needs some space
        raise


def _copy_files(context: Context, source: Template, cluster: str, folder: str) -> None:
    argv = ["cp", "-RL", "--no-preserve=mode", "--reflink=auto", f"{folder}/cluster/.", cluster]
    with _closed_files():
        code = context.children.run(argv, context.environment)
        if code:
            raise Failure(
                Problem(
                    f"cannot copy the image's cluster to {cluster}: see the output of cp above",
                    "free some space there",
                )
            )
        _make_unique(source, cluster)
    text = image_cluster.statements(context.settings.init.user, first_line(context.settings.init.password))
    if text:
        _run_standalone(context, cluster, text)


@contextmanager
def _closed_files() -> Iterator[None]:
    """Make files that are created in this block readable only for their owner."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


def _make_unique(source: Template, cluster: str) -> None:
    """Give a copy its own system identifier and nonce, and restore the full size of its WAL segment."""
    random = os.urandom(image_cluster.NONCE_BYTES + 2)
    identifier = image_cluster.identifier(time.time(), int.from_bytes(random[:2], "little"))
    try:
        own = image_cluster.own_control(
            _content(source.control), source.nonce_at, source.crc_at, identifier, random[2:]
        )
    except ValueError as error:
        raise Failure(Problem(f"{source.control}: {error}", _HINT)) from error
    with open(f"{cluster}/global/pg_control", "r+b") as file:
        file.write(own)
    with open(_segment(cluster), "r+b") as file:
        file.seek(image_cluster.IDENTIFIER_IN_WAL.start)
        file.write(identifier)
        # Zeros are written, not only the size changed: the server needs the space to be allocated.
        left = image_cluster.SEGMENT_BYTES - file.seek(0, os.SEEK_END)
        file.write(bytes(left))


def _segment(cluster: str) -> str:
    """Return the path of the only WAL segment of a new cluster."""
    (name,) = (name for name in os.listdir(f"{cluster}/pg_wal") if len(name) == 24)
    return f"{cluster}/pg_wal/{name}"


def _run_standalone(context: Context, cluster: str, text: str) -> None:
    """Run statements in template1 as initdb does: without the user's settings and without logging."""
    environment = server_environment(context.settings, context.environment) | {"PGDATA": cluster}
    script, said = memory_file(text), memory_file("")
    argv = ["postgres", *_STANDALONE.split(), "-D", cluster, "template1"]
    try:
        code = context.children.run(argv, environment, descriptors={0: script, 1: said})
    finally:
        os.close(script)
        os.close(said)
    if code:
        what = "cannot set the superuser's name and password in the copied cluster: see the output above"
        raise Failure(Problem(what, _HINT))


def make(
    folder: str,
    environment: Mapping[str, str],
    children: Children,
    who: Identity,
    *,
    locales: str = LOCALES,
    icu: str = "",
) -> None:
    """Make a template in a folder; raises Failure if initdb fails or chooses unusual settings."""
    import shutil
    import tempfile

    with tempfile.TemporaryDirectory() as scratch:
        os.chown(scratch, who.uid, who.gid)
        cluster = f"{scratch}/cluster"

        def run(*argv: str, **more: str) -> str:
            given = {**environment, "LOCALE_ARCHIVE": locales, **more}
            code, text = children.output(argv, given, errors=True, become=who)
            if code:
                raise Failure(Problem(f"{argv[0]} failed:\n{text}", "fix the reported error"))
            return text

        shown = [line.partition("=") for line in run("initdb", "--show", cluster).splitlines()]
        (share,) = (value for name, _, value in shown if name == "share_path")
        begun = int(time.time())
        run("initdb", "--username=postgres", "--no-sync", "--no-instructions", "--data-checksums", cluster)
        settings = files.read_text(f"{cluster}/postgresql.conf")
        unusual = [line for line in _USUAL if f"\n{line}" not in settings]
        if unusual:
            hint = "build on a machine that gives a server 128 MB of memory and /dev/shm"
            raise Failure(Problem(f"initdb did not choose {', '.join(unusual)}", hint))
        encryption = run("postgres", "-D", cluster, "-C", "password_encryption").strip()
        run("pg_resetwal", cluster)
        if os.path.exists(f"{folder}/made-from"):
            files.remove_tree(folder)  # the template of the base image
        shutil.copytree(cluster, f"{folder}/cluster", copy_function=shutil.copyfile)
        run("pg_checksums", "--disable", "--no-sync", cluster)
        shutil.copyfile(f"{cluster}/global/pg_control", f"{folder}/pg_control")
        facts = parse_control(run("pg_controldata", cluster, LC_ALL="C"))
    nonce_at, crc_at = _drop_origin(folder, facts, (begun, int(time.time())))
    _share_same(f"{folder}/cluster/base")
    head = (share, locales, nonce_at, crc_at, encryption)
    described = describe(environment, share, locales, icu)
    files.write_atomically(f"{folder}/made-from", "\t".join(map(str, head)) + f"\n{described}")
    for path, _, names in os.walk(folder):
        os.chmod(path, 0o755)  # noqa: S103 - like the rest of the image; the template holds no secret
        for name in names:
            os.chmod(f"{path}/{name}", 0o644)


def _drop_origin(folder: str, facts: Mapping[str, str], times: tuple[int, int]) -> tuple[int, int]:
    """Remove what differs each time; return where the control files have their nonce and checksum."""
    path, cluster = f"{folder}/pg_control", f"{folder}/cluster"
    control = _content(path)
    nonce_at = control.index(bytes.fromhex(facts["Mock authentication nonce"]))
    crc_at = image_cluster.crc_at(control)
    _cut(_segment(cluster), control, times)
    for each in (path, f"{cluster}/global/pg_control"):
        _write(each, image_cluster.without_origin(_content(each), nonce_at, crc_at, *times))
    for name in os.listdir(f"{cluster}/pg_stat"):  # with the times of initdb; the server does without
        os.unlink(f"{cluster}/pg_stat/{name}")
    return nonce_at, crc_at


def _cut(segment: str, control: bytes, times: tuple[int, int]) -> None:
    """Cut a WAL segment down to its checkpoint; raises Failure if it is not the expected segment."""
    data = _content(segment)
    if len(data) != image_cluster.SEGMENT_BYTES or data[image_cluster.IDENTIFIER_IN_WAL] != control[:8]:
        raise Failure(Problem(f"{segment} is not the first segment of this cluster", "report this"))
    _write(segment, image_cluster.only_checkpoint(data, *times))


def _share_same(base: str) -> None:
    """Replace each file of template0 and postgres that equals template1's by a link, which a copy follows.

    A hard link would do as well, but Nix's store and the layers of its images have none.
    """
    for folder in os.listdir(base):
        for name in os.listdir(f"{base}/{folder}"):
            path, first = f"{base}/{folder}/{name}", f"{base}/1/{name}"
            if folder != "1" and os.path.exists(first) and _content(path) == _content(first):
                os.unlink(path)
                os.symlink(f"../1/{name}", path)


def _write(path: str, content: bytes) -> None:
    with open(path, "wb") as file:
        file.write(content)


def _content(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()
