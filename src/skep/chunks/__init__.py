"""The pure pipeline: split, compress, seal, pack, erasure-code, manifests. No I/O.

A byte's way in, each step bound to a page in docs/formats::

    splitter = Splitter(keys.cut_seed)
    for chunk in splitter.push(data):                         # cut
        id = chunk_id(keys, chunk)                            # name
        entry = builder.append(keys, id, chunk, level=3)      # compress, seal, pack
    pack = builder.close()
    for shard in encode_shards(hive.shard_key, pack, Scheme.parse("ec(4,2)")):
        store(shard.number, shard.parts)                      # code
    pack.release()

All functions are plain and may run in any thread; the heavy calls release the GIL.
"""

from __future__ import annotations

from skep.chunks.buffers import SHARED_POOL, BufferPool
from skep.chunks.coding import choose_sources, rebuild, rebuild_blocks, which_backend
from skep.chunks.gear import CHUNK_BYTES_AVERAGE, CHUNK_BYTES_MAX, CHUNK_BYTES_MIN
from skep.chunks.layout import BLOCK_BYTES, HEADER_BYTES, FileRange, ShardLayout
from skep.chunks.manifest import ChunkRef, Manifest, etag
from skep.chunks.pack import (
    PACK_BYTES,
    TRAILER_BYTES,
    Pack,
    PackBuilder,
    PackEntry,
    index_tail_size,
    pack_id,
    read_index,
)
from skep.chunks.scheme import SHARDS_MAX, Scheme
from skep.chunks.seal import (
    SEAL_OVERHEAD_BYTES,
    SealedHeader,
    chunk_id,
    open_sealed,
    read_sealed_header,
    seal_into,
    sealed_bound,
)
from skep.chunks.shard import (
    Shard,
    ShardHeader,
    encode_shards,
    frame_shard,
    read_header,
    verify_blocks,
    verify_shard,
)
from skep.chunks.split import Splitter, cuts, split_whole, splitter_backend

__all__ = [
    "BLOCK_BYTES",
    "CHUNK_BYTES_AVERAGE",
    "CHUNK_BYTES_MAX",
    "CHUNK_BYTES_MIN",
    "HEADER_BYTES",
    "PACK_BYTES",
    "SEAL_OVERHEAD_BYTES",
    "SHARDS_MAX",
    "SHARED_POOL",
    "TRAILER_BYTES",
    "BufferPool",
    "ChunkRef",
    "FileRange",
    "Manifest",
    "Pack",
    "PackBuilder",
    "PackEntry",
    "Scheme",
    "SealedHeader",
    "Shard",
    "ShardHeader",
    "ShardLayout",
    "Splitter",
    "choose_sources",
    "chunk_id",
    "cuts",
    "encode_shards",
    "etag",
    "frame_shard",
    "index_tail_size",
    "open_sealed",
    "pack_id",
    "read_header",
    "read_index",
    "read_sealed_header",
    "rebuild",
    "rebuild_blocks",
    "seal_into",
    "sealed_bound",
    "split_whole",
    "splitter_backend",
    "verify_blocks",
    "verify_shard",
    "which_backend",
]
