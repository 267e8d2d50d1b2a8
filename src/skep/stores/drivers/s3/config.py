"""``s3://bucket/prefix?endpoint=https://host&region=name``, and the keys beside it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import ClassVar, Literal
from urllib.parse import urlsplit

import msgspec

from skep.base.errors import InvalidStoreUrl
from skep.stores.url import StoreUrl

FORM = "s3://bucket/prefix?endpoint=https://host&region=name"
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,62}")
_SEGMENT = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9._-]+")
_KEYS_FORM = (
    "the secret of an S3 store is KEYID:SECRET, or JSON with access_key_id, secret_access_key and, where one is "
    "needed, session_token"
)


class S3Keys(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What signs requests."""

    access_key_id: str
    secret_access_key: str
    session_token: str | None = None

    def __repr__(self) -> str:
        return f"S3Keys({self.access_key_id!r}, ...)"


def parse_keys(secret: bytes) -> S3Keys:
    """The keys of a store's secret. Raises InvalidStoreUrl, without repeating it."""
    try:
        if secret.lstrip().startswith(b"{"):
            return msgspec.json.decode(secret, type=S3Keys)
        key_id, colon, key = secret.decode().strip().partition(":")
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise InvalidStoreUrl(_KEYS_FORM) from None
    if not (key_id and colon and key):
        raise InvalidStoreUrl(_KEYS_FORM)
    return S3Keys(key_id, key)


@dataclass(frozen=True, slots=True)
class S3Config:
    """Where the bucket is and how it is spoken to."""

    OPTIONS: ClassVar[tuple[str, ...]] = ("endpoint", "region", "addressing", "checksum")

    bucket: str
    prefix: str = ""
    """Without slashes at its ends."""
    endpoint: str | None = None
    """None: Amazon's own for the region."""
    region: str | None = None
    addressing: Literal["path", "virtual"] = "path"
    """Whether the bucket stands in the path or in the host name."""
    checksum: Literal["sha256", "none"] = "sha256"
    """Whether puts carry ``x-amz-checksum-sha256``, which the server verifies."""
    keys: S3Keys | None = field(default=None, repr=False)
    """None: the AWS chain of the hive's machine."""
    part_bytes: int = 16 << 20
    """Values larger than this go up in parts of this size."""
    timeout_s: float = 60.0
    proxy: str | None = field(default=None, repr=False)
    """Through which to connect: a URL that may hold a password."""

    @classmethod
    def from_url(cls, url: StoreUrl, secret: bytes | None) -> S3Config:
        """Raises InvalidStoreUrl."""
        if url.user:
            raise InvalidStoreUrl("this store URL has a key id before the @: leave it out and give it with the secret")
        if _BUCKET.fullmatch(url.host) is None:
            raise InvalidStoreUrl(f"{url.text!r} names no bucket: write {FORM}")
        prefix = url.path.strip("/")
        if prefix and (len(prefix) > 500 or not all(_SEGMENT.fullmatch(part) for part in prefix.split("/"))):
            raise InvalidStoreUrl(f"{url.text!r}: a prefix is of letters, digits, dots, dashes and slashes: {FORM}")
        endpoint = _endpoint(url)
        return cls(
            url.host,
            prefix,
            endpoint,
            url.options.get("region") or None,
            _one_of(url, "addressing", "path" if endpoint else "virtual", ("path", "virtual")),  # type: ignore[arg-type]
            _one_of(url, "checksum", "sha256", ("sha256", "none")),  # type: ignore[arg-type]
            None if secret is None else parse_keys(secret),
        )

    @property
    def place(self) -> str:
        """The place in messages."""
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/") + (f" at {self.endpoint}" if self.endpoint else "")


def _endpoint(url: StoreUrl) -> str | None:
    text = url.options.get("endpoint")
    if text is None:
        return None
    try:
        split = urlsplit(text)
        well = split.scheme in ("http", "https") and split.hostname and split.path in ("", "/") and not split.query
        well = bool(well and (split.port is None or split.port > 0))
    except ValueError:
        well = False
    if not well:
        raise InvalidStoreUrl(f"{url.text!r}: an endpoint is https://host or https://host:port")
    return text.rstrip("/")


def _one_of(url: StoreUrl, name: str, default: str, known: tuple[str, ...]) -> str:
    value = url.options.get(name, default)
    if value not in known:
        raise InvalidStoreUrl(f"{url.text!r}: option {name} is {' or '.join(known)}")
    return value
