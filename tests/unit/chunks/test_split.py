from __future__ import annotations

import random

import pytest
from blake3 import blake3

from skep.chunks.buffers import BufferPool
from skep.chunks.gear import CHUNK_BYTES_AVERAGE, CHUNK_BYTES_MAX, CHUNK_BYTES_MIN, plain_cuts
from skep.chunks.split import WINDOW_BYTES, Splitter, cuts, split_whole, splitter_backend

SEED = 0x0123456789ABCDEF
NOISE = blake3(b"split").digest(21_000_001)


def split(data: bytes, piece_bytes: int, seed: int = SEED) -> list[bytes]:
    splitter = Splitter(seed)
    chunks: list[bytes] = []
    for start in range(0, len(data), piece_bytes):
        chunks += [bytes(chunk) for chunk in splitter.push(data[start : start + piece_bytes])]
    chunks += [bytes(chunk) for chunk in splitter.finish()]
    splitter.close()
    return chunks


def lengths(ends: list[int]) -> list[int]:
    return [end - start for start, end in zip([0, *ends], ends, strict=False)]


def test_the_compiled_library_is_in_use_here() -> None:
    assert splitter_backend() == "pyfastcdc"


@pytest.mark.parametrize("seed", [0, 1, SEED, (1 << 63) - 1])
@pytest.mark.parametrize("size", [CHUNK_BYTES_MIN, CHUNK_BYTES_MIN + 1, 1_000_003, 2_300_000])
def test_plain_twin_makes_the_same_cuts(seed: int, size: int) -> None:
    assert list(plain_cuts(NOISE[:size], seed)) == cuts(NOISE[:size], seed)


def test_plain_twin_agrees_around_each_decision() -> None:
    """Ends of input near the minimum, the average and a cut decide odd rests and region borders."""
    first = cuts(NOISE, SEED)[0]
    for border in (CHUNK_BYTES_MIN, first):
        for size in range(border - 2, border + 3):
            assert list(plain_cuts(NOISE[:size], SEED)) == cuts(NOISE[:size], SEED)


def test_plain_twin_agrees_at_the_longest_chunk() -> None:
    zeros = bytes(CHUNK_BYTES_MAX + 5)
    assert list(plain_cuts(zeros, SEED)) == cuts(zeros, SEED) == [CHUNK_BYTES_MAX, CHUNK_BYTES_MAX + 5]


@pytest.mark.parametrize(
    "piece_bytes", [65_536, 262_144, 262_147, 1_000_000, CHUNK_BYTES_MAX, WINDOW_BYTES, 30_000_000]
)
def test_cuts_do_not_depend_on_how_bytes_are_pushed(piece_bytes: int) -> None:
    chunks = split(NOISE, piece_bytes)
    assert b"".join(chunks) == NOISE
    assert [len(chunk) for chunk in chunks] == lengths(cuts(NOISE, SEED))


@pytest.mark.parametrize("data", [bytes(9_000_000), b"many words " * 900_000], ids=["zeros", "text"])
def test_repetitive_content_is_cut_within_bounds(data: bytes) -> None:
    chunks = split(data, 262_144)
    assert b"".join(chunks) == data
    assert all(CHUNK_BYTES_MIN <= len(chunk) <= CHUNK_BYTES_MAX for chunk in chunks[:-1])


def test_chunks_are_within_bounds_and_about_a_mebibyte() -> None:
    sizes = lengths(cuts(NOISE, SEED))
    assert all(CHUNK_BYTES_MIN <= size <= CHUNK_BYTES_MAX for size in sizes[:-1])
    assert 0.7 * CHUNK_BYTES_AVERAGE < sum(sizes) / len(sizes) < 1.8 * CHUNK_BYTES_AVERAGE


@pytest.mark.parametrize("pieces", [[], [b""], [b"", b"", b""]])
def test_no_bytes_make_no_chunks(pieces: list[bytes]) -> None:
    splitter = Splitter(SEED)
    assert [chunk for piece in pieces for chunk in splitter.push(piece)] == []
    assert splitter.finish() == []
    assert cuts(b"", SEED) == cuts(b"", SEED, final=False) == []
    assert split_whole(b"", SEED) == []


@pytest.mark.parametrize("size", [1, 4096, CHUNK_BYTES_MIN])
def test_a_small_body_is_one_chunk_and_not_copied(size: int) -> None:
    body = NOISE[:size]
    splitter = Splitter(SEED)
    assert splitter.push(body) == []
    (chunk,) = splitter.finish()
    assert chunk.obj is body
    assert bytes(chunk) == body


def test_a_changed_piece_buffer_does_not_change_the_stream() -> None:
    """Buffers that are not immutable are copied: the caller may fill them again."""
    splitter = Splitter(SEED)
    piece = bytearray(b"first")
    splitter.push(piece)
    piece[:] = b"other"
    splitter.push(memoryview(piece))
    assert b"".join(bytes(chunk) for chunk in splitter.finish()) == b"firstother"


def test_another_seed_moves_the_cuts() -> None:
    assert not set(cuts(NOISE, 1)[:-1]) & set(cuts(NOISE, 2)[:-1])


def test_an_edit_moves_near_cuts_only() -> None:
    before = {bytes(chunk) for chunk in split_whole(NOISE, SEED)}
    edited = NOISE[:10_000_000] + b"inserted" + NOISE[10_000_000:]
    fresh = [chunk for chunk in split_whole(edited, SEED) if bytes(chunk) not in before]
    assert sum(len(chunk) for chunk in fresh) <= 2 * CHUNK_BYTES_MAX


def test_cuts_that_more_bytes_could_move_are_left_out() -> None:
    ends = cuts(NOISE, SEED)
    for size in random.Random(3).sample(range(len(NOISE)), 20):
        settled = cuts(NOISE[:size], SEED, final=False)
        assert settled == ends[: len(settled)]
        rest = size - (settled[-1] if settled else 0)
        assert rest <= CHUNK_BYTES_MAX


def test_a_chunk_of_the_longest_size_is_settled_at_once() -> None:
    assert cuts(bytes(CHUNK_BYTES_MAX), SEED, final=False) == [CHUNK_BYTES_MAX]
    assert cuts(bytes(CHUNK_BYTES_MAX - 1), SEED, final=False) == []


def test_chunks_are_gone_with_the_next_push_unless_a_view_is_taken() -> None:
    splitter = Splitter(SEED, pool=BufferPool())
    chunks = splitter.push(memoryview(NOISE)[:WINDOW_BYTES])
    assert len(chunks) > 2
    kept, expected = chunks[0][:], bytes(chunks[0])
    rest = splitter.push(NOISE[WINDOW_BYTES : 2 * WINDOW_BYTES])
    assert bytes(kept) == expected
    with pytest.raises(ValueError, match="released"):
        bytes(chunks[0])
    assert b"".join(map(bytes, rest)) == NOISE[sum(lengths(cuts(NOISE, SEED))[: len(chunks)]) :][: sum(map(len, rest))]


def test_one_window_serves_a_stream_and_then_the_next() -> None:
    pool = BufferPool()
    for _ in range(2):
        splitter = Splitter(SEED, pool=pool)
        for start in range(0, len(NOISE), 262_144):
            chunk = None
            for chunk in splitter.push(memoryview(NOISE)[start : start + 262_144]):  # noqa: B007 - it outlives the loop
                pass
        splitter.finish()
        splitter.close()
        splitter.close()
        assert pool.free_bytes == WINDOW_BYTES


def test_an_abandoned_stream_gives_its_window_back() -> None:
    pool = BufferPool()
    splitter = Splitter(SEED, pool=pool)
    splitter.push(memoryview(NOISE)[: WINDOW_BYTES + 5])
    splitter.close()
    assert pool.free_bytes == WINDOW_BYTES
