"""GetBucketVersioning and PutBucketVersioning.

https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketVersioning.html. The hive keeps versions of every file;
this only says whether S3 clients are told of them.
"""

from __future__ import annotations

from skep.frontends.s3 import xmlin
from skep.frontends.s3.call import Call
from skep.frontends.s3.errors import Refusal
from skep.frontends.s3.versioning import status
from skep.frontends.s3.xmltext import element


async def get_bucket_versioning(call: Call) -> None:
    """Whether versioning is on; nothing where it never was."""
    found = status(await call.filesystem.bucket(call.principal, *call.place))
    await call.xml("VersioningConfiguration", element("Status", found) if found else "")


async def put_bucket_versioning(call: Call) -> None:
    """Turn versioning on, or suspend it."""
    root = xmlin.parse(await call.read_xml(), "VersioningConfiguration")
    wanted = xmlin.text(root, "Status")
    if wanted not in ("Enabled", "Suspended"):
        raise Refusal("MalformedXML", "The versioning status is Enabled or Suspended.")
    if (xmlin.text(root, "MfaDelete") or "Disabled") != "Disabled":
        raise Refusal("NotImplemented", "There is no MFA delete here.")
    call.check_whole_bucket()
    await call.filesystem.set_bucket(call.principal, *call.place, {"versioning": wanted})
    call.services.known.forget()
    await call.answer(200)
