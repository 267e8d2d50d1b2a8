"""Credit: who has how much, what it costs, and what was used.

    credit = Credit(db, clock, CreditRules(currency="EUR"))
    await credit.deposit(admin, "user:ann", "bytes", 10 << 30, key="order 7")
    page = await credit.statement(ann)

Functions over a Transaction do the work, by subject: ``ledger`` (transfers of two entries, and whether they add up),
``accounts``, ``prices``, ``plans``, ``promos``, ``keys``; ``payments`` knows signed callbacks and ``tokens`` how
anonymous ones look. ``service`` is the asynchronous face.
"""

from __future__ import annotations

from skep.credit.core import CreditRules, Spaces
from skep.credit.hooks import CreditHooks
from skep.credit.paying import Holder, Payment, Settled
from skep.credit.records import (
    Account,
    ApiKey,
    Balance,
    Done,
    Entry,
    Finding,
    Plan,
    PlanTerms,
    Price,
    Promo,
    Subscription,
    Transfer,
    Unit,
)
from skep.credit.service import Credit

__all__ = [
    "Account",
    "ApiKey",
    "Balance",
    "Credit",
    "CreditHooks",
    "CreditRules",
    "Done",
    "Entry",
    "Finding",
    "Holder",
    "Payment",
    "Plan",
    "PlanTerms",
    "Price",
    "Promo",
    "Settled",
    "Spaces",
    "Subscription",
    "Transfer",
    "Unit",
]
