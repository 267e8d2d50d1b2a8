"""Byte ranges (RFC 9110 section 14): the Range header to intervals, intervals to headers."""

from __future__ import annotations

import re
from dataclasses import dataclass

from skep.base.errors import InvalidRange

RANGES_MAX = 64
_SPEC = re.compile(r"(\d{0,18})-(\d{0,18})\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Bytes ``start`` up to, not including, ``stop``."""

    start: int
    stop: int

    @property
    def size_bytes(self) -> int:
        return self.stop - self.start

    def content_range(self, size_bytes: int) -> str:
        """The Content-Range value of this interval of a content of that size."""
        return f"bytes {self.start}-{self.stop - 1}/{size_bytes}"


def parse_range(header: str | None, size_bytes: int) -> tuple[ByteRange, ...] | None:
    """The intervals that a Range header asks of a content; None: serve all of it.

    A header with another unit, bad syntax or more than 64 ranges is ignored, as section 14.2
    allows. Overlapping and touching intervals are joined; the order asked for is kept otherwise.
    Raises InvalidRange (416) when none overlaps the content.
    """
    if header is None:
        return None
    unit, separator, text = header.partition("=")
    if not separator or unit.strip().lower() != "bytes":
        return None
    specs = [spec.strip() for spec in text.split(",") if spec.strip()]
    if not specs or len(specs) > RANGES_MAX:
        return None
    found: list[ByteRange] = []
    for spec in specs:
        match = _SPEC.match(spec)
        if match is None or match.group(0) == "-":
            return None
        first, last = match.groups()
        if first and last and int(last) < int(first):
            return None
        interval = _resolve(first, last, size_bytes)
        if interval is not None:
            found.append(interval)
    if not found:
        raise InvalidRange(
            f"The range {header[:80]!r} lies outside the content's {size_bytes} bytes.", size_bytes=size_bytes
        )
    return _joined(found)


def _resolve(first: str, last: str, size_bytes: int) -> ByteRange | None:
    if not first:
        suffix = min(int(last), size_bytes)
        return ByteRange(size_bytes - suffix, size_bytes) if suffix else None
    start = int(first)
    stop = min(int(last) + 1, size_bytes) if last else size_bytes
    return ByteRange(start, stop) if start < size_bytes else None


def _joined(intervals: list[ByteRange]) -> tuple[ByteRange, ...]:
    """Join what overlaps or touches, each in the place of its first member."""
    kept: list[ByteRange] = []
    for interval in intervals:
        merged, place = interval, len(kept)
        rest: list[ByteRange] = []
        for index, other in enumerate(kept):
            if merged.start <= other.stop and other.start <= merged.stop:
                merged = ByteRange(min(merged.start, other.start), max(merged.stop, other.stop))
                place = min(place, index)
            else:
                rest.append(other)
        rest.insert(min(place, len(rest)), merged)
        kept = rest
    return tuple(kept)
