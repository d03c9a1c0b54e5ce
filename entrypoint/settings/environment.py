"""From the raw environment to checked values: resolves each `X_FILE` and finds unknown names; pure."""

from __future__ import annotations

from entrypoint.archivers import tool_variables
from entrypoint.errors import Problem
from entrypoint.light import NamedTuple
from entrypoint.settings import foreign, serving, variables
from entrypoint.settings.fields import FILE_SUFFIX, PATRONI

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class Environment(NamedTuple):
    """The environment with every `X_FILE` resolved."""

    values: dict[str, str]
    """All variables, ours and others', each by its plain name."""
    problems: tuple[Problem, ...]
    warnings: tuple[Problem, ...] = ()
    files: Mapping[str, str] = {}
    """The files that variables were read from, by the variable's plain name."""


def read(raw: Mapping[str, str], read_file: Callable[[str], str]) -> Environment:
    """Return the checked environment; `read_file` gives a file's text or raises OSError.

    "Set" means not empty, and all newlines at the end of a file are dropped, both as in the official
    image's `file_env`.
    """
    values = dict(raw)
    # If nothing is archived, names such as AWS_SECRET_ACCESS_KEY_FILE may be meant for an init file.
    archives = foreign.has_storage(raw)
    problems: list[Problem] = []
    doubts: list[Problem] = []
    files: dict[str, str] = {}
    for file_name in raw:
        name = file_name.removesuffix(FILE_SUFFIX)
        if name == file_name or not (
            may_come_from_file(name, file_name, archives=archives) or _is_of_patroni(name, raw)
        ):
            continue
        path = values.pop(file_name)
        if not path:
            continue
        if raw.get(name):
            problems.append(
                Problem(
                    f"both {name} and {file_name} are set (but are exclusive)",
                    f"set only one of {name} and {file_name}",
                    docs="handle-secrets",
                )
            )
            continue
        try:
            values[name] = text_of(read_file(path))
            files[name] = path
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            is_ours = archives or variables.find(name) is not None or name.startswith(PATRONI)
            (problems if is_ours else doubts).append(
                Problem(
                    # A value that is not a path may be the secret itself, set in the wrong variable.
                    f"{file_name}={path}: cannot be read: {reason}"
                    if path.startswith("/")
                    else f"{file_name} is not the path of a file that can be read: {reason}",
                    f"mount the file so that the container's user can read it, or set {name}",
                    docs="handle-secrets",
                )
            )
    unknown, doubtful = foreign.unknown(values)
    doubts += [*doubtful, *foreign.theirs(values).values()]
    doubts += [doubt for name in values if (doubt := serving.conf_doubt(name, values[name])) is not None]
    if any(name.startswith(PATRONI) for name in values):
        from entrypoint.settings import failing_over

        doubts += failing_over.doubts(values)
    return Environment(values, tuple(problems + unknown), tuple(doubts), files)


def pack(values: Mapping[str, str]) -> str:
    """Return the environment as one text, in the format of `env -0`."""
    return "".join(f"{name}={value}\0" for name, value in values.items())


def unpack(text: str) -> dict[str, str]:
    """Read what `pack` or `env -0` wrote.

    >>> unpack(pack({"a": "1=2", "b": ""}))
    {'a': '1=2', 'b': ''}
    """
    pairs = (entry.partition("=") for entry in text.split("\0") if entry)
    return {name: value for name, _, value in pairs}


def text_of(content: str) -> str:
    """Return the value that a file contains; raises ValueError for a value that no variable can have."""
    if "\0" in content:
        raise ValueError("it contains a zero byte, which no environment variable can")
    return content.rstrip("\n")


def _is_of_patroni(name: str, raw: Mapping[str, str]) -> bool:
    if not name.startswith(PATRONI):
        return False
    from entrypoint.settings import failing_over

    return failing_over.may_come_from_file(name, raw)


def may_come_from_file(name: str, file_name: str, *, archives: bool) -> bool:
    """Return whether the file that `file_name` names contains the value of `name`."""
    declared = variables.find(name)
    if declared is not None:
        return declared.from_file
    prefix = tool_variables.SOURCE_PREFIX
    rest, file_rest = name.removeprefix(prefix), file_name.removeprefix(prefix)
    if rest != name:
        return may_come_from_file(rest, file_rest, archives=archives)
    if tool_variables.is_known(file_name):
        return False  # a variable in its own right, for example for a certificate
    own = archives or name.startswith(tuple(tool_variables.GROUPS.values()))
    return own and tool_variables.is_known(name)
