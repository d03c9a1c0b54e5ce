#!/usr/bin/env python3
"""Measure what each part of an image costs, unpacked.

usage: size.py IMAGE…    prints the table of docs/explanation/size.md, in MB, with a column for each image
"""

from __future__ import annotations

import re
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

OURS = ("the program", "its Python", "its packages", "pgBackRest", "wal-g", "libraries only for these")
"""The parts that an image of PostgreSQL alone does not have."""
LIBRARIES = "other libraries"
REST = "shell, tools and the rest"
ANY_PYTHON: Mapping[str, str] = {
    "its packages": r"/(site|dist)-packages/",
    "its Python": r"/(bin|lib)/(lib)?python3|-python3-",
}
"""Where another Python would be, which only our program would have brought."""
KINDS: Mapping[str, str] = {
    "template cluster": r"template/",
    "LLVM, for JIT": r"libLLVM|libz3\.|llvmjit|/bitcode/",
    "ICU": r"/libicu",
    "PostgreSQL": r"postgresql|/LC_MESSAGES/.*-\d+\.mo$",
    "time zones, certificates": r"/zoneinfo/|certificates|ca-bundle",
    "C library and locales": r"glibc|/locale/|/i18n/|/gconv/|/ld-linux|/lib(c|m|mvec)\.so",
    "perl": r"/perl|libperl",
    "package manager": r"/(apt|dpkg)\b|libapt",
    LIBRARIES: r"\.so(\.|$)",
}
"""Every other part, by its paths; the first one that matches counts."""
WALG = 61.8
"""MB of wal-g 3.0.9 and its client for amd64, stripped as nixpkgs strips them, for images that are built without it."""


class File(NamedTuple):
    """A file of an image, not a link."""

    path: str
    size: int


def table(image: str) -> dict[str, float]:
    """Return the MB of each part of an image."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        _unpack(image, root)
        files = list(_files(root))
        part = {file.path: _part(file.path, _places(root)) for file in files}
        _own_libraries(root, part)
    sizes = dict.fromkeys((*OURS, *KINDS, REST), 0)
    for file in files:
        sizes[part[file.path]] += file.size
    return {name: round(size / 1e6, 1) for name, size in sizes.items()}


def _unpack(image: str, root: Path) -> None:
    container = subprocess.check_output(("docker", "create", "--pull=never", image), text=True).strip()
    try:
        with subprocess.Popen(("docker", "export", container), stdout=subprocess.PIPE) as export:
            unpack = (
                "tar",
                "--extract",
                "--no-same-owner",
                "--no-same-permissions",
                "--exclude=dev/*",
                "--directory",
                root,
            )
            subprocess.run(unpack, check=True, stdin=export.stdout)
    finally:
        subprocess.run(("docker", "rm", "--volumes", container), check=True, stdout=subprocess.DEVNULL)


def _files(root: Path) -> Iterable[File]:
    """Yield each file once, however many names it has."""
    seen = set()
    for path in sorted(root.rglob("*")):
        found = path.lstat()
        if stat.S_ISREG(found.st_mode) and found.st_ino not in seen:
            seen.add(found.st_ino)
            yield File(f"/{path.relative_to(root)}", found.st_size)


def _places(root: Path) -> dict[str, str]:
    """Return our parts by the beginning of their paths, the longest first."""
    own = _real(root, "/usr/local/lib/nix-postgres")
    places = {
        f"{own}/python3": "its Python",
        f"{own}/lib/": "its Python",
        f"{own}/packages/": "its packages",
        f"{own}/": "the program",
        _real(root, "/usr/bin/pgbackrest"): "pgBackRest",
        _real(root, "/usr/local/bin/wal-g"): "wal-g",
        _real(root, "/usr/local/bin/walg-daemon-client"): "wal-g",
        f"{_real(root, '/usr/local/share/nix-postgres/template')}/": "template cluster",
    }
    return dict(sorted(places.items(), key=lambda place: -len(place[0])))


def _real(root: Path, path: str) -> str:
    """Follow the links of an image, whose root is a folder here."""
    found = Path("/")
    todo = list(Path(path).parts[1:])
    while todo:
        step = found / todo.pop(0)
        place = root / step.relative_to("/")
        if place.is_symlink():
            target = place.readlink()
            found = Path("/") if target.is_absolute() else found
            todo = [part for part in target.parts if part != "/"] + todo
        else:
            found = found.parent if step.name == ".." else step
    return str(found)


def _part(path: str, places: Mapping[str, str]) -> str:
    for place, name in places.items():
        if path.startswith(place):
            return name
    patterns = {**ANY_PYTHON, **KINDS}
    return next((name for name, pattern in patterns.items() if re.search(pattern, path)), REST)


def _own_libraries(root: Path, part: dict[str, str]) -> None:
    """Move the libraries that only our parts load, directly or through another, to a part of their own."""
    needed = {path: set(_needed(root / path[1:])) for path in part if _is_elf(root / path[1:])}
    names = {Path(path).name: path for path, kind in part.items() if kind == LIBRARIES}
    for link in root.rglob("*.so*"):
        if link.is_symlink():
            names.setdefault(link.name, _real(root, f"/{link.relative_to(root)}"))
    begin = {path: kind in OURS for path, kind in part.items() if path in needed and kind != LIBRARIES}
    others = _reached([path for path, ours in begin.items() if not ours], needed, names)
    mine = _reached([path for path, ours in begin.items() if ours], needed, names)
    for path in mine - others:
        if part.get(path) == LIBRARIES:
            part[path] = OURS[-1]


def _reached(begin: Iterable[str], needed: Mapping[str, set[str]], names: Mapping[str, str]) -> set[str]:
    found: set[str] = set()
    todo = list(begin)
    while todo:
        path = todo.pop()
        if path not in found:
            found.add(path)
            todo += [names[name] for name in needed.get(path, ()) if name in names]
    return found


def _is_elf(path: Path) -> bool:
    if not path.suffix and not path.stat().st_mode & 0o111:
        return False
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


def _needed(path: Path) -> list[str]:
    return subprocess.run(
        ("patchelf", "--print-needed", path), check=False, capture_output=True, text=True
    ).stdout.split()


def added(sizes: Mapping[str, float]) -> float:
    """Return the MB of our parts, with both archivers."""
    return sum(sizes[name] for name in OURS) + (0 if sizes["wal-g"] else WALG)


def main() -> None:
    """Print the table."""
    columns = [table(image) for image in sys.argv[1:]]
    print("| part |", " | ".join(sys.argv[1:]), "|")
    print("| --- |", " | ".join("---:" for _ in columns), "|")
    for name in columns[0]:
        print(f"| {name} |", " | ".join(f"{column[name]:.1f}" for column in columns), "|")
    print("| **together** |", " | ".join(f"{sum(column.values()):.1f}" for column in columns), "|")
    print("| ours, with both archivers |", " | ".join(f"{added(column):.1f}" for column in columns), "|")


if __name__ == "__main__":
    main()
