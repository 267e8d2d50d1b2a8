"""UploadPart and UploadPartCopy: https://docs.aws.amazon.com/AmazonS3/latest/API/API_UploadPart.html."""

from __future__ import annotations

import re

from skep.base.errors import InvalidRange, UploadFinished, UploadNotFound
from skep.crypto.hashing import Buffer
from skep.filesystem.keyed import Found
from skep.filesystem.uploads.records import Expected, PartInfo
from skep.frontends.common.conditions import quoted
from skep.frontends.s3.call import Call
from skep.frontends.s3.checksums import HEADER, value_text
from skep.frontends.s3.copy_object import check_source, copy_source
from skep.frontends.s3.dates import iso_date
from skep.frontends.s3.errors import Refusal
from skep.frontends.s3.multipart import DOOR, no_upload, open_upload_of, part_number, plan_of
from skep.frontends.s3.payload import Payload
from skep.frontends.s3.xmltext import element

_RANGE = re.compile(r"bytes=(\d{1,18})-(\d{1,18})\Z", re.ASCII)


class _Told:
    """A checksum that the payload has checked itself: it only has to be kept."""

    def __init__(self, payload: Payload, name: str) -> None:
        self._payload, self._name = payload, name

    def update(self, data: Buffer) -> None:
        """Nothing to compute."""

    def digest(self) -> bytes:
        """What the payload found right."""
        return self._payload.checksums[self._name]


async def upload_part(call: Call) -> None:
    """Take one part of an upload; one of the same number is replaced."""
    if "x-amz-copy-source" in call.headers:
        await upload_part_copy(call)
        return
    number = part_number(call)
    payload = Payload(call, hashes_itself=True)
    if payload.length is None:
        raise Refusal("MissingContentLength", "You must provide the Content-Length HTTP header.")
    upload = await open_upload_of(call)
    try:
        async with call.services.uploads.enter_as(call.principal.user_id):
            part = await call.filesystem.put_part(
                call.principal,
                DOOR,
                upload.id,
                number,
                aiter(payload),
                length=payload.length,
                digests=("md5",),
                expected_digests=payload.expected,
                expected=[Expected(name, _Told(payload, name), b"") for name in payload.names],
            )
    except (UploadNotFound, UploadFinished):
        raise no_upload(call.query.get("uploadId", "")) from None
    headers = [("etag", quoted(part_tag(part)))]
    headers += [(HEADER + name, value) for name, value in payload.checksum_texts.items()]
    await call.answer(200, headers)


async def upload_part_copy(call: Call) -> None:
    """Make a key's content, or a range of it, one part of an upload. Whole chunks are shared, not copied."""
    number, source = part_number(call), copy_source(call)
    upload = await open_upload_of(call)
    there = await call.filesystem.open_key(call.principal, call.space_of(source.bucket), source.key, source.version_id)
    if there.version is None:
        raise Refusal("InvalidArgument", "A directory has no content to copy.")
    check_source(call.headers, Found(there.bucket, None, there.node, there.version, there.facts))
    offset, length = _range(call.headers.get("x-amz-copy-source-range"), there.size_bytes)
    algorithm = plan_of(upload).algorithm
    digests = {"md5", algorithm} & {"md5", "sha1", "sha256"}
    try:
        content = await call.filesystem.open_file(call.principal, there.node.id, there.version.number)
        async with call.services.uploads.enter_as(call.principal.user_id):
            part = await call.filesystem.copy_part(
                call.principal, DOOR, upload.id, number, content, offset=offset, length=length, digests=digests
            )
    except (UploadNotFound, UploadFinished):
        raise no_upload(call.query.get("uploadId", "")) from None
    except InvalidRange as error:
        raise Refusal("InvalidArgument", error.message) from None
    body = element("LastModified", iso_date(part.created_us)) + element("ETag", quoted(part_tag(part)))
    await call.xml("CopyPartResult", body + checksum_elements(part))


def part_tag(part: PartInfo) -> str:
    """The ETag of a part: its MD5, which is always computed."""
    assert part.md5 is not None
    return part.md5.hex()


def checksum_elements(part: PartInfo) -> str:
    """The checksums of a part as S3's XML names them."""
    names = {"crc32": "CRC32", "crc32c": "CRC32C", "crc64nvme": "CRC64NVME", "sha1": "SHA1", "sha256": "SHA256"}
    return "".join(
        element(f"Checksum{names[name]}", value_text(value)) for name, value in part.checksums.items() if name in names
    )


def _range(text: str | None, size_bytes: int) -> tuple[int, int | None]:
    """Offset and length of the range to copy; a length of None: to the end. Raises Refusal."""
    if text is None:
        return 0, None
    match = _RANGE.match(text)
    if match is None or int(match[2]) < int(match[1]):
        raise Refusal("InvalidArgument", "The x-amz-copy-source-range value must be of the form bytes=first-last.")
    first, last = int(match[1]), int(match[2])
    if last >= size_bytes:
        raise Refusal("InvalidArgument", f"Range specified is not valid for source object of size: {size_bytes}")
    return first, last - first + 1
