"""What accounts have to spend: balances, statements, transfers, prices, plans, promo codes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias
from urllib.parse import quote

from skep.client.calls import Caller

CREDIT = "/api/credit"
PAGE_ITEMS = 500
Record: TypeAlias = dict[str, Any]
"""What the API tells of one thing."""


class Credit:
    """Calls of ``/api/credit``. ``account`` is user:NAME, group:NAME or token:TOKEN; empty: one's own."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def show(self, account: str = "") -> Record:
        """What an account has."""
        return self._record("GET", f"{CREDIT}?account={quote(account, safe='')}")

    def statement(self, account: str, unit: str) -> Iterator[Record]:
        """What went into an account and out of it, newest first."""
        before: object = None
        while True:
            query = {"account": account, "unit": unit, "before": before, "limit": PAGE_ITEMS}
            page = self._caller.json("GET", f"{CREDIT}/statement", query)
            yield from page["lines"]
            before = page["next"]
            if not before:
                return

    def statement_csv(self, account: str, unit: str) -> Iterator[bytes]:
        """The same as CSV, part by part."""
        response = self._caller.open("GET", f"{CREDIT}/statement.csv", {"account": account, "unit": unit})
        buffer = memoryview(bytearray(64 * 1024))
        try:
            while count := response.readinto(buffer):
                yield bytes(buffer[:count])
        finally:
            response.close()

    def move(self, verb: str, send: Record) -> Record:
        """``deposits``, ``withdrawals``, ``gifts`` or ``purchases``. With a ``key`` it may be sent again safely."""
        found: Record = self._caller.json("POST", f"{CREDIT}/{verb}", send=send, repeatable=bool(send.get("key")))
        return found

    def refund(self, transfer: str, send: Record) -> Record:
        """Give back a transfer, or a part of it."""
        path = f"{CREDIT}/transfers/{quote(transfer, safe='')}/refunds"
        found: Record = self._caller.json("POST", path, send=send, repeatable=True)
        return found

    def audit(self) -> list[Record]:
        """What in the ledger does not add up."""
        return list(self._record("GET", f"{CREDIT}/audit")["findings"])

    def prices(self, *, everything: bool = False) -> Record:
        """What credit costs; ``everything``: before and after, too."""
        return self._record("GET", f"{CREDIT}/prices/all" if everything else f"{CREDIT}/prices")

    def add_price(self, send: Record) -> Record:
        """Sell so many bytes for so much."""
        return self._record("POST", f"{CREDIT}/prices", send)

    def end_price(self, price: str) -> Record:
        """Sell at a price no longer."""
        return self._record("DELETE", f"{CREDIT}/prices/{quote(price, safe='')}")

    def keys(self) -> list[Record]:
        """Keys of programs, without their secrets."""
        return list(self._record("GET", f"{CREDIT}/keys")["keys"])

    def add_key(self, name: str, may: str, key: str | None) -> Record:
        """A key of a program; it is in this answer only."""
        return self._record("POST", f"{CREDIT}/keys", {"name": name, "may": may, "key": key})

    def remove_key(self, name: str) -> None:
        """Make a key useless."""
        self._caller.json("DELETE", f"{CREDIT}/keys/{quote(name, safe='')}")

    def usage(self, account: str = "") -> list[Record]:
        """What an account has used, the newest month first."""
        return list(self._record("GET", f"{CREDIT}/usage?account={quote(account, safe='')}")["months"])

    def limits(self, account: str = "") -> Record:
        """What limits an account now."""
        return self._record("GET", f"{CREDIT}/limits?account={quote(account, safe='')}")

    def set_limits(self, send: Record) -> Record:
        """Limit an account beside its plan."""
        return self._record("PUT", f"{CREDIT}/limits", send)

    def plans(self) -> list[Record]:
        """The plans that one may choose; of an administrator all."""
        return list(self._record("GET", f"{CREDIT}/plans")["plans"])

    def put_plan(self, name: str, terms: Record) -> Record:
        """Make a plan, or give it other terms."""
        return self._record("PUT", f"{CREDIT}/plans/{quote(name, safe='')}", terms)

    def remove_plan(self, name: str) -> None:
        """Take a plan away."""
        self._caller.json("DELETE", f"{CREDIT}/plans/{quote(name, safe='')}")

    def subscriptions(self, account: str = "") -> list[Record]:
        """The plans of an account."""
        return list(self._record("GET", f"{CREDIT}/subscriptions?account={quote(account, safe='')}")["subscriptions"])

    def choose_plan(self, account: str, plan: str | None) -> list[Record]:
        """Choose the standing plan of an account."""
        send = {"plan": plan, "account": account}
        return list(self._record("PUT", f"{CREDIT}/subscriptions", send)["subscriptions"])

    def prepay_plan(self, account: str, plan: str, duration_s: int) -> Record:
        """Give an account a plan for a time."""
        return self._record(
            "POST", f"{CREDIT}/subscriptions", {"account": account, "plan": plan, "duration_s": duration_s}
        )

    def promos(self) -> Iterator[Record]:
        """All promo codes."""
        return self._caller.pages(f"{CREDIT}/promos", {"limit": PAGE_ITEMS}, "promos")

    def add_promo(self, send: Record) -> Record:
        """Make a promo code."""
        return self._record("POST", f"{CREDIT}/promos", send)

    def end_promo(self, code: str) -> None:
        """Let nobody redeem a code any more."""
        self._caller.json("DELETE", f"{CREDIT}/promos/{quote(code, safe='')}")

    def redeem(self, code: str, account: str = "") -> Record:
        """Redeem a promo code."""
        return self._record("POST", f"{CREDIT}/redeem", {"code": code, "account": account})

    def _record(self, method: str, path: str, send: object = None) -> Record:
        found: Record = self._caller.json(method, path, send=send)
        return found
