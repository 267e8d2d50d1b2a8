"""GetObjectAttributes: https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObjectAttributes.html."""

from __future__ import annotations

from skep.frontends.common.httpdate import http_date
from skep.frontends.s3 import etags
from skep.frontends.s3.call import Call
from skep.frontends.s3.described import Described, described
from skep.frontends.s3.errors import Refusal
from skep.frontends.s3.get_object import open_object
from skep.frontends.s3.versioning import is_enabled, version_header
from skep.frontends.s3.xmltext import element, flag

PAGE = 1000
_NAMES = {"crc32": "CRC32", "crc32c": "CRC32C", "crc64nvme": "CRC64NVME", "sha1": "SHA1", "sha256": "SHA256"}


async def get_object_attributes(call: Call) -> None:
    """Facts of an object without its content."""
    wanted = {one.strip() for one in (call.headers.get("x-amz-object-attributes") or "").split(",") if one.strip()}
    if not wanted or not wanted <= {"ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"}:
        raise Refusal("InvalidArgument", "Invalid attribute name specified.")
    content = await open_object(call)
    known = described(content.facts)
    body = ""
    if "ETag" in wanted:
        body += element("ETag", etags.of_content(content))
    if "Checksum" in wanted and known.checksums:
        values = "".join(element(f"Checksum{_NAMES[name]}", value) for name, value in known.checksums.items())
        body += f"<Checksum>{values}{element('ChecksumType', known.checksum_kind)}</Checksum>"
    if "ObjectParts" in wanted and known.parts:
        body += _parts(call, known)
    if "StorageClass" in wanted:
        body += element("StorageClass", "STANDARD")
    if "ObjectSize" in wanted:
        body += element("ObjectSize", content.size_bytes)
    headers = [("last-modified", http_date(content.created_us))]
    if content.version is not None:
        headers += version_header(content.version.id, enabled=is_enabled(content.bucket))
    await call.xml("GetObjectAttributesResponse", body, headers=headers)


def _parts(call: Call, known: Described) -> str:
    marker, most = _number(call, "x-amz-part-number-marker", 0), max(1, _number(call, "x-amz-max-parts", PAGE))
    numbered = [(number, size) for number, size in enumerate(known.parts, 1) if number > marker]
    shown = numbered[:most]
    listed = "".join(f"<Part>{element('PartNumber', n)}{element('Size', size)}</Part>" for n, size in shown)
    return (
        f"<ObjectParts>{element('TotalPartsCount', len(known.parts))}{element('PartNumberMarker', marker)}"
        f"{element('NextPartNumberMarker', shown[-1][0] if shown else marker)}{element('MaxParts', most)}"
        f"{flag('IsTruncated', len(numbered) > most)}{listed}</ObjectParts>"
    )


def _number(call: Call, header: str, default: int) -> int:
    text = call.headers.get(header) or ""
    return min(int(text), PAGE * 10) if text.isascii() and text.isdecimal() and len(text) < 7 else default
