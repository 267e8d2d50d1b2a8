"""What ``put`` and ``get`` say at their end."""

from __future__ import annotations

from collections.abc import Sequence

from skep.base.errors import SkepError
from skep.cli.exits import DONE, FAILED, exit_code
from skep.cli.output import Output, human_duration, human_size, shown
from skep.client.scan import Skipped
from skep.client.work import Failure, Tally

SHOWN_MAX = 50


def report_transfer(output: Output, verb: str, tally: Tally, skipped: Sequence[Skipped], seconds: float) -> int:
    """Print the outcome of a transfer; the exit code: of the failures, if they are of one kind."""
    failures = [*tally.failures, *(Failure(s.local, SkepError(s.reason)) for s in skipped if s.failed)]
    notes = [s for s in skipped if not s.failed]
    for note in notes[:SHOWN_MAX]:
        output.note(f"skipped {shown(note.local)}: {note.reason}")
    if len(notes) > SHOWN_MAX:
        output.note(f"skipped {len(notes) - SHOWN_MAX} more")
    if not output.as_json:
        _print_failures(failures)
    output.value(
        {
            "files": tally.files,
            "size_bytes": tally.size_bytes,
            "unchanged": tally.unchanged,
            "skipped": [{"path": s.local, "reason": s.reason} for s in notes],
            "failed": [{"path": f.path, "code": f.error.code, "message": f.error.message} for f in failures],
            "seconds": round(seconds, 3),
        },
        "" if output.quiet else _summary(verb, tally, seconds),
    )
    codes = {exit_code(failure.error) for failure in failures}
    return DONE if not codes else codes.pop() if len(codes) == 1 else FAILED


def _summary(verb: str, tally: Tally, seconds: float) -> str:
    rate = f", {human_size(int(tally.size_bytes / seconds))}/s" if seconds > 0 and tally.size_bytes else ""
    kept = f"; {tally.unchanged:,} unchanged" if tally.unchanged else ""
    files = "1 file" if tally.files == 1 else f"{tally.files:,} files"
    return f"{verb} {files}, {human_size(tally.size_bytes)} in {human_duration(seconds)}{rate}{kept}"


def _print_failures(failures: Sequence[Failure]) -> None:
    import sys

    for failure in failures[:SHOWN_MAX]:
        print(f"skep: {shown(failure.path)}: {failure.error.message}", file=sys.stderr)
    if len(failures) > SHOWN_MAX:
        print(f"skep: {len(failures) - SHOWN_MAX} more failed", file=sys.stderr)
