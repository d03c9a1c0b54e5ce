"""What a start needs of `re` and `typing`, without what they cost: each import is time at every start.

`re` is loaded with the first expression that is used. `NamedTuple` and `Protocol` are enough of those of
`typing`, which with all it loads takes as long as the interpreter's own start.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import re
    from typing import Any, NamedTuple, Protocol
else:
    from _operator import itemgetter

    class _Expression:
        """A regular expression that is compiled when it is first used."""

        def __init__(self, pattern: str) -> None:
            self._pattern = pattern

        def __getattr__(self, name: str) -> Any:
            import re

            return getattr(re.compile(self._pattern), name)

    class _Expressions:
        """The module `re`, loaded when it is first used; flags stand in the expressions."""

        def compile(self, pattern: str) -> _Expression:
            return _Expression(pattern)

        def __getattr__(self, name: str) -> Any:
            import re

            return getattr(re, name)

    re = _Expressions()

    class Protocol:
        """For type checkers only."""

    class _Fields(type):
        """Makes the fields of a NamedTuple from its annotations."""

        def __new__(cls, name: str, bases: tuple[type, ...], body: dict[str, Any]) -> type:
            fields = tuple(body.get("__annotations__", ()))
            defaults = {field: body.pop(field) for field in fields if field in body}
            body |= {field: property(itemgetter(index)) for index, field in enumerate(fields)}
            body |= {
                "__slots__": (),
                "__match_args__": fields,
                "_fields": fields,
                "_field_defaults": defaults,
            }
            return super().__new__(cls, name, bases, body)

    class NamedTuple(tuple, metaclass=_Fields):  # noqa: SLOT001 - the metaclass does
        """A tuple with names; its module has to postpone annotations (`from __future__`)."""

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

        def _asdict(self) -> dict[str, Any]:
            return dict(zip(self._fields, self, strict=True))

        def _replace(self, **named: Any) -> NamedTuple:
            return type(self)(**(self._asdict() | named))


__all__ = ["NamedTuple", "Protocol", "re"]
