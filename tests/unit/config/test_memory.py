"""Huge pages: what the kernel has against what the server is to have."""

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
def test_who_gets_them(found: Sequence[Finding], levels: list[str]) -> None:
    """A server that must have them starts only where there are enough; one that may, dies of a limit of none."""
    assert levels == [each.level for each in found]


def test_how_many_are_needed_is_said() -> None:
    """With the setting that reserves them."""
    (found,) = judge_huge_pages("on", pages=3, limit=None, least=64)
    assert "3 of the 64 or more that it needs" in found.found
    assert "vm.nr_hugepages=64" in found.hint
