"""``skep recover``: a hive out of its stores and its master key."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from skep.base.errors import BadInput
from skep.cli.options import with_output
from skep.cli.output import Output, human_time, shown

if TYPE_CHECKING:
    from skep.durability.reconcile import Recovery

UNREADABLE_SHOWN = 10


@click.command(no_args_is_help=True)
@click.option(
    "--master-key",
    "key_file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="The file with the master key (`skep key backup`), mode 0600 (default: by the settings).",
)
@click.option(
    "--store", "stores", multiple=True, required=True, metavar="URL", help="A store of the hive (repeatable)."
)
@click.option(
    "--secrets",
    "secrets_file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A JSON file with the secrets of stores that need one, by their URLs.",
)
@click.option(
    "--data-dir", type=click.Path(path_type=str), help="The new hive's data directory (default: the setting)."
)
@with_output
def recover(
    output: Output, key_file: Path | None, stores: tuple[str, ...], secrets_file: Path | None, data_dir: str | None
) -> None:
    """Rebuild a hive from its stores and its master key.

    For when the machine, or its database, is gone. Name all stores that are left, as they are reached
    now; as many as the scheme can lose may be missing. The newest snapshot of the metadata is read from
    the stores and made to agree with what lies there. Nothing in the stores is changed, and a data
    directory that has a hive is not touched. `skep up` starts the hive afterwards; accounts and their
    passwords are as they were, and everybody must log in again.

    \b
    Examples:
      skep recover --master-key hive.key --store fs:///mnt/disk1 --store fs:///mnt/disk2
      skep up && skep login http://127.0.0.1:8080 && skep fsck --read-data
    """
    from skep.base.clock import SystemClock
    from skep.base.logs import configure_logs
    from skep.base.settings import LogSettings, load_settings
    from skep.crypto.keys import MasterKey
    from skep.server.recovering import recover as run

    configure_logs(LogSettings(level="warning", format="auto", requests="none"))  # standard output is the result's
    settings = load_settings({"data_dir": os.path.abspath(data_dir)} if data_dir else {})
    master = None if key_file is None else MasterKey.from_file(key_file)
    secrets = _secrets(secrets_file)
    with _progress(output) as report:
        result = asyncio.run(run(settings, master, stores, clock=SystemClock(), report=report, secrets=secrets))
    output.value(_as_json(result), lambda: _as_text(result))


def _secrets(path: Path | None) -> dict[str, str]:
    """The secrets of a file by URL. Raises BadInput, without repeating any."""
    import msgspec

    if path is None:
        return {}
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, str])
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise BadInput(f'{path} is not a JSON object of URLs and secrets: {{"s3://...": "ID:SECRET"}}') from None


def _as_json(result: Recovery) -> dict[str, object]:
    return {
        "snapshot_us": result.snapshot.created_us if result.snapshot else None,
        "packs_found": result.packs_found,
        "packs_added": result.packs_added,
        "chunks_added": result.chunks_added,
        "chunks_moved": result.chunks_moved,
        "chunks_unknown": result.chunks_unknown,
        "shards_missing": result.shards_missing,
        "stores_absent": result.stores_absent,
        "stores_added": result.stores_added,
        "unreadable": result.unreadable,
    }


def _as_text(result: Recovery) -> str:
    when = human_time(result.snapshot.created_us) if result.snapshot else "-"
    lines = [
        f"the hive is as it was at {when}",
        f"{result.packs_found} packs found, {result.packs_added} of them newer than that",
        f"{result.shards_missing} shards are missing and queued for repair",
    ]
    lines += [f"store absent: {shown(name)} (if it is gone: skep store lost)" for name in result.stores_absent]
    lines += [f"store newer than that: {shown(name)}, a zone of its own" for name in result.stores_added]
    lines += [f"not readable: {shown(text)}" for text in result.unreadable[:UNREADABLE_SHOWN]]
    if len(result.unreadable) > UNREADABLE_SHOWN:
        lines.append(f"... and {len(result.unreadable) - UNREADABLE_SHOWN} more (--json shows all)")
    return "\n".join([*lines, "Next: skep up"])


@contextlib.contextmanager
def _progress(output: Output) -> Iterator[Callable[[str, int, int], None]]:
    """A line for each step, and a bar on a terminal."""
    if output.quiet or output.as_json or not sys.stderr.isatty():
        seen: set[str] = set()

        def told(step: str, done: int, total: int) -> None:
            if step not in seen:
                seen.add(step)
                output.step(f"recover: {step}")

        yield told
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        tasks: dict[str, object] = {}

        def moved(step: str, done: int, total: int) -> None:
            if step not in tasks:
                tasks[step] = progress.add_task(step, total=total)
            progress.update(tasks[step], completed=done, total=max(total, done, 1))  # type: ignore[arg-type]

        yield moved
