"""What the operations of multipart uploads share: the upload that a request names, and its checksums.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuoverview.html. Uploads stand on the core in ``filesystem``,
which counts them, expires them and knows their chunks; what S3 adds is in an upload's metadata.
"""

from __future__ import annotations

import msgspec

from skep.base.errors import SkepError, UploadNotFound
from skep.base.ids import parse_id
from skep.filesystem.uploads.records import Upload
from skep.frontends.s3.call import Call
from skep.frontends.s3.checksums import SIZES
from skep.frontends.s3.described import Described
from skep.frontends.s3.errors import Refusal

DOOR = "s3"
PART_BYTES_MIN = 5 << 20
PARTS_MAX = 10_000
FULL, COMPOSITE = "FULL_OBJECT", "COMPOSITE"


class Plan(msgspec.Struct, frozen=True):
    """What was said when an upload was opened."""

    said: Described
    algorithm: str = ""
    """Of the checksums that its parts have, lower case; empty: none was named."""
    kind: str = ""


def plan_of(upload: Upload) -> Plan:
    """The plan in an upload's metadata."""
    return msgspec.convert(upload.metadata, Plan)


def planned(call: Call, said: Described) -> Plan:
    """The plan of a new upload. Raises Refusal."""
    algorithm = (call.headers.get("x-amz-checksum-algorithm") or "").lower()
    kind = (call.headers.get("x-amz-checksum-type") or "").upper()
    if algorithm and algorithm not in SIZES:
        raise Refusal("InvalidRequest", "Checksum algorithm provided is unsupported.")
    if algorithm and not kind:
        kind = FULL if algorithm == "crc64nvme" else COMPOSITE
    if kind not in ("", FULL, COMPOSITE) or (kind and not algorithm):
        raise Refusal("InvalidRequest", "x-amz-checksum-type is FULL_OBJECT or COMPOSITE, with an algorithm.")
    if (algorithm == "crc64nvme" and kind == COMPOSITE) or (algorithm in ("sha1", "sha256") and kind == FULL):
        raise Refusal("InvalidRequest", f"The {kind} checksum type cannot be used with the {algorithm} algorithm.")
    return Plan(said, algorithm, kind)


async def open_upload_of(call: Call) -> Upload:
    """The unfinished or just finished upload that a request names, if it is of its key. Raises Refusal."""
    key = call.key
    text = call.query.get("uploadId", "")
    try:
        upload = await call.filesystem.upload(call.principal, DOOR, parse_id(text))
    except UploadNotFound:
        raise no_upload(text) from None
    except SkepError as error:
        if error.code == "invalid-id":
            raise no_upload(text) from None
        raise
    if upload.path != "/" + "/".join(key.segments) or upload.space_id != await call.home_id():
        raise no_upload(text)
    return upload


def no_upload(text: str) -> Refusal:
    """The refusal of an upload that is not there."""
    return Refusal(
        "NoSuchUpload",
        "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or"
        " completed.",
        UploadId=text[:64],
    )


def part_number(call: Call) -> int:
    """The number of a part in the query. Raises Refusal."""
    text = call.query.get("partNumber", "")
    number = int(text) if text.isascii() and text.isdecimal() and len(text) <= 6 else 0
    if not 1 <= number <= PARTS_MAX:
        raise Refusal("InvalidArgument", f"Part number must be an integer between 1 and {PARTS_MAX}, inclusive")
    return number
