"""Which operation a method, a word of the query and a target mean."""

from __future__ import annotations

from collections.abc import Mapping

from skep.frontends.s3 import tagging, unconfigured
from skep.frontends.s3.bucket_versioning import get_bucket_versioning, put_bucket_versioning
from skep.frontends.s3.buckets import create_bucket, delete_bucket, get_bucket_location, head_bucket, list_buckets
from skep.frontends.s3.call import Call
from skep.frontends.s3.copy_object import copy_object
from skep.frontends.s3.delete_object import delete_object
from skep.frontends.s3.delete_objects import delete_objects
from skep.frontends.s3.get_object import get_object
from skep.frontends.s3.list_objects import list_objects, list_objects_v2
from skep.frontends.s3.put_object import put_object
from skep.frontends.s3.unconfigured import Handler


async def put_or_copy(call: Call) -> None:
    """PutObject, or CopyObject where a source is named."""
    await (copy_object if "x-amz-copy-source" in call.headers else put_object)(call)


async def list_either(call: Call) -> None:
    """ListObjects, first or second version."""
    await (list_objects_v2 if call.query.get("list-type") == "2" else list_objects)(call)


SERVICE: Mapping[tuple[str, str], Handler] = {("GET", ""): list_buckets}
BUCKET: Mapping[tuple[str, str], Handler] = {
    ("GET", ""): list_either,
    ("PUT", ""): create_bucket,
    ("HEAD", ""): head_bucket,
    ("DELETE", ""): delete_bucket,
    ("POST", "delete"): delete_objects,
    ("GET", "location"): get_bucket_location,
    ("GET", "versioning"): get_bucket_versioning,
    ("PUT", "versioning"): put_bucket_versioning,
    ("GET", "tagging"): tagging.get_bucket_tagging,
    ("PUT", "tagging"): tagging.put_bucket_tagging,
    ("DELETE", "tagging"): tagging.delete_bucket_tagging,
    **unconfigured.bucket_handlers(),
}
OBJECT: Mapping[tuple[str, str], Handler] = {
    ("GET", ""): get_object,
    ("HEAD", ""): get_object,
    ("PUT", ""): put_or_copy,
    ("DELETE", ""): delete_object,
    ("GET", "tagging"): tagging.get_object_tagging,
    ("PUT", "tagging"): tagging.put_object_tagging,
    ("DELETE", "tagging"): tagging.delete_object_tagging,
    **unconfigured.object_handlers(),
}
WORDS = frozenset(word for table in (SERVICE, BUCKET, OBJECT) for _, word in table if word)
"""Words of the query that choose an operation."""
