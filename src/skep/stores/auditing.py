"""An optional power of stores: to prove that they still have what they took, without sending it.

    auditable(store).audit("shards/…", nonce, [(offset, length), …])  ->  32 bytes

The answer is ``stores.link.handshake.audit_digest`` of the ranges' bytes under a nonce that nobody could foresee, so it
cannot be given, nor kept ready, without the bytes. Whoever asks must be able to compute it: from another copy of the
bytes, or from the same range of k other shards.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from skep.stores.link.handshake import Ranges
from skep.stores.protocol import Store


@runtime_checkable
class Auditable(Protocol):
    """A store that answers challenges."""

    async def audit(self, key: str, nonce: bytes, ranges: Ranges) -> bytes:
        """The digest of ``(offset, length)`` ranges of an object under a nonce of 32 bytes.

        At most 64 ranges. Raises ObjectNotFound (also when the object ends before a range begins), StoreUnavailable.
        """
        ...


def auditable(store: Store) -> Auditable | None:
    """The auditable store behind any wrappers, or None when this kind of store answers no challenges."""
    layer: object = store
    while not isinstance(layer, Auditable):
        layer = getattr(layer, "inner", None)
        if layer is None:
            return None
    return layer
