"""What the hive counts, for Prometheus: requests as they pass, and the rest looked up when it is asked for."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from skep import __version__

if TYPE_CHECKING:
    from skep.base.workers import WorkerSet
    from skep.durability.service import ChunkService
    from skep.durability.storeset import StoreSet
    from skep.frontends.live.app import LiveApp

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0)

_COUNTED = {
    "hedged_reads": "Reads of a shard that took longer than the store's usual time, so that others were asked.",
    "rebuilt_reads": "Reads of a shard that were computed from others.",
    "damaged_shards": "Shards found missing or corrupt.",
    "scrubbed_packs": "Packs whose shards were all read and verified.",
    "repaired_packs": "Packs made whole.",
    "lost_packs_found": "Packs found unreadable.",
}
"""Counters of the chunk service."""


class RequestMetrics(Collector):
    """Requests by method, route and status: plain numbers, made into families when they are asked for.

    Used from the event loop's thread only, so none of them needs a lock.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.in_flight = 0
        self._requests: dict[tuple[str, str, int], int] = {}
        self._seconds: dict[tuple[str, str], _Seconds] = {}
        self._received_bytes = 0
        self._sent_bytes = 0
        self._gone = 0
        registry.register(self)

    def done(self, method: str, route: str, status: int, seconds: float, received_bytes: int, sent_bytes: int) -> None:
        """Count one request. ``route`` is the path with its braces, so that ids make no new series."""
        key = (method, route, status)
        self._requests[key] = self._requests.get(key, 0) + 1
        taken = self._seconds.get(key[:2])
        if taken is None:
            taken = self._seconds[method, route] = _Seconds()
        taken.add(seconds)
        self._received_bytes += received_bytes
        self._sent_bytes += sent_bytes

    def totals(self) -> dict[str, float]:
        """All requests in a few numbers: how many, refused, failed here, bytes in and out."""
        refused = sum(count for (_, _, status), count in self._requests.items() if 400 <= status < 500)
        failed = sum(count for (_, _, status), count in self._requests.items() if status >= 500)
        return {
            "requests": sum(self._requests.values()),
            "refused": refused,
            "failed": failed,
            "received_bytes": self._received_bytes,
            "sent_bytes": self._sent_bytes,
        }

    def client_gone(self) -> None:
        """Count a client that left."""
        self._gone += 1

    def collect(self) -> Iterator[Metric]:
        """All families. Must be called from the event loop's thread."""
        requests = CounterMetricFamily("skep_requests", "Requests answered.", labels=["method", "route", "status"])
        for (method, route, status), count in self._requests.items():
            requests.add_metric([method, route, str(status)], count)
        text = "From a request's head to its answer's end."
        seconds = HistogramMetricFamily("skep_request_seconds", text, labels=["method", "route"])
        for labels, taken in self._seconds.items():
            seconds.add_metric(list(labels), taken.buckets(), taken.sum_s)
        yield from (requests, seconds)
        yield CounterMetricFamily("skep_received_bytes", "Bytes of request bodies.", self._received_bytes)
        yield CounterMetricFamily("skep_sent_bytes", "Bytes of answers' bodies.", self._sent_bytes)
        yield CounterMetricFamily("skep_clients_gone", "Requests whose client left before the end.", self._gone)
        yield GaugeMetricFamily("skep_requests_in_flight", "Requests that are being answered.", self.in_flight)


class _Seconds:
    """How long something took, in the buckets of SECONDS."""

    __slots__ = ("_counts", "sum_s")

    def __init__(self) -> None:
        self.sum_s = 0.0
        self._counts = [0] * (len(SECONDS) + 1)

    def add(self, seconds: float) -> None:
        """Count one."""
        self.sum_s += seconds
        self._counts[bisect_left(SECONDS, seconds)] += 1

    def buckets(self) -> list[tuple[str, float]]:
        """Prometheus' cumulative buckets, each with its upper end."""
        ends = [*(repr(end) for end in SECONDS), "+Inf"]
        return list(zip(ends, map(float, accumulate(self._counts)), strict=True))


class HiveCollector(Collector):
    """Stores, queues, workers and the database's counts, read when Prometheus asks."""

    def __init__(
        self, stores: StoreSet, chunks: ChunkService, workers: WorkerSet, facts: Callable[[], dict[str, Any]]
    ) -> None:
        self._stores = stores
        self._chunks = chunks
        self._workers = workers
        self._facts = facts

    def collect(self) -> Iterator[Metric]:
        """All families. Must be called from the event loop's thread."""
        info = GaugeMetricFamily("skep_info", "The hive's version.", labels=["version"])
        info.add_metric([__version__], 1)
        yield info
        yield from self._of_content()
        yield from self._of_stores()
        yield from self._of_workers()
        for name, value in self._facts().items():
            if isinstance(value, int | float):
                yield GaugeMetricFamily(f"skep_{name}", f"{name.replace('_', ' ').capitalize()}.", value=value)

    def _of_content(self) -> Iterable[Metric]:
        counters = self._chunks.counters
        yield CounterMetricFamily("skep_content_received_bytes", "Content received.", value=counters.received_bytes)
        yield CounterMetricFamily("skep_content_stored_bytes", "Bytes of new packs.", value=counters.stored_bytes)
        yield CounterMetricFamily("skep_content_sent_bytes", "Content read.", value=counters.sent_bytes)
        for name, text in _COUNTED.items():
            yield CounterMetricFamily(f"skep_{name}", text, value=getattr(counters, name))
        yield from self._of_cache()
        recent = self._chunks.reader.recent
        yield CounterMetricFamily("skep_recent_hits", "Small chunks that were in memory.", value=recent.hits)
        yield CounterMetricFamily("skep_recent_misses", "Small chunks that were not.", value=recent.misses)
        yield GaugeMetricFamily("skep_recent_bytes", "What small chunks take in memory.", value=recent.used_bytes)
        depths = GaugeMetricFamily("skep_queue_depth", "What waits in each queue.", labels=["queue"])
        for queue, depth in self._chunks.queues.items():
            depths.add_metric([queue], depth)
        yield depths

    def _of_cache(self) -> Iterable[Metric]:
        cache = self._chunks.cache
        if cache is None:
            return
        counters, disk = cache.counters, cache.disk
        asked = _family(CounterMetricFamily)(
            "skep_cache_blocks", "Blocks of cached stores' shards that reads asked for.", "outcome"
        )
        for outcome, count in (
            ("hit", counters.hit_blocks), ("missed", counters.missed_blocks), ("damaged", counters.damaged_blocks)
        ):  # fmt: skip
            asked.add_metric([outcome], count)
        lost = _family(CounterMetricFamily)("skep_cache_not_kept", "Blocks that the read cache gave up.", "why")
        for why, count in (
            ("evicted", disk.evicted_blocks), ("refused", disk.refused_writes), ("busy", counters.skipped_blocks)
        ):  # fmt: skip
            lost.add_metric([why], count)
        saved = CounterMetricFamily("skep_cache_hit_bytes", "Bytes had from the read cache.", value=counters.hit_bytes)
        yield from (asked, lost, saved)

    def _of_stores(self) -> Iterable[Metric]:
        gauge, counter = _family(GaugeMetricFamily), _family(CounterMetricFamily)
        healthy = gauge("skep_store_healthy", "Whether the store answers.", "store")
        used = gauge("skep_store_used_bytes", "Bytes of our shards.", "store")
        free = gauge("skep_store_free_bytes", "Bytes that can still be written.", "store")
        in_flight = gauge("skep_store_in_flight", "Calls under way.", "store")
        errors = counter("skep_store_errors", "Calls that failed.", "store", "verb", "code")
        retries = counter("skep_store_retries", "Calls that were tried again.", "store")
        moved = counter("skep_store_bytes", "Bytes moved.", "store", "verb")
        seconds = HistogramMetricFamily("skep_store_seconds", "Time of calls.", labels=["store", "verb"])
        for member in self._stores:
            name = member.name
            healthy.add_metric([name], 0 if member.down else 1)
            used.add_metric([name], member.used_bytes)
            if member.free_bytes is not None:
                free.add_metric([name], member.free_bytes)
            meter = getattr(member.store, "meter", None)
            if meter is None:
                continue
            in_flight.add_metric([name], meter.in_flight)
            retries.add_metric([name], meter.retries)
            moved.add_metric([name, "put"], meter.put_bytes)
            moved.add_metric([name, "get"], meter.get_bytes)
            for (verb, code), count in meter.errors.items():
                errors.add_metric([name, verb, code], count)
            for verb, latencies in meter.latencies.items():
                if latencies.total:
                    seconds.add_metric([name, verb], _buckets(latencies), latencies.sum_s)
        yield from (healthy, used, free, in_flight, errors, retries, moved, seconds)

    def _of_workers(self) -> Iterable[Metric]:
        gauge, counter = _family(GaugeMetricFamily), _family(CounterMetricFamily)
        failures = gauge("skep_worker_failures", "Failures in a row.", "worker")
        state = gauge("skep_worker_state", "The state that each worker is in.", "worker", "state")
        queued = gauge("skep_worker_queued", "Units that wait.", "worker")
        progress = gauge("skep_worker_progress", "Part of the pass that is done.", "worker")
        done = counter("skep_worker_done", "Units done.", "worker")
        for status in self._workers.status():
            failures.add_metric([status.name], status.failures)
            state.add_metric([status.name, status.state], 1)
            done.add_metric([status.name], status.done_units)
            if status.queued_units is not None:
                queued.add_metric([status.name], status.queued_units)
            if status.progress is not None:
                progress.add_metric([status.name], status.progress)
        yield from (failures, state, queued, progress, done)


class LiveCollector(Collector):
    """The live streams."""

    def __init__(self, live: LiveApp) -> None:
        self._live = live

    def collect(self) -> Iterator[Metric]:
        """All families. Must be called from the event loop's thread."""
        yield GaugeMetricFamily("skep_streams", "Live streams that are open.", len(self._live.streams))
        spaces = self._live.streams.followed()
        yield GaugeMetricFamily("skep_followed_spaces", "Spaces that a live stream follows.", spaces)
        relay = self._live.relay
        if relay is not None:
            text = "Whether notices of other processes are heard."
            yield GaugeMetricFamily("skep_relay_connected", text, int(relay.connected))
            text = "Notices that were not told because too many waited; polling makes up for them."
            yield CounterMetricFamily("skep_relay_dropped", text, relay.dropped)


def _family(kind: Any) -> Callable[..., Any]:
    return lambda name, text, *labels: kind(name, text, labels=list(labels))


def _buckets(latencies: Any) -> list[tuple[str, float]]:
    """Cumulative counts by upper bound, as Prometheus wants them."""
    from skep.stores.wrappers.meter import BUCKETS_S

    cumulative, total = [], 0
    for bound, count in zip((*BUCKETS_S, float("inf")), latencies.counts, strict=True):
        total += count
        cumulative.append(("+Inf" if bound == float("inf") else repr(bound), float(total)))
    return cumulative


def exposition(registry: CollectorRegistry) -> bytes:
    """All metrics as text."""
    return generate_latest(registry)
