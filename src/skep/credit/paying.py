"""The face for amounts: balances, statements, deposits, withdrawals, gifts, refunds, payment callbacks."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from skep.auth.records import Principal
from skep.base.errors import BadInput, Forbidden, TransferNotFound
from skep.base.ids import Id
from skep.credit import accounts, keys, ledger
from skep.credit.core import Core
from skep.credit.records import UNITS, Account, AccountKind, ApiKey, Balance, Done, Entry, Finding, Unit
from skep.db import Transaction
from skep.events.records import CreditMoved

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PAGE_MAX = 1000


class Holder(NamedTuple):
    """An account's owner and what it has; ``account_id`` None: nothing was ever moved."""

    kind: AccountKind
    owner: str
    account_id: Id | None
    balances: tuple[Balance, ...]
    plan: str | None


class Payment(NamedTuple):
    """What a payment callback says: an amount that was paid for an account, or (``refund_of``) went back."""

    id: str
    account: str
    unit: Unit
    amount: int
    refund_of: str = ""
    note: str = ""


class Settled(NamedTuple):
    """What a callback has moved; ``missing``: of a refund, what the account did not have any more."""

    done: Done | None
    missing: int


class Paying(Core):
    """Amounts. Who asks is a principal, or an API key that was shown."""

    async def holder(self, principal: Principal, who: str = "") -> Holder:
        """What an account has. Raises Forbidden, UserNotFound, GroupNotFound."""

        def look(tx: Transaction) -> Holder:
            kind, owner = self._owner(tx, principal, who, acts=False)
            there = accounts.account(tx, kind, owner)
            plan = self._plan(tx, None if there is None else there.id)
            found = tuple(
                Balance(unit, 0, 0, 0) if there is None else ledger.balance(tx, there.id, unit) for unit in UNITS
            )
            return Holder(kind, owner, None if there is None else there.id, found, None if plan is None else plan.name)

        return await self._db.read(look)

    async def statement(
        self, principal: Principal, who: str = "", unit: Unit = "bytes", *, before: int | None = None, limit: int = 100
    ) -> list[Entry]:
        """Lines of an account, the newest first, below the number ``before``."""

        def look(tx: Transaction) -> list[Entry]:
            there = accounts.account(tx, *self._owner(tx, principal, who, acts=False))
            if there is None:
                return []
            return ledger.statement(tx, there.id, unit, before=before, limit=max(1, min(limit, PAGE_MAX)))

        return await self._db.read(look)

    async def whole_statement(self, principal: Principal, who: str = "", unit: Unit = "bytes") -> AsyncIterator[Entry]:
        """All lines of an account, the newest first, read page by page."""
        before: int | None = None
        while True:
            page = await self.statement(principal, who, unit, before=before, limit=PAGE_MAX)
            for entry in page:
                yield entry
            if len(page) < PAGE_MAX or page[-1].number == 1:
                return
            before = page[-1].number

    async def require_key(self, secret: str, wants: str) -> ApiKey:
        """The API key of a secret that may ``deposit`` or ``withdraw``. Raises BadCredentials, Forbidden."""
        return await self._db.write_or_find(lambda tx: keys.require_key(tx, secret, wants))

    async def deposit(
        self, by: Principal | ApiKey, who: str, unit: Unit, amount: int, *, key: str = "", note: str = ""
    ) -> Done:
        """Credit an account (administrators, and keys that may). The same ``key`` of one caller deposits once.

        Raises Forbidden, UserNotFound, GroupNotFound, BadInput, InvalidSize, KeyReused, InUse (a closed account).
        """
        _may(by, "deposit")

        def work(tx: Transaction) -> Done:
            outside, theirs = accounts.system(tx, "outside"), _opened(tx, who)
            done = self._move(tx, "deposit", unit, amount, outside, theirs, _key(by, key), note)
            self._noted_once(tx, "credit-deposited", by, theirs, done)
            return done

        return await self._db.write_or_find(work)

    async def withdraw(
        self, by: Principal | ApiKey, who: str, unit: Unit, amount: int, *, key: str = "", note: str = ""
    ) -> Done:
        """Take credit from an account (administrators, and keys that may). Raises CreditExhausted and what
        ``deposit`` raises.
        """
        _may(by, "withdraw")

        def work(tx: Transaction) -> Done:
            theirs, outside = _opened(tx, who), accounts.system(tx, "outside")
            done = self._move(tx, "withdraw", unit, amount, theirs, outside, _key(by, key), note)
            self._noted_once(tx, "credit-withdrawn", by, theirs, done)
            return done

        return await self._db.write_or_find(work)

    async def give(
        self, principal: Principal, to: str, unit: Unit, amount: int, *, of: str = "", key: str = "", note: str = ""
    ) -> Done:
        """Give of one's own credit, or of the group's that one manages, to another account.

        Raises Forbidden (the hive does not let users), CreditExhausted and what ``deposit`` raises.
        """
        if not self.rules.gifts and not principal.acts_as_admin:
            raise Forbidden("this hive does not let users give credit to each other")

        def work(tx: Transaction) -> Done:
            mine = accounts.opened(tx, *self._owner(tx, principal, of, acts=True))
            if mine.kind == "token" and not principal.acts_as_admin:
                raise Forbidden("what a token has is spent with the token")
            theirs = _opened(tx, to)
            done = self._move(tx, "gift", unit, amount, mine, theirs, _key(principal, key), note)
            self._noted_once(tx, "credit-given", principal, theirs, done)
            return done

        return await self._db.write_or_find(work)

    async def refund(
        self, by: Principal | ApiKey, transfer_id: Id, amount: int | None = None, *, key: str = "", note: str = ""
    ) -> Done:
        """Give back a transfer, or a part of it (administrators; keys what they themselves moved).

        Without a ``key`` a transfer is given back once as a whole. Raises Forbidden, TransferNotFound, BadInput,
        CreditExhausted, KeyReused.
        """
        own = f"key:{by.id.hex()}:" if isinstance(by, ApiKey) else ""
        if isinstance(by, Principal):
            by.require_admin()

        def work(tx: Transaction) -> Done:
            if not ledger.the_transfer(tx, transfer_id).key.startswith(own):
                raise TransferNotFound("no such transfer of this key")
            own_key = _key(by, key) if key else f"refund:{transfer_id.hex()}"
            done = ledger.refund(tx, transfer_id, amount, own_key, note)
            self._noted_once(tx, "credit-refunded", by, None, done, refund_of=transfer_id.hex())
            return done

        return await self._db.write_or_find(work)

    async def settle(self, payment: Payment) -> Settled:
        """Do what a payment callback says, once for each of its ids; its signature was checked.

        A refund takes back what is still there and says what is missing. Raises BadInput, InvalidSize, UserNotFound,
        TransferNotFound, KeyReused, InUse.
        """
        if not 0 < len(payment.id) <= 120:
            raise BadInput("the id of a payment has 1 to 120 characters")

        def work(tx: Transaction) -> Settled:
            if payment.refund_of:
                settled = _take_back(tx, payment)
                if settled.done is not None:
                    self._noted_once(tx, "credit-paid-back", None, None, settled.done, payment=payment.id)
                return settled
            outside, theirs = accounts.system(tx, "outside"), _opened(tx, payment.account)
            key = f"payment:{payment.id}"
            done = self._move(tx, "payment", payment.unit, payment.amount, outside, theirs, key, payment.note)
            self._noted_once(tx, "credit-paid", None, theirs, done, payment=payment.id)
            return Settled(done, 0)

        return await self._db.write_or_find(work)

    async def audit(self, principal: Principal) -> list[Finding]:
        """Everything in the ledger that does not add up (administrators)."""
        principal.require_admin()
        return await self._db.read(ledger.audit)

    def _noted_once(
        self,
        tx: Transaction,
        action: str,
        by: Principal | ApiKey | None,
        of: Account | None,
        done: Done,
        **facts: object,
    ) -> None:
        """Note a transfer in the audit log, unless it was made before."""
        if not done.repeated:
            moved = done.transfer
            told = {"transfer": moved.id.hex(), "unit": moved.unit, "amount": moved.amount}
            self._noted(tx, action, by, of, **told, **facts)

    def _move(
        self, tx: Transaction, kind: str, unit: Unit, amount: int, payer: Account, payee: Account, key: str, note: str
    ) -> Done:
        done = ledger.move(tx, ledger.Movement(kind, unit, amount, payer.id, payee.id, key, note))
        if not done.repeated:
            told = {"transfer_id": done.transfer.id, "what": kind, "unit": unit, "amount": amount}
            tx.after_commit(lambda: self._tell(CreditMoved, **told))
        return done


def _may(by: Principal | ApiKey, wants: str) -> None:
    if isinstance(by, Principal):
        by.require_admin()
    elif by.may not in (wants, "both"):
        raise Forbidden(f"the key {by.name!r} may not {wants}")


def _opened(tx: Transaction, who: str) -> Account:
    return accounts.opened(tx, *accounts.owner_of(tx, who))


def _key(by: Principal | ApiKey, key: str) -> str:
    """Whose key it is is part of it, so that nobody's keys meet another's."""
    if len(key) > 120:
        raise BadInput("the key of a transfer has at most 120 characters")
    if isinstance(by, ApiKey):  # what a key moved is known by this, whether or not it names the transfer
        return f"key:{by.id.hex()}:{key or _fresh()}"
    return f"user:{by.user_id.hex()}:{key}" if key else ""


def _fresh() -> str:
    from skep.base.ids import id_text, new_id

    return f"-{id_text(new_id())}"


def _take_back(tx: Transaction, payment: Payment) -> Settled:
    paid = ledger.by_key(tx, f"payment:{payment.refund_of}")
    if paid is None:
        raise TransferNotFound("no payment of this id came in")
    key = f"payment:{payment.id}"
    there = ledger.by_key(tx, key)
    if there is not None:
        return Settled(ledger.refund(tx, paid.id, None, key), payment.amount - there.amount)
    can = min(payment.amount, paid.amount - ledger.refunded(tx, paid.id), ledger.free(tx, paid.to_id, paid.unit))
    if can <= 0:
        return Settled(None, payment.amount)
    return Settled(ledger.refund(tx, paid.id, can, key, payment.note), payment.amount - can)
