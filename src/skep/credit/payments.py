"""Payment callbacks: what a payment provider, or the shop before it, tells of money that came in or went back.

A callback is signed: ``Skep-Signature: t=SECONDS,v1=HEX`` with HEX = HMAC-SHA256(secret, "SECONDS" + "." + body). What
was signed more than five minutes ago (or ahead) is refused, and each callback's own id is the key of its transfer: one
that is sent again moves nothing.
"""

from __future__ import annotations

import hashlib
import hmac

from skep.base.errors import BadSignature

HEADER = "skep-signature"
TOLERANCE_S = 300
_SIGNATURES_MAX = 8


def sign(secret: str, at_s: int, body: bytes) -> str:
    """The header for a body that is sent at a time, in seconds since 1970."""
    return f"t={at_s},v1={_mac(secret, str(at_s), body)}"


def require_signature(secret: str, header: str | None, body: bytes, now_us: int) -> None:
    """Return if a callback is signed with the secret, and of now. Raises BadSignature.

    A header may have several ``v1``: while the secret is changed, one of each.
    """
    if not secret:
        raise BadSignature("this hive takes no payments: it has no secret for them (credit.payment_secret)")
    fields = [field.strip().partition("=") for field in (header or "")[:2000].split(",")]
    times = [value for name, _, value in fields if name == "t"]
    given = [value for name, _, value in fields if name == "v1"][:_SIGNATURES_MAX]
    at = times[0] if len(times) == 1 else ""
    wanted = _mac(secret, at, body)
    matches = [hmac.compare_digest(wanted.encode(), one.encode("utf-8", "surrogatepass")) for one in given]
    if not any(matches) or not (at.isascii() and at.isdigit() and len(at) <= 12):
        raise BadSignature("the callback is not signed with this hive's secret")
    if abs(now_us // 1_000_000 - int(at)) > TOLERANCE_S:
        raise BadSignature("the callback was not signed within the last five minutes: send it anew")


def _mac(secret: str, at: str, body: bytes) -> str:
    return hmac.new(secret.encode(), at.encode() + b"." + body, hashlib.sha256).hexdigest()
