"""The checksums of S3: CRC32, CRC32C, CRC64NVME, SHA-1, SHA-256.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity-upload.html. CRC32 is zlib's; the
other two CRCs are ISA-L's where it is there (gigabytes a second), else plain tables (megabytes a second).
"""

from __future__ import annotations

import base64
import binascii
import ctypes
import hashlib
import zlib
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Protocol

from skep.chunks.isal import load_isal
from skep.crypto.hashing import Buffer

HEADER = "x-amz-checksum-"
SIZES = {"crc32": 4, "crc32c": 4, "crc64nvme": 8, "sha1": 20, "sha256": 32}
"""Algorithms as they are named in headers, with the size of their values in bytes."""
_CRC32C_POLYNOMIAL = 0x82F63B78
_CRC64NVME_POLYNOMIAL = 0x9A6C9329AC4BC9B5


class Checksum(Protocol):
    """One checksum as it grows."""

    def update(self, data: Buffer, /) -> None: ...
    def digest(self) -> bytes: ...


class Crc:
    """A CRC of some bits; ``step`` takes the value so far and more data."""

    __slots__ = ("_size_bytes", "_step", "_value")

    def __init__(self, step: Callable[[int, bytes], int], size_bytes: int) -> None:
        self._step = step
        self._size_bytes = size_bytes
        self._value = 0

    def update(self, data: Buffer) -> None:
        """Take more data."""
        self._value = self._step(self._value, bytes(data))

    def digest(self) -> bytes:
        """The value, big-endian."""
        return self._value.to_bytes(self._size_bytes, "big")


def new_checksum(name: str) -> Checksum:
    """A checksum of one of SIZES."""
    match name:
        case "crc32":
            return Crc(lambda value, data: zlib.crc32(data, value), 4)
        case "crc32c":
            return Crc(_crc32c(), 4)
        case "crc64nvme":
            return Crc(_crc64nvme(), 8)
        case _:
            return hashlib.new(name, usedforsecurity=False)


def parse_value(name: str, text: str) -> bytes | None:
    """The value in a header; None when it is not base64 of the right size."""
    try:
        value = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return value if len(value) == SIZES[name] else None


def value_text(value: bytes) -> str:
    """The value as a header has it."""
    return base64.b64encode(value).decode()


@lru_cache(1)
def _crc32c() -> Callable[[int, bytes], int]:
    library = load_isal()
    if library is None:
        return table_crc(_CRC32C_POLYNOMIAL, 32)
    function = library.crc32_iscsi
    function.argtypes = [ctypes.c_char_p, ctypes.c_int, ctypes.c_uint]
    function.restype = ctypes.c_uint
    return lambda value, data: function(data, len(data), value ^ 0xFFFFFFFF) ^ 0xFFFFFFFF


@lru_cache(1)
def _crc64nvme() -> Callable[[int, bytes], int]:
    library = load_isal()
    if library is None or not hasattr(library, "crc64_rocksoft_refl"):
        return table_crc(_CRC64NVME_POLYNOMIAL, 64)
    function = library.crc64_rocksoft_refl
    function.argtypes = [ctypes.c_uint64, ctypes.c_char_p, ctypes.c_uint64]
    function.restype = ctypes.c_uint64
    return lambda value, data: int(function(value, data, len(data)))


def table_crc(polynomial: int, bits: int) -> Callable[[int, bytes], int]:
    """A reflected CRC with all bits inverted at both ends, by a table of 256 values: the plain twin of ISA-L's."""
    table = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = (value >> 1) ^ (polynomial if value & 1 else 0)
        table.append(value)
    ones = (1 << bits) - 1

    def step(value: int, data: bytes) -> int:
        value ^= ones
        for byte in data:
            value = table[(value ^ byte) & 0xFF] ^ (value >> 8)
        return value ^ ones

    return step


def joined_crc(name: str, parts: Sequence[tuple[bytes, int]]) -> bytes:
    """The CRC of several runs of data after each other, from the CRC and the size in bytes of each.

    After zlib's ``crc32_combine``: appending zeros to data is a linear map of its CRC over GF(2), and the map for n
    bytes is a power of that for one.
    """
    polynomial, bits = _POLYNOMIALS[name]
    value = 0
    for crc, size_bytes in parts:
        value = _times(_zeros(polynomial, bits, size_bytes), value) ^ int.from_bytes(crc, "big")
    return value.to_bytes(SIZES[name], "big")


_POLYNOMIALS = {"crc32": (0xEDB88320, 32), "crc32c": (_CRC32C_POLYNOMIAL, 32), "crc64nvme": (_CRC64NVME_POLYNOMIAL, 64)}
Matrix = tuple[int, ...]


@lru_cache(256)
def _zeros(polynomial: int, bits: int, size_bytes: int) -> Matrix:
    """What so many bytes of zeros do to a CRC: the images of its bits."""
    one_bit = (polynomial, *[1 << bit for bit in range(bits - 1)])
    power, result = one_bit, tuple(1 << bit for bit in range(bits))
    count = 8 * size_bytes
    while count:
        if count & 1:
            result = tuple([_times(power, image) for image in result])
        count >>= 1
        if count:
            power = tuple([_times(power, image) for image in power])
    return result


def _times(matrix: Matrix, vector: int) -> int:
    value, bit = 0, 0
    while vector:
        if vector & 1:
            value ^= matrix[bit]
        vector >>= 1
        bit += 1
    return value
