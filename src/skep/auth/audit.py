"""The audit log: what was done to accounts and rights, by whom, in a chain that shows tampering.

What always holds:
- an entry is written in the transaction of what it tells of: both are there, or neither;
- numbers grow by one; an entry's hash is keyed, and covers the entry and the hash before it. Whoever can write to the
  database and lacks the master key cannot make a chain that holds;
- entries are never changed, and removed from the old end only: ``start`` keeps where the rest begins.

What it does not show: that the newest entries were cut off, or the whole database put back. For that, note number and
hash of the head outside (``skep audit verify`` prints them, and takes them back; the log has each).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from skep.base.errors import BadInput, CorruptRecord
from skep.base.ids import Id
from skep.crypto.hashing import keyed_digest
from skep.db import Transaction, insert_new, prepared
from skep.db.schema_signin import audit_ends, audit_entries

PAGE_MAX: Final = 1000
FACTS_LENGTH_MAX: Final = 4096
TEXT_LENGTH: Final = 128
_HEAD, _START = "head", "start"
_ZERO = bytes(32)

_SELECT = sa.select(
    audit_entries.c.number,
    audit_entries.c.at_us,
    audit_entries.c.action,
    audit_entries.c.actor_id,
    audit_entries.c.actor,
    audit_entries.c.subject_id,
    audit_entries.c.subject,
    audit_entries.c.address,
    audit_entries.c.facts,
    audit_entries.c.hash,
)
_BELOW = _SELECT.where(audit_entries.c.number < sa.bindparam("before")).order_by(audit_entries.c.number.desc())
_PAGE = prepared(_BELOW.limit(sa.bindparam("page")))
_PAGE_OF_USER = prepared(
    _BELOW.where(
        sa.or_(audit_entries.c.actor_id == sa.bindparam("user"), audit_entries.c.subject_id == sa.bindparam("user"))
    ).limit(sa.bindparam("page"))
)
_PAGE_OF_ACTION = prepared(_BELOW.where(audit_entries.c.action == sa.bindparam("what")).limit(sa.bindparam("page")))
_FROM = prepared(
    _SELECT.where(audit_entries.c.number > sa.bindparam("after"), audit_entries.c.number <= sa.bindparam("last"))
    .order_by(audit_entries.c.number)
    .limit(sa.bindparam("page"))
)
_INSERT = insert_new(audit_entries)
_NEW_END = insert_new(audit_ends, or_ignore=True)
_NEXT = prepared(sa.update(audit_ends).where(audit_ends.c.name == _HEAD).values(number=audit_ends.c.number + 1))
_END = prepared(sa.select(audit_ends.c.number, audit_ends.c.hash).where(audit_ends.c.name == sa.bindparam("which")))
_SET_END = prepared(
    sa.update(audit_ends)
    .where(audit_ends.c.name == sa.bindparam("which"))
    .values(number=sa.bindparam("at_number"), hash=sa.bindparam("new_hash"))
)
_OLD = prepared(
    sa.select(audit_entries.c.number, audit_entries.c.hash, audit_entries.c.at_us)
    .order_by(audit_entries.c.number)
    .limit(sa.bindparam("page"))
)
_REMOVE = prepared(sa.delete(audit_entries).where(audit_entries.c.number <= sa.bindparam("last")))


@dataclass(frozen=True, slots=True)
class Party:
    """A user or group as the log names it: names stay readable when the thing is gone."""

    id: Id | None
    name: str


NOBODY: Final = Party(None, "")


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One line of the log. ``number`` counts from 1; ``hash`` is 32 bytes."""

    number: int
    at_us: int
    action: str
    actor: Party
    subject: Party
    address: str
    facts: Mapping[str, Any]
    hash: bytes


@dataclass(frozen=True, slots=True)
class AuditHead:
    """The newest entry: what to note outside, to notice later that entries were cut off."""

    number: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class Verified:
    """What ``verify`` found: how many entries it read, and where the chain breaks (None: it holds)."""

    entries: int
    head: AuditHead
    broken_at: int | None = None
    reason: str = ""


def ensure_ends(tx: Transaction) -> None:
    """Begin the chain, if it has not begun."""
    for name in (_HEAD, _START):
        tx.run(_NEW_END, {"name": name, "number": 0, "hash": _ZERO})


def append(
    tx: Transaction, key: bytes, action: str, *, actor: Party, subject: Party, address: str, facts: Mapping[str, object]
) -> AuditEntry:
    """Add an entry; it counts if the transaction does."""
    tx.run(_NEXT)  # first, so that on databases with several writers the row is ours from here on
    found = tx.one(_END, {"which": _HEAD})
    if found is None:
        raise CorruptRecord("the audit log has no head: it was damaged; restart the hive to begin it anew")
    number, before = int(found[0]), bytes(found[1])
    text = json.dumps(facts, sort_keys=True, ensure_ascii=False, default=str)
    row = {
        "number": number,
        "at_us": tx.now_us,
        "action": action,
        "actor_id": actor.id,
        "actor": actor.name[:TEXT_LENGTH],
        "subject_id": subject.id,
        "subject": subject.name[:TEXT_LENGTH],
        "address": address[:TEXT_LENGTH],
        "facts": text if len(text) <= FACTS_LENGTH_MAX else "{}",
    }
    row["hash"] = _link(key, before, tuple(row.values()))
    tx.run(_INSERT, row)
    tx.run(_SET_END, {"which": _HEAD, "at_number": number, "new_hash": row["hash"]})
    return _entry(tuple(row.values()))


def list_entries(
    tx: Transaction, *, before: int | None, limit: int, user_id: Id | None = None, action: str | None = None
) -> list[AuditEntry]:
    """Entries below a number, newest first: all, or those by or about a user, or of one action. Raises BadInput."""
    if user_id is not None and action is not None:
        raise BadInput("the audit log is asked for a user or for an action, not for both")
    values: dict[str, object] = {"before": 2**62 if before is None else before, "page": max(1, min(limit, PAGE_MAX))}
    if user_id is not None:
        found = tx.rows(_PAGE_OF_USER, {**values, "user": user_id})
    elif action is not None:
        found = tx.rows(_PAGE_OF_ACTION, {**values, "what": action})
    else:
        found = tx.rows(_PAGE, values)
    return [_entry(row) for row in found]


def head_of(tx: Transaction) -> AuditHead:
    """Where the chain ends now."""
    found = tx.one(_END, {"which": _HEAD})
    return AuditHead(0, _ZERO) if found is None else AuditHead(int(found[0]), bytes(found[1]))


def verify(tx: Transaction, key: bytes, expected: AuditHead | None = None) -> Verified:
    """Read the whole chain. ``expected``: an entry that was noted outside and must still be there."""
    start, head = tx.one(_END, {"which": _START}), head_of(tx)
    number, before = (0, _ZERO) if start is None else (int(start[0]), bytes(start[1]))
    count, missing = 0, expected is not None and expected.number > number
    while rows := tx.rows(_FROM, {"after": number, "last": head.number, "page": PAGE_MAX}):
        for row in rows:
            number += 1
            if row[0] != number:
                return Verified(count, head, number, "the entry is missing")
            if bytes(row[9]) != _link(key, before, row[:9]):
                return Verified(count, head, number, "the entry is not what was written")
            before = bytes(row[9])
            if expected is not None and expected.number == number:
                missing = False
                if expected.hash != before:
                    return Verified(count, head, number, "another entry was noted here: the chain was written anew")
            count += 1
    if (number, before) != (head.number, head.hash):
        return Verified(count, head, number + 1, "the newest entries are missing")
    if missing and expected is not None:
        return Verified(count, head, expected.number, "an entry that was noted is missing: the end was cut off")
    return Verified(count, head)


def prune(tx: Transaction, *, before_us: int) -> int:
    """Remove up to 1000 entries older than a time, from the old end; how many."""
    last, count = None, 0
    for number, link, at_us in tx.rows(_OLD, {"page": PAGE_MAX}):
        if at_us >= before_us:
            break
        last, count = (number, bytes(link)), count + 1
    if last is not None:
        tx.run(_SET_END, {"which": _START, "at_number": last[0], "new_hash": last[1]})
        tx.run(_REMOVE, {"last": last[0]})
    return count


def _link(key: bytes, before: bytes, row: tuple[Any, ...]) -> bytes:
    """The hash of an entry: of its columns in the order of the table, after the hash before it."""
    plain = [bytes(value) if isinstance(value, bytes | bytearray | memoryview) else value for value in row]
    return keyed_digest(key, before, msgspec.msgpack.encode(plain))


def _entry(row: tuple[Any, ...]) -> AuditEntry:
    number, at_us, action, actor_id, actor, subject_id, subject, address, facts, link = row
    by = Party(None if actor_id is None else bytes(actor_id), actor)
    about = Party(None if subject_id is None else bytes(subject_id), subject)
    return AuditEntry(number, at_us, action, by, about, address, json.loads(facts), bytes(link))
