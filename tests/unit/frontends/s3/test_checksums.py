"""Checksums against their published check values, and joined ones against those of the whole."""

from __future__ import annotations

import random
import zlib

import pytest

from skep.frontends.s3 import checksums

CHECK = b"123456789"
VALUES = {"crc32": "cbf43926", "crc32c": "e3069283", "crc64nvme": "ae8b14860a799888"}
"""https://reveng.sourceforge.io/crc-catalogue/all.htm: CRC-32/ISO-HDLC, CRC-32/ISCSI, CRC-64/NVME."""


@pytest.mark.parametrize(("name", "value"), VALUES.items())
def test_the_check_values(name, value):
    found = checksums.new_checksum(name)
    found.update(CHECK[:4])
    found.update(memoryview(CHECK)[4:])
    assert found.digest().hex() == value


@pytest.mark.parametrize(
    ("name", "polynomial", "bits"), [("crc32c", 0x82F63B78, 32), ("crc64nvme", 0x9A6C9329AC4BC9B5, 64)]
)
def test_the_plain_twin_agrees(name, polynomial, bits):
    step, data = checksums.table_crc(polynomial, bits), random.Random(1).randbytes(5000)
    found = checksums.new_checksum(name)
    found.update(data)
    assert step(step(0, data[:1234]), data[1234:]).to_bytes(bits // 8, "big") == found.digest()


@pytest.mark.parametrize("name", VALUES)
def test_joined_checksums_are_those_of_the_whole(name):
    chance = random.Random(2)
    parts = [chance.randbytes(size) for size in (0, 1, 5000, 777, 0, 65536)]
    digests = []
    for part in parts:
        one = checksums.new_checksum(name)
        one.update(part)
        digests.append((one.digest(), len(part)))
    whole = checksums.new_checksum(name)
    whole.update(b"".join(parts))
    assert checksums.joined_crc(name, digests) == whole.digest()
    if name == "crc32":
        assert whole.digest() == zlib.crc32(b"".join(parts)).to_bytes(4, "big")
