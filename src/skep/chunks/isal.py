"""Intel's ISA-L through ctypes: the one place that knows of it.

The library comes inside the ``pyeclib`` wheel or from the system (Debian: ``libisal2``). ctypes
releases the GIL during the call; buffers are read and written where they are.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import importlib.util
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import lru_cache
from pathlib import Path

from skep.crypto.hashing import Buffer

_TABLE_BYTES = 32  # of each coefficient
_BUFFER_SIMPLE = 0
_BUFFER_WRITABLE = 1


class _BufferInfo(ctypes.Structure):
    """``Py_buffer``, of the stable ABI since Python 3.11."""

    _fields_ = [
        ("address", ctypes.c_void_p),
        ("owner", ctypes.c_void_p),
        ("size", ctypes.c_ssize_t),
        ("item_size", ctypes.c_ssize_t),
        ("readonly", ctypes.c_int),
        ("dimensions", ctypes.c_int),
        ("format", ctypes.c_char_p),
        ("shape", ctypes.c_void_p),
        ("strides", ctypes.c_void_p),
        ("suboffsets", ctypes.c_void_p),
        ("internal", ctypes.c_void_p),
    ]


_get_buffer = ctypes.pythonapi.PyObject_GetBuffer
_get_buffer.argtypes = [ctypes.py_object, ctypes.POINTER(_BufferInfo), ctypes.c_int]
_get_buffer.restype = ctypes.c_int
_release_buffer = ctypes.pythonapi.PyBuffer_Release
_release_buffer.argtypes = [ctypes.POINTER(_BufferInfo)]
_release_buffer.restype = None


def _address(stack: ExitStack, buffer: Buffer, flags: int, size: int) -> int:
    """Where ``buffer`` lies, held there until ``stack`` is left. It must be of ``size`` bytes."""
    info = _BufferInfo()
    _get_buffer(buffer, ctypes.byref(info), flags)  # raises BufferError itself
    stack.callback(_release_buffer, ctypes.byref(info))
    assert info.size == size
    return int(info.address or 0)


class Isal:
    """Multiplies rows of coefficients with shards."""

    name = "isa-l"

    def __init__(self, library: ctypes.CDLL) -> None:
        pointers = ctypes.POINTER(ctypes.c_void_p)
        self._init = library.ec_init_tables
        self._init.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_char_p]
        self._init.restype = None
        self._encode = library.ec_encode_data
        self._encode.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_char_p, pointers, pointers]
        self._encode.restype = None
        self._tables: Callable[[tuple[bytes, ...]], bytes] = lru_cache(maxsize=256)(self._make_tables)

    def apply(self, rows: tuple[bytes, ...], sources: Sequence[Buffer], outputs: Sequence[memoryview]) -> None:
        """Write ``outputs[i] = sum of rows[i][j] * sources[j]``. All buffers are of one length."""
        size = len(sources[0])
        if not size:
            return
        tables = self._tables(rows)
        with ExitStack() as stack:
            read = [_address(stack, source, _BUFFER_SIMPLE, size) for source in sources]
            written = [_address(stack, output, _BUFFER_WRITABLE, size) for output in outputs]
            self._encode(
                size,
                len(sources),
                len(rows),
                tables,
                (ctypes.c_void_p * len(read))(*read),
                (ctypes.c_void_p * len(written))(*written),
            )

    def _make_tables(self, rows: tuple[bytes, ...]) -> bytes:
        width = len(rows[0])
        tables = ctypes.create_string_buffer(_TABLE_BYTES * width * len(rows))
        self._init(width, len(rows), b"".join(rows), tables)
        return tables.raw


def find_isal() -> Isal | None:
    """ISA-L, if this machine has it."""
    library = load_isal()
    return None if library is None else Isal(library)


@lru_cache(1)
def load_isal() -> ctypes.CDLL | None:
    """The library itself, if this machine has it: it also knows CRCs."""
    for place in _places():
        try:
            library = ctypes.CDLL(place)
            Isal(library)
        except (OSError, AttributeError):
            continue
        return library
    return None


def _places() -> list[str]:
    found: list[str] = []
    wheel = importlib.util.find_spec("pyeclib")
    for location in (wheel.submodule_search_locations or []) if wheel else []:
        found += sorted(str(path) for path in Path(location).parent.glob("pyeclib.libs/libisal*.so*"))
    system = ctypes.util.find_library("isal")
    return [*found, system] if system else found
