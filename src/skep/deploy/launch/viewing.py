"""A stack as it is: what the journal knows and what the engines see."""

from __future__ import annotations

import asyncio

import msgspec

from skep.base.errors import JobNotFound, SkepError
from skep.deploy.launch.ground import Ground
from skep.deploy.launch.records import SliceRecord, SliceView, StackView, urls_of


async def observe_stack(ground: Ground, stack: str) -> StackView:
    """What runs of a stack, asking every host at the same time; one that does not answer is ``unknown``."""
    release = await ground.journal.current(stack)
    views = await asyncio.gather(*(_seen(ground, record) for record in await ground.journal.slices(stack)))
    opened = [one.plan.id for one in await ground.journal.open_plans() if one.plan.stack == stack]
    return StackView(
        stack=stack,
        release=release,
        slices=tuple(views),
        urls=urls_of(release.stack) if release is not None else (),
        open_plan=opened[0] if opened else "",
        runs=await ground.journal.runs(stack),
    )


async def _seen(ground: Ground, record: SliceRecord) -> SliceView:
    block = next(reversed(record.places), "")
    known = SliceView(
        id=record.id, job=record.job, release=record.release, block=block, state="unknown", bindings=record.bindings
    )
    try:
        seen = await ground.engine(block).inspect(record.id)
    except JobNotFound:
        return msgspec.structs.replace(known, state="absent")
    except SkepError:
        return known
    return msgspec.structs.replace(
        known,
        state=seen.state,
        health=seen.health,
        restarts=seen.restarts,
        bindings=seen.bindings,
        started_us=seen.started_us,
    )
