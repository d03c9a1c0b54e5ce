"""Judges, which check whether an object's bytes are still those that were stored."""

from __future__ import annotations

import base64
import bz2
import gzip
import hashlib
import random
import zlib
from collections.abc import Iterable

import pytest

from entrypoint.archivers.judges import DIFFERS, Judge, Manifest, Part, Parts, Sum, Text
from entrypoint.backup import unpack

#: The letter a 600,000 times, in a frame with a checksum.
LZ4 = zlib.decompress(
    base64.b64decode(
        "eNpjUfKVcHA4wM3IwCCfyMjwf4SD5wGJIMAFDA7+0dB4MRoao6ExGhqjoTEaGqOhMRoatAsNQwZSQuM8RBNQDwMALjxA2g=="
    )
)
ZSTD = bytes.fromhex("28b52ffd04585400001061610100fbff39c002020010610200106102001061033e0961ea61cec4")
EVEN = {
    ".lz4": zlib.decompress(
        base64.b64decode(
            "eNrt0LENABAQQNGTqCi0OolJLCCxgk1twxacMcR/IzybayxleCOSupH9udn65bQjsLHYYIMNNthggw022GCDDTbYYOOtDVEHW9UmrQ=="
        )
    ),
    ".zst": bytes.fromhex(
        "28b52ffd04585400001061610100fbff39c00202001061020010610200106102001061020010610200106103001061f11321b5"
    ),
}
BYTES = random.Random(1).randbytes(1000)


def _sha(data: bytes) -> str:
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()


def _judged(judge: Judge, data: bytes, step: int = 7) -> str:
    for begin in range(0, len(data), step):
        judge.feed(data[begin : begin + step])
    return judge.verdict()


def _flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :]


PARTS = [Part(at, 100, _sha(BYTES[at : at + 100]), f"file {at}") for at in (300, 0, 100, 900)]


@pytest.mark.parametrize("step", [1, 99, 100, 250, 1000])
def test_every_piece_has_its_checksum(step: int) -> None:
    """A changed byte is reported with the file that it is in; bytes of no file are ignored."""
    assert "" == _judged(Parts(PARTS), BYTES, step)
    for at in (0, 99, 100, 350, 999):
        assert _judged(Parts(PARTS), _flipped(BYTES, at), step) == f"file {at // 100 * 100}: {DIFFERS}"
    assert "" == _judged(Parts(PARTS), _flipped(BYTES, 500), step)


@pytest.mark.parametrize("length", [0, 50, 399, 999])
def test_a_truncated_piece_is_damaged(length: int) -> None:
    """An object that ends too early is damaged even if no checksum differs yet."""
    assert "its end is missing" in _judged(Parts(PARTS), BYTES[:length])


def test_a_piece_without_a_checksum_is_only_counted() -> None:
    """A pgBackRest before 2.44 recorded no checksum of the stored bytes."""
    assert "" == _judged(Parts([Part(0, 1000, "", "x")]), BYTES)
    assert "x: its end is missing" == _judged(Parts([Part(0, 1001, "", "x")]), BYTES)


@pytest.mark.parametrize("ending", ["", ".gz", ".bz2"])
def test_the_sum_of_the_uncompressed_bytes(ending: str) -> None:
    """Changed, truncated and replaced objects are found."""
    data = {"": BYTES, ".gz": gzip.compress(BYTES), ".bz2": bz2.compress(BYTES)}[ending]

    def judge() -> Sum:
        return Sum(_sha(BYTES), unpack.by_ending(ending, {}) if ending else None)

    assert "" == _judged(judge(), data)
    for other in (_flipped(data, len(data) // 2), data[:-20], b"", b"another thing"):
        assert _judged(judge(), other)


@pytest.mark.parametrize(("ending", "frame"), [(".lz4", LZ4), (".zst", ZSTD)])
def test_the_libraries(ending: str, frame: bytes) -> None:
    """Python has neither format; if a library is missing, there is no decompressor."""
    unpacker = unpack.by_ending(ending, {})
    assert unpacker is not None, "this machine lacks the library"
    letters = b"".join(unpacker.decompress(frame[at : at + 3]) for at in range(0, len(frame), 3))
    assert (b"a" * 600_000, True) == (letters, unpacker.eof)
    made = unpack.by_ending(ending, {})
    assert made is not None
    assert (2**20, True) == (len(made.decompress(EVEN[ending])), made.eof), "it ends where a block ends"
    other = unpack.by_ending(ending, {})
    assert other is not None
    with pytest.raises(ValueError, match=r"."):
        other.decompress(b"no frame at all, but long enough to be seen as none")
    assert unpack.by_ending(ending, {"liblz4.so.1": "/none", "libzstd.so.1": "/none"}) is None
    assert unpack.by_ending(".br", {}) is None


def test_a_json_text() -> None:
    """wal-g stores JSON texts uncompressed; only valid JSON passes."""
    assert "" == _judged(Text(), b'{"a": [1]}')
    assert "it is not valid JSON" in _judged(Text(), b'{"a": [1}')
    assert "it is not valid JSON" in _judged(Text(), b'{"a": "\xff"}')


def _manifest(files: Iterable[str], compress: str = "lz4", rest: str = "") -> bytes:
    lines = "\n".join(files)
    text = (
        '[backrest]\nbackrest-format=5\nbackrest-version="2.45"\n\n[backup]\nbackup-label="L"\n\n'
        f'[backup:option]\noption-compress-type="{compress}"\n\n{rest}[target:file]\n{lines}\n\n'
        '[target:file:default]\nmode="0600"\n'
    )
    body = "{"
    for index, section in enumerate(text.strip().split("\n\n")):
        name, *rows = section.split("\n")
        pairs = ((row[: row.index('={"') if '={"' in row else row.index("=")], row) for row in rows)
        body += "," * (index > 0) + f'"{name[1:-1]}":{{'
        body += ",".join(f'"{key}":{row[len(key) + 1 :]}' for key, row in pairs) + "}"
    return f'{text}\n[backrest]\nbackrest-checksum="{_sha((body + "}").encode())}"\n'.encode()


FILES = (
    'pg_data/PG_VERSION={"bni":1,"bno":5,"checksum":"c","rck":"r1","repo-size":22,"size":3,"timestamp":1}',
    'pg_data/a=b={"checksum":"c","rck":"r2","repo-size":9,"size":8,"timestamp":1}',
    'pg_data/block={"bi":1,"bim":7,"checksum":"c","rck":"r3","repo-size":9,"size":8,"timestamp":1}',
    'pg_data/empty={"size":0,"timestamp":1}',
    'pg_data/older={"checksum":"c","reference":"K","repo-size":9,"size":8,"timestamp":1}',
)


def test_what_a_manifest_names() -> None:
    """It names bundles, single files and blocks, but neither files of an older backup nor empty files."""
    manifest = Manifest("backup/main/L")
    assert "" == _judged(manifest, _manifest(FILES))
    assert {
        "backup/main/L/bundle/1": [Part(5, 22, "r1", "pg_data/PG_VERSION")],
        "backup/main/L/pg_data/a=b.lz4": [Part(0, 9, "r2", "pg_data/a=b")],
        "backup/main/L/pg_data/block.pgbi": [Part(0, 9, "r3", "pg_data/block")],
    } == manifest.parts
    assert ["backup/main/L/bundle/1"] == manifest.missing(
        frozenset(set(manifest.parts) - {"backup/main/L/bundle/1"})
    )


@pytest.mark.parametrize(
    ("compress", "rest", "digest"),
    [("none", "", "c"), ("none", '[cipher]\ncipher-pass="x"\n\n', ""), ("gz", "", "")],
)
def test_a_manifest_of_an_old_pgbackrest(compress: str, rest: str, digest: str) -> None:
    """If there is no checksum of the stored bytes, the file's own checksum serves for an unchanged file."""
    manifest = Manifest("L")
    data = _manifest(['pg_data/x={"checksum":"c","size":8,"timestamp":1}'], compress, rest)
    assert "" == _judged(manifest, data)
    ((part,),) = manifest.parts.values()
    assert digest == part.digest
    assert (not digest) == manifest.unknown


def test_a_damaged_manifest() -> None:
    """Any changed byte is found, also in the checksum itself; so is a missing end."""
    data = _manifest(FILES)
    for at in range(0, len(data) - 1, 11):
        assert _judged(Manifest("L"), _flipped(data, at), 64), at
    assert _judged(Manifest("L"), data[:-60])
    assert _judged(Manifest("L"), b"")
