"""``skep stack start``, ``stop`` and ``ps``: stacks on this machine, with the plan that a push would have."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import click

from skep.base.errors import BadInput
from skep.cli.exits import DONE, FAILED
from skep.cli.hq_calling import HqCall, find_hq
from skep.cli.options import with_output
from skep.cli.output import Output, shown
from skep.cli.stack_hq_commands import show_remote


@click.command("start")
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path), default=Path())
@click.option("--name", help="The name of the stack (default: the directory's).")
@click.option("--port", type=click.IntRange(1, 65_534), help="Where nginx serves domains; the next one is for HTTPS.")
@click.option(
    "-e", "--env", "env", multiple=True, metavar="NAME=VALUE", help="A variable for all its jobs; it is kept."
)
@with_output
def stack_start(output: Output, directory: Path, name: str | None, port: int | None, env: tuple[str, ...]) -> int:
    """Run a stack on this machine, as HQ would.

    Jobs are processes of yours and go on when the command ends. Domains are served where nginx is there; else each web
    job is reached by its own port. Starting again replaces what has changed, and nothing else.
    """
    from skep.deploy.hq.pushes import declared
    from skep.deploy.hq.telling import lines_of, verdict_lines
    from skep.deploy.launch.records import Event
    from skep.deploy.local.machine import LocalMachine, default_folder

    called = name or directory.resolve().name.lower().replace("_", "-").replace(".", "-").strip("-") or "stack"
    tree = directory.resolve()
    stack = declared(tree, called)
    pairs = dict(_pair(text) for text in env)

    async def say(event: Event) -> None:
        for line in lines_of(event):
            output.step(line)

    async def start() -> tuple[Any, list[str]]:
        async with LocalMachine(default_folder(), http_port=port or 0) as machine:
            verdict = await machine.start(stack, tree, say, pairs)
            (view,) = await machine.views(called) if verdict.ok else (None,)
            return verdict, machine.urls(view) if view is not None else []

    verdict, urls = asyncio.run(start())
    for line in [line for line in verdict_lines(verdict) if not line.startswith("  http")]:
        output.step(line)
    for url in urls:
        output.step(f"  {url}")
    if output.as_json:
        output.value({"ok": verdict.ok, "outcome": verdict.outcome, "reason": verdict.reason, "urls": urls})
    return DONE if verdict.ok else FAILED


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise BadInput(f"{text[:40]!r} is no NAME=VALUE")
    return name, value


@click.command("stop")
@click.argument("name", metavar="[STACK]", required=False)
@with_output
def stack_stop(output: Output, name: str | None) -> int:
    """End a stack on this machine.

    Its volumes and variables stay. Without a name it is the one of this directory.
    """
    from skep.deploy.launch.records import Event

    called = name or Path.cwd().name.lower().replace("_", "-").replace(".", "-").strip("-")

    async def say(event: Event) -> None:
        if event.kind in ("begun", "failed"):
            output.step(event.text)

    verdict = _on_machine(lambda machine: machine.stop(called, say))
    output.value({"ok": verdict.ok, "reason": verdict.reason}, f"{called} has ended" if verdict.ok else verdict.reason)
    return DONE if verdict.ok else FAILED


def _on_machine(work: Callable[[Any], Awaitable[Any]]) -> Any:
    from skep.deploy.local.machine import LocalMachine, default_folder

    async def run() -> Any:
        async with LocalMachine(default_folder()) as machine:
            return await work(machine)

    return asyncio.run(run())


@click.command("ps")
@click.argument("name", metavar="[STACK]", required=False)
@click.option("--hq", "hq_url", envvar="SKEP_HQ", metavar="URL", help="Which HQ: ssh://skep@HOST:PORT or a folder.")
@click.option("--local", "is_local", is_flag=True, help="What runs on this machine by `skep stack start`.")
@with_output
def stack_ps(output: Output, name: str | None, hq_url: str | None, is_local: bool) -> None:
    """What runs of a stack, at HQ or with --local here."""
    if not is_local:
        show_remote(output, HqCall(find_hq(hq_url)), name)
        return
    import msgspec

    from skep.cli.fleet_commands import runs_table, slices_table

    async def look(machine: Any) -> list[tuple[Any, list[str]]]:
        return [(view, machine.urls(view)) for view in await machine.views(name or "")]

    found = _on_machine(look)
    views = [{**msgspec.to_builtins(view), "release": view.release.number if view.release else 0} for view, _ in found]
    urls = [shown(url) for _, told in found for url in told]
    output.value(
        views, "\n".join([slices_table(views) or "no stack runs on this machine", *urls, runs_table(views)]).rstrip()
    )


COMMANDS = (stack_start, stack_stop, stack_ps)
