"""Compression of chunks: zstd, unless a look at samples says that it will not pay."""

from __future__ import annotations

import sys
import threading

from skep.base.errors import CorruptChunk
from skep.crypto.hashing import Buffer

if sys.version_info >= (3, 14):
    from compression.zstd import CompressionParameter, ZstdCompressor, ZstdDecompressor, ZstdError, get_frame_info
else:
    from backports.zstd import CompressionParameter, ZstdCompressor, ZstdDecompressor, ZstdError, get_frame_info

RAW = 0
ZSTD = 1
LEVEL_NONE = 0
LEVEL_DEFAULT = 3

_SAMPLE_BYTES = 4096
_SAMPLES_BYTES = 3 * _SAMPLE_BYTES
_SAMPLE_LEVEL = 1
_WORTH_SHIFT = 5  # a codec must save at least one part in 2**5 to be used
_contexts = threading.local()  # a compressor serves one thread at a time


def compress(plain: Buffer, level: int) -> bytes | None:
    """``plain`` as one zstd frame, or None when that would not save about 3 %.

    ``level`` is zstd's, 1 (fast) to 19 (small); 0 never compresses.
    """
    if level == LEVEL_NONE or not _looks_compressible(plain):
        return None
    encoded = _frame(plain, level)
    return encoded if _pays(len(encoded), len(plain)) else None


def decompress(encoded: bytes, plain_bytes_max: int) -> bytes:
    """What the one zstd frame in ``encoded`` holds. It must declare its size.

    Raises CorruptChunk when it holds more than ``plain_bytes_max`` or does not decode.
    """
    try:
        declared = get_frame_info(encoded).decompressed_size
        if declared is None or declared > plain_bytes_max:
            raise CorruptChunk(f"the compressed content of a chunk declares {declared} bytes: more than a chunk holds")
        decompressor = ZstdDecompressor()
        plain = decompressor.decompress(encoded, declared)
    except (ZstdError, EOFError):
        raise CorruptChunk("the compressed content of a chunk cannot be decoded") from None
    if not decompressor.eof or decompressor.unused_data or len(plain) != declared:
        raise CorruptChunk(f"the compressed content of a chunk is not one frame of {declared} bytes")
    return plain


def _looks_compressible(plain: Buffer) -> bool:
    """Three samples of 4 KiB: start, middle, end. Of a chunk not larger than them, anything does."""
    size = len(plain)
    if size <= _SAMPLES_BYTES:
        return True
    view = memoryview(plain)
    middle = (size - _SAMPLE_BYTES) // 2
    samples = b"".join((view[:_SAMPLE_BYTES], view[middle : middle + _SAMPLE_BYTES], view[size - _SAMPLE_BYTES :]))
    return _pays(len(_frame(samples, _SAMPLE_LEVEL)), _SAMPLES_BYTES)


def _pays(encoded_bytes: int, plain_bytes: int) -> bool:
    return encoded_bytes < plain_bytes - (plain_bytes >> _WORTH_SHIFT)


def _frame(plain: Buffer, level: int) -> bytes:
    compressors: dict[int, ZstdCompressor] | None = getattr(_contexts, "compressors", None)
    if compressors is None:
        compressors = _contexts.compressors = {}
    compressor = compressors.get(level)
    if compressor is None:
        # No checksum: the AEAD and the chunk id check the content.
        options: dict[int, int] = {CompressionParameter.compression_level: level, CompressionParameter.checksum_flag: 0}
        compressor = compressors[level] = ZstdCompressor(options=options)
    return compressor.compress(plain, ZstdCompressor.FLUSH_FRAME)
