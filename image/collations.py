#!/usr/bin/env python3
"""Refuse an image that sorts text with a different glibc or ICU than the last release with the same tag.

usage: collations.py IMAGE TAG

Indexes on text depend on the sort order of the operating system's libraries. So a change of these libraries
within a tag must be intended: declare it in collations.json next to this script and describe it in
CHANGELOG.md.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

DECLARED = Path(__file__).with_name("collations.json")

# The versions that PostgreSQL itself records for a collation and compares at every connection.
MEASURE = r"""
set -eu
initdb --no-sync --auth=trust --pgdata=/tmp/measured >/tmp/words
pg_ctl --pgdata=/tmp/measured --wait --options="-c listen_addresses= -k /tmp" start >/tmp/words
psql --host=/tmp --dbname=postgres --no-psqlrc --tuples-only --no-align --field-separator=' ' --command="
SELECT CASE collprovider WHEN 'c' THEN 'glibc' WHEN 'i' THEN 'icu' END, pg_collation_actual_version(oid)
FROM pg_collation WHERE collname IN ('en_US.utf8', 'und-x-icu') ORDER BY 1"
"""


def measure(image: str) -> dict[str, str]:
    """Return the library versions of an image, by library."""
    argv = ["docker", "run", "--rm", "--user=postgres", "--entrypoint=bash", image, "-c", MEASURE]
    output = subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True, timeout=300).stdout
    return dict(line.split(" ", 1) for line in output.splitlines())


def complaint(tag: str, declared: Mapping[str, Mapping[str, str]], measured: Mapping[str, str]) -> str | None:
    """Return what is wrong and how to fix it, or None."""
    put = f'add this to image/collations.json: "{tag}": {json.dumps(measured)}'
    if not set(measured) >= {"glibc"} or not all(measured.values()):
        return f"{tag}: the versions cannot be measured: {dict(measured)}"
    if tag not in declared:
        return f"{tag}: no release is declared.\nIf this is the first release, {put}"
    before = declared[tag]
    changes = [
        f"{name} {before.get(name, 'none')} became {measured.get(name, 'none')}"
        for name in sorted({*before, *measured})
        if before.get(name) != measured.get(name)
    ]
    if not changes:
        return None
    return (
        f"{tag}: {', '.join(changes)}: text may sort differently from the last release, and users must "
        f"reindex.\nIf this change is intended, describe it in CHANGELOG.md and {put}"
    )


def main() -> None:
    """Measure the image, compare the versions, and report."""
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    _, image, tag = sys.argv
    measured = measure(image)
    wrong = complaint(tag, json.loads(DECLARED.read_text(encoding="utf-8")), measured)
    if wrong:
        sys.exit(wrong)
    print(f"{tag}: {' '.join(f'{name} {version}' for name, version in measured.items())}, as declared")


if __name__ == "__main__":
    main()
