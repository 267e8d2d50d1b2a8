"""CopyObject: https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html. No bytes move."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import unquote_to_bytes

import msgspec

from skep.base.errors import InvalidName, InvalidPath, NodeNotFound
from skep.base.ids import Id, id_text
from skep.filesystem import Conditions, WriteResult
from skep.filesystem.facts import Facts
from skep.filesystem.flat import Key
from skep.filesystem.keyed import Found
from skep.filesystem.keying import CopyOrder
from skep.filesystem.versions import Version
from skep.frontends.common.conditions import quoted
from skep.frontends.common.headers import Headers
from skep.frontends.common.httpdate import parse_http_date, whole_second_us
from skep.frontends.s3 import etags
from skep.frontends.s3.call import Call
from skep.frontends.s3.dates import iso_date
from skep.frontends.s3.described import described, facts_of, from_headers, mime_of, modified_us, parse_tagging
from skep.frontends.s3.errors import Refusal
from skep.frontends.s3.put_object import etag_of, write_conditions
from skep.frontends.s3.versioning import is_enabled, wanted_version
from skep.frontends.s3.xmltext import element


class Source(NamedTuple):
    """What ``x-amz-copy-source`` names."""

    bucket: str
    key: Key
    version_id: Id | None


async def copy_object(call: Call) -> None:
    """Make the content of another key, or of an older version, that of a key; its description too, or a new one."""
    source, target = copy_source(call), call.key
    if target.is_directory or source.key.is_directory:
        raise Refusal("InvalidArgument", "A directory is made with PutObject: it has no content to copy.")
    replaces = _directive(call, "x-amz-metadata-directive") == "REPLACE"
    if source.key == target and source.bucket == call.bucket and source.version_id is None and not replaces:
        raise Refusal(
            "InvalidRequest",
            "This copy request is illegal because it is trying to copy an object to itself without changing the"
            " object's metadata, storage class, website redirect location or encryption attributes.",
        )
    bucket = await call.filesystem.bucket(call.principal, *call.place)
    said = from_headers(call.headers)
    replaces_tags = _directive(call, "x-amz-tagging-directive") == "REPLACE"
    tags = parse_tagging(call.headers.get("x-amz-tagging") or "") if call.headers.get("x-amz-tagging") else {}
    seen: list[Found] = []

    def facts(found: Found) -> Facts | None:
        old = described(found.facts)
        new = old
        if replaces:
            new = msgspec.structs.replace(old, headers=said.headers, meta=said.meta)
        if replaces_tags:
            new = msgspec.structs.replace(new, tags=tags)
        return facts_of(new, None if found.facts is None else found.facts.etag)

    def mime(version: Version) -> str | None:
        return mime_of(call.headers.get("content-type")) if replaces else version.mime

    def own_time(version: Version) -> int | None:
        if replaces:
            return modified_us(said)
        return version.modified_us if version.modified_us != version.created_us else None

    def check(found: Found) -> None:
        seen.append(found)
        check_source(call.headers, found)

    conditions = await write_conditions(call, target)
    order = CopyOrder(facts=facts, mime=mime, modified_us=own_time, check=check)
    result = await call.filesystem.copy_key(
        call.principal,
        call.space_of(source.bucket),
        source.key,
        source.version_id,
        target,
        order,
        conditions,
        target_space_id=call.space_id,
    )
    if result is None:
        result = await _written_anew(call, source, target, order, conditions)
    old = seen[-1]
    headers = []
    if is_enabled(bucket):
        headers.append(("x-amz-version-id", id_text(result.version.id)))
    if is_enabled(old.bucket) and old.version is not None:
        headers.append(("x-amz-copy-source-version-id", id_text(old.version.id)))
    tag = etag_of(result, None if old.facts is None else old.facts.etag)
    body = element("LastModified", iso_date(result.version.created_us)) + element("ETag", quoted(tag))
    await call.xml("CopyObjectResult", body, headers=headers)


async def _written_anew(
    call: Call, source: Source, target: Key, order: CopyOrder, conditions: Conditions
) -> WriteResult:
    """A copy into a space whose chunks have other keys: read from the one, written into the other."""
    content = await call.filesystem.open_key(
        call.principal, call.space_of(source.bucket), source.key, source.version_id
    )
    version = content.version
    if version is None:
        raise NodeNotFound("a directory has no content to copy", key=source.key.text)
    found = Found(content.bucket, None, content.node, version, content.facts)
    order.check(found)
    async with call.services.uploads.enter_as(call.principal.user_id):
        return await call.filesystem.write_file(
            call.principal,
            call.space_id,
            "/" + "/".join(target.segments),
            content.read(0, content.size_bytes),
            length=content.size_bytes,
            conditions=conditions,
            mime=order.mime(version) or "",
            modified_us=order.modified_us(version),
            parents=True,
            below=0 if target.is_rooted else 1,
            digests={"md5"},
            describe=lambda _: order.facts(found),
        )


def copy_source(call: Call) -> Source:
    """The source that the head names, if the access key reaches it. Raises Refusal."""
    text = call.headers.get("x-amz-copy-source") or ""
    path, _, query = text.partition("?")
    try:
        bucket, _, key = unquote_to_bytes(path).decode().removeprefix("/").partition("/")
    except UnicodeDecodeError:
        bucket = key = ""
    if not bucket or not key or (query and not query.startswith("versionId=")):
        raise Refusal("InvalidArgument", "Copy Source must mention the source bucket and key: sourcebucket/sourcekey")
    try:
        return Source(bucket, call.key_at(bucket, key), wanted_version(query.removeprefix("versionId=") or None))
    except (InvalidName, InvalidPath):
        raise NodeNotFound(f"the key {key[:200]!r} does not exist", key=key) from None


def check_source(headers: Headers, found: Found) -> None:
    """Raise Refusal unless the conditions on the source hold."""
    version = found.version
    assert version is not None
    known = None if found.facts is None else found.facts.etag
    tag, time_us = etags.etag(known, version.md5, version.etag), whole_second_us(version.created_us)
    match, none_match = headers.get("x-amz-copy-source-if-match"), headers.get("x-amz-copy-source-if-none-match")
    before = parse_http_date(headers.get("x-amz-copy-source-if-unmodified-since") or "")
    since = parse_http_date(headers.get("x-amz-copy-source-if-modified-since") or "")
    holds = [
        match is None or etags.matches(match, tag),
        none_match is None or not etags.matches(none_match, tag),
        match is not None or before is None or time_us <= before,
        none_match is not None or since is None or time_us > since,
    ]
    if not all(holds):
        raise Refusal("PreconditionFailed", "At least one of the preconditions you specified did not hold.")


def _directive(call: Call, name: str) -> str:
    value = call.headers.get(name) or "COPY"
    if value not in ("COPY", "REPLACE"):
        raise Refusal("InvalidArgument", f"Unknown {name}: use COPY or REPLACE.")
    return value
