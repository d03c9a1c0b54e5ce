"""The versions of an image's collations can be measured."""

from __future__ import annotations

import re
import runpy

from containers import IMAGE, Container
from repository import REPOSITORY


def test_measured_versions(server: Container) -> None:
    """image/collations.py measures the versions that the image's server records."""
    measured = runpy.run_path(str(REPOSITORY / "image/collations.py"))["measure"](IMAGE)
    assert {"glibc", "icu"} == set(measured)
    assert (
        server.sql("SELECT datcollversion FROM pg_database WHERE datname = 'postgres'") == measured["glibc"]
    )
    assert server.sql("SELECT collversion FROM pg_collation WHERE collname = 'und-x-icu'") == measured["icu"]
    assert re.fullmatch(r"2\.\d+", measured["glibc"])
