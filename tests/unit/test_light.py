"""The light NamedTuple and the lazy `re` behave like those of the standard library."""

from __future__ import annotations

import re
import typing

import pytest

from entrypoint import light


class Light(light.NamedTuple):
    """Three fields, two of them with defaults."""

    name: str
    size: int = 1
    rest: tuple[str, ...] = ()

    @property
    def both(self) -> str:
        """Return the values that a method sees."""
        return f"{self.name}{self.size}"


class Usual(typing.NamedTuple):
    """The same tuple of the standard library."""

    name: str
    size: int = 1
    rest: tuple[str, ...] = ()


def test_a_light_tuple_behaves_like_the_standard_one() -> None:
    """It is created by position and by name, with defaults, and compared, unpacked, shown and replaced alike."""
    light, usual = Light("a", rest=("b",)), Usual("a", rest=("b",))
    assert tuple(usual) == tuple(light)
    assert hash(usual) == hash(light)
    assert repr(usual).replace("Usual", "Light") == repr(light)
    assert (usual._asdict(), usual._fields, Usual._field_defaults) == (
        light._asdict(),
        light._fields,
        Light._field_defaults,
    )
    assert ("a", 2, ()) == (*light._replace(size=2, rest=()),)
    assert "a1" == light.both
    match light:
        case Light(name, size):
            assert ("a", 1) == (name, size)


@pytest.mark.parametrize(
    ("values", "named"),
    [((), {}), (("a", 1, (), 4), {}), (("a",), {"name": "b"}), (("a",), {"wrong": 1})],
    ids=["too few", "too many", "twice", "unknown"],
)
def test_wrong_fields_are_refused(values: tuple[typing.Any, ...], named: dict[str, typing.Any]) -> None:
    """Both classes refuse them."""
    for kind in (Light, Usual):
        with pytest.raises(TypeError):
            kind(*values, **named)
    with pytest.raises((TypeError, ValueError)):
        Light("a")._replace(wrong=1)  # type: ignore[call-arg]


def test_a_field_cannot_be_changed() -> None:
    """No field can be added either."""
    for name in ("name", "another"):
        with pytest.raises(AttributeError):
            setattr(Light("a"), name, "b")


def test_expressions_are_those_of_the_library() -> None:
    """Both compiled expressions and the module's functions work like the library's."""
    found = light.re.compile("(?s)a.(b)").fullmatch("a\nb")
    assert found is not None
    assert "b" == found[1]
    assert light.re.sub("a", "b", "aba") == re.sub("a", "b", "aba")


def _made(code: str) -> None:
    """Execute the source of a module, with or without postponed annotations."""
    exec(compile(code, "module", "exec", dont_inherit=True), {"__name__": "module"})


POSTPONED = "from __future__ import annotations\n"
IMPORTED = "from entrypoint.light import NamedTuple, Protocol, re\n"


@pytest.mark.parametrize(
    "wrong",
    [
        f"{IMPORTED}class A(NamedTuple):\n  a: int",
        f"{POSTPONED}{IMPORTED}class A(NamedTuple):\n  a: int = 1\n  b: int",
        f"{POSTPONED}{IMPORTED}class A(NamedTuple):\n  a: int\nclass B(A):\n  b: int",
        f"{POSTPONED}{IMPORTED}class A(Protocol):\n  a: int\nisinstance(1, A)",
        f"{IMPORTED}re.compile('a', 16)",
    ],
    ids=["annotations not postponed", "order of defaults", "inherited", "protocol asked", "flags"],
)
def test_unsupported_uses_are_refused(wrong: str) -> None:
    """The class fails at once, rather than becoming a tuple without a field."""
    with pytest.raises(TypeError):
        _made(wrong)


def test_supported_uses_are_accepted() -> None:
    """Without this, the test above would prove nothing."""
    _made(f"{POSTPONED}{IMPORTED}class A(NamedTuple):\n  a: int\n  b: int = 1\nassert A(1) == (1, 1)")
