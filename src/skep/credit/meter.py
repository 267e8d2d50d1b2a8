"""The meter: counts bytes for whoever pays where they flow, and lets none pass that a limit or the credit forbids.

Fills the ``Meter`` that ``filesystem`` declares. What passes is written into the journal at once and posted every few
seconds. Used is what the database knows (of all processes, at most ``FRESH_S`` old), what this one has not posted yet,
and what is on its way. Credit is spent from a purse: an amount that was moved aside in the ledger before, so that no
two processes spend the same and no balance falls below its floor; what a purse has left goes back.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from functools import partial
from pathlib import Path

from skep.base.clock import Clock
from skep.base.errors import CreditExhausted, SkepError, TrafficExceeded
from skep.base.ids import Id
from skep.base.logs import get_logger
from skep.base.sizes import format_size
from skep.credit import accounts, fullness, journal, ledger, limits, posting
from skep.credit.costs import FREE, Costs, Direction
from skep.credit.journal import Journal, Used
from skep.credit.limits import InForce
from skep.credit.months import month_of
from skep.credit.posting import MonthUsage, Sum
from skep.credit.records import AccountKind
from skep.db import Database, Transaction
from skep.events.records import QuotaAlmostUsed
from skep.events.telling import Tell, tell_nobody

FRESH_S = 10.0
"""How old what is known of an account's limits and of others' use may be."""
PAYERS_MAX = 10_000
RECORDS_MAX = 20_000
"""Records of one transaction."""
PURSE_BYTES = 64 << 20
"""Credit is set aside in steps of this, if there is so much."""
STEP_BYTES = 1 << 20
"""A transfer of unknown length is let on in steps of this."""
MONTHS_MAX = 1200
_log = get_logger("skep.meter")


def traffic_subject(account_id: Id) -> str:
    """What a warning of an account's traffic is noted under."""
    return f"traffic:{account_id.hex()}"


class Payer:
    """Who pays, as this process knows them now."""

    __slots__ = (
        "account_id", "asking", "fixed", "free", "in_force", "known_s", "month", "next_s", "on_way", "on_way_in",
        "posted_in", "posted_out", "reserved", "unposted", "unposted_in",
    )  # fmt: skip

    def __init__(self, account_id: Id, fixed: InForce | None = None) -> None:
        self.account_id = account_id
        self.fixed = fixed
        """What limits it, if that is not for its plan to say."""
        self.asking = asyncio.Lock()
        self.in_force = InForce()
        self.known_s = float("-inf")
        self.month = 0
        self.posted_out = self.posted_in = 0
        self.unposted: dict[int, int] = {}
        """Bytes out by month that are in the journal and not in the database."""
        self.unposted_in: dict[int, int] = {}
        self.on_way = self.on_way_in = 0
        """Bytes that were let on and have not passed yet."""
        self.free = 0
        """What is in the purse and not spent."""
        self.reserved = 0
        self.next_s = float("-inf")
        """When the next byte may pass, where there is a rate."""

    @property
    def used_out(self) -> int:
        """Bytes out of this month, those on their way included."""
        return self.posted_out + self.unposted.get(self.month, 0) + self.on_way

    @property
    def used_in(self) -> int:
        """Bytes in of this month, those on their way included."""
        return self.posted_in + self.unposted_in.get(self.month, 0) + self.on_way_in

    def let_on(self, direction: Direction, size_bytes: int) -> None:
        """So many bytes more are on their way, or less."""
        if direction == "out":
            self.on_way += size_bytes
        else:
            self.on_way_in += size_bytes

    @property
    def is_idle(self) -> bool:
        """Whether nothing would be lost by forgetting it."""
        waits = any(self.unposted.values()) or any(self.unposted_in.values()) or self.on_way or self.on_way_in
        return not waits and not self.reserved and not self.free


class Meter:
    """Counts and limits. Lives on one event loop."""

    def __init__(
        self,
        db: Database,
        clock: Clock,
        directory: Path,
        *,
        costs: Costs = FREE,
        default_plan: str = "",
        always: bool = False,
        tell: Tell = tell_nobody,
        letter_key: bytes | None = None,
    ) -> None:
        """``letter_key`` seals letters of the outbox; None: the hive sends none."""
        self._letter_key = letter_key
        self.costs = costs
        self.active = always or bool(costs)
        self._always = self.active
        self._db = db
        self._clock = clock
        self._directory = directory
        self._default_plan = default_plan
        self._tell = tell
        self._journal: Journal | None = None
        self._payers: OrderedDict[tuple[str, str], Payer] = OrderedDict()
        self._by_account: dict[Id, Payer] = {}
        self._sums: dict[tuple[Id, int], Sum] = {}
        self._records = 0
        self._posted = 0
        self._unsure = False
        self._posting = asyncio.Lock()

    # --- what passes ------------------------------------------------------------------------

    async def admit(
        self, kind: str, owner_id: Id, direction: Direction, size_bytes: int | None, *, is_near: bool = False
    ) -> Passage:
        """Let so many bytes pass for the owner of a space (None: not known yet), or refuse them.

        Raises TrafficExceeded, CreditExhausted.
        """
        payer_kind: AccountKind = "user" if kind == "personal" else "group"
        return await self.admit_account(payer_kind, owner_id.hex(), direction, size_bytes, is_near=is_near)

    async def admit_account(
        self,
        kind: AccountKind,
        owner: str,
        direction: Direction,
        size_bytes: int | None,
        *,
        is_near: bool = False,
    ) -> Passage:
        """Let so many bytes pass for an account, made if it is not there. Raises TrafficExceeded, CreditExhausted."""
        return await self._passage(await self._payer(kind, owner), direction, size_bytes, self.costs, is_near)

    async def admit_system(self, name: str, limits: InForce, direction: Direction, size_bytes: int | None) -> Passage:
        """Let so many bytes pass for an account of the hive's own, which costs nothing. Raises TrafficExceeded."""
        return await self._passage(await self._payer("system", name, limits), direction, size_bytes, FREE, False)

    async def _passage(
        self, payer: Payer, direction: Direction, size_bytes: int | None, costs: Costs, is_near: bool
    ) -> Passage:
        passage = Passage(self, payer, direction, is_near, costs)
        await passage.reserve(STEP_BYTES if size_bytes is None else size_bytes)
        return passage

    async def used_of_system(self, name: str, limits: InForce) -> tuple[MonthUsage, MonthUsage]:
        """What passed for an account of the hive's own: in all, and in this month; unposted bytes of here included."""
        payer = await self._payer("system", name, limits)
        months = await self._db.read(lambda tx: posting.usage_of(tx, payer.account_id, MONTHS_MAX))
        total_in, total_out = sum(one.in_bytes for one in months), sum(one.out_bytes for one in months)
        this = next((one for one in months if one.month == payer.month), MonthUsage(payer.month, 0, 0, 0, 0))
        more_in, more_out = payer.unposted_in.get(payer.month, 0), payer.unposted.get(payer.month, 0)
        return (
            MonthUsage(0, total_in + more_in, total_out + more_out, 0, 0),
            MonthUsage(this.month, this.in_bytes + more_in, this.out_bytes + more_out, this.requests, 0),
        )

    async def reserve(self, payer: Payer, direction: Direction, size_bytes: int, cost: int) -> None:
        """Set traffic and credit aside, or raise TrafficExceeded, CreditExhausted and set nothing aside."""
        used, limit = payer.used_in, payer.in_force.in_bytes
        if direction == "out":
            used, limit = payer.used_out, payer.in_force.traffic_bytes
        if limit is not None and used + size_bytes > limit:
            raise TrafficExceeded(f"the traffic of this month is used up: {used} of {limit} bytes", limit_bytes=limit)
        payer.let_on(direction, size_bytes)
        if not cost:
            return
        try:
            if payer.free - payer.reserved < cost:
                await self._fill_purse(payer, cost)
            payer.reserved += cost
        except BaseException:
            payer.let_on(direction, -size_bytes)
            raise

    async def _fill_purse(self, payer: Payer, cost: int) -> None:
        async with payer.asking:
            lacks = cost - (payer.free - payer.reserved)
            if lacks <= 0:
                return
            own = self._own_journal()

            def work(tx: Transaction) -> int:
                can = ledger.free(tx, payer.account_id, "bytes")
                if can < lacks:
                    raise CreditExhausted(
                        f"{cost} bytes of credit are needed and {can} are there: add credit", needed=cost, available=can
                    )
                amount = min(can, max(lacks, PURSE_BYTES))
                purse = accounts.opened(tx, "held", posting.purse_owner(own.id, payer.account_id), payer.account_id)
                ledger.move(tx, ledger.Movement("hold", "bytes", amount, payer.account_id, purse.id))
                return amount

            amount = await self._db.write_or_find(work)
            payer.free += amount

    def passed(self, payer: Payer, direction: Direction, size_bytes: int, cost: int) -> None:
        """Write down what has passed. Where even the journal's disk is full, it is counted in memory alone."""
        month = month_of(self._clock.now_us())
        is_out = direction == "out"
        used = Used(payer.account_id, month, is_out, size_bytes, cost)
        try:
            self._own_journal().append(used)
        except OSError as error:
            _log.error("the meter's journal takes no more", error=str(error))
            return
        payer.free -= cost
        waiting = payer.unposted if is_out else payer.unposted_in
        waiting[month] = waiting.get(month, 0) + size_bytes
        key = payer.account_id, month
        there = self._sums.get(key, Sum())
        self._sums[key] = Sum(
            there.in_bytes + (0 if is_out else size_bytes),
            there.out_bytes + (size_bytes if is_out else 0),
            there.requests + 1,
            there.cost + cost,
        )
        self._records += 1

    async def pace(self, payer: Payer, size_bytes: int) -> None:
        """Wait until the account's rate lets so many bytes more pass."""
        rate = payer.in_force.rate_bytes_s
        if not rate:
            return
        now_s = self._clock.monotonic_s()
        payer.next_s = max(now_s - 1, payer.next_s) + size_bytes / rate
        if payer.next_s > now_s:
            await self._clock.sleep(payer.next_s - now_s)

    # --- who pays ---------------------------------------------------------------------------

    async def _payer(self, kind: AccountKind, owner: str, fixed: InForce | None = None) -> Payer:
        """The payer, known freshly enough. ``fixed``: what limits it, whatever its plan."""
        payer = self._payers.get((kind, owner))
        now_us = self._clock.now_us()
        if payer is None:
            account_id = await self._db.write_or_find(lambda tx: accounts.opened(tx, kind, owner).id)
            payer = self._payers.get((kind, owner)) or Payer(account_id, fixed)
            self._payers[kind, owner] = self._by_account[account_id] = payer
            self._forget_some()
        stale = self._clock.monotonic_s() - payer.known_s > FRESH_S or payer.month != month_of(now_us)
        if stale:
            async with payer.asking, self._posting:
                if self._clock.monotonic_s() - payer.known_s > FRESH_S or payer.month != month_of(now_us):
                    await self._look_at(payer, month_of(now_us))
        return payer

    async def _look_at(self, payer: Payer, month: int) -> None:
        def look(tx: Transaction) -> tuple[InForce, MonthUsage]:
            found = payer.fixed or limits.in_force(tx, payer.account_id, self._default_plan)
            return found, posting.month_usage(tx, payer.account_id, month)

        in_force, posted = await self._db.read(look)
        if in_force.may_begin:
            in_force = await self._db.write_or_find(lambda tx: limits.begun(tx, payer.account_id, self._default_plan))
        payer.in_force, payer.month = in_force, month
        payer.posted_in, payer.posted_out = posted.in_bytes, posted.out_bytes
        payer.known_s = self._clock.monotonic_s()

    def _forget_some(self) -> None:
        for key in list(self._payers)[: max(0, len(self._payers) - PAYERS_MAX)]:
            payer = self._payers[key]
            if payer.is_idle:
                del self._payers[key]
                self._by_account.pop(payer.account_id, None)

    # --- to the ledger ----------------------------------------------------------------------

    async def start(self) -> None:
        """Post what earlier lives of this process have left, and see whether there is anything to count."""
        for journal_id, path in await asyncio.to_thread(
            lambda: list(journal.of_earlier_lives(self._directory, b"")) if self._directory.exists() else []
        ):
            await self._post_file(journal_id, path)
        await self.refresh()

    async def refresh(self) -> None:
        """See whether anything limits or charges anybody: otherwise nothing is counted."""
        self.active = self._always or await self._db.read(limits.any_limit)

    async def _post_file(self, journal_id: Id, path: Path) -> None:
        since = await self._db.read(lambda tx: posting.position(tx, journal_id))
        while True:
            used, until = await asyncio.to_thread(journal.records, path, since, RECORDS_MAX)
            if used:
                sums = posting.summed(used)
                await self._db.write_or_find(
                    partial(posting.post, journal_id=journal_id, since=since, until=until, sums=sums)
                )
            if len(used) < RECORDS_MAX:
                break
            since = until
        await self._db.write_or_find(lambda tx: posting.forget(tx, journal_id))
        await asyncio.to_thread(path.unlink, missing_ok=True)

    async def post(self) -> int:
        """Post what has passed since the last time; how many transfers that were. Warns who is near a limit."""
        if self._journal is None:
            return 0
        async with self._posting:
            own, until = self._journal, self._journal.position
            if until == self._posted:
                return 0
            sums, count = self._sums, self._records
            self._sums, self._records = {}, 0
            await asyncio.to_thread(own.sync)
            try:
                await self._post_until(own, until, sums)
            except BaseException:
                self._keep(sums, count)  # whether it was done or not is asked next time
                self._unsure = True
                raise
            self._posted, self._unsure = until, False
            for (account_id, month), one in sums.items():
                self._note_posted(account_id, month, one)
            own.restart_if_long(until)
        await self._warn(sums)
        return count

    async def _post_until(self, own: Journal, until: int, sums: posting.Sums) -> None:
        since = self._posted
        if self._unsure:  # the last try failed, and may have been done all the same: the journal says what is left
            since = await self._db.read(lambda tx: posting.position(tx, own.id))
            count = (until - since) // journal.RECORD_BYTES
            used, _ = await asyncio.to_thread(journal.records, own.path, since, count)
            sums = posting.summed(used)
        if until > since:
            await self._db.write_or_find(lambda tx: posting.post(tx, own.id, since, until, sums))

    def _keep(self, sums: posting.Sums, count: int) -> None:
        """Note these as posted together with what came meanwhile."""
        for key, one in sums.items():
            there = self._sums.get(key, Sum())
            self._sums[key] = Sum(*(a + b for a, b in zip(there, one, strict=True)))
        self._records += count

    def _note_posted(self, account_id: Id, month: int, one: Sum) -> None:
        payer = self._by_account.get(account_id)
        if payer is None:
            return
        for waiting, posted in ((payer.unposted, one.out_bytes), (payer.unposted_in, one.in_bytes)):
            waiting[month] = waiting.get(month, 0) - posted
            if not waiting[month]:
                del waiting[month]
        if month == payer.month:
            payer.posted_out += one.out_bytes
            payer.posted_in += one.in_bytes

    async def _warn(self, sums: posting.Sums) -> None:
        for account_id in {account_id for account_id, _ in sums}:
            payer = self._by_account.get(account_id)
            limit = None if payer is None else payer.in_force.traffic_bytes
            if payer is None or not limit:
                continue
            used = payer.used_out
            percent = limits.level(used, limit)
            if percent and await self._db.write_or_find(partial(self._noted, payer=payer, percent=percent)):
                self._tell(
                    QuotaAlmostUsed, account_id=account_id, what="traffic", percent=percent, used=used, limit=limit
                )

    def _noted(self, tx: Transaction, payer: Payer, percent: int) -> bool:
        """Whether it is news that a payer reached a level this month; then a letter waits for them, too."""
        if not limits.warned(tx, traffic_subject(payer.account_id), percent, payer.month):
            return False
        of = accounts.by_id(tx, payer.account_id)
        if self._letter_key is not None and of is not None and of.kind in ("user", "group"):
            used, limit = format_size(payer.used_out), format_size(payer.in_force.traffic_bytes or 0)
            what, said = "the traffic of this month", f"{used} of {limit} were downloaded"
            fullness.write(tx, self._letter_key, of.kind, bytes.fromhex(of.owner), what, percent, said)
        return True

    async def close(self) -> None:
        """Post what is left, and give back what the purses have left. What fails is done at the next start."""
        if self._journal is None:
            return
        own = self._journal
        try:
            await self.post()
            own.close()
            await self._db.write_or_find(lambda tx: posting.forget(tx, own.id))
            await asyncio.to_thread(own.path.unlink, missing_ok=True)
        except SkepError as error:
            _log.warning("the meter is posted at the next start", code=error.code)
        finally:
            own.close()
            self._journal = None

    def _own_journal(self) -> Journal:
        if self._journal is None:
            self._journal = Journal(self._directory)
            self._posted = 0
        return self._journal


class Passage:
    """One transfer on its way: what was let on, and what has passed."""

    __slots__ = ("_cost", "_costs", "_direction", "_is_near", "_meter", "_payer", "_reserved", "passed_bytes")

    def __init__(self, meter: Meter, payer: Payer, direction: Direction, is_near: bool, costs: Costs) -> None:
        self._meter = meter
        self._costs = costs
        self._payer = payer
        self._direction: Direction = direction
        self._is_near = is_near
        self._reserved = 0
        self._cost = 0
        self.passed_bytes = 0

    async def reserve(self, size_bytes: int) -> None:
        """Have so many bytes more let on. Raises TrafficExceeded, CreditExhausted."""
        whole = self._costs.of(self._direction, self._reserved + size_bytes, is_near=self._is_near)
        await self._meter.reserve(self._payer, self._direction, size_bytes, whole - self._cost)
        self._reserved += size_bytes
        self._cost = whole

    async def take(self, size_bytes: int) -> None:
        """So many bytes are about to pass: waits for the rate; raises what ``reserve`` raises."""
        over = self.passed_bytes + size_bytes - self._reserved
        if over > 0:
            await self.reserve(max(over, STEP_BYTES))
        await self._meter.pace(self._payer, size_bytes)
        self.passed_bytes += size_bytes

    def end(self, *, counts: bool = True) -> None:
        """The transfer is over. ``counts`` False: it failed, and its credit is given back; traffic is traffic."""
        payer, meter = self._payer, self._meter
        payer.let_on(self._direction, -self._reserved)
        payer.reserved -= self._cost
        self._reserved = self._cost = 0
        if self.passed_bytes:
            cost = self._costs.of(self._direction, self.passed_bytes, is_near=self._is_near) if counts else 0
            meter.passed(payer, self._direction, self.passed_bytes, cost)
        self.passed_bytes = 0
