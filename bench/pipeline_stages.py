"""How fast each stage of the chunk pipeline is, alone: MB of plaintext per second of one core's time.

Run: ``PYTHONPATH=src python bench/pipeline_stages.py [--megabytes 64] [--json]``. Medians of a few
rounds, of CPU time and not of the clock's; even so rates on a shared machine vary by half: compare within one run.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable, Iterator

from skep.chunks import (
    HEADER_BYTES,
    Pack,
    PackBuilder,
    Scheme,
    Splitter,
    chunk_id,
    encode_shards,
    open_sealed,
    rebuild_blocks,
    split_whole,
    splitter_backend,
    verify_blocks,
    which_backend,
)
from skep.chunks.codec import compress, decompress
from skep.crypto import DomainKeys

KEYS = DomainKeys.derive(bytes(16), 1, bytes(32))
KEY = bytes(range(32))
PIECE_BYTES = 256 << 10
SMALL_BYTES = 4096
SMALL_COUNT = 2000
SCHEMES = ("none", "raid1(2)", "raid5(3)", "raid6(6)", "ec(4,2)", "ec(10,4)")
Stage = tuple[str, int, Callable[[], object]]


def incompressible(megabytes: int) -> bytes:
    """Repeatable noise."""
    source = random.Random(1)
    return b"".join(source.randbytes(1 << 20) for _ in range(megabytes))


def compressible(megabytes: int) -> bytes:
    """Repeatable text-like lines, about 4:1 in zstd."""
    source = random.Random(2)
    words = [source.randbytes(source.randrange(2, 9)).hex() for _ in range(3000)]
    text = " ".join(source.choices(words, k=120_000 * megabytes)).encode()
    return text[: megabytes << 20]


def split_stream(data: bytes) -> int:
    """Push all pieces through a splitter; count the chunks."""
    splitter = Splitter(KEYS.cut_seed)
    view = memoryview(data)
    count = 0
    for start in range(0, len(data), PIECE_BYTES):
        count += len(splitter.push(view[start : start + PIECE_BYTES]))
    count += len(splitter.finish())
    splitter.close()
    return count


def build_packs(chunks: list[memoryview], ids: list[bytes], level: int) -> Iterator[Pack]:
    """Seal all chunks into packs."""
    builder = PackBuilder(KEY)
    for name, chunk in zip(ids, chunks, strict=True):
        if not builder.fits(len(chunk)):
            yield builder.close()
            builder = PackBuilder(KEY)
        builder.append(KEYS, name, chunk, level)
    yield builder.close()


def seal_all(chunks: list[memoryview], ids: list[bytes], level: int) -> None:
    """Seal into packs and release them, as a writer does."""
    for pack in build_packs(chunks, ids, level):
        pack.release()


def small_chunks(body: bytes) -> None:
    """id + seal + append of chunks of 4 KiB."""
    builder = PackBuilder(KEY)
    for _ in range(SMALL_COUNT):
        builder.append(KEYS, chunk_id(KEYS, body), body)
    builder.abandon()


def whole_way_in(data: bytes, scheme: Scheme) -> None:
    """Everything between socket and store, one thread."""
    splitter = Splitter(KEYS.cut_seed)
    builder = PackBuilder(KEY)
    view = memoryview(data)
    for start in range(0, len(data) + PIECE_BYTES, PIECE_BYTES):
        piece = view[start : start + PIECE_BYTES]
        for chunk in splitter.push(piece) if len(piece) else splitter.finish():
            if not builder.fits(len(chunk)):
                pack = builder.close()
                encode_shards(KEY, pack, scheme)
                pack.release()
                builder = PackBuilder(KEY)
            builder.append(KEYS, chunk_id(KEYS, chunk), chunk)
    pack = builder.close()
    encode_shards(KEY, pack, scheme)
    pack.release()
    splitter.close()


def encode_and_forget(pack: Pack, scheme: Scheme) -> None:
    """Encode; give parity back by releasing a twin of the pack."""
    twin = Pack(pack.id, pack.data[:], padded=pack.padded(0, pack.size_bytes + 4096)[:])
    encode_shards(KEY, twin, scheme)
    twin.release()


def stages(megabytes: int) -> Iterator[Stage]:
    """All stages: name, plaintext bytes, what to run."""
    noise, text = incompressible(megabytes), compressible(max(1, megabytes // 8))
    chunks = split_whole(noise, KEYS.cut_seed)
    text_chunks = split_whole(text, KEYS.cut_seed)
    ids = [chunk_id(KEYS, chunk) for chunk in chunks]
    size, text_size = len(noise), len(text)
    yield "split (256 KiB pieces)", size, lambda: split_stream(noise)
    yield "id", size, lambda: [chunk_id(KEYS, chunk) for chunk in chunks]
    yield "compress probe (noise)", size, lambda: [compress(chunk, 3) for chunk in chunks]
    yield "zstd 3 (text)", text_size, lambda: [compress(chunk, 3) for chunk in text_chunks]
    yield "zstd 1 (text)", text_size, lambda: [compress(chunk, 1) for chunk in text_chunks]
    encoded = [(compress(chunk, 3) or b"", len(chunk)) for chunk in text_chunks]
    yield "unzstd (text)", text_size, lambda: [decompress(*pair) for pair in encoded]
    yield "seal into packs, close (no probe)", size, lambda: seal_all(chunks, ids, 0)
    yield "seal into packs, close", size, lambda: seal_all(chunks, ids, 3)
    pack = next(build_packs(chunks, ids, 0))
    for name in SCHEMES:
        scheme = Scheme.parse(name)
        yield f"encode {name}", pack.size_bytes, lambda scheme=scheme: encode_and_forget(pack, scheme)
    yield from read_stages(pack)
    for name in ("none", "ec(4,2)"):
        scheme = Scheme.parse(name)
        yield f"whole way in, {name}", size, lambda scheme=scheme: whole_way_in(noise, scheme)


def read_stages(pack: Pack) -> Iterator[Stage]:
    """Verify, open, rebuild."""
    size = pack.size_bytes
    for name in ("none", "ec(4,2)"):
        scheme = Scheme.parse(name)
        files = {shard.number: b"".join(shard.parts)[HEADER_BYTES:] for shard in encode_shards(KEY, pack, scheme)}

        def verify(number: int, scheme: Scheme = scheme, files: dict[int, bytes] = files) -> list[memoryview]:
            return verify_blocks(KEY, pack.id, number, scheme, size, 0, files[number])

        k = scheme.data_shards
        yield f"verify {name}", size, lambda k=k, verify=verify: [verify(number) for number in range(k)]
        if name == "ec(4,2)":
            blocks = {number: verify(number) for number in files}
            for lost in ((0,), (0, 1)):
                left = {number: blocks[number] for number in blocks if number not in lost}
                yield f"rebuild {len(lost)} of {name}", size, lambda s=scheme, b=left, w=lost: rebuild_blocks(s, b, w)
    data = bytes(pack.data)
    sealed = [(e.chunk_id, memoryview(data)[e.offset : e.offset + e.size_bytes]) for e in pack.entries]
    yield "open", size, lambda: [len(open_sealed(KEYS, name, part)) for name, part in sealed]


def measure(work: Callable[[], object], rounds: int) -> float:
    """Median CPU seconds of one run, after one that warms up."""
    work()
    times = []
    for _ in range(rounds):
        start = time.thread_time()
        work()
        times.append(time.thread_time() - start)
    return statistics.median(times)


def main() -> None:
    """Print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rates = {name: size / measure(work, options.rounds) / 1e6 for name, size, work in stages(options.megabytes)}
    small_us = {}
    for kind, body in (("noise", incompressible(1)[:SMALL_BYTES]), ("text", compressible(1)[:SMALL_BYTES])):
        small_us[kind] = measure(lambda body=body: small_chunks(body), options.rounds) / SMALL_COUNT * 1e6
    if options.json:
        print(json.dumps({"mb_per_s": rates, "small_chunk_us": small_us}))
        return
    print(f"split by {splitter_backend()}, coded by {which_backend()}")
    for name, rate in rates.items():
        print(f"{name:36}{rate:10.0f} MB/s")
    for kind, us in small_us.items():
        print(f"4 KiB chunk ({kind}), id + seal + append{us:9.1f} us")


if __name__ == "__main__":
    main()
