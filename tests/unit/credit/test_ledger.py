"""Transfers, keys, refunds and the recount, on every kind of database."""

from __future__ import annotations

import asyncio

import pytest
import sqlalchemy as sa

from skep.base.errors import BadInput, CreditExhausted, InvalidSize, KeyReused, SkepError, TransferNotFound
from skep.base.ids import new_id
from skep.credit import Credit, accounts, ledger
from skep.credit.records import AMOUNT_MAX
from skep.db import Database, prepared
from skep.db import schema_credit as c
from skep.testing.clock import FakeClock


def _move(payer, payee, amount, key="", unit="bytes"):
    def work(tx):
        ours, theirs = accounts.system(tx, payer), accounts.opened(tx, "token", payee)
        return ledger.move(tx, ledger.Movement("deposit", unit, amount, ours.id, theirs.id, key))

    return work


def _spend(payer, amount, key=""):
    def work(tx):
        mine, ours = accounts.opened(tx, "token", payer), accounts.system(tx, "usage")
        return ledger.move(tx, ledger.Movement("usage", "bytes", amount, mine.id, ours.id, key))

    return work


def _has(owner, unit="bytes"):
    def look(tx):
        return ledger.balance(tx, accounts.account(tx, "token", owner).id, unit).amount

    return look


async def test_what_goes_out_comes_in(each_database: Database) -> None:
    db = each_database
    await db.write(_move("outside", "ann", 100))
    await db.write(_spend("ann", 30))
    assert await db.read(_has("ann")) == 70
    assert await db.read(ledger.audit) == []

    def lines(tx):
        return ledger.statement(tx, accounts.account(tx, "token", "ann").id, "bytes", before=None, limit=10)

    found = await db.read(lines)
    assert [(line.number, line.amount, line.balance, line.kind) for line in found] == [
        (2, -30, 70, "usage"),
        (1, 100, 100, "deposit"),
    ]


async def test_a_key_moves_once_and_belongs_to_one_transfer(each_database: Database) -> None:
    first = await each_database.write(_move("outside", "ann", 100, "order"))
    again = await each_database.write(_move("outside", "ann", 100, "order"))
    assert (first.repeated, again.repeated, again.transfer.id) == (False, True, first.transfer.id)
    assert await each_database.read(_has("ann")) == 100
    with pytest.raises(KeyReused):
        await each_database.write(_move("outside", "ann", 101, "order"))
    with pytest.raises(KeyReused):
        await each_database.write(_move("outside", "bob", 100, "order"))


async def test_nobody_spends_twice_however_many_try_at_once(each_database: Database) -> None:
    credit = Credit(each_database, FakeClock())
    await credit._db.write_or_find(_move("outside", "ann", 1000))
    tries = [credit._db.write_or_find(_spend("ann", 30)) for _ in range(50)]
    done = await asyncio.gather(*tries, return_exceptions=True)
    refused = [one for one in done if isinstance(one, CreditExhausted)]
    assert len(done) - len(refused) == 33
    assert len(refused) == 17
    assert await each_database.read(_has("ann")) == 10
    assert await each_database.read(ledger.audit) == []


async def test_a_double_submit_at_the_same_time_moves_once(each_database: Database) -> None:
    credit = Credit(each_database, FakeClock())
    done = await asyncio.gather(*(credit._db.write_or_find(_move("outside", "ann", 5, "one key")) for _ in range(8)))
    assert sum(not one.repeated for one in done) == 1
    assert await each_database.read(_has("ann")) == 5


async def test_a_plan_that_lets_owe_lets_owe_so_much(each_database: Database) -> None:
    def allow(tx):
        ledger.set_floor(tx, accounts.opened(tx, "token", "ann").id, "bytes", -50)

    await each_database.write(allow)
    await each_database.write(_spend("ann", 50))
    with pytest.raises(CreditExhausted) as refused:
        await each_database.write(_spend("ann", 1))
    assert refused.value.details["available"] == 0
    assert await each_database.read(_has("ann")) == -50


async def test_refunds_never_give_more_than_was_paid(each_database: Database) -> None:
    await each_database.write(_move("outside", "ann", 100))
    paid = (await each_database.write(_spend("ann", 60))).transfer
    assert (await each_database.write(lambda tx: ledger.refund(tx, paid.id, 40, "r1"))).transfer.amount == 40
    assert (await each_database.write(lambda tx: ledger.refund(tx, paid.id, 40, "r1"))).repeated
    with pytest.raises(BadInput):
        await each_database.write(lambda tx: ledger.refund(tx, paid.id, 21, "r2"))
    back = (await each_database.write(lambda tx: ledger.refund(tx, paid.id, 20, "r3"))).transfer
    assert await each_database.read(_has("ann")) == 100
    with pytest.raises(BadInput):
        await each_database.write(lambda tx: ledger.refund(tx, back.id, 1, "r4"))
    with pytest.raises(TransferNotFound):
        await each_database.write(lambda tx: ledger.refund(tx, new_id(), 1, "r5"))
    assert await each_database.read(ledger.audit) == []


@pytest.mark.parametrize("amount", [0, -1, 2**62 + 1, 2**63, 1.5, "10", None, True])
async def test_what_is_no_amount_moves_nothing(database: Database, amount: object) -> None:
    with pytest.raises(InvalidSize):
        await database.write(_move("outside", "ann", amount))


async def test_a_balance_has_an_end(database: Database) -> None:
    await database.write(_move("outside", "ann", AMOUNT_MAX))
    with pytest.raises(SkepError):
        await database.write(_move("usage", "ann", 1))
    assert await database.read(_has("ann")) == AMOUNT_MAX
    assert await database.read(ledger.audit) == []


async def test_the_recount_notices_what_was_tampered_with(database: Database) -> None:
    await database.write(_move("outside", "ann", 100))
    await database.write(lambda tx: tx.run(prepared(sa.update(c.balances).values(amount=c.balances.c.amount + 1))))
    found = {finding.what for finding in await database.read(ledger.audit)}
    assert found == {"the balance is not what its entries make", "debits and credits differ"}
    gone = prepared(sa.delete(c.entries).where(c.entries.c.amount > 0))
    await database.write(lambda tx: tx.run(gone))
    assert "a transfer without two equal entries" in {one.what for one in await database.read(ledger.audit)}
