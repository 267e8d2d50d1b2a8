"""GetObject and HeadObject: https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import aclosing

from skep.base.errors import InUse, InvalidName, InvalidPath, NodeNotFound, PreconditionFailed
from skep.filesystem.keying import KeyedContent
from skep.frontends.common.answers import send_bytes
from skep.frontends.common.conditions import Verdict, judge_read, quoted, range_applies
from skep.frontends.common.disposition import may_show_inline
from skep.frontends.common.httpdate import http_date
from skep.frontends.common.ranges import ByteRange, parse_range
from skep.frontends.common.serving import AT_ONCE_BYTES, closing_source
from skep.frontends.s3 import etags
from skep.frontends.s3.call import Call
from skep.frontends.s3.checksums import HEADER
from skep.frontends.s3.described import Described, answer_headers, described
from skep.frontends.s3.errors import Refusal
from skep.frontends.s3.versioning import is_enabled, version_header, wanted_version

OVERRIDES = ("content-type", "content-language", "expires", "cache-control", "content-disposition", "content-encoding")
_SANDBOX = [("content-security-policy", "sandbox"), ("x-content-type-options", "nosniff")]


async def get_object(call: Call) -> None:
    """Answer with an object, or a range or part of it, under conditions."""
    content = await open_object(call)
    known = described(content.facts)
    tag = etags.of_content(content)
    match judge_read(call.headers, tag, content.created_us):
        case Verdict.NOT_MODIFIED:
            await send_bytes(call.send, 304, b"", [("etag", quoted(tag)), *call.more_headers])
            return
        case Verdict.FAILED:
            raise PreconditionFailed("At least one of the preconditions you specified did not hold.")
        case Verdict.GO_ON:
            pass
    interval, part_headers = _interval(call, content, known, tag)
    headers = [
        ("etag", quoted(tag)),
        ("last-modified", http_date(content.created_us)),
        ("accept-ranges", "bytes"),
        *_overridden(call, answer_headers(content.version, known)),
        *part_headers,
    ]
    if content.version is not None:
        headers += version_header(content.version.id, enabled=is_enabled(content.bucket))
    if call.headers.get("x-amz-checksum-mode") == "ENABLED" and interval is None and known.checksums:
        headers += [(HEADER + name, value) for name, value in known.checksums.items()]
        headers.append(("x-amz-checksum-type", known.checksum_kind))
    await _send(call, content, interval, headers)


async def open_object(call: Call) -> KeyedContent:
    """What the request's key and version lead to. Raises Refusal, NodeNotFound."""
    try:
        key = call.key
    except (InvalidName, InvalidPath):
        raise NodeNotFound("The specified key does not exist: it is none that an object could have.") from None
    version_id = wanted_version(call.query.get("versionId"))
    try:
        return await call.filesystem.open_key(call.principal, call.space_id, key, version_id)
    except InUse:
        raise Refusal(
            "MethodNotAllowed",
            "The specified method is not allowed against this resource.",
            (("x-amz-delete-marker", "true"), ("allow", "DELETE")),
            Method=call.method,
            ResourceType="DeleteMarker",
        ) from None


async def _send(call: Call, content: KeyedContent, interval: ByteRange | None, headers: list[tuple[str, str]]) -> None:
    status, start, size = 200, 0, content.size_bytes
    if interval is not None:
        status, start, size = 206, interval.start, interval.size_bytes
        headers.append(("content-range", interval.content_range(content.size_bytes)))
    if call.method == "HEAD":
        await call.answer(status, headers, size=size)
    elif size <= AT_ONCE_BYTES:
        await call.answer(status, headers, await content.whole(start, size))
    else:
        headers += [*call.more_headers, ("content-length", str(size)), ("x-amz-request-id", call.request_id)]
        async with aclosing(closing_source(content.read(start, size))) as parts:
            await call.stream(status, headers, parts)


def _interval(
    call: Call, content: KeyedContent, known: Described, tag: str
) -> tuple[ByteRange | None, list[tuple[str, str]]]:
    """The range or part that is asked for; several ranges at once are answered with everything, as S3 does."""
    number = call.query.get("partNumber")
    if number is not None:
        if "range" in call.headers:
            raise Refusal("InvalidRequest", "Cannot specify both Range header and partNumber query parameter")
        return _part(number, content, known)
    if not range_applies(call.headers, tag, content.created_us):
        return None, []
    intervals = parse_range(call.headers.get("range"), content.size_bytes)
    return (intervals[0] if intervals is not None and len(intervals) == 1 else None), []


def _part(text: str, content: KeyedContent, known: Described) -> tuple[ByteRange | None, list[tuple[str, str]]]:
    sizes = known.parts or (content.size_bytes,)
    number = int(text) if text.isascii() and text.isdecimal() and len(text) < 6 else 0
    if number < 1:
        raise Refusal("InvalidArgument", "Part number must be an integer between 1 and 10000, inclusive")
    if number > len(sizes):
        raise Refusal("InvalidRange", "The requested partnumber is not satisfiable")
    start = sum(sizes[: number - 1])
    count = [("x-amz-mp-parts-count", str(len(sizes)))] if known.parts else []
    return (ByteRange(start, start + sizes[number - 1]) if content.size_bytes else None), count


def _overridden(call: Call, headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """The headers with what ``response-…`` in the query wants instead; what could run as a page here cannot."""
    found = dict(headers)
    for name in OVERRIDES:
        wanted = call.query.get(f"response-{name}")
        if wanted is not None:
            if not wanted.isprintable():
                raise Refusal("InvalidArgument", f"response-{name} has characters that no header can have.")
            found[name] = wanted
    kind = found["content-type"]
    return [*found.items(), *([] if may_show_inline(kind) else _SANDBOX)]
