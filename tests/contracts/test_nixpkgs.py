"""Every name that our Nix code takes from nixpkgs is a fact that somebody looked up: tests/nixpkgs/facts.json.

The stand-ins of nixpkgs have the names that we think exist. A fact says where nixpkgs has one, and, where our code
relies on it: the arguments that we give, the output whose files we take, these files or programs, and the version that
was found there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from layout import layout_of
from majors import RELEASED
from nix import Nix
from repository import REPOSITORY

FILES = [REPOSITORY / "flake.nix", *sorted((REPOSITORY / "nix").glob("*.nix"))]
PAGES = sorted((REPOSITORY / "docs/how-to").glob("*.md"))
FACTS: Mapping[str, Any] = json.loads((REPOSITORY / "tests/nixpkgs/facts.json").read_text(encoding="utf-8"))
FACT: Mapping[str, Mapping[str, Any]] = FACTS["facts"]

SYSTEM = "x86_64-linux"
EVERYTHING = f"""
  let
    built = builtins.mapAttrs (_: package: package.drvPath);
    own = self.packages.{SYSTEM};
    example = (import {REPOSITORY}/examples/nixos/flake.nix).outputs {{
      self = example;
      nix-postgres = self;
      inherit nixpkgs;
    }};
  in [
    (built own) (built self.checks.{SYSTEM}) (built self.devShells.{SYSTEM}) (built self.formatter)
    own.entrypoint.asked own.wal-g.asked
    (built example.packages.{SYSTEM}) (builtins.attrNames example.nixosConfigurations.db)
  ]"""
"""All outputs with what the stand-ins were asked for, and the example."""

MODULE = f"""
  let
    module = self.nixosModules.default {{
      inherit (nixpkgs) lib;
      pkgs = nixpkgs.legacyPackages.{SYSTEM};
      config = (nixpkgs.recorded or (_: config: config)) "config" {{
        services.nix-postgres = builtins.mapAttrs (_: option: option.default) module.options.services.nix-postgres // {{
          enable = true;
          backupTimer = "03:00";
          secrets.NAME = "/run/keys/name";
        }};
        virtualisation = {{
          oci-containers.backend = "podman";
          podman.package = nixpkgs.legacyPackages.{SYSTEM}.podman;
        }};
      }};
    }};
  in"""
RECORDED = {"76": "153.128"}
"""What PostgreSQL records as version of a collation by the version of ICU; measured with trixie's."""
OURS = re.compile(r"config\.services|pkgs\.podman")
"""Our own options, and the package that this test gives to the module."""


@pytest.fixture(scope="module")
def nix(tmp_path_factory: pytest.TempPathFactory) -> Nix:
    return Nix(tmp_path_factory.mktemp("nix"))


@pytest.fixture(scope="module")
def taken(nix: Nix) -> set[str]:
    """Return every name that is taken, and each argument that a function is given as `name(argument)`."""
    found = nix.taken(EVERYTHING) | nix.taken(f"{MODULE} [ module.options module.config ]")
    return {name for name in found if not OURS.match(name)}


def _options(config: Any, *above: str) -> Iterator[str]:
    """Yield the options of NixOS that the module sets; names that it chooses itself are `*`."""
    known = {name.rpartition(".")[0] for name in FACT}
    for name, value in config.items():
        here = (*above, name)
        free = ".".join(("config", *above, "*"))
        if ".".join(("config", *here)) in FACT or not isinstance(value, Mapping):
            yield ".".join(("config", *here))
        else:
            yield from _options(value, *above, "*" if free in known else name)


def test_every_name_is_a_fact(taken: set[str], nix: Nix) -> None:
    """No name is taken and no option is set that nobody looked up, and no fact is kept that nobody needs."""
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    written = {f"postgresql.pkgs.{name}" for name in re.findall(r"\bps\.([\w-]+)", text)}
    options = set(_options(nix.value(f"{MODULE} module.config")))
    names = {name for name in taken if "(" not in name}
    inner = {name for name in names if any(other.startswith(f"{name}.") for other in names)}
    assert set() == (names - inner | options | written) - set(FACT)
    assert set() == set(FACT) - names - options - written


def test_arguments(taken: set[str]) -> None:
    """Functions that refuse unknown arguments get only those that they have."""
    given = [re.fullmatch(r"(.*)\((.*)\)", name) for name in taken if "(" in name]
    rows = {(found[1], found[2]) for found in given if found and "arguments" in FACT[found[1]]}
    assert {(name, argument) for name in FACT for argument in FACT[name].get("arguments", [])} == rows


def test_nothing_escapes_the_evaluation(taken: set[str]) -> None:
    """What stands in the code is evaluated: each function of lib, each attribute of pkgs, each argument of callPackage."""
    for path in FILES:
        code = re.sub(r"#.*", "", path.read_text(encoding="utf-8"))
        written = set(re.findall(r"(?<![\w.])((?:lib|pkgs)\.[a-zA-Z][\w'-]*)", code))
        if path.parent.name == "nix" and (head := re.match(r"\s*\{([\w\s,-]*)\}:", code)):
            written |= {f"pkgs.{name}" for name in re.findall(r"[\w-]+", head[1])}
        own = {
            "pkgs.lib",
            "pkgs.pkgs",
            "pkgs.config",
            "lib.mkImage",
            "pkgs.major",
            "pkgs.entrypoint",
            "pkgs.entrypointAbove",
        }
        assert set() == written - taken - own, path.name


def test_files_and_programs() -> None:
    """What layout.json takes from a package is in the output that stands for the package."""
    layout = layout_of(17)
    targets = [*layout["store"]["ours"].values(), *layout["store"]["system"].values()]
    wanted = [re.fullmatch(r"@([\w-]+)@/(.+)", target) for target in targets]
    found = {(row[1], row[2]) for row in wanted if row and f"pkgs.{row[1]}" in FACT}
    client = ("wal-g", "bin/walg-daemon-client")  # ours: nix/default.nix
    facts = {(name.removeprefix("pkgs."), file) for name in FACT for file in FACT[name].get("files", [])}
    assert {row for row in found - {client} if row not in facts} == set()
    assert {"cacert", "icu", "nss_wrapper", "pgbackrest", "tzdata", "wal-g"} == {name for name, _ in found}
    tools = [FACT[f"pkgs.{name}"] for name in layout["tools"]]
    brought = [program for tool in tools for program in tool["programs"]]
    assert sorted(layout["programs"]["/bin"].split()) == sorted(brought)
    for name, fact in FACT.items():
        assert ("files" in fact or "programs" in fact) <= ("outputs" in fact), name


def test_facts_are_of_the_release() -> None:
    """Another release of nixpkgs may have other names: look them up again."""
    lock = json.loads((REPOSITORY / "flake.lock").read_text(encoding="utf-8"))
    assert lock["nodes"]["nixpkgs"]["original"]["ref"] == FACTS["release"]
    for name, fact in FACT.items():
        assert fact["in"] in FACTS["in"], name
        assert fact["file"].endswith(".nix"), name


def test_declared_sort_orders() -> None:
    """Images of nixpkgs are declared to sort as its C library and its ICU do, so a first publication is compared with them."""
    declared = json.loads((REPOSITORY / "image/collations.json").read_text(encoding="utf-8"))
    found = {
        "glibc": FACT["pkgs.glibcLocales"]["version"],
        "icu": RECORDED[FACT["pkgs.icu"]["version"]],
    }
    assert dict.fromkeys(RELEASED, found) == {major: declared[major] for major in RELEASED}


def test_the_manual_names_which_wal_g() -> None:
    """While nixpkgs' wal-g is too old for the program, the manual says so, and what is built; then the words go."""
    version = FACT["pkgs.wal-g"]["version"]
    old = tuple(map(int, version.split("."))) < (3, 0, 9)
    page = (REPOSITORY / "docs/how-to/use-nix.md").read_text(encoding="utf-8")
    assert old == (f"wal-g {version}" in page)
