"""SQL for our own sessions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrypoint.postgres import sql

ODD = st.text(alphabet="ab'\"\\ \t\n:=\u2028$")
"""Letters, and all characters with a special meaning somewhere."""


@pytest.mark.parametrize("major", [14, 16, 17, 18])
def test_nobody_else_controls_a_session(major: int) -> None:
    """Unqualified names find no object that others may create, and no role or database changes that."""
    found = sql.settings(major, superuser=True, writes=False)
    assert ("pg_catalog,pg_temp", "none", "on") == (
        found["search_path"],
        found["role"],
        found["default_transaction_read_only"],
    )
    assert (major >= 17) == ("event_triggers" in found) == ("transaction_timeout" in found)


def test_only_a_writing_session_may_write() -> None:
    """Other sessions are read-only."""
    reads, writes = (sql.settings(17, superuser=True, writes=each) for each in (False, True))
    assert {"default_transaction_read_only"} == {name for name in reads if reads[name] != writes[name]}


@pytest.mark.parametrize("major", [14, 18])
def test_a_setting_for_superusers_is_recognized_by_its_name(major: int) -> None:
    """A server that refuses such a setting names it in any language; it never refuses the others."""
    everybody = sql.settings(major, superuser=False, writes=False)
    more = set(sql.settings(major, superuser=True, writes=False)) - set(everybody)
    assert more
    assert all(sql.is_refused_setting(f"FEHLER: keine Berechtigung, um „{name}“ zu setzen") for name in more)
    assert not any(sql.is_refused_setting(name) for name in everybody)


def _as_libpq_splits(options: str) -> list[str]:
    """Return the words of PGOPTIONS, split as the server does it (pg_split_opts)."""
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
def test_options_are_read_back(values: dict[str, str]) -> None:
    """Whatever characters a value contains, it ends where it should."""
    expected = [word for name, value in values.items() for word in ("-c", f"{name}={value}")]
    assert expected == _as_libpq_splits(sql.options(values))


@given(ODD)
def test_a_password_line_is_found_again(user: str) -> None:
    """The line that we write for a role is recognized for that role, and for no other."""
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
def test_when_a_password_may_be_required(hba: str, expected: bool) -> None:
    """This is about the server's socket; an included file may require one too."""
    assert expected == sql.asks_for_password(hba)
