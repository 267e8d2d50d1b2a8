"""``skep put``: files and trees to the hive."""

from __future__ import annotations

import os
import time

import click

from skep.base.errors import BadInput
from skep.cli.exits import DONE
from skep.cli.file_commands import space_option
from skep.cli.meter import transfer_meter
from skep.cli.options import with_hive
from skep.cli.output import Output, human_size, shown
from skep.cli.places import hive_path, space_id, target_inside, wants_inside
from skep.cli.report import report_transfer
from skep.client.hive import Hive
from skep.client.scan import LocalFile, Skipped, scan
from skep.client.trees import join


@click.command(no_args_is_help=True)
@click.argument("sources", nargs=-1, required=True, type=click.Path(path_type=str), metavar="SOURCE...")
@click.argument("target")
@click.option("--follow", is_flag=True, help="Send what symbolic links point at (else they are skipped).")
@click.option("--force", is_flag=True, help="Send files even if the hive has them already.")
@click.option("-n", "--dry-run", is_flag=True, help="Only say what would be sent.")
@click.option("-j", "--parallel", type=click.IntRange(1, 64), default=4, show_default=True, help="Requests at once.")
@space_option
@with_hive
def put(
    output: Output,
    hive: Hive,
    sources: tuple[str, ...],
    target: str,
    follow: bool,
    force: bool,
    dry_run: bool,
    parallel: int,
    space: str | None,
) -> int:
    """Upload files and directories.

    A directory SOURCE becomes TARGET itself: what is in it is merged into TARGET, so that the same
    command run again only sends what is missing or has changed. Write TARGET with a / at its end to put
    SOURCE into it under its own name. A file SOURCE becomes TARGET, or goes into it if that is a
    directory. Several SOURCEs always go into TARGET.

    Nothing on the hive is deleted; a file that is there gets a new version. Empty directories and
    modification times are kept. Symbolic links, pipes and sockets are skipped with a note; names that
    are not UTF-8 are refused. A file counts as sent already if size and time are the same, or if the
    journal of an earlier run says so and the hive still has that content.

    \b
    Examples:
      skep put ~/Pictures /Pictures         the tree; again to resume or update
      skep put ~/Pictures /Backup/          as /Backup/Pictures
      skep put a.txt b.txt /Texts
    """
    from skep.client.journal import Journal, journals_directory
    from skep.client.trees import plan_upload
    from skep.client.uploads import Upload, existing, journal_lines, run_upload

    began = time.monotonic()
    place = space_id(hive.files, space)
    pairs = _targets(hive, sources, target, place)
    found = [entry for source, path in pairs for entry in scan(source, path, follow=follow)]
    skipped = [entry for entry in found if isinstance(entry, Skipped)]
    entries = [entry for entry in found if not isinstance(entry, Skipped)]
    scope = (hive.url, place or "", hive_path(target), *(os.path.abspath(source) for source in sources))
    journal = Journal(journals_directory(), *scope)
    upload = Upload(hive.files, place, journal, cancel=hive.cancel, threads=parallel)
    try:
        plan = plan_upload(entries, existing(upload, entries), journal_lines(journal), force=force)
        if dry_run:
            return _say_plan(output, plan.files, plan.directories, len(plan.unchanged), plan.size_bytes)
        with transfer_meter(output, "put", files=len(plan.files), size_bytes=plan.size_bytes) as meter:
            upload = Upload(hive.files, place, journal, meter, hive.cancel, parallel)
            tally = run_upload(upload, plan)
    except KeyboardInterrupt:
        output.note("\ninterrupted: the same command again goes on from here")
        raise
    finally:
        journal.close()
    return report_transfer(output, "put", tally, skipped, time.monotonic() - began)


def _targets(hive: Hive, sources: tuple[str, ...], target: str, space: str | None) -> list[tuple[str, str]]:
    """Which source goes where on the hive."""
    path = hive_path(target)
    if len(sources) > 1 or wants_inside(target):
        pairs = [(source, join(path, _own_name(source))) for source in sources]
        if len({where for _, where in pairs}) < len(pairs):
            raise BadInput("two of the sources have the same name: put them one by one")
        return pairs
    [source] = sources
    if os.path.isdir(source):
        return [(source, path)]
    return [(source, target_inside(hive.files, target, _own_name(source), space))]


def _own_name(source: str) -> str:
    """The name of a local source, also of ``.`` and ``x/..``."""
    name = os.path.basename(os.path.abspath(source))
    if not name:
        raise BadInput(f"{source} has no name of its own: give a TARGET without / at its end")
    try:
        name.encode()
    except UnicodeEncodeError:
        raise BadInput(f"the name of {source!r} is not UTF-8: give its new name as TARGET") from None
    return name


def _say_plan(output: Output, files: list[LocalFile], directories: list[str], unchanged: int, size_bytes: int) -> int:
    value = {
        "files": [{"path": file.target, "size_bytes": file.size_bytes} for file in files],
        "directories": directories,
        "unchanged": unchanged,
        "size_bytes": size_bytes,
    }
    lines = [f"{shown(path)}/" for path in directories] + [shown(file.target) for file in files]
    output.value(
        value, lambda: "\n".join([*lines, f"{len(files)} files, {human_size(size_bytes)}; {unchanged} unchanged"])
    )
    return DONE
