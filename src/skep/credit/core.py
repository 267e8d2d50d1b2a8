"""What all faces of the credit service share: the database, the rules, and who may see and use which account."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from skep.auth.audit import NOBODY, Party
from skep.auth.groups import role_in, the_group
from skep.auth.scopes import ACCOUNT
from skep.auth.users import the_user
from skep.base.clock import Clock
from skep.base.errors import Forbidden, GroupNotFound, UserNotFound
from skep.base.ids import Id
from skep.base.limits import RateLimit
from skep.credit import accounts, limits, plans
from skep.credit.records import Account, AccountKind, ApiKey, Plan
from skep.db import Database, Transaction
from skep.events.telling import Tell, tell_nobody

if TYPE_CHECKING:
    from skep.auth.records import Principal

"""Units that met another's new row are run again, so often in all."""


class Spaces(Protocol):
    """What lets a plan's room be a space's quota; the filesystem fills it."""

    def set_room(
        self, tx: Transaction, kind: str, owner_id: Id, quota_bytes: int | None, objects_max: int | None
    ) -> None:
        """Let the space of a user or a group hold so many bytes; None: as many as a new space. And so many objects."""
        ...

    def set_objects(self, tx: Transaction, kind: str, owner_id: Id, objects_max: int | None) -> None:
        """Let the space of a user or a group hold so many files and directories; None: any number."""
        ...


class Note(Protocol):
    """Writes in the audit log what a transaction does; ``auth`` fills it."""

    def __call__(self, tx: Transaction, action: str, by: Principal | None, about: Party, **facts: object) -> None: ...


def note_nothing(tx: Transaction, action: str, by: Principal | None, about: Party, **facts: object) -> None:
    """Where there is no log."""


@dataclass(frozen=True, slots=True)
class CreditRules:
    """What the operator decided. ``currency`` is told with amounts of money, which are in its smallest coin."""

    currency: str = "EUR"
    default_plan: str = ""
    payment_secret: str = ""
    gifts: bool = True
    """Whether users may give credit to each other."""

    def __repr__(self) -> str:
        return f"CreditRules({self.currency}, {self.default_plan!r})"


class Core:
    """The parts. Lives on one event loop."""

    def __init__(
        self,
        db: Database,
        clock: Clock,
        rules: CreditRules | None = None,
        spaces: Spaces | None = None,
        tell: Tell = tell_nobody,
    ) -> None:
        self.rules = rules or CreditRules()
        self.note: Note = note_nothing
        self._db = db
        self._clock = clock
        self._spaces = spaces
        self._tell = tell
        self._guesses = RateLimit("promo codes that were refused", clock, rate_per_s=0.2, burst=20)

    def now_us(self) -> int:
        """The hive's time."""
        return self._clock.now_us()

    def _owner(self, tx: Transaction, principal: Principal, who: str, *, acts: bool) -> tuple[AccountKind, str]:
        """Whose account ``who`` is (empty: one's own), if the principal may see it, or use it (``acts``).

        Members see their group's account and its managers use it; administrators do with all. Raises Forbidden,
        UserNotFound, GroupNotFound, BadInput.
        """
        principal.require(ACCOUNT)
        if not who:
            return "user", principal.user_id.hex()
        try:
            kind, owner = accounts.owner_of(tx, who)
        except UserNotFound:
            if principal.acts_as_admin:
                raise
            raise Forbidden(_NOT_YOURS) from None
        if principal.acts_as_admin or (kind == "user" and owner == principal.user_id.hex()):
            return kind, owner
        if kind == "group":
            role = role_in(tx, bytes.fromhex(owner), principal.user_id)
            if role is None:
                raise GroupNotFound("no such group: list the groups to see their names")
            if role == "manager" or not acts:
                return kind, owner
        if kind == "token":
            return kind, owner
        raise Forbidden(_NOT_YOURS)

    def _noted(
        self, tx: Transaction, action: str, by: Principal | ApiKey | None, of: Account | None = None, **facts: object
    ) -> None:
        """Note a change in the audit log: who made it, and to whose account."""
        about = NOBODY if of is None else _party(tx, of)
        if isinstance(by, ApiKey):
            self.note(tx, action, None, about, program=by.name, **facts)
        else:
            self.note(tx, action, by, about, **facts)

    def _plan(self, tx: Transaction, account_id: Id | None) -> Plan | None:
        return plans.in_force(tx, account_id, self.rules.default_plan)

    def room_of_new(self, tx: Transaction, kind: str, owner_id: Id) -> None:
        """Give a new space the room of the default plan, if there is one."""
        if self._spaces is not None and self.rules.default_plan:
            plan = self._plan(tx, None)
            if plan is not None:
                self._spaces.set_room(tx, kind, owner_id, plan.terms.space_bytes, plan.terms.objects_max)

    def _apply_plan(self, tx: Transaction, account: Account) -> None:
        """Give the account's space the room of the plan that is in force."""
        if self._spaces is not None and account.kind in ("user", "group"):
            plan = self._plan(tx, account.id)
            room = None if plan is None else plan.terms.space_bytes
            objects_max = limits.in_force(tx, account.id, self.rules.default_plan).objects_max
            self._spaces.set_room(tx, account.kind, bytes.fromhex(account.owner), room, objects_max)


def _party(tx: Transaction, account: Account) -> Party:
    """Whose account it is, as the log names it."""
    if account.kind == "user":
        return Party(owner := bytes.fromhex(account.owner), the_user(tx, owner).info.name)
    if account.kind == "group":
        return Party(owner := bytes.fromhex(account.owner), the_group(tx, owner).name)
    return Party(None, f"{account.kind}:{account.owner[:16]}")


_NOT_YOURS = "this account is not yours: only administrators see and use those of others"
