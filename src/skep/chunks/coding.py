"""The erasure code: parity from data shards, and any lost shards from any k others.

It works byte by byte: byte ``b`` of each shard depends on byte ``b`` of the others only, so any
range of a lost shard comes back from the same range of k others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Protocol

from skep.base.errors import DataLost
from skep.chunks.galois import generator, multiples, recovery_rows
from skep.chunks.isal import find_isal
from skep.chunks.scheme import Scheme
from skep.crypto.hashing import Buffer


class Coder(Protocol):
    """Code that multiplies rows of coefficients with shards."""

    @property
    def name(self) -> str:
        """``isa-l`` or ``python``."""
        ...

    def apply(self, rows: tuple[bytes, ...], sources: Sequence[Buffer], outputs: Sequence[memoryview]) -> None:
        """Write ``outputs[i] = sum of rows[i][j] * sources[j]``. All buffers are of one length."""
        ...


class PlainCoder:
    """The twin in plain Python: the oracle, and what is used where there is no ISA-L (some 200 MB/s)."""

    name = "python"

    def apply(self, rows: tuple[bytes, ...], sources: Sequence[Buffer], outputs: Sequence[memoryview]) -> None:
        """Write ``outputs[i] = sum of rows[i][j] * sources[j]``. All buffers are of one length."""
        sizes = {len(buffer) for buffer in (*sources, *outputs)}
        assert len(sizes) == 1
        for row, output in zip(rows, outputs, strict=True):
            total = 0
            for coefficient, source in zip(row, sources, strict=True):
                total ^= int.from_bytes(bytes(source).translate(multiples(coefficient)), "little")
            output[:] = total.to_bytes(len(output), "little")


@cache
def coder() -> Coder:
    """The fastest coder of this machine."""
    return find_isal() or PlainCoder()


def which_backend() -> str:
    """Which code is in use here: ``isa-l`` or ``python``."""
    return coder().name


def encode_parity(
    scheme: Scheme, data: Sequence[Buffer], parity: Sequence[memoryview], *, using: Coder | None = None
) -> None:
    """Fill the m ``parity`` buffers from the k ``data`` buffers, all of one length."""
    rows = generator(scheme)[scheme.data_shards :]
    assert len(data) == scheme.data_shards
    assert len(parity) == len(rows)
    if rows:
        (using or coder()).apply(rows, data, parity)


def rebuild(
    scheme: Scheme, available: Mapping[int, Buffer], wanted: Sequence[int], *, using: Coder | None = None
) -> dict[int, Buffer]:
    """Make ranges of lost shards from the same range of k others.

    ``available`` maps shard numbers to equally long buffers; with more than k the lowest are
    used. Gives a buffer for each number in ``wanted``; one that is available, or a copy by its
    scheme (k = 1), is given as it is, without copying.

    Raises DataLost when fewer than k are available.
    """
    present = choose_sources(scheme, available)
    made: dict[int, Buffer] = {number: available[number] for number in wanted if number in available}
    missing = tuple(number for number in wanted if number not in available)
    if scheme.data_shards == 1:
        return made | dict.fromkeys(missing, available[present[0]])
    if missing:
        size = len(available[present[0]])
        outputs = [memoryview(bytearray(size)) for _ in missing]
        rows = recovery_rows(scheme, present, missing)
        (using or coder()).apply(rows, [available[number] for number in present], outputs)
        made.update(zip(missing, outputs, strict=True))
    return made


def rebuild_blocks(
    scheme: Scheme, available: Mapping[int, Sequence[Buffer]], wanted: Sequence[int], *, using: Coder | None = None
) -> dict[int, bytearray]:
    """Like ``rebuild``, from lists of equally cut blocks (as ``verify_blocks`` gives them) into one buffer each.

    Raises DataLost when fewer than k are available.
    """
    present = choose_sources(scheme, available)
    sizes = [len(block) for block in available[present[0]]]
    made = {number: bytearray(sum(sizes)) for number in wanted}
    rows = recovery_rows(scheme, present, tuple(wanted))
    start = 0
    for index, size in enumerate(sizes):
        outputs = [memoryview(made[number])[start : start + size] for number in wanted]
        (using or coder()).apply(rows, [available[number][index] for number in present], outputs)
        start += size
    return made


def rebuild_into(
    scheme: Scheme,
    present: tuple[int, ...],
    sources: Sequence[Buffer],
    wanted: Sequence[int],
    outputs: Sequence[memoryview],
    *,
    using: Coder | None = None,
) -> None:
    """Write the same range of the ``wanted`` shards into ``outputs``, from that of the k ``present`` ones."""
    if scheme.data_shards == 1:
        for output in outputs:
            output[:] = sources[0]
        return
    (using or coder()).apply(recovery_rows(scheme, present, tuple(wanted)), sources, outputs)


def choose_sources(scheme: Scheme, available: Mapping[int, object]) -> tuple[int, ...]:
    """The k shard numbers to rebuild from: the lowest, data before parity. Raises DataLost."""
    numbers = sorted(number for number in available if 0 <= number < scheme.total)
    if len(numbers) < scheme.data_shards:
        raise DataLost(
            f"{len(numbers)} shards of a pack are readable and {scheme.name} needs {scheme.data_shards}",
            readable=len(numbers),
            needed=scheme.data_shards,
        )
    return tuple(numbers[: scheme.data_shards])
