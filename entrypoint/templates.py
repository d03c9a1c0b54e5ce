"""Rendering of `conf_templates/`: settings in, text out; pure.

This is the only module that uses jinja2, which takes longer to load than the rest of a start.
"""

from __future__ import annotations

from pathlib import Path

from entrypoint.postgres.sql import conf_value
from entrypoint.shown import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    import jinja2

_MOST = 2000
"""Characters of a text on a page."""
HERE = Path(__file__).resolve().parent
"""The program's folder, which contains its templates and shims."""


def folders(name: str) -> tuple[Path, Path]:
    """Return where a folder of the program may be: in a wheel, or in the image and the repository."""
    return HERE / name, HERE.parent / name


def render(template: str, **context: object) -> str:
    """Return a rendered template; an unknown variable in it is an error."""
    environment = _environment(autoescape=False)
    environment.filters["conf_value"] = conf_value
    return environment.get_template(template + ".j2").render(context)


def html(template: str, *, style: str, **context: object) -> str:
    """Return a rendered page of HTML that has this style.

    Every other text is escaped, cannot reorder or hide what is around it, and is cut if it is endless.
    """
    import markupsafe

    environment = _environment(
        autoescape=True,
        finalize=lambda value: value if isinstance(value, markupsafe.Markup) else _shown(f"{value}"),
    )
    return environment.get_template(template + ".j2").render(
        context,
        style=markupsafe.Markup(style),  # noqa: S704 - our own file
    )


def _shown(text: str) -> str:
    rest = len(text) - _MOST
    return printable(text if rest <= 0 else f"{text[:_MOST]}… and {rest} more characters")


def _environment(**options: Any) -> jinja2.Environment:
    import jinja2

    return jinja2.Environment(  # noqa: S701 - the caller says whether it is HTML
        loader=jinja2.FileSystemLoader(folders("conf_templates")),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        **options,
    )
