"""Which expressions of users count as harmless, as far as can be decided without a server."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from entrypoint.postgres import harmless

OF_USERS = 16384


@given(st.integers(0, 2**32 - 1))
def test_no_oid_of_a_users_object_passes(oid: int) -> None:
    """Users' objects have oids from 16384 on; a few of the server's own before them are refused as well."""
    refused = re.fullmatch(harmless._FIRST_OF_USERS, str(oid)) is not None
    assert refused or oid < OF_USERS
    assert not refused or oid >= OF_USERS - 4


def test_nodes_that_may_run_users_code_are_not_harmless() -> None:
    """These are a subquery, a parameter, a cast to a domain, and the parts of a user's own aggregate."""
    nodes = harmless.risky("tree").partition("(?!(?:")[2].partition(")")[0].split("|")
    assert {"VAR", "CONST", "OPEXPR"} <= {*nodes}
    assert set() == {*nodes} & {"SUBLINK", "SUBPLAN", "PARAM", "COERCETODOMAIN", "AGGREF", "QUERY", "XMLEXPR"}


def test_names_are_quoted_in_the_guard() -> None:
    """They are quoted in both of its statements, the second of which is a text within a text."""
    guard = harmless.guard('public."it\'s"', "0f")
    assert guard.startswith("PREPARE entrypoint AS SELECT FROM ONLY public.\"it's\"; DO '")
    assert "''public.\"it''''s\"''::regclass" in guard
    assert 0 == guard.partition("DO ")[2].count("'") % 2
