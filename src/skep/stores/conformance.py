"""What every store must do, as named checks against a live one. Free of any test framework.

    report = await check(lambda: open_store(url), progress=print)

The tests run it on each driver and each wrapper; ``skep store check URL`` runs it for an operator. It writes a few MB
below ``check/<id>/`` and removes them; what else the store holds is neither read nor changed.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias

from skep.base.conformance import Outcome, outcome_of
from skep.base.ids import new_id
from skep.stores import conformance_checks as checks
from skep.stores.conformance_checks import Place
from skep.stores.protocol import Store

MakeStore: TypeAlias = Callable[[], Store]
"""Opens the same place each time that it is called."""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """How one check went."""

    name: str
    outcome: Outcome
    detail: str
    """What is wrong, or why it was skipped; empty when it passed."""
    duration_s: float


@dataclass(frozen=True, slots=True)
class Report:
    """How all went."""

    results: tuple[CheckResult, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing failed."""
        return not self.failures

    @property
    def failures(self) -> tuple[CheckResult, ...]:
        return tuple(result for result in self.results if result.outcome == "failed")

    def __str__(self) -> str:
        return "\n".join(f"{result.outcome:7} {result.name}  {result.detail}".rstrip() for result in self.results)


Check: TypeAlias = Callable[[Place], Awaitable[None]]

CHECKS: tuple[tuple[str, Check], ...] = tuple(
    (name.removeprefix("check_").replace("_", "-"), check)
    for name, check in vars(checks).items()
    if name.startswith("check_") and getattr(check, "__module__", "") == checks.__name__
)


async def check(
    make_store: MakeStore,
    *,
    only: str | None = None,
    large_bytes: int = 8 << 20,
    progress: Callable[[CheckResult], None] | None = None,
) -> Report:
    """Run all checks (or the one named ``only``) one after the other; ``progress`` is told of each as it ends.

    ``large_bytes`` is the size of the largest object that is written. A check that fails does not stop the others, nor
    does one that the store breaks with an unexpected error. The stores it opened are closed and what it put is deleted.
    """
    prefix = f"check/{new_id().hex()}"
    results: list[CheckResult] = []
    for number, (name, run) in enumerate(CHECKS):
        if only in (None, name):
            place = Place(make_store, f"{prefix}/{number}", large_bytes)
            result = await _run(name, run, place)
            results.append(result)
            if progress is not None:
                progress(result)
    return Report(tuple(results))


async def _run(name: str, run: Check, place: Place) -> CheckResult:
    started_s = time.monotonic()
    outcome, detail = await outcome_of(run(place))
    left_over = await place.clean_up()
    if left_over and outcome == "passed":
        outcome, detail = "failed", left_over
    return CheckResult(name, outcome, detail, time.monotonic() - started_s)
