"""DeleteObjects: https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html."""

from __future__ import annotations

from lxml import etree

from skep.base.errors import SkepError
from skep.frontends.s3 import xmlin
from skep.frontends.s3.call import Call
from skep.frontends.s3.delete_object import delete_one
from skep.frontends.s3.errors import Refusal, failure_of
from skep.frontends.s3.xmltext import element, flag

KEYS_MAX = 1000


async def delete_objects(call: Call) -> None:
    """Delete up to 1000 keys, each with a result of its own."""
    root = xmlin.parse(await call.read_xml(), "Delete")
    asked = list(xmlin.children(root, "Object"))
    if not 1 <= len(asked) <= KEYS_MAX:
        raise xmlin.malformed()
    quiet = (xmlin.text(root, "Quiet") or "").strip().lower() == "true"
    await call.filesystem.bucket(call.principal, *call.place)
    found = [await _delete(call, one, quiet=quiet) for one in asked]
    await call.xml("DeleteResult", "".join(found))


async def _delete(call: Call, asked: etree._Element, *, quiet: bool) -> str:
    key, version = xmlin.text(asked, "Key"), xmlin.text(asked, "VersionId")
    if not key:
        raise xmlin.malformed()
    named = element("Key", key) + (element("VersionId", version) if version else "")
    try:
        deleted = await delete_one(call, key, version or None, xmlin.text(asked, "ETag"))
    except SkepError as error:
        failure = failure_of(error)
        if failure.status >= 500 and not isinstance(error, Refusal):
            raise
        return f"<Error>{named}{element('Code', failure.code)}{element('Message', failure.message)}</Error>"
    if quiet:
        return ""
    marker = ""
    if deleted.marker is not None:
        marker = flag("DeleteMarker", True) + element("DeleteMarkerVersionId", deleted.marker)
    return f"<Deleted>{named}{marker}</Deleted>"
