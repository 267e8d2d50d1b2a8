"""CreateMultipartUpload: https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateMultipartUpload.html."""

from __future__ import annotations

import msgspec

from skep.base.ids import id_text
from skep.filesystem.uploads.records import Draft
from skep.frontends.s3.call import Call
from skep.frontends.s3.described import from_headers, mime_of, modified_us
from skep.frontends.s3.errors import Refusal
from skep.frontends.s3.multipart import DOOR, planned
from skep.frontends.s3.xmltext import element


async def create_multipart_upload(call: Call) -> None:
    """Open an upload in parts."""
    key = call.key
    if key.is_directory:
        raise Refusal("InvalidArgument", "A key that ends with a slash is a directory: it has no content.")
    plan = planned(call, from_headers(call.headers))
    await call.filesystem.bucket(call.principal, *call.place)
    upload = await call.filesystem.open_upload(
        call.principal,
        call.space_id,
        Draft(
            door=DOOR,
            path="/" + "/".join(key.segments),
            mime=mime_of(call.headers.get("content-type")),
            modified_us=modified_us(plan.said),
            metadata=msgspec.to_builtins(plan),
        ),
    )
    headers = []
    if plan.algorithm:
        headers = [("x-amz-checksum-algorithm", plan.algorithm.upper()), ("x-amz-checksum-type", plan.kind)]
    assert call.key_text is not None
    named = element("Bucket", call.bucket) + element("Key", call.key_text)
    await call.xml("InitiateMultipartUploadResult", named + element("UploadId", id_text(upload.id)), headers=headers)
