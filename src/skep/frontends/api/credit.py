"""Amounts of credit: balances, statements, deposits, withdrawals, gifts, refunds, payment callbacks.

``account`` is ``user:NAME``, ``group:NAME`` or ``token:TOKEN``; without it one's own.
"""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from skep.auth import Principal
from skep.base.errors import MalformedRequest, TransferNotFound
from skep.credit import ApiKey, Entry, Payment
from skep.credit.months import time_text
from skep.credit.payments import HEADER, require_signature
from skep.frontends.api.call import Call
from skep.frontends.api.credit_records import (
    Amount,
    Balance,
    CreditAccount,
    Key,
    Line,
    Moved,
    Note,
    Statement,
    Unit,
    line_of,
    moved,
)
from skep.frontends.api.operation import Operation
from skep.frontends.common.answers import send_stream
from skep.frontends.common.authenticate import authenticate
from skep.frontends.common.id_text import text_or_none

TAG = "credit"
CSV_TYPE = "text/csv; charset=utf-8"
CALLBACK_BYTES = 64 * 1024
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class AccountQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Whose account; empty: one's own."""

    account: str = ""


class StatementQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which lines: those below the number ``before``."""

    account: str = ""
    unit: Unit = "bytes"
    before: Annotated[int, Meta(ge=1)] | None = None
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100


class CsvQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Whose account, and which of its two balances."""

    account: str = ""
    unit: Unit = "bytes"


class Movement(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``key``: the same key moves once, however often it is sent."""

    account: str
    amount: Amount
    unit: Unit = "bytes"
    key: Key = ""
    note: Note = ""


class Gift(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``to``: who gets it; ``of``: the group whose credit it is; empty: one's own."""

    to: str
    amount: Amount
    unit: Unit = "bytes"
    of: str = ""
    key: Key = ""
    note: Note = ""


class Refund(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``amount``: a part; null: all of it."""

    amount: Amount | None = None
    key: Key = ""
    note: Note = ""


class Callback(msgspec.Struct, frozen=True, kw_only=True):
    """What was paid for an account, or (``refund_of``: the id of that callback) went back."""

    id: Annotated[str, Meta(min_length=1, max_length=120)]
    amount: Amount
    account: str = ""
    unit: Unit = "money"
    refund_of: Annotated[str, Meta(max_length=120)] = ""
    note: Note = ""


class Settlement(msgspec.Struct, frozen=True):
    """``moved`` null: nothing was left to take back; ``missing``: what a refund could not take back."""

    moved: Moved | None
    missing: int


class FindingRecord(msgspec.Struct, frozen=True):
    """Something that does not add up."""

    what: str
    account: str | None
    details: dict[str, Any]


class Audit(msgspec.Struct, frozen=True):
    """Empty: every transfer has two equal entries, and every balance is what its entries make."""

    findings: list[FindingRecord]


async def get_credit(call: Call, query: AccountQuery) -> CreditAccount:
    """Show what an account has: bytes of credit, money, and its plan."""
    holder = await call.services.credit.holder(call.principal, query.account)
    found = {one.unit: Balance(one.amount, one.held, one.floor or 0) for one in holder.balances}
    return CreditAccount(
        kind=holder.kind,
        id=text_or_none(holder.account_id),
        bytes=found["bytes"],
        money=found["money"],
        currency=call.services.credit.rules.currency,
        plan=holder.plan,
    )


async def get_statement(call: Call, query: StatementQuery) -> Statement:
    """List what went into an account and out of it, newest first."""
    entries = await call.services.credit.statement(
        call.principal, query.account, query.unit, before=query.before, limit=query.limit
    )
    more = len(entries) == query.limit and entries[-1].number > 1
    return Statement(query.unit, [line_of(entry) for entry in entries], entries[-1].number if more else None)


async def get_statement_csv(call: Call, query: CsvQuery) -> None:
    """Download the whole statement of an account as CSV, newest first."""
    entries = call.services.credit.whole_statement(call.principal, query.account, query.unit)
    headers = [("content-type", CSV_TYPE), ("content-disposition", 'attachment; filename="statement.csv"')]
    parts = _csv(entries)
    try:
        await send_stream(call.send, 200, headers, parts, stall_timeout_s=call.stall_timeout_s)
    finally:
        await parts.aclose()  # type: ignore[attr-defined]


async def _csv(entries: AsyncIterator[Entry]) -> AsyncIterator[bytes]:
    first = [entry async for entry in _some(entries, 1)]  # who may not see it is told so before the head is out
    yield _row("number", "time", "kind", "amount", "balance", "transfer", "note")
    for entry in first:
        yield _line(line_of(entry))
    async for entry in entries:
        yield _line(line_of(entry))


async def _some(entries: AsyncIterator[Entry], count: int) -> AsyncIterator[Entry]:
    for _ in range(count):
        entry = await anext(entries, None)
        if entry is not None:
            yield entry


def _line(line: Line) -> bytes:
    return _row(
        line.number, time_text(line.at_us), line.kind, line.amount, line.balance, line.transfer, _text(line.note)
    )


def _text(note: str) -> str:
    """A note of somebody else's must not be a formula in a spreadsheet."""
    return f"'{note}" if note.startswith(_FORMULA) else note


def _row(*cells: object) -> bytes:
    out = io.StringIO()
    csv.writer(out).writerow(cells)
    return out.getvalue().encode()


async def deposit(call: Call, body: Movement) -> Moved:
    """Credit an account: administrators, or programs with a key (header ``Authentication``)."""
    by = await _who(call, "deposit")
    done = await call.services.credit.deposit(by, body.account, body.unit, body.amount, key=body.key, note=body.note)
    return moved(done)


async def withdraw(call: Call, body: Movement) -> Moved:
    """Take credit from an account: administrators, or programs with a key. 402 where it does not suffice."""
    by = await _who(call, "withdraw")
    done = await call.services.credit.withdraw(by, body.account, body.unit, body.amount, key=body.key, note=body.note)
    return moved(done)


async def give(call: Call, body: Gift) -> Moved:
    """Give of one's own credit to another account, as far as the hive allows it."""
    done = await call.services.credit.give(
        call.principal, body.to, body.unit, body.amount, of=body.of, key=body.key, note=body.note
    )
    return moved(done)


async def refund(call: Call, body: Refund) -> Moved:
    """Give back a transfer or a part of it: administrators, or programs what their key moved. Once without a key."""
    by = await _who(call, "deposit")
    transfer = call.id("transfer", TransferNotFound)
    return moved(await call.services.credit.refund(by, transfer, body.amount, key=body.key, note=body.note))


async def payment(call: Call) -> None:
    """Take a signed payment callback; one that comes again moves nothing.

    The header ``Skep-Signature`` is ``t=SECONDS,v1=HEX``, HEX being HMAC-SHA256 of ``SECONDS.BODY`` under
    credit.payment_secret, and SECONDS within five minutes of now.
    """
    raw = await call.body.read(CALLBACK_BYTES)
    credit = call.services.credit
    require_signature(credit.rules.payment_secret, call.headers.get(HEADER), raw, credit.now_us())
    try:
        body = _callbacks.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedRequest(f"The callback does not fit: {error}.") from None
    if not body.account and not body.refund_of:
        raise MalformedRequest("The callback names no account and no payment that went back.")
    said = Payment(body.id, body.account, body.unit, body.amount, body.refund_of, body.note)
    settled = await credit.settle(said)
    await call.answer(Settlement(None if settled.done is None else moved(settled.done), settled.missing))


async def audit_credit(call: Call) -> Audit:
    """Recount the ledger: everything that does not add up."""
    found = await call.services.credit.audit(call.principal)
    return Audit([FindingRecord(one.what, text_or_none(one.account_id), one.details) for one in found])


async def _who(call: Call, wants: str) -> Principal | ApiKey:
    """The program whose key is in ``Authentication``, else the principal of ``Authorization``."""
    secret = call.headers.get("authentication")
    if secret is not None:
        return await call.services.credit.require_key(secret, wants)
    call.caller = await authenticate(call.services.auth, call.headers, call.client)
    return call.caller


_callbacks = msgspec.json.Decoder(Callback)
_AT = "/api/credit"
OPERATIONS = (
    Operation("GET", _AT, get_credit, "account", TAG),
    Operation("GET", f"{_AT}/statement", get_statement, "account", TAG),
    Operation("GET", f"{_AT}/statement.csv", get_statement_csv, "account", TAG, gives=("text/csv",)),
    Operation("POST", f"{_AT}/deposits", deposit, None, TAG),
    Operation("POST", f"{_AT}/withdrawals", withdraw, None, TAG),
    Operation("POST", f"{_AT}/gifts", give, "account", TAG),
    Operation("POST", f"{_AT}/transfers/{{transfer}}/refunds", refund, None, TAG),
    Operation("POST", f"{_AT}/payments", payment, None, TAG, takes=("application/json",)),
    Operation("GET", f"{_AT}/audit", audit_credit, "admin", TAG, admin=True),
)
