"""When a job that ended by itself is started again."""

from __future__ import annotations

from skep.deploy.engines.records import Restart

_DOUBLINGS_MAX = 20


def wait_before_start_s(restart: Restart, exit_code: int, failures: int) -> float | None:
    """Seconds until the next start; None: it is left alone.

    ``failures`` counts starts in a row that ended before they were steady, with this one, so it is at least 1.
    """
    if restart.policy == "never" or (restart.policy == "on-failure" and exit_code == 0):
        return None
    if restart.attempts_max and failures >= restart.attempts_max:
        return None
    doublings = min(failures - 1, _DOUBLINGS_MAX)
    return min(restart.backoff_first_s * (1 << doublings), restart.backoff_max_s)
