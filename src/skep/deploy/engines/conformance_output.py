"""Checks of engines: what jobs say, commands beside them, their environment, events."""

from __future__ import annotations

import asyncio

from skep.base.errors import JobNotFound, JobNotRunning, TimedOut
from skep.deploy.engines.conformance_place import Place, must, must_raise, within
from skep.deploy.engines.records import LAST_LINES_MAX


async def check_the_environment_arrives(place: Place) -> None:
    """The environment arrives."""
    value = "a 'b' \"c\" $HOME =x é"
    await place.start("show", "GREETING", env={"GREETING": value})
    await place.says(value)


async def check_logs_are_in_order_and_know_their_stream(place: Place) -> None:
    """Logs are in order and know their stream."""
    await place.start("lines", "50")
    await place.says("line 50")
    lines = await place.logged("complaint")
    out = [line.text for line in lines if line.stream == "stdout"]
    must(out == [f"line {number}" for number in range(1, 51)], f"standard output is {out}")
    must([line.text for line in lines if line.stream == "stderr"] == ["complaint"], "standard error is lost")
    times = [line.time_us for line in lines]
    must(times == sorted(times), "times go backwards")
    must(await place.lines(since_us=times[-1] + 1) == [], "lines from before were told")


async def check_last_lines_are_few(place: Place) -> None:
    """Last lines are few."""
    await place.start("lines", "500")
    seen = await place.says("line 500")
    must(len(seen.last_lines) <= LAST_LINES_MAX, f"{len(seen.last_lines)} last lines")


async def check_logs_can_be_followed_to_the_end(place: Place) -> None:
    """Logs can be followed to the end."""
    await place.start("lines", "3")
    await place.says("line 3")
    followed = place.engine.logs(place.labels().slice, follow=True)
    await within(place.bench.clock, followed, lambda line: line.text == "line 3", "the third line")

    async def rest() -> list[str]:
        return [line.text async for line in followed]

    reading = asyncio.ensure_future(rest())
    await place.engine.remove(place.labels().slice)
    must(set(await reading) <= {"complaint"}, "a removed job goes on talking")


async def check_logs_of_nobody_are_told(place: Place) -> None:
    """Logs of nobody are told."""
    await must_raise(JobNotFound, anext(place.engine.logs(place.labels("missing").slice)))


async def check_commands_run_beside_a_job(place: Place) -> None:
    """Commands run beside a job."""
    job = await place.start("stay", env={"GREETING": "hello there"})
    await place.says("staying")
    run = place.engine.exec
    said = await run(job.id, ("echo", "it's", "a b"))
    must((said.exit_code, said.stdout, said.stderr) == (0, b"it's a b\n", b""), f"echo gave {said}")
    must((await run(job.id, ("cat",), stdin=b"typed\0")).stdout == b"typed\0", "standard input does not arrive")
    must((await run(job.id, ("false",))).exit_code == 1, "false did not fail")
    must((await run(job.id, ("there-is-no-such-program",))).exit_code == 127, "a missing program is not 127")
    must(b"GREETING=hello there" in (await run(job.id, ("env",))).stdout, "the job's environment is not there")
    await must_raise(TimedOut, run(job.id, ("sleep", "60"), timeout_s=0.5))
    must((await place.engine.inspect(job.id)).state == "running", "the job suffered from a command beside it")


async def check_commands_need_a_running_job(place: Place) -> None:
    """Commands need a running job."""
    await must_raise(JobNotFound, place.engine.exec(place.labels("missing").slice, ("true",)))
    job = await place.start("exit", "0")
    await place.until("ended", lambda seen: seen.state == "exited")
    await must_raise(JobNotRunning, place.engine.exec(job.id, ("true",)))


async def check_events_tell_what_happens(place: Place) -> None:
    """Events tell what happens."""
    events = place.engine.events()
    first = asyncio.ensure_future(anext(events))
    await place.bench.clock.sleep(0.5)
    job = await place.start("stay")
    clock = place.bench.clock

    async def told(state: str) -> None:
        await within(clock, events, lambda event: event.id == job.id and event.state == state, state)

    event = await first
    if (event.id, event.state) != (job.id, "running"):
        await told("running")
    must(event.labels.slice == event.id, f"an event has labels of another job: {event}")
    stopping = asyncio.ensure_future(told("stopped"))
    await clock.sleep(0.5)
    await place.engine.stop(job.id)
    await stopping
    removing = asyncio.ensure_future(told("removed"))
    await clock.sleep(0.5)
    await place.engine.remove(job.id)
    await removing
