"""lz4 and zstd, through the libraries that pgBackRest is linked against: Python has neither before 3.14."""

import bz2
import ctypes
import zlib
from collections.abc import Callable, Mapping

from entrypoint.archivers.judges import Unpacker

_BLOCK = 256 * 1024
_LZ4_VERSION = 100


class _Library:
    """A decompressor object of a C library, freed together with this object."""

    def __init__(self, free: Callable[[ctypes.c_void_p], object]) -> None:
        self._made = ctypes.c_void_p()
        self._free = free
        self._out = ctypes.create_string_buffer(_BLOCK)
        self.eof = False

    def decompress(self, block: bytes) -> bytes:
        """Decompress these bytes."""
        raise NotImplementedError

    def __del__(self) -> None:
        """Free the library's memory."""
        if self._made:
            self._free(self._made)


class _Lz4(_Library):
    def __init__(self, library: ctypes.CDLL) -> None:
        super().__init__(library.LZ4F_freeDecompressionContext)
        self._library = library
        library.LZ4F_isError.argtypes = [ctypes.c_size_t]
        library.LZ4F_getErrorName.argtypes = [ctypes.c_size_t]
        library.LZ4F_getErrorName.restype = ctypes.c_char_p
        library.LZ4F_freeDecompressionContext.argtypes = [ctypes.c_void_p]
        self._step = library.LZ4F_decompress
        self._step.restype = ctypes.c_size_t
        library.LZ4F_createDecompressionContext.restype = ctypes.c_size_t
        self._good(library.LZ4F_createDecompressionContext(ctypes.byref(self._made), _LZ4_VERSION))

    def _good(self, code: int) -> int:
        if self._library.LZ4F_isError(code):
            raise ValueError(self._library.LZ4F_getErrorName(code).decode())
        return code

    def decompress(self, block: bytes) -> bytes:
        """Decompress these bytes."""
        made = []
        place = ctypes.create_string_buffer(block, len(block))
        done, room, left = 0, ctypes.c_size_t(_BLOCK), ctypes.c_size_t()
        while done < len(block) or room.value == _BLOCK:
            room.value, left.value = _BLOCK, len(block) - done
            hint = self._good(
                self._step(
                    self._made,
                    self._out,
                    ctypes.byref(room),
                    ctypes.byref(place, done) if left.value else None,
                    ctypes.byref(left),
                    None,
                )
            )
            made.append(self._out.raw[: room.value])
            done += left.value
            self.eof = hint == 0
            if done == len(block) and (self.eof or not room.value):
                break  # another call would wait for another frame
        return b"".join(made)


class _Piece(ctypes.Structure):
    """The layout of ZSTD_inBuffer and ZSTD_outBuffer."""

    _fields_ = (("place", ctypes.c_void_p), ("size", ctypes.c_size_t), ("done", ctypes.c_size_t))


class _Zstd(_Library):
    def __init__(self, library: ctypes.CDLL) -> None:
        super().__init__(library.ZSTD_freeDStream)
        self._library = library
        library.ZSTD_createDStream.restype = ctypes.c_void_p
        library.ZSTD_freeDStream.argtypes = [ctypes.c_void_p]
        library.ZSTD_isError.argtypes = [ctypes.c_size_t]
        library.ZSTD_getErrorName.argtypes = [ctypes.c_size_t]
        library.ZSTD_getErrorName.restype = ctypes.c_char_p
        self._step = library.ZSTD_decompressStream
        self._step.restype = ctypes.c_size_t
        self._made = ctypes.c_void_p(library.ZSTD_createDStream())

    def decompress(self, block: bytes) -> bytes:
        """Decompress these bytes."""
        made = []
        place = ctypes.create_string_buffer(block, len(block))
        given = _Piece(ctypes.addressof(place), len(block), 0)
        taken = _Piece(ctypes.addressof(self._out), _BLOCK, _BLOCK)
        while given.done < given.size or taken.done == _BLOCK:
            taken.done = 0
            code = self._step(self._made, ctypes.byref(taken), ctypes.byref(given))
            if self._library.ZSTD_isError(code):
                raise ValueError(self._library.ZSTD_getErrorName(code).decode())
            made.append(self._out.raw[: taken.done])
            self.eof = code == 0
            if given.done == given.size and (self.eof or not taken.done):
                break
        return b"".join(made)


_OWN: Mapping[str, Callable[[], Unpacker]] = {
    ".gz": lambda: zlib.decompressobj(31),
    ".bz2": bz2.BZ2Decompressor,
}
_LIBRARIES = {".lz4": ("liblz4.so.1", _Lz4), ".zst": ("libzstd.so.1", _Zstd)}


def by_ending(ending: str, libraries: Mapping[str, str]) -> Unpacker | None:
    """Return the decompressor for a file suffix; None if its library is missing.

    `libraries` maps library names to paths, for libraries that the loader does not find.
    """
    if ending in _OWN:
        return _OWN[ending]()
    name, kind = _LIBRARIES.get(ending, ("", None))
    if kind is None:
        return None
    try:
        return kind(ctypes.CDLL(libraries.get(name, name)))
    except OSError:
        return None
