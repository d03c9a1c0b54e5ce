"""What a session of our own is told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrypoint.postgres import sql

ODD = st.text(alphabet="ab'\"\\ \t\n:=\u2028$")
"""Letters, and whatever has a meaning somewhere."""


@pytest.mark.parametrize("major", [14, 16, 17, 18])
def test_a_session_is_ruled_by_nobody(major: int) -> None:
    """It finds nothing by a plain name that others may make, and no role or database changes that."""
    found = sql.settings(major, superuser=True, writes=False)
    assert ("pg_catalog,pg_temp", "none", "on") == (
        found["search_path"],
        found["role"],
        found["default_transaction_read_only"],
    )
    assert (major >= 17) == ("event_triggers" in found) == ("transaction_timeout" in found)


def test_it_writes_where_that_is_asked_for() -> None:
    """And only then."""
    reads, writes = (sql.settings(17, superuser=True, writes=each) for each in (False, True))
    assert {"default_transaction_read_only"} == {name for name in reads if reads[name] != writes[name]}


@pytest.mark.parametrize("major", [14, 18])
def test_what_only_a_superuser_may_set_is_known_by_its_name(major: int) -> None:
    """A server that refuses one says its name in any language; the others it never refuses."""
    everybody = sql.settings(major, superuser=False, writes=False)
    more = set(sql.settings(major, superuser=True, writes=False)) - set(everybody)
    assert more
    assert all(sql.is_refused_setting(f"FEHLER: keine Berechtigung, um „{name}“ zu setzen") for name in more)
    assert not any(sql.is_refused_setting(name) for name in everybody)


def _as_libpq_splits(options: str) -> list[str]:
    """Return the words as the server takes PGOPTIONS apart (pg_split_opts)."""
    words, word, escaped, begun = [], "", False, False
    for letter in options:
        if escaped:
            word, escaped = word + letter, False
        elif letter == "\\":
            escaped = begun = True
        elif letter in " \t\n\r\f\v":
            words += [word] if begun else []
            word, begun = "", False
        else:
            word, begun = word + letter, True
    return [*words, word] if begun else words


@given(st.dictionaries(st.sampled_from(["search_path", "x.y", "role"]), ODD))
def test_options_say_what_was_meant(values: dict[str, str]) -> None:
    """Whatever a value holds, it ends where it should."""
    expected = [word for name, value in values.items() for word in ("-c", f"{name}={value}")]
    assert expected == _as_libpq_splits(sql.options(values))


@given(ODD)
def test_a_password_line_is_found_again(user: str) -> None:
    """What we write for a role is what we take for one of it, and of no other role."""
    name = user.replace("\n", "")
    line = sql.password_line(name, "secret")
    assert sql.knows_password(f"# others\n{line}\n", name)
    assert not sql.knows_password(line, f"{name}x")


@pytest.mark.parametrize(
    ("hba", "expected"),
    [
        ("", False),
        ("local all all trust\nhost all all all scram-sha-256", False),
        ("local all all peer map=md5", False),
        ('local "my db" all scram-sha-256', True),
        ("local all all trust # md5", False),
        ("include_if_exists more.conf", True),
        ("@more", True),
    ],
)
def test_who_may_be_asked_for_a_password(hba: str, expected: bool) -> None:
    """By the server's socket; what is included may say anything."""
    assert expected == sql.asks_for_password(hba)
