"""From the raw environment to checked values: `X_FILE` is read, unknown names are found."""

from __future__ import annotations

from entrypoint import variables
from entrypoint.archivers import pgbackrest, walg
from entrypoint.errors import Problem
from entrypoint.light import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

FILE_SUFFIX = "_FILE"


class Environment(NamedTuple):
    """The environment with every `X_FILE` resolved."""

    values: dict[str, str]
    """All variables, ours and others', each under its plain name."""
    problems: tuple[Problem, ...]
    warnings: tuple[Problem, ...] = ()
    files: Mapping[str, str] = {}
    """The files that variables have come from, by the variable's plain name."""


def read(raw: Mapping[str, str], read_file: Callable[[str], str]) -> Environment:
    """Return the checked environment; `read_file` gives a file's text or raises OSError.

    "Set" means not empty, and all newlines at the end of a file are dropped, both as in the official
    image's `file_env`.
    """
    values = dict(raw)
    # Names such as AWS_SECRET_ACCESS_KEY_FILE may be meant for an init file where nothing is archived.
    archives = any(
        value and name.removeprefix("RESTORE_").startswith(("ARCHIVE_URL", "WALG_", "PGBACKREST_"))
        for name, value in raw.items()
    )
    problems: list[Problem] = []
    files: dict[str, str] = {}
    for file_name in raw:
        name = file_name.removesuffix(FILE_SUFFIX)
        if name == file_name or not _may_come_from_file(name, file_name, archives=archives):
            continue
        path = values.pop(file_name)
        if not path:
            continue
        if raw.get(name):
            problems.append(
                Problem(
                    f"both {name} and {file_name} are set (but are exclusive)",
                    f"set only one of {name} and {file_name}",
                )
            )
            continue
        try:
            values[name] = text_of(read_file(path))
            files[name] = path
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            problems.append(
                Problem(
                    # What is no path may be the secret itself, by mistake.
                    f"{file_name}={path}: cannot be read: {reason}"
                    if path.startswith("/")
                    else f"{file_name} is not the path of a file that can be read: {reason}",
                    f"mount the file so that the container's user can read it, or set {name}",
                )
            )
    unknown, doubtful = _unknown_names(values)
    return Environment(values, tuple(problems + unknown), tuple(doubtful), files)


def pack(values: Mapping[str, str]) -> str:
    """Return the environment as one text, in the form of `env -0`."""
    return "".join(f"{name}={value}\0" for name, value in values.items())


def unpack(text: str) -> dict[str, str]:
    """Read what `pack` or `env -0` wrote.

    >>> unpack(pack({"a": "1=2", "b": ""}))
    {'a': '1=2', 'b': ''}
    """
    pairs = (entry.partition("=") for entry in text.split("\0") if entry)
    return {name: value for name, _, value in pairs}


def text_of(content: str) -> str:
    """Return the value that a file holds; raises ValueError for one that no variable can have."""
    if "\0" in content:
        raise ValueError("it holds a zero byte, which no environment variable can")
    return content.rstrip("\n")


def _may_come_from_file(name: str, file_name: str, *, archives: bool) -> bool:
    declared = variables.ALL.get(name)
    if declared is not None:
        return declared.from_file
    rest, file_rest = name.removeprefix("RESTORE_"), file_name.removeprefix("RESTORE_")
    if rest != name:
        return _may_come_from_file(rest, file_rest, archives=archives)
    if file_name in walg.VARIABLES or pgbackrest.is_option(file_name):
        return False  # a variable of its own, such as WALG_S3_CA_CERT_FILE
    return archives and (name in walg.VARIABLES or pgbackrest.is_option(name))


def _unknown_names(values: Mapping[str, str]) -> tuple[list[Problem], list[Problem]]:
    unknown: list[Problem] = []
    doubtful: list[Problem] = []
    for name in values:
        if not name.startswith(variables.STRICT_GROUPS + variables.OUR_GROUPS):
            continue
        # What holds for the archive to restore from.
        rest = name.removeprefix("RESTORE_")
        if (
            name in variables.ALL
            or rest in ("ARCHIVE_URL", "ARCHIVE_TOOL")
            or rest in walg.VARIABLES
            or pgbackrest.is_option(rest)
            or variables.INJECTED.fullmatch(name)
        ):
            continue
        near = nearest(name)
        problem = Problem(
            f"unknown variable {name}",
            f"did you mean {near}?" if near else f"remove {name}; the README lists every variable",
        )
        if near or name.startswith(variables.STRICT_GROUPS):
            unknown.append(problem)
        else:
            doubtful.append(problem)
    return unknown, doubtful


def nearest(name: str) -> str | None:
    """Return the known variable that a misspelt name probably means."""
    import difflib  # only for a mistake: it costs as much as half a start

    known = [*variables.ALL, *walg.VARIABLES, *pgbackrest.names_like(name)]
    found = difflib.get_close_matches(name.removesuffix(FILE_SUFFIX), known, n=1, cutoff=0.8)
    return found[0] if found else None
