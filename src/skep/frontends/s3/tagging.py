"""Get-, Put- and DeleteObjectTagging, and the same of buckets.

https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObjectTagging.html. These are S3's pairs of words, kept as facts
of a version; the tags that people give in Skep are something else.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from skep.filesystem.facts import Facts
from skep.frontends.s3 import xmlin
from skep.frontends.s3.call import Call
from skep.frontends.s3.described import TAGS_MAX, checked_tags, described, facts_of
from skep.frontends.s3.errors import Refusal
from skep.frontends.s3.get_object import open_object
from skep.frontends.s3.versioning import is_enabled, version_header, wanted_version
from skep.frontends.s3.xmltext import element

BUCKET_TAGS_MAX = 50


async def get_object_tagging(call: Call) -> None:
    """The tags of an object."""
    content = await open_object(call)
    headers: list[tuple[str, str]] = []
    if content.version is not None:
        headers = version_header(content.version.id, enabled=is_enabled(content.bucket))
    await call.xml("Tagging", _tag_set(described(content.facts).tags), headers=headers)


async def put_object_tagging(call: Call) -> None:
    """Make these the tags of an object."""
    await _set(call, _parse(await call.read_xml(), TAGS_MAX))
    await call.answer(200)


async def delete_object_tagging(call: Call) -> None:
    """Take all tags off an object."""
    await _set(call, {})
    await call.answer(204)


async def get_bucket_tagging(call: Call) -> None:
    """The tags of a bucket."""
    bucket = await call.filesystem.bucket(call.principal, *call.place)
    tags = bucket.document.get("tags")
    if not tags:
        raise Refusal("NoSuchTagSet", "The TagSet does not exist", BucketName=bucket.name)
    await call.xml("Tagging", _tag_set(tags))


async def put_bucket_tagging(call: Call) -> None:
    """Make these the tags of a bucket."""
    tags = _parse(await call.read_xml(), BUCKET_TAGS_MAX)
    call.check_whole_bucket()
    await call.filesystem.set_bucket(call.principal, *call.place, {"tags": tags})
    await call.answer(204)


async def delete_bucket_tagging(call: Call) -> None:
    """Take all tags off a bucket."""
    call.check_whole_bucket()
    await call.filesystem.set_bucket(call.principal, *call.place, {"tags": None})
    await call.answer(204)


async def _set(call: Call, tags: Mapping[str, str]) -> None:
    def change(old: Facts | None) -> Facts:
        new = msgspec.structs.replace(described(old), tags=dict(tags))
        return facts_of(new, None if old is None else old.etag) or Facts(None, None)

    version_id = wanted_version(call.query.get("versionId"))
    await call.filesystem.change_facts(call.principal, call.space_id, call.key, version_id, change)


def _parse(data: bytes, most: int) -> dict[str, str]:
    root = xmlin.parse(data, "Tagging")
    sets = list(xmlin.children(root, "TagSet"))
    if len(sets) != 1:
        raise xmlin.malformed()
    pairs = [(xmlin.text(tag, "Key"), xmlin.text(tag, "Value")) for tag in xmlin.children(sets[0], "Tag")]
    return checked_tags([(key or "", value or "") for key, value in pairs], most)


def _tag_set(tags: Mapping[str, str]) -> str:
    listed = "".join(f"<Tag>{element('Key', key)}{element('Value', value)}</Tag>" for key, value in tags.items())
    return f"<TagSet>{listed}</TagSet>"
