"""Named tuples, protocols, regular expressions and signals without their cost at a start; pure.

Loading `typing` takes as long as the interpreter itself, `re` half of that, and `dataclasses` needs both.
The whole program follows one rule, so that nobody has to know what a normal start or PID 1 loads: every value
is a `NamedTuple` of this module, every regular expression comes from its `re`, and `typing` is imported for
type checkers only. `tests/contracts/test_values.py` enforces this. Type checkers see the standard library.

Differences from the standard library:

- `NamedTuple` reads the annotations as text, so its module must begin with `from __future__ import
  annotations`; otherwise the class raises a TypeError. A tuple with fields cannot be subclassed.
- `re` is loaded when the first expression is used, not when it is compiled. Flags are part of the expression,
  as in `(?s)`: `compile` takes none, and `re.DOTALL` would load the library at once.
- `Protocol` is for type checkers only: isinstance does not work with it.
- `signal` is the C module below the standard library's: the same functions with numbers. The enumerations
  around them would permanently cost PID 1 a megabyte.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import re
    import signal
    from typing import Any, NamedTuple, Protocol
else:
    import _signal as signal
    from _operator import itemgetter

    class _Expression:
        """A regular expression that is compiled when it is first used."""

        def __init__(self, pattern: str) -> None:
            self._pattern = pattern

        def __getattr__(self, name: str) -> Any:
            import re

            method = getattr(re.compile(self._pattern), name)
            setattr(self, name, method)  # found at once from now on
            return method

    class _Expressions:
        """The module `re`, loaded when it is first used; flags are part of the expressions."""

        def compile(self, pattern: str) -> _Expression:
            return _Expression(pattern)

        def __getattr__(self, name: str) -> Any:
            import re

            return getattr(re, name)

    re = _Expressions()
    _NOT_POSTPONED = "__annotate_func__"
    """What a class has instead of annotations since Python 3.14, unless they are postponed."""

    class _NoQuestions(type):
        """Refuses isinstance, which only the standard library's protocols support."""

        def __instancecheck__(cls, value: object) -> bool:
            raise TypeError(f"{cls.__name__} is for type checkers only")

    class Protocol(metaclass=_NoQuestions):
        """For type checkers only."""

    class _Fields(type):
        """Makes the fields of a NamedTuple from its annotations."""

        def __new__(cls, name: str, bases: tuple[type, ...], body: dict[str, Any]) -> type:
            annotations = body.get("__annotations__", {})
            if [base for base in bases if getattr(base, "_fields", ())]:
                raise TypeError(f"{name}: a tuple with fields cannot be subclassed")
            if [text for text in annotations.values() if type(text) is not str] or _NOT_POSTPONED in body:
                raise TypeError(f"{name}: its module lacks `from __future__ import annotations`")
            fields = tuple(annotations)
            defaults = {field: body.pop(field) for field in fields if field in body}
            if list(defaults) != [*fields[len(fields) - len(defaults) :]]:
                raise TypeError(f"{name}: a field without a default follows one that has one")
            body |= {field: property(itemgetter(index)) for index, field in enumerate(fields)}
            body |= {
                "__slots__": (),
                "__match_args__": fields,
                "_fields": fields,
                "_field_defaults": defaults,
            }
            return super().__new__(cls, name, bases, body)

    class NamedTuple(tuple, metaclass=_Fields):  # noqa: SLOT001 - the metaclass does
        """A tuple with named fields; its module has to postpone annotations (`from __future__`)."""

        def __new__(cls, *values: Any, **named: Any) -> NamedTuple:  # noqa: D102, PYI034
            fields = cls._fields
            if named or len(values) != len(fields):
                rest = fields[len(values) :]
                given = cls._field_defaults | named
                if len(values) > len(fields) or not named.keys() <= {*rest} <= given.keys():
                    raise TypeError(f"{cls.__name__} has {fields}, not {values} and {named}")
                values = (*values, *(given[field] for field in rest))
            return tuple.__new__(cls, values)

        def __repr__(self) -> str:
            pairs = (f"{name}={value!r}" for name, value in self._asdict().items())
            return f"{type(self).__name__}({', '.join(pairs)})"

        def __getnewargs__(self) -> tuple[Any, ...]:  # for pickle
            return tuple(self)

        def _asdict(self) -> dict[str, Any]:
            return dict(zip(self._fields, self, strict=True))

        def _replace(self, **named: Any) -> NamedTuple:
            return type(self)(**(self._asdict() | named))


__all__ = ["NamedTuple", "Protocol", "re", "signal", "signal_name"]


def signal_name(number: int) -> str:
    """Return a signal's name; most real-time signals have none.

    >>> signal_name(15)
    'SIGTERM'
    >>> signal_name(40)
    'signal 40'
    """
    names = {
        getattr(signal, name): name
        for name in dir(signal)
        if name.startswith("SIG") and not name.startswith(("SIG_", "SIGCLD", "SIGPOLL"))
    }
    return names.get(number, f"signal {number}")
