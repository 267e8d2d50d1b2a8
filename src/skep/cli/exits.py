"""Exit codes: the one map from the error tree to what a shell script sees.

0 done · 1 failed · 2 wrong usage or input · 3 not found · 4 denied, or not logged in · 5 conflict ·
6 unavailable (trying again can help) · 7 integrity (stored bytes are damaged) · 8 over a limit or quota ·
130 interrupted · 141 nobody reads the output any more
"""

from __future__ import annotations

from skep.base import errors

DONE, FAILED, USAGE, NOT_FOUND, DENIED, CONFLICT, UNAVAILABLE, INTEGRITY, LIMIT = range(9)
INTERRUPTED = 130
PIPE_CLOSED = 141

_BY_CLASS: tuple[tuple[type[errors.SkepError], int], ...] = (
    (errors.BadInput, USAGE),
    (errors.NotFound, NOT_FOUND),
    (errors.Denied, DENIED),
    (errors.Conflict, CONFLICT),
    (errors.Unavailable, UNAVAILABLE),
    (errors.Integrity, INTEGRITY),
    (errors.LimitReached, LIMIT),
)

EPILOG = (
    "Exit codes: 0 done, 1 failed, 2 wrong usage or input, 3 not found, 4 denied or not logged in, "
    "5 conflict, 6 unavailable (trying again can help), 7 integrity (stored bytes are damaged), "
    "8 over a limit or quota, 130 interrupted."
)


def exit_code(error: errors.SkepError) -> int:
    """The exit code of an error; 1 for those that no script would tell apart."""
    for kind, code in _BY_CLASS:
        if isinstance(error, kind):
            return code
    return FAILED
