"""``skep hq serve``: an HQ as a process, until SIGTERM or Ctrl-C."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from typing import Any

from skep.base.logs import configure_logs
from skep.base.settings import LogSettings
from skep.deploy.hq.folder import HqFolder
from skep.deploy.hq.settings import read_settings


def serve(folder: HqFolder, port: int | None, announce: Callable[[dict[str, int]], None]) -> None:
    """Open the HQ of a folder, say where it listens, and run until a signal. Raises what its parts raise."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        del os.environ[name]  # what somebody's own git was told is nothing for ours
    configure_logs(LogSettings(level="info", format="auto", requests="none"))
    over: dict[str, dict[str, Any]] = {} if port is None else {"ssh": {"port": port}}
    folder.check()
    settings = read_settings(folder.settings, **over)
    asyncio.run(_serve(folder, settings, announce))


async def _serve(folder: HqFolder, settings: Any, announce: Callable[[dict[str, int]], None]) -> None:
    from skep.deploy.hq.serving import Hq

    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for sign in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sign, ended.set)
    hq = Hq(folder, settings)
    await hq.open()
    try:
        announce(hq.ports)
        await ended.wait()
    finally:
        await hq.close()
