"""``POST /api/upload``: a form with ``file``, and ``token`` for who pays. 201 ``{"filehash", "key"}``.

The file is taken whole, then encrypted with the key that its content gives, then stored under the SHA-256 of what came
out: the same file always has the same hash and key, and is stored once. An upload that fails costs nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import NamedTuple

from skep.base.errors import CreditExhausted, MalformedRequest, Unauthenticated
from skep.crypto.convergent import Keystream, content_key, key_check
from skep.frontends.common.form import FormReader, Part
from skep.frontends.metadisk.call import OWN_ACCOUNT, MetadiskCall, Payer
from skep.frontends.metadisk.spool import Spool

FORM_BYTES = 1 << 20
"""What a form may have besides its file."""
TOKEN_BYTES = 200


class _Form(NamedTuple):
    name: str
    token: str | None


async def upload(call: MetadiskCall) -> None:
    """Publish a file."""
    ground = call.ground
    await call.sign_in("files:write")
    token = call.query.get("token")
    may = await _may_upload(call, await call.payer(token)) if token or call.caller is not None else None
    call.body.limited(ground.file_bytes + FORM_BYTES).check_declared()
    async with ground.uploads.enter_as(call.place), Spool(ground.spool, ground.file_bytes) as spool:
        form = await _take(call, spool)
        payer = may or await _may_upload(call, await call.payer(form.token))
        filehash, key = await _publish(call, spool, form.name, payer)
    await call.answer({"filehash": filehash, "key": key}, 201)


async def _may_upload(call: MetadiskCall, payer: Payer | None) -> Payer | None:
    """Who pays, if they may upload. Raises Unauthenticated, CreditExhausted."""
    if call.ground.access == "anyone":
        return payer
    if payer is None:
        raise Unauthenticated("This needs a login, or a token that was given credit.")
    if not payer.is_open:
        raise CreditExhausted("this token was given nothing yet: redeem a code or buy credit", needed=1, available=0)
    return payer


async def _take(call: MetadiskCall, spool: Spool) -> _Form:
    """Read the form to its end; the file goes into the spool."""
    form = FormReader(call.headers.text("content-type"), call.body)
    name: str | None = None
    token: str | None = None
    while (part := await form.next_part()) is not None:
        if _is_file(part):
            if name is not None:
                raise MalformedRequest("The form has more than one file: upload one at a time.")
            name = part.filename or "file"
            await _take_file(call, form, spool)
        elif part.name == "token":
            token = (await form.value(TOKEN_BYTES)).decode("utf-8", "replace").strip()
        else:
            await form.value(TOKEN_BYTES)
    if name is None:
        raise MalformedRequest("The form has no `file`: send it as multipart/form-data.")
    return _Form(name, token)


def _is_file(part: Part) -> bool:
    return part.name == "file" or part.filename is not None


async def _take_file(call: MetadiskCall, form: FormReader, spool: Spool) -> None:
    """What comes in counts as traffic of the hive, whatever becomes of it."""
    meter = call.ground.meter
    passage = await meter.admit_system(OWN_ACCOUNT, call.ground.limits, "in", call.body.declared)
    try:
        async for piece in form.data():
            await passage.take(len(piece))
            await spool.take(piece)
    finally:
        passage.end()
    await spool.whole()


async def _publish(call: MetadiskCall, spool: Spool, name: str, payer: Payer | None) -> tuple[str, str]:
    """Charge, encrypt and store: hash and key in hexadecimal."""
    key = content_key(spool.sha256, call.ground.passphrase)
    passage = await call.charge(payer, "in", spool.size_bytes)
    done = False
    try:
        if passage is not None:
            await passage.take(spool.size_bytes)
        kept = await call.ground.publisher.put(name, key_check(key), _encrypted(spool, key), spool.size_bytes)
        done = True
    finally:
        if passage is not None:
            passage.end(counts=done)
    return kept.hash.hex(), key.hex()


async def _encrypted(spool: Spool, key: bytes) -> AsyncIterator[bytes]:
    stream = Keystream(key)
    async for part in spool.read():
        yield await asyncio.to_thread(stream.apply, part)
