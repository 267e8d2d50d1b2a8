"""Which operation a method, a word of the query and a target mean."""

from __future__ import annotations

from collections.abc import Mapping

from skep.frontends.s3 import cors, tagging, unconfigured
from skep.frontends.s3.abort_multipart_upload import abort_multipart_upload
from skep.frontends.s3.bucket_versioning import get_bucket_versioning, put_bucket_versioning
from skep.frontends.s3.buckets import create_bucket, delete_bucket, get_bucket_location, head_bucket, list_buckets
from skep.frontends.s3.call import Call
from skep.frontends.s3.complete_multipart_upload import complete_multipart_upload
from skep.frontends.s3.copy_object import copy_object
from skep.frontends.s3.create_multipart_upload import create_multipart_upload
from skep.frontends.s3.delete_object import delete_object
from skep.frontends.s3.delete_objects import delete_objects
from skep.frontends.s3.get_object import get_object
from skep.frontends.s3.get_object_attributes import get_object_attributes
from skep.frontends.s3.list_multipart_uploads import list_multipart_uploads
from skep.frontends.s3.list_object_versions import list_object_versions
from skep.frontends.s3.list_objects import list_objects, list_objects_v2
from skep.frontends.s3.list_parts import list_parts
from skep.frontends.s3.put_object import put_object
from skep.frontends.s3.unconfigured import Handler
from skep.frontends.s3.upload_part import upload_part


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
    ("GET", "uploads"): list_multipart_uploads,
    ("GET", "location"): get_bucket_location,
    ("GET", "versioning"): get_bucket_versioning,
    ("PUT", "versioning"): put_bucket_versioning,
    ("GET", "versions"): list_object_versions,
    ("GET", "cors"): cors.get_bucket_cors,
    ("PUT", "cors"): cors.put_bucket_cors,
    ("DELETE", "cors"): cors.delete_bucket_cors,
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
    ("GET", "attributes"): get_object_attributes,
    ("POST", "uploads"): create_multipart_upload,
    ("PUT", "uploadId"): upload_part,
    ("POST", "uploadId"): complete_multipart_upload,
    ("DELETE", "uploadId"): abort_multipart_upload,
    ("GET", "uploadId"): list_parts,
    ("GET", "tagging"): tagging.get_object_tagging,
    ("PUT", "tagging"): tagging.put_object_tagging,
    ("DELETE", "tagging"): tagging.delete_object_tagging,
    **unconfigured.object_handlers(),
}
WORDS = frozenset(word for table in (SERVICE, BUCKET, OBJECT) for _, word in table if word)
"""Words of the query that choose an operation."""
