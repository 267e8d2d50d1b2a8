"""``skep scrub|repair|gc|fsck|workers``: keeping the hive's data well."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

import click

from skep.base.durations import parse_duration
from skep.cli.exits import DONE, INTEGRITY
from skep.cli.options import ListingGroup, with_hive
from skep.cli.output import Output, human_size, human_time, shown, table
from skep.client.hive import Hive

progress_option = click.option(
    "--progress/--no-progress", default=None, help="Show how far it is (default: on a terminal)."
)
detach_option = click.option("--detach", is_flag=True, help="Only start it, and print the job's id.")


@click.command()
@progress_option
@detach_option
@with_hive
def scrub(output: Output, hive: Hive, progress: bool | None, detach: bool) -> int:
    """Read and verify every shard in the stores, now.

    The hive does so by itself, slowly; what it finds damaged or missing is queued for repair.

    \b
    Example:
      skep scrub --progress && skep repair --progress
    """
    return _job(output, hive, "scrub", {}, progress, detach)


@click.command()
@progress_option
@detach_option
@with_hive
def repair(output: Output, hive: Hive, progress: bool | None, detach: bool) -> int:
    """Rebuild lost or damaged shards now."""
    return _job(output, hive, "repair", {}, progress, detach)


@click.command()
@click.option("--grace", metavar="DURATION", help="How long unused content is kept, such as 1h (default: the setting).")
@click.option("--repack", is_flag=True, help="Also write half-dead packs anew, to free their room.")
@click.option("--sweep", is_flag=True, help="Also look for shards in the stores that nothing knows of.")
@progress_option
@detach_option
@with_hive
def gc(
    output: Output,
    hive: Hive,
    grace: str | None,
    repack: bool,
    sweep: bool,
    progress: bool | None,
    detach: bool,
) -> int:
    """Delete content that nothing refers to any more.

    Only what has been unused for the grace period (`skep config explain storage.grace_s`) goes.

    \b
    Examples:
      skep gc --progress
      skep gc --repack --sweep
    """
    options: dict[str, object] = {"repack": repack, "sweep": sweep}
    if grace is not None:
        options["grace_s"] = parse_duration(grace)
    return _job(output, hive, "gc", options, progress, detach)


@click.command()
@progress_option
@detach_option
@with_hive
def snapshot(output: Output, hive: Hive, progress: bool | None, detach: bool) -> int:
    """Put an encrypted copy of the metadata on the stores, now.

    The hive does so by itself every hour; `skep recover` starts from the newest one.
    """
    return _job(output, hive, "snapshot", {}, progress, detach)


@click.command()
@click.option("--read-data", is_flag=True, help="Read and verify all content too, not only the metadata.")
@click.option("--quick", is_flag=True, help="Read one copy of the current versions' content, and nothing else of it.")
@click.option("--versions", is_flag=True, help="With --quick: of all versions.")
@click.option("--repair", "correct", is_flag=True, help="First correct sums that are wrong and remove rows of nothing.")
@progress_option
@detach_option
@with_hive
def fsck(
    output: Output,
    hive: Hive,
    read_data: bool,
    quick: bool,
    versions: bool,
    correct: bool,
    progress: bool | None,
    detach: bool,
) -> int:
    """Check that everything the hive knows of is there and whole.

    Exits with 7 when something is not. Damaged shards are for `skep repair`.

    \b
    Examples:
      skep fsck                     all bookkeeping, and that every shard is there
      skep fsck --read-data         that, and every byte of every shard and version
      skep fsck --quick             can every file be read as it is now?
      skep fsck --quick --versions  ... and as it was?
    """
    if quick and read_data:
        raise click.UsageError("--quick reads one copy and --read-data all of them: give one of the two")
    if versions and not quick:
        raise click.UsageError("--versions goes with --quick: without it all versions are checked anyway")
    options = {"read_data": read_data, "repair": correct, "quick": quick, "versions": versions}
    return _job(output, hive, "fsck", dict(options), progress, detach)


def _job(output: Output, hive: Hive, kind: str, options: dict[str, object], progress: bool | None, detach: bool) -> int:
    """Run a job to its end; on Ctrl-C the job ends too."""
    job = hive.administration.start_job(kind, options)
    if detach:
        output.value(job, job["id"])
        return DONE
    visible = sys.stderr.isatty() if progress is None else progress
    with _bar(kind, visible and not output.quiet and not output.as_json) as told:
        try:
            job = hive.administration.wait_for_job(job, told)
        except KeyboardInterrupt:
            hive.administration.cancel_job(job["id"])
            raise
    result = job["result"]
    output.value(result, lambda: _result(kind, result))
    return INTEGRITY if _found_damage(result) else DONE


def _found_damage(result: Any) -> bool:
    """Whether a check says that something is not well."""
    return isinstance(result, dict) and result.get("clean") is False


def _result(kind: str, result: Any) -> str:
    if not isinstance(result, dict):
        return f"{kind} is done"
    if "clean" in result:
        return _findings(result)
    return f"{kind} is done\n{table(['', ''], list(_facts(result)))}".rstrip()


def _facts(result: dict[str, Any], prefix: str = "") -> Iterator[list[str]]:
    for key, value in result.items():
        name = prefix + key.replace("_", " ")
        if isinstance(value, dict):
            yield from _facts(value, f"{name}: ")
        elif key.endswith("_bytes") and isinstance(value, int):
            yield [name.removesuffix(" bytes"), human_size(value)]
        else:
            yield [name, shown(str(value))]


def _findings(result: dict[str, Any]) -> str:
    if result["clean"]:
        return f"everything is there and whole: {_looked_at(result['checked'])}"
    rows = [
        [one["kind"], shown(one["subject"]), shown(one["message"].removeprefix(f"pack {one['subject']}: "))]
        for one in result["findings"]
    ]
    advice = "; what is damaged can still be read: `skep repair` makes it whole" if _only_damaged(result) else ""
    return f"{table(['kind', 'what', 'finding'], rows)}\n{len(rows)} finding{'s' if len(rows) != 1 else ''}{advice}"


def _only_damaged(result: dict[str, Any]) -> bool:
    return all(finding["kind"] == "damaged" for finding in result["findings"])


def _looked_at(checked: dict[str, int]) -> str:
    """``64 versions, 231 chunks, 18 packs, 54 shards; 203 MB read``: what a check has seen."""
    counts = [("manifests", "versions and objects"), ("chunks", "chunks"), ("packs", "packs"), ("shards", "shards")]
    seen = ", ".join(f"{checked[name]:,} {what}" for name, what in counts)
    return f"{seen}; {human_size(checked['read_bytes'])} read" if checked["read_bytes"] else seen


@contextlib.contextmanager
def _bar(kind: str, visible: bool) -> Iterator[Callable[[dict[str, Any]], None]]:
    if not visible:
        yield lambda job: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[message]}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(kind, total=None, message="")

        def told(job: dict[str, Any]) -> None:
            progress.update(task, completed=job["done"], total=job["total"], message=shown(job["message"]))

        yield told


@click.group(cls=ListingGroup)
def workers() -> None:
    """The hive's background work: scrubbing, repairing, collecting, snapshots."""


@workers.command("ls")
@with_hive
def workers_ls(output: Output, hive: Hive) -> None:
    """List the background workers and how they are doing."""
    found = hive.administration.workers()
    rows = [
        [
            worker["name"],
            worker["state"],
            str(worker["done_units"]),
            "-" if worker["queued_units"] is None else str(worker["queued_units"]),
            "-" if worker["progress"] is None else f"{worker['progress']:.0%}",
            human_time(worker["last_run_us"]),
            shown(worker["last_error"] or worker["description"]),
        ]
        for worker in found
    ]
    heads = ["name", "state", "done", "queued", "pass", "last run", "what"]
    output.value(found, lambda: table(heads, rows, right=["done", "queued", "pass"]))


@workers.command("pause")
@click.argument("name")
@with_hive
def workers_pause(output: Output, hive: Hive, name: str) -> None:
    """Let a worker finish what it does and start nothing new."""
    _steer(output, hive, name, "pause")


@workers.command("resume")
@click.argument("name")
@with_hive
def workers_resume(output: Output, hive: Hive, name: str) -> None:
    """Let a paused worker go on."""
    _steer(output, hive, name, "resume")


@workers.command("run")
@click.argument("name")
@with_hive
def workers_run(output: Output, hive: Hive, name: str) -> None:
    """Let a worker do its next piece of work now."""
    _steer(output, hive, name, "trigger")


def _steer(output: Output, hive: Hive, name: str, verb: str) -> None:
    worker = hive.administration.steer_worker(name, verb)
    told = {"trigger": "to work now", "pause": "to pause", "resume": "to go on"}[verb]
    output.value(worker, f"{worker['name']} was told {told}")
