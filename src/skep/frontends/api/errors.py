"""Which HTTP status each error of the tree has: one table, the most specific class counts.

What is private answers like what does not exist: the services raise NotFound for it, hence 404.
Whatever is not in the tree is a bug: 500 with the request's id, and the log has the rest.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from skep.base import errors as e
from skep.frontends.common.problems import Problem

STATUS: Mapping[type[e.SkepError], int] = {
    e.SkepError: 500,
    e.BadInput: 400,
    e.InvalidRange: 416,
    e.ChecksumMismatch: 422,
    e.Denied: 403,
    e.Unauthenticated: 401,
    e.Forbidden: 403,
    e.NotFound: 404,
    e.UploadExpired: 410,
    e.Conflict: 409,
    e.PreconditionFailed: 412,
    e.CursorTooOld: 410,
    e.UploadLocked: 423,
    e.Locked: 423,
    e.LimitReached: 429,
    e.CreditExhausted: 402,
    e.TrafficExceeded: 402,
    e.QuotaExceeded: 507,
    e.StoreFull: 507,
    e.DatabaseFull: 507,
    e.BodyTooLarge: 413,
    e.RateLimited: 429,
    e.Integrity: 500,
    e.Unavailable: 503,
    e.TimedOut: 503,
    e.ClientGone: 400,
    e.Misconfigured: 500,
}
TITLES: Mapping[int, str] = {
    400: "Bad request",
    401: "Not authenticated",
    402: "Not paid for",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    409: "Conflict",
    410: "Gone",
    412: "A condition does not hold",
    413: "Too large",
    416: "Range not satisfiable",
    422: "Does not match its checksum",
    423: "Locked",
    429: "Too many requests",
    431: "Head too large",
    500: "Internal error",
    503: "Not available now",
    507: "No room",
}
RETRY_AFTER_S = 1
CHALLENGE = 'Bearer realm="skep", Basic realm="skep", charset="UTF-8"'


def status_of(error: e.SkepError) -> int:
    """The HTTP status of an error: that of the nearest class above it in the table."""
    if isinstance(error, e.BodyTooLarge) and error.details.get("part") == "head":
        return 431
    for kind in type(error).__mro__:
        if kind in STATUS:
            return STATUS[kind]
    raise AssertionError("SkepError is in the table")


def problem_of(error: e.SkepError) -> Problem:
    """The answer to an error, with the headers that belong to its status."""
    status = status_of(error)
    headers: list[tuple[str, str]] = []
    details = dict(error.details)
    if status == 401:
        headers.append(("www-authenticate", CHALLENGE))
    if status == 416 and "size_bytes" in details:
        headers.append(("content-range", f"bytes */{details['size_bytes']}"))
    if status in (429, 503):
        headers.append(("retry-after", str(_retry_after_s(details))))
    return Problem(
        status=status,
        code=error.code,
        title=TITLES[status],
        detail=error.message,
        retryable=error.retryable,
        details=details,
        headers=tuple(headers),
    )


def problem_of_bug() -> Problem:
    """The answer to an exception that nobody meant: says nothing of what happened inside."""
    return Problem(
        status=500,
        code="internal-error",
        title=TITLES[500],
        detail="Something went wrong inside the hive. Its log has more under this request's id.",
    )


def no_such_route(path: str) -> Problem:
    """The answer to a path that no operation has."""
    return Problem(404, "no-such-route", TITLES[404], f"There is nothing at {path[:200]!r}: see /api/docs.")


def method_not_allowed(method: str, allowed: list[str]) -> Problem:
    """The answer to a path that is there and a method that it does not have."""
    text = ", ".join(allowed)
    return Problem(
        405, "method-not-allowed", TITLES[405], f"{method} is not done here, only {text}.", headers=(("allow", text),)
    )


def _retry_after_s(details: Mapping[str, object]) -> int:
    wait = details.get("retry_after_s")
    return max(1, math.ceil(wait)) if isinstance(wait, int | float) else RETRY_AFTER_S
