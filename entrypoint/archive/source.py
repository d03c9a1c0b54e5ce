"""The archive to restore from and to follow: usually the server's own, otherwise one with its own context."""

from entrypoint.archive.opened import OpenedArchive
from entrypoint.server.context import Context, write_down_settings
from entrypoint.system import files


def source_of(context: Context) -> OpenedArchive:
    """Return the archive to restore from, in the context of its use, and write its settings file."""
    source = find_source(context)
    if source.runtime_folder != context.runtime_folder:
        files.ensure_folder(source.runtime_folder, 0o700)
    source.render()
    write_down_settings(source.context)
    return source


def find_source(context: Context) -> OpenedArchive:
    """Return the archive to restore from as `source_of` does, but write nothing."""
    wanted = context.settings
    if wanted.source is None:
        raise AssertionError("the plan refuses a restore without an archive")
    if wanted.source_values == wanted.values and wanted.archive is not None:
        return OpenedArchive(context, wanted.source)
    settings = wanted._replace(values=wanted.source_values, archive=wanted.source)
    folder = f"{context.runtime_folder}/source"
    return OpenedArchive(context._replace(settings=settings, runtime_folder=folder), wanted.source)
