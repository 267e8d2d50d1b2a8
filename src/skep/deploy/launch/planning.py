"""From what runs to what shall run: a plan of instructions, as a plain function.

    BUILD … ENSURE … DEPLOY / SCALE … ROUTE | here the new release takes the old one's place | KILL …

Services come first, then the others, each after those that it links to. What is unchanged is in no instruction. A
service that is changed is ended before it is started again, on the same block and ports, so that those that use it need
not be touched. So is a job that holds a fixed port of the host.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import msgspec

from skep.deploy.build.images import TLS
from skep.deploy.engines.records import Binding
from skep.deploy.grid import HERE, Slice
from skep.deploy.launch.records import (
    Build,
    Deploy,
    Downtime,
    Ensure,
    Instruction,
    Kill,
    Plan,
    Release,
    Route,
    Scale,
    SliceRecord,
)
from skep.deploy.launch.specs import fixed_ports, identity, job_spec, service_links, slice_id
from skep.deploy.stack.crossing import start_order
from skep.deploy.stack.records import Job, Stack


class Situation(msgspec.Struct, frozen=True, kw_only=True):
    """What a plan is made from, besides the releases."""

    slices: Sequence[SliceRecord] = ()
    """Live slices of the stack."""
    shared: Mapping[str, tuple[Binding, ...]] = {}
    """Services that other stacks share, by name, and where they are reached."""
    global_env: Mapping[str, str] = {}
    stack_env: Mapping[str, str] = {}


class Links(msgspec.Struct, frozen=True, kw_only=True):
    """The link variables of a stack, as far as they are known."""

    variables: dict[str, str]
    complete: bool
    """False: a service is yet to be started, and nobody knows where it will be reached."""


def links_of(stack: Stack, situation: Situation, *, restarted: Collection[str] = ()) -> Links:
    """Where the services of a stack, and those that others share, are reached.

    Its own go over those of others. A service in ``restarted`` keeps its ports, unless it exposes others now.
    """
    variables: dict[str, str] = {}
    for name, bindings in sorted(situation.shared.items()):
        variables |= service_links(name, bindings)
    complete = True
    for job in stack.of_kind("service"):
        bindings = situation.shared.get(job.shared_from, ()) if is_shared(job, situation) else _bound(job, situation)
        if not is_shared(job, situation) and job.expose:
            known = {one.number for one in bindings}
            if not {port.number for port in job.expose} <= known:
                complete = False
                continue
            if job.name in restarted:
                bindings = tuple(one for one in bindings if one.number in {port.number for port in job.expose})
        variables |= service_links(job.name, bindings)
    return Links(variables=variables, complete=complete)


def is_shared(job: Job, situation: Situation) -> bool:
    """Whether another stack's service is used in place of this one."""
    return bool(job.shared_from) and job.shared_from in situation.shared


def _bound(job: Job, situation: Situation) -> tuple[Binding, ...]:
    return next((one.bindings for one in situation.slices if one.job == job.name), ())


class _Planner:
    """One plan in the making."""

    def __init__(self, after: Release, number: int, situation: Situation, force: Collection[str]) -> None:
        self.after, self.number, self.situation, self.force = after, number, situation, force
        self.stack = after.stack
        self.instructions: list[Instruction] = []
        self.kills: list[Kill] = []
        self.downtime: dict[str, Downtime] = {}
        self.notes: list[str] = []
        self.restarted: set[str] = set()

    def live(self, job: str) -> list[SliceRecord]:
        return sorted((one for one in self.situation.slices if one.job == job), key=lambda one: one.number)

    def new_ids(self, job: str, numbers: Sequence[int]) -> tuple[str, ...]:
        return tuple(slice_id(self.stack.name, job, self.number, number) for number in numbers)

    def kill(self, job: str, records: Sequence[SliceRecord]) -> None:
        if records:
            self.kills.append(Kill(job=job, slices=tuple(one.id for one in records)))

    def service(self, job: Job) -> None:
        live = self.live(job.name)
        if is_shared(job, self.situation):
            self.notes.append(f"{job.name} is the shared service {job.shared_from}: it is not started here")
            self.kill(job.name, live)
            return
        spec = job_spec(self.after, job, {}, self.situation.global_env, self.situation.stack_env)
        self.kill(job.name, live[1:])
        if not live:
            self.downtime[job.name] = "none"
            self.instructions.append(Ensure(job=job.name, slice=self.new_ids(job.name, [0])[0]))
        elif live[0].identity != identity(self.after, job, spec) or job.name in self.force:
            self.restarted.add(job.name)
            self.downtime[job.name] = "restart"
            self.instructions.append(
                Ensure(job=job.name, slice=self.new_ids(job.name, [0])[0], replaces=live[0].id),
            )
        elif live[0].spec.env != spec.env:
            self.notes.append(
                f"{job.name} goes on with the variables that it was started with: restart it to change them"
            )

    def replicated(self, job: Job, links: Links) -> None:
        live, count = self.live(job.name), self.after.scale_of(job)
        spec = job_spec(self.after, job, links.variables, self.situation.global_env, self.situation.stack_env)
        same = identity(self.after, job, spec)
        changed = not links.complete or job.name in self.force or any(one.identity != same for one in live)
        if live and not changed:
            self._scaled(job, live, count)
        elif count == 0:
            self.kill(job.name, live)
        elif live or count:
            held = frozenset().union(*(fixed_ports(one) for one in live)) if live else frozenset()
            in_place = bool(held & {port.host_port for port in job.expose})
            ids = self.new_ids(job.name, range(count))
            self.downtime[job.name] = "restart" if in_place else "none"
            self.instructions.append(
                Deploy(job=job.name, slices=ids, replaces=tuple(one.id for one in live), in_place=in_place)
            )
            self.kill(job.name, live[len(ids) :] if in_place else live)

    def _scaled(self, job: Job, live: list[SliceRecord], count: int) -> None:
        if count == len(live):
            return
        used = {one.number for one in live}
        free = [number for number in range(count + len(live)) if number not in used]
        ids = self.new_ids(job.name, free[: max(0, count - len(live))])
        drops = live[count:]
        self.instructions.append(
            Scale(job=job.name, count=count, slices=ids, drops=tuple(one.id for one in drops)),
        )
        self.kill(job.name, drops)


def compile_plan(
    before: Release | None, after: Release, situation: Situation, *, number: int, force: Collection[str] = ()
) -> Plan:
    """The plan ``number`` that leads from ``before`` to ``after``; jobs in ``force`` are replaced though unchanged."""
    planner, stack = _Planner(after, number, situation, force), after.stack
    known = before.images if before is not None else {}
    for name, ref in after.images.items():
        if known.get(name) != ref:
            planner.instructions.append(Build(job=name, image=ref))
    order = start_order(stack)
    for job in order:
        if job.kind == "service":
            planner.service(job)
    links = links_of(stack, situation, restarted=planner.restarted)
    for job in order:
        if job.kind != "service":
            planner.replicated(job, links)
    domains = {job.name: job.domains for job in stack.of_kind("web", "static") if job.domains}
    for name in sorted({one.job for one in situation.slices}):
        job_now = stack.job(name)
        if job_now is None or job_now.kind not in ("service", "web", "worker", "cron"):
            planner.kill(name, planner.live(name))
    if _leads_elsewhere(before, after, [*planner.instructions, *planner.kills]):
        planner.instructions.append(Route(domains=domains))
    return Plan(
        id=f"{stack.name}.{number}",
        stack=stack.name,
        number=number,
        before=before.number if before is not None else 0,
        after=after.number,
        instructions=(*planner.instructions, *planner.kills),
        downtime=planner.downtime,
        notes=tuple(planner.notes),
    )


def new_slices(plan: Plan, after: Release, homes: Mapping[str, str]) -> tuple[Slice, ...]:
    """What the grid will be asked to place for a plan; ``homes`` says on which block a job's volumes are."""
    found = []
    for one in plan.instructions:
        if isinstance(one, Ensure) and not one.replaces:
            ids: tuple[str, ...] = (one.slice,)
        elif isinstance(one, Scale) or (isinstance(one, Deploy) and not one.in_place):
            ids = one.slices
        else:
            continue
        job = after.stack.job(one.job)
        assert job is not None, one.job
        found += [
            Slice(
                id=name,
                size=job.size,
                tags=frozenset(job.tags),
                group=f"{plan.stack}.{job.name}",
                pinned=homes.get(job.name, HERE) if job.is_pinned else "",
                ports=frozenset(port.host_port for port in job.expose if port.host_port),
                image=after.images.get(job.name, ""),
            )
            for name in ids
        ]
    return tuple(found)


def _leads_elsewhere(before: Release | None, after: Release, changes: Sequence[Instruction]) -> bool:
    """Whether the router has anything to learn."""
    old, new = _led(before), _led(after)
    touched = {one.job for one in changes if not isinstance(one, Route)}
    return old != new or bool(touched & new.keys())


def _led(release: Release | None) -> dict[str, object]:
    """What the router knows of each job that has domains, besides its slices."""
    if release is None:
        return {}
    jobs = [job for job in release.stack.of_kind("web", "static") if job.domains]
    return {job.name: (job.kind, job.domains, release.images.get(job.name + TLS), _files(release, job)) for job in jobs}


def _files(release: Release, job: Job) -> str:
    return release.images.get(job.name, "") if job.kind == "static" else ""


def compile_end(stack: str, before: Release | None, slices: Sequence[SliceRecord], *, number: int) -> Plan:
    """The plan that ends a stack."""
    jobs = dict.fromkeys(one.job for one in slices)
    kills = [Kill(job=job, slices=tuple(one.id for one in slices if one.job == job)) for job in jobs]
    return Plan(
        id=f"{stack}.{number}",
        stack=stack,
        number=number,
        before=before.number if before is not None else 0,
        after=0,
        instructions=(Route(), *kills),
    )


def depth_of(stack: Stack, name: str) -> int:
    """How many jobs must be well before this one begins; jobs of one depth begin together."""
    depths: dict[str, int] = {}
    for job in start_order(stack):
        depths[job.name] = max((depths[one] + 1 for one in job.links if one in depths), default=0)
    return depths.get(name, 0)
