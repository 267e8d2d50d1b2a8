"""The same bytes are cut the same, however they arrive and whichever code cuts them."""

from __future__ import annotations

from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from skep.chunks.buffers import BufferPool
from skep.chunks.gear import CHUNK_BYTES_MAX, CHUNK_BYTES_MIN, plain_cuts
from skep.chunks.split import Splitter, cuts

NOISE = blake3(b"property split").digest(12 << 20)
POOL = BufferPool()
seeds = st.integers(0, (1 << 63) - 1)


@st.composite
def contents(draw: st.DrawFn, limit: int) -> bytes:
    """Runs of noise, zeros and repeated rows, so that long and short chunks occur."""
    parts = []
    room = limit
    for kind in draw(st.lists(st.sampled_from(["noise", "zeros", "rows"]), max_size=5)):
        size = draw(st.integers(0, room))
        room -= size
        if kind == "noise":
            start = draw(st.integers(0, len(NOISE) - 1))
            parts.append((NOISE[start:] + NOISE)[:size])
        elif kind == "zeros":
            parts.append(bytes(size))
        else:
            row = draw(st.binary(min_size=1, max_size=50))
            parts.append((row * (size // len(row) + 1))[:size])
    return b"".join(parts)


@given(contents(24 << 20), seeds, st.data())
@settings(deadline=None, max_examples=60)
def test_cuts_do_not_depend_on_the_pieces(content: bytes, seed: int, data: st.DataObject) -> None:
    splitter = Splitter(seed, pool=POOL)
    found: list[bytes] = []
    view = memoryview(content)
    while len(view):
        size = data.draw(st.sampled_from([1, 4096, 262_144, 262_145, 1_500_000, 4_194_304, 9_000_000, 24 << 20]))
        size = min(size, len(view))
        if size == 1:  # a few single bytes, and on
            found += [bytes(chunk) for chunk in splitter.push(view[:1])]
            view, size = view[1:], min(700_000, len(view) - 1)
        found += [bytes(chunk) for chunk in splitter.push(bytes(view[:size]))]
        view = view[size:]
    found += [bytes(chunk) for chunk in splitter.finish()]
    splitter.close()
    ends = cuts(content, seed)
    assert found == [content[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    assert all(CHUNK_BYTES_MIN <= len(chunk) <= CHUNK_BYTES_MAX for chunk in found[:-1])
    assert all(0 < len(chunk) <= CHUNK_BYTES_MAX for chunk in found[-1:])


@given(contents(1_600_000), seeds)
@settings(deadline=None, max_examples=30)
def test_the_plain_twin_cuts_the_same(content: bytes, seed: int) -> None:
    assert list(plain_cuts(content, seed)) == cuts(content, seed)


@given(contents(9 << 20), seeds, st.integers(0, 9 << 20))
@settings(deadline=None, max_examples=40)
def test_settled_cuts_stay_when_more_bytes_come(content: bytes, seed: int, size: int) -> None:
    settled = cuts(content[:size], seed, final=False)
    assert cuts(content, seed)[: len(settled)] == settled
    assert min(size, len(content)) - (settled[-1] if settled else 0) <= CHUNK_BYTES_MAX
