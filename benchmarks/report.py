"""Output of the benchmarks."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def table(corner: str, rows: Mapping[str, Sequence[str]], titles: Sequence[str]) -> None:
    """Print a table in Markdown."""
    print(f"\n| {corner} | {' | '.join(titles)} |\n| --- |{' ---: |' * len(titles)}")
    for name, cells in rows.items():
        print(f"| {name} | {' | '.join(cells)} |")


def write(path: Path, found: Mapping[str, Any]) -> None:
    """Write the figures, with the relevant facts about the machine."""
    machine = {
        "processors": os.cpu_count(),
        # More than one busy process outside the container makes the figures worthless.
        "load": os.getloadavg()[2],
    }
    path.write_text(json.dumps({**machine, **found}, indent=2) + "\n", encoding="utf-8")
