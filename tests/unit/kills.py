"""Kills in the middle of changes to folders, as they look from inside."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager


class Killed(BaseException):
    """A kill as it looks from inside: nothing handles it."""


@contextmanager
def killed_at(step: int, changes: Sequence[str]) -> Iterator[None]:
    """Make every function of os that changes a folder, by these names, end the program from this step on."""
    assert shutil.rmtree.avoids_symlink_attacks  # shutil looked up the real functions before they are patched
    left = itertools.count(step, -1)
    real: dict[str, Callable[..., object]] = {name: getattr(os, name) for name in changes}

    def patched(name: str) -> Callable[..., object]:
        def call(*arguments: object, **named: object) -> object:
            if next(left) <= 0:
                raise Killed
            return real[name](*arguments, **named)

        return call

    try:
        for name in changes:
            setattr(os, name, patched(name))
        yield
    finally:
        for name in changes:
            setattr(os, name, real[name])
