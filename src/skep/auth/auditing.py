"""Reading the audit log: administrators all of it, everybody what concerns themselves."""

from __future__ import annotations

from skep.auth import audit
from skep.auth.audit import AuditEntry, AuditHead, Party, Verified
from skep.auth.core import AuthCore, party
from skep.auth.records import Principal
from skep.auth.scopes import ACCOUNT
from skep.auth.users import the_user
from skep.base.ids import Id
from skep.db import Transaction


class Auditing(AuthCore):
    """The part of ``Auth`` that shows the audit log."""

    async def list_audit(
        self,
        principal: Principal,
        *,
        user: Id | str | None = None,
        action: str | None = None,
        before: int | None = None,
        limit: int = 100,
    ) -> list[AuditEntry]:
        """Entries below a number, newest first, at most 1000: by or about a user, or of an action (administrators).

        Others get what concerns them. Raises Forbidden, UserNotFound, BadInput.
        """
        principal.require(ACCOUNT)
        own = not principal.acts_as_admin and user in (None, principal.user_id, principal.name)
        if not own:
            principal.require_admin()

        def look(tx: Transaction) -> list[AuditEntry]:
            user_id = principal.user_id if own else None if user is None else the_user(tx, user).info.id
            return audit.list_entries(tx, before=before, limit=limit, user_id=user_id, action=action)

        return await self._db.read(look)

    def note_change(self, tx: Transaction, action: str, by: Principal | None, about: Party, **facts: object) -> None:
        """Write in the log what another part of the hive does in this transaction. ``by`` None: no user."""
        self._note_facts(tx, action, party(by), about, "", facts)

    async def verify_audit(self, principal: Principal, expected: AuditHead | None = None) -> Verified:
        """Read the whole chain and say whether it holds (administrators). ``expected``: a head noted before."""
        principal.require_admin()
        return await self._db.read(lambda tx: audit.verify(tx, self._audit_key, expected))
