"""ListParts: https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListParts.html."""

from __future__ import annotations

from skep.base.ids import id_text
from skep.frontends.common.conditions import quoted
from skep.frontends.s3.buckets import owner
from skep.frontends.s3.call import Call
from skep.frontends.s3.dates import iso_date
from skep.frontends.s3.multipart import DOOR, no_upload, open_upload_of, plan_of
from skep.frontends.s3.upload_part import checksum_elements, part_tag
from skep.frontends.s3.xmltext import element, flag

PAGE = 1000


async def list_parts(call: Call) -> None:
    """The parts that an upload has, by number."""
    upload = await open_upload_of(call)
    if upload.state != "open":
        raise no_upload(call.query.get("uploadId", ""))
    marker = call.whole_number("part-number-marker", 0, 10_000)
    count = max(1, call.whole_number("max-parts", PAGE, PAGE))
    found = await call.filesystem.parts(call.principal, DOOR, upload.id, after=marker, limit=count + 1)
    shown, plan = found[:count], plan_of(upload)
    assert call.key_text is not None
    body = [
        element("Bucket", call.bucket),
        element("Key", call.key_text),
        element("UploadId", id_text(upload.id)),
        owner(call, "Initiator"),
        owner(call),
        element("StorageClass", "STANDARD"),
        element("PartNumberMarker", marker),
        element("MaxParts", count),
        flag("IsTruncated", len(found) > count),
    ]
    if plan.algorithm:
        body += [element("ChecksumAlgorithm", plan.algorithm.upper()), element("ChecksumType", plan.kind)]
    if shown:
        body.append(element("NextPartNumberMarker", shown[-1].number))
    body += [
        f"<Part>{element('PartNumber', part.number)}{element('LastModified', iso_date(part.created_us))}"
        f"{element('ETag', quoted(part_tag(part)))}{element('Size', part.size_bytes)}{checksum_elements(part)}</Part>"
        for part in shown
    ]
    await call.xml("ListPartsResult", "".join(body))
