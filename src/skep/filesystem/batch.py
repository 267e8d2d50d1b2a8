"""The two sorting steps of a batch, done in a thread: what may be stored at all, and what was stored as declared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from skep.base.errors import SkepError
from skep.filesystem import transfer
from skep.filesystem.names import Segments, check_time
from skep.filesystem.ports import Stored
from skep.filesystem.records import BatchItem
from skep.filesystem.writing import Incoming


class Admitted(NamedTuple):
    """An item with its place in the batch."""

    number: int
    item: BatchItem
    segments: Segments


Refusals = dict[int, SkepError]


def admit(items: Sequence[BatchItem], split: Callable[[str], Segments]) -> tuple[list[Admitted], Refusals]:
    """Items whose path and digests make sense, and why the others do not, by their place."""
    admitted: list[Admitted] = []
    refusals: Refusals = {}
    for number, item in enumerate(items):
        try:
            transfer.check_known(item.expected_digests)
            check_time(item.modified_us)
            admitted.append(Admitted(number, item, split(item.path)))
        except SkepError as refusal:
            refusals[number] = refusal
    return admitted, refusals


def incoming(admitted: Sequence[Admitted], stored: Sequence[Stored]) -> tuple[list[tuple[int, Incoming]], Refusals]:
    """Stored items that have the digests they were declared with, and why the others do not, by their place."""
    good: list[tuple[int, Incoming]] = []
    refusals: Refusals = {}
    for (number, item, segments), one in zip(admitted, stored, strict=True):
        try:
            transfer.check_digests(one, item.expected_digests)
        except SkepError as refusal:
            refusals[number] = refusal
            continue
        content = transfer.content_of(one)
        good.append((number, Incoming(segments, content, item.mime, item.modified_us, item.conditions)))
    return good, refusals
