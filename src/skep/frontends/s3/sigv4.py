"""AWS Signature Version 4, the verifier's side: pure functions from a request's parts to signatures.

Source: https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-authenticating-requests.html. S3's rules: paths are
encoded once and not normalised; the body's hash is what ``x-amz-content-sha256`` says.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote_from_bytes, unquote_to_bytes

ALGORITHM = "AWS4-HMAC-SHA256"
EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()
UNSIGNED = "UNSIGNED-PAYLOAD"
SKEW_MAX_S = 15 * 60
EXPIRES_MAX_S = 7 * 86_400
SCOPE_LENGTH_MAX = 256
"""Longer texts are none: key and region have 64 characters at most. What is remembered of strangers stays small."""
_PLAIN_PATH = re.compile(rb"[A-Za-z0-9._~/-]*\Z")
_PLAIN = re.compile(r"[A-Za-z0-9._~-]*\Z", re.ASCII)
_SCOPE = re.compile(
    r"(?P<key>[A-Za-z0-9_+=,.@-]{1,64})/(?P<date>\d{8})/(?P<region>[A-Za-z0-9_-]{1,64})/s3/aws4_request\Z", re.ASCII
)
_HEADER = re.compile(
    r"AWS4-HMAC-SHA256\s+Credential=(?P<scope>[^,\s]+)\s*,\s*SignedHeaders=(?P<headers>[^,\s]+)\s*,"
    r"\s*Signature=(?P<signature>[0-9a-f]{64})\s*\Z"
)
_SPACES = re.compile(r" {2,}")


class CredentialScope(NamedTuple):
    """Who signed, and for which day and region the key was made."""

    access_key: str
    date: str
    region: str

    @property
    def text(self) -> str:
        """The scope without the key, as it is signed."""
        return f"{self.date}/{self.region}/s3/aws4_request"


class Signature(NamedTuple):
    """What an Authorization header or a query says."""

    scope: CredentialScope
    signed_headers: tuple[str, ...]
    signature: str


def parse_scope(text: str) -> CredentialScope | None:
    """The parts of a credential; None when it is none of S3's."""
    return _parse_scope(text) if len(text) <= SCOPE_LENGTH_MAX else None


@lru_cache(1024)
def _parse_scope(text: str) -> CredentialScope | None:
    match = _SCOPE.match(text)
    return None if match is None else CredentialScope(match["key"], match["date"], match["region"])


def parse_authorization(text: str) -> Signature | None:
    """The parts of an Authorization header; None when it does not parse."""
    match = _HEADER.match(text)
    scope = None if match is None else parse_scope(match["scope"])
    if match is None or scope is None:
        return None
    return Signature(scope, parse_signed_headers(match["headers"]), match["signature"])


def parse_signed_headers(text: str) -> tuple[str, ...]:
    """The names in a list such as ``host;x-amz-date``."""
    return tuple(text.lower().split(";"))


def canonical_path(raw_path: bytes) -> str:
    """A path as it is signed: every byte outside the unreserved ones encoded, once."""
    if _PLAIN_PATH.match(raw_path):
        return raw_path.decode("ascii")
    return quote_from_bytes(unquote_to_bytes(raw_path), safe="/")


def parse_query(raw_query: bytes) -> list[tuple[str, str]]:
    """Names and values, decoded; a name without ``=`` has an empty value. Bytes that are no UTF-8 stay as escapes."""
    if not raw_query:
        return []
    pairs = []
    for part in raw_query.split(b"&"):
        if part:
            name, _, value = part.partition(b"=")
            pairs.append((_decoded(name), _decoded(value)))
    return pairs


def _decoded(raw: bytes) -> str:
    return unquote_to_bytes(raw.replace(b"+", b" ")).decode("utf-8", "surrogateescape")


def _encoded(text: str) -> str:
    if _PLAIN.match(text):
        return text
    return quote_from_bytes(text.encode("utf-8", "surrogateescape"), safe="")


def canonical_query(pairs: Iterable[tuple[str, str]]) -> str:
    """The query as it is signed: encoded, then sorted; without a presigned URL's own signature."""
    encoded = sorted((_encoded(name), _encoded(value)) for name, value in pairs if name != "X-Amz-Signature")
    return "&".join([f"{name}={value}" for name, value in encoded])


def canonical_value(text: str) -> str:
    """A header's value as it is signed: trimmed, with runs of spaces as one."""
    text = text.strip()
    return _SPACES.sub(" ", text) if "  " in text else text


def canonical_request(method: str, path: str, query: str, headers: Sequence[tuple[str, str]], payload_hash: str) -> str:
    """The text that is hashed into the string to sign; ``headers`` are the signed ones, sorted."""
    lines = "".join([f"{name}:{canonical_value(value)}\n" for name, value in headers])
    names = ";".join([name for name, _ in headers])
    return f"{method}\n{path}\n{query}\n{lines}\n{names}\n{payload_hash}"


def string_to_sign(amz_date: str, scope: CredentialScope, canonical: str) -> str:
    """What the signing key signs."""
    return (
        f"{ALGORITHM}\n{amz_date}\n{scope.text}\n{hashlib.sha256(canonical.encode('latin-1', 'replace')).hexdigest()}"
    )


@lru_cache(4096)
def signing_key(secret: str, date: str, region: str) -> bytes:
    """The key of one secret for one day and region."""
    key = f"AWS4{secret}".encode()
    for part in (date, region, "s3", "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


@lru_cache(4096)
def _begun(key: bytes) -> hmac.HMAC:
    """An HMAC that has taken its key and nothing else."""
    return hmac.new(key, None, "sha256")


def sign(key: bytes, text: str) -> str:
    """A signature in hex."""
    one = _begun(key).copy()  # hmac.digest would let another thread go first, for all of a few hundred bytes
    one.update(text.encode("latin-1", "replace"))
    return one.hexdigest()


def same(one: str, other: str) -> bool:
    """Whether two signatures are equal, in constant time."""
    return hmac.compare_digest(one.encode("latin-1", "replace"), other.encode("latin-1", "replace"))


class ChunkSigner:
    """The chain of signatures over the chunks of one streamed body.

    https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html and sigv4-streaming-trailers.html.
    """

    def __init__(self, key: bytes, amz_date: str, scope: CredentialScope, seed: str) -> None:
        self._key = key
        self._head = f"{amz_date}\n{scope.text}\n"
        self._previous = seed

    def chunk(self, sha256_hex: str) -> str:
        """The signature of the next chunk."""
        text = f"AWS4-HMAC-SHA256-PAYLOAD\n{self._head}{self._previous}\n{EMPTY_SHA256}\n{sha256_hex}"
        self._previous = sign(self._key, text)
        return self._previous

    def trailer(self, canonical_trailer: bytes) -> str:
        """The signature of the trailing headers."""
        sha256_hex = hashlib.sha256(canonical_trailer).hexdigest()
        return sign(self._key, f"AWS4-HMAC-SHA256-TRAILER\n{self._head}{self._previous}\n{sha256_hex}")
