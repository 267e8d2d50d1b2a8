"""The block API as the server puts it together: who asks there, and what the settings say."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from skep.auth import Principal
from skep.base.errors import InvalidSetting
from skep.base.ids import Id
from skep.base.limits import FairGate, Shares
from skep.base.logs import get_logger
from skep.credit import accounts, limits
from skep.db import Transaction
from skep.filesystem import spaces
from skep.frontends.blocks.accounting import AccountingServer, LimitTraffic, OutsideCallers
from skep.frontends.blocks.app import BlocksApp
from skep.frontends.blocks.callers import Callers, OwnCallers
from skep.frontends.blocks.counts import Counts
from skep.frontends.blocks.dummy import DummyCallers
from skep.frontends.blocks.internal import Allowance, Internal
from skep.frontends.blocks.news import LISTENERS_MAX, News
from skep.frontends.blocks.services import BlocksGround

if TYPE_CHECKING:
    from skep.server.doors import Ground

log = get_logger("skep.blocks")


def open_blocks(ground: Ground) -> BlocksApp:
    """The door. Raises InvalidSetting."""
    most, blocks = ground.services.limits, ground.settings.blocks
    news = News()
    ground.live.streams.at_stop.append(news.end)
    own_secret = "" if blocks.accounting_host else blocks.apisecret
    return BlocksApp(
        BlocksGround(
            filesystem=ground.filesystem,
            clock=ground.clock,
            counts=ground.block_counts,
            callers=_callers(ground),
            internal=Internal(ground.auth, own_secret, _allowance(ground)) if own_secret else None,
            news=news,
            transfers=FairGate(
                "transfers of the block API",
                blocks.transfers,
                ground.clock,
                each_max=max(1, blocks.transfers // 2),
                wait_s=ground.settings.limits.wait_s,
            ),
            sockets=Shares("listeners", LISTENERS_MAX, each_max=LISTENERS_MAX // 8),
            head_bytes=most.head_bytes,
            body_bytes=min(most.body_bytes, blocks.max_body_bytes),
            idle_timeout_s=most.idle_timeout_s,
        )
    )


class BlocksCollector(Collector):
    """What the block API counts, under the names of its first server."""

    def __init__(self, counts: Counts) -> None:
        self._counts = counts

    def collect(self) -> Iterator[Metric]:
        """All families. Must be called from the event loop's thread."""
        counts = self._counts
        for name, text, gauge in (
            ("block_in_progress_requests", "Requests that are being answered.", counts.in_progress),
            ("websocket_connections", "WebSockets that are open.", counts.sockets),
        ):
            yield GaugeMetricFamily(name, text, gauge)
        for name, text, count in (
            ("content_length_error", "Bodies over the limit.", counts.too_large),
            ("block_auth_cache_hits", "Questions about credentials that memory answered.", counts.auth_hits),
            ("block_auth_cache_sets", "Answers about credentials that were remembered.", counts.auth_sets),
            ("block_traffic_request", "Bytes received.", counts.received_bytes),
            ("block_traffic_response", "Bytes sent.", counts.sent_bytes),
            ("websocket_messages", "Messages of WebSocket clients.", counts.messages),
            ("pubsub_published", "Changes that were told.", counts.told),
        ):
            yield CounterMetricFamily(name, text, count)
        denied = CounterMetricFamily("block_access_denied", "Failures by reason.", labels=["reason"])
        for reason, count in counts.denied.items():
            denied.add_metric([reason], count)
        yield denied


def _callers(ground: Ground) -> Callers:
    blocks = ground.settings.blocks
    if blocks.dummy_auth:
        log.warning("the block API lets the dummy token write anywhere: this hive is for tests of programs alone")
        return DummyCallers(ground.auth, blocks.dummy_auth, _traffic_limit(ground))
    if not blocks.accounting_host:
        return OwnCallers(ground.auth)
    if not blocks.accounting_host.startswith(("http://", "https://")):
        raise InvalidSetting("blocks.accounting_host must begin with http:// or https://")
    if not blocks.apisecret:
        raise InvalidSetting("blocks.accounting_host needs blocks.apisecret: set SKEP_BLOCKS_APISECRET")
    server = AccountingServer(blocks.accounting_host, blocks.apisecret, ground.clock, ground.block_counts)
    return OutsideCallers(ground.auth, server, _traffic_limit(ground))


def _traffic_limit(ground: Ground) -> LimitTraffic:
    """What lets a user have so much traffic in a month, whatever else limits them."""

    async def limit(principal: Principal, traffic_bytes: int) -> None:
        def work(tx: Transaction) -> None:
            there = accounts.opened(tx, "user", principal.user_id.hex())
            own = limits.own_limits(tx, there.id)
            if own.traffic_bytes != traffic_bytes:
                limits.set_limits(tx, there.id, own._replace(traffic_bytes=traffic_bytes))

        await ground.db.write(work)

    return limit


def _allowance(ground: Ground) -> Callable[[Id], Awaitable[Allowance]]:
    """What a user may use; the prepaid time of their plan begins."""
    default_plan = ground.settings.credit.default_plan

    async def allowance(user_id: Id) -> Allowance:
        def work(tx: Transaction) -> Allowance:
            there = accounts.opened(tx, "user", user_id.hex())
            found = limits.in_force(tx, there.id, default_plan)
            if found.may_begin:
                found = limits.begun(tx, there.id, default_plan)
            space = spaces.of_owner(tx, "personal", user_id)
            quota_bytes = None if space is None or space.unmetered else space.quota_bytes
            return Allowance(quota_bytes, found.traffic_bytes)

        return await ground.db.write(work)

    return allowance
