"""The ledger: amounts go from one account to another, and nothing else ever happens.

Plain functions over a transaction. A transfer is one row and two entries, of which one takes what the other gives; its
key makes it happen once, however often it is asked for. What may not be spent is decided by one guarded UPDATE, so no
number of requests at once gets past a balance. Nothing here changes or removes a transfer: what was wrong is refunded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import sqlalchemy as sa

from skep.base.errors import BadInput, CreditExhausted, InvalidSize, KeyReused, TransferNotFound
from skep.base.ids import Id, id_text, new_id
from skep.credit import accounts
from skep.credit.records import AMOUNT_MAX, NOTE_LENGTH, UNITS, Balance, Done, Entry, Finding, Transfer, Unit, amount_of
from skep.db import Transaction, insert_new, prepared
from skep.db import schema_credit as c

KEY_LENGTH = 200
_b, _t, _e = c.balances.c, c.transfers.c, c.entries.c
_TRANSFER = sa.select(_t.id, _t.key, _t.kind, _t.unit, _t.amount, _t.from_id, _t.to_id, _t.at_us, _t.note, _t.refund_of)
_BY_KEY = prepared(_TRANSFER.where(_t.key == sa.bindparam("for_key")))
_BY_ID = prepared(_TRANSFER.where(_t.id == sa.bindparam("transfer")))
_REFUNDED = prepared(
    sa.select(sa.func.coalesce(sa.func.sum(_t.amount), 0)).where(_t.refund_of == sa.bindparam("transfer"))
)
_THIS = sa.and_(_b.account_id == sa.bindparam("account"), _b.unit == sa.bindparam("for_unit"))
_TAKE = prepared(
    sa.update(c.balances)
    .where(
        _THIS,
        sa.or_(_b.floor.is_(None), _b.amount - sa.bindparam("by") >= _b.floor),
        _b.amount >= sa.bindparam("by") - AMOUNT_MAX,
    )
    .values(amount=_b.amount - sa.bindparam("by"), entries=_b.entries + 1)
)
_GIVE = prepared(
    sa.update(c.balances)
    .where(_THIS, _b.amount <= AMOUNT_MAX - sa.bindparam("by"))
    .values(amount=_b.amount + sa.bindparam("by"), entries=_b.entries + 1)
)
_BALANCE = prepared(sa.select(_b.amount, _b.entries, _b.floor).where(_THIS))
_SET_FLOOR = prepared(sa.update(c.balances).where(_THIS).values(floor=sa.bindparam("new_floor")))
_OPEN_BALANCE = insert_new(c.balances)
_INSERT_TRANSFER = insert_new(c.transfers)
_INSERT_ENTRY = insert_new(c.entries)
_STATEMENT = prepared(
    sa.select(_e.number, _e.transfer_id, _t.kind, _e.unit, _e.amount, _e.balance, _e.at_us, _t.note)
    .join(c.transfers, _t.id == _e.transfer_id)
    .where(
        _e.account_id == sa.bindparam("account"),
        _e.unit == sa.bindparam("for_unit"),
        _e.number < sa.bindparam("before"),
    )
    .order_by(_e.number.desc())
    .limit(sa.bindparam("page"))
)


class Movement(NamedTuple):
    """What is to be moved. ``floorless``: the payer is one of the hive's own accounts, which may owe."""

    kind: str
    unit: Unit
    amount: int
    payer_id: Id
    payee_id: Id
    key: str = ""
    note: str = ""
    refund_of: Id | None = None


def move(tx: Transaction, movement: Movement) -> Done:
    """Move an amount, or find that it was moved before: the same key never moves twice.

    Raises InvalidSize, BadInput (key or note too long), KeyReused (the key is another transfer's), CreditExhausted.
    """
    _check(movement)
    if movement.key:
        there = by_key(tx, movement.key)
        if there is not None:
            return Done(_same(there, movement), repeated=True)
    transfer_id = new_id()
    payer = _take(tx, movement)
    payee = _give(tx, movement)
    key = movement.key or id_text(transfer_id)
    done = Transfer(
        transfer_id, key, movement.kind, movement.unit, movement.amount, movement.payer_id, movement.payee_id,
        tx.now_us, movement.note, movement.refund_of,
    )  # fmt: skip
    tx.run(_INSERT_TRANSFER, done._asdict())
    lines = ((movement.payer_id, -movement.amount, payer), (movement.payee_id, movement.amount, payee))
    tx.many(_INSERT_ENTRY, [_line(done, *line) for line in lines])
    return Done(done, repeated=False)


def refund(tx: Transaction, transfer_id: Id, amount: int | None, key: str, note: str = "") -> Done:
    """Give back what a transfer moved, or a part; all refunds of one are never more than it.

    Raises TransferNotFound, BadInput (a refund of a refund, or of more than is left), CreditExhausted.
    """
    if key:
        there = by_key(tx, key)
        if there is not None:
            if there.refund_of != transfer_id or (amount is not None and amount != there.amount):
                raise _reused(key)
            return Done(there, repeated=True)
    paid = the_transfer(tx, transfer_id)
    if paid.refund_of is not None:
        raise BadInput("this is a refund itself: it is not given back")
    back = paid.amount if amount is None else amount_of(amount)
    done = move(
        tx, Movement("refund", paid.unit, back, paid.to_id, paid.from_id, key, note or f"of {paid.kind}", paid.id)
    )
    if int(tx.value(_REFUNDED, {"transfer": paid.id}) or 0) > paid.amount:
        raise BadInput(f"more than the {paid.amount} of the transfer cannot be given back", amount=paid.amount)
    return done


def refunded(tx: Transaction, transfer_id: Id) -> int:
    """How much of a transfer was given back."""
    return int(tx.value(_REFUNDED, {"transfer": transfer_id}) or 0)


def by_key(tx: Transaction, key: str) -> Transfer | None:
    """The transfer of a key."""
    found = tx.one(_BY_KEY, {"for_key": key})
    return None if found is None else _transfer(found)


def the_transfer(tx: Transaction, transfer_id: Id) -> Transfer:
    """A transfer by id. Raises TransferNotFound."""
    found = tx.one(_BY_ID, {"transfer": transfer_id})
    if found is None:
        raise TransferNotFound("no such transfer: a statement lists their ids")
    return _transfer(found)


def balance(tx: Transaction, account_id: Id, unit: Unit) -> Balance:
    """What an account has of one unit, what is set aside of it included."""
    amount, _, floor = _row(tx, account_id, unit)
    held = sum(_row(tx, each.id, unit)[0] for each in accounts.held_by(tx, account_id))
    return Balance(unit, amount + held, held, floor)


def free(tx: Transaction, account_id: Id, unit: Unit) -> int:
    """What an account may spend at this moment, what it may owe included."""
    amount, _, floor = _row(tx, account_id, unit)
    return AMOUNT_MAX if floor is None else max(0, amount - floor)


def set_floor(tx: Transaction, account_id: Id, unit: Unit, floor: int) -> None:
    """Let a balance fall so low and no lower. What is lower already may only rise."""
    if not tx.run(_SET_FLOOR, {"account": account_id, "for_unit": unit, "new_floor": floor}):
        _open(tx, account_id, unit, floor)


def statement(tx: Transaction, account_id: Id, unit: Unit, *, before: int | None, limit: int) -> list[Entry]:
    """Lines of an account, the newest first, below a number."""
    params = {"account": account_id, "for_unit": unit, "before": before or AMOUNT_MAX, "page": limit}
    return [
        Entry(number, bytes(transfer_id), kind, unit_, amount, left, at_us, note)
        for number, transfer_id, kind, unit_, amount, left, at_us, note in tx.rows(_STATEMENT, params)
    ]


# --- the two halves of a transfer ---------------------------------------------------------------


def _take(tx: Transaction, movement: Movement) -> tuple[int, int]:
    """Take from the payer; what is left there, and the number of the entry."""
    params = {"account": movement.payer_id, "for_unit": movement.unit, "by": movement.amount}
    if not tx.run(_TAKE, params):
        if tx.one(_BALANCE, params) is None:
            _open(tx, movement.payer_id, movement.unit, _floor(tx, movement.payer_id))
            if tx.run(_TAKE, params):
                return _row(tx, movement.payer_id, movement.unit)[:2]
        left = free(tx, movement.payer_id, movement.unit)
        raise CreditExhausted(
            f"{movement.amount} {movement.unit} of credit are needed and {left} are there: add credit",
            needed=movement.amount, available=left, unit=movement.unit,
        )  # fmt: skip
    return _row(tx, movement.payer_id, movement.unit)[:2]


def _give(tx: Transaction, movement: Movement) -> tuple[int, int]:
    params = {"account": movement.payee_id, "for_unit": movement.unit, "by": movement.amount}
    if not tx.run(_GIVE, params):
        if tx.one(_BALANCE, params) is not None:
            raise InvalidSize("the balance would be larger than any that is kept")
        _open(tx, movement.payee_id, movement.unit, _floor(tx, movement.payee_id))
        tx.run(_GIVE, params)
    return _row(tx, movement.payee_id, movement.unit)[:2]


def _floor(tx: Transaction, account_id: Id) -> int | None:
    there = accounts.by_id(tx, account_id)
    return None if there is not None and there.kind == "system" else 0


def _open(tx: Transaction, account_id: Id, unit: Unit, floor: int | None) -> None:
    tx.run(_OPEN_BALANCE, {"account_id": account_id, "unit": unit, "amount": 0, "entries": 0, "floor": floor})


def _row(tx: Transaction, account_id: Id, unit: Unit) -> tuple[int, int, int | None]:
    found = tx.one(_BALANCE, {"account": account_id, "for_unit": unit})
    if found is None:
        return 0, 0, 0
    amount, entries, floor = found
    return amount, entries, floor


def _line(done: Transfer, account_id: Id, amount: int, after: tuple[int, int]) -> dict[str, object]:
    left, number = after
    return {
        "account_id": account_id, "unit": done.unit, "number": number, "transfer_id": done.id, "amount": amount,
        "balance": left, "at_us": done.at_us,
    }  # fmt: skip


def _check(movement: Movement) -> None:
    amount_of(movement.amount)
    if movement.unit not in UNITS:
        raise BadInput(f"{str(movement.unit)[:20]!r} is no unit: it is bytes or money")
    if movement.payer_id == movement.payee_id:
        raise BadInput("an account cannot pay itself")
    if len(movement.key) > KEY_LENGTH or len(movement.note) > NOTE_LENGTH:
        raise BadInput(f"a key and a note have at most {KEY_LENGTH} characters each")


def _same(there: Transfer, movement: Movement) -> Transfer:
    asked = (movement.kind, movement.unit, movement.amount, movement.payer_id, movement.payee_id, movement.refund_of)
    if asked != (there.kind, there.unit, there.amount, there.from_id, there.to_id, there.refund_of):
        raise _reused(movement.key)
    return there


def _reused(key: str) -> KeyReused:
    return KeyReused(f"the key {key[:64]!r} is of another transfer: give each its own")


def _transfer(found: tuple[Any, ...]) -> Transfer:
    transfer_id, key, kind, unit, amount, from_id, to_id, at_us, note, refund_of = found
    return Transfer(
        bytes(transfer_id), key, kind, unit, amount, bytes(from_id), bytes(to_id), at_us, note,
        None if refund_of is None else bytes(refund_of),
    )  # fmt: skip


# --- does it add up -----------------------------------------------------------------------------

_REPLAY = prepared(
    sa.select(_e.account_id, _e.unit, sa.func.sum(_e.amount), sa.func.count(), sa.func.max(_e.number))
    .group_by(_e.account_id, _e.unit)
    .order_by(_e.account_id, _e.unit)
)
_BALANCES = prepared(sa.select(_b.account_id, _b.unit, _b.amount, _b.entries, _b.floor))
_UNPAIRED = prepared(
    sa.select(_e.transfer_id, sa.func.sum(_e.amount), sa.func.count())
    .group_by(_e.transfer_id)
    .having(sa.or_(sa.func.sum(_e.amount) != 0, sa.func.count() != 2))
    .limit(sa.bindparam("page"))
)
_OVER_REFUNDED = prepared(
    sa.select(_t.refund_of, sa.func.sum(_t.amount)).where(_t.refund_of.is_not(None)).group_by(_t.refund_of)
)
FINDINGS_MAX = 1000


def audit(tx: Transaction) -> list[Finding]:
    """Everything in the ledger that does not add up; nothing is changed."""
    return list(_first(_findings(tx)))


def _findings(tx: Transaction) -> Iterator[Finding]:
    replay = {(bytes(row[0]), row[1]): tuple(map(int, row[2:])) for row in tx.rows(_REPLAY)}
    total = dict.fromkeys(UNITS, 0)
    for account_id, unit, amount, entries, _ in tx.rows(_BALANCES):
        total[unit] += amount
        found = replay.pop((bytes(account_id), unit), (0, 0, 0))
        if found != (amount, entries, entries):
            yield Finding("the balance is not what its entries make", bytes(account_id), {"unit": unit, "is": amount})
    for account_id, unit in replay:
        yield Finding("entries without a balance", account_id, {"unit": unit})
    for unit, rest in total.items():
        if rest:
            yield Finding("debits and credits differ", None, {"unit": unit, "by": rest})
    for transfer_id, rest, count in tx.rows(_UNPAIRED, {"page": FINDINGS_MAX}):
        facts = {"transfer": id_text(bytes(transfer_id)), "sum": int(rest), "entries": int(count)}
        yield Finding("a transfer without two equal entries", None, facts)
    for transfer_id, back in tx.rows(_OVER_REFUNDED):
        if int(back) > the_transfer(tx, bytes(transfer_id)).amount:
            yield Finding("more was given back than was paid", None, {"transfer": id_text(bytes(transfer_id))})


def _first(findings: Iterable[Finding]) -> Iterator[Finding]:
    for number, finding in enumerate(findings):
        if number >= FINDINGS_MAX:
            return
        yield finding
