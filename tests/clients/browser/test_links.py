"""Links in the browser: made in the dialog of shares, opened by somebody without an account, and taken back."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import PHONE, Person

Meet = Callable[..., Person]
pytestmark = pytest.mark.long

# A PNG of one pixel.
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)


def test_a_folder_is_read_without_an_account(meet: Meet) -> None:
    una = meet("una", sign_in=False)
    una.put("/Trip/day one/letter.txt", b"wish you were here")
    una.put("/Trip/pixel.png", PIXEL)
    una.sign_in()
    una.entry("Trip").click(button="right")
    una.page.get_by_role("menuitem", name="Share").click()
    dialog = una.page.get_by_role("dialog")
    dialog.get_by_role("button", name="New link").click()
    dialog.get_by_label("Password").fill("open sesame")
    dialog.get_by_label("Downloads at most").fill("3")
    una.no_violations("making a link")
    dialog.get_by_role("button", name="Make link").click()
    url = dialog.get_by_label("Address of the link").input_value()
    dialog.get_by_role("img", name="QR code of the address").wait_for()
    una.no_violations("a new link")
    una.shot("link-made")
    (link,) = una.api.get("/api/links").json()["links"]
    assert (link["path"], link["has_password"], link["downloads_max"]) == ("/Trip", True, 3)

    guest = meet("guest", viewport=PHONE, has_touch=True, is_mobile=True, sign_in=False)
    guest.page.goto(url)
    guest.page.get_by_role("heading", name="This link has a password").wait_for()
    guest.no_violations("a link with a password")
    guest.page.get_by_label("Password").fill("open barley")
    guest.page.get_by_role("button", name="Open").click()
    guest.page.get_by_text("That is not the password.").wait_for()
    guest.page.get_by_label("Password").fill("open sesame")
    guest.page.get_by_role("button", name="Open").click()
    guest.entry("pixel.png").wait_for()
    assert guest.page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    guest.no_violations("a link on a phone")
    guest.shot("phone-link")
    guest.page.get_by_role("button", name="Look at pixel.png").click()
    picture = guest.page.get_by_role("img", name="pixel.png")
    picture.wait_for()
    guest.page.wait_for_function("document.querySelector('figure img').naturalWidth === 1")
    guest.page.get_by_role("link", name="day one").click()
    with guest.page.expect_download() as saved:
        guest.page.get_by_role("button", name="Download letter.txt").click()
    assert Path(saved.value.path()).read_bytes() == b"wish you were here"
    guest.page.get_by_text("1 download left").wait_for()
    assert una.api.get(f"/api/links/{link['id']}").json()["downloads"] == 2
    guest.page.emulate_media(color_scheme="dark")
    guest.no_violations("a link in the dark")
    assert "una" not in guest.page.content()

    dialog.get_by_role("button", name="Change the link Trip").click()
    dialog.get_by_label("Name that is shown").fill("Our trip")
    dialog.get_by_label("Last day").fill("2099-12-31")
    una.no_violations("changing a link")
    dialog.get_by_role("button", name="Save").click()
    dialog.get_by_role("button", name="Remove the link Our trip").wait_for()
    changed = una.api.get(f"/api/links/{link['id']}").json()
    assert (changed["name"], changed["has_password"], changed["downloads_max"]) == ("Our trip", True, 3)
    assert changed["expires_us"] is not None
    dialog.get_by_role("button", name="Remove the link Our trip").click()
    dialog.get_by_role("button", name="Remove the link Our trip").wait_for(state="detached")
    guest.page.get_by_role("button", name="Download letter.txt").click()
    guest.page.get_by_text("it was taken back, it has expired").wait_for()
    guest.no_violations("a link that is gone")
    guest.shot("phone-link-gone")


def test_files_come_into_a_drop_box(meet: Meet, tmp_path: Path) -> None:
    vic = meet("vic", sign_in=False)
    vic.put("/Inbox/letter.txt", b"mine")
    asked = {"path": "/Inbox", "rights": "upload", "name": "For Vic", "file_bytes_max": 1_000_000}
    made = vic.api.post("/api/links", json=asked).json()
    guest = meet("guest", sign_in=False)
    guest.page.goto(f"{guest.hive.url}/l/{made['token']}")
    guest.page.get_by_role("heading", name="For Vic").wait_for()
    guest.no_violations("a drop box")
    for name, content in (("letter.txt", b"from a guest"), ("big.bin", bytes(1_000_001))):
        (tmp_path / name).write_bytes(content)
    guest.page.locator("[data-pick=gifts]").set_input_files([tmp_path / "letter.txt", tmp_path / "big.bin"])
    guest.page.locator('[data-gift="letter.txt"][data-state="done"]').wait_for()
    guest.page.locator('[data-gift="big.bin"][data-state="failed"]').wait_for()
    vic.until_held("/Inbox", ["letter.txt", "letter (2).txt"])
    assert vic.content("/Inbox/letter (2).txt") == b"from a guest"
    assert vic.content("/Inbox/letter.txt") == b"mine"
    guest.shot("drop-box")
    guest.no_violations("a drop box that took something")
    guest.page.evaluate("localStorage.setItem('skep.language', 'de')")
    guest.page.reload()
    guest.page.get_by_role("button", name="Dateien wählen").wait_for()
    guest.no_violations("a drop box in German")
