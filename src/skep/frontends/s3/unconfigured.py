"""Settings of buckets and objects that Skep does not have: read as S3 reads what nobody set, refused when set.

https://docs.aws.amazon.com/AmazonS3/latest/API/API_Operations_Amazon_Simple_Storage_Service.html.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

from skep.frontends.s3 import xmlin
from skep.frontends.s3.buckets import owner
from skep.frontends.s3.call import Call
from skep.frontends.s3.errors import Refusal
from skep.frontends.s3.get_object import open_object
from skep.frontends.s3.xmltext import element

Handler = Callable[[Call], Awaitable[None]]

NOT_SET = {
    "encryption": (
        "ServerSideEncryptionConfigurationNotFoundError",
        "The server side encryption configuration was not found",
    ),
    "lifecycle": ("NoSuchLifecycleConfiguration", "The lifecycle configuration does not exist"),
    "object-lock": ("ObjectLockConfigurationNotFoundError", "Object Lock configuration does not exist for this bucket"),
    "ownershipControls": ("OwnershipControlsNotFoundError", "The bucket ownership controls were not found"),
    "policy": ("NoSuchBucketPolicy", "The bucket policy does not exist"),
    "policyStatus": ("NoSuchBucketPolicy", "The bucket policy does not exist"),
    "publicAccessBlock": (
        "NoSuchPublicAccessBlockConfiguration",
        "The public access block configuration was not found",
    ),
    "replication": ("ReplicationConfigurationNotFoundError", "The replication configuration was not found"),
    "website": ("NoSuchWebsiteConfiguration", "The specified bucket does not have a website configuration"),
}
"""What reading answers with an error, by the word in the query."""
EMPTY = {
    "accelerate": "AccelerateConfiguration",
    "logging": "BucketLoggingStatus",
    "notification": "NotificationConfiguration",
}
"""What reading answers with an empty document."""
REFUSED = (
    "analytics", "intelligent-tiering", "inventory", "metadataConfiguration", "metadataTable", "metrics", "session",
)  # fmt: skip
OBJECT_REFUSED = ("legal-hold", "restore", "retention", "select", "torrent", "encryption", "renameObject")


async def not_set(call: Call, code: str, message: str) -> None:
    """Answer that nothing was set."""
    name = call.bucket
    await call.filesystem.bucket(call.principal, *call.place)
    raise Refusal(code, message, BucketName=name)


async def empty(call: Call, root: str) -> None:
    """Answer with an empty setting."""
    await call.filesystem.bucket(call.principal, *call.place)
    await call.xml(root, "")


async def get_request_payment(call: Call) -> None:
    """GetBucketRequestPayment: who owns the bucket pays."""
    await call.filesystem.bucket(call.principal, *call.place)
    await call.xml("RequestPaymentConfiguration", element("Payer", "BucketOwner"))


async def refuse(call: Call) -> None:
    """Answer that there is no such thing here."""
    raise Refusal("NotImplemented", "This is not something that a hive does: see docs/operate/s3.md for what it does.")


async def forget(call: Call) -> None:
    """Deleting what cannot be set: it is gone."""
    await call.filesystem.bucket(call.principal, *call.place)
    await call.answer(204)


async def get_bucket_acl(call: Call) -> None:
    """GetBucketAcl: its owner may do everything, nobody else anything."""
    await call.filesystem.bucket(call.principal, *call.place)
    await _acl(call)


async def get_object_acl(call: Call) -> None:
    """GetObjectAcl: as that of the bucket."""
    await open_object(call)
    await _acl(call)


async def put_acl(call: Call) -> None:
    """PutBucketAcl and PutObjectAcl: what is so anyway is fine, anything else is refused."""
    data = await call.read_xml()
    acl = call.headers.get("x-amz-acl")
    grants = any(name.startswith("x-amz-grant-") for name in call.headers)
    is_own = _only_owner(call, data) if acl is None and not grants else acl in ("private", "bucket-owner-full-control")
    if grants or not is_own:
        raise Refusal("AccessControlListNotSupported", "The bucket does not allow ACLs: only `private` is taken.")
    if call.key_text is None:
        await call.filesystem.bucket(call.principal, *call.place)
    else:
        await open_object(call)
    await call.answer(200)


def _only_owner(call: Call, data: bytes) -> bool:
    """Whether a document grants to the owner alone. Raises Refusal (MalformedXML)."""
    root = xmlin.parse(data, "AccessControlPolicy")
    ids = [
        xmlin.text(grantee, "ID")
        for grants in xmlin.children(root, "AccessControlList")
        for grant in xmlin.children(grants, "Grant")
        for grantee in xmlin.children(grant, "Grantee")
    ]
    return all(one == call.principal.user_id.hex() for one in ids)


async def _acl(call: Call) -> None:
    grantee = owner(call, "Grantee").replace(
        "<Grantee>", '<Grantee xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="CanonicalUser">'
    )
    grant = f"<Grant>{grantee}{element('Permission', 'FULL_CONTROL')}</Grant>"
    await call.xml("AccessControlPolicy", f"{owner(call)}<AccessControlList>{grant}</AccessControlList>")


def bucket_handlers() -> dict[tuple[str, str], Handler]:
    """By method and word of the query."""
    found: dict[tuple[str, str], Handler] = {}
    for word, (code, message) in NOT_SET.items():
        found["GET", word] = partial(not_set, code=code, message=message)
        found["PUT", word] = refuse
        found["DELETE", word] = forget
    for word, root in EMPTY.items():
        found["GET", word] = partial(empty, root=root)
        found["PUT", word] = refuse
    for word in REFUSED:
        for method in ("GET", "PUT", "POST", "DELETE"):
            found[method, word] = refuse
    found["GET", "requestPayment"] = get_request_payment
    found["PUT", "requestPayment"] = refuse
    found["GET", "acl"] = get_bucket_acl
    found["PUT", "acl"] = put_acl
    return found


def object_handlers() -> dict[tuple[str, str], Handler]:
    """By method and word of the query."""
    found: dict[tuple[str, str], Handler] = {
        (method, word): refuse for word in OBJECT_REFUSED for method in ("GET", "PUT", "POST")
    }
    found["GET", "acl"] = get_object_acl
    found["PUT", "acl"] = put_acl
    return found
