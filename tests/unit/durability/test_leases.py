"""Leases by epoch."""

from __future__ import annotations

import pytest

from skep.durability.leases import Leases


def test_the_oldest_lease_counts_until_it_ends() -> None:
    leases = Leases(3)
    assert leases.oldest() == 3
    with leases.hold() as first:
        assert first == 3
        leases.advance(4)
        with leases.hold() as second:
            assert second == 4
            assert leases.oldest() == 3
            assert leases.held == 2
        assert leases.oldest() == 3
    assert leases.oldest() == 4
    assert leases.held == 0


def test_a_lease_ends_with_an_exception_too() -> None:
    leases = Leases()
    with pytest.raises(RuntimeError), leases.hold():
        raise RuntimeError
    assert leases.held == 0


def test_the_epoch_never_goes_back() -> None:
    leases = Leases(5)
    with pytest.raises(AssertionError):
        leases.advance(4)
