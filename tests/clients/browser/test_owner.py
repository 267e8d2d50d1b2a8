"""The owner's side: people, groups, invitations, stores, upkeep, the log and the settings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from skep.testing.process import RunningHive, made_hive

from .conftest import PHONE, Person

if TYPE_CHECKING:
    from pathlib import Path

Meet = Callable[..., Person]
pytestmark = pytest.mark.long
PASSWORD = "quiet meadow 41 lantern"


@pytest.fixture(scope="module")
def hive(tmp_path_factory: pytest.TempPathFactory, chromium_path: Path) -> Iterator[RunningHive]:
    made = made_hive(tmp_path_factory.mktemp("hive"), auth__registration="invite")
    made.start()
    yield made
    made.stop()


def test_people_groups_and_an_invitation(meet: Meet) -> None:
    owner = meet()
    page, dialog = owner.page, owner.page.get_by_role("dialog")
    owner.go("people")
    page.get_by_role("button", name="New account").click()
    dialog.get_by_label("Name").fill("zoe")
    dialog.get_by_label("Password").fill(PASSWORD)
    dialog.get_by_role("button", name="Make").click()
    page.locator('[data-user="zoe"]').wait_for()
    page.get_by_role("button", name="Suspend zoe").click()
    page.get_by_role("button", name="Let in again: zoe").wait_for()
    assert owner.api.get("/api/auth/users/zoe").json()["is_active"] is False
    page.get_by_role("button", name="Let in again: zoe").click()
    page.get_by_role("button", name="Suspend zoe").wait_for()
    page.get_by_role("button", name="Make administrator: zoe").click()
    page.get_by_role("button", name="No administrator any more: zoe").click()
    page.get_by_role("button", name="Make administrator: zoe").wait_for()
    assert owner.api.get("/api/auth/users/zoe").json()["is_admin"] is False
    page.get_by_role("button", name="Quota of zoe").click()
    dialog.get_by_label("Quota in GB").fill("2")
    dialog.get_by_role("button", name="Save").click()
    dialog.wait_for(state="detached")
    assert owner.api.get("/api/auth/users/zoe/space").json()["quota_bytes"] == 2_000_000_000

    page.get_by_role("button", name="New group").click()
    dialog.get_by_label("Name").fill("Household")
    dialog.get_by_role("button", name="Make").click()
    page.get_by_role("button", name="Members of Household").click()
    dialog.get_by_label("Name of a person").fill("nobody-of-this-name")
    dialog.get_by_role("button", name="Put in").click()
    dialog.locator(".fault:not(:empty)").wait_for()
    dialog.get_by_label("Name of a person").fill("zoe")
    dialog.get_by_role("button", name="Put in").click()
    dialog.get_by_role("combobox", name="Role of zoe").select_option("manager")
    owner.no_violations("a group")
    owner.shot("group")
    dialog.get_by_role("button", name="Close").click()
    dialog.wait_for(state="detached")

    page.get_by_role("button", name="Invite").click()
    dialog.get_by_role("combobox", name="Group").select_option(label="Household")
    dialog.get_by_role("button", name="Invite").click()
    link = dialog.locator("[data-invite]").inner_text()
    dialog.get_by_role("img", name="QR code of the invitation").wait_for()
    owner.no_violations("an invitation")
    owner.shot("invitation")
    dialog.get_by_role("button", name="Close").click()
    page.get_by_text("for 1 person").wait_for()

    yan = meet("yan", sign_in=False)
    yan.page.goto(link)
    yan.page.get_by_label("Name", exact=True).fill("yves")
    yan.page.get_by_label("Password").fill(PASSWORD)
    yan.no_violations("joining")
    yan.shot("join")
    yan.page.get_by_role("button", name="Make the account").click()
    yan.page.get_by_role("grid").wait_for()
    members = owner.api.get("/api/auth/groups/Household").json()["members"]
    assert {(one["name"], one["role"]) for one in members} == {("zoe", "manager"), ("yves", "member")}


def test_a_store_is_added_tested_and_drained(meet: Meet, tmp_path: Path) -> None:
    owner = meet()
    page, dialog = owner.page, owner.page.get_by_role("dialog")
    owner.put("/letter.bin", bytes(range(256)) * 4000)
    place = tmp_path / "disk two"
    place.mkdir()
    owner.go("stores")
    page.locator('[data-store="local"]').wait_for()
    page.get_by_role("button", name="Add a store").click()
    for kind in ("S3 bucket", "WebDAV", "Cloud account", "Other", "A disk"):
        dialog.get_by_role("radio", name=kind).check()
    owner.no_violations("adding a store")
    owner.shot("store-add")
    dialog.get_by_label("Directory").fill("not/absolute")
    dialog.get_by_label("Name").fill("second")
    dialog.get_by_label("Zone").fill("attic")
    dialog.get_by_role("button", name="Add a store").click()
    dialog.get_by_text("Look at this again: Directory").wait_for()
    dialog.get_by_label("Directory").fill(str(place))
    dialog.get_by_label("Use at most").fill("5")
    dialog.get_by_role("button", name="Add a store").click()
    page.locator('[data-store="second"]').wait_for()
    stores = {one["name"]: one for one in owner.api.get("/api/stores").json()["stores"]}
    assert (stores["second"]["zone"], stores["second"]["capacity_bytes"]) == ("attic", 5_000_000_000)
    page.get_by_role("list", name="Zones and the stores in them").get_by_role(
        "img", name="second: 0 B of 5.0 GB used"
    ).wait_for()
    page.get_by_role("button", name="Test second").click()
    page.get_by_text("second does everything that a store must do").wait_for()

    page.get_by_role("button", name="Drain local").click()
    plan = dialog.locator("[data-plan]")
    plan.get_by_text("second").wait_for()
    owner.no_violations("a drain's plan")
    owner.shot("drain")
    dialog.get_by_role("button", name="Drain", exact=True).click()
    page.get_by_role("button", name="Use again: local").wait_for()
    assert owner.api.get("/api/stores/local").json()["state"] == "draining"
    page.get_by_role("button", name="Use again: local").click()
    page.get_by_role("button", name="Drain local").wait_for()
    owner.shot("stores")


def test_upkeep_the_log_and_the_settings(meet: Meet) -> None:
    owner = meet()
    page = owner.page
    owner.go("upkeep")
    page.locator('[data-worker="scrub"]').wait_for()
    for plot in ("Traffic", "Requests and errors a minute", "Deduplication", "Content and what the stores hold"):
        page.locator(f'[data-plot="{plot}"]').wait_for()
    page.get_by_role("button", name="Scrub", exact=True).click()
    page.locator('[data-job="scrub"][data-state="done"]').wait_for()
    owner.no_violations("upkeep")
    owner.shot("upkeep")
    page.get_by_role("button", name="Pause scrub").click()
    page.get_by_role("button", name="Go on with scrub").wait_for()
    page.get_by_role("button", name="Go on with scrub").click()
    page.get_by_role("button", name="Pause scrub").wait_for()

    refused = owner.api.post("/api/auth/login", json={"name": "admin", "password": "no"})
    assert refused.status_code == 401
    owner.go("log")
    page.locator('[data-action="login-failed"]').first.wait_for()
    page.get_by_label("What happened").select_option("login-failed")
    page.locator('[data-action="login"]').first.wait_for(state="detached")
    page.get_by_role("button", name="Verify").click()
    page.get_by_text("The log is whole").wait_for()
    owner.no_violations("the log")

    owner.go("settings")
    page.get_by_label("Find").fill("data_dir")
    page.locator('[data-setting="data_dir"]').get_by_text("given at the start").wait_for()
    page.get_by_label("Find").fill("workers.tranquility")
    page.locator('[data-setting="workers.tranquility"]').get_by_text("default").wait_for()
    owner.no_violations("the settings")
    page.get_by_label("Find").fill("server.")
    page.locator('[data-setting="server.port"]').wait_for()
    owner.shot("settings")
    page.set_viewport_size(PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    owner.shot("phone-settings")
