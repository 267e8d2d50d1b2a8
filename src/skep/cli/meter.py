"""The progress bar of a transfer: on a terminal, on standard error, or nowhere."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Protocol

from skep.cli.output import Output, human_size


class Meter(Protocol):
    """What a transfer tells; see ``client.work.Progress``."""

    def moved(self, size_bytes: int) -> None: ...

    def finished(self, files: int) -> None: ...


class SilentMeter:
    """Shows nothing."""

    def moved(self, size_bytes: int) -> None:
        pass

    def finished(self, files: int) -> None:
        pass


@contextlib.contextmanager
def transfer_meter(output: Output, verb: str, *, files: int, size_bytes: int) -> Iterator[Meter]:
    """A bar for so many files and bytes, unless quiet, JSON, or no terminal is there to show it."""
    if output.quiet or output.as_json or not sys.stderr.isatty() or not files:
        yield SilentMeter()
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
    from rich.text import Text

    class Moved(ProgressColumn):
        """Sizes and speed in the units of every other command."""

        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            rate = f" {human_size(int(speed))}/s" if speed else ""
            return Text(f"{human_size(int(task.completed))} of {human_size(size_bytes)}{rate}")

    columns = (
        TextColumn("{task.description} {task.fields[done]:,}/{task.fields[files]:,} files"),
        BarColumn(),
        Moved(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(verb, total=max(size_bytes, 1), done=0, files=files)
        yield _Bar(progress.update, task)


class _Bar:
    def __init__(self, update: object, task: object) -> None:
        self._update = update
        self._task = task
        self._done = 0

    def moved(self, size_bytes: int) -> None:
        self._update(self._task, advance=size_bytes)  # type: ignore[operator]

    def finished(self, files: int) -> None:
        self._done += files
        self._update(self._task, done=self._done)  # type: ignore[operator]
