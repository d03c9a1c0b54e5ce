"""Fixtures for the tests of archives."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest

import archives
import s3
from archives import FOLDERS, Archive
from s3 import S3


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3]:
    """The S3 server of all tests; each archive has its own prefix."""
    with s3.serve() as server:
        yield server


@pytest.fixture(params=FOLDERS)
def archive(request: pytest.FixtureRequest) -> Iterator[Archive]:
    """An empty archive of each tool, in a folder unless a test is parametrized with PLACES."""
    tool, place = request.param
    with archives.made(tool, request.getfixturevalue("s3_server") if place == "s3" else None) as found:
        yield found


@pytest.fixture
def road(s3_server: S3) -> Iterator[S3]:
    """The S3 server for a test that cuts the road to it or changes its keys; both are restored afterwards."""
    yield s3_server
    s3_server.relay.slow(0)
    s3_server.relay.narrow(math.inf)
    s3_server.relay.restore()
    s3_server.rekey(s3.SECRET)
