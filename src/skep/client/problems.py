"""Problem details (RFC 9457) back into the error tree: the one map of this edge.

The code in the body decides; a body that is not ours (a proxy's page) is judged by its status.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from skep.base import errors
from skep.base.errors import SkepError

_BY_STATUS: dict[int, type[SkepError]] = {
    400: errors.BadInput,
    401: errors.Unauthenticated,
    402: errors.CreditExhausted,
    403: errors.Forbidden,
    404: errors.NotFound,
    408: errors.TimedOut,
    409: errors.Conflict,
    410: errors.CursorTooOld,
    411: errors.LengthMismatch,
    412: errors.PreconditionFailed,
    413: errors.BodyTooLarge,
    416: errors.InvalidRange,
    422: errors.BadInput,
    423: errors.InUse,
    429: errors.RateLimited,
    502: errors.Unavailable,
    503: errors.Unavailable,
    504: errors.TimedOut,
    507: errors.QuotaExceeded,
}
_TEXT_MAX = 300
_STANDARD = frozenset({"type", "title", "status", "detail", "instance", "code"})


def _classes(root: type[SkepError]) -> Iterator[type[SkepError]]:
    yield root
    for child in root.__subclasses__():
        yield from _classes(child)


def error_class(code: str, status: int = 0) -> type[SkepError]:
    """The class of a stable code; of an unknown code the nearest by HTTP status, else SkepError."""
    for found in _classes(SkepError):
        if found.code == code:
            return found
    return _BY_STATUS.get(status, SkepError)


def from_problem(body: Mapping[str, object], status: int = 0) -> SkepError:
    """The error that a problem-details object tells of."""
    code = body.get("code")
    message = str(body.get("detail") or body.get("title") or f"the hive answered {status}")
    details = body.get("details")
    facts = dict(details) if isinstance(details, dict) else {k: v for k, v in body.items() if k not in _STANDARD}
    facts = {str(k): v for k, v in facts.items() if k not in ("message", "self")}
    return error_class(str(code) if code else "", status)(message, **facts)


def from_response(status: int, content_type: str, body: bytes, *, retry_after: str | None = None) -> SkepError:
    """The error of a response whose status is 400 or more.

    ``retry_after`` is that header's text; whole seconds end up in ``details['retry_after_s']``.
    """
    if "json" in content_type:
        try:
            problem = json.loads(body)
        except ValueError:
            problem = None
        if isinstance(problem, dict):
            return _with_retry_after(from_problem(problem, status), retry_after)
    text = " ".join(body[:_TEXT_MAX].decode("utf-8", "replace").split())
    said = f": {text}" if text and "html" not in content_type else ""
    kind = _BY_STATUS.get(status, errors.Unavailable if status >= 500 else SkepError)
    return _with_retry_after(kind(f"the server answered {status}, and not as a hive does{said}"), retry_after)


def _with_retry_after(error: SkepError, retry_after: str | None) -> SkepError:
    if retry_after and retry_after.isdigit() and "retry_after_s" not in error.details:
        error.details = {**error.details, "retry_after_s": int(retry_after)}
    return error
