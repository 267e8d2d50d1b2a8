"""The journal over rows: keys and values that change together or not at all. HQ keeps them sealed in SQLite.

    release/STACK/NUMBER   current/STACK   plan/STACK   number/STACK   verdicts/STACK   home/STACK/JOB   slice/ID

Values are JSON. All rows are read once and kept; each change is durable before it can be read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeVar

import msgspec

from skep.base.errors import AlreadyExists, CorruptRecord
from skep.deploy.launch.journal import RUNS_KEPT, VERDICTS_KEPT, OpenPlan
from skep.deploy.launch.records import CronRun, Plan, Release, SliceRecord, SliceState, Verdict

T = TypeVar("T")
_KINDS: dict[str, Any] = {
    "release": Release,
    "current": int,
    "plan": OpenPlan,
    "number": int,
    "verdicts": tuple[Verdict, ...],
    "home": str,
    "runs": tuple[CronRun, ...],
    "slice": SliceRecord,
}


class Rows(Protocol):
    """Where rows are kept."""

    async def load(self) -> dict[str, bytes]:
        """All of them. Raises LocalFailure, CorruptRecord, KeyMissing."""
        ...

    async def apply(self, changes: Mapping[str, bytes | None]) -> None:
        """Write these, None to delete, together and durably. Raises LocalFailure; then nothing was written."""
        ...


class MemoryRows:
    """Rows of a test or of a launch that nobody must remember; they outlive the journal that uses them."""

    def __init__(self) -> None:
        self.rows: dict[str, bytes] = {}

    async def load(self) -> dict[str, bytes]:
        return dict(self.rows)

    async def apply(self, changes: Mapping[str, bytes | None]) -> None:
        for key, value in changes.items():
            if value is None:
                self.rows.pop(key, None)
            else:
                self.rows[key] = value


class RowJournal:
    """A Journal over Rows. One per Rows at a time."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._known: dict[str, Any] | None = None
        self._lock = asyncio.Lock()

    # --- rows -----------------------------------------------------------------------------------

    async def _all(self) -> dict[str, Any]:
        if self._known is None:
            async with self._lock:
                if self._known is None:
                    loaded = await self._rows.load()
                    self._known = {key: _decoded(key, value) for key, value in sorted(loaded.items())}
        return self._known

    async def _change(self, changes: Mapping[str, Any]) -> None:
        known = await self._all()
        async with self._lock:
            encoded = {key: None if value is None else msgspec.json.encode(value) for key, value in changes.items()}
            await asyncio.shield(self._rows.apply(encoded))
            for key, value in changes.items():
                if value is None:
                    known.pop(key, None)
                else:
                    known[key] = value

    async def _get(self, key: str, kind: type[T]) -> T | None:
        found = (await self._all()).get(key)
        assert found is None or isinstance(found, kind), key
        return found

    async def _under(self, prefix: str, kind: type[T]) -> list[T]:
        known = await self._all()
        return [known[key] for key in sorted(known) if key.startswith(prefix)]

    # --- numbers --------------------------------------------------------------------------------

    async def next_number(self, stack: str) -> int:
        number = (await self._get(f"number/{stack}", int) or 0) + 1
        await self._change({f"number/{stack}": number})
        return number

    # --- plans ----------------------------------------------------------------------------------

    async def begin(self, plan: Plan, after: Release | None, slices: Sequence[SliceRecord]) -> None:
        if await self._get(f"plan/{plan.stack}", OpenPlan) is not None:
            raise AlreadyExists(f"a launch of {plan.stack} is under way", stack=plan.stack)
        changes: dict[str, Any] = {f"slice/{one.id}": one for one in slices}
        await self._change({f"plan/{plan.stack}": OpenPlan(plan=plan, after=after), **changes})

    async def _open(self, plan: Plan) -> OpenPlan:
        found = await self._get(f"plan/{plan.stack}", OpenPlan)
        assert found is not None, f"{plan.id} is not open"
        assert found.plan.id == plan.id, f"{found.plan.id} is open, not {plan.id}"
        return found

    async def before(self, plan: Plan, index: int) -> None:
        opened = await self._open(plan)
        await self._change({f"plan/{plan.stack}": msgspec.structs.replace(opened, begun=index)})

    async def after(self, plan: Plan, index: int) -> None:
        opened = await self._open(plan)
        await self._change({f"plan/{plan.stack}": msgspec.structs.replace(opened, done=index)})

    async def commit(self, plan: Plan) -> None:
        opened = await self._open(plan)
        changes: dict[str, Any] = {f"plan/{plan.stack}": msgspec.structs.replace(opened, committed=True)}
        changes |= await self._turned(plan.starts, "live")
        changes |= await self._turned(plan.ends, "old")
        if opened.after is None:
            changes[f"current/{plan.stack}"] = None
        else:
            changes[f"release/{plan.stack}/{opened.after.number:09}"] = opened.after
            changes[f"current/{plan.stack}"] = opened.after.number
        await self._change(changes)

    async def _turned(self, ids: Sequence[str], state: SliceState) -> dict[str, SliceRecord]:
        found = [await self.slice(slice_id) for slice_id in ids]
        return {f"slice/{one.id}": msgspec.structs.replace(one, state=state) for one in found if one is not None}

    async def end(self, plan: Plan, verdict: Verdict) -> None:
        kept = (*await self.verdicts(plan.stack), verdict)[-VERDICTS_KEPT:]
        await self._change({f"plan/{plan.stack}": None, f"verdicts/{plan.stack}": kept})

    async def open_plans(self) -> tuple[OpenPlan, ...]:
        return tuple(await self._under("plan/", OpenPlan))

    async def verdicts(self, stack: str) -> tuple[Verdict, ...]:
        return await self._get(f"verdicts/{stack}", tuple) or ()

    # --- releases -------------------------------------------------------------------------------

    async def stacks(self) -> tuple[str, ...]:
        known = await self._all()
        named = {key.split("/")[1] for key in known if key.startswith(("release/", "plan/"))}
        return tuple(sorted(named | {one.stack for one in await self._under("slice/", SliceRecord)}))

    async def current(self, stack: str) -> Release | None:
        number = await self._get(f"current/{stack}", int)
        return None if number is None else await self._get(f"release/{stack}/{number:09}", Release)

    async def releases(self, stack: str) -> tuple[Release, ...]:
        return tuple(await self._under(f"release/{stack}/", Release))

    async def keep(self, stack: str, count: int) -> None:
        current = await self._get(f"current/{stack}", int)
        over = (await self.releases(stack))[: -max(1, count)]
        gone = {f"release/{stack}/{one.number:09}": None for one in over if one.number != current}
        if gone:
            await self._change(gone)

    async def forget(self, stack: str) -> None:
        known = await self._all()
        of_stack = (f"release/{stack}/", f"home/{stack}/")
        gone = [key for key in known if key.startswith(of_stack) or key in (f"verdicts/{stack}", f"runs/{stack}")]
        await self._change(dict.fromkeys([*gone, f"current/{stack}"]))

    # --- slices and volumes ---------------------------------------------------------------------

    async def put_slice(self, record: SliceRecord) -> None:
        await self._change({f"slice/{record.id}": record})

    async def slice(self, id: str) -> SliceRecord | None:
        return await self._get(f"slice/{id}", SliceRecord)

    async def slices(self, stack: str = "") -> tuple[SliceRecord, ...]:
        return tuple(one for one in await self._under("slice/", SliceRecord) if stack in ("", one.stack))

    async def drop_slice(self, id: str) -> None:
        if await self.slice(id) is not None:
            await self._change({f"slice/{id}": None})

    async def put_run(self, run: CronRun) -> None:
        others = (one for one in await self.runs(run.stack) if one.slice != run.slice)
        await self._change({f"runs/{run.stack}": (*others, run)[-RUNS_KEPT:]})

    async def runs(self, stack: str) -> tuple[CronRun, ...]:
        return await self._get(f"runs/{stack}", tuple) or ()

    async def home(self, stack: str, job: str) -> str:
        return await self._get(f"home/{stack}/{job}", str) or ""

    async def put_home(self, stack: str, job: str, block: str) -> None:
        await self._change({f"home/{stack}/{job}": block or None})


class MemoryJournal(RowJournal):
    """A journal that is gone with its rows."""

    def __init__(self, rows: MemoryRows | None = None) -> None:
        super().__init__(rows or MemoryRows())


def _decoded(key: str, value: bytes) -> Any:
    kind = _KINDS.get(key.partition("/")[0])
    if kind is None:
        raise CorruptRecord(f"the journal has a row {key[:80]}, which this program does not know: use a newer one")
    try:
        return msgspec.json.decode(value, type=kind)
    except msgspec.MsgspecError as error:
        raise CorruptRecord(f"the journal's row {key[:80]} is damaged: {error}") from None
