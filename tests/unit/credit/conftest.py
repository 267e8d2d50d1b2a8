from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from skep.credit import Credit, CreditHooks, CreditRules
from skep.testing.accounts import AuthBench, open_auth


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[AuthBench]:
    async with open_auth(tmp_path, registration="open") as opened:
        yield opened


@pytest.fixture
def credit(bench: AuthBench) -> Credit:
    made = Credit(bench.db, bench.clock, CreditRules(payment_secret="a secret of 30 letters"))
    bench.auth._deletion = CreditHooks(made)
    return made
