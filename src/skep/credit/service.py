"""The credit service: every call says who asks, and does its database work in one hop to a thread."""

from __future__ import annotations

from skep.credit.anonymous import Anonymous
from skep.credit.paying import Paying
from skep.credit.selling import Selling
from skep.credit.watching import Watching


class Credit(Paying, Selling, Anonymous, Watching):
    """Accounts, the ledger, prices, plans and promo codes. Lives on one event loop.

    The calls are sorted by what they are for: ``Paying`` (balances, statements, deposits, refunds, callbacks),
    ``Selling`` (prices, plans, codes, keys), ``Anonymous`` (tokens), ``Watching``
    (use and limits).
    """
