"""The README's tables as they follow from the program; `python tests/contracts/tables.py` writes them there."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [] if str(REPOSITORY) in sys.path else [str(REPOSITORY)]

from entrypoint import exits  # noqa: E402 - also works when started as a program
from entrypoint.doctor.checkup import CHECKS  # noqa: E402
from entrypoint.settings import variables  # noqa: E402

__all__ = ["REPOSITORY", "check_rows", "exit_codes", "rows_between", "variable_rows"]


def variable_rows() -> list[str]:
    """Return one row of Markdown for each variable; † marks those that can come from a file."""
    return [
        f"| `{variable.name}`{' †' if variable.from_file else ''} | {_default(variable.default)} | {variable.doc} |"
        for variable in variables.table().values()
    ]


def _default(text: str) -> str:
    """Return a value as code, and words as words."""
    return f"`{text}`" if re.fullmatch(r"\S+", text) else text


def check_rows() -> list[str]:
    """Return one row of Markdown for each check of `doctor`."""
    return [f"| `{check.name}` | {check.looks_at} | {check.why} |" for check in CHECKS]


def exit_codes() -> dict[str, int]:
    """Return the exit codes of the program by name, without those of `doctor`, which has its own line."""
    tree = ast.parse(Path(exits.__file__).read_text(encoding="utf-8"))
    names = [
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    ]
    return {name: getattr(exits, name) for name in names if not name.startswith("DOCTOR_")}


def rows_between(marker: str) -> list[str]:
    """Return the rows of the README's table between two markers, without its head."""
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    _, _, rest = text.partition(f"<!-- {marker} -->\n")
    table, found, _ = rest.partition(f"<!-- /{marker} -->\n")
    return [line for line in table.splitlines() if line.startswith("| `")] if found else []


def _written(text: str, marker: str, rows: list[str]) -> str:
    """Return the README with these rows in its table between two markers."""
    before, begin, rest = text.partition(f"<!-- {marker} -->\n")
    table, end, after = rest.partition(f"<!-- /{marker} -->\n")
    head = [line for line in table.splitlines() if not line.startswith("| `")]
    return before + begin + "".join(f"{line}\n" for line in (*head, *rows)) + end + after


if __name__ == "__main__":
    readme = REPOSITORY / "README.md"
    before = readme.read_text(encoding="utf-8")
    readme.write_text(
        _written(_written(before, "variables", variable_rows()), "checks", check_rows()), "utf-8"
    )
