"""Mail that is to be sent: rows, made in the transaction that wants them, and what a letter may hold.

What always holds: a letter is in the outbox or the transaction did not happen; it leaves the outbox after a server took
it, so a kill in between sends it twice and never not at all; no header of a letter can hold a line break.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import msgspec
import sqlalchemy as sa

from skep.base.errors import BadInput, LimitReached
from skep.base.ids import Id, new_id
from skep.crypto.sealing import open_record, seal_record
from skep.db import Transaction, insert_new, prepared
from skep.db.schema_signin import outbox

WAITING_MAX: Final = 10_000
TRIES_MAX: Final = 12
RETRY_S: Final = 30.0
"""After the first failure; doubled after each, so that the last try is about a day later."""

_INSERT = insert_new(outbox)
_COUNT = prepared(sa.select(sa.func.count()).select_from(outbox))
_DUE = prepared(
    sa.select(outbox.c.id, outbox.c.sealed, outbox.c.tries)
    .where(outbox.c.due_us <= sa.bindparam("now"))
    .order_by(outbox.c.due_us)
    .limit(sa.bindparam("page"))
)
_LATER = prepared(
    sa.update(outbox)
    .where(outbox.c.id == sa.bindparam("letter"))
    .values(tries=sa.bindparam("tried"), due_us=sa.bindparam("again_us"))
)
_DELETE = prepared(sa.delete(outbox).where(outbox.c.id == sa.bindparam("letter")))


class Letter(msgspec.Struct, frozen=True, array_like=True):
    """A plain letter."""

    to: str
    subject: str
    text: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """A letter of the outbox and how often it was tried."""

    id: Id
    tries: int
    letter: Letter = field(repr=False)


def post(tx: Transaction, key: bytes, letter: Letter) -> None:
    """Have a letter sent once the transaction is durable. Raises BadInput (a line break in a header), LimitReached."""
    if not letter.to.isprintable() or not letter.subject.isprintable():
        raise BadInput("an e-mail address and a subject are one line of printable characters")
    if (tx.value(_COUNT) or 0) >= WAITING_MAX:
        raise LimitReached(f"{WAITING_MAX} letters wait to be sent already: try again later")
    letter_id = new_id()
    sealed = seal_record(key, msgspec.msgpack.encode(letter), _bound(letter_id))
    tx.run(_INSERT, {"id": letter_id, "sealed": sealed, "tries": 0, "due_us": tx.now_us, "created_us": tx.now_us})


def due_letters(tx: Transaction, key: bytes, limit: int) -> list[Waiting]:
    """Letters whose time has come, oldest first."""
    return [
        Waiting(
            bytes(letter_id),
            tries,
            msgspec.msgpack.decode(open_record(key, bytes(sealed), _bound(bytes(letter_id))), type=Letter),
        )
        for letter_id, sealed, tries in tx.rows(_DUE, {"now": tx.now_us, "page": limit})
    ]


def letter_sent(tx: Transaction, letter_id: Id) -> None:
    """A server took it, or will never."""
    tx.run(_DELETE, {"letter": letter_id})


def letter_failed(tx: Transaction, waiting: Waiting) -> bool:
    """Try it again later; False: it was the last time, and the letter is gone."""
    tried = waiting.tries + 1
    if tried >= TRIES_MAX:
        tx.run(_DELETE, {"letter": waiting.id})
        return False
    again_us = tx.now_us + int(RETRY_S * 2**waiting.tries * 1e6)
    tx.run(_LATER, {"letter": waiting.id, "tried": tried, "again_us": again_us})
    return True


def _bound(letter_id: Id) -> bytes:
    return b"skep letter " + letter_id
