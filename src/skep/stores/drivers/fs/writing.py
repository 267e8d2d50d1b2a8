"""How a value gets under its key: whole or not at all, whatever stops us on the way.

What always holds:

1. A name under ``objects`` is made only after every byte of its value is on the disk (``sync_data`` before the link or
   rename), so no reader, now or after a power loss, meets a part of a value.
2. A put returns only after the name is on the disk too (``sync_directory``), and the names of new directories above it.
3. Until it has its name a value is an unnamed file, which the kernel drops by itself, or a file in ``temp``, which the
   next opening sweeps.
4. The caller's buffers are read only before the last look at ``Ticket.cancelled``, so a caller that gave up may reuse
   them: a put that read them too late never gets a name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from skep.stores.drivers.fs.calls import Calls, write_all
from skep.stores.drivers.fs.place import Place, new_temp_name
from skep.stores.protocol import Buffer


@dataclass(slots=True)
class Ticket:
    """Whether the caller of a put still waits for it."""

    cancelled: bool = False


class Abandoned(Exception):
    """The caller gave up before the value had its name; nothing is stored and nobody listens."""


def write_new(place: Place, directory: int, leaf: str, parts: Sequence[Buffer], ticket: Ticket) -> str | None:
    """Write a value and name it, unless the name is taken.

    Returns None when it has its name, and else the name in ``temp`` under which the durable value waits: give it to
    ``replace``. The directory is not synced yet. Raises Abandoned, OSError.
    """
    if place.names_unnamed:
        return _write_unnamed(place, directory, leaf, parts, ticket)
    return _write_named(place, parts, ticket)


def replace(place: Place, directory: int, leaf: str, temp_name: str) -> None:
    """Put the waiting value in the place of the old one, atomically; at a failure it is removed. Raises OSError."""
    try:
        place.calls.rename(temp_name, place.temp_fd, leaf, directory)
    except OSError:
        _remove_temp(place.calls, temp_name, place.temp_fd)
        raise


def _write_unnamed(place: Place, directory: int, leaf: str, parts: Sequence[Buffer], ticket: Ticket) -> str | None:
    calls = place.calls
    fd = calls.open_unnamed(directory)
    try:
        _fill(place, fd, parts, ticket)
        try:
            calls.name_unnamed(fd, leaf, directory)
        except FileExistsError:
            temp_name = new_temp_name()
            calls.name_unnamed(fd, temp_name, place.temp_fd)
            return temp_name
        return None
    finally:
        calls.close(fd)


def _write_named(place: Place, parts: Sequence[Buffer], ticket: Ticket) -> str:
    calls, temp_name = place.calls, new_temp_name()
    fd = calls.create_file(temp_name, place.temp_fd)
    try:
        try:
            _fill(place, fd, parts, ticket)
        finally:
            calls.close(fd)
    except BaseException:
        _remove_temp(calls, temp_name, place.temp_fd)
        raise
    return temp_name


def _fill(place: Place, fd: int, parts: Sequence[Buffer], ticket: Ticket) -> None:
    if not place.direct.write(place.calls, fd, parts):
        write_all(place.calls, fd, parts)
    place.calls.sync_data(fd)
    if ticket.cancelled:
        raise Abandoned


def _remove_temp(calls: Calls, name: str, temp_fd: int) -> None:
    try:
        calls.unlink(name, temp_fd)
    except OSError:
        pass  # the next opening sweeps it
