"""The locale of the environment is initdb's, the server's and every command's, exactly as it was given."""

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
def test_databases_have_the_locale_that_was_asked_for(locale: dict[str, str], expected: str) -> None:
    """Also C, which a program in Python would turn into a UTF-8 one for all that it starts."""
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
def test_commands_get_the_locale_as_it_was_given(locale: dict[str, str], program: tuple[str, ...]) -> None:
    """What a command sees is what was set, no more and no less."""
    lines = run(*program, "env", env=locale).stdout.splitlines()
    found = dict(line.split("=", 1) for line in lines if line.startswith(("LANG=", "LC_")))
    assert {"LANG": image_env()["LANG"], **locale} == found
