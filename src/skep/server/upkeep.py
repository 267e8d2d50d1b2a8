"""The background workers of a hive, and the same work as jobs that an administrator starts and watches."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from skep.auth import Auth
from skep.auth.postroom import PERIOD_S as MAIL_PERIOD_S
from skep.auth.postroom import Postroom
from skep.auth.upkeep import PERIOD_S as ACCOUNTS_PERIOD_S
from skep.auth.upkeep import AccountsWorker
from skep.base.clock import Clock
from skep.base.errors import BadInput
from skep.base.settings import Settings
from skep.base.workers import WorkerSet
from skep.db import Database, Transaction
from skep.db.snapshot import export
from skep.durability.audit import Auditor
from skep.durability.check import Checker
from skep.durability.collect import Collected, Collector
from skep.durability.rebalance import Rebalancer
from skep.durability.repack import Repacker
from skep.durability.repair import Repairer
from skep.durability.scrub import Scrubber, Verdict
from skep.durability.service import ChunkService
from skep.durability.snapshotter import Snapshotter
from skep.durability.sweep import Sweeper
from skep.durability.traffic import Traffic
from skep.events import Journal
from skep.filesystem import Digests, Filesystem, Retention, UploadExpiry
from skep.filesystem import check as check_metadata
from skep.filesystem import repair as repair_metadata
from skep.frontends.api.jobs import Job, Jobs
from skep.server.departures import PERIOD_S as DEPARTURES_PERIOD_S
from skep.server.departures import Departures
from skep.server.identity import Identity
from skep.server.options import postman
from skep.server.stores_worker import StoresWorker
from skep.server.uses import contents, needing, uses_of_chunks

FINDINGS_SHOWN = 1000
DAY_S = 86_400.0
SECONDS_MAX = 3_650 * DAY_S


@dataclass(frozen=True, slots=True)
class Keepers:
    """Who keeps the hive well."""

    scrubber: Scrubber
    repairer: Repairer
    collector: Collector
    sweeper: Sweeper
    repacker: Repacker
    snapshotter: Snapshotter
    checker: Checker
    retention: Retention
    uploads: UploadExpiry
    digests: Digests
    accounts: AccountsWorker
    departures: Departures
    postroom: Postroom
    stores: StoresWorker
    rebalancer: Rebalancer
    auditor: Auditor
    traffic: Traffic


def make_keepers(
    settings: Settings,
    clock: Clock,
    db: Database,
    identity: Identity,
    chunks: ChunkService,
    filesystem: Filesystem,
    journal: Journal,
    auth: Auth,
) -> Keepers:
    """Build them all; nothing runs yet."""
    storage, workers = settings.storage, settings.workers
    repairer = Repairer(db, chunks, clock, storage.lost_after_s)
    return Keepers(
        scrubber=Scrubber(db, chunks, clock, workers.scrub_period_s),
        repairer=repairer,
        collector=Collector(db, chunks, clock, storage.grace_s),
        sweeper=Sweeper(db, chunks, clock, storage.grace_s),
        repacker=Repacker(db, chunks, clock, dead_ratio=workers.repack_dead_ratio),
        snapshotter=Snapshotter(
            db,
            chunks,
            identity.master.hive_keys(),
            identity.hint,
            identity.hive_id,
            clock,
            _export,
            keep=workers.snapshots_max,
        ),
        checker=Checker(db, chunks, clock, uses_of_chunks),
        retention=Retention(db, filesystem.books, journal, clock),
        uploads=UploadExpiry(db, filesystem.books),
        digests=Digests(db, chunks, clock, after_s=workers.digests_after_s, tranquility=workers.tranquility),
        accounts=AccountsWorker(auth),
        departures=Departures(auth, filesystem),
        postroom=Postroom(db, identity.master.hive_keys().secrets_key, postman(settings, clock)),
        stores=StoresWorker(
            chunks.stores, repairer, traffic := Traffic(db, chunks.stores, clock), 2 * storage.reserve_bytes
        ),
        traffic=traffic,
        rebalancer=Rebalancer(db, chunks, clock),
        auditor=Auditor(db, chunks, clock),
    )


def _export(tx: Transaction) -> Iterator[bytes]:
    """The metadata for a snapshot, without what a restored hive must not believe."""
    return export(tx, leave_out=("sessions", "client_sessions", "mail_tokens", "outbox", "worker_states"))


def add_workers(workers: WorkerSet, keepers: Keepers, settings: Settings) -> None:
    """Give every keeper its period. First runs are spread out, so that a start is quick."""
    w = settings.workers
    calm, longest = w.tranquility, w.backoff_max_s
    workers.add(keepers.stores, period_s=w.health_period_s, first_run_after_s=w.health_period_s, backoff_max_s=longest)
    workers.add(keepers.repairer, period_s=w.repair_period_s, first_run_after_s=2, backoff_max_s=longest)
    workers.add(keepers.auditor, period_s=w.audit_period_s, first_run_after_s=50, backoff_max_s=longest)
    workers.add(keepers.rebalancer, period_s=60, tranquility=calm, first_run_after_s=40, backoff_max_s=longest)
    workers.add(keepers.digests, period_s=60, first_run_after_s=5, backoff_max_s=longest)  # rests while it reads
    workers.add(keepers.scrubber, period_s=60, tranquility=calm, first_run_after_s=30, backoff_max_s=longest)
    workers.add(
        keepers.collector, period_s=w.gc_period_s, tranquility=calm, first_run_after_s=60, backoff_max_s=longest
    )
    workers.add(keepers.sweeper, period_s=DAY_S, tranquility=calm, first_run_after_s=600, backoff_max_s=longest)
    workers.add(keepers.repacker, period_s=w.gc_period_s, tranquility=calm, first_run_after_s=90, backoff_max_s=longest)
    workers.add(keepers.retention, period_s=w.retention_period_s, tranquility=calm, first_run_after_s=45)
    workers.add(keepers.uploads, period_s=w.retention_period_s, tranquility=calm, first_run_after_s=50)
    workers.add(keepers.postroom, period_s=MAIL_PERIOD_S, first_run_after_s=1, backoff_max_s=longest)
    workers.add(keepers.departures, period_s=DEPARTURES_PERIOD_S, first_run_after_s=70, backoff_max_s=longest)
    workers.add(keepers.accounts, period_s=ACCOUNTS_PERIOD_S, first_run_after_s=20, backoff_max_s=longest)
    workers.add(keepers.snapshotter, period_s=w.snapshot_period_s, first_run_after_s=120, backoff_max_s=longest)


def register_jobs(jobs: Jobs, keepers: Keepers, db: Database) -> None:
    """What an administrator can start by hand."""
    jobs.register("scrub", lambda job: _scrub(job, keepers.scrubber))
    jobs.register("repair", lambda job: _repair(job, keepers.repairer))
    jobs.register("gc", lambda job: _collect(job, keepers))
    jobs.register("fsck", lambda job: _check(job, keepers, db))
    jobs.register("snapshot", lambda job: _snapshot(job, keepers.snapshotter))


async def _scrub(job: Job, scrubber: Scrubber) -> dict[str, Any]:
    def report(done: int, total: int, so_far: Verdict) -> None:
        job.report(done, total, f"{so_far.missing} missing, {so_far.corrupt} corrupt, {so_far.unreachable} unreachable")

    return asdict(await scrubber.run(report))


async def _repair(job: Job, repairer: Repairer) -> dict[str, Any]:
    await repairer.hurry()
    repaired = await repairer.run(lambda done, left: job.report(done, done + left))
    return {"repaired": repaired, "left": await repairer.left()}


async def _collect(job: Job, keepers: Keepers) -> dict[str, Any]:
    grace_s = _seconds(job, "grace_s")

    def report(so_far: Collected) -> None:
        job.report(so_far.units, None, "collecting")

    collected = await keepers.collector.run(report, grace_s=grace_s)
    result: dict[str, Any] = asdict(collected)
    if job.options.get("repack"):
        repacked = await keepers.repacker.run(lambda so_far: job.report(so_far.packs, None, "repacking"))
        result["repacked"] = asdict(repacked)
        result["after_repack"] = asdict(await keepers.collector.run(report, grace_s=grace_s))
    if job.options.get("sweep"):
        job.report(0, None, "looking for shards that nothing knows")
        result["swept"] = await keepers.sweeper.run(grace_s=grace_s or 0.0)
    return result


async def _check(job: Job, keepers: Keepers, db: Database) -> dict[str, Any]:
    """The metadata first, then the chunks; with ``read_data`` every byte. ``repair``: first corrects wrong sums.

    ``quick``: instead of all bookkeeping and shards, one copy of what current versions (``versions``: all) need.
    """
    findings: list[dict[str, Any]] = []
    job.report(0, None, "file metadata")
    corrected = await repair_metadata(db) if job.options.get("repair") else 0
    async for finding in check_metadata(db):
        findings.append({"kind": "metadata", "subject": finding.check, "message": finding.message})
        if len(findings) >= FINDINGS_SHOWN:
            break

    def report(step: str, done: int, total: int) -> None:
        job.report(done, total, step)

    if job.options.get("quick"):
        pages = partial(contents, all_versions=bool(job.options.get("versions")))
        checked = await keepers.checker.run_quick(pages, progress=report)
    else:
        checked = await keepers.checker.run(read_data=bool(job.options.get("read_data")), progress=report)
    findings += [
        {"kind": one.kind, "subject": one.subject, "message": one.message} for one in checked.findings[:FINDINGS_SHOWN]
    ]
    if checked.lost_chunks:
        job.report(0, None, "files that need what is lost")
        needy = await db.read(lambda tx: needing(tx, checked.lost_chunks, FINDINGS_SHOWN))
        findings += [{"kind": "lost", "subject": where, "message": "needs content that is lost"} for where in needy]
    looked_at = {name: getattr(checked, name) for name in ("manifests", "chunks", "packs", "shards", "read_bytes")}
    clean = not findings and checked.clean
    return {"clean": clean, "findings": findings, "checked": looked_at, "corrected": corrected}


async def _snapshot(job: Job, snapshotter: Snapshotter) -> dict[str, Any]:
    job.report(0, None, "writing")
    info = await snapshotter.take()
    await snapshotter.prune()
    await asyncio.sleep(0)
    return {"snapshot_id": info.snapshot_id.hex(), "size_bytes": info.size_bytes, "parts": info.parts}


def _seconds(job: Job, name: str) -> float | None:
    value = job.options.get(name)
    if value is None:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= SECONDS_MAX:
        raise BadInput(
            f"The option {name} of {job.kind} is a number of seconds, at most {SECONDS_MAX:g}, not {value!r}."
        )
    return float(value)
