"""ListBuckets, CreateBucket, HeadBucket, DeleteBucket, GetBucketLocation.

https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListBuckets.html and its neighbours. A bucket is a directory right
below the root of the access key's space.
"""

from __future__ import annotations

import re

from skep.auth.records import EVERY_SPACE
from skep.base.errors import NameClash
from skep.base.ids import id_text
from skep.filesystem.keyed import Bucket
from skep.frontends.s3 import xmlin
from skep.frontends.s3.call import Call
from skep.frontends.s3.dates import iso_date
from skep.frontends.s3.described import from_headers
from skep.frontends.s3.errors import Refusal
from skep.frontends.s3.xmltext import element

BUCKETS_MAX = 10_000
_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]\Z")
_ADDRESS = re.compile(r"\d+\.\d+\.\d+\.\d+\Z")


async def list_buckets(call: Call) -> None:
    """The buckets that the access key may see, by name."""
    count = max(1, call.whole_number("max-buckets", BUCKETS_MAX, BUCKETS_MAX))
    prefix, after = call.query.get("prefix", ""), call.query.get("continuation-token", "")
    only = call.signed.grant.info.bucket
    found = await _buckets(call)
    chosen = [one for one in found if one.name.startswith(prefix) and one.name > after and only in (None, one.name)]
    listed = "".join(
        f"<Bucket>{element('Name', one.name)}{element('CreationDate', iso_date(one.created_us))}</Bucket>"
        for one in chosen[:count]
    )
    more = element("ContinuationToken", chosen[count - 1].name) if len(chosen) > count else ""
    await call.xml("ListAllMyBucketsResult", f"{owner(call)}<Buckets>{listed}</Buckets>{more}")


async def _buckets(call: Call) -> list[Bucket]:
    """Those of the access key's space; and, as buckets under their ids, what it reaches besides that one.

    What is listed by its directories is not listed under its id too, though it is a bucket there.
    """
    bound = call.signed.grant.info.space_id
    if bound is None:
        return await call.filesystem.buckets(call.principal, None, "", BUCKETS_MAX)
    reached = [one for one in await call.filesystem.spaces(call.principal) if bound in (one.id, EVERY_SPACE)]
    rooted = [one for one in reached if one.kind == "share" or (bound == EVERY_SPACE and one.kind != "personal")]
    found = [Bucket(b"", id_text(one.id), one.created_us, {}) for one in rooted]
    if len(rooted) < len(reached):
        found += await call.filesystem.buckets(call.principal, call.space_id, "", BUCKETS_MAX)
    return sorted(found, key=lambda one: one.name)


async def create_bucket(call: Call) -> None:
    """Make a bucket: a directory below the root."""
    name = call.bucket
    call.check_whole_bucket()
    if call.root_of(name) is not None:
        await call.filesystem.bucket(call.principal, *call.place)
        raise Refusal("BucketAlreadyOwnedByYou", "The space or share is a bucket already.", BucketName=name)
    if not _NAME.match(name) or ".." in name or _ADDRESS.match(name) or name.startswith("xn--"):
        raise Refusal("InvalidBucketName", "A bucket's name has 3 to 63 small letters, digits, dots and hyphens.")
    from_headers(call.headers)
    if _is_true(call):
        raise Refusal("NotImplemented", "There is no object lock here.")
    data = await call.read_xml()
    if data:
        xmlin.parse(data, "CreateBucketConfiguration")
    try:
        await call.filesystem.make_directory(call.principal, call.space_id, f"/{name}", parents=False, exist_ok=False)
    except NameClash:
        await call.filesystem.bucket(call.principal, *call.place)
        raise Refusal("BucketAlreadyOwnedByYou", "You own a bucket of this name already.", BucketName=name) from None
    await call.answer(200, [("location", f"/{name}")])


def _is_true(call: Call) -> bool:
    return (call.headers.get("x-amz-bucket-object-lock-enabled") or "").lower() == "true"


async def head_bucket(call: Call) -> None:
    """Say whether a bucket is there."""
    await call.filesystem.bucket(call.principal, *call.place)
    await call.answer(200, [("x-amz-bucket-region", call.services.region)])


async def delete_bucket(call: Call) -> None:
    """Delete an empty bucket."""
    call.check_whole_bucket()
    await call.filesystem.remove_bucket(call.principal, *call.place)
    call.services.known.forget()
    await call.answer(204)


async def get_bucket_location(call: Call) -> None:
    """The region, as the settings have it; us-east-1 is said by saying nothing."""
    await call.filesystem.bucket(call.principal, *call.place)
    region = call.services.region
    await call.xml("LocationConstraint", "" if region == "us-east-1" else region)


def owner(call: Call, name: str = "Owner") -> str:
    """Who owns what the access key reaches."""
    principal = call.principal
    return f"<{name}>{element('ID', principal.user_id.hex())}{element('DisplayName', principal.name)}</{name}>"
