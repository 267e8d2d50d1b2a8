"""``skep stack`` for stacks at an HQ: what runs of them, how many, since when, with which variables."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import click

from skep.base.errors import BadInput, LocalFailure
from skep.cli.exits import DONE, FAILED
from skep.cli.fleet_commands import runs_table, slices_table
from skep.cli.hq_calling import HqCall, with_hq
from skep.cli.options import confirmed
from skep.cli.output import Output, human_time, shown, table

_ENV_MAX_BYTES = 4 << 20
STACK = click.argument("name", metavar="STACK", required=False)


def _ended(output: Output, verdict: Mapping[str, Any]) -> int:
    """The verdict was told line by line; with --json it is the result."""
    if output.as_json:
        output.value(verdict)
    return DONE if verdict["ok"] else FAILED


@click.command("ls")
@with_hq
def stack_ls(output: Output, hq: HqCall) -> None:
    """List the stacks at HQ that you may see."""
    found = hq.ask("stack.ls")
    rows = [
        [shown(one["name"]), one["state"], str(one["release"] or "-"), one["revision"][:10] or "-",
         shown(one["by"]) or "-", human_time(one["created_us"] or None), str(one["slices"])] for one in found
    ]  # fmt: skip
    heads = ["stack", "state", "release", "commit", "by", "since", "jobs"]
    output.value(found, lambda: table(heads, rows, right=["release", "jobs"]) or "no stacks yet")


@click.command("scale")
@click.argument("name", metavar="STACK")
@click.argument("jobs", nargs=-1, required=True, metavar="JOB=COUNT...")
@with_hq
def stack_scale(output: Output, hq: HqCall, name: str, jobs: tuple[str, ...]) -> int:
    """Run so many slices of these jobs.

    `skep stack scale shop web=3`: later pushes keep the number.
    """
    wanted = {}
    for text in jobs:
        job, equals, count = text.partition("=")
        if not equals or not count.isdecimal() or len(count) > 6:
            raise BadInput(f"{text!r}: write JOB=COUNT, like web=3")
        wanted[job] = int(count)
    return _ended(output, hq.ask("stack.scale", say=output.step, stack=name, jobs=wanted))


@click.command("logs")
@click.argument("name", metavar="STACK", required=False)
@click.argument("job", required=False)
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes.")
@click.option("-n", "--tail", default=200, show_default=True, type=click.IntRange(0, 100_000), help="So many lines.")
@with_hq
def stack_logs(output: Output, hq: HqCall, name: str | None, job: str | None, follow: bool, tail: int) -> None:
    """Print what the jobs of a stack have written."""

    def line(told: Mapping[str, Any]) -> None:
        output.value(told, f"{shown(told['slice'])} | {shown(told['text'])}")

    hq.ask("stack.logs", line=line, say=output.note, stack=hq.stack(name), job=job, follow=follow, tail=tail)


@click.command("rollback")
@STACK
@click.option(
    "--to", "number", type=click.IntRange(1), help="A release of `skep stack releases` (default: the one before)."
)
@with_hq
def stack_rollback(output: Output, hq: HqCall, name: str | None, number: int | None) -> int:
    """Run an earlier release again, without building it.

    The branch stays where it is; the next push goes on from it.
    """
    return _ended(output, hq.ask("stack.rollback", say=output.step, stack=hq.stack(name), number=number))


@click.command("restart")
@click.argument("name", metavar="STACK")
@click.argument("jobs", nargs=-1, metavar="[JOB...]")
@with_hq
def stack_restart(output: Output, hq: HqCall, name: str, jobs: tuple[str, ...]) -> int:
    """Replace the slices of these jobs by new ones.

    They are of the same release; with no job named all are replaced but services.
    """
    return _ended(output, hq.ask("stack.restart", say=output.step, stack=name, jobs=list(jobs)))


@click.command("releases")
@STACK
@with_hq
def stack_releases(output: Output, hq: HqCall, name: str | None) -> None:
    """List the releases that are kept."""
    told = hq.ask("stack.releases", stack=hq.stack(name))
    rows = [
        ["*" if one["number"] == told["current"] else "", str(one["number"]), one["revision"][:10] or "-",
         shown(one["by"]) or "-", human_time(one["created_us"])] for one in told["releases"]
    ]  # fmt: skip
    failed = [shown(one["reason"]) for one in told["verdicts"][-1:] if not one["ok"]]
    text = table(["", "release", "commit", "by", "made"], rows, right=["release"]) or "no release yet"
    output.value(told, text + "".join(f"\nthe last launch failed: {reason}" for reason in failed))


@click.command("explain")
@STACK
@click.argument("job", required=False)
@with_hq
def stack_explain(output: Output, hq: HqCall, name: str | None, job: str | None) -> None:
    """Say why the slices of a stack are where they are."""
    found = hq.ask("stack.explain", stack=hq.stack(name), job=job)
    lines = []
    for one in found:
        lines.append(shown(one["slice"]))
        for decision in one["decisions"]:
            lines.append(f"  {decision['what']:<10} {decision['block'] or '-':<16} {decision['reason']}")
            for candidate in decision["candidates"]:
                said = candidate["refused"] or f"score {candidate['score']:.3f}"
                lines.append(f"    {candidate['block']:<16} {said}")
    output.value(found, "\n".join(lines))


@click.command("kill")
@click.argument("name", metavar="STACK")
@with_hq
def stack_kill(output: Output, hq: HqCall, name: str) -> int:
    """End all jobs of a stack.

    Its releases stay: `skep stack rollback` starts it again, and so does a push.
    """
    return _ended(output, hq.ask("stack.kill", say=output.step, stack=name))


@click.command("remove")
@click.argument("name", metavar="STACK")
@click.option("--yes", is_flag=True, help="Do not ask.")
@with_hq
def stack_remove(output: Output, hq: HqCall, name: str, yes: bool) -> int:
    """End a stack and forget all of it.

    Releases, variables and what was pushed go. Volumes stay on their servers.
    """
    confirmed(f"Forget everything of {name}?", yes)
    return _ended(output, hq.ask("stack.remove", say=output.step, stack=name))


@click.command("env")
@STACK
@click.argument("settings", nargs=-1, metavar="[NAME=VALUE...]")
@click.option("--unset", multiple=True, metavar="NAME", help="Forget a variable; may be said again.")
@click.option("--stdin", "from_stdin", is_flag=True, help="Read NAME=VALUE lines from standard input.")
@click.option("--global", "is_global", is_flag=True, help="Variables of all stacks.")
@click.option("--show", is_flag=True, help="Print values, too.")
@click.option("--restart", is_flag=True, help="Let running jobs have the change now, not from the next push on.")
@with_hq
def stack_env(
    output: Output,
    hq: HqCall,
    name: str | None,
    settings: tuple[str, ...],
    unset: tuple[str, ...],
    from_stdin: bool,
    is_global: bool,
    show: bool,
    restart: bool,
) -> int:
    """List or change the variables of a stack.

    They are sealed at HQ, and win over the global ones.

    \b
    skep stack env shop                         names; with --show values, too
    skep stack env shop SECRET_KEY=1234 --restart
    skep stack env shop --stdin < production.env
    """
    if name and "=" in name:
        settings, name = (name, *settings), None
    if is_global and name:
        raise BadInput("--global variables are those of all stacks: name none")
    pairs = dict(map(_pair, [*settings, *(_lines() if from_stdin else ())]))
    stack = "" if is_global else hq.stack(name)
    told = hq.ask("stack.env", stack=stack, set=pairs, unset=list(unset), show=show)
    if pairs or unset:
        said = "changed" if told["changed"] else "as it was"
        if told["changed"] and told["running"] and not restart:
            said += "; running jobs have it from the next push on, or with --restart now"
        output.note(f"{told['scope']}: {said}")
        if restart and told["running"]:
            return _ended(output, hq.ask("stack.restart", say=output.step, stack=stack, jobs=[]))
    if output.as_json or not (pairs or unset):
        text = "\n".join(f"{k}={shown(v)}" if show else k for k, v in told["variables"].items())
        output.value(told["variables"] if show else list(told["variables"]), text or "no variables")
    return DONE


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise BadInput(f"{text[:40]!r} is no NAME=VALUE")
    return name.strip(), value


def _lines() -> list[str]:
    text = sys.stdin.read(_ENV_MAX_BYTES)
    return [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]


@click.command("plan")
@STACK
@click.option("--revision", default="HEAD", show_default=True, help="Which commit of this repository.")
@with_hq
def stack_plan(output: Output, hq: HqCall, name: str | None, revision: str) -> None:
    """Say what a push of this repository would do.

    It is built at HQ, and nothing else is touched.
    """
    with _archive(revision) as body:
        told = hq.ask("stack.plan", say=output.step, body=body, stack=hq.stack(name))
    output.value(told["plan"], "\n".join(shown(line) for line in told["lines"]))


def _archive(revision: str) -> IO[bytes]:
    """The tree of a commit as tar, in a file that is gone with it."""
    held = tempfile.TemporaryFile()  # noqa: SIM115 - the caller's
    command = ["git", "-C", str(_top()), "archive", "--format=tar", revision, "--"]
    done = subprocess.run(command, stdout=held, stderr=subprocess.PIPE, timeout=600, check=False)
    if done.returncode:
        held.close()
        raise BadInput(f"{revision} is no commit here: {done.stderr.decode(errors='replace').strip()[-200:]}")
    held.seek(0)
    return held


def _top() -> Path:
    done = subprocess.run(
        ["git", "rev-parse", "--show-toplevel"], capture_output=True, text=True, timeout=10, check=False
    )
    if done.returncode:
        raise LocalFailure("this is no git repository: run the command in the one that you push")
    return Path(done.stdout.strip())


def show_remote(output: Output, hq: HqCall, name: str | None) -> None:
    """``skep stack ps`` at an HQ."""
    view = hq.ask("stack.ps", stack=hq.stack(name))
    text = slices_table([view]) or f"nothing runs of {view['stack']}"
    head = f"release {view['release']} ({view['revision'][:10]})" if view["release"] else "no release"
    runs = runs_table([view])
    output.value(view, "\n".join([head, text, *view["urls"], *([runs] if runs else [])]))


COMMANDS = (
    stack_ls, stack_scale, stack_logs, stack_rollback, stack_restart, stack_releases, stack_explain, stack_kill,
    stack_remove, stack_env, stack_plan,
)  # fmt: skip
