"""Arithmetic and matrices over GF(2^8) with the polynomial 0x11d, for the erasure code.

Format page: docs/formats/shard.md. Rows are ``bytes``, one coefficient for each data shard.
"""

from __future__ import annotations

from functools import lru_cache

from skep.chunks.scheme import Scheme

POLYNOMIAL = 0x11D


def _powers() -> tuple[bytes, tuple[int, ...]]:
    powers = bytearray(510)  # twice around, so that a sum of two logarithms needs no remainder
    logarithms = [0] * 256
    value = 1
    for exponent in range(255):
        powers[exponent] = powers[exponent + 255] = value
        logarithms[value] = exponent
        value <<= 1
        if value & 0x100:
            value ^= POLYNOMIAL
    return bytes(powers), tuple(logarithms)


_POWERS, _LOGARITHMS = _powers()


def multiply(a: int, b: int) -> int:
    """The product of two bytes."""
    return _POWERS[_LOGARITHMS[a] + _LOGARITHMS[b]] if a and b else 0


def inverse(a: int) -> int:
    """The byte that gives 1 when multiplied with ``a``, which is not 0."""
    assert a
    return _POWERS[255 - _LOGARITHMS[a]]


@lru_cache(maxsize=256)
def multiples(a: int) -> bytes:
    """All 256 multiples of ``a``: a table for ``bytes.translate``."""
    return bytes(multiply(a, b) for b in range(256))


@lru_cache(maxsize=64)
def generator(scheme: Scheme) -> tuple[bytes, ...]:
    """The k+m rows that make the shards from the k data shards.

    The first k rows copy. The parity rows are the Cauchy matrix ``1 / (i XOR j)`` (i from k, j
    from 0), its columns and then its rows scaled so that the first parity row and the first
    column are all ones: scaling keeps each square part invertible, parity of one row is plain
    XOR, and parity of one data shard is a copy.
    """
    k, m = scheme.data_shards, scheme.parity_shards
    rows = [bytes(int(i == j) for j in range(k)) for i in range(k)]
    cauchy = [[inverse(i ^ j) for j in range(k)] for i in range(k, k + m)]
    for row in cauchy:
        scaled = [multiply(value, inverse(top)) for value, top in zip(row, cauchy[0], strict=True)]
        rows.append(bytes(multiply(value, inverse(scaled[0])) for value in scaled))
    return tuple(rows)


@lru_cache(maxsize=1024)
def recovery_rows(scheme: Scheme, present: tuple[int, ...], wanted: tuple[int, ...]) -> tuple[bytes, ...]:
    """The rows that make the ``wanted`` shards from the k ``present`` ones, in their order."""
    assert len(present) == scheme.data_shards
    rows = generator(scheme)
    inverted = _invert([rows[number] for number in present])
    return tuple(_row_times(rows[number], inverted) for number in wanted)


def _row_times(row: bytes, matrix: list[bytes]) -> bytes:
    product = 0
    for coefficient, other in zip(row, matrix, strict=True):
        product ^= int.from_bytes(other.translate(multiples(coefficient)), "big")
    return product.to_bytes(len(row), "big")


def _invert(matrix: list[bytes]) -> list[bytes]:
    """Gauss-Jordan elimination. The matrix is square and invertible."""
    size = len(matrix)
    rows = [list(row) + [int(i == j) for j in range(size)] for i, row in enumerate(matrix)]
    for column in range(size):
        pivot = next(i for i in range(column, size) if rows[i][column])
        rows[column], rows[pivot] = rows[pivot], rows[column]
        scale = inverse(rows[column][column])
        rows[column] = [multiply(value, scale) for value in rows[column]]
        for i in range(size):
            factor = rows[i][column]
            if i != column and factor:
                rows[i] = [value ^ multiply(factor, top) for value, top in zip(rows[i], rows[column], strict=True)]
    return [bytes(row[size:]) for row in rows]
