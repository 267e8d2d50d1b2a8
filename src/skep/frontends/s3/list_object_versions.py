"""ListObjectVersions: https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectVersions.html.

In a bucket that has or had versioning: the versions of each file, and for each file that was deleted and is in the
trash a delete marker, whose version id is the file's own, with its versions. In any other bucket each object is its
``null`` version. A page ends between keys, so it may have a few more entries than asked for.
"""

from __future__ import annotations

from typing import NamedTuple

from skep.base.ids import id_text
from skep.filesystem.flat import Entry
from skep.filesystem.keyed import Past
from skep.frontends.common.conditions import quoted
from skep.frontends.s3 import etags
from skep.frontends.s3.buckets import owner
from skep.frontends.s3.call import Call
from skep.frontends.s3.dates import iso_date
from skep.frontends.s3.errors import Refusal
from skep.frontends.s3.versioning import NULL, status
from skep.frontends.s3.xmltext import element, flag, url_encoded

PAGE = 1000
LAST = "\U0010ffff"


class Line(NamedTuple):
    """One entry: a version (with its Entry or Past) or a delete marker."""

    key: str
    xml: str


async def list_object_versions(call: Call) -> None:
    """Every version of every key, the newest first."""
    bucket = await call.filesystem.bucket(call.principal, *call.place)
    prefix, delimiter = call.query.get("prefix", ""), call.query.get("delimiter", "")
    marker, count = call.query.get("key-marker", ""), max(1, call.whole_number("max-keys", PAGE, PAGE))
    encoded = call.query.get("encoding-type") == "url"
    bound = call.signed.grant.info.prefix
    if bound is not None and not prefix.startswith(bound):
        raise Refusal("AccessDenied", "Access Denied: this access key lists its own prefix.")
    if delimiter not in ("", "/"):
        raise Refusal("NotImplemented", "Versions are listed with the delimiter / or none.")

    def shown(key: str) -> str:
        return url_encoded(key) if encoded else key

    rolled = delimiter == "/"
    live = await call.filesystem.keys(
        call.principal, *call.place, prefix=prefix, after=marker, rolled=rolled, count=count + 1
    )
    lines: list[str] = []
    if status(bucket):
        past = await call.filesystem.past_keys(
            call.principal, *call.place, prefix=prefix, after=marker, count=count + 1
        )
        keys, last = _merged(live, past, prefix, count, rolled=rolled)
        of = {one.node_id: one.versions for one in past}
        nodes = [one.node_id for _, ones in keys for one in ones if isinstance(one, Entry) and one.version_id]
        of.update(await call.filesystem.versions_of(call.principal, call.space_id, nodes))
        for key, ones in keys:
            lines += [line for one in ones for line in _lines(call, shown(key), one, of, is_latest=one is ones[0])]
        prefixes = [key for key, ones in keys if not ones]
    else:
        cut = live[:count]
        last = None if len(live) <= count else _key(cut[-1])
        lines = [_null(call, shown(one.key), one) for one in cut if isinstance(one, Entry)]
        prefixes = [one for one in cut if isinstance(one, str)]
    body = [
        element("Name", call.bucket),
        element("Prefix", shown(prefix)),
        element("KeyMarker", shown(marker)),
        element("VersionIdMarker", ""),
        element("MaxKeys", count),
        element("Delimiter", delimiter) if delimiter else "",
        element("EncodingType", "url") if encoded else "",
        flag("IsTruncated", last is not None),
        element("NextKeyMarker", shown(last)) if last is not None else "",
        *lines,
        *[f"<CommonPrefixes>{element('Prefix', shown(one))}</CommonPrefixes>" for one in prefixes],
    ]
    await call.xml("ListVersionsResult", "".join(body))


def _key(one: Entry | str) -> str:
    return one if isinstance(one, str) else one.key


def _merged(
    live: list[Entry | str], past: list[Past], prefix: str, count: int, *, rolled: bool
) -> tuple[list[tuple[str, list[Entry | Past]]], str | None]:
    """Keys with what is and was there, the newest first; a prefix that is rolled up has nothing. And where it ends."""
    found: dict[str, list[Entry | Past]] = {}
    for one in live:
        found[_key(one)] = [] if isinstance(one, str) else [one]
    for gone in past:
        slash = gone.key.find("/", len(prefix)) if rolled else -1
        if slash >= 0:
            found.setdefault(gone.key[: slash + 1], [])
        else:
            found.setdefault(gone.key, []).append(gone)
    keys = sorted(found.items())
    cut = keys[:count]
    return cut, cut[-1][0] if len(keys) > count else None


def _lines(call: Call, key: str, one: Entry | Past, of: dict[bytes, list[Entry]], *, is_latest: bool) -> list[str]:
    if isinstance(one, Entry) and one.version_id is None:
        return [_null(call, key, one)]
    lines = []
    if isinstance(one, Past):
        lines.append(
            f"<DeleteMarker>{element('Key', key)}{element('VersionId', id_text(one.node_id))}"
            f"{flag('IsLatest', is_latest)}{element('LastModified', iso_date(one.deleted_us))}{owner(call)}"
            "</DeleteMarker>"
        )
        is_latest = False
    for version in of.get(one.node_id, []):
        assert version.version_id is not None
        lines.append(_version(call, key, version, id_text(version.version_id), is_latest=is_latest))
        is_latest = False
    return lines


def _null(call: Call, key: str, one: Entry) -> str:
    return _version(call, key, one, NULL, is_latest=True)


def _version(call: Call, key: str, one: Entry, version: str, *, is_latest: bool) -> str:
    return (
        f"<Version>{element('Key', key)}{element('VersionId', version)}{flag('IsLatest', is_latest)}"
        f"{element('LastModified', iso_date(one.created_us))}{element('ETag', quoted(etags.of_entry(one)))}"
        f"{element('Size', one.size_bytes)}{element('StorageClass', 'STANDARD')}{owner(call)}</Version>"
    )
