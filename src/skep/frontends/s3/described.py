"""What a client says about an object, kept as facts of its version: headers, words of its own, tags, checksums.

The document of the facts: ``h`` headers, ``m`` user metadata, ``t`` tags, ``c`` checksums, ``k`` their kind, ``p`` the
sizes of parts. https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingMetadata.html.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from urllib.parse import parse_qsl

import msgspec

from skep.filesystem.facts import Facts
from skep.filesystem.mimes import MIME_LENGTH_MAX
from skep.filesystem.versions import Version
from skep.frontends.common.headers import Headers
from skep.frontends.s3.errors import Refusal

META = "x-amz-meta-"
META_BYTES_MAX = 2048
HEADER_BYTES_MAX = 1024
KEPT = ("cache-control", "content-disposition", "content-encoding", "content-language", "expires")
_USUAL = frozenset({"x-amz-date", "x-amz-content-sha256", "x-amz-user-agent"})
"""Headers of S3 that ask for nothing."""
TAGS_MAX = 10
TAG_KEY_MAX, TAG_VALUE_MAX = 128, 256
SECOND_US = 1_000_000
_TAG_TEXT = re.compile(r"[\w\s_.:/=+\-@]*\Z")
_MTIME = re.compile(r"-?\d{1,11}(?:\.\d{1,9})?\Z", re.ASCII)
_TIME_MAX_S = 253_402_300_799


class Described(msgspec.Struct, frozen=True, omit_defaults=True):
    """The document of facts."""

    headers: dict[str, str] = msgspec.field(name="h", default_factory=dict)
    meta: dict[str, str] = msgspec.field(name="m", default_factory=dict)
    tags: dict[str, str] = msgspec.field(name="t", default_factory=dict)
    checksums: dict[str, str] = msgspec.field(name="c", default_factory=dict)
    checksum_kind: str = msgspec.field(name="k", default="FULL_OBJECT")
    parts: Sequence[int] = msgspec.field(name="p", default=())


NOTHING = Described()
_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Described)


def described(facts: Facts | None) -> Described:
    """What is known of a version; nothing where there are no facts."""
    return NOTHING if facts is None or not facts.document else _decoder.decode(facts.document)


def facts_of(known: Described, etag: str | None = None) -> Facts | None:
    """The facts to keep; None where there is nothing to say."""
    if known == NOTHING:
        return None if etag is None else Facts(etag, None)
    return Facts(etag, _encoder.encode(known).decode())


def from_headers(headers: Headers) -> Described:
    """What the head of an upload says of the object. Raises Refusal."""
    _refuse_unsupported(headers)
    kept: dict[str, str] = {}
    meta: dict[str, str] = {}
    for name in headers:
        if name.startswith(META):
            meta[name[len(META) :]] = headers.get(name) or ""
        elif name in KEPT:
            kept[name] = headers.get(name) or ""
    if "content-encoding" in kept:
        kept["content-encoding"] = _without_chunks(kept["content-encoding"])
        if not kept["content-encoding"]:
            del kept["content-encoding"]
    kind = headers.get("content-type")
    if kind and mime_of(kind) is None:
        kept["content-type"] = kind
    if sum(len(name) + len(value) for name, value in meta.items()) > META_BYTES_MAX:
        raise Refusal("MetadataTooLarge", f"Your metadata headers exceed the maximum of {META_BYTES_MAX} bytes.")
    if any(len(value) > HEADER_BYTES_MAX for value in kept.values()):
        raise Refusal("MetadataTooLarge", f"A header to be kept has at most {HEADER_BYTES_MAX} bytes.")
    tags = headers.get("x-amz-tagging")
    return Described(kept, meta, parse_tagging(tags) if tags else {})


def mime_of(content_type: str | None) -> str | None:
    """The media type of an upload, if the hive can keep it as a file's own."""
    if not content_type or content_type == "binary/octet-stream":
        return None
    fits = len(content_type) <= MIME_LENGTH_MAX and "/" in content_type
    return content_type if fits and content_type.isascii() and content_type.isprintable() else None


def modified_us(known: Described) -> int | None:
    """The file's own time, as rclone, s3fs and others write it into ``x-amz-meta-mtime``: seconds since 1970."""
    text = known.meta.get("mtime", "")
    if not _MTIME.match(text):
        return None
    seconds, _, fraction = text.partition(".")
    if abs(int(seconds)) > _TIME_MAX_S:
        return None
    micros = int((fraction + "000000")[:6])
    return int(seconds) * SECOND_US + (-micros if seconds.startswith("-") else micros)


def answer_headers(version: Version | None, known: Described) -> list[tuple[str, str]]:
    """The headers that describe an object in the answer to a GET or HEAD."""
    found = dict(known.headers)
    found.setdefault("content-type", "application/x-directory" if version is None else version.mime)
    found.update({META + name: value for name, value in known.meta.items()})
    if version is not None and "mtime" not in known.meta and version.modified_us != version.created_us:
        found[META + "mtime"] = _mtime_text(version.modified_us)
    if known.tags:
        found["x-amz-tagging-count"] = str(len(known.tags))
    return list(found.items())


def _mtime_text(time_us: int) -> str:
    sign = "-" if time_us < 0 else ""
    seconds, micros = divmod(abs(time_us), SECOND_US)
    return f"{sign}{seconds}.{micros:06}" if micros else f"{sign}{seconds}"


def parse_tagging(text: str) -> dict[str, str]:
    """The tags of ``x-amz-tagging``, which is written like a query. Raises Refusal."""
    try:
        pairs = parse_qsl(text, keep_blank_values=True, strict_parsing=True, max_num_fields=TAGS_MAX + 1)
    except ValueError:
        raise Refusal(
            "InvalidArgument", "The header x-amz-tagging shall be encoded as a query with up to 10 tags."
        ) from None
    return checked_tags(pairs, TAGS_MAX)


def checked_tags(pairs: Sequence[tuple[str, str]], most: int) -> dict[str, str]:
    """Tags as a mapping. Raises Refusal for too many, for a key that comes twice, for text that no tag may have."""
    tags = dict(pairs)
    if len(pairs) > most:
        raise Refusal("InvalidTag", f"Object tags cannot be greater than {most}.")
    if len(tags) < len(pairs):
        raise Refusal("InvalidTag", "Cannot provide multiple Tags with the same key.")
    for key, value in pairs:
        if not 1 <= len(key) <= TAG_KEY_MAX or len(value) > TAG_VALUE_MAX:
            raise Refusal("InvalidTag", "A tag's key has 1 to 128 characters, its value at most 256.")
        if not _TAG_TEXT.match(key) or not _TAG_TEXT.match(value) or key.startswith("aws:"):
            raise Refusal("InvalidTag", "The TagKey or TagValue you have provided is invalid.")
    return tags


def _without_chunks(encoding: str) -> str:
    return ",".join(one.strip() for one in encoding.split(",") if one.strip() and one.strip() != "aws-chunked")


def _refuse_unsupported(headers: Headers) -> None:
    """What would be promised and not kept is refused."""
    if all(name in _USUAL or not name.startswith("x-amz-") for name in headers):
        return
    acl = headers.get("x-amz-acl")
    if acl not in (None, "private", "bucket-owner-full-control"):
        raise Refusal("AccessControlListNotSupported", "The bucket does not allow ACLs: only `private` is taken.")
    if any(name.startswith("x-amz-grant-") for name in headers):
        raise Refusal("AccessControlListNotSupported", "The bucket does not allow ACLs.")
    if headers.get("x-amz-server-side-encryption") not in (None, "AES256"):
        raise Refusal("NotImplemented", "The hive encrypts all content with its own keys: AES256 is all to ask for.")
    if any(name.startswith("x-amz-server-side-encryption-customer-") for name in headers):
        raise Refusal("NotImplemented", "Keys that come with a request are not taken: encrypt before you send.")
    if any(name.startswith("x-amz-object-lock-") for name in headers):
        raise Refusal("InvalidRequest", "Bucket is missing Object Lock Configuration")
    if headers.get("x-amz-website-redirect-location") is not None:
        raise Refusal("NotImplemented", "Buckets are no websites here.")


def request_mapping(names: Mapping[str, str]) -> Headers:
    """Headers of a form's fields."""
    return Headers(
        [(name.lower().encode("latin-1", "replace"), value.encode("utf-8")) for name, value in names.items()]
    )
