"""A zip archive as a stream whose length is known before its first byte (PKWARE APPNOTE 6.3.10).

Members are stored as they are: photos and films do not shrink, and the size of the archive follows from those of its
members. Their CRC-32 comes behind each of them (section 4.3.9), so nothing is read twice. Zip64 fields stand where
sizes, offsets or counts need them, names are UTF-8 and times also come in seconds (0x5455).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from typing import NamedTuple

from skep.frontends.common.serving import closing_source

_LOCAL = struct.Struct("<4s5H3L2H")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_END = struct.Struct("<4s4H2LH")
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR = struct.Struct("<4sLQL")
_DESCRIPTOR = struct.Struct("<4s3L")
_DESCRIPTOR64 = struct.Struct("<4sL2Q")
_TIMES = struct.Struct("<2HBl")
_FLAGS = 0x0808  # sizes and CRC behind the content; the name is UTF-8
_FOUR_GIB = 0xFFFFFFFF
_UNIX = 3 << 8
_FIRST_YEAR, _LAST_YEAR = 1980, 2107


class Member(NamedTuple):
    """One entry: its path in the archive, ending in ``/`` for a directory. ``read`` gives exactly ``size_bytes``."""

    path: str
    size_bytes: int
    modified_us: int
    read: Callable[[], AsyncIterator[bytes]] | None


class ShortMember(Exception):
    """A member gave more or fewer bytes than it said: the archive cannot be finished."""


def zip_size_bytes(members: Sequence[Member]) -> int:
    """How long the archive of these members is."""
    offset, central = 0, 0
    for member in members:
        head = len(_local(member))
        central += len(_entry(member, 0, offset))
        offset += head + member.size_bytes + len(_descriptor(member, 0))
    return offset + central + len(_end(len(members), central, offset))


async def zip_stream(members: Sequence[Member]) -> AsyncIterator[bytes]:
    """The archive, part by part. Raises ShortMember, and what reading raises."""
    offset = 0
    central: list[bytes] = []
    for member in members:
        head = _local(member)
        yield head
        crc, done = 0, 0
        if member.read is not None:
            async with aclosing(closing_source(member.read())) as parts:
                async for part in parts:
                    crc = zlib.crc32(part, crc)
                    done += len(part)
                    yield part
        if done != member.size_bytes:
            raise ShortMember(f"{member.path!r} gave {done} of {member.size_bytes} bytes")
        tail = _descriptor(member, crc)
        yield tail
        central.append(_entry(member, crc, offset))
        offset += len(head) + done + len(tail)
    directory = b"".join(central)
    yield directory + _end(len(members), len(directory), offset)


def _local(member: Member) -> bytes:
    name, extra = member.path.encode(), _stamp(member)
    time, date = _dos(member.modified_us)
    large = member.size_bytes >= _FOUR_GIB
    if large:
        extra += struct.pack("<2H2Q", 1, 16, 0, 0)
    sizes = _FOUR_GIB if large else 0
    flags = _FLAGS if member.read is not None else 0x0800
    version = 45 if large else 20
    head = _LOCAL.pack(b"PK\x03\x04", version, flags, 0, time, date, 0, sizes, sizes, len(name), len(extra))
    return head + name + extra


def _descriptor(member: Member, crc: int) -> bytes:
    if member.read is None:
        return b""
    shape = _DESCRIPTOR64 if member.size_bytes >= _FOUR_GIB else _DESCRIPTOR
    return shape.pack(b"PK\x07\x08", crc, member.size_bytes, member.size_bytes)


def _entry(member: Member, crc: int, offset: int) -> bytes:
    """The member in the central directory."""
    name, extra = member.path.encode(), _stamp(member)
    size = member.size_bytes
    wide = b""
    if size >= _FOUR_GIB:
        wide += struct.pack("<2Q", size, size)
    if offset >= _FOUR_GIB:
        wide += struct.pack("<Q", offset)
    if wide:
        extra += struct.pack("<2H", 1, len(wide)) + wide
    time, date = _dos(member.modified_us)
    shown = min(size, _FOUR_GIB)
    version = 45 if wide else 20
    is_file = member.read is not None
    mode = (0o100644 if is_file else 0o40755) << 16 | (0 if is_file else 0x10)
    head = _CENTRAL.pack(
        b"PK\x01\x02", _UNIX | version, version, _FLAGS if is_file else 0x0800, 0, time, date, crc, shown, shown,
        len(name), len(extra), 0, 0, 0, mode, min(offset, _FOUR_GIB),
    )  # fmt: skip
    return head + name + extra


def _end(count: int, central_bytes: int, offset: int) -> bytes:
    wide = b""
    if count >= 0xFFFF or offset >= _FOUR_GIB or central_bytes >= _FOUR_GIB:
        wide = _END64.pack(b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, central_bytes, offset)
        wide += _LOCATOR.pack(b"PK\x06\x07", 0, offset + central_bytes, 1)
    shown = min(count, 0xFFFF)
    sizes = min(central_bytes, _FOUR_GIB), min(offset, _FOUR_GIB)
    return wide + _END.pack(b"PK\x05\x06", 0, 0, shown, shown, *sizes, 0)


def _stamp(member: Member) -> bytes:
    """The time in seconds (extra field 0x5455), as far as its 32 bits reach."""
    seconds = member.modified_us // 1_000_000
    return _TIMES.pack(0x5455, 5, 1, seconds) if -(1 << 31) <= seconds < 1 << 31 else b""


def _dos(time_us: int) -> tuple[int, int]:
    """Time and date as MS-DOS had them (section 4.4.6): from 1980, in steps of two seconds; here UTC."""
    seconds = max(time_us // 1_000_000, 0)
    try:
        at = datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        at = datetime(_LAST_YEAR, 12, 31, tzinfo=UTC)
    if at.year < _FIRST_YEAR:
        at = datetime(_FIRST_YEAR, 1, 1, tzinfo=UTC)
    if at.year > _LAST_YEAR:
        at = datetime(_LAST_YEAR, 12, 31, tzinfo=UTC)
    return at.hour << 11 | at.minute << 5 | at.second // 2, (at.year - _FIRST_YEAR) << 9 | at.month << 5 | at.day
