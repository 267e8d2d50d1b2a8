"""PutObject: https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObject.html."""

from __future__ import annotations

import msgspec

from skep.base.errors import NotFound, PreconditionFailed
from skep.filesystem import ALWAYS, Conditions, WriteResult
from skep.filesystem.facts import Facts
from skep.filesystem.flat import EMPTY_MD5, Key
from skep.filesystem.growth import Content
from skep.frontends.common.conditions import quoted
from skep.frontends.s3 import etags
from skep.frontends.s3.call import Call
from skep.frontends.s3.checksums import HEADER
from skep.frontends.s3.described import Described, facts_of, from_headers, mime_of, modified_us
from skep.frontends.s3.errors import Refusal
from skep.frontends.s3.payload import Payload
from skep.frontends.s3.versioning import is_enabled, version_header


async def put_object(call: Call) -> None:
    """Make a body the object of a key. A key that ends with a slash makes a directory."""
    key = call.key
    said = from_headers(call.headers)
    payload = Payload(call)
    if payload.length is None:
        raise Refusal("MissingContentLength", "You must provide the Content-Length HTTP header.")
    if key.is_directory:
        await _mark_directory(call, key, said, payload)
        return
    bucket = await call.bucket_facts()
    conditions = await write_conditions(call, key)
    async with call.services.uploads.enter_as(call.principal.user_id):
        result = await store(call, key, payload, said, conditions)
    answer = [("etag", quoted(etag_of(result))), *checksum_headers(payload)]
    answer += version_header(result.version.id, enabled=is_enabled(bucket))
    if "x-amz-server-side-encryption" in call.headers:
        answer.append(("x-amz-server-side-encryption", "AES256"))
    await call.answer(200, answer)


async def store(
    call: Call, key: Key, payload: Payload, said: Described, conditions: Conditions, content_type: str | None = None
) -> WriteResult:
    """Write the data as the current version at a key, with what was said of it."""

    def describe(content: Content) -> Facts | None:
        payload.check(content)
        return facts_of(msgspec.structs.replace(said, checksums=payload.checksum_texts) if payload.checksums else said)

    return await call.filesystem.write_file(
        call.principal,
        call.space_id,
        "/" + "/".join(key.segments),
        aiter(payload),
        length=payload.length,
        conditions=conditions,
        mime=mime_of(content_type or call.headers.get("content-type")),
        modified_us=modified_us(said),
        expected_digests=payload.expected,
        parents=True,
        below=0 if key.is_rooted else 1,
        digests=payload.digests,
        describe=describe,
    )


def etag_of(result: WriteResult, facts_etag: str | None = None) -> str:
    """The ETag of what was just written."""
    return etags.etag(facts_etag, result.version.md5, result.version.etag)


def checksum_headers(payload: Payload) -> list[tuple[str, str]]:
    """The checksums that were verified, said again."""
    found = [(HEADER + name, value) for name, value in payload.checksum_texts.items()]
    return [*found, ("x-amz-checksum-type", "FULL_OBJECT")] if found else []


async def write_conditions(call: Call, key: Key) -> Conditions:
    """If-None-Match and If-Match of a write, as conditions that hold until its commit.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-requests.html. An ETag is compared here; the
    commit then demands the same content. Raises Refusal, PreconditionFailed; NodeNotFound (If-Match, nothing there).
    """
    none_match, match = call.headers.get("if-none-match"), call.headers.get("if-match")
    if none_match is None and match is None:
        return ALWAYS
    if none_match is not None:
        if none_match.strip() != "*" or match is not None:
            raise Refusal("NotImplemented", "Writes take If-None-Match: * or If-Match with one ETag.")
        return Conditions(if_none_match=("*",))
    assert match is not None
    there = await call.filesystem.open_key(call.principal, call.space_id, key)
    if not etags.matches(match, etags.of_content(there)) or there.version is None:
        raise PreconditionFailed("At least one of the preconditions you specified did not hold.")
    return Conditions(if_match=(there.version.etag,), node_id=there.node.id)


async def _mark_directory(call: Call, key: Key, said: Described, payload: Payload) -> None:
    if payload.length:
        raise Refusal("InvalidArgument", "A key that ends with a slash is a directory: it has no content.")
    async for _ in payload:
        raise Refusal("IncompleteBody", "A key that ends with a slash is a directory: it has no content.")
    if call.headers.get("if-none-match") is not None:
        try:
            await call.filesystem.open_key(call.principal, call.space_id, key)
        except NotFound:
            pass
        else:
            raise PreconditionFailed("The directory is there.")
    kind = call.headers.get("content-type")
    if kind:
        said = msgspec.structs.replace(said, headers={**said.headers, "content-type": kind})
    known = facts_of(said) or Facts(None, None)
    await call.filesystem.mark_directory(call.principal, call.space_id, key, known)
    await call.answer(200, [("etag", quoted(EMPTY_MD5.hex())), *checksum_headers(payload)])
