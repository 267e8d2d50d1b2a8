"""``skep hq serve``: an HQ as a process, until SIGTERM or Ctrl-C."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias

from skep.base.errors import Unavailable
from skep.base.logs import configure_logs, get_logger
from skep.base.settings import LogSettings
from skep.deploy.hq.folder import HqFolder
from skep.deploy.hq.serving import Hq
from skep.deploy.hq.settings import HqSettings, read_settings

Announce: TypeAlias = Callable[[dict[str, int]], None]
log = get_logger("skep.hq")


def serve(folder: HqFolder, port: int | None, announce: Announce) -> None:
    """Open the HQ of a folder, say where it listens, and run until a signal. Raises what its parts raise."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        del os.environ[name]  # what somebody's own git was told is nothing for ours
    configure_logs(LogSettings(level="info", format="auto", requests="none"))
    over: dict[str, dict[str, Any]] = {} if port is None else {"ssh": {"port": port}}
    folder.check()
    settings = read_settings(folder.settings, **over)
    asyncio.run(_serve(folder, settings, announce))


async def _serve(folder: HqFolder, settings: HqSettings, announce: Announce) -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for sign in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sign, ended.set)
    if settings.state.etcd:
        await _serve_in_turn(folder, settings, announce, ended)
    else:
        await _serve_alone(Hq(folder, settings), announce, ended.wait())


async def _serve_alone(hq: Hq, announce: Announce, until: Coroutine[Any, Any, object]) -> None:
    waiting = asyncio.ensure_future(until)
    try:
        await hq.open()
        try:
            announce(hq.ports)
            await waiting
        finally:
            await hq.close()
    finally:
        waiting.cancel()


async def _serve_in_turn(folder: HqFolder, settings: HqSettings, announce: Announce, ended: asyncio.Event) -> None:
    """One of several HQs: wait until this one leads, serve until it leads no more, and wait again."""
    from skep.deploy.hq.etcd import Etcd, Leadership
    from skep.deploy.hq.etcd_state import Led

    etcd = Etcd(settings.state.etcd)
    prefix = settings.state.etcd_prefix
    try:
        while not ended.is_set():
            leadership = Leadership(etcd, prefix, socket.gethostname(), settings.state.etcd_lease_s)
            log.info("waiting to lead", etcd=settings.state.etcd)
            if not await _first(leadership.campaign(), ended.wait()):
                return
            log.info("this HQ leads")
            try:
                over = _first(leadership.lost.wait(), ended.wait())
                await _serve_alone(Hq(folder, settings, led=Led(etcd, prefix, leadership)), announce, over)
            except Unavailable as error:
                log.warning("this HQ leads no more", error=error.message)
            finally:
                await leadership.resign()
    finally:
        await etcd.close()


async def _first(one: Coroutine[Any, Any, object], other: Coroutine[Any, Any, object]) -> bool:
    """Wait for either; whether it was the first of them."""
    tasks = [asyncio.ensure_future(one), asyncio.ensure_future(other)]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if tasks[0].done():
            await tasks[0]
        return not tasks[1].done()
    finally:
        for task in tasks:
            task.cancel()
