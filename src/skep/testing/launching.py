"""A program that launches and may be killed at any time: engines of processes on this machine, nginx in front.

    python -m skep.testing.launching FOLDER HTTP_PORT HTTPS_PORT

It recovers, comes to rest and prints what is, then does what it reads, line by line, and prints each event::

    deploy 7        a release whose app says 7
    scale 3
    rollback        to the release before

``{"event": …}`` lines come while something happens, ``{"state": …}`` when it rests.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

from skep.base.errors import SkepError
from skep.deploy.engines.process.engine import ProcessEngine
from skep.deploy.engines.protocol import Engine
from skep.deploy.launch.journal_rows import RowJournal
from skep.deploy.launch.limits import Limits
from skep.deploy.launch.records import Event, Verdict
from skep.deploy.router.nginx import NginxRouter
from skep.deploy.shell.local import LocalRunner
from skep.testing.fleet import FileRows, Fleet, SiteRouter, app

HOSTS = ("one", "two", "three")
STACK = "shop"


def engines(folder: Path) -> dict[str, Engine]:
    """The hosts of a folder."""
    return {name: ProcessEngine(LocalRunner(name), str(folder / name), python=sys.executable) for name in HOSTS}


def nginx(folder: Path, http_port: int, https_port: int) -> NginxRouter:
    """The router of a folder."""
    user = "root" if os.geteuid() == 0 else ""
    runner = LocalRunner("router")
    return NginxRouter(runner, str(folder / "router"), http_port=http_port, https_port=https_port, user=user)


def say(**told: Any) -> None:
    """One line of JSON."""
    print(json.dumps(told), flush=True)  # noqa: T201


async def told(event: Event) -> None:
    """An event as a line."""
    say(event=event.kind, text=event.text)


async def state(fleet: Fleet) -> dict[str, Any]:
    """What is meant to run, once nothing is under way."""
    await fleet.launcher.idle()
    current = await fleet.journal.current(STACK)
    slices = await fleet.journal.slices(STACK)
    return {
        "release": current.number if current else 0,
        "version": current.stack.jobs[0].env.get("VERSION") if current else None,
        "live": {one.id: sorted(one.places) for one in slices if one.state == "live"},
        "other": [one.id for one in slices if one.state != "live"],
        "open": [one.plan.id for one in await fleet.journal.open_plans()],
        "grid": {entry.slice.id: entry.block for entry in fleet.grid.slices},
    }


async def main(folder: Path, http_port: int, https_port: int) -> None:
    """See the module."""
    router = nginx(folder, http_port, https_port)
    await router.start()
    journal = RowJournal(FileRows(folder / "journal.json"))
    fleet = Fleet(folder, engines(folder), SiteRouter(router), journal=journal, limits=Limits(drain_s=5.0, sweep_s=0.0))
    await fleet.open()
    await fleet.launcher.idle()
    await fleet.launcher.tick()
    say(state=await state(fleet))
    while line := await asyncio.to_thread(sys.stdin.readline):
        try:
            verdict = await ordered(fleet, *line.strip().partition(" ")[::2])
            say(verdict=verdict.outcome, ok=verdict.ok, reason=verdict.reason, state=await state(fleet))
        except SkepError as error:
            say(verdict="refused", ok=False, reason=error.message, state=await state(fleet))


async def ordered(fleet: Fleet, verb: str, word: str) -> Verdict:
    """Do what one line says."""
    if verb == "deploy":
        return await fleet.launcher.deploy(fleet.request(STACK, app(sys.executable, version=word)), told)
    if verb == "scale":
        return await fleet.launcher.scale(STACK, {"app": int(word)}, told)
    return await fleet.launcher.rollback(STACK, None, told)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
