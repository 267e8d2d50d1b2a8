"""Who asks: the signature of a request, in its Authorization header or in its query, to a grant.

What always holds: nothing of a request counts before its signature does; every ``x-amz-`` header and the host are
signed; a signature is believed for 15 minutes around its date, a presigned URL until it expires. Within that time the
same request may come again: that is how presigned URLs are meant.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from skep.base.errors import InvalidToken
from skep.frontends.common.asgi import Scope
from skep.frontends.common.httpdate import parse_http_date
from skep.frontends.s3 import sigv4
from skep.frontends.s3.dates import parse_amz_date
from skep.frontends.s3.errors import Refusal
from skep.frontends.s3.sigv4 import CredentialScope, Signature

if TYPE_CHECKING:
    from skep.auth import AccessGrant, Auth

SECOND_US = 1_000_000
_HEX64 = re.compile(r"[0-9a-f]{64}\Z")
PAYLOADS = frozenset(
    {
        sigv4.UNSIGNED,
        "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
    }
)
_UNSIGNED_BY_HABIT = frozenset({"x-amz-user-agent", "x-amz-content-sha256"})
"""Headers that need no signature: one says nothing, the other is in the signed text itself."""


class Signed(NamedTuple):
    """A request whose signature is right."""

    grant: AccessGrant
    payload: str
    """What the body's hash is, or how it is encoded."""
    key: bytes
    amz_date: str
    scope: CredentialScope
    signature: str

    def chunk_signer(self) -> sigv4.ChunkSigner:
        """The chain of signatures over a streamed body."""
        return sigv4.ChunkSigner(self.key, self.amz_date, self.scope, self.signature)


class Claim(NamedTuple):
    """What a request says of itself, before anything is checked."""

    parts: Signature
    amz_date: str
    payload: str
    expires_s: int | None
    """Of a presigned URL."""


async def authenticate(auth: Auth, scope: Scope, pairs: list[tuple[str, str]], now_us: int) -> Signed:
    """The grant and the signature's facts of a request; ``pairs`` is its query. Raises Refusal."""
    raw = raw_headers(scope)
    claim = _presigned(pairs, raw) if is_presigned(pairs) else _in_header(raw)
    _check_time(claim, now_us)
    _check_signed_headers(claim.parts.signed_headers, raw)
    access_key = claim.parts.scope.access_key
    try:
        grant = auth.known_access_key(access_key) or await auth.access_key(access_key)
    except InvalidToken:
        raise Refusal("InvalidAccessKeyId", "The access key is not known here.", AWSAccessKeyId=access_key) from None
    canonical = sigv4.canonical_request(
        scope["method"],
        sigv4.canonical_path(raw_path(scope)),
        sigv4.canonical_query(pairs) if pairs else "",
        [(name, raw[name]) for name in sorted(claim.parts.signed_headers)],
        claim.payload,
    )
    key = sigv4.signing_key(grant.secret, claim.parts.scope.date, claim.parts.scope.region)
    expected = sigv4.sign(key, sigv4.string_to_sign(claim.amz_date, claim.parts.scope, canonical))
    if not sigv4.same(expected, claim.parts.signature):
        raise Refusal(
            "SignatureDoesNotMatch",
            "The signature is not that of this request with your secret: check the secret, and what a proxy changes.",
            AWSAccessKeyId=access_key,
        )
    return Signed(grant, claim.payload, key, claim.amz_date, claim.parts.scope, expected)


def is_presigned(pairs: list[tuple[str, str]]) -> bool:
    """Whether the signature is in the query."""
    return any(name == "X-Amz-Signature" or name == "X-Amz-Algorithm" for name, _ in pairs)


def raw_path(scope: Scope) -> bytes:
    """The path as it was sent, without the query."""
    raw: bytes | None = scope.get("raw_path")
    return (raw or scope["path"].encode()).partition(b"?")[0]


def raw_headers(scope: Scope) -> dict[str, str]:
    """All headers; one that came several times has its values joined, as it is signed."""
    found: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        found[name] = f"{found[name]},{value.strip()}" if name in found else value
    return found


def _in_header(raw: Mapping[str, str]) -> Claim:
    text = raw.get("authorization")
    if text is None:
        raise Refusal("AccessDenied", "Access Denied: sign the request with an access key of this hive.")
    if not text.startswith(sigv4.ALGORITHM):
        raise Refusal("InvalidRequest", "The authorization mechanism is not supported: use AWS4-HMAC-SHA256.")
    parts = sigv4.parse_authorization(text)
    if parts is None:
        raise Refusal("AuthorizationHeaderMalformed", "The authorization header does not parse.")
    payload = raw.get("x-amz-content-sha256")
    if payload is None:
        raise Refusal("MissingSecurityHeader", "Missing required header for this request: x-amz-content-sha256")
    return Claim(parts, _date(raw), _payload(payload), None)


def _date(raw: Mapping[str, str]) -> str:
    text = raw.get("x-amz-date")
    if text is not None:
        return text
    moment_us = parse_http_date(raw.get("date", ""))
    if moment_us is None:
        raise Refusal("AccessDenied", "AWS authentication requires a valid Date or x-amz-date header")
    from datetime import UTC, datetime

    return datetime.fromtimestamp(moment_us / 1e6, UTC).strftime("%Y%m%dT%H%M%SZ")


def _payload(text: str) -> str:
    if text in PAYLOADS or _HEX64.match(text):
        return text
    if text.startswith("STREAMING-"):
        raise Refusal("NotImplemented", f"Bodies of the kind {text[:64]} are not taken here.")
    raise Refusal("InvalidArgument", "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, a STREAMING kind or a SHA-256.")


def _presigned(pairs: list[tuple[str, str]], raw: Mapping[str, str]) -> Claim:
    query = dict(pairs)
    if "authorization" in raw:
        raise Refusal("InvalidArgument", "Only one auth mechanism allowed: the query has a signature, and the header.")
    names = ("X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires", "X-Amz-SignedHeaders")
    missing = [name for name in (*names, "X-Amz-Signature") if name not in query]
    if missing or len(query) < len(pairs):
        raise _bad_query("is not complete, or has a parameter twice")
    scope = sigv4.parse_scope(query["X-Amz-Credential"])
    if query["X-Amz-Algorithm"] != sigv4.ALGORITHM or scope is None:
        raise _bad_query("has an unknown algorithm or a malformed credential")
    expires = query["X-Amz-Expires"]
    if not expires.isdecimal() or not expires.isascii() or not 1 <= int(expires[:10]) <= sigv4.EXPIRES_MAX_S:
        raise _bad_query(f"must expire after 1 to {sigv4.EXPIRES_MAX_S} seconds")
    payload = query.get("X-Amz-Content-Sha256") or raw.get("x-amz-content-sha256") or sigv4.UNSIGNED
    headers = sigv4.parse_signed_headers(query["X-Amz-SignedHeaders"])
    parts = Signature(scope, headers, query["X-Amz-Signature"])
    return Claim(parts, query["X-Amz-Date"], _payload(payload), int(expires))


def _bad_query(what: str) -> Refusal:
    return Refusal("AuthorizationQueryParametersError", f"The signature in the query {what}.")


def _check_time(claim: Claim, now_us: int) -> None:
    signed_us = parse_amz_date(claim.amz_date)
    if signed_us is None or claim.amz_date[:8] != claim.parts.scope.date:
        code = "AuthorizationHeaderMalformed" if claim.expires_s is None else "AuthorizationQueryParametersError"
        raise Refusal(code, "The date of the signature is none, or not that of its credential.")
    skew_us = sigv4.SKEW_MAX_S * SECOND_US
    if claim.expires_s is None:
        if abs(now_us - signed_us) > skew_us:
            raise Refusal(
                "RequestTimeTooSkewed",
                "The difference between the request time and the hive's clock is over 15 minutes: set your clock.",
                MaxAllowedSkewMilliseconds=str(sigv4.SKEW_MAX_S * 1000),
            )
    elif now_us < signed_us - skew_us:
        raise Refusal("AccessDenied", "Request is not yet valid")
    elif now_us > signed_us + claim.expires_s * SECOND_US:
        raise Refusal("AccessDenied", "Request has expired")


def _check_signed_headers(signed: tuple[str, ...], raw: Mapping[str, str]) -> None:
    """Whatever changes what a request means must be under its signature."""
    if "host" not in signed or len(set(signed)) < len(signed) or any(name not in raw for name in signed):
        raise Refusal("SignatureDoesNotMatch", "The signed headers must have the host in them, each once, and be sent.")
    loose = [
        name for name in raw if name.startswith("x-amz-") and name not in signed and name not in _UNSIGNED_BY_HABIT
    ]
    if loose:
        raise Refusal(
            "AccessDenied",
            "There were headers present in the request which were not signed",
            HeadersNotSigned=",".join(loose),
        )
    if "x-amz-security-token" in raw:
        raise Refusal("InvalidToken", "There are no session tokens here: use an access key alone.")
