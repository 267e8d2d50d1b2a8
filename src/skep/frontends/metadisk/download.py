"""``GET /api/download/<hash>?key=&token=``: the content, or without a key its encrypted bytes.

Ranges and conditions count, with a key too: any part is decrypted by itself.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

from skep.base.errors import Forbidden
from skep.crypto.convergent import Keystream, key_check
from skep.durability.published import Published
from skep.frontends.common.serving import Content, closing_source, serve
from skep.frontends.metadisk.call import OWN_ACCOUNT, MetadiskCall, Payer, hash_of

THREAD_FROM_BYTES = 64 << 10
"""Parts smaller than this are decrypted at once: a thread would cost more."""


async def download(call: MetadiskCall) -> None:
    """Send a published file. An unknown hash is 404 before anybody is charged."""
    await call.sign_in("files:read")
    found = await call.ground.publisher.get(call.content_hash)
    key = None if "key" not in call.query else _right_key(found, call.query["key"])
    payer = await call.payer(call.query.get("token"))
    content = Content(
        name=f"{found.hash.hex()[:7]}_{found.name}",
        size_bytes=found.size_bytes,
        etag=found.hash.hex() + ("" if key is None else "-open"),
        mime="application/octet-stream",
        modified_us=found.created_us,
        read=lambda offset, length: _counted(call, found, key, payer, offset, length),
    )
    await serve(call, content, download=True)


def _right_key(found: Published, text: str) -> bytes:
    key = hash_of(text, "key")
    if not hmac.compare_digest(key_check(key), found.key_check):
        raise Forbidden("This key does not open the content of this hash.")
    return key


async def _counted(
    call: MetadiskCall, found: Published, key: bytes | None, payer: Payer | None, offset: int, length: int
) -> AsyncIterator[bytes]:
    """The bytes, counted as they go; what was sent is charged, also of a download that breaks off."""
    ground = call.ground
    costs = ground.meter.costs
    is_near = costs.near_percent != costs.out_percent and await ground.publisher.is_near(found)
    passage = await call.charge(payer, "out", length, is_near=is_near)
    try:
        own = await ground.meter.admit_system(OWN_ACCOUNT, ground.limits, "out", length)
        try:
            stored = closing_source(ground.publisher.read(found, offset, length))
            async with aclosing(stored) as sealed, aclosing(_opened(sealed, key, offset)) as parts:
                async for part in parts:
                    await own.take(len(part))
                    if passage is not None:
                        await passage.take(len(part))
                    yield part
        finally:
            own.end()
    finally:
        if passage is not None:
            passage.end()


async def _opened(parts: AsyncIterator[bytes], key: bytes | None, offset: int) -> AsyncGenerator[bytes, None]:
    """The parts, decrypted if there is a key."""
    stream = None if key is None else Keystream(key, offset)
    async for part in parts:
        if stream is None:
            yield part
        elif len(part) < THREAD_FROM_BYTES:
            yield stream.apply(part)
        else:
            yield await asyncio.to_thread(stream.apply, part)
