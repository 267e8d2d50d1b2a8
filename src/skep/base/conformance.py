"""What suites of named checks share: how a check says that something is wrong, and how one after the other is run.

Stores, engines and machines have such a suite each, which their drivers are held to by tests and by operators alike.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Literal, Protocol, TypeAlias, TypeVar

import msgspec

from skep.base.errors import SkepError

Outcome: TypeAlias = Literal["passed", "failed", "skipped"]


class Failed(Exception):
    """What is checked does not keep its contract."""


class NotApplicable(Exception):
    """What is checked does not claim to do this."""


class CheckResult(msgspec.Struct, frozen=True):
    """How one check went."""

    name: str
    outcome: Outcome
    detail: str
    """What is wrong, or why it was skipped; empty when it passed."""


class CheckPlace(Protocol):
    """What one check works with."""

    async def clean_up(self) -> None:
        """Remove what the check made."""
        ...


P = TypeVar("P", bound=CheckPlace)


async def outcome_of(running: Awaitable[None]) -> tuple[Outcome, str]:
    """How a check ends, and its detail; an unexpected error is a finding, too."""
    try:
        await running
    except NotApplicable as reason:
        return "skipped", str(reason)
    except Failed as failure:
        return "failed", str(failure)
    except SkepError as error:
        return "failed", f"unexpected {error.code}: {error.message}"
    except Exception as error:  # a driver's defect
        return "failed", f"unexpected {type(error).__name__}: {error}"
    return "passed", ""


async def run_checks(
    checks: Mapping[str, Callable[[P], Awaitable[None]]],
    open_place: Callable[[], Awaitable[P]],
    *,
    only: str | None = None,
    progress: Callable[[CheckResult], None] | None = None,
) -> tuple[CheckResult, ...]:
    """Run all checks (or the one named ``only``) one after the other, each in a place of its own.

    ``progress`` is told of each as it ends. A check that fails does not stop the others.
    """
    results = []
    for name, run in checks.items():
        if only not in (None, name):
            continue
        place = await open_place()
        try:
            result = CheckResult(name, *await outcome_of(run(place)))
        finally:
            await place.clean_up()
        results.append(result)
        if progress is not None:
            progress(result)
    return tuple(results)
