"""The face for what can be had: prices, plans, promo codes, and the keys of programs that deposit."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial

from skep.auth.records import Principal
from skep.auth.scopes import ACCOUNT
from skep.base.errors import BadInput, InUse, PlanNotFound, RateLimited
from skep.base.ids import Id, new_id
from skep.credit import accounts, keys, ledger, plans, prices, promos
from skep.credit.core import Core
from skep.credit.records import (
    Account,
    AccountKind,
    ApiKey,
    Done,
    Plan,
    PlanTerms,
    Price,
    Promo,
    Subscription,
    amount_of,
)
from skep.db import Transaction
from skep.events.records import PlanChanged

COUNT_MAX = 1_000_000


class Selling(Core):
    """Prices, plans and codes."""

    # --- prices -----------------------------------------------------------------------------

    async def prices(self) -> list[Price]:
        """What credit costs now: everybody may know."""
        return await self._db.read(prices.valid_prices)

    async def all_prices(self, principal: Principal) -> list[Price]:
        """The prices of before and after, too (administrators)."""
        principal.require_admin()
        return await self._db.read(prices.all_prices)

    async def add_price(
        self,
        principal: Principal,
        size_bytes: int,
        cost: int,
        *,
        from_us: int | None = None,
        until_us: int | None = None,
    ) -> Price:
        """Sell so many bytes for so much (administrators). Raises InvalidSize, BadInput."""
        principal.require_admin()

        def work(tx: Transaction) -> Price:
            made = prices.add_price(tx, size_bytes, cost, from_us, until_us)
            self._noted(tx, "price-added", principal, price=made.id.hex(), bytes=size_bytes, cost=cost)
            return made

        return await self._db.write_or_find(work)

    async def end_price(self, principal: Principal, price_id: Id) -> Price:
        """Sell at a price no longer (administrators). Raises NotFound."""
        principal.require_admin()

        def work(tx: Transaction) -> Price:
            self._noted(tx, "price-ended", principal, price=price_id.hex())
            return prices.end_price(tx, price_id)

        return await self._db.write_or_find(work)

    async def buy(self, principal: Principal, price_id: Id, count: int = 1, *, who: str = "", key: str = "") -> Done:
        """Turn money of an account into bytes at a price, so many times. Both happen or none.

        The transfer that it tells of is that of the bytes. Raises NotFound, BadInput, CreditExhausted, KeyReused.
        """
        if not 0 < count <= COUNT_MAX or len(key) > 100:
            raise BadInput(f"buy 1 to {COUNT_MAX} times, under a key of at most 100 characters")

        def work(tx: Transaction) -> Done:
            mine = accounts.opened(tx, *self._owner(tx, principal, who, acts=True))
            own = f"buy:{mine.id.hex()}:{key or new_id().hex()}"
            there = ledger.by_key(tx, f"{own}:bytes") if key else None
            price = prices.the_price(tx, price_id) if there is not None else prices.price_to_pay(tx, price_id)
            shop = accounts.system(tx, "sales")
            note = f"{count} x {price.bytes}"
            paid = ledger.Movement(
                "buy", "money", amount_of(price.cost * count), mine.id, shop.id, f"{own}:money", note
            )
            got = ledger.Movement(
                "buy", "bytes", amount_of(price.bytes * count), shop.id, mine.id, f"{own}:bytes", note
            )
            ledger.move(tx, paid)
            done = ledger.move(tx, got)
            if not done.repeated:
                self._noted(tx, "credit-bought", principal, mine, price=price_id.hex(), count=count)
            return done

        return await self._db.write_or_find(work)

    # --- plans ------------------------------------------------------------------------------

    async def list_plans(self, principal: Principal) -> list[Plan]:
        """The plans that one may choose; of an administrator all."""
        principal.require(ACCOUNT)
        found = await self._db.read(plans.list_plans)
        return found if principal.acts_as_admin else [plan for plan in found if plan.terms.is_open]

    async def put_plan(self, principal: Principal, name: str, terms: PlanTerms) -> Plan:
        """Make a plan or change its terms, which hold at once for all who have it (administrators)."""
        principal.require_admin()

        def work(tx: Transaction) -> tuple[Plan, list[Id]]:
            plan = plans.put_plan(tx, name, terms)
            self._noted(tx, "plan-set", principal, plan=plan.name, **dataclasses.asdict(terms))
            return plan, plans.accounts_of(tx, plan.id, COUNT_MAX)

        plan, held_by = await self._db.write_or_find(work)
        for start in range(0, len(held_by), 500):
            await self._db.write_or_find(partial(self._apply_all, account_ids=held_by[start : start + 500]))
        return plan

    def _apply_all(self, tx: Transaction, account_ids: list[Id]) -> None:
        for account_id in dict.fromkeys(account_ids):
            plans.let_owe(tx, account_id)
            there = accounts.by_id(tx, account_id)
            if there is not None:
                self._apply_plan(tx, there)

    async def remove_plan(self, principal: Principal, name: str) -> None:
        """Take a plan away (administrators). Raises PlanNotFound, InUse while somebody has it or a code gives it."""
        principal.require_admin()

        def work(tx: Transaction) -> None:
            if promos.has_plan(tx, plans.the_plan(tx, name).id):
                raise InUse(f"a promo code gives the plan {name!r}: remove the code first")
            plans.remove_plan(tx, name)
            self._noted(tx, "plan-removed", principal, plan=name)

        await self._db.write_or_find(work)

    async def subscriptions(self, principal: Principal, who: str = "") -> list[tuple[Subscription, Plan]]:
        """The plans of an account that hold or may still hold."""

        def look(tx: Transaction) -> list[tuple[Subscription, Plan]]:
            there = accounts.account(tx, *self._owner(tx, principal, who, acts=False))
            live = [] if there is None else plans.subscriptions(tx, there.id)
            return [(one, plans.plan_by_id(tx, one.plan_id)) for one in live]

        return await self._db.read(look)

    async def choose_plan(self, principal: Principal, name: str | None, *, who: str = "") -> Subscription | None:
        """Give an account another standing plan; None: none. Users choose among the open ones, for their own.

        Raises PlanNotFound, CreditExhausted (its first 30 days cannot be paid), Forbidden.
        """

        def work(tx: Transaction) -> Subscription | None:
            mine = accounts.opened(tx, *self._owner(tx, principal, who, acts=True))
            _with_plans(mine)
            made = None
            if name is None:
                plans.unsubscribe(tx, mine.id)
            else:
                plan = plans.the_plan(tx, name)
                if not plan.terms.is_open and not principal.acts_as_admin:
                    raise PlanNotFound(f"there is no plan {name[:64]!r}: list them to see their names")
                made = plans.subscribe(tx, mine, plan)
            self._noted(tx, "plan-chosen", principal, mine, plan=name)
            self._apply_plan(tx, mine)
            self._tell_plan(tx, mine, name)
            return made

        return await self._db.write_or_find(work)

    async def prepay_plan(self, principal: Principal, who: str, name: str, duration_us: int) -> Subscription:
        """Give an account a plan for a time that begins with its first use (administrators)."""
        principal.require_admin()

        def work(tx: Transaction) -> Subscription:
            theirs = accounts.opened(tx, *accounts.owner_of(tx, who))
            _with_plans(theirs)
            made = plans.prepay(tx, theirs, plans.the_plan(tx, name), duration_us)
            self._noted(tx, "plan-prepaid", principal, theirs, plan=name, duration_s=duration_us // 1_000_000)
            self._apply_plan(tx, theirs)
            self._tell_plan(tx, theirs, name)
            return made

        return await self._db.write_or_find(work)

    async def renew_plans(self, limit: int = 200) -> int:
        """End what is over and take what is due; how many subscriptions that were."""
        after, count = b"", 0
        while True:
            due = await self._db.write_or_find(partial(self._renew, after=after, limit=limit))
            count += len(due)
            if len(due) < limit:
                return count
            after = due[-1].id

    def _renew(self, tx: Transaction, after: Id, limit: int) -> list[Subscription]:
        due = plans.renew(tx, after, limit)
        for one in due:
            there = accounts.by_id(tx, one.account_id)
            if there is not None:
                self._apply_plan(tx, there)
                self._note_renewal(tx, one, there)
        return due

    def _note_renewal(self, tx: Transaction, was: Subscription, of: Account) -> None:
        """Note what became of a plan that was due; what stays unpaid is tried often, and is no news."""
        states = {one.id: one.state for one in plans.subscriptions(tx, of.id)}
        becomes = states.get(was.id, "ended")
        if (was.state, becomes) != ("unpaid", "unpaid"):
            self._noted(tx, "plan-renewed", None, of, subscription=was.id.hex(), state=becomes)

    def _tell_plan(self, tx: Transaction, account: Account, name: str | None) -> None:
        told = {"kind_of_account": account.kind, "owner": account.owner, "plan": name or ""}
        tx.after_commit(lambda: self._tell(PlanChanged, **told))

    # --- promo codes ------------------------------------------------------------------------

    async def list_promos(self, principal: Principal, *, after: str = "", limit: int = 100) -> list[Promo]:
        """The codes there are, after one (administrators)."""
        principal.require_admin()
        return await self._db.read(lambda tx: promos.list_promos(tx, after, max(1, min(limit, 1000))))

    async def add_promo(self, principal: Principal, promo: Promo, plan: str | None = None) -> tuple[Promo, bool]:
        """Make a code; one that is there stays as it is. The code as it is, and whether it is new (administrators)."""
        principal.require_admin()

        def work(tx: Transaction) -> tuple[Promo, bool]:
            made, is_new = promos.add_promo(tx, promo, plan)
            if is_new:
                self._noted(tx, "promo-added", principal, promo=made.code, bytes=made.bytes, plan=plan)
            return made, is_new

        return await self._db.write_or_find(work)

    async def end_promo(self, principal: Principal, code: str) -> None:
        """Let nobody redeem a code any more (administrators). Raises NotFound."""
        principal.require_admin()

        def work(tx: Transaction) -> None:
            promos.end_promo(tx, code)
            self._noted(tx, "promo-ended", principal, promo=code)

        await self._db.write_or_find(work)

    async def redeem(self, principal: Principal, code: str, *, who: str = "", address: str = "") -> Promo:
        """Give an account what a code gives, once. Raises PromoRefused, RateLimited after many wrong codes."""
        return await self._redeem(lambda tx: self._owner(tx, principal, who, acts=True), code, address, principal)

    async def redeem_for_token(self, token: str, code: str, *, address: str = "") -> Promo:
        """``redeem`` for an anonymous token."""
        return await self._redeem(lambda tx: ("token", accounts.token_owner(token)), code, address)

    async def _redeem(
        self,
        owner: Callable[[Transaction], tuple[AccountKind, str]],
        code: str,
        address: str,
        by: Principal | None = None,
    ) -> Promo:
        self._require_guess(address)

        def work(tx: Transaction) -> Promo:
            mine = accounts.opened(tx, *owner(tx))
            promo = promos.redeem(tx, mine, code)
            self._noted(tx, "promo-redeemed", by, mine, promo=promo.code)
            if promo.plan_id is not None:
                _with_plans(mine)
                self._apply_plan(tx, mine)
            return promo

        promo = await self._db.write_or_find(work)
        self._guesses.forget(address)
        return promo

    def _require_guess(self, address: str) -> None:
        try:
            self._guesses.check(address)
        except RateLimited as error:
            raise RateLimited("too many promo codes were refused: try again later", **error.details) from None

    # --- keys of programs -------------------------------------------------------------------

    async def list_keys(self, principal: Principal) -> list[ApiKey]:
        """The keys of programs, without their secrets (administrators)."""
        principal.require_admin()
        return await self._db.read(keys.list_keys)

    async def add_key(
        self, principal: Principal, name: str, may: str = "both", secret: str | None = None
    ) -> tuple[ApiKey, str]:
        """A key for a program that may ``deposit``, ``withdraw`` or ``both``, and its secret (administrators)."""
        principal.require_admin()

        def work(tx: Transaction) -> tuple[ApiKey, str]:
            made = keys.add_key(tx, name, may, secret)
            self._noted(tx, "credit-key-made", principal, key=name, may=may)
            return made

        return await self._db.write_or_find(work)

    async def remove_key(self, principal: Principal, name: str) -> None:
        """Make a key useless (administrators). Raises NotFound."""
        principal.require_admin()

        def work(tx: Transaction) -> None:
            keys.remove_key(tx, name)
            self._noted(tx, "credit-key-removed", principal, key=name)

        await self._db.write_or_find(work)


def _with_plans(account: Account) -> None:
    if account.kind not in ("user", "group"):
        raise BadInput("only users and groups have plans")
