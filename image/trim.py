#!/usr/bin/python3
"""Make the program's own Python: a copy of this one and of its packages, without what is never imported.

usage: PYTHONHASHSEED=0 python3 -sX no_debug_ranges trim.py PACKAGES TARGET [FORGOTTEN…]

PACKAGES is the folder with the packages. TARGET gets `python3`, `lib` and `packages`. The modules are
compiled, and their sources, docstrings and assertions are left out, which halves them. FORGOTTEN are store
paths of Nix that the copy replaces, so it must not refer to them.
"""

import compileall
import fnmatch
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

IDLE_MODULES = """
    __hello__ __phello__ _aix_support _android_support _apple_support _ios_support _pydecimal _pyio
    _pyrepl aifc antigravity asynchat asyncore bdb cProfile cgi cgitb chunk cmd code codeop colorsys
    crypt curses dbm distutils _distutils_system_mod doctest ensurepip fileinput graphlib idlelib
    imaplib imghdr imp lib2to3 mailbox mailcap modulefinder multiprocessing nntplib nturl2path
    pdb pickletools pipes poplib profile pstats pty pyclbr pydoc pydoc_data rlcompleter sched shelve
    sitecustomize smtpd sndhdr sqlite3 sunau symtable tabnanny telnetlib test this tkinter trace turtle
    turtledemo unittest uu venv wave xdrlib xmlrpc zipapp
""".split()
"""Modules of the standard library that are imported at most by code that cannot run here."""
IDLE_LIBRARIES = """
    _codecs_* _crypt.* _ctypes_test.* _curses* _dbm.* _gdbm.* _interp* _lsprof.* _multiprocessing.*
    _posixshmem.* _sqlite3.* _test* _tkinter.* _xx* audioop.* nis.* ossaudiodev.* readline.* xx*
""".split()
"""The same in lib-dynload. _codecs_* are encodings of East Asia; what the program reads is UTF-8."""
IDLE_PACKAGES = """
    EXTERNALLY-MANAGED README.txt _cffi_backend* _distutils_hack bcrypt* chardet* cryptography*
    distutils-precedence.pth pip* pkg_resources setuptools* wheel*
""".split()
"""requests uses charset_normalizer where chardet is missing; of apprise, two services need cryptography."""
IDLE_ANYWHERE = """
    __pycache__ test tests testing.py *.c *.h *.pth *.pyi *.pyx py.typed _psaix.py _psbsd.py _psosx.py
    _pssunos.py _pswindows.py _winconsole.py proactor_events.py windows_events.py windows_utils.py
""".split()


def main(packages: str, target: str, *forgotten: str) -> None:
    """Make the copy and compile it."""
    library = Path(os.__file__).parent
    own = Path(target)
    (own / "lib").mkdir(parents=True)
    copy(
        library,
        own / "lib" / library.name,
        _is_idle(library, [*IDLE_MODULES, "config-*", "*.dist-info", "dist-packages", "site-packages"]),
    )
    copy(Path(packages), own / "packages", _is_idle(Path(packages), IDLE_PACKAGES))
    shutil.copy(os.path.realpath(sys.executable), own / "python3")
    for shared in library.parent.glob("libpython3.*.so.*"):
        shutil.copy(shared, own / "lib")
    forget(own, forgotten)
    compile_all(own)


def copy(source: Path, target: Path, is_idle: Callable[[Path], bool]) -> None:
    """Copy a folder without what is idle, and with the files that links lead to."""

    def ignored(folder: str, names: list[str]) -> set[str]:
        return {name for name in names if is_idle(Path(folder, name))}

    shutil.copytree(source, target, ignore=ignored, ignore_dangling_symlinks=True)
    for folder, _, _ in os.walk(target):
        os.chmod(folder, 0o755)  # noqa: S103 - folders in Nix's store are read-only


def _is_idle(top: Path, at_the_top: Iterable[str]) -> Callable[[Path], bool]:
    patterns = {top: at_the_top, top / "lib-dynload": IDLE_LIBRARIES}

    def is_idle(path: Path) -> bool:
        name = path.name
        stem = name.removesuffix(".py")
        return any(fnmatch.fnmatch(name, pattern) for pattern in IDLE_ANYWHERE) or any(
            fnmatch.fnmatch(name, pattern) or stem == pattern for pattern in patterns.get(path.parent, ())
        )

    return is_idle


def forget(own: Path, forgotten: Iterable[str]) -> None:
    """Remove the store paths that the copy does not need, so the image does not contain them.

    The interpreter finds its library next to itself: the path in it is replaced by one of the same length.
    """
    for path in forgotten:
        beside = "$ORIGIN/lib"
        replace(own / "python3", f"{path}/lib", beside + "/" * (len(f"{path}/lib") - len(beside)))
        digest = re.sub(r"^.*/(\w{32})-.*", r"\1", path)
        for file in own.rglob("*"):
            if file.is_file():
                replace(file, digest, "e" * len(digest))


def replace(path: Path, old: str, new: str) -> None:
    """Replace a text in a file by another of the same length."""
    content = path.read_bytes()
    if old.encode() in content:
        path.chmod(path.stat().st_mode | 0o200)
        path.write_bytes(content.replace(old.encode(), new.encode()))


def compile_all(own: Path) -> None:
    """Compile each module and remove its source."""
    for folder in (own / "lib", own / "packages"):
        if not compileall.compile_dir(folder, maxlevels=20, quiet=1, legacy=True, optimize=2, force=True):
            sys.exit(f"trim.py: a module in {folder} cannot be compiled")
        for source in folder.rglob("*.py"):
            source.unlink()
    # apprise lists the files of this folder to find its services, and takes names without a suffix as well
    for plugin in (own / "packages/apprise/plugins").glob("*.pyc"):
        if not plugin.name.startswith("__"):
            plugin.with_suffix("").touch()


if __name__ == "__main__":
    main(*sys.argv[1:])
