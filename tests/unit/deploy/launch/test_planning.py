"""Plans as values: what is unchanged is in no instruction, and what needs downtime says so."""

from __future__ import annotations

from typing import Any

import msgspec

from skep.deploy.engines.records import Binding
from skep.deploy.launch.carrying import shown
from skep.deploy.launch.planning import Situation, compile_end, compile_plan, depth_of, links_of
from skep.deploy.launch.records import (
    Build,
    Deploy,
    Ensure,
    Kill,
    Place,
    Plan,
    Release,
    Route,
    Scale,
    SliceRecord,
    urls_of,
)
from skep.deploy.launch.specs import fixed_ports, identity, job_spec, with_ports
from skep.deploy.stack.reader import read_stack
from skep.deploy.stack.records import Stack

TEXT = """
db: {type: service, container: "redis:7", expose: 6379}
web: {type: web, container: "app:1", domains: a.test, scale: 2, links: mail}
mail: {type: worker, container: "app:1"}
"""


def release(text: str = TEXT, number: int = 1, **facts: Any) -> Release:
    stack = read_stack(text, "shop")
    images = {job.name: job.image for job in stack.jobs if job.image}
    recipes = {job.name: job.image for job in stack.jobs}
    return Release(number=number, stack=stack, **{"images": images, "recipes": recipes, **facts})


def running(plan: Plan, after: Release, situation: Situation) -> list[SliceRecord]:
    """What the plan leaves, as if all of it had gone well."""
    ends, found = set(plan.ends), [one for one in situation.slices if one.id not in plan.ends]
    assert ends <= {one.id for one in situation.slices}
    for one in plan.instructions:
        ids = (one.slice,) if isinstance(one, Ensure) else one.slices if isinstance(one, Deploy | Scale) else ()
        for slice_id in ids:
            found.append(_record(slice_id, one.job, plan, after, found))
    return found


def _record(slice_id: str, name: str, plan: Plan, after: Release, there: list[SliceRecord]) -> SliceRecord:
    job = after.stack.job(name)
    assert job is not None
    spec = job_spec(after, job, links_of(after.stack, Situation(slices=there)).variables, {}, {})
    bindings = tuple(Binding(number=p.number, address="10.0.0.1", host_port=p.host_port or 20_000) for p in spec.ports)
    return SliceRecord(
        id=slice_id,
        stack="shop",
        job=name,
        kind=job.kind,
        number=int(slice_id.rpartition("-")[2]),
        release=after.number,
        plan=plan.id,
        identity=identity(after, job, spec),
        spec=spec,
        size=job.size,
        state="live",
        places={"m1": Place(bindings=bindings)},
    )


def step(
    before: Release | None, after: Release, slices: list[SliceRecord], **more: Any
) -> tuple[Plan, list[SliceRecord]]:
    situation = Situation(slices=slices)
    plan = compile_plan(before, after, situation, number=10 + after.number, **more)
    return plan, running(plan, after, situation)


def kinds(plan: Plan) -> list[str]:
    return [shown(one) for one in plan.instructions]


def test_a_first_plan_starts_services_then_jobs_by_their_links() -> None:
    plan, slices = step(None, release(), [])
    assert kinds(plan) == [
        "BUILD db",
        "BUILD web",
        "BUILD mail",
        "ENSURE db",
        "DEPLOY mail x1",
        "DEPLOY web x2",
        "ROUTE a.test",
    ]
    assert plan.starts == ("shop.db.11-0", "shop.mail.11-0", "shop.web.11-0", "shop.web.11-1")
    assert set(plan.downtime.values()) == {"none"}
    assert [depth_of(release().stack, name) for name in ("db", "mail", "web")] == [0, 0, 1]
    assert slices[-1].spec.env["DB_PORT"] == "tcp://10.0.0.1:20000"


def test_the_same_again_is_an_empty_plan() -> None:
    _, slices = step(None, release(), [])
    plan, after = step(release(), release(number=2), slices)
    assert plan.instructions == ()
    assert plan.is_empty
    assert after == slices


def test_one_changed_job_is_one_replaced_job() -> None:
    _, slices = step(None, release(), [])
    changed = release(TEXT.replace('web: {type: web, container: "app:1"', 'web: {type: web, container: "app:2"'), 2)
    plan, after = step(release(), changed, slices)
    assert kinds(plan) == ["BUILD web", "DEPLOY web x2", "ROUTE a.test", "KILL web x2"]
    assert {one.id for one in after if one.job != "web"} == {one.id for one in slices if one.job != "web"}


def test_only_domains_are_only_routed() -> None:
    _, slices = step(None, release(), [])
    plan, _ = step(release(), release(TEXT.replace("a.test", "b.test"), 2), slices)
    assert kinds(plan) == ["ROUTE b.test"]
    gone, _ = step(
        release(), release(TEXT.replace("type: web", "type: worker").replace("domains: a.test, ", ""), 2), slices
    )
    assert Route() in gone.instructions


def test_a_changed_service_is_restarted_where_it_is() -> None:
    _, slices = step(None, release(), [])
    plan, _ = step(release(), release(TEXT.replace("redis:7", "redis:8"), 2), slices)
    assert kinds(plan) == ["BUILD db", "ENSURE db (restarted)"]
    assert plan.downtime == {"db": "restart"}
    assert plan.swaps == (("shop.db.11-0", "shop.db.12-0"),)
    other_port, _ = step(release(), release(TEXT.replace("6379", "[6379, 6380]"), 2), slices)
    assert "DEPLOY web x2" in kinds(other_port), "a new port changes the variables of every job"


def test_images_of_services_do_not_count_but_their_recipes_do() -> None:
    _, slices = step(None, release(), [])
    pushed = release(number=2, images={**release().images, "db": "tree:other"})
    plan, _ = step(release(), pushed, slices)
    assert [one for one in plan.instructions if not isinstance(one, Build)] == []
    recipe, _ = step(release(), release(number=2, recipes={"db": "another"}), slices)
    assert "ENSURE db (restarted)" in kinds(recipe)


def test_scaling_keeps_the_lowest_numbers_and_fills_gaps() -> None:
    _, slices = step(None, release(), [])
    more, three = step(release(), release(number=2, scales={"web": 3}), slices)
    assert more.starts == ("shop.web.12-2",)
    less, one = step(release(number=2), release(number=3, scales={"web": 1}), three)
    assert [found.id for found in one if found.job == "web"] == ["shop.web.11-0"]
    assert Kill(job="web", slices=("shop.web.11-1", "shop.web.12-2")) in less.instructions
    none, zero = step(release(number=3), release(number=4, scales={"web": 0}), one)
    assert [found for found in zero if found.job == "web"] == []
    assert "SCALE web=0" in kinds(none)


def test_a_fixed_port_is_handed_over() -> None:
    text = TEXT + 'smtp: {type: worker, container: "mx:1", expose: "25:25"}\n'
    _, slices = step(None, release(text), [])
    plan, _ = step(release(text), release(text.replace("mx:1", "mx:2"), 2), slices)
    assert kinds(plan)[1] == "DEPLOY smtp x1 (one after the other: a fixed port)"
    assert plan.downtime["smtp"] == "restart"
    assert plan.swaps == (("shop.smtp.11-0", "shop.smtp.12-0"),)
    free, _ = step(release(text), release(text.replace("25:25", "25").replace("mx:1", "mx:2"), 2), slices)
    assert free.downtime["smtp"] == "none"


def test_what_is_gone_from_the_file_is_ended() -> None:
    _, slices = step(None, release(), [])
    plan, after = step(release(), release(TEXT.split("mail:")[0].replace(", links: mail", ""), 2), slices)
    assert Kill(job="mail", slices=("shop.mail.11-0",)) in plan.instructions
    assert {one.job for one in after} == {"db", "web"}
    end = compile_end("shop", release(), slices, number=20)
    assert set(end.ends) == {one.id for one in slices}
    assert end.after == 0


def test_ports_are_kept_where_the_file_leaves_them_free() -> None:
    _, slices = step(None, release(), [])
    (db,) = [one for one in slices if one.job == "db"]
    assert fixed_ports(db) == frozenset()
    assert [port.host_port for port in with_ports(db.spec, db.bindings).ports] == [20_000]
    fixed = msgspec.structs.replace(db.spec.ports[0], host_port=7)
    assert with_ports(msgspec.structs.replace(db.spec, ports=(fixed,)), db.bindings).ports == (fixed,)


def test_addresses_are_told_without_wildcards() -> None:
    stack: Stack = read_stack("w: {type: web, run: x, domains: [a.test, '*.a.test']}", "shop")
    assert urls_of(stack) == ("http://a.test/",)
