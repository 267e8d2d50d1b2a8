"""Errors of a store across the link: one table both ways."""

from __future__ import annotations

from skep.base import errors as e
from skep.stores.link.messages import Failure

_CROSSING: tuple[type[e.SkepError], ...] = (
    e.InvalidPath,
    e.InvalidRange,
    e.MalformedRequest,
    e.LengthMismatch,
    e.ObjectNotFound,
    e.Conflict,
    e.BodyTooLarge,
    e.RateLimited,
    e.StoreFull,
    e.CorruptRecord,
    e.StoreReadOnly,
    e.TimedOut,
    e.StoreUnavailable,
)
_BY_CODE: dict[str, type[e.SkepError]] = {kind.code: kind for kind in _CROSSING}
_MESSAGE_MAX = 1_000
_DETAILS_MAX = 16


def to_wire(error: e.SkepError) -> Failure:
    """What crosses of an error; what no store may raise crosses as ``store-unavailable``."""
    kind = next((kind for kind in _CROSSING if isinstance(error, kind)), e.StoreUnavailable)
    details = {
        name: value
        for name, value in list(error.details.items())[:_DETAILS_MAX]
        if value is None or isinstance(value, bool | int | float | str)
    }
    return Failure(code=kind.code, message=error.message[:_MESSAGE_MAX], details=details)


def from_wire(failure: Failure, who: str) -> e.SkepError:
    """The error that a peer reported; a code that no store has is a StoreUnavailable."""
    kind = _BY_CODE.get(failure.code, e.StoreUnavailable)
    text = "".join(c if c.isprintable() else "?" for c in failure.message[:_MESSAGE_MAX])
    numbers = {name: value for name, value in failure.details.items() if name == "retry_after_s"}
    return kind(f"{who}: {text}", **numbers)
