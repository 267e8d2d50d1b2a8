"""``skep serve``: run a hive until it is told to stop.

Stopping, on SIGTERM or SIGINT: readiness goes away and new requests are turned away; those in flight
have ``server.stop_grace_s`` to finish, then they are cut, which undoes what was not acknowledged;
workers end between units; the stores and the database close. A second signal cuts at once.
"""

from __future__ import annotations

import asyncio
import gc
import resource
import signal
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from skep import __version__
from skep.base.clock import SystemClock
from skep.base.logs import configure_logs, get_logger
from skep.base.settings import Settings
from skep.events.records import Event, HiveStarted, HiveStopping
from skep.frontends.common.asgi import App
from skep.server.addresses import listening_port
from skep.server.certificates import with_certificate
from skep.server.connections import Doorkeeper
from skep.server.database_lock import DatabaseLock
from skep.server.engines import Listening, engine
from skep.server.lock import DataDirectoryLock
from skep.server.pairs import Pairs, iso_date
from skep.server.sftp import open_sftp

if TYPE_CHECKING:
    from skep.frontends.sftp.server import SftpDoor
    from skep.server.compose import Hive
    from skep.server.events_only import EventsHive

log = get_logger("skep.server")
WORKERS_GRACE_S = 10.0
LEAVE_S = 5.0
OPEN_FILES = 65_536
"""As many as the hive asks the system for; sockets, stores and the database share them."""
CONNECTIONS_MAX = 16_384
"""Of each port. Requests and streams have limits of their own; this bounds sockets."""
CUT_S = 2.0
COLLECT_AFTER = (10_000, 10, 10)
"""New objects until the collector looks at them, and how often until it looks at older and at all ones."""


def serve(
    settings: Settings,
    *,
    started_s: float | None = None,
    announce: Callable[[str], None] | None = None,
    only_events: bool = False,
) -> None:
    """Run the hive of these settings; returns after a graceful stop.

    ``only_events``: no hive, but a process beside it that serves live changes (see ``events_only``).
    ``announce`` is told the URL once the hive answers; ``started_s`` is when the program began, on the
    monotonic clock, for the log. Raises Misconfigured and its kinds, DatabaseBusy, InvalidSetting.
    """
    configure_logs(settings.log)
    settings = with_certificate(settings, SystemClock())
    tls = _pairs(settings)
    log.debug("open files", most=allow_open_files(OPEN_FILES))
    try:
        import uvloop

        new_loop: Callable[[], asyncio.AbstractEventLoop] | None = uvloop.new_event_loop
    except ImportError:
        new_loop = None
    with ExitStack() as held, asyncio.Runner(loop_factory=new_loop) as runner:
        database = None
        if not only_events:
            held.enter_context(DataDirectoryLock(settings.data_path()))
            database = held.enter_context(DatabaseLock(settings.database_url()))
        runner.run(_serve(settings, database, tls, started_s or time.monotonic(), announce or (lambda url: None)))


def allow_open_files(wanted: int) -> int:
    """Raise the process's soft limit of open files to ``wanted``, or to the hard limit if that is less; the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft == resource.RLIM_INFINITY or soft >= most:
        return soft
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    except (ValueError, OSError):  # the system allows less than it says: the hive runs with what it has
        return soft
    return most


def _pairs(settings: Settings) -> Pairs | None:
    server = settings.server
    if not server.tls_certificate:
        return None
    tls = Pairs(Path(server.tls_certificate), Path(server.tls_key), server.engine, SystemClock())
    log.info("certificate", sha256=tls.now.fingerprint, until=iso_date(tls.now.ends_us))
    return tls


async def _open(settings: Settings, only_events: bool, tls: Pairs | None) -> Hive | EventsHive:
    if only_events:
        from skep.server.events_only import open_events_hive

        return await open_events_hive(settings, clock=SystemClock())
    from skep.server.compose import open_hive

    return await open_hive(settings, clock=SystemClock(), tls=tls)


async def _serve(
    settings: Settings,
    database: DatabaseLock | None,
    tls: Pairs | None,
    started_s: float,
    announce: Callable[[str], None],
) -> None:
    """``database``: the lock on it, None for a process that serves events alone."""
    server, only_events = settings.server, database is None
    port = listening_port(server.host, server.port)
    url = _url(settings, port)
    hive = await _open(settings, only_events, tls)
    sftp: SftpDoor | None = None
    watching: list[asyncio.Task[None]] = []
    ports = [port]

    more = _more_ports(settings, hive, only_events=only_events)
    waiting = {"server", *more}
    ports += [own for own, _ in more.values()]

    def ready(name: str) -> None:
        waiting.discard(name)
        if waiting:
            return
        _calm_collector()
        hive.ready = True
        _tell(hive, HiveStarted, version=__version__, start_s=round(time.monotonic() - started_s, 3))
        log.info("ready", url=url, engine=server.engine, seconds=round(time.monotonic() - started_s, 3))
        announce(url)

    try:
        with _Signals() as signals:
            sftp = await open_sftp(cast("Hive", hive)) if not (only_events or server.only) else None
            leave = asyncio.Event()
            run = engine(server.engine)
            running = [run(hive.app, _listening(settings, port, tls), leave, lambda: ready("server"))]
            for name, (own, app) in more.items():
                running.append(run(app, _listening(settings, own, tls), leave, partial(ready, name)))
                log.info(name, url=_url(settings, own))
            serving = asyncio.create_task(_all(running, leave))
            watching.append(asyncio.create_task(_doorkeeper(hive, settings, ports).watch()))
            if tls is not None:
                watching.append(asyncio.create_task(tls.watch(signals.renewed)))
            await _first(serving, _asked(signals, database))
            if sftp is not None:
                await sftp.close()
            if not serving.done():
                await _finish_requests(hive, signals, server.stop_grace_s)
            leave.set()
            await _leave(serving)
            if database is not None and database.taken is not None:
                raise database.taken
    finally:
        for task in watching:
            task.cancel()
        if sftp is not None:
            await sftp.close()
        await hive.close(WORKERS_GRACE_S)
        log.info("stopped")


def _more_ports(settings: Settings, hive: Hive | EventsHive, *, only_events: bool) -> dict[str, tuple[int, App]]:
    """Ports beside the first, by the name of what answers there."""
    from skep.server.doors import at_port_of
    from skep.server.plain import metrics_alone

    server, found = settings.server, dict[str, tuple[int, App]]()
    if server.s3_port and not only_events and not server.only:
        found["s3"] = listening_port(server.host, server.s3_port), at_port_of("s3", hive.app)
    if server.metrics_port and not only_events:
        found["metrics"] = listening_port(server.host, server.metrics_port), metrics_alone(hive.app)
    return found


async def _asked(signals: _Signals, database: DatabaseLock | None) -> None:
    """Return when a signal asks to stop, or another process has the database."""
    waits: list[asyncio.Task[Any]] = [asyncio.create_task(signals.asked.wait())]
    if database is not None:
        waits.append(asyncio.create_task(database.lost()))
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


def _calm_collector() -> None:
    """Let the cyclic collector pass by what a hive is made of, and come less often.

    Requests make trees, which go by their counts alone; a batch of 10,000 files is no reason to look
    through all modules three times.
    """
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)
    gc.enable()


async def _finish_requests(hive: Hive | EventsHive, signals: _Signals, grace_s: float) -> None:
    """Turn new requests away; wait for those in flight, for the grace or a second signal; cut the rest."""
    hive.ready = False
    hive.edge.stopping = True
    _tell(hive, HiveStopping, reason="signal" if signals.asked.is_set() else "its server ended, or its database went")
    in_flight, streams = hive.edge.in_flight, hive.edge.streams
    log.info("stopping", requests_in_flight=in_flight.count, streams=streams.count)
    await hive.end_streams()
    await _first(asyncio.ensure_future(in_flight.none(grace_s)), signals.hurried.wait())
    if in_flight.count:
        log.warning("requests are cut off", requests=in_flight.count)
        await in_flight.cut(CUT_S)
    if not await streams.none(CUT_S):
        await streams.cut(CUT_S)


async def _all(running: Sequence[Coroutine[Any, Any, None]], leave: asyncio.Event) -> None:
    """Run the servers until ``leave`` is set or one of them ends, which ends the others. Raises what ended it."""
    tasks = [asyncio.ensure_future(one) for one in running]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        leave.set()
    await asyncio.gather(*tasks)


async def _leave(serving: asyncio.Task[None]) -> None:
    """Wait for the HTTP server to end; one that does not is given up. Raises what made it end early."""
    done, _ = await asyncio.wait((serving,), timeout=LEAVE_S)
    if done:
        serving.result()
    else:
        serving.cancel()


async def _first(one: asyncio.Future[Any], other: Coroutine[Any, Any, object]) -> None:
    """Return when either is done; ``other`` is cancelled if it is not."""
    second = asyncio.ensure_future(other)
    try:
        await asyncio.wait((one, second), return_when=asyncio.FIRST_COMPLETED)
    finally:
        second.cancel()


class _Signals:
    """SIGTERM and SIGINT: the first asks to stop, the second to hurry. SIGHUP: look at the certificate again."""

    def __init__(self) -> None:
        self.renewed = asyncio.Event()
        self.asked = asyncio.Event()
        self.hurried = asyncio.Event()

    def _on_signal(self) -> None:
        (self.hurried if self.asked.is_set() else self.asked).set()

    def __enter__(self) -> _Signals:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal)
        loop.add_signal_handler(signal.SIGHUP, self.renewed.set)
        return self

    def __exit__(self, *_: object) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.remove_signal_handler(number)


def _doorkeeper(hive: Hive | EventsHive, settings: Settings, ports: Sequence[int]) -> Doorkeeper:
    server = settings.server
    return Doorkeeper(
        hive.edge.connections,
        SystemClock(),
        ports,
        head_s=server.head_timeout_s,
        idle_s=server.idle_timeout_s,
        places=CONNECTIONS_MAX,
    )


def _tell(hive: Hive | EventsHive, kind: type[Event], **fields: Any) -> None:
    """Tell of it where there is somebody to tell: a process for live changes alone has nobody."""
    tell = getattr(hive, "tell", None)
    if tell is not None:
        tell(kind, **fields)


def _listening(settings: Settings, port: int, tls: Pairs | None) -> Listening:
    server = settings.server
    return Listening(
        server.host,
        port,
        tls=tls,
        connections_max=CONNECTIONS_MAX,
        head_timeout_s=server.head_timeout_s,
    )


def _url(settings: Settings, port: int) -> str:
    scheme = "https" if settings.server.tls_certificate else "http"
    return f"{scheme}://{_in_url(settings.server.host)}:{port}"


def _in_url(host: str) -> str:
    """A host as a URL has it, and one that can be reached for the addresses that mean all."""
    if host in ("0.0.0.0", "::", ""):  # noqa: S104
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host
