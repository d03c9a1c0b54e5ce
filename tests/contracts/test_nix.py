"""The flake evaluates to the content of image/layout.json; tests/nixpkgs/stand-ins.nix takes the place of nixpkgs."""

from __future__ import annotations

import gzip
import json
import os
import platform
import re
import subprocess
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from entrypoint.archivers.walg import WalG
from layout import known, layout_of, names
from majors import DEFAULT, MAJORS, PREVIEWS, RELEASED
from nix import Nix
from repository import REPOSITORY

OLDEST = min(RELEASED, key=int)
BUILT = [DEFAULT, "18"]
"""The data folder from PostgreSQL 18 on."""
SYSTEMS = ["x86_64-linux", "aarch64-linux"]
READY: Mapping[str, Any] = json.loads((REPOSITORY / "nix/ready.json").read_text(encoding="utf-8"))
"""The images with extensions that people ask for by name."""


@pytest.fixture(scope="module")
def nix(tmp_path_factory: pytest.TempPathFactory) -> Nix:
    return Nix(tmp_path_factory.mktemp("nix"))


@pytest.fixture(scope="module")
def asked(nix: Nix) -> Mapping[str, Any]:
    """Return the arguments of dockerTools for each image of this architecture."""
    images: Mapping[str, Any] = nix.value(
        f"""builtins.mapAttrs (_: image: removeAttrs image.asked [ "fromImage" ]) (
          removeAttrs self.packages.{SYSTEMS[0]} [ "default" "entrypoint" "wal-g" ]
        )"""
    )
    return images


def _found(tree: Path) -> set[str]:
    """Return the files of a tree, without folders, as the image shows them."""
    rows = ((folder, name) for folder, *both in os.walk(tree) for name in (*both[0], *both[1]))
    paths = (Path(folder) / name for folder, name in rows)
    return {f"/{path.relative_to(tree)}" for path in paths if path.is_symlink() or not path.is_dir()}


def test_all_outputs_evaluate(nix: Nix) -> None:
    """Every package, check, shell and formatter of both architectures is a derivation."""
    outputs = nix.value(
        """builtins.mapAttrs (_: builtins.mapAttrs (_: builtins.mapAttrs (_: built: built.drvPath))) {
          inherit (self) packages checks devShells;
          formatter = builtins.mapAttrs (_: built: { inherit built; }) self.formatter;
        }"""
    )
    kinds = ["", "-stream", "-official", "-official-stream"]
    images = {f"image-{major}{kind}" for major in RELEASED for kind in kinds}
    ready = {f"image-{major}-{name}" for name, row in READY.items() for major in row["majors"]}
    upgrades = {f"image-{major}-upgrade" for major in RELEASED if major != OLDEST}
    ready |= upgrades
    images |= ready | {f"{name}-stream" for name in ready}
    for system in SYSTEMS:
        assert images | {"default", "entrypoint", "wal-g"} == set(outputs["packages"][system])
        checked = {f"image-{major}" for major in RELEASED} | (ready - upgrades) | {f"image-{DEFAULT}-upgrade"}
        assert checked == set(outputs["checks"][system]) - {"entrypoint", "wal-g"}
        assert {"default", "release"} == set(outputs["devShells"][system])
        built = [path for name, path in outputs["packages"][system].items() if name in images]
        assert len(images) == len(set(built)), "each image differs from the others"


def test_a_preview_is_offered_once_nixpkgs_has_it(nix: Nix) -> None:
    """The flake offers exactly the majors of image/majors.json that nixpkgs has; over the official image once that is pinned."""
    given = " ".join(f"postgresql_{major}_jit = pkgs.postgresql_{DEFAULT}_jit;" for major in PREVIEWS)
    names = nix.value(
        f"""let
          newer = nixpkgs // {{
            legacyPackages = builtins.mapAttrs (_: pkgs: pkgs // {{ {given} }}) nixpkgs.legacyPackages;
          }};
          flake = (import {REPOSITORY}/flake.nix).outputs {{ self = flake; nixpkgs = newer; }};
        in builtins.attrNames flake.packages.{SYSTEMS[0]}"""
    )
    kinds = {
        major: ["", "-stream", *(["-official", "-official-stream"] * (major in RELEASED))] for major in MAJORS
    }
    images = {f"image-{major}{kind}" for major in MAJORS for kind in kinds[major]}
    ready = {f"image-{major}-{name}" for name, row in READY.items() for major in row["majors"]}
    ready |= {f"image-{major}-upgrade" for major in MAJORS if major != OLDEST}
    ready |= {f"{name}-stream" for name in ready}
    assert images | ready | {"default", "entrypoint", "wal-g"} == set(names)


def test_the_default_major() -> None:
    """The flake, the image and the module have the default of image/majors.json."""
    named = {
        "flake.nix": r"default = self\.packages\.\$\{system\}\.image-(\d+);",
        "nix/image.nix": r'major \? "(\d+)"',
        "nix/module.nix": r"default = flake\.packages\.\$\{system\}\.image-(\d+)-stream;",
    }
    for path, pattern in named.items():
        assert [DEFAULT] == re.findall(pattern, (REPOSITORY / path).read_text(encoding="utf-8")), path


@pytest.mark.parametrize("kind", ["", "-official-stream"])
@pytest.mark.parametrize("major", RELEASED)
def test_image_configuration(asked: Mapping[str, Any], major: str, kind: str) -> None:
    """An image has the configuration of layout.json, and no other."""
    image = asked[f"image-{major}{kind}"]
    expected = layout_of(int(major))["config"]
    environment = dict(setting.split("=", 1) for setting in image["config"]["Env"])
    assert (environment.pop("PG_VERSION", None) is None) == ("official" in kind)
    assert expected["environment"] == environment
    assert expected["entrypoint"] == image["config"]["Entrypoint"]
    assert expected["cmd"] == image["config"]["Cmd"]
    assert expected["stop_signal"] == image["config"]["StopSignal"]
    assert expected["ports"] == list(image["config"]["ExposedPorts"])
    assert expected["volumes"] == list(image["config"]["Volumes"])
    assert expected["labels"].items() <= image["config"]["Labels"].items()
    assert f"{major}{'-official' if kind else ''}" == image["tag"]
    assert "created" not in image, "the date is fixed by dockerTools"


@pytest.mark.parametrize("name", READY)
def test_ready_images(nix: Nix, asked: Mapping[str, Any], name: str) -> None:
    """A ready image is that of its major version with packages, and a new cluster preloads what these need."""
    row = READY[name]
    for major in row["majors"]:
        plain, ready = (asked[f"image-{major}{kind}"] for kind in ("", f"-{name}"))
        assert f"{major}-{name}" == ready["tag"]
        more = [f"{variable}={value}" for variable, value in row.get("environment", {}).items()]
        assert {**plain["config"], "Env": sorted([*plain["config"]["Env"], *more])} == ready["config"]
    image = f"self.packages.{platform.machine()}-linux.image-{row['majors'][0]}-{name}"
    nix.build(f"{image}.check")
    sample = nix.build(f"{image}.tree") / "usr/share/postgresql/postgresql.conf.sample"
    found = re.findall(
        r"^shared_preload_libraries = '(.*)'", sample.read_text(encoding="utf-8"), re.MULTILINE
    )
    assert ([",".join(row["preload"])] if row["preload"] else []) == found
    page = (REPOSITORY / "docs/how-to/use-nix.md").read_text(encoding="utf-8")
    (line,) = (line for line in page.splitlines() if line.startswith(f"| `17-{name}`"))
    told = {
        *row["packages"],
        *row["preload"],
        *row.get("programs", []),
        *(f"{major}-{name}" for major in row["majors"]),
    }
    assert [] == sorted(word for word in told | set(row["extensions"]) if f"`{word}`" not in line)


@pytest.mark.parametrize("major", [major for major in RELEASED if major != OLDEST])
def test_images_for_upgrades(nix: Nix, asked: Mapping[str, Any], major: str) -> None:
    """An image for upgrades is that of its major version, with the programs of each older one at their usual place."""
    plain, upgrade = (asked[f"image-{major}{kind}"] for kind in ("", "-upgrade"))
    assert f"{major}-upgrade" == upgrade["tag"]
    assert plain["config"] == upgrade["config"]
    if major == DEFAULT:
        image = f"self.packages.{platform.machine()}-linux.image-{major}-upgrade"
        nix.build(f"{image}.check")
        there = {path.name for path in (nix.build(f"{image}.tree") / "usr/lib/postgresql").iterdir()}
        assert {each for each in RELEASED if int(each) <= int(major)} == there


@pytest.mark.parametrize("major", RELEASED)
def test_owners_and_modes(asked: Mapping[str, Any], major: str) -> None:
    """A Nix image creates every folder of layout.json; the image on top of the official one only the missing folders."""
    layout = layout_of(int(major))
    ids = {user["name"]: user["id"] for user in layout["users"]}

    def made(name: str) -> set[tuple[str, ...]]:
        text = asked[name]["fakeRootCommands"]
        return set(re.findall(r"install -d -o (\d+) -g (\d+) -m (\d+) \.(\S+)", text))

    expected = {
        (str(ids[folder["owner"]]), str(ids[folder["owner"]]), folder["mode"], path)
        for path, folder in layout["folders"].items()
    }
    assert expected == made(f"image-{major}")
    ours = {row for row in expected if layout["folders"][row[-1]].get("ours")}
    assert {"/run/entrypoint", "/docker-entrypoint-conf.d"} == {row[-1] for row in ours}
    assert ours == made(f"image-{major}-official")


@pytest.mark.parametrize("major", BUILT)
def test_file_tree(nix: Nix, major: str) -> None:
    """The tree contains the files, programs and links of layout.json, and a sample that listens."""
    system = f"{platform.machine()}-linux"
    image = f"self.packages.{system}.image-{major}"
    nix.build(f"{image}.check")
    tree = nix.build(f"{image}.tree")
    layout = layout_of(int(major))
    for path, target in layout["links"].items():
        assert target == os.readlink(f"{tree}{path}")
    assert names(layout) == {known(path, layout) for path in _found(tree)}
    users = [line.split(":") for line in (tree / "etc/passwd").read_text(encoding="utf-8").splitlines()]
    expected = [
        [user["name"], "x", str(user["id"]), str(user["id"]), "", user["home"], user["shell"]]
        for user in layout["users"]
    ]
    assert expected == users
    made_from = (
        (tree / "usr/local/share/nix-postgres/template/made-from").read_text(encoding="utf-8").splitlines()
    )
    assert "stand-in" == made_from[0], "made with the image's locales"
    assert os.path.samefile(made_from[1], tree / f"usr/lib/postgresql/{major}/bin/initdb")
    assert [] == [name for name in layout["store"]["ours"] if not os.access(f"{tree}{name}", os.X_OK)]


@pytest.mark.parametrize("major", BUILT)
def test_over_the_official_image(nix: Nix, major: str) -> None:
    """Our files hide nothing of the official image except its scripts and gosu."""
    tree = nix.build(f"self.packages.{platform.machine()}-linux.image-{major}-official.tree")
    enforce = "/usr/local/bin/docker-enforce-initdb.sh"
    assert {*layout_of(int(major))["store"]["ours"], enforce} == _found(tree)


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("major", RELEASED)
def test_official_digests(major: str, system: str) -> None:
    """The official image of each major version is known for both architectures, and no digest is used twice."""
    pins = json.loads((REPOSITORY / "nix/official.json").read_text(encoding="utf-8"))
    pin = pins[major]
    assert f"{major}-trixie" == pin["tag"]
    digests = [pin["index"], pin[system]["manifest"], pin[system]["config"], *pin[system]["layers"]]
    assert [] == [digest for digest in digests if not re.fullmatch("[0-9a-f]{64}", digest)]
    assert len(digests) == len(set(digests)) >= 15
    bases = {pins[other][system]["layers"][0] for other in RELEASED}
    assert 1 == len(bases), "the majors stand on one Debian"


def test_the_dockerfile_uses_a_pinned_digest() -> None:
    """Without BASE_IMAGE, the Dockerfile uses an official image by the digest that is pinned for the Nix images."""
    text = (REPOSITORY / "Dockerfile").read_text(encoding="utf-8")
    pins = json.loads((REPOSITORY / "nix/official.json").read_text(encoding="utf-8")).values()
    references = {f"postgres:{pin['tag']}@sha256:{pin['index']}" for pin in pins}
    (base,) = re.findall(r"^ARG BASE_IMAGE=(.*)$", text, re.MULTILINE)
    assert base in references
    assert ["${BASE_IMAGE}"] == re.findall(r"^FROM (.*)$", text, re.MULTILINE)


def test_the_official_image_is_assembled(nix: Nix, tmp_path: Path) -> None:
    """The configuration and the unpacked layers become an archive like that of `docker save`, with paths that dockerTools finds."""
    blobs = {
        "c" * 64: b'{"rootfs": {}}',
        "a" * 64: gzip.compress(b"layer 1"),
        "b" * 64: gzip.compress(b"layer 2"),
    }
    for digest, content in blobs.items():
        (tmp_path / digest).write_bytes(content)
    pin = {"tag": "17-trixie", "x86_64-linux": {"config": "c" * 64, "layers": ["a" * 64, "b" * 64]}}
    script = nix.value(
        f"""let pkgs = nixpkgs.legacyPackages.x86_64-linux; in import {REPOSITORY}/nix/official.nix {{
          lib = nixpkgs.lib // {{ importJSON = _: builtins.fromJSON ''{json.dumps({"17": pin})}''; }};
          inherit (pkgs) cacert curl jq stdenvNoCC;
          runCommand = name: more: script:
            if more ? outputHash then "{tmp_path}/" + more.outputHash else script;
          major = "17";
        }}"""
    )
    (tmp_path / "work").mkdir()
    archive = tmp_path / "image.tar"
    subprocess.run(
        ["bash", "-euc", script],
        check=True,
        cwd=tmp_path / "work",
        env={"PATH": os.environ["PATH"], "out": str(archive)},
        timeout=60,
    )
    with tarfile.open(archive) as tar:

        def read(name: str) -> bytes:
            file = tar.extractfile(name)
            assert file is not None
            return file.read()

        (manifest,) = json.loads(read("manifest.json"))
        assert ["postgres:17-trixie"] == manifest["RepoTags"]
        assert blobs["c" * 64] == read(manifest["Config"])
        assert [b"layer 1", b"layer 2"] == [read(name) for name in manifest["Layers"]]


@pytest.mark.parametrize("schedule", [{}, {"BACKUP_SCHEDULE": "0 3 * * *"}])
def test_only_one_takes_backups(nix: Nix, schedule: Mapping[str, str]) -> None:
    """The module refuses a timer if the container has its own schedule."""
    given = " ".join(f'{name} = "{value}";' for name, value in schedule.items())
    settings = f'{{ enable = true; backupTimer = "03:00"; environment = {{ {given} }}; }}'
    modules = f"[ self.nixosModules.default {{ services.nix-postgres = {settings}; }} ]"
    system = f'nixpkgs.configurationOf {{ system = "x86_64-linux"; modules = {modules}; }}'
    (assertion,) = nix.value(f"({system}).assertions")
    assert (not schedule) == assertion["assertion"]


def test_wal_g_has_its_client(nix: Nix) -> None:
    """wal-g is built with the client of its daemon, under the name that the program looks for, and is new enough for it."""
    asked = nix.value('removeAttrs self.packages.x86_64-linux.wal-g.asked [ "src" ]')
    assert ["main/pg", "cmd/daemonclient"] == asked["subPackages"]
    assert "$out/bin/walg-daemon-client" in asked["postInstall"]
    said = asked["ldflags"][0].rpartition("=")[2]
    assert asked["version"] == said
    assert WalG().can_help(f"wal-g version {said}\tv{said}\tdevel\tPostgreSQL")


def test_lock_file() -> None:
    """The input is locked by revision and hash, and is the one that the flake names."""
    node = json.loads((REPOSITORY / "flake.lock").read_text(encoding="utf-8"))["nodes"]["nixpkgs"]
    assert re.fullmatch("[0-9a-f]{40}", node["locked"]["rev"])
    assert re.fullmatch("sha256-[A-Za-z0-9+/]{43}=", node["locked"]["narHash"])
    asked = node["original"]
    named = re.search(r'nixpkgs\.url = "github:(.*)"', (REPOSITORY / "flake.nix").read_text(encoding="utf-8"))
    assert named is not None
    assert f"{asked['owner']}/{asked['repo']}/{asked['ref']}" == named[1]
