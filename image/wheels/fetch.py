#!/usr/bin/python3
"""Fetch the pure-Python wheels that Debian's suites lack, exactly those in uv.lock, and unpack them.

usage: fetch.py [FOLDER]    fetches missing wheels into this script's folder; unpacks them into FOLDER
"""

import hashlib
import sys
import tomllib
import urllib.request
import zipfile
from pathlib import Path

WANTED = ("cronsim",)
HERE = Path(__file__).resolve().parent


def wheels() -> dict[str, str]:
    """Return the URL of each wanted wheel with its SHA-256."""
    lock = next(path for path in (HERE / "uv.lock", HERE.parents[1] / "uv.lock") if path.exists())
    packages = tomllib.loads(lock.read_text(encoding="utf-8"))["package"]
    rows = [package["wheels"][0] for package in packages if package["name"] in WANTED]
    return {row["url"]: row["hash"].removeprefix("sha256:") for row in rows}


def main() -> None:
    """Fetch the wheels, check them, and unpack them."""
    for url, expected in wheels().items():
        path = HERE / url.rpartition("/")[2]
        if not path.exists():
            with urllib.request.urlopen(url, timeout=60) as answer:  # noqa: S310 - uv.lock has https only
                path.write_bytes(answer.read())
        if hashlib.sha256(path.read_bytes()).hexdigest() != expected:
            path.unlink()
            sys.exit(f"fetch.py: {url} does not match the hash in uv.lock")
        if len(sys.argv) > 1:
            with zipfile.ZipFile(path) as wheel:
                wheel.extractall(sys.argv[1])


if __name__ == "__main__":
    main()
