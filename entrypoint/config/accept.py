"""Has the server's own binary check arguments and settings before a server gets them."""

from __future__ import annotations

import os
from collections.abc import Sequence

from entrypoint.archive.calls import describe_server
from entrypoint.config import collect, complaints, render, rendered, sources
from entrypoint.config.sources import Source
from entrypoint.errors import Failure, Problem
from entrypoint.postgres.sql import conf_value
from entrypoint.server import programs
from entrypoint.server.context import Context
from entrypoint.settings.hiding import hide_words
from entrypoint.system import files


def explain(context: Context, found: Sequence[Source], errors: Sequence[str]) -> list[Problem]:
    """Return everything that the server's own binary rejects in these settings, with the place that set it.

    The binary stops at unknown names before it judges values, so it runs again without the settings that are
    known to be wrong. `errors` are about lines of files that set nothing.
    """
    problems = [Problem(error, "correct or remove this line", docs=complaints.PAGE) for error in errors]
    rest = [source for source in found if source.name not in ("config_file", "data_directory")]
    names: list[str] = []
    with programs.ScratchFolder(context) as scratch:
        while True:
            write_settings(f"{scratch}/postgresql.conf", rest)
            code, text = programs.ask(context, "port", [], scratch)
            said = {complaint.name: complaint for complaint in complaints.complaints(text)}
            bad = [each for each in sources.winners(rest).values() if each.name in said]
            if code == 0 or not bad:
                return problems
            names = names or _known_names(context)
            problems += [complaints.problem(source, said[source.name], names) for source in bad]
            rest = [source for source in rest if source not in bad]


def write_settings(path: str, found: Sequence[Source]) -> None:
    """Write settings into a configuration file of a scratch folder."""
    text = "".join(f"{source.name} = {conf_value(source.value)}\n" for source in found)
    files.write_atomically(path, text, 0o644)


def _known_names(context: Context) -> list[str]:
    _, text = context.children.output(["postgres", "--describe-config"], context.environment)
    return [line.partition("\t")[0] for line in text.splitlines()]


def check_configuration(context: Context) -> None:
    """Let the server's own binary check the arguments and our configuration before anything is created.

    It gets a scratch folder with an empty configuration, since there may be no cluster yet. Raises Failure
    with its messages.
    """
    settings = context.settings
    with programs.ScratchFolder(context) as scratch:
        files.write_atomically(f"{scratch}/postgresql.conf", "", 0o644)
        given = list(settings.server.given)
        if settings.conf or settings.serving.tune or rendered.has_conf_folder():
            os.mkdir(f"{scratch}/rendered", 0o700)
            server = describe_server(context)._replace(
                data_folder=scratch, runtime_folder=f"{scratch}/rendered"
            )
            path = render.write_configuration(context, None, server)
            given = [*settings.server.without_config_file, "-c", f"config_file={path}"]
        code, text = programs.ask(context, "password_encryption", given, scratch)
    if code == 0:
        return
    found = collect.overriding(context)
    known = explain(context, found, collect.fragments()[1])
    if known:
        raise Failure(*known)
    words = hide_words(text, ((source.name, source.value) for source in found))
    raise Failure(
        Problem(
            f"postgres does not accept its arguments and settings:\n{words}",
            "correct the arguments after the image's name, the POSTGRES_CONF_* variables, or the "
            f"files in {rendered.CONF_FOLDER}",
            docs=complaints.PAGE,
        )
    )
