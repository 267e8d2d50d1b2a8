"""Storage-hours: how long how many bytes were stored, for whoever owns the space.

Every few minutes each space's bytes of that moment are counted for the time since the last round. Where a round stands
is a row of its own, changed in the transaction that posts: a kill in between posts neither, and no second process posts
the same time again. A clock that was set back posts nothing until it is past where it was.
"""

from __future__ import annotations

import msgspec
import sqlalchemy as sa

from skep.base.ids import Id
from skep.credit import accounts
from skep.credit.months import month_of, next_month_us
from skep.credit.records import AccountKind
from skep.db import Transaction, insert_new, prepared
from skep.db import schema as s
from skep.db import schema_credit as c

NAME = "storage-hours"
PAGE = 500
HOUR_S = 3600
_SECOND_US = 1_000_000
_FIRST: Id = bytes(16)
_w, _sp, _u = s.worker_states.c, s.spaces.c, c.usage.c
_STATE = prepared(sa.select(_w.state).where(_w.name == NAME))
_BEGIN = insert_new(s.worker_states)
_GO_ON = prepared(
    sa.update(s.worker_states)
    .where(_w.name == NAME, _w.state == sa.bindparam("was"))
    .values(state=sa.bindparam("becomes"), updated_us=sa.bindparam("now"))
)
_SPACES = prepared(
    sa.select(_sp.id, _sp.kind, _sp.owner_id, _sp.used_bytes)
    .where(_sp.id > sa.bindparam("after"))
    .order_by(_sp.id)
    .limit(PAGE)
)
_HELD = prepared(
    sa.select(_u.byte_hours, _u.rest_byte_s).where(
        _u.account_id == sa.bindparam("account"), _u.month == sa.bindparam("for_month")
    )
)
_SET = prepared(
    sa.update(c.usage)
    .where(_u.account_id == sa.bindparam("account"), _u.month == sa.bindparam("for_month"))
    .values(byte_hours=sa.bindparam("hours"), rest_byte_s=sa.bindparam("rest"))
)
_INSERT = insert_new(c.usage)


class Round(msgspec.Struct, frozen=True, array_like=True):
    """From when to when is posted, in whole seconds, and after which space the round goes on."""

    since_s: int
    until_s: int
    after: bytes = _FIRST


def post_page(tx: Transaction) -> bool:
    """Post some spaces of the round that goes on, or begin one; whether there is more to do now."""
    stored = tx.value(_STATE)
    now_s = tx.now_us // _SECOND_US
    if stored is None:
        tx.run(_BEGIN, {"name": NAME, "state": _encoded(Round(now_s, now_s)), "updated_us": tx.now_us})
        return False
    state = msgspec.msgpack.decode(bytes(stored), type=Round)
    if state.since_s == state.until_s:  # between two rounds: one goes to the end of a month at most
        ends_s = min(now_s, next_month_us(state.since_s * _SECOND_US) // _SECOND_US)
        if ends_s <= state.since_s:
            return False
        state = Round(state.since_s, ends_s)
    rows = tx.rows(_SPACES, {"after": state.after})
    done = len(rows) < PAGE
    following = Round(state.until_s, state.until_s) if done else Round(state.since_s, state.until_s, bytes(rows[-1][0]))
    params = {"was": bytes(stored), "becomes": _encoded(following), "now": tx.now_us}
    if not tx.run(_GO_ON, params):
        return False  # another process was quicker
    month = month_of(state.since_s * _SECOND_US)
    for _, kind, owner_id, used_bytes in rows:
        if used_bytes > 0:
            payer: AccountKind = "user" if kind == "personal" else "group"
            _add(tx, payer, bytes(owner_id), month, used_bytes * (state.until_s - state.since_s))
    return not done or state.until_s < now_s


def _add(tx: Transaction, kind: AccountKind, owner_id: Id, month: int, byte_s: int) -> None:
    account_id = accounts.opened(tx, kind, owner_id.hex()).id
    held = tx.one(_HELD, {"account": account_id, "for_month": month})
    hours, rest = divmod((0 if held is None else held[1]) + byte_s, HOUR_S)
    hours += 0 if held is None else held[0]
    if held is not None:
        tx.run(_SET, {"account": account_id, "for_month": month, "hours": hours, "rest": rest})
        return
    row = {"in_bytes": 0, "out_bytes": 0, "requests": 0, "byte_hours": hours, "rest_byte_s": rest}
    tx.run(_INSERT, {"account_id": account_id, "month": month, **row})


def _encoded(state: Round) -> bytes:
    return msgspec.msgpack.encode(state)
