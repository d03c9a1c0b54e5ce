"""Every message that the program may log, read from its source: each call that makes one, with its hint."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

PROGRAM = Path(__file__).resolve().parents[1] / "entrypoint"
ELLIPSIS = "…"
_CALLS = {
    "Problem": "error",
    "log.info": "info",
    "log.warning": "warning",
    "warning": "doctor: warning",
    "error": "doctor: error",
}
"""What makes a message, and its level; the last two are those of `finding`."""


Names = dict[str, dict[int, ast.expr | None]]
"""What is assigned to names, by line; None: the name is used there."""


class Message(NamedTuple):
    """One message, with … in place of what is known only when the program runs."""

    room: str
    level: str
    text: str
    hint: str
    docs: str


def messages(program: Path = PROGRAM) -> list[Message]:
    """Return all messages, by room and in the order of the source."""
    found = [
        message
        for path in sorted(program.rglob("*.py"))
        for message in _of_module(path, path.relative_to(program).parts[0].removesuffix(".py"))
    ]
    return list(dict.fromkeys(found))


def _of_module(path: Path, room: str) -> Iterator[Message]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    constants = _assigned(tree.body)
    for function in ast.walk(tree):
        if isinstance(function, (ast.FunctionDef, ast.Module)):
            known = {
                name: constants.get(name, {}) | lines for name, lines in _assigned(_inside(function)).items()
            }
            for node in _inside(function):
                if isinstance(node, ast.Call) and node.args and ast.unparse(node.func) in _CALLS:
                    yield from _of_call(room, node, _until(node.lineno, known))


def _inside(scope: ast.AST) -> Iterator[ast.AST]:
    """Yield what is in a function or a module, but for the functions in it."""
    for child in ast.iter_child_nodes(scope):
        if not isinstance(child, ast.FunctionDef):
            yield child
            yield from _inside(child)


def _assigned(nodes: Iterable[ast.AST]) -> Names:
    """Return all that is assigned to each name, by the line where it is."""
    found: Names = {}
    for node in nodes:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found.setdefault(node.targets[0].id, {})[node.lineno] = node.value
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            found.setdefault(node.id, {})[node.lineno] = None
    return found


def _until(line: int, known: Names) -> dict[str, list[ast.expr]]:
    """Return what each name can be on a line: what was assigned since its last use before that line."""
    found: dict[str, list[ast.expr]] = {}
    for name, lines in known.items():
        before = sorted(each for each in lines if each < line)
        values = [lines[each] for each in before]
        while values and values[-1] is None:
            values.pop()
        last = max((at for at, value in enumerate(values) if value is None), default=-1)
        found[name] = [value for value in values[last + 1 :] if value is not None]
    return found


def _of_call(room: str, node: ast.Call, known: Mapping[str, list[ast.expr]]) -> Iterator[Message]:
    level = _CALLS[ast.unparse(node.func)]
    names = ("what", "hint", "code", "docs") if level == "error" else ("what", "hint", "docs")
    given = dict(zip(names, node.args, strict=False)) | {
        each.arg: each.value for each in node.keywords if each.arg
    }
    hints = [_flat(hint) for hint in _texts(given["hint"], known)] if "hint" in given else [""]
    docs = ast.literal_eval(given["docs"]) if isinstance(given.get("docs"), ast.Constant) else ""
    for text in _texts(node.args[0], known):
        if text.strip(f"{ELLIPSIS} :;,"):
            yield Message(room, level, _flat(text), " / ".join(dict.fromkeys(hints)), docs)


def _flat(text: str) -> str:
    return " ".join(text.split())


def _texts(node: ast.expr, known: Mapping[str, list[ast.expr]]) -> list[str]:
    """Return what an expression can be, with … for what only a run knows."""
    match node:
        case ast.Constant(value=str(text)):
            return [text]
        case ast.JoinedStr(values=parts):
            text = "".join(str(part.value) if isinstance(part, ast.Constant) else ELLIPSIS for part in parts)
            return [text]
        case ast.IfExp(body=first, orelse=second):
            return _texts(first, known) + _texts(second, known)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return [a + b for a in _texts(left, known) for b in _texts(right, known)]
        case ast.Name(id=name) if name in known:
            rest = {each: values for each, values in known.items() if each != name}
            return [text for value in known[name] for text in _texts(value, rest)]
    return [ELLIPSIS]
