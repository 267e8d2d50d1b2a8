"""The audit log: who did what to accounts and rights."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from skep.auth import AuditEntry, AuditHead
from skep.base.errors import MalformedRequest
from skep.frontends.api.auth_records import id_or_name
from skep.frontends.api.call import Call
from skep.frontends.api.operation import Operation
from skep.frontends.common.id_text import text_or_none

TAG = "audit"


class AuditQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Newest first, below the number ``before``; of a user (by id or name), or of an action."""

    user: str = ""
    action: str = ""
    before: Annotated[int, Meta(ge=1, le=2**62)] | None = None
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100


class Entry(msgspec.Struct, frozen=True):
    """One line of the audit log; ``hash`` covers it and the line before, in hexadecimal."""

    number: int
    at_us: int
    action: str
    actor_id: str | None
    actor: str
    subject_id: str | None
    subject: str
    address: str
    facts: dict[str, Any]
    hash: str


class Entries(msgspec.Struct, frozen=True):
    """``next``: there may be more below this number."""

    entries: list[Entry]
    next: int | None


class Expected(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A head that was noted earlier and must still be in the chain; ``hash`` in hexadecimal."""

    number: Annotated[int, Meta(ge=1, le=2**62)] | None = None
    hash: Annotated[str, Meta(pattern=r"\A[0-9a-fA-F]{64}\Z")] | None = None


class Verdict(msgspec.Struct, frozen=True):
    """``whole``: nothing was changed, removed or put in. ``number``, ``hash``: of the newest entry, to be noted."""

    whole: bool
    entries: int
    number: int
    hash: str
    broken_at: int | None
    reason: str


def entry_record(entry: AuditEntry) -> Entry:
    """The JSON of an entry."""
    return Entry(
        number=entry.number,
        at_us=entry.at_us,
        action=entry.action,
        actor_id=text_or_none(entry.actor.id),
        actor=entry.actor.name,
        subject_id=text_or_none(entry.subject.id),
        subject=entry.subject.name,
        address=entry.address,
        facts=dict(entry.facts),
        hash=entry.hash.hex(),
    )


async def list_audit(call: Call, query: AuditQuery) -> Entries:
    """List the audit log: administrators all of it, others what concerns them."""
    found = await call.services.auth.list_audit(
        call.principal,
        user=id_or_name(query.user) if query.user else None,
        action=query.action or None,
        before=query.before,
        limit=query.limit,
    )
    return Entries([entry_record(entry) for entry in found], found[-1].number if len(found) == query.limit else None)


async def verify_audit(call: Call, body: Expected) -> Verdict:
    """Read the whole audit log and say whether its chain holds."""
    if (body.number is None) != (body.hash is None):
        raise MalformedRequest("An expected entry has both a number and a hash.")
    expected = None
    if body.number is not None and body.hash is not None:
        expected = AuditHead(body.number, bytes.fromhex(body.hash))
    found = await call.services.auth.verify_audit(call.principal, expected)
    return Verdict(
        whole=found.broken_at is None,
        entries=found.entries,
        number=found.head.number,
        hash=found.head.hash.hex(),
        broken_at=found.broken_at,
        reason=found.reason,
    )


OPERATIONS = (
    Operation("GET", "/api/admin/audit", list_audit, "account", TAG),
    Operation("POST", "/api/admin/audit/verify", verify_audit, "admin", TAG, admin=True),
)
