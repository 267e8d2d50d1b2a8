"""The hive's upkeep, for administrators: scheme, workers, jobs, status."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from skep import __version__
from skep.base.errors import NotFound
from skep.base.ids import id_text
from skep.base.workers import WorkerStatus
from skep.chunks.scheme import Scheme
from skep.durability.service import ChunkService
from skep.durability.thresholds import Thresholds, chosen, usual
from skep.frontends.api.call import Call
from skep.frontends.api.jobs import Job
from skep.frontends.api.operation import Operation
from skep.frontends.api.stores import Store, store_record

TAG = "upkeep"


class SchemeThresholds(msgspec.Struct, frozen=True):
    """The four counts of one scheme, in shards."""

    scheme: str
    needed: int
    repair_at: int
    wanted: int
    total: int


class SchemeRecord(msgspec.Struct, frozen=True):
    """How new packs are coded. Packs that exist keep their scheme until they are repacked."""

    scheme: str
    data_shards: int
    parity_shards: int
    needed: int
    """Shards that give a pack back."""
    repair_at: int
    """With so many good shards left, or fewer, a pack is repaired."""
    wanted: int
    """Shards that are durable before a write is acknowledged."""
    total: int
    write_quorum: int
    """The same as ``wanted``."""
    warning: str | None
    """What the stores lack for this scheme, if they do."""
    findings: list[str]
    """What would be lost together, though it has zones of its own."""
    others: list[SchemeThresholds]
    """Other schemes whose thresholds were chosen."""


class SetScheme(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``none``, ``raid0(n)``, ``raid1(n)``, ``raid5(n)``, ``raid6(n)`` or ``ec(k,m)``.

    ``repair_at`` and ``wanted``: needed < repair_at <= wanted <= total; null: the usual; absent: as they are.
    With ``thresholds_only`` new packs keep their scheme.
    """

    scheme: str
    repair_at: int | UnsetType | None = UNSET
    wanted: int | UnsetType | None = UNSET
    thresholds_only: bool = False
    force: bool = False
    """Even if so much would lie on one account, household or disk that the hive refuses it."""


class NewSigningKey(msgspec.Struct, frozen=True):
    """The id of the key that signs now, as ``kid`` in the published key set."""

    key_id: str


class Workers(msgspec.Struct, frozen=True):
    """All background workers."""

    workers: list[WorkerStatus]


class NewJob(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``options`` depend on the kind: ``{"read_data": true}`` for fsck."""

    kind: str
    options: dict[str, Any] = {}


class JobRecord(msgspec.Struct, frozen=True):
    """One run of long work."""

    id: str
    kind: str
    state: str
    """running, done, failed or cancelled."""
    done: int
    total: int | None
    message: str
    result: Any
    started_us: int
    ended_us: int | None


class JobList(msgspec.Struct, frozen=True):
    """The jobs that are remembered, newest first, and the kinds that can be started."""

    jobs: list[JobRecord]
    kinds: list[str]


class CertificateRecord(msgspec.Struct, frozen=True):
    """The TLS certificate that the hive itself shows."""

    sha256: str
    ends_us: int
    trouble: str | None
    """Why a newer one in its files is not taken."""


class Status(msgspec.Struct, frozen=True):
    """How the hive is."""

    version: str
    scheme: str
    stores: list[Store]
    workers: list[WorkerStatus]
    facts: dict[str, Any]
    """Counts and bytes: users, nodes, packs, chunks, dedup ratio, repair backlog."""
    certificate: CertificateRecord | None
    """None where the hive speaks no TLS itself."""


async def get_scheme(call: Call) -> SchemeRecord:
    """Show the durability scheme of new packs."""
    chunks = call.services.chunks
    return _scheme_record(chunks, await call.services.layout.try_scheme(chunks.scheme, None, force=True))


async def set_scheme(call: Call, body: SetScheme) -> SchemeRecord:
    """Set the durability scheme of new packs, and how many shards of it are enough for what."""
    chunks, scheme = call.services.chunks, Scheme.parse(body.scheme)
    thresholds = _thresholds(chunks, scheme, body)
    findings = await call.services.layout.try_scheme(scheme, None, force=body.force or body.thresholds_only)
    if not body.thresholds_only:
        await chunks.set_scheme(scheme)
    if thresholds != chunks.thresholds.of(scheme):
        await chunks.thresholds.choose(scheme, thresholds)
    return _scheme_record(chunks, findings)


def _thresholds(chunks: ChunkService, scheme: Scheme, body: SetScheme) -> Thresholds:
    """What a body asks for. What was chosen before and is not named stays. Raises InvalidScheme."""
    before, plain = chunks.thresholds.of(scheme), usual(scheme)
    repair_at, wanted = body.repair_at, body.wanted
    if isinstance(repair_at, UnsetType):
        repair_at = before.repair_at if before != plain else None
    if isinstance(wanted, UnsetType):
        wanted = before.wanted if before != plain else None
    return chosen(scheme, repair_at, wanted)


async def list_workers(call: Call) -> Workers:
    """List the background workers and how they are doing."""
    return Workers(call.services.workers.status())


async def trigger_worker(call: Call) -> WorkerStatus:
    """Let a worker do its next unit now."""
    return _steer(call, "trigger")


async def pause_worker(call: Call) -> WorkerStatus:
    """Let a worker start nothing new."""
    return _steer(call, "pause")


async def resume_worker(call: Call) -> WorkerStatus:
    """Let a paused worker go on."""
    return _steer(call, "resume")


async def list_jobs(call: Call) -> JobList:
    """List long work that was started by hand."""
    jobs = call.services.jobs
    return JobList([_job_record(job) for job in jobs.all()], jobs.kinds)


async def start_job(call: Call, body: NewJob) -> JobRecord:
    """Start long work: scrub, repair, gc, fsck and the like. Watch it under the answer's id."""
    return _job_record(call.services.jobs.start(body.kind, body.options))


async def get_job(call: Call) -> JobRecord:
    """Show how far a job is, and its result once it is done."""
    return _job_record(call.services.jobs.get(call.id("job_id", NotFound)))


async def cancel_job(call: Call) -> JobRecord:
    """End a job before it is done."""
    return _job_record(call.services.jobs.cancel(call.id("job_id", NotFound)))


async def rotate_signing_key(call: Call) -> NewSigningKey:
    """Sign access tokens with a new key from now on. Those given out stay good until they expire."""
    return NewSigningKey(await call.services.auth.rotate_keys(call.principal))


async def get_status(call: Call) -> Status:
    """Show how the hive is: stores, workers, counts."""
    services = call.services
    return Status(
        version=__version__,
        scheme=services.chunks.scheme.name,
        stores=[store_record(member) for member in services.stores],
        workers=services.workers.status(),
        facts=await services.facts(),
        certificate=None if (shown := services.certificate()) is None else CertificateRecord(*shown),
    )


def _scheme_record(chunks: ChunkService, findings: list[str]) -> SchemeRecord:
    scheme, hold = chunks.scheme, chunks.thresholds.of(chunks.scheme)
    others = [
        SchemeThresholds(other.name, *msgspec.structs.astuple(chunks.thresholds.of(other)))
        for other in chunks.thresholds.schemes
        if other != scheme
    ]
    return SchemeRecord(
        scheme=scheme.name,
        data_shards=scheme.data_shards,
        parity_shards=scheme.parity_shards,
        needed=hold.needed,
        repair_at=hold.repair_at,
        wanted=hold.wanted,
        total=hold.total,
        write_quorum=hold.wanted,
        warning=chunks.scheme_warning(),
        findings=findings,
        others=others,
    )


def _steer(call: Call, verb: str) -> WorkerStatus:
    workers, name = call.services.workers, call.path["worker"]
    getattr(workers, verb)(name)
    return workers.status(name)[0]


def _job_record(job: Job) -> JobRecord:
    return JobRecord(
        id=id_text(job.id),
        kind=job.kind,
        state=job.state,
        done=job.done,
        total=job.total,
        message=job.message,
        result=job.result,
        started_us=job.started_us,
        ended_us=job.ended_us,
    )


_WORKER = "/api/admin/workers/{worker}"
OPERATIONS = (
    Operation("GET", "/api/admin/status", get_status, "admin", TAG, admin=True),
    Operation("GET", "/api/admin/scheme", get_scheme, "admin", TAG, admin=True),
    Operation("PUT", "/api/admin/scheme", set_scheme, "admin", TAG, admin=True),
    Operation("POST", "/api/admin/signing-keys", rotate_signing_key, "admin", TAG, admin=True, status=201),
    Operation("GET", "/api/admin/workers", list_workers, "admin", TAG, admin=True),
    Operation("POST", f"{_WORKER}/trigger", trigger_worker, "admin", TAG, admin=True),
    Operation("POST", f"{_WORKER}/pause", pause_worker, "admin", TAG, admin=True),
    Operation("POST", f"{_WORKER}/resume", resume_worker, "admin", TAG, admin=True),
    Operation("GET", "/api/admin/jobs", list_jobs, "admin", TAG, admin=True),
    Operation("POST", "/api/admin/jobs", start_job, "admin", TAG, admin=True, status=202),
    Operation("GET", "/api/admin/jobs/{job_id}", get_job, "admin", TAG, admin=True),
    Operation("DELETE", "/api/admin/jobs/{job_id}", cancel_job, "admin", TAG, admin=True),
)
