"""Fresh data that nothing can compress or has seen before, made faster than any disk takes it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

PIECE_BYTES = 1 << 20
_ZEROS = bytes(PIECE_BYTES)


def noise(size_bytes: int) -> Iterator[bytes]:
    """AES-CTR under a key that nobody has had: ``size_bytes`` in pieces of 1 MiB."""
    encryptor = Cipher(algorithms.AES(os.urandom(16)), modes.CTR(bytes(16))).encryptor()
    for start in range(0, size_bytes, PIECE_BYTES):
        yield encryptor.update(_ZEROS[: min(PIECE_BYTES, size_bytes - start)])


def write_noise(path: Path, size_bytes: int) -> Path:
    """A new file of noise, on the disk and in the page cache."""
    with path.open("wb") as file:
        for piece in noise(size_bytes):
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())
    return path


def overwrite(path: Path, offset: int, size_bytes: int) -> None:
    """Put noise over a part of a file."""
    with path.open("r+b") as file:
        file.seek(offset)
        for piece in noise(size_bytes):
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())


def insert(source: Path, target: Path, offset: int, size_bytes: int) -> None:
    """Copy a file with noise put in between."""
    with source.open("rb") as old, target.open("wb") as new:
        left = offset
        while left:
            piece = old.read(min(PIECE_BYTES, left))
            new.write(piece)
            left -= len(piece)
        for piece in noise(size_bytes):
            new.write(piece)
        while piece := old.read(PIECE_BYTES):
            new.write(piece)
        new.flush()
        os.fsync(new.fileno())
