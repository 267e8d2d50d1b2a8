"""AbortMultipartUpload: https://docs.aws.amazon.com/AmazonS3/latest/API/API_AbortMultipartUpload.html."""

from __future__ import annotations

from skep.frontends.s3.call import Call
from skep.frontends.s3.multipart import DOOR, no_upload, open_upload_of


async def abort_multipart_upload(call: Call) -> None:
    """Give an upload up, with its parts."""
    upload = await open_upload_of(call)
    if upload.state != "open":
        raise no_upload(call.query.get("uploadId", ""))
    await call.filesystem.abort_upload(call.principal, DOOR, upload.id)
    await call.answer(204)
