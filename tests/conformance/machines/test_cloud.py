"""The shared suite through Libcloud, whose DigitalOcean driver speaks to our double of that API."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from skep.base.errors import MachineRefused
from skep.deploy.machines.cloud import Cloud, Rented
from skep.deploy.machines.conformance import CHECKS, Bench, check
from skep.deploy.machines.protocol import Driver
from skep.testing.clock import FakeClock
from skep.testing.clouds.base import Rule
from skep.testing.digitalocean import DigitalOceanDouble

libcloud = pytest.importorskip("libcloud.compute.providers")
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB8Ht8Z3j6yDWPBHQtOp/R9rZEfWvJtlBvVVkwIkS3Bx hq@skep"


@contextmanager
def account(**habits: Any) -> Iterator[tuple[DigitalOceanDouble, FakeClock, Any]]:
    clock = FakeClock(auto=True)
    double = DigitalOceanDouble(clock=clock, **habits)
    token = double.token
    with double.served() as base_url:

        def open_driver() -> Any:
            driver = libcloud.get_driver("digitalocean")(token, api_version="v2")
            driver.connection.base_url, driver.connection.secure = base_url, 0
            driver.connection.connect(base_url=base_url)
            return driver

        yield double, clock, open_driver


def rented(double: DigitalOceanDouble) -> Rented:
    return Rented(
        fleet="shop", public_key=KEY, image="63663980", location="fra1", secrets=(double.token,), timeout_s=600.0
    )


ALWAYS = {"create-makes-one-that-can-be-used", "two-programs-make-one"}


@pytest.mark.parametrize("name", [pytest.param(n, marks=[] if n in ALWAYS else pytest.mark.long) for n in CHECKS])
async def test_digitalocean_through_libcloud(name: str) -> None:
    with account(making_s=40) as (double, clock, open_driver):

        async def open_() -> Driver:
            return Cloud(open_driver, rented(double), kind="digitalocean", clock=clock)

        (result,) = await check(Bench(open=open_, small="s-1vcpu-1gb", large="s-1vcpu-2gb"), only=name)
    assert result.outcome == ("skipped" if name == "resize-makes-it-the-other-type" else "passed"), result.detail


@pytest.mark.parametrize(
    "rule",
    [
        Rule("/v2/droplets", method="POST", cut=True, done=True),
        Rule("/v2/droplets", method="POST", cut=True),
        Rule("/v2/droplets", method="POST", status=500, body={"id": "server_error", "message": "oh"}),
        Rule("/v2/droplets", method="GET", status=503, body={"id": "x", "message": "later"}, times=2),
    ],
    ids=["failed-but-done", "failed-not-done", "server-error", "listing-fails"],
)
async def test_an_order_that_is_lost_never_rents_twice(rule: Rule) -> None:
    with account(making_s=40) as (double, clock, open_driver):
        double.fail(Rule(**vars(rule)))
        cloud = Cloud(open_driver, rented(double), kind="digitalocean", clock=clock)
        machine = await cloud.create("web-1", "s-1vcpu-1gb")
        assert (machine.state, machine.type, machine.size is not None) == ("running", "s-1vcpu-1gb", True)
        assert [one.name for one in double.ever.values()] == ["skep-shop-web-1"]
        await cloud.close()


async def test_refusals_are_told_without_secrets() -> None:
    with account(droplets_max=0) as (double, clock, open_driver):
        cloud = Cloud(open_driver, rented(double), kind="digitalocean", clock=clock)
        with pytest.raises(MachineRefused, match="will exceed your droplet limit"):
            await cloud.create("web-1", "s-1vcpu-1gb")
        double.fail(Rule("/v2/droplets", method="GET", status=422, body={"message": f"oh {double.token}"}))
        with pytest.raises(MachineRefused) as caught:
            await cloud.list()
        assert "(hidden)" in str(caught.value)
        assert double.token not in str(caught.value)
        double.token = "another"
        with pytest.raises(MachineRefused, match="does not take the credentials"):
            await cloud.list()
        await cloud.close()
