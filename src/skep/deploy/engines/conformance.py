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
from typing import Literal, TypeAlias

import msgspec

from skep.base.errors import SkepError
from skep.base.ids import new_id
from skep.deploy.engines import conformance_jobs, conformance_output
from skep.deploy.engines.conformance_place import Bench, Failed, NotApplicable, Place

Outcome: TypeAlias = Literal["passed", "failed", "skipped"]
Check: TypeAlias = Callable[[Place], Awaitable[None]]


class CheckResult(msgspec.Struct, frozen=True):
    """How one check went."""

    name: str
    outcome: Outcome
    detail: str
    """What is wrong, or why it was skipped; empty when it passed."""


CHECKS: dict[str, Check] = {
    name.removeprefix("check_").replace("_", "-"): run
    for module in (conformance_jobs, conformance_output)
    for name, run in vars(module).items()
    if name.startswith("check_") and getattr(run, "__module__", "") == module.__name__
}


async def check(
    bench: Bench, *, only: str | None = None, progress: Callable[[CheckResult], None] | None = None
) -> tuple[CheckResult, ...]:
    """Run all checks (or the one named ``only``) one after the other; ``progress`` is told of each as it ends.

    A check that fails does not stop the others, nor does one that the engine breaks with an unexpected error.
    """
    results = []
    for name, run in CHECKS.items():
        if only in (None, name):
            result = await _run(bench, name, run)
            results.append(result)
            if progress is not None:
                progress(result)
    return tuple(results)


async def _run(bench: Bench, name: str, run: Check) -> CheckResult:
    place = Place(bench, await bench.open(), f"check-{new_id().hex()[-8:]}")
    try:
        await run(place)
    except NotApplicable as reason:
        return CheckResult(name, "skipped", str(reason))
    except Failed as failure:
        return CheckResult(name, "failed", str(failure))
    except SkepError as error:
        return CheckResult(name, "failed", f"unexpected {error.code}: {error.message}")
    except Exception as error:  # a driver's defect is a finding
        return CheckResult(name, "failed", f"unexpected {type(error).__name__}: {error}")
    finally:
        await place.clean_up()
    return CheckResult(name, "passed", "")
