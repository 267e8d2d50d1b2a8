"""The other views: shares, the account, the owner's side; changes by others; long lists; dark, and another language."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from skep.client.framing import encode_batch

from .conftest import Person

Meet = Callable[..., Person]
pytestmark = pytest.mark.long


def test_changes_by_others_appear(meet: Meet) -> None:
    kim = meet("kim")
    kim.page.get_by_text("This folder is empty").wait_for()
    node = kim.put("/new.txt")
    kim.entry("new.txt").wait_for()
    kim.api.post("/api/filesystem/move", json={"id": node["id"], "to_path": "/renamed.txt"})
    kim.entry("renamed.txt").wait_for()
    kim.entry("new.txt").wait_for(state="detached")
    kim.api.delete(f"/api/filesystem/info/{node['id']}")
    kim.entry("renamed.txt").wait_for(state="detached")


def test_ten_thousand_entries_are_few_elements(meet: Meet) -> None:
    lou = meet("lou", sign_in=False)
    for start in range(0, 10_000, 2_000):
        batch = encode_batch((f"/Many/file {number}.txt", b"x", 0) for number in range(start, start + 2_000))
        kind = {"content-type": "application/x-skep-batch"}
        assert lou.api.post("/api/filesystem/batch", content=batch, headers=kind).status_code == 200
    lou.sign_in()
    lou.go("files/home/Many")
    lou.page.get_by_text("10,000 entries").wait_for()
    assert lou.page.locator("[data-entry]").count() < 80
    lou.page.get_by_role("grid").focus()
    lou.page.keyboard.press("End")
    lou.entry("file 9999.txt").wait_for()
    lou.page.keyboard.press("Control+a")
    lou.page.get_by_text("10,000 selected").wait_for()
    lou.page.keyboard.press("Escape")
    lou.page.get_by_role("searchbox").fill("777")
    lou.entry("file 7770.txt").wait_for()
    lou.shot("many")
    lou.no_violations("a long list")


def test_a_folder_is_shared_accepted_and_taken_back(meet: Meet) -> None:
    mia, noa = meet("mia", sign_in=False), meet("noa")
    assert mia.api.post("/api/filesystem/mkdir", json={"path": "/Plans"}).status_code == 201
    mia.put("/Plans/a.txt")
    mia.sign_in()
    mia.entry("Plans").click(button="right")
    mia.shot("menu")
    mia.no_violations("a menu")
    mia.page.get_by_role("menuitem", name="Share").click()
    dialog = mia.page.get_by_role("dialog")
    dialog.get_by_label("Name").fill("noa")
    dialog.get_by_role("combobox", name="Rights", exact=True).select_option("write")
    dialog.get_by_role("button", name="Share").click()
    dialog.get_by_text("not answered yet").wait_for()
    mia.no_violations("sharing")
    mia.shot("share")
    noa.go("shared")
    noa.page.get_by_role("button", name="Accept Plans").click()
    noa.no_violations("shares")
    noa.shot("shared")
    noa.page.get_by_role("link", name="Open Plans").click()
    noa.entry("a.txt").wait_for()
    noa.entry("a.txt").click()
    noa.page.keyboard.press("Delete")
    mia.until_held("/Plans", [])
    dialog.get_by_role("button", name="Stop sharing with noa").click()
    dialog.get_by_text("It is shared with nobody.").wait_for()
    noa.go("shared")
    noa.page.get_by_text("Nobody shares anything with you.").wait_for()
