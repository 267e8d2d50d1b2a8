"""Who is at the other end: the texts that both sides sign, and what an audit asks for. Pure functions.

Each text starts with a line of its own, so that no signature for one purpose is good for another, and names both
parties, both fresh nonces, the version and what the agent saw of the TLS connection.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from blake3 import blake3

from skep.base.errors import MalformedRequest
from skep.base.ids import Id
from skep.stores.link.messages import Hello
from skep.stores.protocol import Buffer

NONCE_BYTES = 32
Ranges: TypeAlias = Sequence[tuple[int, int]]
"""``(offset, length)`` of an object, in bytes."""


def hive_text(hive_id: Id, hive_nonce: bytes, hello: Hello, version: int) -> bytes:
    """What the hive signs in its CHALLENGE: that it, and nobody between, answers this HELLO."""
    said = f"{hello.agent_id}\n{hello.nonce}\n{hello.instance}\n{version}\n"
    return b"skep agent link hive v1\n" + f"{hive_id.hex()}\n{hive_nonce.hex()}\n{said}".encode()


def agent_text(hive_id: Id, hive_nonce: bytes, hello: Hello, version: int, certificate: str, generation: int) -> bytes:
    """What the agent signs in its PROOF."""
    said = f"{hello.agent_id}\n{hello.nonce}\n{hello.instance}\n{version}\n{certificate}\n{generation}\n"
    return b"skep agent link agent v1\n" + f"{hive_id.hex()}\n{hive_nonce.hex()}\n{said}".encode()


def enrolment_text(token_hash: bytes, public_key: bytes) -> bytes:
    """What a new agent signs to show that it has the private key of the public one that it enrols."""
    return b"skep agent enrolment v1\n" + f"{token_hash.hex()}\n{public_key.hex()}\n".encode()


def audit_digest(nonce: bytes, ranges: Ranges, pieces: Sequence[Buffer]) -> bytes:
    """What answers an audit: BLAKE3, keyed with the nonce, over each range's place, length and bytes.

    A range that reaches past the end counts with the bytes that are there. Nobody can answer without those bytes: the
    nonce is fresh and the whole of each range goes into the hash.
    """
    if len(nonce) != NONCE_BYTES:
        raise MalformedRequest(f"the nonce of an audit has {NONCE_BYTES} bytes")
    hasher = blake3(b"skep agent audit v1\n", key=nonce)
    for (offset, _), piece in zip(ranges, pieces, strict=True):
        size_bytes = piece.nbytes if isinstance(piece, memoryview) else len(piece)
        hasher.update(offset.to_bytes(8, "little") + size_bytes.to_bytes(8, "little"))
        hasher.update(piece)
    return hasher.digest()
