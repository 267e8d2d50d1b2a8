"""ETags as S3 has them: the MD5 of a single put, ``md5(md5s)-N`` of a multipart upload.

What came in by another door has its MD5 if the hive knows it, else an opaque ETag with a dash, which clients take for
no MD5: it is as stable as the content until the hive has hashed it in the background.
"""

from __future__ import annotations

import re

from skep.filesystem.flat import EMPTY_MD5, Entry
from skep.filesystem.keying import KeyedContent
from skep.frontends.s3.errors import Refusal

_TAG = re.compile(r'\s*(?:W/)?(?:"([^"]*)"|([^",\s]+))\s*(?:,|\Z)')


def etag(facts_etag: str | None, md5: bytes | None, content_etag: str) -> str:
    """The ETag, bare."""
    if facts_etag is not None:
        return facts_etag
    return md5.hex() if md5 is not None else f"{content_etag[:32]}-0"


def of_entry(entry: Entry) -> str:
    """The ETag of a key in a listing."""
    return etag(entry.facts_etag, entry.md5, entry.etag)


def of_content(content: KeyedContent) -> str:
    """The ETag of what is at a key."""
    if content.version is None:
        return EMPTY_MD5.hex()
    known = content.facts.etag if content.facts is not None else None
    return etag(known, content.version.md5, content.version.etag)


def matches(header: str, current: str) -> bool:
    """Whether a condition's list of ETags, quoted or bare, has the current one, or is ``*``. Raises Refusal."""
    if header.strip() == "*":
        return True
    position = 0
    while position < len(header):
        found = _TAG.match(header, position)
        if found is None:
            raise Refusal("InvalidArgument", "The list of ETags does not parse.")
        if (found[1] if found[1] is not None else found[2]) == current:
            return True
        position = found.end()
    return False
