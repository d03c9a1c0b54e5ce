"""Judges, which check whether an object's bytes are still those that were stored; pure.

A judge takes the bytes block by block. Its verdict then says what is wrong; it is empty if nothing is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence

from entrypoint.light import NamedTuple, Protocol
from entrypoint.shown import inline
from entrypoint.system import guest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Catalogue", "Ended", "Judge", "Manifest", "Part", "Parts", "Sum", "Tars", "Text", "Unpacker"]

DIFFERS = "its checksum differs"


class Judge(Protocol):
    """The judge of one object."""

    def feed(self, block: bytes) -> None:
        """Take the next bytes."""

    def verdict(self) -> str:
        """Return what is wrong, or an empty text; called after the last byte."""


class Catalogue(Judge, Protocol):
    """The judge of the object that says how the other objects of a backup are judged."""

    def missing(self, paths: frozenset[str]) -> list[str]:
        """Return the objects that the catalogue names and that are missing in `paths`."""


class Unpacker(Protocol):
    """A decompressor."""

    def decompress(self, block: bytes, /) -> bytes:
        """Decompress these bytes; raises OSError, ValueError or zlib.error if they are damaged."""

    @property
    def eof(self) -> bool:
        """Whether the end of the compressed data was reached."""


class Ended:
    """A judge that needs only the tool's exit code, since the stored file contains a checksum."""

    def feed(self, block: bytes) -> None:
        """Discard the next bytes."""

    def verdict(self) -> str:
        """Return an empty text: nothing is wrong."""
        return ""


_MOST_TEXT = 64 * 1024**2
"""Most bytes of a text that is parsed: the parsed value takes several times as much memory."""


class Text:
    """The judge of a JSON text; a very large one is only known to be readable."""

    def __init__(self) -> None:
        self._blocks: list[bytes] = []
        self._size = 0
        self._value: Any = None

    def feed(self, block: bytes) -> None:
        """Keep the next bytes."""
        self._size += len(block)
        if self._size > _MOST_TEXT:
            self._blocks.clear()
        else:
            self._blocks.append(block)

    def verdict(self) -> str:
        """Return why the text is not JSON."""
        if self._size > _MOST_TEXT:
            return ""
        try:
            self._value = guest.parse_json(b"".join(self._blocks).decode())
        except ValueError as error:
            return f"it is not valid JSON: {inline(str(error)[:80])}"
        return ""


class Tars(Text):
    """The judge of wal-g's list of a backup's files, which names the tar archives that contain them."""

    def __init__(self, folder: str) -> None:
        super().__init__()
        self._folder = f"{folder}/tar_partitions"

    def missing(self, paths: frozenset[str]) -> list[str]:
        """Return the tar archives that the list names and that are missing in `paths`."""
        sets = self._value.get("TarFileSets") if isinstance(self._value, dict) else None
        named = {f"{self._folder}/{name}" for name in sets} if isinstance(sets, dict) else set()
        control = f"{self._folder}/pg_control.tar"
        if named and not any(path.startswith(control) for path in paths):
            named.add(control)
        return sorted(named - paths)


class Sum:
    """The judge of an object for which the SHA-1 of the uncompressed bytes is known."""

    def __init__(self, digest: str, unpacker: Unpacker | None) -> None:
        self._digest = digest
        self._unpacker = unpacker
        self._hash = hashlib.sha1(usedforsecurity=False)
        self._wrong = ""

    def feed(self, block: bytes) -> None:
        """Take the next bytes; after an error they are ignored."""
        if self._wrong:
            return
        try:
            self._hash.update(self._unpacker.decompress(block) if self._unpacker else block)
        except Exception as error:  # noqa: BLE001 - zlib.error is not an OSError, and zlib need not be loaded
            self._wrong = f"it cannot be decompressed: {inline(str(error)[:80])}"

    def verdict(self) -> str:
        """Return how the object differs from what was stored."""
        if not self._wrong and self._unpacker and not self._unpacker.eof:
            self._wrong = "its end is missing"
        return self._wrong or ("" if self._hash.hexdigest() == self._digest else DIFFERS)


class Part(NamedTuple):
    """A piece of an object, as it is stored."""

    offset: int
    size: int
    digest: str
    """SHA-1; empty: not known."""
    name: str
    """The database's file that the piece contains."""


class Parts:
    """The judge of an object for which the checksums of its pieces are known."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self._parts = iter(sorted(parts))
        self._place = 0
        self._wrong = ""
        self._next()

    def _next(self) -> None:
        self._part = next(self._parts, None)
        self._hash = hashlib.sha1(usedforsecurity=False)

    def feed(self, block: bytes) -> None:
        """Take the next bytes."""
        view, end = memoryview(block), self._place + len(block)
        while self._part is not None:
            part = self._part
            first, last = max(part.offset, self._place), min(part.offset + part.size, end)
            if first < last:
                self._hash.update(view[first - self._place : last - self._place])
            if part.offset + part.size > end:
                break
            if part.digest and self._hash.hexdigest() != part.digest:
                self._wrong = self._wrong or f"{part.name}: {DIFFERS}"
            self._next()
        self._place = end

    def verdict(self) -> str:
        """Return the first piece that differs or is truncated."""
        if self._part is not None and not self._wrong:
            return f"{self._part.name}: its end is missing"
        return self._wrong


class Manifest:
    """The judge of pgBackRest's list of a backup's files, which contains its own checksum."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._rest = b""
        self._section = ""
        self._hash = hashlib.sha1(b"{", usedforsecurity=False)
        self._digest = ""
        self._summed = ""
        self._wrong = ""
        self._ending = ""
        self._sealed = False
        self.parts: dict[str, list[Part]] = {}
        """The pieces that this backup itself stores, by path."""
        self.unknown = 0
        """Number of files without a checksum of the stored bytes: pgBackRest before 2.44 recorded none."""

    def feed(self, block: bytes) -> None:
        """Take the next bytes, line by line."""
        *lines, self._rest = (self._rest + block).split(b"\n")
        for line in lines:
            if self._wrong:
                return
            try:
                with guest.Reading("the manifest"):
                    self._line(line.decode("utf-8", "surrogateescape"))
            except ValueError as error:
                self._wrong = f"it cannot be parsed: {inline(str(error)[:80])}"

    def _line(self, line: str) -> None:
        if line.startswith("[") and line.endswith("]"):
            self._section = line[1:-1]
            return
        if not line:
            return
        key, text, value = _parted(line)
        if (self._section, key) == ("backrest", "backrest-checksum"):
            self._digest = str(value)
            return
        between = ","
        if self._section != self._summed:
            between = f"{'},' if self._summed else ''}{_quoted(self._section)}:{{"
            self._summed = self._section
        self._hash.update(f"{between}{_quoted(key)}:{text}".encode("utf-8", "surrogateescape"))
        if (self._section, key) == ("backup:option", "option-compress-type"):
            self._ending = _ENDINGS[value]
        elif self._section == "cipher":
            self._sealed = True
        elif self._section == "target:file" and value.get("size") and not value.get("reference"):
            self._file(key, value)

    def _file(self, name: str, value: dict[str, object]) -> None:
        bundle, size = value.get("bni"), value.get("repo-size", value["size"])
        ending = ".pgbi" if value.get("bim") else self._ending
        path = f"bundle/{bundle}" if bundle else name + ending
        plain = not ending and not self._sealed
        digest = value.get("rck") or (value.get("checksum") if plain else "")
        self.unknown += not digest
        part = Part(int(str(value.get("bno", 0))), int(str(size)), str(digest or ""), name)
        self.parts.setdefault(f"{self._folder}/{path}", []).append(part)

    def verdict(self) -> str:
        """Return whether the list differs from its own checksum, which is in its last line."""
        self._hash.update(b"}}")
        return self._wrong or ("" if self._hash.hexdigest() == self._digest else DIFFERS)

    def missing(self, paths: frozenset[str]) -> list[str]:
        """Return the objects that the list names and that are missing in `paths`."""
        return sorted(self.parts.keys() - paths)


_ENDINGS = {"none": "", "gz": ".gz", "bz2": ".bz2", "lz4": ".lz4", "zst": ".zst"}


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _parted(line: str) -> tuple[str, str, Any]:
    """Return the key, the value's text and the parsed value; a file's name may also contain a `=`."""
    for at in _places(line):
        try:
            return line[:at], line[at + 1 :], guest.parse_json(line[at + 1 :])
        except ValueError:
            continue
    raise ValueError("a line has no value")


def _places(line: str) -> Iterator[int]:
    at = line.find("=")
    while at > 0:
        yield at
        at = line.find("=", at + 1)
