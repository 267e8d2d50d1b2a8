"""Every way that a call to DigitalOcean goes wrong: never two droplets for one name, never a token in a message."""

from __future__ import annotations

import asyncio
import io
import logging
from collections.abc import Iterator

import pytest

from skep.base.errors import BadInput, MachineRefused, MachinesUnavailable, SkepError, TimedOut
from skep.base.logs import configure_logs
from skep.base.settings import LogSettings
from skep.deploy.machines.digitalocean import DigitalOcean, Droplets
from skep.deploy.machines.pacific import Pacific
from skep.deploy.machines.records import Limits
from skep.testing.clock import FakeClock
from skep.testing.clouds.base import Rule
from skep.testing.digitalocean import DigitalOceanDouble

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB8Ht8Z3j6yDWPBHQtOp/R9rZEfWvJtlBvVVkwIkS3Bx hq@skep"
SMALL, LARGE = "s-1vcpu-1gb", "s-1vcpu-2gb"


@pytest.fixture
def double() -> Iterator[DigitalOceanDouble]:
    double = DigitalOceanDouble(making_s=30, acting_s=10, clock=FakeClock(auto=True))
    with double.served() as url:
        double.url = url  # type: ignore[attr-defined]
        yield double


def driver(double: DigitalOceanDouble, **changes: object) -> DigitalOcean:
    droplets = Droplets(fleet="shop", public_key=KEY, **changes)  # type: ignore[arg-type]
    return DigitalOcean(double.token, droplets, base_url=double.url, clock=double.clock)  # type: ignore[attr-defined]


LOST = {
    "failed-not-done": Rule("/v2/droplets", method="POST", cut=True),
    "failed-but-done": Rule("/v2/droplets", method="POST", cut=True, done=True),
    "short": Rule("/v2/droplets", method="POST", short=True),
    "corrupt": Rule("/v2/droplets", method="POST", status=202, body=b"<html>"),
    "server-error": Rule("/v2/droplets", method="POST", status=500, body={"id": "server_error", "message": "oh"}),
    "too-many": Rule("/v2/droplets", method="POST", status=429, headers={"retry-after": "7"}),
    "listing-fails": Rule("/v2/droplets", method="GET", status=503, times=3),
    "seeing-is-corrupt": Rule("/v2/droplets/", method="GET", status=200, body=b"{", times=2),
    "key-failed-but-done": Rule("/v2/account/keys", method="POST", cut=True, done=True),
}


ALWAYS = {"failed-not-done", "failed-but-done", "corrupt", "too-many"}


@pytest.mark.parametrize("lag", [0, pytest.param(2, marks=pytest.mark.long)])
@pytest.mark.parametrize("name", [pytest.param(n, marks=[] if n in ALWAYS else pytest.mark.long) for n in LOST])
async def test_one_name_is_one_droplet_whatever_is_lost(double: DigitalOceanDouble, name: str, lag: int) -> None:
    double.lag_listings = lag
    rule = LOST[name]
    double.fail(Rule(**vars(rule)))
    api = driver(double)
    machine = await api.create("web-1", SMALL)
    assert machine.state == "running"
    assert [one.name for one in double.ever.values()] == ["web-1"], "never was there another one"
    assert double.billed_hours() == 1
    await api.close()


async def test_after_a_kill_the_next_program_finds_what_was_ordered(double: DigitalOceanDouble) -> None:
    first = driver(double)
    making = asyncio.ensure_future(first.create("web-1", SMALL))
    while not double.ever:
        await asyncio.sleep(0.001)  # until the order has arrived
    making.cancel()
    await asyncio.gather(making, return_exceptions=True)
    await first.close()
    second = driver(double)
    await second.create("web-1", SMALL)
    assert len(double.ever) == 1
    await second.close()


async def test_what_is_double_is_given_back_and_the_older_one_stays(double: DigitalOceanDouble) -> None:
    one, other = driver(double), driver(double)
    double.fail(Rule("/v2/droplets", method="GET", status=200, body={"droplets": [], "links": {}}, times=2))
    made = await asyncio.gather(one.create("web-1", SMALL), other.create("web-1", SMALL))
    assert len(double.ever) == 2, "both ordered, as neither saw the other's"
    assert {machine.id for machine in made} == {str(min(double.ever))}
    assert list(double.droplets) == [min(double.ever)]
    await one.close()
    await other.close()


async def test_patience_is_as_long_as_asked_and_has_an_end(double: DigitalOceanDouble) -> None:
    clock = double.clock
    assert isinstance(clock, FakeClock)
    api = driver(double)
    double.fail(Rule("/v2/sizes", status=429, headers={"retry-after": "17"}, times=2))
    await api.types()
    assert clock.slept_s.count(17.0) == 2
    double.fail(Rule("/v2/droplets", method="GET", status=429, headers={"retry-after": "100000"}, times=99))
    with pytest.raises(MachinesUnavailable, match="too many requests"):
        await api.list()
    assert max(clock.slept_s) <= 60
    assert len([one for one in double.requests if one == "GET /v2/droplets"]) == 6
    await api.close()


async def test_an_order_that_is_lost_again_and_again_has_an_end(double: DigitalOceanDouble) -> None:
    double.fail(Rule("/v2/droplets", method="POST", cut=True, times=99))
    api = driver(double)
    with pytest.raises(MachinesUnavailable, match="ordered 3 times"):
        await api.create("web-1", SMALL)
    assert double.ever == {}
    await api.close()


async def test_what_does_not_come_in_time_is_told_and_can_be_waited_for_again(double: DigitalOceanDouble) -> None:
    double.making_s = 1000
    api = driver(double, timeout_s=600.0)
    with pytest.raises(TimedOut, match="ask again to go on waiting"):
        await api.create("web-1", SMALL)
    assert (await api.create("web-1", SMALL)).state == "running"
    assert len(double.ever) == 1
    await api.close()


async def test_refusals_are_told_in_the_providers_words_and_nothing_is_rented(double: DigitalOceanDouble) -> None:
    api = driver(double)
    double.droplets_max = 0
    with pytest.raises(MachineRefused, match="will exceed your droplet limit"):
        await api.create("web-1", SMALL)
    with pytest.raises(BadInput, match="no size huge in fra1"):
        await api.create("web-1", "huge")
    await api.close()
    double.token = "another"
    wrong = DigitalOcean("not-it", Droplets(fleet="shop", public_key=KEY), base_url=double.url, clock=double.clock)  # type: ignore[attr-defined]
    with pytest.raises(MachineRefused, match="token is not taken"):
        await wrong.list()
    assert double.ever == {}
    await wrong.close()


async def test_a_resize_that_was_broken_off_is_completed(double: DigitalOceanDouble) -> None:
    double.fail(
        Rule("/actions", method="POST", cut=True),
        Rule("/actions", method="POST", cut=True, done=True),
        Rule("/actions", method="POST", status=500),
    )
    api = driver(double)
    await api.create("web-1", SMALL)
    resizing = asyncio.ensure_future(api.resize("web-1", LARGE))
    while not any(one.status == "off" for one in double.ever.values()):
        await asyncio.sleep(0.001)  # until it is off
    resizing.cancel()
    await asyncio.gather(resizing, return_exceptions=True)
    machine = await api.resize("web-1", LARGE)
    assert (machine.type, machine.state, len(double.ever)) == (LARGE, "running", 1)
    with pytest.raises(MachineRefused, match="smaller disk"):
        await api.resize("web-1", "s-1vcpu-512mb-10gb")
    await api.close()


async def test_giving_back_is_repeated_and_waits_for_what_is_busy(double: DigitalOceanDouble) -> None:
    api = driver(double)
    making = asyncio.ensure_future(api.create("web-1", SMALL))
    while not double.ever:
        await asyncio.sleep(0.001)  # until the order has arrived
    making.cancel()
    await asyncio.gather(making, return_exceptions=True)
    double.fail(
        Rule("/v2/droplets/", method="DELETE", cut=True, done=True), Rule("/v2/droplets/", method="DELETE", status=500)
    )
    await api.destroy("web-1")
    assert double.droplets == {}
    await api.close()


async def test_other_droplets_of_the_account_are_not_seen_or_touched(double: DigitalOceanDouble) -> None:
    api, theirs = driver(double), driver(double)
    theirs._droplets = Droplets(fleet="other", public_key=KEY)
    await theirs.create("web-1", SMALL)
    assert await api.list() == ()
    await api.destroy("web-1")
    await api.create("web-1", SMALL)
    assert len(double.droplets) == 2
    assert len(await theirs.list()) == 1
    await api.close()
    await theirs.close()


async def test_many_droplets_come_in_pages(double: DigitalOceanDouble) -> None:
    double.droplets_max = 500
    double.making_s = 0
    api = driver(double)
    await asyncio.gather(*(api.create(f"n{number}", SMALL) for number in range(3)))
    template = next(iter(double.ever.values()))
    for number in range(450):
        double.ever[number] = type(template)(**{**vars(template), "id": number, "name": f"m{number}"})
    assert len(await api.list()) == 453
    await api.close()


async def test_the_token_is_nowhere(double: DigitalOceanDouble) -> None:
    stream = io.StringIO()
    configure_logs(LogSettings(level="debug", format="json", requests="all"), stream)
    logging.getLogger("httpx").setLevel(logging.DEBUG)
    api = driver(double)
    shown = [repr(api), repr(vars(api)), str(api._api)]
    double.fail(
        Rule("/v2/droplets", method="POST", status=422, body={"message": f"bad token {double.token}"}),
        Rule("/v2/droplets", method="GET", status=500, body={"message": double.token}, skip=1, times=20),
    )
    for _ in range(3):
        try:
            await api.create("web-1", SMALL)
        except SkepError as error:
            shown += [str(error), repr(error.details)]
    assert [text for text in [*shown, stream.getvalue()] if double.token in text] == []
    assert any("(hidden)" in text for text in shown)
    await api.close()


async def test_limits_of_the_fleet_hold_before_anything_is_asked_of_the_provider(double: DigitalOceanDouble) -> None:
    pacific = Pacific(driver(double), limits=Limits(price_hourly_max=0.01))
    assert (await pacific.add(1024, name="a")).type == SMALL
    with pytest.raises(MachineRefused, match="price_hourly_max"):
        await pacific.add(1024, name="b")
    assert len(double.ever) == 1
    await pacific.close()
