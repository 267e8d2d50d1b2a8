"""Changes as they happen, over Server-Sent Events, for as long as the caller likes.

    for batch in Live(caller).follow(path="/Pictures"):
        print(batch.changes, batch.cursor)

A connection that breaks is made again from the last cursor, so that nothing is missed and nothing comes twice; so is
one that the hive ends because the token expired or it restarts.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from skep.base.errors import SkepError, Unavailable
from skep.client.calls import Caller
from skep.client.problems import error_class
from skep.client.transport import Response

EVENTS = "/api/events"
PAUSE_MIN_S, PAUSE_MAX_S = 0.5, 30.0
SILENCE_S = 120.0
"""Longer than this without a sign of life, and the connection is given up; more where the hive says it is rarer."""
EVENT_LINES_MAX = 1_000
LINE_BYTES_MAX = 4 << 20
_PASSING = frozenset({"token-expired", "shutting-down"})


@dataclass(frozen=True, slots=True)
class LiveBatch:
    """Changes in their order; ``cursor`` stands after the last.

    ``listed_anew``: changes before were lost, the journal does not have them any more; list what is there.
    """

    changes: tuple[Mapping[str, Any], ...]
    cursor: str
    listed_anew: bool = False


class _Over(Exception):
    """The connection ended, and another one goes on. ``pause_s``: after so long, None: as after a failure."""

    def __init__(self, pause_s: float | None = None) -> None:
        super().__init__()
        self.pause_s = pause_s


class Live:
    """The live stream of one user. One iteration is one connection; use it from one thread."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._silence_s = SILENCE_S
        self.cursor: str | None = None
        """Where the caller stands."""

    def follow(
        self, *, path: str | None = None, space: str | None = None, node: str | None = None, cursor: str | None = None
    ) -> Iterator[LiveBatch]:
        """Batches of changes from ``cursor`` on (None: from now), without end.

        Without a cursor the first batch is empty and says where the stream has begun. Raises what cannot pass: NotFound
        and its kinds, Forbidden, Unauthenticated, BadInput; Cancelled when the caller's flag is set.
        """
        self.cursor = cursor
        failures = 0
        while True:
            try:
                for batch in self._one_connection({"path": path, "space": space, "node": node}):
                    failures = 0
                    yield batch
            except _Over as over:
                pause_s = over.pause_s
            except SkepError as error:
                if not error.retryable:
                    raise
                pause_s = None
            if pause_s is None:
                failures += 1
                pause_s = min(PAUSE_MAX_S, PAUSE_MIN_S * 2 ** min(failures - 1, 10))
            self._caller.cancel.pause(pause_s * random.uniform(0.5, 1.0))  # noqa: S311 - spreads reconnects

    def _one_connection(self, query: Mapping[str, str | None]) -> Iterator[LiveBatch]:
        response = self._caller.open(
            "GET",
            EVENTS,
            {**query, "cursor": self.cursor},
            headers={"Accept": "text/event-stream"},
            timeout_s=self._silence_s,
        )
        first = self.cursor is None
        try:
            for event in _events(response):
                yield from self._batches(json.loads(event), first)
        except ValueError:
            raise Unavailable("the stream is not JSON: is this the address of a hive?") from None
        finally:
            response.close()
        raise _Over

    def _batches(self, message: Mapping[str, Any], first: bool) -> Iterator[LiveBatch]:
        match message.get("type"):
            case "hello":
                self._silence_s = max(SILENCE_S, 2.5 * float(message.get("keepalive_s", 0)))
            case "subscribed":
                self.cursor = message["cursor"]
                if first:
                    yield LiveBatch((), message["cursor"])
            case "changes":
                self.cursor = message["cursor"]
                if message["changes"]:
                    yield LiveBatch(tuple(message["changes"]), message["cursor"])
            case "resync":
                yield from self._resync(message)
            case "ended":
                raise error_class(str(message.get("code")))(str(message.get("detail")))
            case "closing":
                self._closing(message)

    def _resync(self, message: Mapping[str, Any]) -> Iterator[LiveBatch]:
        """What was skipped is read again where the journal has it: a replay is never too slow."""
        if message.get("seen") is not None:
            self.cursor = message["seen"]
            raise _Over(0.0)
        self.cursor = message["cursor"]
        yield LiveBatch((), message["cursor"], listed_anew=True)

    def _closing(self, message: Mapping[str, Any]) -> None:
        code, after_s = str(message.get("code")), message.get("reconnect_after_s")
        if after_s is not None or code in _PASSING:
            raise _Over(float(after_s or 0.0))
        raise error_class(code)(str(message.get("detail")))


def _events(response: Response) -> Iterator[str]:
    """The data of each event until the stream ends."""
    data: list[str] = []
    while line := response.readline(LINE_BYTES_MAX):
        text = line.decode("utf-8", "replace").rstrip("\r\n")
        if text.startswith("data:"):
            data.append(text[5:].removeprefix(" "))
            if len(data) > EVENT_LINES_MAX:
                raise Unavailable("an event of the stream does not end")
        elif not text and data:
            yield "\n".join(data)
            data = []
