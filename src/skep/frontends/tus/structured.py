"""Structured fields as the draft uses them (RFC 9651): items that are booleans or integers. Others count as absent."""

from __future__ import annotations

import re

from skep.frontends.common.headers import Headers

_INTEGER = re.compile(r"[0-9]{1,15}\Z")


def boolean(headers: Headers, name: str) -> bool | None:
    """``?1`` or ``?0``; parameters are passed over."""
    return {"?1": True, "?0": False}.get(_item(headers, name))


def integer(headers: Headers, name: str) -> int | None:
    """A number that is not negative."""
    text = _item(headers, name)
    return int(text) if _INTEGER.match(text) else None


def _item(headers: Headers, name: str) -> str:
    return (headers.get(name) or "").partition(";")[0].strip()
