"""The face for use: what an account has used, and what limits it."""

from __future__ import annotations

from skep.auth.records import Principal
from skep.credit import accounts, limits, posting
from skep.credit.core import Core
from skep.credit.fullness import subject_of
from skep.credit.limits import InForce, Limits
from skep.credit.meter import traffic_subject
from skep.credit.months import month_of
from skep.credit.posting import MonthUsage
from skep.db import Transaction

MONTHS_MAX = 120


class Watching(Core):
    """What was used, and what may be."""

    async def usage(self, principal: Principal, who: str = "", *, months: int = 12) -> list[MonthUsage]:
        """What an account used in its last months, the newest first; what was posted, seconds ago at most."""

        def look(tx: Transaction) -> list[MonthUsage]:
            there = accounts.account(tx, *self._owner(tx, principal, who, acts=False))
            this = month_of(tx.now_us)
            found = [] if there is None else posting.usage_of(tx, there.id, max(1, min(months, MONTHS_MAX)))
            return found if found and found[0].month == this else [MonthUsage(this, 0, 0, 0, 0), *found]

        return await self._db.read(look)

    async def limits(self, principal: Principal, who: str = "") -> InForce:
        """What limits an account now, by its plan and beside it."""

        def look(tx: Transaction) -> InForce:
            there = accounts.account(tx, *self._owner(tx, principal, who, acts=False))
            return limits.in_force(tx, b"" if there is None else there.id, self.rules.default_plan)

        return await self._db.read(look)

    async def warnings(self, principal: Principal, who: str = "") -> list[tuple[str, int]]:
        """What an account has almost used, and to how many percent (80 or 95), as it was told last."""

        def look(tx: Transaction) -> list[tuple[str, int]]:
            kind, owner = self._owner(tx, principal, who, acts=False)
            there, this = accounts.account(tx, kind, owner), month_of(tx.now_us)
            found = [(what, limits.noted(tx, subject_of(what, kind, owner))[0]) for what in ("space", "objects")]
            level, month = (0, 0) if there is None else limits.noted(tx, traffic_subject(there.id))
            found.append(("traffic", level if month == this else 0))
            return [(what, percent) for what, percent in found if percent]

        return await self._db.read(look)

    async def set_limits(self, principal: Principal, who: str, wanted: Limits) -> InForce:
        """Set what limits an account beside its plan; None: as the plan says (administrators). Raises InvalidSize."""
        principal.require_admin()

        def work(tx: Transaction) -> InForce:
            there = accounts.opened(tx, *accounts.owner_of(tx, who))
            limits.set_limits(tx, there.id, wanted)
            self._noted(tx, "limits-set", principal, there, **wanted._asdict())
            found = limits.in_force(tx, there.id, self.rules.default_plan)
            if self._spaces is not None and there.kind in ("user", "group"):
                self._spaces.set_objects(tx, there.kind, bytes.fromhex(there.owner), found.objects_max)
            return found

        return await self._db.write_or_find(work)
