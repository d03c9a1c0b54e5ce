#!/usr/bin/python3
"""Copy Debian's binaries into Nix's store, one path for each package; runs in the container of tests/nix_image.py.

usage: debian.py MAJOR >FILE             describe the packages for debian.nix
       debian.py PACKAGE OUT [PATH…]     copy a package; PACKAGE is a file with its description, PATHs are what it needs

A copy has its loader and its libraries in the store, and each of its files names only the paths that it needs, so Nix
finds the closure of an image as it does with packages of its own.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent
INFO = Path("/var/lib/dpkg/info")
(LIBRARIES,) = map(str, Path("/usr/lib").glob("*-linux-gnu"))
MODULES = "/usr/lib/python3/dist-packages"
PYTHON = Path("/usr/bin/python3").resolve().name

PROGRAMS = {
    "bashInteractive": "bash",
    "coreutils": "coreutils",
    "findutils": "findutils",
    "gawk": "mawk",
    "getent": "libc-bin",
    "gnugrep": "grep",
    "gnused": "sed",
    "gzip": "gzip",
    "less": "less",
    "locale": "libc-bin",
    "util-linuxMinimal": "util-linux mount",
    "which": "debianutils",
    "xz": "xz-utils",
    "zstd": "zstd",
}
"""Debian's packages of programs by nixpkgs' names; of libc-bin only the program with that name is used."""
OTHER_NAMES = {
    "bashInteractive": ("bash", "sh"),
    "gawk": ("mawk", "awk"),
    "which": ("which.debianutils", "which"),
}
"""Names that Debian takes from elsewhere and nixpkgs from the same package, each after its program."""
PLAIN = {
    "cacert": ("ca-certificates", "/etc/ssl/certs/ca-certificates.crt", "etc/ssl/certs/ca-bundle.crt"),
    "nss_wrapper": ("libnss-wrapper", f"{LIBRARIES}/libnss_wrapper.so", "lib/libnss_wrapper.so"),
    "pgbackrest": ("pgbackrest", "/usr/bin/pgbackrest", "bin/pgbackrest"),
    "tzdata": ("tzdata", "/usr/share/zoneinfo", "share/zoneinfo"),
}
"""Packages of one file or folder: Debian's name, the place there and the place in the store."""
NEEDED_MODULES = ("apprise", "click", "jinja2", "prometheus-client", "psutil")
IDLE = ("_sqlite3", "_curses", "_dbm", "_gdbm", "readline", "nis")
"""Python's modules that image/trim.py removes too, and whose libraries nothing else needs."""


class Part(NamedTuple):
    """A package: what is copied to which place in its path, and links."""

    version: str
    files: list[tuple[str, str]]
    links: list[tuple[str, str]] = []  # noqa: RUF012 - a tuple's default is not shared state


@cache
def versions() -> Mapping[str, str]:
    """Return the version of each installed package."""
    show = ("dpkg-query", "--show", "--showformat=${Package} ${Version}\n")
    rows = subprocess.run(show, check=True, capture_output=True, text=True).stdout.splitlines()
    return dict(row.split() for row in rows)


def files_of(package: str) -> list[str]:
    """Return the files of a package."""
    (listed,) = (path for path in INFO.glob(f"{package}*.list") if path.stem.partition(":")[0] == package)
    return listed.read_text(encoding="utf-8").splitlines()


@cache
def owners() -> Mapping[str, str]:
    """Return the package of each shared library; /lib is /usr/lib."""
    return {
        f"/usr{path.removeprefix('/usr')}": listed.stem.partition(":")[0]
        for listed in INFO.glob("*.list")
        for path in listed.read_text(encoding="utf-8").splitlines()
        if ".so" in path
    }


def elf_files(top: str) -> Iterator[str]:
    """Yield the ELF files in a file or folder, without links."""
    names = (
        [top] if os.path.isfile(top) else [f"{at}/{name}" for at, _, found in os.walk(top) for name in found]
    )
    for name in names:
        if not os.path.islink(name) or name == top:
            with open(name, "rb") as file:
                if file.read(4) == b"\x7fELF":
                    yield name


def patchelf(*arguments: str) -> str | None:
    """Return the output of patchelf; None: the file has nothing of that kind."""
    done = subprocess.run(("patchelf", *arguments), check=False, capture_output=True, text=True)
    return done.stdout if done.returncode == 0 else None


@cache
def needed(path: str) -> list[str]:
    """Return the libraries that an ELF file names."""
    return (patchelf("--print-needed", path) or "").split()


def glibc() -> Part:
    """The C library and its loader, with the library that it loads when a thread ends."""
    found = [
        (path, f"lib/{os.path.basename(path)}")
        for path in files_of("libc6")
        if os.path.dirname(f"/usr{path.removeprefix('/usr')}") == LIBRARIES and re.search(r"\.so\b", path)
    ]
    return Part(versions()["libc6"], [*found, (f"{LIBRARIES}/libgcc_s.so.1", "lib/libgcc_s.so.1")])


def programs(name: str) -> Part:
    """One of the layout's tools."""
    found = [
        (path, f"bin/{os.path.basename(path)}")
        for package in PROGRAMS[name].split()
        for path in files_of(package)
        if os.path.dirname(path) in {"/bin", "/usr/bin"}
        if PROGRAMS[name] != "libc-bin" or os.path.basename(path) == name
    ]
    links = [(OTHER_NAMES[name][0], f"bin/{OTHER_NAMES[name][1]}")] if name in OTHER_NAMES else []
    return Part(versions()[PROGRAMS[name].split()[0]], found, links)


def postgresql(major: str) -> Part:
    """PostgreSQL in nixpkgs' layout.

    Its programs find their parts relative to the place that they really have, so that place is one like Debian's.
    """
    debian = f"debian/lib/postgresql/{major}"
    lib, share, bin_ = f"/usr/lib/postgresql/{major}/lib", f"/usr/share/postgresql/{major}", f"{debian}/bin"
    found = [(f"{lib}/{name}", f"lib/{name}") for name in sorted(os.listdir(lib)) if name != "pgxs"]
    found += [
        (f"{share}/{name}", f"share/postgresql/{name}") for name in sorted(os.listdir(share)) if name != "man"
    ]
    programs = sorted(os.listdir(f"/usr/lib/postgresql/{major}/bin"))
    links = [(f"../{bin_}/{name}", f"bin/{name}") for name in programs]
    for name in programs:
        program = f"/usr/lib/postgresql/{major}/bin/{name}"
        if os.path.islink(program):  # postmaster
            links.append((os.readlink(program), f"{bin_}/{name}"))
        else:
            found.append((program, f"{bin_}/{name}"))
    links += [
        ("../../../../lib", f"{debian}/lib"),
        ("../../../share/postgresql", f"debian/share/postgresql/{major}"),
    ]
    return Part(versions()[f"postgresql-{major}"], found, links)


def modules() -> tuple[dict[str, Part], dict[str, list[str]]]:
    """Python's packages, and the names of those that each of ours needs."""
    show = ("dpkg-query", "--show", "--showformat=${Package}\t${Depends}\t${Provides}\n")
    rows = subprocess.run(show, check=True, capture_output=True, text=True).stdout.splitlines()
    named = [[re.findall(r"(?:^|[,|] *)([\w.+-]+)", text) for text in row.split("\t")] for row in rows]
    depends = {name: each for (name,), each, _ in named}
    provided = {other: name for (name,), _, others in named for other in others}
    parts: dict[str, Part] = {}

    def closure(name: str, found: list[str]) -> list[str]:
        name = provided.get(name, name)
        if name in found or name not in depends:
            return found
        listed = [path for path in files_of(name) if path.startswith(f"{MODULES}/")]
        if not listed:
            return found
        tops = sorted({path.removeprefix(f"{MODULES}/").partition("/")[0] for path in listed})
        tops += [f"__pycache__/{path.name}" for top in tops for path in _compiled(top)]
        parts[name] = Part(
            versions()[name], [(f"{MODULES}/{top}", f"lib/{PYTHON}/site-packages/{top}") for top in tops]
        )
        found.append(name)
        for each in depends[name]:
            closure(each, found)
        return found

    wanted = {name: closure(name if name == "apprise" else f"python3-{name}", []) for name in NEEDED_MODULES}
    (wheel,) = (HERE.parents[1] / "image/wheels").glob("cronsim-*.whl")
    parts["cronsim"] = Part(wheel.name.split("-")[1], [(str(wheel), f"lib/{PYTHON}/site-packages")])
    return parts, wanted | {"cronsim": ["cronsim"]}


def _compiled(top: str) -> list[Path]:
    name = top.removesuffix(".py")
    return [] if name == top else sorted(Path(MODULES, "__pycache__").glob(f"{name}.*.pyc"))


def python() -> Part:
    """Python without these modules; image/trim.py takes from it what the program needs."""
    found = [(f"/usr/bin/{PYTHON}", f"bin/{PYTHON}")]
    for folder, _, names in os.walk(f"/usr/lib/{PYTHON}"):
        for name in names:
            path = f"{folder}/{name}"
            if not (name.endswith(".so") and name.startswith(IDLE)):
                found.append((path, path.removeprefix("/usr/")))
    return Part(versions()[PYTHON], found, [(PYTHON, "bin/python3")])


def libraries(parts: dict[str, Part]) -> dict[str, list[str]]:
    """Add a part for each package of libraries that a part needs; return the names of the parts that each needs."""
    provided = {os.path.basename(target): "glibc" for _, target in parts["glibc"].files}
    needs: dict[str, set[str]] = {}
    todo = list(parts)
    for name in todo:  # grows during the loop
        found = needs.setdefault(name, set())
        elves = (elf for source, _ in parts[name].files for elf in elf_files(source))
        for library in sorted({library for elf in elves for library in needed(elf)}):
            path = f"{LIBRARIES}/{library}"
            if library not in provided:
                owner = owners().get(path) or owners()[os.path.realpath(path)]
                provided[library] = owner
                known = parts.get(owner, Part(versions()[owner], []))
                parts[owner] = known._replace(files=[*known.files, (path, f"lib/{library}")])
                todo.append(owner)
            if provided[library] != name:
                found.add(provided[library])
    return {name: sorted(found | ({"glibc"} - {name})) for name, found in needs.items()}


def describe(major: str) -> Any:
    """Return the description of all packages."""
    parts = {"glibc": glibc(), "postgresql": postgresql(major), "python3": python()}
    parts |= {name: programs(name) for name in PROGRAMS}
    parts |= {name: Part(versions()[debian], [(at, to)]) for name, (debian, at, to) in PLAIN.items()}
    more, wanted = modules()
    parts |= more
    walg = HERE.parents[1] / "walg"
    if walg.exists():
        digest = subprocess.run(
            ("sha256sum", walg / "wal-g"), check=True, capture_output=True, text=True
        ).stdout[:12]
        parts["wal-g"] = Part(
            digest, [(f"{walg}/{name}", f"bin/{name}") for name in ("wal-g", "walg-daemon-client")]
        )
    needs = libraries(parts)
    needs["postgresql"].append("bashInteractive")
    (icu,) = (name for name in parts if name.startswith("libicu"))
    return {
        "parts": {name: {**part._asdict(), "needs": needs[name]} for name, part in parts.items()},
        "icu": icu,
        "modules": wanted,
        "python": PYTHON,
        "major": major,
        "version": parts["postgresql"].version.partition("-")[0],
    }


def copy(out: Path, part: Mapping[str, Any], paths: Mapping[str, str]) -> None:
    """Copy a package; `paths` are those of the packages that it needs."""
    for source, target in part["files"]:
        place = out / target
        place.parent.mkdir(parents=True, exist_ok=True)
        if source.endswith(".whl"):
            zipfile.ZipFile(source).extractall(place)
        elif os.path.isdir(source):
            shutil.copytree(
                source, place, symlinks=True, ignore_dangling_symlinks=True, copy_function=_copy_file
            )
        else:
            _copy_file(source, place)
    for target, link in part["links"]:
        (out / link).parent.mkdir(parents=True, exist_ok=True)
        (out / link).symlink_to(target)
    _make_own(out)
    if (out / "debian").exists():
        _as_nixpkgs_has_it(out, paths["bashInteractive"])
    for elf in itertools.chain(*map(elf_files, map(str, sorted(out.iterdir())))):
        _patch(elf, [str(out), *paths.values()], paths.get("glibc"))


def _make_own(out: Path) -> None:
    """Replace links to Debian's files by what they name, and keep compiled code valid."""
    for path in sorted(out.rglob("*")):
        if path.is_symlink() and os.path.isabs(path.readlink()):  # to a file of Debian's own
            source = path.resolve()
            path.unlink()
            if source.is_file():
                _copy_file(str(source), path)
        elif path.suffix == ".pyc":
            _keep_compiled(path)


def _copy_file(source: str, target: str | Path) -> None:
    """Copy a file and its mode, except for bits that no file in the store may have, like setuid."""
    shutil.copyfile(source, target)
    os.chmod(target, os.stat(source).st_mode & 0o777)


def _as_nixpkgs_has_it(out: Path, bash: str) -> None:
    """Make PostgreSQL like that of nixpkgs.

    initdb is a script and finds its files by the link of its call, and neither pg_config prints a place.
    """
    (programs,) = (out / "debian/lib/postgresql").glob("*/bin")
    (programs / "initdb").rename(programs / ".initdb-wrapped")
    for name, text in (
        ("initdb", f'exec -a "$0" {programs}/.initdb-wrapped -L "${{0%/*}}/../share/postgresql" "$@"'),
        ("pg_config", "echo The real pg_config can be found in the -dev output.; exit 1"),
    ):
        (programs / name).write_text(f"#!{bash}/bin/bash\n{text}\n", encoding="utf-8")
        (programs / name).chmod(0o755)
    views = out / "share/postgresql/system_views.sql"
    text = views.read_text(encoding="utf-8")
    view = "SELECT * FROM pg_config()"
    if view not in text:
        raise SystemExit(f"debian.py: {views.name} does not make the view pg_config as it used to")
    views.write_text(text.replace(view, f"{view} WHERE false"), encoding="utf-8")


def _keep_compiled(path: Path) -> None:
    """Mark compiled code as valid without a look at the source, whose time is another one in the store."""
    data = path.read_bytes()
    path.write_bytes(data[:4] + (1).to_bytes(4, "little") + bytes(8) + data[16:])


def _patch(elf: str, paths: list[str], libc: str | None) -> None:
    """Make an ELF file look only into those paths that have what it needs; the C library is left as it is."""
    if libc is None:
        return
    folders = {libc: None} | {
        path: None for path in paths for library in needed(elf) if os.path.exists(f"{path}/lib/{library}")
    }
    os.chmod(elf, 0o755 if os.access(elf, os.X_OK) else 0o644)
    # one after the other: patchelf 0.18 lets the segments of a program overlap that it changes in both ways at once
    if patchelf("--print-rpath", elf) is not None:
        _change(elf, "--force-rpath", "--set-rpath", ":".join(f"{path}/lib" for path in folders))
    if patchelf("--print-interpreter", elf) is not None:
        (loader,) = Path(libc, "lib").glob("ld-linux*")
        _change(elf, "--set-interpreter", str(loader))


def _change(elf: str, *arguments: str) -> None:
    if patchelf(*arguments, elf) is None:
        raise SystemExit(f"debian.py: patchelf cannot change {elf}")


def main() -> None:
    """Describe all packages, or copy one."""
    if len(sys.argv) == 2:
        json.dump(describe(sys.argv[1]), sys.stdout)
        return
    _, described, out, *needs = sys.argv
    part = json.loads(Path(described).read_text(encoding="utf-8"))
    copy(Path(out), part, dict(zip(part["needs"], needs, strict=True)))


if __name__ == "__main__":
    main()
