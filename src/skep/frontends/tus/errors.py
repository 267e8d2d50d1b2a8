"""Which HTTP status each error has at this door, and the problem types that the draft registers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from http import HTTPStatus

from skep.base import errors as e
from skep.frontends.common.problems import Problem

STATUS: Mapping[type[e.SkepError], int] = {
    e.SkepError: 500,
    e.BadInput: 400,
    e.ChecksumMismatch: 460,
    e.Denied: 403,
    e.Unauthenticated: 401,
    e.NotFound: 404,
    e.UploadExpired: 410,
    e.Conflict: 409,
    e.PreconditionFailed: 412,
    e.Locked: 423,
    e.UploadLocked: 423,
    e.Locked: 423,
    e.UploadFinished: 400,
    e.UploadUnfinished: 400,
    e.LimitReached: 429,
    e.CreditExhausted: 402,
    e.TrafficExceeded: 402,
    e.QuotaExceeded: 507,
    e.StoreFull: 507,
    e.DatabaseFull: 507,
    e.BodyTooLarge: 413,
    e.Integrity: 500,
    e.Unavailable: 503,
    e.ClientGone: 400,
    e.Misconfigured: 500,
}
CHALLENGE = 'Bearer realm="skep", Basic realm="skep", charset="UTF-8"'
_TYPES = "https://iana.org/assignments/http-problem-types#"


class UnsupportedVersion(e.BadInput):
    """The client speaks another version of tus, or none."""

    code = "unsupported-tus-version"


class UnsupportedType(e.BadInput):
    """The body is not of the media type that appends to an upload."""

    code = "unsupported-media-type"


def problem_of(error: e.SkepError, *, is_tus: bool) -> Problem:
    """The answer to an error, with the headers that belong to it."""
    status = _status_of(error)
    if status == 460 and not is_tus:
        status = 422
    headers: list[tuple[str, str]] = []
    kind, members = None, {}
    if status == 401:
        headers.append(("www-authenticate", CHALLENGE))
    if status in (423, 429, 503):
        wait = error.details.get("retry_after_s")
        headers.append(("retry-after", str(max(1, math.ceil(wait)) if isinstance(wait, int | float) else 1)))
    if isinstance(error, e.OffsetMismatch):
        kind = _TYPES + "mismatching-upload-offset"
        members = {"expected-offset": error.details["expected"], "provided-offset": error.details["provided"]}
        headers.append(("upload-offset", str(error.details["offset"])))
    elif isinstance(error, e.UploadFinished):
        kind = _TYPES + "completed-upload"
        headers.append(("upload-complete", "?1"))
    elif isinstance(error, e.LengthMismatch):
        kind = _TYPES + "inconsistent-upload-length"
    elif isinstance(error, UnsupportedVersion):
        headers.append(("tus-version", "1.0.0"))
    return Problem(
        status=status,
        code=error.code,
        title=_title(status),
        detail=error.message,
        retryable=error.retryable,
        details=error.details,
        headers=tuple(headers),
        type=kind,
        members=members,
    )


def method_not_allowed(method: str, allowed: list[str]) -> Problem:
    """The answer to a verb that is not done at this address."""
    text = ", ".join([*allowed, "OPTIONS"])
    return Problem(
        405, "method-not-allowed", _title(405), f"{method} is not done here, only {text}.", headers=(("allow", text),)
    )


def problem_of_bug() -> Problem:
    """The answer to an exception that nobody meant: says nothing of what happened inside."""
    return Problem(
        500, "internal-error", _title(500), "Something went wrong inside the hive: its log has more under this id."
    )


def _status_of(error: e.SkepError) -> int:
    if isinstance(error, UnsupportedVersion):
        return 412
    if isinstance(error, UnsupportedType):
        return 415
    if isinstance(error, e.BodyTooLarge) and error.details.get("part") == "head":
        return 431
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def _title(status: int) -> str:
    return "Does not match its checksum" if status == 460 else HTTPStatus(status).phrase
