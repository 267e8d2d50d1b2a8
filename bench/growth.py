"""How the time of an operation grows with the number of nodes: two hives, a small one and a large one, in turn."""

from __future__ import annotations

import http.client
import json
import random
import time
import urllib.parse
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack

from bench.figures import Figure, Row, alternated, median
from bench.hive import BenchHive, running_hive
from bench.material import noise
from bench.plan import Plan
from bench.small_files import MODIFIED_US, exchange
from skep.client.framing import BATCH_TYPE, encode_batch

FILES_IN_DIRECTORY = 100
DIRECTORIES_IN_DIRECTORY = 100
BATCH_FILES = 5_000
BODY_BYTES = 64
OPERATIONS = ("put 4 KiB", "list 100 entries", "info by path", "move", "delete")


def growth(plan: Plan) -> list[Row]:
    """The ratio of the median times of each operation, large over small; runs of calls alternate."""
    times: dict[tuple[int, str], list[float]] = defaultdict(list)
    with plan.room() as place, ExitStack() as stack:
        hives = []
        for number, nodes in enumerate(plan.growth_nodes):
            hive = stack.enter_context(running_hive(place / f"hive-{number}"))
            filled_s = _fill(hive, nodes)
            hives.append(_Caller(hive, nodes, number))
        for name in OPERATIONS:
            runs = [_run(caller, name, plan.growth_calls, times) for caller in hives]
            alternated(max(2, plan.rounds), runs)
    small, large = plan.growth_nodes
    rows: list[Row] = []
    for name in OPERATIONS:
        slow, fast = (median(times[number, name]) for number in (1, 0))
        detail = f"{slow * 1e3:.2f} ms with {large:,} nodes, {fast * 1e3:.2f} ms with {small:,}"
        rows.append(Figure(f"growth: {name}", slow / fast, "x", detail, at_most=1.5))
    rows.append(Figure("growth: filling the large one", large / filled_s, "nodes/s", "in batches of new content"))
    return rows


def directory_of(number: int) -> str:
    """Where the n-th file lies: a hundred files in a directory, a hundred directories in one."""
    directory = number // FILES_IN_DIRECTORY
    return f"/{directory // DIRECTORIES_IN_DIRECTORY}/{directory % DIRECTORIES_IN_DIRECTORY}"


def _fill(hive: BenchHive, nodes: int) -> float:
    """Make about this many nodes, files and directories; the seconds that it took."""
    files = round(nodes * FILES_IN_DIRECTORY / (FILES_IN_DIRECTORY + 1))
    seconds = 0.0
    for first in range(0, files, BATCH_FILES):
        count = min(BATCH_FILES, files - first)
        data = b"".join(noise(count * BODY_BYTES))
        body = encode_batch(
            (f"{directory_of(first + n)}/{first + n}", data[n * BODY_BYTES : (n + 1) * BODY_BYTES], MODIFIED_US)
            for n in range(count)
        )
        took_s, answer = exchange(hive, "POST", "/api/filesystem/batch", body, BATCH_TYPE)
        seconds += took_s
        assert json.loads(answer)["stored"] == count
    return seconds


class _Caller:
    """One kept connection to a hive, and which of its files come next."""

    def __init__(self, hive: BenchHive, nodes: int, number: int) -> None:
        self.number = number
        self._files = round(nodes * FILES_IN_DIRECTORY / (FILES_IN_DIRECTORY + 1))
        self._connection = http.client.HTTPConnection(urllib.parse.urlsplit(hive.url).netloc, timeout=600)
        self._token = hive.token
        self._random = random.Random(number)
        self._fresh = iter(self._random.sample(range(self._files), self._files // 2))

    def connect_anew(self) -> None:
        """Leave a connection that may have stood idle too long; the first call makes the next."""
        self._connection.close()
        self._exchange("GET", "/api/filesystem/info?depth=0&path=/")

    def call(self, name: str) -> float:
        """Do one operation on a file that it was not done on before; the seconds that it took."""
        number = next(self._fresh)
        place = directory_of(number)
        match name:
            case "put 4 KiB":
                return self._exchange("PUT", f"/api/filesystem/data?path={place}/new-{number}", b"".join(noise(4096)))
            case "list 100 entries":
                return self._exchange("GET", f"/api/filesystem/info?path={place}&limit=100")
            case "info by path":
                return self._exchange("GET", f"/api/filesystem/info?depth=0&path={place}")
            case "move":
                body = {"path": f"{place}/{number}", "to_path": f"{directory_of(self._files - 1)}/moved-{number}"}
                return self._exchange("POST", "/api/filesystem/move", json.dumps(body).encode())
            case _:
                return self._exchange("DELETE", f"/api/filesystem/info?path={place}/{number}")

    def _exchange(self, method: str, path: str, body: bytes | None = None) -> float:
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        began_s = time.perf_counter()
        self._connection.request(method, path, body, headers)
        answer = self._connection.getresponse()
        content = answer.read()
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {content[:300]!r}")
        return time.perf_counter() - began_s


def _run(caller: _Caller, name: str, calls: int, times: dict[tuple[int, str], list[float]]) -> Callable[[int], None]:
    def run(_: int) -> None:
        caller.connect_anew()
        times[caller.number, name] += [caller.call(name) for _ in range(calls)]

    return run
