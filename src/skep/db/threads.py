"""A bounded group of threads, each with a connection of its own, fed by one queue."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Protocol

from skep.base.errors import SkepError
from skep.db.units import Delivery, Unit


class Session(Protocol):
    """A connection that can run units of work one after another, in one thread at a time."""

    def run(self, unit: Unit[Any]) -> None:
        """Run the unit and commit or roll back; leaves the outcome in the unit; never raises."""
        ...

    def close(self) -> None: ...


class ThreadGroup:
    """Runs units on up to ``size`` threads, started (and their connections opened) when needed.

    ``submit`` is called from the event loop's thread only.
    """

    def __init__(self, name: str, size: int, open_session: Callable[[], Session], delivery: Delivery) -> None:
        self._name = name
        self._size = size
        self._open_session = open_session
        self._delivery = delivery
        self._queue: SimpleQueue[Unit[Any] | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._busy = 0
        self._lock = threading.Lock()

    def submit(self, unit: Unit[Any]) -> None:
        with self._lock:
            self._busy += 1
            grow = self._busy > len(self._threads) and len(self._threads) < self._size
        if grow:
            number = len(self._threads)
            thread = threading.Thread(target=self._serve, name=f"{self._name}-{number}", daemon=True)
            self._threads.append(thread)
            thread.start()
        self._queue.put(unit)

    def close(self) -> None:
        """Finish what was submitted, then end the threads."""
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join()

    def _serve(self) -> None:
        session: Session | None = None
        while (unit := self._queue.get()) is not None:
            if not unit.future.cancelled():
                session = self._run(session, unit)
            with self._lock:
                self._busy -= 1
            self._delivery.put((unit,))
        if session is not None:
            session.close()

    def _run(self, session: Session | None, unit: Unit[Any]) -> Session | None:
        try:
            session = session or self._open_session()
        except SkepError as error:
            unit.fail(error)
            return None
        session.run(unit)
        return session
