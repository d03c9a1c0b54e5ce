"""Which expressions of users are taken for harmless, as far as it can be told without a server."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from entrypoint.postgres import harmless

OF_USERS = 16384


@given(st.integers(0, 2**32 - 1))
def test_no_oid_of_a_user_passes(oid: int) -> None:
    """Objects of users have numbers from 16384 on; a few of the server's own before them are refused as well."""
    refused = re.fullmatch(harmless._FIRST_OF_USERS, str(oid)) is not None
    assert refused or oid < OF_USERS
    assert not refused or oid >= OF_USERS - 4


def test_what_may_run_a_program_of_somebody_is_no_harmless_node() -> None:
    """A query inside, a parameter, a cast to a domain or what a user's own aggregate is made of."""
    nodes = harmless.risky("tree").partition("(?!(?:")[2].partition(")")[0].split("|")
    assert {"VAR", "CONST", "OPEXPR"} <= {*nodes}
    assert set() == {*nodes} & {"SUBLINK", "SUBPLAN", "PARAM", "COERCETODOMAIN", "AGGREF", "QUERY", "XMLEXPR"}


def test_names_are_quoted_in_the_guard() -> None:
    """In both of its statements, the second of which is a text in a text."""
    guard = harmless.guard('public."it\'s"', "0f")
    assert guard.startswith("PREPARE entrypoint AS SELECT FROM ONLY public.\"it's\"; DO '")
    assert "''public.\"it''''s\"''::regclass" in guard
    assert 0 == guard.partition("DO ")[2].count("'") % 2
