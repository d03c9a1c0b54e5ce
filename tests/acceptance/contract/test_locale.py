"""Initdb, the server and every command have exactly the locale of the environment."""

from __future__ import annotations

import pytest

from containers import FRESH, LOOK_INSIDE, image_env, run, serve

DATABASES = (
    "SELECT datcollate, datctype, pg_encoding_to_char(encoding) FROM pg_database WHERE datname = 'postgres'"
)


@pytest.mark.parametrize(
    ("locale", "expected"),
    [
        (
            {"LC_COLLATE": "C", "LC_CTYPE": "C", "POSTGRES_INITDB_ARGS": "--no-sync --encoding=UTF8"},
            "C|C|UTF8",
        ),
        ({"LANG": "C"}, "C|C|SQL_ASCII"),
        ({"LANG": ""}, "C|C|SQL_ASCII"),
        ({"LANG": "POSIX"}, "C|C|SQL_ASCII"),
        ({"LANG": "C.UTF-8"}, "C.UTF-8|C.UTF-8|UTF8"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_databases_have_the_requested_locale(locale: dict[str, str], expected: str) -> None:
    """This includes C, which Python would change to a UTF-8 locale for all its children."""
    with serve(env={**FRESH, **locale}, options=LOOK_INSIDE) as container:
        assert expected == container.sql(DATABASES)
        names = ("LANG", "LC_COLLATE", "LC_CTYPE", "LC_ALL")
        told = {
            name: value for name, value in container.environ(container.postmaster()).items() if name in names
        }
        assert {
            "LANG": image_env()["LANG"],
            **{name: locale[name] for name in names if name in locale},
        } == told


@pytest.mark.parametrize("program", [(), ("gosu", "postgres")], ids=["a command", "gosu"])
@pytest.mark.parametrize(
    "locale",
    [
        {"LANG": "C"},
        {"LANG": ""},
        {"LC_CTYPE": "C"},
        {"LC_CTYPE": "POSIX"},
        {"LC_CTYPE": "C.UTF-8"},
        {"LC_ALL": "C"},
    ],
    ids=lambda value: "".join(f"{name}={text}" for name, text in value.items()),
)
def test_commands_get_the_locale_unchanged(locale: dict[str, str], program: tuple[str, ...]) -> None:
    """A command sees exactly the variables that were set."""
    lines = run(*program, "env", env=locale).stdout.splitlines()
    found = dict(line.split("=", 1) for line in lines if line.startswith(("LANG=", "LC_")))
    assert {"LANG": image_env()["LANG"], **locale} == found
