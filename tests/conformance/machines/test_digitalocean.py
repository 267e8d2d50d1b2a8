"""The shared suite on DigitalOcean's driver against a double of its API; and the double against the documentation."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from skep.deploy.machines.conformance import CHECKS, Bench, check
from skep.deploy.machines.digitalocean import DigitalOcean, Droplets
from skep.deploy.machines.protocol import Driver
from skep.testing.clock import FakeClock
from skep.testing.clouds.examples import check as compare
from skep.testing.digitalocean import DigitalOceanDouble

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB8Ht8Z3j6yDWPBHQtOp/R9rZEfWvJtlBvVVkwIkS3Bx hq@skep"
EXAMPLES: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "vectors" / "machines" / "digitalocean.json").read_text()
)["examples"]


@pytest.mark.parametrize("lag", [0, pytest.param(3, marks=pytest.mark.long)])
@pytest.mark.parametrize("name", CHECKS)
async def test_digitalocean(name: str, lag: int) -> None:
    clock = FakeClock(auto=True)
    double = DigitalOceanDouble(making_s=40, acting_s=20, lag_listings=lag, clock=clock)
    with double.served() as base_url:

        async def open_() -> Driver:
            droplets = Droplets(fleet="shop", public_key=KEY)
            return DigitalOcean(double.token, droplets, base_url=base_url, clock=clock)

        (result,) = await check(Bench(open=open_, small="s-1vcpu-1gb", large="s-1vcpu-2gb"), only=name)
    assert result.outcome == "passed", result.detail


@pytest.fixture
def account() -> Iterator[tuple[DigitalOceanDouble, httpx.Client]]:
    double = DigitalOceanDouble(clock=FakeClock())
    with double.served() as url, httpx.Client(base_url=url, headers={"authorization": f"Bearer {double.token}"}) as it:
        yield double, it


ORDER = {"name": "one", "region": "nyc3", "size": "s-1vcpu-1gb", "image": "debian-12-x64", "tags": ["web", "env:prod"]}


def test_the_double_answers_as_the_documentation_shows(account: tuple[DigitalOceanDouble, httpx.Client]) -> None:
    double, api = account
    created = api.post("/v2/droplets", json=ORDER)
    compare(created, EXAMPLES["droplet_create"])
    droplet = f"/v2/droplets/{created.json()['droplet']['id']}"
    compare(api.get("/v2/droplets?tag_name=web"), EXAMPLES["droplets"])
    compare(api.get(droplet), EXAMPLES["droplet"])
    compare(api.get("/v2/sizes?per_page=1"), EXAMPLES["sizes"])
    double.acting_s = 30
    compare(api.post(f"{droplet}/actions", json={"type": "shutdown"}), EXAMPLES["action"])
    double.clock.jump(30)  # type: ignore[attr-defined]
    compare(api.post("/v2/account/keys", json={"name": "hq", "public_key": KEY}), EXAMPLES["key_created"])
    compare(api.delete(droplet), EXAMPLES["destroyed"])
    compare(api.get(droplet), EXAMPLES["not_found"])
    compare(api.get(droplet, headers={"authorization": "Bearer wrong"}), EXAMPLES["unauthorized"])
    double.droplets_max = 0
    compare(api.post("/v2/droplets", json=ORDER), EXAMPLES["droplet_limit"])
    double.requests_max = 1
    compare(api.get("/v2/droplets"), EXAMPLES["too_many_requests"])


def test_the_double_has_the_rules_of_the_documentation(account: tuple[DigitalOceanDouble, httpx.Client]) -> None:
    double, api = account
    double.making_s = double.acting_s = 30
    wrong = {"name": "a_b", "size": "huge", "region": "moon", "ssh_keys": ["aa:bb"], "tags": ["a b"], "image": ""}
    for key, value in wrong.items():
        assert api.post("/v2/droplets", json={**ORDER, key: value}).status_code == 422, key
    droplet = f"/v2/droplets/{api.post('/v2/droplets', json=ORDER).json()['droplet']['id']}"
    assert "pending event" in api.delete(droplet).json()["message"], "it is still being made"
    double.clock.jump(30)  # type: ignore[attr-defined]
    resize = {"type": "resize", "size": "s-1vcpu-2gb"}
    assert "power it off" in api.post(f"{droplet}/actions", json=resize).json()["message"]
    assert api.post(f"{droplet}/actions", json={"type": "power_off"}).status_code == 201
    assert api.get(droplet).json()["droplet"]["locked"] is True
    double.clock.jump(30)  # type: ignore[attr-defined]
    assert api.post(f"{droplet}/actions", json=resize).status_code == 201
    double.clock.jump(30)  # type: ignore[attr-defined]
    shown = api.get(droplet).json()["droplet"]
    assert (shown["status"], shown["size_slug"], shown["memory"], shown["disk"]) == ("off", "s-1vcpu-2gb", 2048, 25)
    smaller = {"type": "resize", "size": "s-1vcpu-512mb-10gb"}
    assert "smaller disk" in api.post(f"{droplet}/actions", json=smaller).json()["message"]
    for number in range(24):
        assert api.post("/v2/droplets", json={**ORDER, "name": f"n{number}"}).status_code == 202
    pages, path = [], "/v2/droplets"
    while path:
        answer = api.get(path.removeprefix("https://api.digitalocean.com")).json()
        pages.append(len(answer["droplets"]))
        path = answer["links"].get("pages", {}).get("next", "")
    assert pages == [20, 5]
