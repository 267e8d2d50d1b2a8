from __future__ import annotations

import os
import threading

import pytest
from backports import zstd

from skep.base.errors import CorruptChunk
from skep.chunks.codec import compress, decompress

LIMIT = 1 << 20


@pytest.mark.parametrize("size", [200, 4096, 12_288, 12_289, 300_000])
@pytest.mark.parametrize("level", [1, 3, 19])
def test_compressible_content_shrinks_and_comes_back(size: int, level: int) -> None:
    plain = (b"row %d; " * 50_000 % tuple(range(50_000)))[:size]
    encoded = compress(memoryview(plain), level)
    assert encoded is not None
    assert len(encoded) < size
    assert decompress(encoded, LIMIT) == plain


@pytest.mark.parametrize("size", [0, 1, 10, 4096, 12_288, 12_289, 300_000])
def test_what_would_not_shrink_is_left_alone(size: int) -> None:
    assert compress(os.urandom(size), 3) is None


def test_level_0_never_compresses() -> None:
    assert compress(bytes(100_000), 0) is None


def test_noise_with_a_compressible_end_is_sampled() -> None:
    plain = os.urandom(100_000) + bytes(4096)
    encoded = compress(plain, 3)
    assert encoded is not None
    assert decompress(encoded, LIMIT) == plain


def test_a_frame_that_declares_too_much_is_refused_before_it_is_decoded() -> None:
    bomb = zstd.compress(bytes(LIMIT + 1))
    with pytest.raises(CorruptChunk, match="declares 1048577 bytes"):
        decompress(bomb, LIMIT)


def test_frames_without_a_size_cut_frames_and_more_than_a_frame_are_refused() -> None:
    frame = zstd.compress(b"text " * 100)
    stream = zstd.ZstdCompressor()
    unsized = stream.compress(b"text " * 100) + stream.flush()
    for damaged in (unsized, frame[:-1], frame + b"x", frame + frame, b"", b"no frame at all"):
        with pytest.raises(CorruptChunk):
            decompress(damaged, LIMIT)


def test_threads_have_compressors_of_their_own() -> None:
    plain = b"abc def " * 20_000
    expected = compress(plain, 3)
    wrong = []

    def work() -> None:
        wrong.extend(1 for _ in range(20) if compress(plain, 3) != expected)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
