"""CompleteMultipartUpload: https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html.

Constant time: the parts are chunks already. The ETag is the MD5 of the parts' MD5s with their count behind a dash; a
checksum is that of the parts' checksums in the same way, or the true one of the whole, joined from the parts' CRCs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from skep.base.errors import UploadFinished, UploadNotFound
from skep.base.ids import Id
from skep.db import Transaction
from skep.filesystem import WriteResult, facts
from skep.filesystem.uploads.records import PartInfo
from skep.frontends.common.conditions import quoted
from skep.frontends.s3 import etags, xmlin
from skep.frontends.s3.call import Call
from skep.frontends.s3.checksums import HEADER, SIZES, joined_crc, new_checksum, parse_value, value_text
from skep.frontends.s3.described import Described, described, facts_of
from skep.frontends.s3.errors import Refusal
from skep.frontends.s3.multipart import (
    COMPOSITE,
    DOOR,
    FULL,
    PART_BYTES_MIN,
    PARTS_MAX,
    Plan,
    no_upload,
    open_upload_of,
    plan_of,
)
from skep.frontends.s3.put_object import write_conditions
from skep.frontends.s3.upload_part import part_tag
from skep.frontends.s3.versioning import is_enabled, version_header
from skep.frontends.s3.xmltext import element

_NAMES = {"crc32": "CRC32", "crc32c": "CRC32C", "crc64nvme": "CRC64NVME", "sha1": "SHA1", "sha256": "SHA256"}


class Named(NamedTuple):
    """One part as the client names it."""

    number: int
    tag: str
    checksums: dict[str, bytes]


class Whole(NamedTuple):
    """What the parts come to."""

    etag: str
    checksum: tuple[str, str] | None
    """Algorithm and value."""
    kind: str
    sizes: tuple[int, ...]


async def complete_multipart_upload(call: Call) -> None:
    """Make the named parts an object. Asked again, it answers the same."""
    named = _parse(await call.read_xml())
    key = call.key
    upload = await open_upload_of(call)
    bucket = await call.filesystem.bucket(call.principal, *call.place)
    plan, found = plan_of(upload), list[Whole]()

    def choose(parts: Sequence[PartInfo]) -> Sequence[int]:
        chosen = _checked(named, parts)
        found.append(_whole(plan, chosen, call))
        return [part.number for part in chosen]

    def keep(tx: Transaction, result: WriteResult) -> None:
        known = facts_of(_document(plan, found[-1]), found[-1].etag)
        assert known is not None
        facts.put(tx, result.version.id, known)

    try:
        result = await call.filesystem.complete_upload(
            call.principal,
            DOOR,
            upload.id,
            choose=choose,
            conditions=await write_conditions(call, key),
            also=keep,
        )
    except (UploadNotFound, UploadFinished):
        raise no_upload(call.query.get("uploadId", "")) from None
    whole = found[-1] if found else await _remembered(call, result.version.id)
    checksum = element(f"Checksum{_NAMES[whole.checksum[0]]}", whole.checksum[1]) if whole.checksum else ""
    if whole.checksum:
        checksum += element("ChecksumType", whole.kind)
    assert call.key_text is not None
    body = (
        element("Location", f"/{call.bucket}/{call.key_text}")
        + element("Bucket", call.bucket)
        + element("Key", call.key_text)
        + element("ETag", quoted(whole.etag))
        + checksum
    )
    await call.xml(
        "CompleteMultipartUploadResult",
        body,
        headers=version_header(result.version.id, enabled=is_enabled(bucket)),
    )


async def _remembered(call: Call, version_id: Id) -> Whole:
    """What an upload that was complete before came to."""
    content = await call.filesystem.open_key(call.principal, call.space_id, call.key, version_id)
    known = described(content.facts)
    checksum = next(iter(known.checksums.items()), None)
    return Whole(etags.of_content(content), checksum, known.checksum_kind, tuple(known.parts))


def _document(plan: Plan, whole: Whole) -> Described:
    checksums = dict([whole.checksum]) if whole.checksum else {}
    return msgspec.structs.replace(plan.said, checksums=checksums, checksum_kind=whole.kind or FULL, parts=whole.sizes)


def _parse(data: bytes) -> list[Named]:
    root = xmlin.parse(data, "CompleteMultipartUpload")
    named: list[Named] = []
    for node in xmlin.children(root, "Part"):
        number, tag = xmlin.text(node, "PartNumber") or "", xmlin.text(node, "ETag") or ""
        if not number.isascii() or not number.isdecimal() or len(number) > 6:
            raise xmlin.malformed()
        checksums: dict[str, bytes] = {}
        for name, shown in _NAMES.items():
            text = xmlin.text(node, f"Checksum{shown}")
            if text is not None:
                value = parse_value(name, text)
                if value is None:
                    raise xmlin.malformed()
                checksums[name] = value
        named.append(Named(int(number), tag.strip().strip('"').lower(), checksums))
    if not 1 <= len(named) <= PARTS_MAX:
        raise xmlin.malformed()
    return named


def _checked(named: Sequence[Named], parts: Sequence[PartInfo]) -> list[PartInfo]:
    """The parts that are named, if they are what the client thinks. Raises Refusal."""
    by_number = {part.number: part for part in parts}
    chosen: list[PartInfo] = []
    for one in named:
        if chosen and one.number <= chosen[-1].number:
            raise Refusal("InvalidPartOrder", "The list of parts was not in ascending order.")
        part = by_number.get(one.number)
        if part is None or part_tag(part) != one.tag or not _same(one, part):
            raise Refusal(
                "InvalidPart",
                "One or more of the specified parts could not be found, or its ETag or checksum does not match.",
                PartNumber=str(one.number),
                ETag=one.tag[:64],
            )
        chosen.append(part)
    for part in chosen[:-1]:
        if part.size_bytes < PART_BYTES_MIN:
            raise Refusal(
                "EntityTooSmall",
                "Your proposed upload is smaller than the minimum allowed size: parts but the last have 5 MiB.",
                ProposedSize=str(part.size_bytes),
                MinSizeAllowed=str(PART_BYTES_MIN),
                PartNumber=str(part.number),
            )
    return chosen


def _same(named: Named, part: PartInfo) -> bool:
    return all(part.checksums.get(name, value) == value for name, value in named.checksums.items())


def _whole(plan: Plan, parts: Sequence[PartInfo], call: Call) -> Whole:
    """ETag and checksum of the parts together. Raises Refusal when the client declared others."""
    md5 = hashlib.md5(b"".join([part.md5 or b"" for part in parts]), usedforsecurity=False)
    tag, sizes = f"{md5.hexdigest()}-{len(parts)}", tuple(part.size_bytes for part in parts)
    size_text = call.headers.get("x-amz-mp-object-size")
    if size_text is not None and size_text != str(sum(sizes)):
        raise Refusal("InvalidRequest", "The object is not of the size that x-amz-mp-object-size says.")
    name = plan.algorithm
    declared = {one: call.headers.get(HEADER + one) for one in SIZES if HEADER + one in call.headers}
    if not name and declared:
        name = next(iter(declared))
    known = [part.checksums.get(name) for part in parts]
    if not name or any(value is None for value in known):
        if declared and plan.algorithm:
            raise Refusal("InvalidPart", f"Not every part was sent with its {name} checksum.")
        return Whole(tag, None, "", sizes)
    values = [value for value in known if value is not None]
    kind = plan.kind or (FULL if name.startswith("crc") else COMPOSITE)
    if kind == FULL:
        text = value_text(joined_crc(name, list(zip(values, sizes, strict=True))))
    else:
        both = new_checksum(name)
        both.update(b"".join(values))
        text = f"{value_text(both.digest())}-{len(parts)}"
    wanted = declared.get(name)
    if wanted is not None and wanted.partition("-")[0] != text.partition("-")[0]:
        raise Refusal("BadDigest", f"The {name} you specified did not match what the parts come to.")
    return Whole(tag, (name, text), kind, sizes)
