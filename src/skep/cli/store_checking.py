"""The stores' conformance suite, run from this machine on a URL."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from skep.stores.conformance import CheckResult, check
from skep.stores.registry import open_store


def check_url(url: str, secret: bytes | None, told: Callable[[CheckResult], None]) -> list[CheckResult]:
    """Check a place; ``told`` gets each result as it comes. Raises InvalidStoreUrl."""
    open_store(url, secret=secret)  # a URL that is wrong is said before the first check
    report = asyncio.run(check(lambda: open_store(url, secret=secret), progress=told))
    return list(report.results)
