from __future__ import annotations

from collections.abc import Iterator
from functools import reduce
from itertools import combinations

import pytest
from blake3 import blake3

from skep.base.errors import DataLost
from skep.chunks.coding import (
    Coder,
    PlainCoder,
    choose_sources,
    coder,
    encode_parity,
    rebuild,
    rebuild_blocks,
    which_backend,
)
from skep.chunks.galois import generator, inverse, multiples, multiply, recovery_rows
from skep.chunks.isal import find_isal
from skep.chunks.scheme import Scheme

SIZE = 1000  # no multiple of any vector width


def schemes_up_to(total: int) -> Iterator[Scheme]:
    for shards in range(1, total + 1):
        for k in range(1, shards + 1):
            yield Scheme.of(k, shards - k)


def shards_of(scheme: Scheme, size: int = SIZE, using: Coder | None = None) -> list[bytes]:
    data = [blake3(b"shard%d" % number).digest(size) for number in range(scheme.data_shards)]
    parity = [bytearray(size) for _ in range(scheme.parity_shards)]
    encode_parity(scheme, data, [memoryview(each) for each in parity], using=using)
    return data + [bytes(each) for each in parity]


def test_isal_is_in_use_here() -> None:
    assert which_backend() == "isa-l"


@pytest.mark.parametrize("scheme", [*schemes_up_to(6), Scheme.of(10, 4), Scheme.of(16, 16), Scheme.of(29, 3)], ids=str)
@pytest.mark.parametrize("size", [64, SIZE, 4096 + 17])
def test_both_coders_make_the_same_bytes(scheme: Scheme, size: int) -> None:
    assert shards_of(scheme, size, PlainCoder()) == shards_of(scheme, size, find_isal())


@pytest.mark.parametrize("using", [PlainCoder(), coder()], ids=lambda each: each.name)
@pytest.mark.parametrize("scheme", list(schemes_up_to(6)), ids=str)
def test_every_loss_that_a_scheme_allows_is_rebuilt(scheme: Scheme, using: Coder) -> None:
    shards = shards_of(scheme)
    for count in range(scheme.parity_shards + 1):
        for lost in combinations(range(scheme.total), count):
            left = {number: shard for number, shard in enumerate(shards) if number not in lost}
            made = rebuild(scheme, left, range(scheme.total), using=using)
            assert [bytes(made[number]) for number in range(scheme.total)] == shards


@pytest.mark.parametrize("scheme", [Scheme.of(10, 4), Scheme.of(20, 12), Scheme.of(1, 31), Scheme.of(31, 1)], ids=str)
def test_large_schemes_survive_the_worst_loss(scheme: Scheme) -> None:
    shards = shards_of(scheme)
    k, m = scheme.data_shards, scheme.parity_shards
    for lost in ((*range(m),), (*range(k, k + m),), (*range(0, 2 * m, 2),) if 2 * m <= k + m else (0,)):
        left = {number: shard for number, shard in enumerate(shards) if number not in lost}
        made = rebuild(scheme, left, lost)
        assert all(bytes(made[number]) == shards[number] for number in lost)


def test_one_loss_too_many_is_data_lost() -> None:
    scheme = Scheme.of(4, 2)
    left = dict(list(enumerate(shards_of(scheme)))[:3])
    with pytest.raises(DataLost, match="3 shards of a pack are readable and raid6\\(6\\) needs 4"):
        rebuild(scheme, left, [5])
    with pytest.raises(DataLost):
        rebuild_blocks(scheme, {number: [shard] for number, shard in left.items()}, [5])
    with pytest.raises(DataLost):
        rebuild(scheme, {**left, 6: bytes(SIZE), -1: bytes(SIZE)}, [5])


def test_a_range_of_a_shard_comes_from_the_same_range_of_others() -> None:
    scheme = Scheme.of(3, 2)
    shards = shards_of(scheme)
    left = {number: memoryview(shards[number])[100:333] for number in (1, 3, 4)}
    made = rebuild(scheme, left, [0, 2])
    assert bytes(made[0]) == shards[0][100:333]
    assert bytes(made[2]) == shards[2][100:333]


def test_blocks_are_rebuilt_into_one_buffer() -> None:
    scheme = Scheme.of(3, 2)
    shards = shards_of(scheme)
    cut = {number: [memoryview(shards[number])[:600], memoryview(shards[number])[600:]] for number in (0, 2, 4)}
    made = rebuild_blocks(scheme, cut, [1, 3])
    assert {number: bytes(each) for number, each in made.items()} == {1: shards[1], 3: shards[3]}
    assert rebuild_blocks(scheme, {0: [], 2: [], 4: []}, [1]) == {1: bytearray()}


def test_what_is_there_or_is_a_copy_is_not_copied_again() -> None:
    mirror = Scheme.of(1, 2)
    (data,) = (blake3(b"mirror").digest(SIZE),)
    made = rebuild(mirror, {2: data}, [0, 1, 2])
    assert made[0] is made[1] is made[2] is data
    scheme = Scheme.of(2, 1)
    shards = shards_of(scheme)
    assert rebuild(scheme, {0: shards[0], 1: shards[1]}, [1])[1] is shards[1]


def test_data_shards_are_preferred_as_sources() -> None:
    """Each one that is there is a row of the identity: less to compute."""
    assert choose_sources(Scheme.of(3, 3), dict.fromkeys((5, 4, 2, 0))) == (0, 2, 4)


def test_one_parity_is_xor_and_mirrors_are_copies() -> None:
    for k in (2, 3, 5):
        *data, parity = shards_of(Scheme.of(k, 1))
        assert parity == bytes(reduce(lambda a, b: a ^ b, column) for column in zip(*data, strict=True))
    data, first, second = shards_of(Scheme.of(1, 2))
    assert data == first == second


def test_isal_refuses_what_would_overrun() -> None:
    isal = find_isal()
    assert isal is not None
    rows = generator(Scheme.of(2, 1))[2:]
    with pytest.raises(AssertionError):
        isal.apply(rows, [bytes(10), bytes(9)], [memoryview(bytearray(10))])
    with pytest.raises(AssertionError):
        isal.apply(rows, [bytes(10), bytes(10)], [memoryview(bytearray(9))])
    with pytest.raises(BufferError):
        isal.apply(rows, [bytes(10), bytes(10)], [memoryview(bytes(10))])
    isal.apply(rows, [b"", b""], [memoryview(bytearray())])


def test_field_axioms() -> None:
    for a in range(1, 256):
        assert multiply(a, inverse(a)) == 1
        assert multiply(a, 0) == multiply(0, a) == 0
        assert multiples(a)[7] == multiply(a, 7) == multiply(7, a)
    assert multiply(0x80, 2) == 0x1D  # the polynomial
    assert len(set(multiples(3))) == 256


@pytest.mark.parametrize("scheme", [Scheme.of(6, 4), Scheme.of(16, 16)], ids=str)
def test_recovery_of_present_shards_is_the_identity(scheme: Scheme) -> None:
    present = tuple(range(scheme.total - scheme.data_shards, scheme.total))
    rows = recovery_rows(scheme, present, present)
    assert list(rows) == list(generator(Scheme.of(scheme.data_shards, 0)))
