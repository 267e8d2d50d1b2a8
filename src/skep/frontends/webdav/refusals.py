"""Errors on the wire: one table from the error tree to statuses, and the XML that says more (RFC 4918 section 8.7).

A verb that must answer otherwise than the table raises Refusal itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from skep.base import errors as e
from skep.frontends.common.xml import escape

STATUS: Mapping[type[e.SkepError], int] = {
    e.SkepError: 500,
    e.BadInput: 400,
    e.InvalidPath: 403,
    e.InvalidRange: 416,
    e.Denied: 403,
    e.Unauthenticated: 401,
    e.NotFound: 404,
    e.Conflict: 409,
    e.PreconditionFailed: 412,
    e.CursorTooOld: 403,
    e.Locked: 423,
    e.LimitReached: 507,
    e.BodyTooLarge: 413,
    e.RateLimited: 429,
    e.Integrity: 500,
    e.Unavailable: 503,
    e.ClientGone: 400,
    e.Misconfigured: 500,
}
CONDITIONS: Mapping[type[e.SkepError], str] = {
    e.QuotaExceeded: "quota-not-exceeded",
    e.StoreFull: "sufficient-disk-space",
    e.DatabaseFull: "sufficient-disk-space",
    e.CursorTooOld: "valid-sync-token",
    e.InvalidCursor: "valid-sync-token",
}
"""Elements of DAV: that say which condition was not met (RFC 4918 section 16, RFC 4331, RFC 6578)."""
CHALLENGES = (
    ("www-authenticate", 'Basic realm="skep", charset="UTF-8"'),
    ("www-authenticate", 'Bearer realm="skep"'),
)
REASONS: Mapping[int, str] = {
    200: "OK",
    201: "Created",
    204: "No Content",
    403: "Forbidden",
    404: "Not Found",
    409: "Conflict",
    412: "Precondition Failed",
    413: "Content Too Large",
    423: "Locked",
    424: "Failed Dependency",
    500: "Internal Server Error",
    507: "Insufficient Storage",
}


class Refusal(Exception):
    """An answer that says no: a status, why for people, and maybe a condition element for programs."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        condition: str = "",
        hrefs: Sequence[str] = (),
        code: str = "refused",
        headers: Sequence[tuple[str, str]] = (),
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.condition = condition
        self.hrefs = tuple(hrefs)
        self.code = code
        self.headers = tuple(headers)

    def body(self) -> str:
        """The error element. Its message is where Sabre's clients look for one to show."""
        return (
            '<?xml version="1.0" encoding="utf-8"?>\n'
            '<d:error xmlns:d="DAV:" xmlns:s="http://sabredav.org/ns">'
            f"{condition_element(self.condition, self.hrefs)}"
            f"<s:exception>{escape(self.code)}</s:exception><s:message>{escape(self.message)}</s:message></d:error>\n"
        )


def condition_element(condition: str, hrefs: Sequence[str] = ()) -> str:
    """``<d:condition/>``, with the URLs that it is about."""
    if not condition:
        return ""
    if not hrefs:
        return f"<d:{condition}/>"
    return f"<d:{condition}>{''.join(f'<d:href>{escape(href)}</d:href>' for href in hrefs)}</d:{condition}>"


def status_line(status: int) -> str:
    """As it stands in a multistatus."""
    return f"HTTP/1.1 {status} {REASONS.get(status, 'Status')}"


def refusal_of(error: e.SkepError) -> Refusal:
    """The answer to an error of the tree: that of the nearest class above it in the table."""
    kinds = type(error).__mro__
    status = next(STATUS[kind] for kind in kinds if kind in STATUS)
    condition = next((CONDITIONS[kind] for kind in kinds if kind in CONDITIONS), "")
    headers: list[tuple[str, str]] = []
    if status == 401:
        headers += CHALLENGES
    if status == 416 and "size_bytes" in error.details:
        headers.append(("content-range", f"bytes */{error.details['size_bytes']}"))
    if status in (429, 503):
        headers.append(("retry-after", _retry_after(error.details.get("retry_after_s"))))
    if isinstance(error, e.BodyTooLarge) and error.details.get("part") == "head":
        status = 431
    return Refusal(status, error.message, condition=condition, code=error.code, headers=headers)


def refusal_of_bug() -> Refusal:
    """The answer to an exception that nobody meant: says nothing of what happened inside."""
    return Refusal(500, "Something went wrong inside the hive. Its log has more.", code="internal-error")


def _retry_after(wait_s: object) -> str:
    return str(max(1, math.ceil(wait_s))) if isinstance(wait_s, int | float) else "1"
