"""QuickXorHash against its definition, byte by byte."""

from __future__ import annotations

import base64
import random

import pytest

from skep.stores.drivers.cloud.quickxor import quick_xor_hash


def by_definition(value: bytes) -> str:
    ring = [0] * 160
    for number, byte in enumerate(value):
        for bit in range(8):
            ring[(number * 11 + bit) % 160] ^= byte >> bit & 1
    for bit in range(64):
        ring[96 + bit] ^= len(value) >> bit & 1
    packed = sum(bit << number for number, bit in enumerate(ring))
    return base64.b64encode(packed.to_bytes(20, "little")).decode()


@pytest.mark.parametrize(
    ("value", "known"),
    [
        ("", "AAAAAAAAAAAAAAAAAAAAAAAAAAA="),
        ("Sg==", "SgAAAAAAAAAAAAAAAQAAAAAAAAA="),
        ("tbQ=", "taAFAAAAAAAAAAAAAgAAAAAAAAA="),
        ("0pZP", "0rDEEwAAAAAAAAAAAwAAAAAAAAA="),
    ],
)
def test_values_that_others_compute(value: str, known: str) -> None:
    assert quick_xor_hash(base64.b64decode(value)) == known


@pytest.mark.parametrize("size_bytes", [1, 19, 20, 21, 159, 160, 161, 319, 320, 321, 480, 799, 5_000, 70_001])
def test_the_definition(size_bytes: int) -> None:
    value = random.Random(size_bytes).randbytes(size_bytes)
    assert quick_xor_hash(value) == by_definition(value)
