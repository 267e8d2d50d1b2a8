"""What every engine must do, as named checks against a live one. Free of any test framework.

    report = await check(bench, progress=print)

A ``Bench`` opens engines on one host and says how the checks' program is run there: the words after it say what it
does. The program of the bench must understand

    stay                    says "staying" and stays
    exit CODE WORD…         says each word on a line and ends with CODE
    stubborn                says "stubborn", ignores SIGTERM and stays
    serve                   says "serving" and answers 200 over HTTP on $PORT
    serve late SECONDS      the same, and listens only after that time
    serve failing           answers 500
    lines N                 says "line 1" … "line N", and "complaint" on standard error, and stays
    remember                adds to a file in $VOLUME_SRV_APP_KEEP, says "start N" for its N lines, and stays
    flaky N                 as remember, but ends with 1 until it has been started more than N times
    show NAME               says what the variable NAME is and stays

Each check uses ids of its own and removes what it made.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from skep.base.conformance import CheckResult, run_checks
from skep.base.ids import new_id
from skep.deploy.engines import conformance_jobs, conformance_output
from skep.deploy.engines.conformance_place import Bench, Place

Check: TypeAlias = Callable[[Place], Awaitable[None]]


CHECKS: dict[str, Check] = {
    name.removeprefix("check_").replace("_", "-"): run
    for module in (conformance_jobs, conformance_output)
    for name, run in vars(module).items()
    if name.startswith("check_") and getattr(run, "__module__", "") == module.__name__
}


async def check(
    bench: Bench, *, only: str | None = None, progress: Callable[[CheckResult], None] | None = None
) -> tuple[CheckResult, ...]:
    """Run the checks as ``run_checks`` says."""

    async def opened() -> Place:
        return Place(bench, await bench.open(), f"check-{new_id().hex()[-8:]}")

    return await run_checks(CHECKS, opened, only=only, progress=progress)
