"""PostgreSQL's configuration files, parsed as the server does it (guc-file.l); pure.

This is for the case that no server is running that could answer (`pg_file_settings`), and for a start, which
cannot wait for one. Tests compare it with the real server.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from entrypoint.light import NamedTuple, re

DEEPEST = 10
"""How deep includes may be nested (CONF_FILE_MAX_DEPTH)."""

# Every character outside ASCII is a letter. The classes exclude characters, because one that lists all of
# Unicode takes 40 ms to compile.
_LETTER = r"[^\x00-@\[-^`{-\x7f]"
_LETTER_OR_DIGIT = r"[^\x00-/:-@\[-^`{-\x7f]"
_UNQUOTED = r"[^\x00-,;-@\[-^`{-\x7f]"  # letters, digits and - . / :
_NAME = f"{_LETTER}{_LETTER_OR_DIGIT}*"
_LINE = re.compile(
    rf"""(?xs)[ \t\r]*
    (?P<name> {_NAME} (?:\.{_NAME})? ) (?!{_UNQUOTED})
    [ \t\r]* (?: =[ \t\r]* )?
    (?: ' (?P<quoted> (?: [^'\\] | \\. | '' )* ) '
      | (?! {_NAME}\.{_NAME} (?!{_UNQUOTED}) )   # a qualified name, which is not a value
        (?P<plain> {_LETTER} {_UNQUOTED}*
                 | [-+]? [0-9]* \. [0-9]* (?: [Ee][-+]?[0-9]+ )?
                 | [-+]? 0x[0-9A-Fa-f]+ [A-Za-z]*
                 | [-+]? [0-9]+ [A-Za-z]* ) )
    [ \t\r]* (?: \# (?P<comment> .*) )?"""
)
_ESCAPE = re.compile(r"(?s)''|\\([0-7]{1,3}|.)")
_ESCAPED = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


class Entry(NamedTuple):
    """A line that sets a parameter."""

    name: str
    """In lower case, because PostgreSQL ignores the case."""
    value: str
    file: str
    line: int
    comment: str
    """The comment after the value on the same line."""

    @property
    def where(self) -> str:
        """The file and line, as people write them."""
        return f"{self.file}:{self.line}"


def parse(text: str, file: str) -> tuple[list[Entry], list[str]]:
    r"""Return the entries of one file, with includes as entries, and its errors.

    >>> parse("Work_Mem '64MB' # more\nport = 5432 5433", "f")
    ([Entry(name='work_mem', value='64MB', file='f', line=1, comment='more')], ['f:2: syntax error'])
    """
    entries, errors = [], []
    for number, line in enumerate(text.split("\n"), start=1):
        bare = line.strip(" \t\r")
        if not bare or bare[0] == "#":
            continue
        found = _LINE.fullmatch(line)
        if found is None:
            errors.append(f"{file}:{number}: syntax error")
            continue
        quoted = found["quoted"]
        value = found["plain"] if quoted is None else _ESCAPE.sub(_unescape, quoted)
        comment = (found["comment"] or "").strip()
        entries.append(Entry(found["name"].lower(), value, file, number, comment))
    return entries, errors


def _unescape(found: re.Match[str]) -> str:
    text = found[1]
    if text is None:
        return "'"
    return chr(int(text, 8) & 0xFF) if text[0] in "01234567" else _ESCAPED.get(text, text)


def read(
    path: str,
    read_text: Callable[[str], str],
    list_folder: Callable[[str], Sequence[str]],
    *,
    depth: int = 0,
) -> tuple[list[Entry], list[str]]:
    """Return the entries of a file and of all files that it includes, in the server's order: later ones win.

    Also return the errors: files that cannot be read, and lines that are not settings. The server would not
    start with them.
    """
    try:
        found, errors = parse(read_text(path), path)
    except OSError as error:
        return [], [f"{path}: {error.strerror or error}"]
    entries: list[Entry] = []
    for entry in found:
        if entry.name not in ("include", "include_if_exists", "include_dir"):
            entries.append(entry)
            continue
        more, wrong = _include(entry, read_text, list_folder, depth)
        entries += more
        errors += wrong
    return entries, errors


def _include(
    entry: Entry,
    read_text: Callable[[str], str],
    list_folder: Callable[[str], Sequence[str]],
    depth: int,
) -> tuple[list[Entry], list[str]]:
    if depth >= DEEPEST:
        return [], [f"{entry.where}: included too deeply"]
    target = entry.value if entry.value.startswith("/") else f"{_folder(entry.file)}/{entry.value}"
    if entry.name != "include_dir":
        entries, errors = read(target, read_text, list_folder, depth=depth + 1)
        missing = [f"{target}: No such file or directory"]
        return entries, [] if entry.name == "include_if_exists" and errors == missing else errors
    try:
        names = sorted(name for name in list_folder(target) if is_fragment(name))
    except OSError as error:
        return [], [f"{entry.where}: {target}: {error.strerror or error}"]
    read_ones = [read(f"{target}/{name}", read_text, list_folder, depth=depth + 1) for name in names]
    return (
        [each for entries, _ in read_ones for each in entries],
        [each for _, errors in read_ones for each in errors],
    )


def is_fragment(name: str) -> bool:
    """Return whether the server reads a file with this name from an included folder."""
    return name.endswith(".conf") and not name.startswith(".")


def _folder(path: str) -> str:
    return path.rpartition("/")[0]
