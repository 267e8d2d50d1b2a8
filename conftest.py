"""For every test: how Hypothesis searches, and what a machine that must have every tool makes of a skip.

Profiles: ``quick`` (the default) tries the same examples every time; ``long`` (HYPOTHESIS_PROFILE=long)
searches anew with more of them and prints what reproduces a failure.
"""

from __future__ import annotations

import os
from collections.abc import Generator

import hypothesis
import pytest

_SLOW = [hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.function_scoped_fixture]
hypothesis.settings.register_profile(
    "quick", derandomize=True, deadline=None, database=None, suppress_health_check=_SLOW
)
hypothesis.settings.register_profile(
    "long", max_examples=1_000, deadline=None, print_blob=True, suppress_health_check=_SLOW
)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With SKEP_CI=1 a test that is skipped for want of a program fails: a green run has run them all."""
    report = yield
    if report.skipped and os.environ.get("SKEP_CI") == "1" and not hasattr(report, "wasxfail"):
        reason = str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr)
        if "not installed" in reason:
            report.outcome = "failed"
            report.longrepr = f"{item.nodeid} must not be skipped on this machine: {reason}"
    return report
