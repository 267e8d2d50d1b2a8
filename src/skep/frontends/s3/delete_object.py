"""DeleteObject: https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObject.html."""

from __future__ import annotations

from dataclasses import dataclass

from skep.base.errors import Conflict, InvalidName, InvalidPath, NodeNotFound, PreconditionFailed, VersionNotFound
from skep.base.ids import id_text
from skep.filesystem.keyed import Found
from skep.frontends.s3 import etags
from skep.frontends.s3.call import Call
from skep.frontends.s3.errors import Refusal
from skep.frontends.s3.versioning import is_enabled, wanted_version


@dataclass(frozen=True, slots=True)
class Deleted:
    """What became of one key."""

    version: str | None = None
    marker: str | None = None
    """The version id of the delete marker that was made or removed."""


async def delete_object(call: Call) -> None:
    """Delete a key, or one version of it for good. What is not there is gone: 204 too."""
    assert call.key_text is not None
    deleted = await delete_one(call, call.key_text, call.query.get("versionId"), call.headers.get("if-match"))
    headers = []
    if deleted.marker is not None:
        headers = [("x-amz-delete-marker", "true"), ("x-amz-version-id", deleted.marker)]
    elif deleted.version is not None:
        headers = [("x-amz-version-id", deleted.version)]
    await call.answer(204, headers)


async def delete_one(call: Call, text: str, version: str | None, if_match: str | None) -> Deleted:
    """Delete one key of the request's bucket. Raises Refusal, BucketNotFound, PreconditionFailed."""
    bucket = await call.filesystem.bucket(call.principal, *call.place)
    try:
        key = call.key_at(call.bucket, text)
    except (InvalidName, InvalidPath):  # no such key can be
        return Deleted()
    version_id = wanted_version(version)
    if version_id is not None:
        try:
            _, was_marker = await call.filesystem.remove_version(call.principal, call.space_id, key, version_id)
        except VersionNotFound:
            return Deleted(version)
        except Conflict:
            raise Refusal(
                "InvalidRequest", "A newer object has this key: move or delete it before the delete marker."
            ) from None
        return Deleted(version, version if was_marker else None)
    enabled = is_enabled(bucket) and version is None

    def check(found: Found) -> None:
        assert if_match is not None
        known = found.facts.etag if found.facts is not None else None
        now = "" if found.version is None else etags.etag(known, found.version.md5, found.version.etag)
        if not etags.matches(if_match, now):
            raise PreconditionFailed("At least one of the preconditions you specified did not hold.")

    for_good = not call.services.to_trash and not enabled
    try:
        removed = await call.filesystem.remove_key(
            call.principal, call.space_id, key, for_good=for_good, conditions=None if if_match is None else check
        )
    except NodeNotFound:  # only the condition looks
        raise PreconditionFailed("At least one of the preconditions you specified did not hold.") from None
    if enabled and removed.trashed_id is not None:
        return Deleted(None, id_text(removed.trashed_id))
    return Deleted()
