"""ListMultipartUploads: https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListMultipartUploads.html."""

from __future__ import annotations

from skep.base.ids import id_text
from skep.filesystem.uploads.records import Upload
from skep.frontends.s3.buckets import owner
from skep.frontends.s3.call import Call
from skep.frontends.s3.dates import iso_date
from skep.frontends.s3.errors import Refusal
from skep.frontends.s3.multipart import DOOR
from skep.frontends.s3.xmltext import element, flag, url_encoded

PAGE = 1000


async def list_multipart_uploads(call: Call) -> None:
    """The unfinished uploads of the access key's user into a bucket, by key and age."""
    await call.filesystem.bucket(call.principal, *call.place)
    prefix, delimiter = call.query.get("prefix", ""), call.query.get("delimiter", "")
    marker = (call.query.get("key-marker", ""), call.query.get("upload-id-marker", ""))
    count = max(1, call.whole_number("max-uploads", PAGE, PAGE))
    bound = call.signed.grant.info.prefix
    if bound is not None and not prefix.startswith(bound):
        raise Refusal("AccessDenied", "Access Denied: this access key lists its own prefix.")
    encoded = call.query.get("encoding-type") == "url"
    found, rolled = _chosen(await call.filesystem.uploads(call.principal, DOOR, call.space_id), call, prefix, delimiter)
    found = [one for one in found if _is_after(one, marker)]
    shown = found[:count]
    body = [
        element("Bucket", call.bucket),
        element("KeyMarker", _shown(marker[0], encoded)),
        element("UploadIdMarker", marker[1]),
        element("Prefix", _shown(prefix, encoded)),
        element("Delimiter", _shown(delimiter, encoded)) if delimiter else "",
        element("MaxUploads", count),
        element("EncodingType", "url") if encoded else "",
        flag("IsTruncated", len(found) > count),
    ]
    if len(found) > count:
        body.append(element("NextKeyMarker", _shown(shown[-1][0], encoded)))
        body.append(element("NextUploadIdMarker", id_text(shown[-1][1].id)))
    body += [
        f"<Upload>{element('Key', _shown(key, encoded))}{element('UploadId', id_text(one.id))}"
        f"{owner(call, 'Initiator')}{owner(call)}{element('StorageClass', 'STANDARD')}"
        f"{element('Initiated', iso_date(one.created_us))}</Upload>"
        for key, one in shown
    ]
    body += [f"<CommonPrefixes>{element('Prefix', _shown(one, encoded))}</CommonPrefixes>" for one in rolled]
    await call.xml("ListMultipartUploadsResult", "".join(body))


def _chosen(
    uploads: list[Upload], call: Call, prefix: str, delimiter: str
) -> tuple[list[tuple[str, Upload]], list[str]]:
    """Uploads of the bucket with their keys, sorted; and what lies behind a delimiter, rolled up."""
    start = "/" if call.root_of(call.bucket) is not None else f"/{call.bucket}/"
    keyed = [(one.path[len(start) :], one) for one in uploads if one.path is not None and one.path.startswith(start)]
    keyed = sorted((pair for pair in keyed if pair[0].startswith(prefix)), key=lambda pair: (pair[0], pair[1].id))
    if not delimiter:
        return keyed, []
    plain = [pair for pair in keyed if delimiter not in pair[0][len(prefix) :]]
    ends = {key[: key.index(delimiter, len(prefix)) + len(delimiter)] for key, one in keyed if (key, one) not in plain}
    return plain, sorted(ends)


def _is_after(one: tuple[str, Upload], marker: tuple[str, str]) -> bool:
    key, upload_id = marker
    if not upload_id:
        return one[0] > key
    return (one[0], id_text(one[1].id)) > (key, upload_id)


def _shown(text: str, encoded: bool) -> str:
    return url_encoded(text) if encoded else text
