"""Conditional requests (RFC 9110 section 13): entity tags, and what a GET answers under conditions."""

from __future__ import annotations

import re
from enum import Enum

from skep.base.errors import MalformedRequest
from skep.frontends.common.headers import Headers
from skep.frontends.common.httpdate import parse_http_date, whole_second_us

_TAG = re.compile(r'\s*(W/)?"([\x21\x23-\x7e\x80-\xff]*)"\s*(?:,|\Z)')
TAGS_MAX = 100


class Verdict(Enum):
    """What the conditions of a GET or HEAD say."""

    GO_ON = "go on"
    NOT_MODIFIED = "304"
    FAILED = "412"


def quoted(etag: str) -> str:
    """An etag as a header carries it: strong, in quotes."""
    return f'"{etag}"'


def parse_tags(text: str | None, *, weak: bool) -> tuple[str, ...] | None:
    """The entity tags of an If-Match (strong) or If-None-Match (``weak``) header, without quotes.

    None: there is no such header; ``("*",)``: any. Weak tags never match strongly, so they are
    left out there. A bare tag without quotes is taken as one tag, as many clients send it.
    Raises MalformedRequest for anything else.
    """
    if text is None:
        return None
    if text.strip() == "*":
        return ("*",)
    tags: list[str] = []
    position = 0
    while position < len(text):
        match = _TAG.match(text, position)
        if match is None:
            return _bare(text)
        if weak or not match.group(1):
            tags.append(match.group(2))
        position = match.end()
        if len(tags) > TAGS_MAX:
            raise MalformedRequest(f"A condition names more than {TAGS_MAX} entity tags.")
    return tuple(tags)


def _bare(text: str) -> tuple[str, ...]:
    tag = text.strip()
    if re.fullmatch(r"[A-Za-z0-9._:+-]+", tag):
        return (tag,)
    raise MalformedRequest(f'The entity tags {text[:80]!r} do not parse: write them as "tag", "tag".')


def judge_read(headers: Headers, etag: str, modified_us: int) -> Verdict:
    """What a GET or HEAD of a content with this etag and time answers, in the order of section 13.2.2."""
    wanted = parse_tags(headers.get("if-match"), weak=False)
    if wanted is not None:
        if not _matches(wanted, etag):
            return Verdict.FAILED
    else:
        unmodified_us = _date(headers, "if-unmodified-since")
        if unmodified_us is not None and whole_second_us(modified_us) > unmodified_us:
            return Verdict.FAILED
    known = parse_tags(headers.get("if-none-match"), weak=True)
    if known is not None:
        return Verdict.NOT_MODIFIED if _matches(known, etag) else Verdict.GO_ON
    since_us = _date(headers, "if-modified-since")
    if since_us is not None and whole_second_us(modified_us) <= since_us:
        return Verdict.NOT_MODIFIED
    return Verdict.GO_ON


def range_applies(headers: Headers, etag: str, modified_us: int) -> bool:
    """Whether If-Range lets the Range header count (section 13.1.5): a strong tag, or the exact date."""
    text = headers.get("if-range")
    if text is None:
        return True
    if text.startswith("W/"):
        return False
    if text.startswith('"'):
        return text == quoted(etag)
    return parse_http_date(text) == whole_second_us(modified_us)


def _matches(tags: tuple[str, ...], etag: str) -> bool:
    return tags == ("*",) or etag in tags


def _date(headers: Headers, name: str) -> int | None:
    text = headers.get(name)
    return None if text is None else parse_http_date(text)
