#!/usr/bin/python3
"""Fetch the wheels of pure Python that Debian's suites lack, exactly those of uv.lock, or unpack them.

usage: fetch.py [FOLDER]    fetches into this script's folder what is not there; unpacks into FOLDER
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
    """Return the address of each wanted wheel and its SHA-256."""
    lock = next(path for path in (HERE / "uv.lock", HERE.parents[1] / "uv.lock") if path.exists())
    packages = tomllib.loads(lock.read_text(encoding="utf-8"))["package"]
    rows = [package["wheels"][0] for package in packages if package["name"] in WANTED]
    return {row["url"]: row["hash"].removeprefix("sha256:") for row in rows}


def main() -> None:
    """Fetch, compare, unpack."""
    for url, expected in wheels().items():
        path = HERE / url.rpartition("/")[2]
        if not path.exists():
            with urllib.request.urlopen(url, timeout=60) as answer:  # noqa: S310 - https, by uv.lock
                path.write_bytes(answer.read())
        if hashlib.sha256(path.read_bytes()).hexdigest() != expected:
            path.unlink()
            sys.exit(f"fetch.py: {url} is not what uv.lock says")
        if len(sys.argv) > 1:
            with zipfile.ZipFile(path) as wheel:
                wheel.extractall(sys.argv[1])


if __name__ == "__main__":
    main()
