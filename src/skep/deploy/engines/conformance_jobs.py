"""Checks of engines: starting, stopping, restarting, health, ports and volumes."""

from __future__ import annotations

import asyncio

import msgspec

from skep.base.conformance import NotApplicable
from skep.base.errors import BadInput, ImageNotFound, InUse, JobDiffers, JobNotFound, PortInUse
from skep.deploy.engines.conformance_place import Place, must, must_raise
from skep.deploy.engines.records import JobSpec, Restart, VolumeOrder
from skep.deploy.stack.records import Health, Port

_ALWAYS = Restart(policy="always", backoff_first_s=0.05, backoff_max_s=0.2, steady_s=5.0)
_HTTP = (Port(number=80),)


async def check_facts_are_facts(place: Place) -> None:
    """Facts are facts."""
    facts = await place.engine.facts()
    must(facts.engine and facts.hostname and facts.version, f"facts lack names: {facts}")
    must(facts.cpu_millis > 0 and facts.memory_bytes > 1 << 20, f"facts lack sizes: {facts}")
    must(0 < facts.disk_free_bytes <= facts.disk_bytes, f"the disk makes no sense: {facts}")


async def check_shipping_twice_sends_once(place: Place) -> None:
    """Shipping twice sends once."""
    first = await place.engine.ship(place.bench.image)
    again = await place.engine.ship(place.bench.image)
    must(first.ref == again.ref, f"the same image is {first.ref} and {again.ref}")
    must(again.sent_bytes == 0, f"the second time sent {again.sent_bytes} bytes")


async def check_an_image_that_was_not_shipped_is_told(place: Place) -> None:
    """An image that was not shipped is told."""
    spec = JobSpec(image="tree:" + "0" * 40, argv=("true",))
    if (await place.engine.facts()).capabilities.images == "docker":
        spec = msgspec.structs.replace(spec, image="sha256:" + "0" * 64)
    await must_raise(ImageNotFound, place.engine.ensure(spec, place.labels()))
    must(await place.engine.list(place.name) == (), "something was left of a job that could not be made")


async def check_ensure_starts_and_tells(place: Place) -> None:
    """Ensure starts and tells."""
    spec = await place.spec("stay")
    seen = await place.engine.ensure(spec, place.labels())
    must(seen.labels == place.labels(), f"labels came back as {seen.labels}")
    must(seen.spec_digest == spec.digest and seen.image == spec.image, "digest or image came back otherwise")
    seen = await place.says("staying")
    must((seen.state, seen.health, seen.exit_code) == ("running", "none", None), f"it does not run: {seen}")
    must(seen.is_ready and seen.started_us > 0 and seen.finished_us == 0, f"its times make no sense: {seen}")


async def check_ensure_twice_touches_nothing(place: Place) -> None:
    """Ensure twice touches nothing."""
    spec = await place.spec("stay")
    await place.engine.ensure(spec, place.labels())
    first = await place.says("staying")
    again = await place.engine.ensure(spec, place.labels(release="2"))
    must(again.started_us == first.started_us and again.restarts == 0, "it was started again")
    must(again.labels.release == "1", "labels changed without a start")


async def check_ensure_many_times_at_once_makes_one(place: Place) -> None:
    """Ensure many times at once makes one."""
    spec, other = await place.spec("remember", mounts=place.keep()), await place.bench.open()
    try:
        engines = (place.engine, other, place.engine, other)
        seen = await asyncio.gather(*(engine.ensure(spec, place.labels()) for engine in engines))
    finally:
        await other.close()
    must(len({job.started_us for job in seen}) == 1, f"several starts were told: {seen}")
    await place.says("start 1")
    must(len(await place.engine.list(place.name)) == 1, "there are two")


async def check_another_engine_finds_what_is_there(place: Place) -> None:
    """Another engine finds what is there."""
    spec = await place.spec("stay", ports=_HTTP)
    first = await place.engine.ensure(spec, place.labels())
    other = await place.bench.open()
    try:
        (found,) = await other.list(place.name)
        must((found.labels, found.bindings) == (first.labels, first.bindings), f"found {found}, which was {first}")
        must((await other.ensure(spec, place.labels())).started_us == found.started_us, "it started it again")
    finally:
        await other.close()


async def check_another_spec_needs_another_id(place: Place) -> None:
    """Another spec needs another id."""
    await place.start("stay")
    await must_raise(JobDiffers, place.start("stay", env={"X": "1"}))
    must((await place.says("staying")).state == "running", "the job suffered from the refusal")


async def check_ids_that_are_none_are_refused(place: Place) -> None:
    """Ids that are none are refused."""
    spec = await place.spec("stay")
    for name in ("", "../x", "a/b", "A", "-x", "x" * 129):
        labels = msgspec.structs.replace(place.labels(), slice=name)
        await must_raise(BadInput, place.engine.ensure(spec, labels))


async def check_list_is_sorted_and_by_stack(place: Place) -> None:
    """List is sorted and by stack."""
    for letter in ("b", "a", "c"):
        await place.start("stay", slice=letter)
    found = [job.id for job in await place.engine.list(place.name)]
    must(found == [f"{place.name}.{letter}" for letter in "abc"], f"listed {found}")
    everything = [job.id for job in await place.engine.list()]
    must(set(found) <= set(everything), "a list without a stack leaves jobs out")
    must(await place.engine.list(f"{place.name}-other") == (), "a stack has jobs of another")


async def check_what_is_not_there_is_told_or_fine(place: Place) -> None:
    """What is not there is told or fine."""
    missing = place.labels("missing").slice
    await must_raise(JobNotFound, place.engine.inspect(missing))
    await place.engine.stop(missing)
    await place.engine.remove(missing)


async def check_stop_stops_for_good_and_ensure_starts_again(place: Place) -> None:
    """Stop stops for good and ensure starts again."""
    spec = await place.spec("remember", restart=_ALWAYS, ports=_HTTP, mounts=place.keep())
    first = await place.engine.ensure(spec, place.labels())
    await place.says("start 1")
    await place.engine.stop(first.id)
    stopped = await place.engine.inspect(first.id)
    must(stopped.state == "stopped" and stopped.finished_us > 0, f"it is not stopped: {stopped}")
    must(stopped.bindings == first.bindings, "a stopped job lost its ports")
    await place.bench.clock.sleep(0.5)
    must((await place.engine.inspect(first.id)).state == "stopped", "its policy started it against an order")
    await place.engine.stop(first.id)
    again = await place.engine.ensure(spec, place.labels())
    must(again.bindings == first.bindings, f"ports changed from {first.bindings} to {again.bindings}")
    await place.says("start 2")


async def check_what_ignores_term_is_killed(place: Place) -> None:
    """What ignores term is killed."""
    await place.start("stubborn")
    await place.says("stubborn")
    began_s = place.bench.clock.monotonic_s()
    await place.engine.stop(place.labels().slice, 0.5)
    took_s = place.bench.clock.monotonic_s() - began_s
    seen = await place.engine.inspect(place.labels().slice)
    must(seen.state == "stopped" and seen.exit_code == 137, f"it was not killed: {seen}")
    must(took_s >= 0.5, f"it had only {took_s:.2f} s to end")


async def check_remove_forgets(place: Place) -> None:
    """Remove forgets."""
    seen = await place.start("stay")
    await place.engine.remove(seen.id)
    await must_raise(JobNotFound, place.engine.inspect(seen.id))
    must(await place.engine.list(place.name) == (), "it is still listed")
    await place.engine.remove(seen.id)
    again = await place.start("exit", "0", "anew")
    must(again.labels == seen.labels, "the id cannot be used again")


async def check_what_ends_at_once_is_told_with_its_last_lines(place: Place) -> None:
    """What ends at once is told with its last lines."""
    await place.start("exit", "3", "first", "no luck")
    seen = await place.until("ended", lambda job: job.state == "exited")
    must(seen.exit_code == 3 and seen.restarts == 0 and seen.finished_us >= seen.started_us > 0, f"told as {seen}")
    must(seen.last_lines[-2:] == ("first", "no luck"), f"its last lines are {seen.last_lines}")
    must(seen.reason, "there is no reason")


async def check_a_program_that_is_missing_is_told(place: Place) -> None:
    """A program that is missing is told."""
    spec = msgspec.structs.replace(await place.spec(), argv=("/there/is/no/such/program",))
    if (await place.engine.facts()).engine == "memory":
        raise NotApplicable("in memory every program is there")
    await place.engine.ensure(spec, place.labels())
    seen = await place.until("ended", lambda job: job.state == "exited")
    must(seen.exit_code == 127 and "such/program" in seen.reason, f"told as {seen}")


async def check_always_starts_again(place: Place) -> None:
    """Always starts again."""
    await place.start("flaky", "2", restart=_ALWAYS, mounts=place.keep())
    seen = await place.until("running after two restarts", lambda job: job.state == "running" and job.restarts == 2)
    must("start 3" in (await place.says("start 3")).last_lines, f"the third start said nothing: {seen}")


async def check_on_failure_leaves_success_alone(place: Place) -> None:
    """On failure leaves success alone."""
    policy = msgspec.structs.replace(_ALWAYS, policy="on-failure")
    await place.start("exit", "0", slice="good", restart=policy)
    seen = await place.until("ended", lambda job: job.state == "exited", "good")
    must(seen.restarts == 0 and seen.exit_code == 0, f"it was started again: {seen}")
    await place.start("exit", "5", slice="bad", restart=msgspec.structs.replace(policy, attempts_max=3))
    seen = await place.until("given up", lambda job: job.state == "exited", "bad")
    must(seen.restarts == 2 and seen.exit_code == 5, f"of three attempts it made others: {seen}")


async def check_health_over_http(place: Place) -> None:
    """Health over http."""
    health = Health(kind="http", port=80, interval_s=0.1, timeout_s=1.0, grace_s=20.0)
    seen = await place.start("serve", "late", "0.7", ports=_HTTP, health=health)
    must(not seen.is_ready, "it was ready before it listened")
    seen = await place.until("healthy", lambda job: job.health == "healthy")
    must(seen.is_ready, f"healthy, and not ready: {seen}")


async def check_what_answers_with_an_error_is_unhealthy(place: Place) -> None:
    """What answers with an error is unhealthy."""
    health = Health(kind="http", port=80, interval_s=0.1, timeout_s=1.0, grace_s=0.3, retries=2)
    await place.start("serve", "failing", ports=_HTTP, health=health)
    seen = await place.until("unhealthy", lambda job: job.health == "unhealthy")
    must(seen.state == "running" and not seen.is_ready, f"unhealthy, and {seen}")


async def check_health_over_tcp_and_by_command(place: Place) -> None:
    """Health over tcp and by command."""
    tcp = Health(kind="tcp", port=80, interval_s=0.1, timeout_s=1.0, grace_s=20.0)
    await place.start("serve", "late", "0.4", slice="tcp", ports=_HTTP, health=tcp)
    well = Health(kind="command", command=("true",), interval_s=0.1, timeout_s=5.0, grace_s=20.0)
    await place.start("stay", slice="well", health=well)
    await place.until("healthy", lambda job: job.health == "healthy", "tcp")
    await place.until("healthy", lambda job: job.health == "healthy", "well")
    if (await place.engine.facts()).engine == "memory":
        return
    ill = Health(kind="command", command=("false",), interval_s=0.1, timeout_s=5.0, grace_s=0.2, retries=2)
    await place.start("stay", slice="ill", health=ill)
    await place.until("unhealthy", lambda job: job.health == "unhealthy", "ill")


async def check_ports_differ_between_jobs(place: Place) -> None:
    """Ports differ between jobs."""
    first = await place.start("serve", slice="a", ports=_HTTP)
    second = await place.start("serve", slice="b", ports=_HTTP)
    bindings = [job.address_of(80) for job in (first, second)]
    must(None not in bindings and len(set(bindings)) == 2, f"ports are {bindings}")


async def check_a_fixed_port_is_kept_and_not_given_twice(place: Place) -> None:
    """A fixed port is kept and not given twice."""
    ports = (Port(number=80, host_port=place.bench.free_port()),)
    seen = await place.start("serve", slice="a", ports=ports)
    binding = seen.address_of(80)
    must(binding is not None and binding.host_port == ports[0].host_port, f"bound to {binding}")
    await must_raise(PortInUse, place.start("serve", slice="b", ports=ports))
    found = [job.id for job in await place.engine.list(place.name)]
    must(found == [seen.id], f"something was left of the refused one: {found}")
    await place.engine.remove(seen.id)
    await place.start("serve", slice="b", ports=ports)


async def check_volumes_outlive_jobs(place: Place) -> None:
    """Volumes outlive jobs."""
    mounts = place.keep()
    await place.start("remember", slice="a", mounts=mounts)
    await place.says("start 1", "a")
    await must_raise(InUse, place.engine.volume(VolumeOrder(verb="remove", name=mounts[0].volume)))
    await place.engine.remove(place.labels("a").slice)
    await place.start("remember", slice="b", mounts=mounts)
    await place.says("start 2", "b")
    await place.engine.remove(place.labels("b").slice)
    await place.engine.volume(VolumeOrder(verb="remove", name=mounts[0].volume))
    await place.start("remember", slice="c", mounts=mounts)
    await place.says("start 1", "c")


async def check_volumes_are_made_listed_and_removed(place: Place) -> None:
    """Volumes are made listed and removed."""
    place.keep("x")
    place.keep("y")
    for name in (f"{place.name}.y", f"{place.name}.x", f"{place.name}.y"):
        (made,) = await place.engine.volume(VolumeOrder(verb="create", name=name))
        must(made.name == name and made.path, f"made {made}")
    found = await place.engine.volume(VolumeOrder(verb="list", name=place.name))
    must([volume.name for volume in found] == [f"{place.name}.x", f"{place.name}.y"], f"listed {found}")
    for _ in range(2):
        await place.engine.volume(VolumeOrder(verb="remove", name=f"{place.name}.x"))
    must(len(await place.engine.volume(VolumeOrder(verb="list", name=place.name))) == 1, "it was not removed")
