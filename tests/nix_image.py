#!/usr/bin/env python3
"""Make an image with the file tree of the Nix image from the Debian binaries of one of our images.

usage: nix_image.py IMAGE NAME

This tests the properties of a Nix image on machines that cannot build with Nix: every binary is in /nix/store, with
a loader and libraries that are there too, and nothing is where Debian has it except the entries of
image/layout.json, from which the Nix image is built too.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from layout import LAYOUT, layout_of

TOOLS = {
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
"""Debian's packages of the layout's tools; of libc-bin only the program with that name is used."""
OTHER_NAMES = {"sh": "bash", "awk": "mawk", "which": "which.debianutils"}
"""Names that Debian takes from elsewhere and nixpkgs from the same package, each with its program."""


class Debian(NamedTuple):
    """The files of a Debian image, in a folder."""

    root: Path

    def path(self, name: str) -> Path:
        """Return the place of a file of the image; its links are followed as in the image."""
        done = Path("/")
        todo = name.strip("/").split("/")
        while todo:
            step = done / todo.pop(0)
            found = self.root / step.relative_to("/")
            if found.is_symlink():
                target = Path(os.path.normpath(done / found.readlink()))
                done, todo = Path("/"), [*target.parts[1:], *todo]
            else:
                done = step
        return self.root / done.relative_to("/")

    def files(self, package: str) -> list[str]:
        """Return the files of a package."""
        (listed,) = (
            path
            for path in (self.root / "var/lib/dpkg/info").glob(f"{package}*.list")
            if re.fullmatch(rf"{package}(:\w+)?", path.stem)
        )
        return listed.read_text(encoding="utf-8").splitlines()

    @property
    def libraries(self) -> str:
        """The folder of the architecture's libraries."""
        (found,) = (self.root / "usr/lib").glob("*-linux-gnu")
        return f"/usr/lib/{found.name}"


class Store:
    """The future /nix/store, and the image whose files go into it."""

    def __init__(self, top: Path, debian: Debian) -> None:
        """Refer to an empty folder."""
        self.top = top
        self.debian = debian

    def name(self, package: str) -> str:
        """Return the path that a package has in the image."""
        digest = hashlib.sha256(package.encode()).digest()
        letters = "0123456789abcdfghijklmnpqrsvwxyz"
        return f"/nix/store/{''.join(letters[byte % 32] for byte in digest)}-{package}"

    def place(self, path: str) -> Path:
        """Return the current place of a path of the image; its folder is created."""
        place = self.top / path.removeprefix("/nix/store/")
        place.parent.mkdir(parents=True, exist_ok=True)
        return place

    def copy(self, source: str, target: str) -> None:
        """Copy a file or folder of the image."""
        found = self.debian.path(source)
        if found.is_dir():
            shutil.copytree(found, self.place(target), symlinks=True, dirs_exist_ok=True)
        else:
            shutil.copy2(found, self.place(target))

    def link(self, target: str, path: str) -> None:
        """Make a link."""
        self.place(path).symlink_to(target)

    def binaries(self) -> Iterator[Path]:
        """Yield the ELF files."""
        for folder, _, names in os.walk(self.top):
            for path in (Path(folder, name) for name in names):
                if not path.is_symlink():
                    with path.open("rb") as file:
                        if file.read(4) == b"\x7fELF":
                            yield path


def patchelf(*arguments: str | Path) -> str | None:
    """Return the output of patchelf; None: the file has nothing of that kind."""
    done = subprocess.run(("patchelf", *arguments), check=False, capture_output=True, text=True)
    return done.stdout if done.returncode == 0 else None


def fill(store: Store, layout: Any, major: str) -> dict[str, str]:
    """Put everything except libraries into the store; return the path of each package of the layout."""
    packages = {
        "server": _server(store, major),
        "tools": _tools(store, layout["tools"]),
        "icu": store.name("libraries"),
        "entrypoint": _program(store),
        **{
            name: store.name(name)
            for name in ("cacert", "locales", "nss_wrapper", "pgbackrest", "template", "tzdata", "wal-g")
        },
    }
    libraries = store.debian.libraries
    for source, name, target in (
        ("/etc/ssl/certs/ca-certificates.crt", "cacert", "etc/ssl/certs/ca-bundle.crt"),
        ("/usr/lib/locale/locale-archive", "locales", "lib/locale/locale-archive"),
        (f"{libraries}/libnss_wrapper.so", "nss_wrapper", "lib/libnss_wrapper.so"),
        ("/usr/bin/pgbackrest", "pgbackrest", "bin/pgbackrest"),
        ("/usr/share/zoneinfo", "tzdata", "share/zoneinfo"),
        ("/usr/local/bin/wal-g", "wal-g", "bin/wal-g"),
        ("/usr/local/bin/walg-daemon-client", "wal-g", "bin/walg-daemon-client"),
    ):
        if name != "wal-g" or store.debian.path(source).exists():
            store.copy(source, f"{packages[name]}/{target}")
    store.place(packages["template"]).mkdir()  # filled when everything else is there
    return packages


def _server(store: Store, major: str) -> str:
    """Put PostgreSQL into the store with Debian's layout, since it finds its parts relative to its own place."""
    package = store.name(f"postgresql-{major}")
    server = f"{package}/lib/postgresql/{major}"
    store.copy(f"/usr/lib/postgresql/{major}", server)
    store.copy(f"/usr/share/postgresql/{major}", f"{package}/share/postgresql/{major}")
    share = store.place(f"{package}/share")
    for path in share.rglob("*"):
        if path.is_symlink():  # to a file of Debian's own
            source = store.debian.path(f"/usr/share/{path.relative_to(share)}")
            path.unlink()
            if source.exists():
                shutil.copy2(source, path)
    store.link(f"../../../../share/postgresql/{major}", f"{server}/share/postgresql")
    _as_nixpkgs_has_it(store, server)
    return server


def _as_nixpkgs_has_it(store: Store, server: str) -> None:
    """Make the store like that of nixpkgs: neither pg_config prints a place, and initdb is a script."""
    shell = f"#!{store.name('nix-postgres-programs')}/bin/bash"
    initdb = store.place(f"{server}/bin/initdb")
    initdb.rename(initdb.with_name(".initdb-wrapped"))
    words = 'exec -a "$0" "${BASH_SOURCE[0]%/*}/.initdb-wrapped" "$@"'
    scripts = {
        "initdb": words,
        "pg_config": "echo The real pg_config can be found in the -dev output.; exit 1",
    }
    for name, text in scripts.items():
        path = store.place(f"{server}/bin/{name}")
        path.write_text(f"{shell}\n{text}\n", encoding="utf-8")
        path.chmod(0o755)
    views = store.place(f"{server}/share/postgresql") / "system_views.sql"
    text = views.read_text(encoding="utf-8")
    view = "SELECT * FROM pg_config()"
    if view not in text:
        raise SystemExit(f"nix_image.py: {views.name} does not make the view pg_config as it used to")
    views.write_text(text.replace(view, f"{view} WHERE false"), encoding="utf-8")


def _tools(store: Store, names: Iterable[str]) -> str:
    package = store.name("nix-postgres-programs")
    for name in names:
        for path in (path for each in TOOLS[name].split() for path in store.debian.files(each)):
            folder, _, program = path.rpartition("/")
            if folder in {"/bin", "/usr/bin"} and (TOOLS[name] != "libc-bin" or program == name):
                store.copy(path, f"{package}/bin/{program}")
    for name, program in OTHER_NAMES.items():
        store.link(program, f"{package}/bin/{name}")
    return package


OWN = "/usr/local/lib/nix-postgres"


def _program(store: Store) -> str:
    """Put our program into the store, with its Python; both are already compiled."""
    version = store.debian.path("/usr/bin/python3").name
    python, modules, package = map(store.name, ("python3", "nix-postgres-modules", "nix-postgres-entrypoint"))
    interpreter, program = f"{python}/bin/{version}", f"{package}/lib/nix-postgres"
    store.copy(f"/usr/bin/{version}", interpreter)
    store.copy(f"/usr/lib/{version}", f"{python}/lib/{version}")
    store.copy("/usr/lib/python3/dist-packages", f"{modules}/site-packages")
    store.copy(OWN, program)
    for name in ("lib", "packages"):
        shutil.rmtree(store.place(f"{program}/{name}"))
    store.place(f"{program}/python3").unlink()
    store.link(interpreter, f"{program}/python3")
    places = {
        f"{OWN}/python3": interpreter,
        f"{OWN}/packages": f"{modules}/site-packages",
        OWN: program,
    }
    for name in ("entrypoint", "gosu"):
        text = store.debian.path(f"/usr/local/bin/{name}").read_text(encoding="utf-8")
        for old, new in places.items():
            if old not in text:
                raise SystemExit(
                    f"nix_image.py: {name} does not name {old}, which has another place in the store"
                )
            text = text.replace(old, new)
        path = store.place(f"{package}/bin/{name}")
        path.write_text(text, encoding="utf-8")
        path.chmod(0o755)
    for name, needed in (("pgbackrest", "/usr/bin/pgbackrest"), ("wal-g", "/usr/local/bin/wal-g")):
        if store.debian.path(needed).exists():
            store.link("../lib/nix-postgres/entrypoint/shims/by-hand", f"{package}/by-hand/{name}")
    return package


def bring_libraries(store: Store) -> None:
    """Put the libraries of the binaries into the store, and make the binaries look only there."""
    glibc, libraries = store.name("glibc"), store.name("libraries")
    debian = store.debian
    folder = debian.libraries.removeprefix("/usr")
    for path in debian.files("libc6"):
        if path.rpartition("/")[0] in {folder, f"/usr{folder}"} and re.search(r"\.so\b", path):
            shutil.copy2(debian.path(path), store.place(f"{glibc}/lib/{Path(path).name}"))
    (loader,) = store.place(f"{glibc}/lib/ld").parent.glob("ld-linux*")

    changed = [path for path in store.binaries() if path.parent != loader.parent]

    def bring(name: str) -> None:
        place = store.place(f"{libraries}/lib/{name}")
        if not place.exists() and not (loader.parent / name).exists():
            shutil.copy2(debian.path(f"{debian.libraries}/{name}"), place)
            changed.append(place)

    bring("libgcc_s.so.1")  # the C library loads it when a thread ends
    for binary in changed:  # grows during the loop
        for name in (patchelf("--print-needed", binary) or "").split():
            bring(name)
    for binary in changed:
        arguments = ["--force-rpath", "--set-rpath", f"{libraries}/lib:{glibc}/lib"]
        if patchelf("--print-interpreter", binary) is not None:
            arguments += ["--set-interpreter", f"{glibc}/lib/{loader.name}"]
        binary.chmod(0o755 if os.access(binary, os.X_OK) else 0o644)
        if patchelf("--print-rpath", binary) is not None and patchelf(*arguments, binary) is None:
            raise SystemExit(f"nix_image.py: patchelf cannot change {binary.name}")


class Tree:
    """A tar file of the image's tree."""

    def __init__(self, tar: tarfile.TarFile) -> None:
        """Refer to an empty file."""
        self._tar = tar
        self._made = {"/"}

    def add(self, path: str, kind: bytes, mode: int, owner: int = 0, content: str = "") -> None:
        """Add a folder, a link or a text, and the folders above it."""
        if path in self._made:
            return
        self.add(os.path.dirname(path), tarfile.DIRTYPE, 0o755)
        self._made.add(path)
        entry = tarfile.TarInfo(path.lstrip("/"))
        entry.type, entry.mode, entry.uid, entry.gid = kind, mode, owner, owner
        if kind == tarfile.SYMTYPE:
            entry.linkname = content
        else:
            entry.size = len(content)
        self._tar.addfile(entry, io.BytesIO(content.encode()) if entry.size else None)


def pack(store: Store, packages: dict[str, str], layout: Any, tar: tarfile.TarFile) -> None:
    """Write the tree of the image."""
    tree = Tree(tar)
    ids = {user["name"]: user["id"] for user in layout["users"]}
    for path, folder in layout["folders"].items():
        tree.add(path, tarfile.DIRTYPE, int(folder["mode"], 8), ids[folder["owner"]])
    stored = (
        (path, re.sub("@(.*?)@", lambda match: packages[match[1]], target))
        for path, target in (layout["store"]["ours"] | layout["store"]["system"]).items()
    )
    for path, target in itertools.chain(layout["links"].items(), *(_links(store, *row) for row in stored)):
        tree.add(path, tarfile.SYMTYPE, 0o777, content=target)
    users = (
        f"{user['name']}:x:{user['id']}:{user['id']}::{user['home']}:{user['shell']}"
        for user in layout["users"]
    )
    groups = (f"{user['group']}:x:{user['id']}:" for user in layout["users"])
    for path, lines in {**layout["texts"], "/etc/passwd": users, "/etc/group": groups}.items():
        tree.add(path, tarfile.REGTYPE, 0o644, content="".join(f"{line}\n" for line in lines))
    tree.add("/nix", tarfile.DIRTYPE, 0o755)
    tar.add(store.top, "nix/store", filter=_as_in_a_store)


def _links(store: Store, path: str, target: str) -> Iterator[tuple[str, str]]:
    """Yield links: one, or for a folder one for each file whose name begins with the target; none to a missing wal-g."""
    if path.endswith("/"):
        folder, _, begin = target.rpartition("/")
        names = sorted(os.listdir(store.place(f"{folder}/")))
        yield from ((path + name, f"{folder}/{name}") for name in names if name.startswith(begin))
    elif not target.startswith("/") or store.place(target).exists():
        yield path, target


def _as_in_a_store(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mode = 0o555 if entry.isdir() or entry.mode & 0o100 else 0o444
    return entry


def dockerfile(root: str, layout: Any, more: dict[str, str], recipe: str) -> str:
    """Return the configuration from a build, because an import cannot set the stop signal."""
    config = layout["config"]
    lines = [f"FROM {root}"]
    lines += [f'ENV {name}="{value}"' for name, value in {**config["environment"], **more}.items()]
    (template,) = (path for path, target in layout["store"]["system"].items() if target == "@template@")
    lines += [f"RUN entrypoint internal template $(readlink {template})"]
    lines += [
        f"LABEL {name}={json.dumps(value)}" for name, value in {**config["labels"], "recipe": recipe}.items()
    ]
    lines += [f"VOLUME {path}" for path in config["volumes"]] + [f"EXPOSE {port}" for port in config["ports"]]
    lines += [f"STOPSIGNAL {config['stop_signal']}"]
    lines += [f"ENTRYPOINT {json.dumps(config['entrypoint'])}", f"CMD {json.dumps(config['cmd'])}"]
    return "\n".join(lines) + "\n"


def docker(*arguments: str, **more: Any) -> str:
    """Return the output of docker; exit with its message if it fails."""
    done = subprocess.run(("docker", *arguments), check=False, capture_output=True, text=True, **more)
    if done.returncode:
        sys.exit(f"nix_image.py: docker {arguments[0]} failed: {done.stderr}")
    return str(done.stdout).strip()


def main() -> None:
    """Make the image unless it exists, from the same binaries and with the same recipe."""
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    _, image, name = sys.argv
    (found,) = json.loads(docker("image", "inspect", image))
    environment = dict(entry.split("=", 1) for entry in found["Config"]["Env"])
    layout = layout_of(int(environment["PG_MAJOR"]))
    inputs = (found["Id"].encode(), Path(__file__).read_bytes(), LAYOUT.read_bytes())
    recipe = hashlib.sha256(b"".join(inputs)).hexdigest()
    known = ("docker", "image", "inspect", "--format", '{{index .Config.Labels "recipe"}}', name)
    if subprocess.run(known, check=False, capture_output=True, text=True).stdout.strip() == recipe:
        return

    print(f"{name}: the binaries of {image} in the tree of the Nix image", file=sys.stderr)
    with tempfile.TemporaryDirectory() as folder:
        root, top = Path(folder, "debian"), Path(folder, "store")
        root.mkdir()
        top.mkdir()
        # In that image, C.UTF-8 is a folder next to the archive.
        archived = ("--entrypoint=localedef", image, "--inputfile=C", "--charmap=UTF-8", "C.UTF-8")
        container = docker("create", "--pull=never", *archived)
        try:
            docker("start", "--attach", container)
            with subprocess.Popen(("docker", "export", container), stdout=subprocess.PIPE) as export:
                unpack = ("tar", "--extract", "--no-same-owner", "--exclude=dev/*", "--directory", root)
                subprocess.run(unpack, check=True, stdin=export.stdout)
        finally:
            docker("rm", "--volumes", container)
        store = Store(top, Debian(root))
        packages = fill(store, layout, environment["PG_MAJOR"])
        bring_libraries(store)
        command = ("docker", "import", "-", f"{name}-root")
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as bring:
            with tarfile.open(fileobj=bring.stdin, mode="w|") as tar:
                pack(store, packages, layout, tar)
            bring.communicate()
        if bring.returncode:
            sys.exit("nix_image.py: docker import failed, above is why")
    more = {"PG_VERSION": environment["PG_VERSION"]}
    docker("build", "--quiet", f"--tag={name}", "-", input=dockerfile(f"{name}-root", layout, more, recipe))
    docker("image", "rm", f"{name}-root")


if __name__ == "__main__":
    main()
