"""Nix without nixpkgs: the flake is evaluated with tests/nixpkgs/stand-ins.nix."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

from repository import REPOSITORY

__all__ = ["Nix"]

STAND_INS = f"import {REPOSITORY}/tests/nixpkgs/stand-ins.nix"
FLAKE = f"""
  nixpkgs = {STAND_INS};
  self = (import {REPOSITORY}/flake.nix).outputs {{ inherit self nixpkgs; }};
"""


class Nix:
    """Nix with its own store, so that it needs neither root nor a daemon."""

    def __init__(self, folder: Path) -> None:
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "NIX_STORE_DIR": f"{folder}/store",
            "NIX_STATE_DIR": f"{folder}/state",
            "NIX_LOG_DIR": f"{folder}/log",
            "NIX_CONFIG": "sandbox = false\nbuild-users-group =\nsubstitute = false",
        }

    def run(self, *argv: str) -> str:
        """Return the output of one of Nix's programs."""
        return self._run(*argv).stdout

    def _run(self, *argv: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            argv, check=False, capture_output=True, text=True, env=self.environment, timeout=120
        )
        assert done.returncode == 0, done.stderr
        return done

    def value(self, expression: str) -> Any:
        """Return the value of an expression that may use `self`, the flake, and `nixpkgs`."""
        text = f"let {FLAKE} in {expression}"
        return json.loads(self.run("nix-instantiate", "--eval", "--strict", "--json", "--expr", text))

    def taken(self, expression: str) -> set[str]:
        """Return the names that an expression takes from nixpkgs: see tests/nixpkgs/recorded.nix."""
        recorded = FLAKE.replace(STAND_INS, f"import {REPOSITORY}/tests/nixpkgs/recorded.nix ({STAND_INS})")
        text = f"let {recorded} in {expression}"
        said = self._run("nix-instantiate", "--eval", "--strict", "--json", "--expr", text).stderr
        return set(re.findall(r"^trace: taken: (.*)$", said, re.MULTILINE))

    def build(self, expression: str) -> Path:
        """Build a derivation and return its output."""
        text = f"let {FLAKE} in {expression}"
        return Path(self.run("nix-build", "--no-out-link", "--expr", text).strip())
