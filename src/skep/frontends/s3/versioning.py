"""Buckets with versioning: ids of versions on the wire, and what is on. docs/operate/s3.md says how it maps."""

from __future__ import annotations

from skep.base.errors import SkepError
from skep.base.ids import Id, id_text, parse_id
from skep.filesystem.keyed import Bucket
from skep.frontends.s3.errors import Refusal

NULL = "null"
"""The version id of everything in a bucket that never had versioning."""


def status(bucket: Bucket) -> str:
    """``Enabled``, ``Suspended``, or empty: never set."""
    return str(bucket.document.get("versioning", ""))


def is_enabled(bucket: Bucket) -> bool:
    """Whether versions are told to clients and deletions leave markers."""
    return status(bucket) == "Enabled"


def version_header(version_id: Id, *, enabled: bool) -> list[tuple[str, str]]:
    """The header that names a version, where that is on."""
    return [("x-amz-version-id", id_text(version_id))] if enabled else []


def wanted_version(text: str | None) -> Id | None:
    """The version that a request names; None: the current one. Raises Refusal."""
    if text is None or text == NULL:
        return None
    try:
        return parse_id(text)
    except SkepError:
        raise Refusal("InvalidArgument", "Invalid version id specified", ArgumentName="versionId") from None
