"""What the tests of archives share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import s3
from s3 import S3


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3]:
    """The S3 server of all tests; each uses a prefix of its own, and leaves the road open."""
    with s3.serve() as server:
        yield server


@pytest.fixture(scope="module")
def own_s3() -> Iterator[S3]:
    """An S3 server whose road a module's tests may cut; it is open at the start of each by `s3_road`."""
    with s3.serve() as server:
        yield server
