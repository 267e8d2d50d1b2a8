"""Launches on memory engines: what each kind of launch does, and that all that is left agrees."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from skep.base.errors import BadInput, NotFound
from skep.deploy.engines.memory_jobs import Behaviour
from skep.deploy.engines.records import Image, JobSpec, Labels
from skep.deploy.launch.records import Deploy, Event, Plan, Request, Verdict
from skep.deploy.stack.records import Job, Stack

from .launch_stacks import ENDS, NEVER_WELL, shop
from .launch_world import HQ, World, check_agreement, rest, run


def launched(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """A test of an HQ, in time that costs none."""

    @functools.wraps(test)
    def wrapper(tmp_path: Path, **given: object) -> None:
        async def history() -> None:
            hq = World(1, tmp_path / "images").hq()
            await hq.open()
            await test(hq, **given)
            await hq.launcher.close()

        run(history)

    parameters = [one for one in inspect.signature(test).parameters.values() if one.name != "hq"]
    place = inspect.Parameter("tmp_path", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    wrapper.__signature__ = inspect.Signature([place, *parameters])  # type: ignore[attr-defined]
    return wrapper


async def deploy(hq: HQ, stack: Stack) -> Verdict:
    return await hq.launcher.deploy(Request(stack=stack, tree=hq.world.tree), hq.say)


async def settled(hq: HQ) -> None:
    await rest(hq)
    await check_agreement(hq)


async def ids(hq: HQ, job: str) -> set[str]:
    return {one.id for one in await hq.journal.slices("shop") if (one.job, one.state) == (job, "live")}


@launched
async def test_a_push_starts_all_of_it_and_the_same_again_touches_nothing(hq: HQ) -> None:
    first = await deploy(hq, shop())
    assert (first.ok, first.outcome, first.urls) == (True, "released", ("http://a.test/",))
    await settled(hq)
    before = await hq.journal.slices()
    again = await deploy(hq, shop())
    assert (again.outcome, again.release > first.release) == ("unchanged", True)
    assert [one.id for one in await hq.journal.slices()] == [one.id for one in before]
    assert hq.plans[-1].instructions == ()
    await settled(hq)


@launched
async def test_only_what_is_changed_is_replaced(hq: HQ) -> None:
    await deploy(hq, shop())
    db, mail, web = await ids(hq, "db"), await ids(hq, "mail"), await ids(hq, "web")
    assert (await deploy(hq, shop(2))).ok
    await settled(hq)
    assert (await ids(hq, "db"), await ids(hq, "mail")) == (db, mail)
    assert not await ids(hq, "web") & web


@launched
async def test_a_service_keeps_its_address_so_that_nothing_else_is_touched(hq: HQ) -> None:
    await deploy(hq, shop())
    (old,) = [one for one in await hq.journal.slices() if one.job == "db"]
    web = await ids(hq, "web")
    assert (await deploy(hq, shop(db=3))).ok
    await settled(hq)
    (new,) = [one for one in await hq.journal.slices() if one.job == "db"]
    assert new.id != old.id
    assert (new.bindings, list(new.places)) == (old.bindings, list(old.places))
    assert await ids(hq, "web") == web
    assert hq.plans[-1].downtime == {"db": "restart"}


@launched
async def test_a_push_of_variables_restarts_no_service_and_says_so(hq: HQ) -> None:
    await deploy(hq, shop())
    db, web = await ids(hq, "db"), await ids(hq, "web")
    hq.world.environment["COLOUR"] = "green"
    assert (await deploy(hq, shop())).ok
    assert (await ids(hq, "db")) == db
    await settled(hq)
    assert not await ids(hq, "web") & web
    assert any("db goes on" in note for note in hq.plans[-1].notes)
    assert (await hq.launcher.restart("shop", ["db"], hq.say)).ok
    await settled(hq)
    assert await ids(hq, "db") != db


@pytest.mark.parametrize(("words", "told"), [(ENDS, "ended 3 times"), (NEVER_WELL, "health probe")])
@launched
async def test_a_job_that_is_not_well_leaves_the_old_release(hq: HQ, words: tuple[str, ...], told: str) -> None:
    await deploy(hq, shop())
    before = await hq.journal.slices()
    verdict = await deploy(hq, shop(2, db=2, run=words, extra="fixed"))
    assert (verdict.ok, verdict.job, verdict.outcome) == (False, "web", "failed")
    assert told in verdict.reason
    assert verdict.last_lines
    after = await hq.journal.slices()
    assert [(one.id, one.bindings) for one in after] == [(one.id, one.bindings) for one in before]
    await settled(hq)


@launched
async def test_a_router_that_refuses_leaves_the_old_release(hq: HQ) -> None:
    await deploy(hq, shop())
    verdict = await deploy(hq, shop(2, domain="refused.test"))
    assert (verdict.ok, verdict.reason) == (False, "nginx: refused")
    await settled(hq)


@launched
async def test_a_fixed_port_is_handed_over_and_comes_back_when_that_fails(hq: HQ) -> None:
    await deploy(hq, shop(extra="fixed"))
    (old,) = await ids(hq, "fixed")
    plan = await hq.launcher.plan(Request(stack=shop(2, extra="fixed"), tree=hq.world.tree), hq.say)
    assert plan.downtime == {"web": "none", "fixed": "restart"}
    assert (await deploy(hq, shop(2, extra="fixed"))).ok
    (new,) = await ids(hq, "fixed")
    assert new != old
    await settled(hq)
    assert not (await deploy(hq, shop(3, extra="fixed", run=ENDS))).ok
    assert await ids(hq, "fixed") == {new}
    await settled(hq)


@launched
async def test_volumes_keep_a_job_where_it_is(hq: HQ) -> None:
    await deploy(hq, shop(extra="files"))
    homes = {block for one in await hq.journal.slices() if one.job == "files" for block in one.places}
    assert len(homes) == 1
    for version in (2, 3):
        await deploy(hq, shop(version, extra="files"))
        await settled(hq)
    assert {block for one in await hq.journal.slices() if one.job == "files" for block in one.places} == homes
    await hq.launcher.kill("shop", hq.say)
    await settled(hq)
    await deploy(hq, shop(4, extra="files"))
    assert {block for one in await hq.journal.slices() if one.job == "files" for block in one.places} == homes


@launched
async def test_scaling_touches_no_other_slice_and_outlives_pushes_until_the_file_changes(hq: HQ) -> None:
    await deploy(hq, shop())
    before = await ids(hq, "web")
    assert (await hq.launcher.scale("shop", {"web": 4}, hq.say)).ok
    assert await ids(hq, "web") > before
    await settled(hq)
    await deploy(hq, shop(2))
    await settled(hq)
    assert len(await ids(hq, "web")) == 4
    await deploy(hq, shop(2, scale=1))
    await settled(hq)
    assert len(await ids(hq, "web")) == 1
    assert (await hq.launcher.scale("shop", {"web": 0}, hq.say)).ok
    await settled(hq)
    with pytest.raises(NotFound, match="no job nothing"):
        await hq.launcher.scale("shop", {"nothing": 1}, hq.say)
    with pytest.raises(BadInput, match="service"):
        await hq.launcher.scale("shop", {"db": 2}, hq.say)


@launched
async def test_releases_come_back_without_building(hq: HQ) -> None:
    for version in (1, 2, 3):
        await deploy(hq, shop(version))
    first = (await hq.journal.releases("shop"))[0]
    verdict = await hq.launcher.rollback("shop", first.number, hq.say)
    assert verdict.ok
    await settled(hq)
    current = await hq.journal.current("shop")
    assert current is not None
    assert (current.restored_from, current.images) == (first.number, first.images)
    with pytest.raises(NotFound, match="kept are"):
        await hq.launcher.rollback("shop", 999, hq.say)


@launched
async def test_ten_releases_are_kept(hq: HQ) -> None:
    for version in range(13):
        await deploy(hq, shop(version % 9))
    assert len(await hq.journal.releases("shop")) == 10


@launched
async def test_killed_it_comes_back_and_removed_it_is_forgotten(hq: HQ) -> None:
    await deploy(hq, shop())
    assert (await hq.launcher.kill("shop", hq.say)).outcome == "killed"
    await settled(hq)
    assert not any(host.jobs for host in hq.world.hosts.values())
    assert (await hq.launcher.rollback("shop", None, hq.say)).ok
    await settled(hq)
    assert (await hq.launcher.remove("shop", hq.say)).outcome == "removed"
    await settled(hq)
    assert await hq.journal.stacks() == ()
    assert sum(len(host.volumes) for host in hq.world.hosts.values()) == 1
    with pytest.raises(NotFound):
        await hq.launcher.observe("shop")


@launched
async def test_of_waiting_pushes_the_newest_wins(hq: HQ) -> None:
    told: list[Event] = []

    async def say(event: Event) -> None:
        told.append(event)

    requests = [Request(stack=shop(version), tree=hq.world.tree) for version in (1, 2, 3)]
    first = asyncio.ensure_future(hq.launcher.deploy(requests[0], say))
    while not await hq.journal.open_plans():
        await asyncio.sleep(0)
    verdicts = await asyncio.gather(first, *(hq.launcher.deploy(one, say) for one in requests[1:]))
    assert [verdict.outcome for verdict in verdicts] == ["released", "superseded", "released"]
    assert any(event.kind == "waiting" for event in told)
    await settled(hq)
    assert {one.spec.image for one in await hq.journal.slices() if one.job == "web"} == {"image:3"}


@launched
async def test_a_push_whose_listener_goes_away_goes_on(hq: HQ) -> None:
    async def say(event: Event) -> None:
        raise RuntimeError("nobody is there")

    task = asyncio.ensure_future(hq.launcher.deploy(Request(stack=shop(), tree=hq.world.tree), say))
    while not await hq.journal.open_plans():
        await asyncio.sleep(0)
    task.cancel()
    await settled(hq)
    async with asyncio.timeout(600.0):  # of time that costs none
        while await hq.journal.current("shop") is None:
            await hq.clock.sleep(1.0)
    await settled(hq)
    assert {one.job for one in await hq.journal.slices("shop")} == {"db", "web", "mail"}


@launched
async def test_a_service_of_one_stack_serves_others(hq: HQ) -> None:
    sharing = Stack(name="base", jobs=(_service("cache", shares=True),))
    await deploy(hq, sharing)
    user = Stack(
        name="shop", jobs=(_service("cache", shared_from="cache"), Job(name="w", kind="worker", image="image:1"))
    )
    await deploy(hq, user)
    records = await hq.journal.slices()
    assert [(one.stack, one.job) for one in records] == [("base", "cache"), ("shop", "w")]
    (port,) = records[0].bindings
    assert records[1].spec.env["CACHE_PORT"] == f"tcp://127.0.0.1:{port.host_port}"


def _service(name: str, **facts: object) -> Job:
    (job,) = [one for one in shop().jobs if one.name == "db"]
    changes: dict[str, object] = {"name": name, "volumes": (), **facts}
    return Job(**{field: changes.get(field, getattr(job, field)) for field in job.__struct_fields__})  # type: ignore[arg-type]


@launched
async def test_two_stacks_cannot_have_one_domain(hq: HQ) -> None:
    await deploy(hq, shop())
    verdict = await deploy(hq, shop(name="other"))
    assert "a.test is stack shop's" in verdict.reason
    assert await hq.journal.slices("other") == ()


@launched
async def test_jobs_start_after_those_that_they_link_to(hq: HQ) -> None:
    stack = shop()
    first = Job(name="first", kind="worker", image="image:1")
    linked = Job(name="linked", kind="worker", image="image:1", links=("first",))
    await deploy(hq, Stack(name="shop", jobs=(linked, first, *stack.jobs)))
    plan: Plan = hq.plans[-1]
    order = [one.job for one in plan.instructions if isinstance(one, Deploy)]
    assert order.index("first") < order.index("linked")
    await settled(hq)


@launched
async def test_hooks_run_for_each_port_when_a_slice_comes_and_goes(hq: HQ) -> None:
    job = shop(extra="fixed").jobs[-1]
    with_hook = Job(
        **{**{field: getattr(job, field) for field in job.__struct_fields__}, "hook": "on", "unhook": "off"}
    )
    await deploy(hq, Stack(name="shop", jobs=(with_hook,)))
    (slice_id,) = await ids(hq, "fixed")
    assert hq.world.hooked == [f"on {slice_id} 2525"]
    await hq.launcher.kill("shop", hq.say)
    await settled(hq)
    assert hq.world.hooked == [f"on {slice_id} 2525", f"off {slice_id} 2525"]


@launched
async def test_a_lost_host_is_replaced_and_swept_when_it_comes_back(hq: HQ) -> None:
    await deploy(hq, shop(scale=3))
    (db_home,) = {block for one in await hq.journal.slices() if one.job == "db" for block in one.places}
    lost = next(name for name in hq.world.hosts if name != db_home and hq.world.hosts[name].jobs)
    hq.world.hosts[lost].is_down = True
    assert await hq.launcher.host_lost(lost) == ()
    served = {backend.port for site in hq.world.sites["shop"] for backend in site.backends}
    there = {b.host_port for job in hq.world.hosts[lost].jobs.values() for b in job.bindings}
    assert len(served) == 3
    assert not served & there
    hq.world.hosts[lost].is_down = False
    await hq.launcher.host_found(lost)
    assert hq.world.hosts[lost].jobs == {}
    await settled(hq)


@launched
async def test_a_service_waits_for_its_lost_host(hq: HQ) -> None:
    await deploy(hq, shop())
    (db,) = [one for one in await hq.journal.slices() if one.job == "db"]
    (home,) = db.places
    hq.world.hosts[home].is_down = True
    assert await hq.launcher.host_lost(home) == (db.id,)
    hq.world.hosts[home].is_down = False
    hq.world.hosts[home].reboot()
    await hq.launcher.host_found(home)
    assert await ids(hq, "db") == {db.id}
    await settled(hq)


@launched
async def test_what_a_restarted_host_forgot_runs_again_on_the_same_ports(hq: HQ) -> None:
    await deploy(hq, shop())
    before = {one.id: one.bindings for one in await hq.journal.slices()}
    for host in hq.world.hosts.values():
        host.reboot()
    await settled(hq)
    assert {one.id: one.bindings for one in await hq.journal.slices()} == before


@launched
async def test_nothing_leads_to_what_a_restarted_host_starts_again_until_it_is_well(hq: HQ) -> None:
    await deploy(hq, shop(scale=3, run=("program", "serve", "late", "3")))
    served = {backend for site in hq.world.sites["shop"] for backend in site.backends}
    home, host = next((name, host) for name, host in hq.world.hosts.items() if host.jobs)
    there = {one.id for one in await hq.journal.slices() if one.job == "web" and home in one.places}
    host.reboot()
    await hq.clock.sleep(40.0)
    await hq.launcher.tick()
    left = {backend for site in hq.world.sites["shop"] for backend in site.backends}
    assert len(served) - len(left) == len(there) > 0
    assert all(host.jobs[slice_id].state == "running" for slice_id in there)
    await hq.launcher.idle()
    assert {backend for site in hq.world.sites["shop"] for backend in site.backends} == served
    assert all(host.jobs[slice_id].health(host.now_s()) == "healthy" for slice_id in there)
    await settled(hq)


@launched
async def test_what_is_never_well_again_is_given_up_until_the_next_look(hq: HQ) -> None:
    await deploy(hq, shop(scale=1))
    (record,) = [one for one in await hq.journal.slices() if one.job == "web"]
    (home,) = record.places
    hq.world.hosts[home].behave = lambda spec: Behaviour(healthy_after_s=None)
    hq.world.hosts[home].reboot()
    await hq.clock.sleep(40.0)
    await hq.launcher.tick()
    await hq.launcher.idle()
    assert hq.world.sites["shop"][0].backends == ()


@launched
async def test_a_full_disk_is_a_verdict(hq: HQ) -> None:
    await deploy(hq, shop(1))
    for host in hq.world.hosts.values():
        host.disk_is_full = True
    verdict = await deploy(hq, shop(3))
    assert "no room for image:3" in verdict.reason
    await settled(hq)


@launched
async def test_orphans_end_and_other_peoples_jobs_do_not(hq: HQ) -> None:
    await deploy(hq, shop())
    engine = hq.engine("m3")
    await engine.ship(Image(ref="image:5"))
    for plan, slice_id in (("test/shop.0", "ours"), ("other/shop.0", "theirs"), ("", "nobodys")):
        labels = Labels(stack="shop", job="web", slice=slice_id, plan=plan)
        await engine.ensure(JobSpec(image="image:5"), labels)
    await rest(hq)
    assert {"theirs", "nobodys"} <= hq.world.hosts["m3"].jobs.keys()
    assert "ours" not in hq.world.hosts["m3"].jobs
    await engine.remove("theirs")
    await engine.remove("nobodys")
    await settled(hq)


@launched
async def test_cron_jobs_run_at_their_minute_and_are_cleared_away(hq: HQ) -> None:
    job = Job(name="tick", kind="cron", image="image:1", run=("program", "exit", "4", "done"), schedule="* * * * *")
    await deploy(hq, Stack(name="shop", jobs=(job,)))
    assert await hq.journal.slices() == ()
    await hq.clock.sleep(61.0)
    await hq.launcher.tick()
    (started,) = [one.id for one in await hq.journal.slices()]
    await hq.clock.sleep(20.0)
    await hq.launcher.tick()
    (run_,) = (await hq.launcher.observe("shop")).runs
    assert (run_.slice, run_.exit_code, run_.last_lines) == (started, 4, ("done",))
    assert not any(host.jobs for host in hq.world.hosts.values())


@launched
async def test_what_is_seen_of_a_stack_names_hosts_that_do_not_answer(hq: HQ) -> None:
    await deploy(hq, shop())
    for host in hq.world.hosts.values():
        host.is_down = True
    view = await hq.launcher.observe("shop")
    assert {one.state for one in view.slices} == {"unknown"}
    assert view.urls == ("http://a.test/",)
    for host in hq.world.hosts.values():
        host.is_down = False
    assert {one.state for one in (await hq.launcher.observe("shop")).slices} == {"running"}
