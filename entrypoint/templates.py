"""Rendering of `conf_templates/`: settings in, text out; pure.

This is the only module that uses jinja2, which takes longer to load than the rest of a start.
"""

from pathlib import Path

from entrypoint.postgres.configfile import conf_value

HERE = Path(__file__).resolve().parent
"""The program's folder, which contains its templates and shims."""


def folders(name: str) -> tuple[Path, Path]:
    """Return where a folder of the program may be: in a wheel, or in the image and the repository."""
    return HERE / name, HERE.parent / name


def render(template: str, **context: object) -> str:
    """Return a rendered template; an unknown variable in it is an error."""
    import jinja2

    environment = jinja2.Environment(  # noqa: S701 - configuration files, not HTML
        loader=jinja2.FileSystemLoader(folders("conf_templates")),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["conf_value"] = conf_value
    return environment.get_template(template + ".j2").render(context)
