"""Preconditions of RFC 9110 section 13 over ETags and times."""

from __future__ import annotations

from skep.base.errors import PreconditionFailed
from skep.filesystem.records import Conditions

SECOND_US = 1_000_000


def bare_etag(text: str) -> str:
    """An ETag without its quotes, a weakness mark, and the suffix that compressing proxies add."""
    text = text.strip().removeprefix("W/").strip('"')
    return text.removesuffix("-gzip")


def require(conditions: Conditions, etag: str | None, modified_us: int, path: str) -> None:
    """Raise PreconditionFailed if the conditions do not hold of a node; ``etag`` None: nothing is there.

    The order is that of RFC 9110 section 13.2.2: a date counts only where no list of ETags was given.
    """
    if conditions.if_match is not None:
        if not _matches(conditions.if_match, etag):
            raise _failed("If-Match", path, etag)
    elif conditions.if_unmodified_since_us is not None:
        # HTTP dates have whole seconds: what changed within the named second counts as unmodified.
        limit_us = conditions.if_unmodified_since_us // SECOND_US * SECOND_US + SECOND_US
        if etag is None or modified_us >= limit_us:
            raise _failed("If-Unmodified-Since", path, etag)
    if conditions.if_none_match is not None and _matches(conditions.if_none_match, etag):
        raise _failed("If-None-Match", path, etag)


def _matches(wanted: tuple[str, ...], etag: str | None) -> bool:
    if etag is None:
        return False
    return any(one.strip() == "*" or bare_etag(one) == etag for one in wanted)


def _failed(header: str, path: str, etag: str | None) -> PreconditionFailed:
    now = "nothing is there" if etag is None else f"its ETag is {etag}"
    return PreconditionFailed(
        f"{header} does not hold for {path}: {now}; read it again before you change it",
        path=path,
        etag=etag,
        condition=header,
    )
