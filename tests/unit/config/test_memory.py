"""Huge pages: the kernel's pages against the server's settings."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from entrypoint.config.memory import judge_huge_pages
from entrypoint.finding import ERROR, OK, Finding


@pytest.mark.parametrize(
    ("found", "levels"),
    [
        (judge_huge_pages("off", pages=9, limit=0), []),
        (judge_huge_pages("try", pages=0, limit=0), []),
        (judge_huge_pages("try", pages=9, limit=0), [ERROR]),
        (judge_huge_pages("on", pages=0, limit=None), [ERROR]),
        (judge_huge_pages("on", pages=63, limit=None, least=64), [ERROR]),
        (judge_huge_pages("on", pages=64, limit=None, least=64), [OK]),
    ],
)
def test_huge_pages(found: Sequence[Finding], levels: list[str]) -> None:
    """A server with `on` needs enough of them; a server with `try` fails if the container may use none."""
    assert levels == [each.level for each in found]


def test_the_number_of_needed_pages_is_reported() -> None:
    """The hint names the setting that reserves them."""
    (found,) = judge_huge_pages("on", pages=3, limit=None, least=64)
    assert "3 of the 64 or more that it needs" in found.found
    assert "vm.nr_hugepages=64" in found.hint
