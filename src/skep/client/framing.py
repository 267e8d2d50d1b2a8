"""The body of a batch call, ``application/x-skep-batch`` version 1 (docs/formats/batch.md).

b"SKB1"  ( u32 big-endian head size, JSON head, body )*  u32 zero
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Iterator

BATCH_TYPE = "application/x-skep-batch"
MAGIC = b"SKB1"
_SIZE = struct.Struct(">I")


def encode_batch(items: Iterable[tuple[str, bytes, int]]) -> bytes:
    """A whole batch of ``(path, body, modified_us)``."""
    return b"".join(_parts(items))


def _parts(items: Iterable[tuple[str, bytes, int]]) -> Iterator[bytes]:
    yield MAGIC
    for path, body, modified_us in items:
        head = json.dumps({"path": path, "size_bytes": len(body), "modified_us": modified_us}).encode()
        yield _SIZE.pack(len(head))
        yield head
        yield body
    yield _SIZE.pack(0)
