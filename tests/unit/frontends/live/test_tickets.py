"""Tickets: good once, for half a minute, for nobody who made one up."""

from __future__ import annotations

import pytest

from skep.base.errors import InvalidToken, TokenExpired
from skep.frontends.live.tickets import TICKET_LENGTH_MAX, Tickets
from skep.testing.clock import FakeClock

HEADER = "Bearer " + "x" * 500


def test_a_ticket_is_good_once():
    tickets = Tickets(b"k" * 32, FakeClock())
    ticket = tickets.make(HEADER)
    assert tickets.take(ticket) == HEADER
    with pytest.raises(InvalidToken, match="used already"):
        tickets.take(ticket)
    assert HEADER[7:] not in ticket


def test_other_processes_of_the_hive_take_it_too():
    clock = FakeClock()
    assert Tickets(b"k" * 32, clock).take(Tickets(b"k" * 32, clock).make(HEADER)) == HEADER


async def test_a_ticket_expires_and_is_then_forgotten():
    clock = FakeClock()
    tickets = Tickets(b"k" * 32, clock)
    ticket, used = tickets.make(HEADER), tickets.make(HEADER)
    tickets.take(used)
    await clock.advance(30)
    for text in (ticket, used):
        with pytest.raises(TokenExpired):
            tickets.take(text)
    tickets.take(tickets.make(HEADER))
    assert len(tickets._used) == 1


def test_a_ticket_from_the_future_is_refused():
    clock = FakeClock()
    tickets = Tickets(b"k" * 32, clock)
    ticket = tickets.make(HEADER)
    clock.jump(-3600)
    with pytest.raises(TokenExpired):
        tickets.take(ticket)


def test_what_is_no_ticket_is_refused():
    clock = FakeClock()
    tickets = Tickets(b"k" * 32, clock)
    good = tickets.make(HEADER)
    changed = good[:-3] + ("AAA" if good[-3:] != "AAA" else "BBB")
    for text in (
        "",
        "x",
        "é",
        changed,
        good[:40],
        Tickets(b"o" * 32, clock).make(HEADER),
        "A" * (TICKET_LENGTH_MAX + 1),
    ):
        with pytest.raises(InvalidToken):
            tickets.take(text)
