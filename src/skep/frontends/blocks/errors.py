"""This door's own words for what failed: a small page with the code and the reason, as its programs know it.

402 is for credit and traffic, 507 for room, 403 for whoever may not; ``Quota reached`` is the reason of all that a
quota forbids.
"""

from __future__ import annotations

import html
from collections.abc import Mapping

from skep.base.errors import (
    BadInput,
    BodyTooLarge,
    ClientGone,
    Conflict,
    CreditExhausted,
    Denied,
    Forbidden,
    InvalidName,
    InvalidPath,
    InvalidRange,
    LimitReached,
    Locked,
    NameClash,
    NotFound,
    PreconditionFailed,
    QuotaExceeded,
    RateLimited,
    SkepError,
    StoreFull,
    TimedOut,
    TrafficExceeded,
    Unauthenticated,
    Unavailable,
)
from skep.frontends.common.conditions import quoted

QUOTA_REACHED = "Quota reached"
NOT_FOUND = "File not found"
_ERRORS: Mapping[type[SkepError], tuple[int, str]] = {
    TrafficExceeded: (402, QUOTA_REACHED),
    CreditExhausted: (402, QUOTA_REACHED),
    QuotaExceeded: (507, QUOTA_REACHED),
    StoreFull: (507, "Storage full"),
    BodyTooLarge: (400, "Content-Length too large"),
    RateLimited: (429, "Too many requests"),
    LimitReached: (429, "Too many requests"),
    Unauthenticated: (403, "User not found"),
    Forbidden: (403, "Forbidden"),
    Denied: (403, "Forbidden"),
    InvalidPath: (404, NOT_FOUND),
    InvalidName: (404, NOT_FOUND),
    NotFound: (404, NOT_FOUND),
    PreconditionFailed: (412, "Precondition failed"),
    NameClash: (409, "A file and a directory cannot have the same path"),
    Locked: (423, "Locked"),
    Conflict: (409, "Conflict"),
    InvalidRange: (416, "Range not satisfiable"),
    BadInput: (400, "Bad request"),
    TimedOut: (503, "Service unavailable"),
    ClientGone: (400, "Client gone"),
    Unavailable: (503, "Service unavailable"),
    SkepError: (500, "Internal server error"),
}
"""The most specific class counts."""


class Refusal(Exception):
    """An answer of this door that is no error of the tree: its status, its reason, further headers."""

    def __init__(self, status: int, reason: str, headers: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.headers = headers

    @property
    def body(self) -> bytes:
        """The page."""
        text = html.escape(f"{self.status}: {self.reason}")
        return f"<html><title>{text}</title><body>{text}</body></html>".encode()


def refusal_of(error: SkepError) -> Refusal:
    """What this door says of an error of the tree."""
    if isinstance(error, PreconditionFailed):
        return _failed_condition(error)
    for kind in type(error).__mro__:
        if kind in _ERRORS:
            status, reason = _ERRORS[kind]
            more = (("retry-after", "1"),) if status in (429, 503) else ()
            return Refusal(status, reason, more)
    raise AssertionError("SkepError is in the table")


def _failed_condition(error: PreconditionFailed) -> Refusal:
    etag, header = error.details.get("etag"), error.details.get("condition", "If-Match")
    if not isinstance(etag, str):
        return Refusal(412, f"{header} ETag did not match: object does not exist.")
    return Refusal(412, f"{header} ETag did not match stored object", (("etag", quoted(etag)),))
