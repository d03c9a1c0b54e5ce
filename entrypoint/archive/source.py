"""The archive to restore from and to follow: mostly the server's own, used in a context of its own."""

from entrypoint.archive import calls
from entrypoint.server.context import Context, write_down_settings
from entrypoint.settings.archiving import Archive
from entrypoint.system import files


def source_of(context: Context) -> tuple[Context, Archive]:
    """Return the archive to restore from, and the context in which it is used; renders its settings."""
    own = context.runtime_folder
    context, archive = find_source(context)
    if context.runtime_folder != own:
        files.ensure_folder(context.runtime_folder, 0o700)
    calls.render(context, archive)
    write_down_settings(context)
    return context, archive


def find_source(context: Context) -> tuple[Context, Archive]:
    """Return the archive to restore from and its context, as `source_of` does, but write nothing."""
    wanted = context.settings
    if wanted.source is None:
        raise AssertionError("the plan refuses a restore without an archive")
    if wanted.source_values == wanted.values and wanted.archive is not None:
        return context, wanted.source
    settings = wanted._replace(values=wanted.source_values, archive=wanted.source)
    folder = f"{context.runtime_folder}/source"
    return context._replace(settings=settings, runtime_folder=folder), wanted.source
