"""The main path through the page, in a real browser: what the page shows, and what the hive then has."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import PHONE, Person

Meet = Callable[..., Person]


def test_a_person_signs_in_uploads_tidies_and_takes_back(meet: Meet, tmp_path: Path) -> None:
    ada = meet("ada", sign_in=False)
    page = ada.page
    page.goto(ada.hive.url)
    ada.shot("sign-in")
    ada.no_violations("sign in")
    page.get_by_label("Name").fill("ada")
    page.get_by_label("Password").fill("not her password")
    page.get_by_role("button", name="Sign in").click()
    page.get_by_text("Name or password is wrong.").wait_for()
    ada.sign_in()
    page.get_by_text("This folder is empty").wait_for()
    ada.no_violations("an empty folder")
    ada.shot("empty")

    # upload two files
    (tmp_path / "letter.txt").write_bytes(b"Dear Bob")
    (tmp_path / "beach.bin").write_bytes(bytes(range(256)) * 5000)
    page.locator('[data-pick="files"]').set_input_files([tmp_path / "letter.txt", tmp_path / "beach.bin"])
    page.get_by_text("2 files uploaded").wait_for()
    ada.until_held("/", ["beach.bin", "letter.txt"])
    assert ada.content("/beach.bin") == bytes(range(256)) * 5000
    ada.entry("letter.txt").wait_for()
    ada.shot("uploaded")
    ada.no_violations("files and uploads")

    # the same name again: asked once, kept both
    (tmp_path / "letter.txt").write_bytes(b"Dear Carol")
    page.locator('[data-pick="files"]').set_input_files([tmp_path / "letter.txt"])
    page.get_by_role("dialog").wait_for()
    ada.shot("conflict")
    ada.no_violations("a conflict")
    page.get_by_role("button", name="Keep both").click()
    ada.until_held("/", ["beach.bin", "letter (2).txt", "letter.txt"])
    assert ada.content("/letter.txt") == b"Dear Bob"
    assert ada.content("/letter (2).txt") == b"Dear Carol"
    page.get_by_role("region", name="Uploads").get_by_role("button", name="Close").click()

    # a new folder, and a file moved into it by drag and drop
    page.get_by_role("button", name="New folder").click()
    page.get_by_role("dialog").get_by_label("Name").fill("Holiday")
    page.get_by_role("button", name="Make").click()
    ada.entry("Holiday").wait_for()
    ada.entry("beach.bin").drag_to(ada.entry("Holiday"))
    ada.until_held("/Holiday", ["beach.bin"])
    ada.entry("beach.bin").wait_for(state="detached")  # the rows below it move up, also under a click

    # renamed in place
    ada.entry("letter (2).txt").click()
    page.keyboard.press("F2")
    page.keyboard.type("carol")
    page.keyboard.press("Enter")
    ada.until_held("/", ["Holiday", "carol.txt", "letter.txt"])
    ada.entry("letter (2).txt").wait_for(state="detached")

    # deleted, and taken back
    ada.entry("carol.txt").click()
    page.keyboard.press("Delete")
    ada.until_held("/", ["Holiday", "letter.txt"])
    page.keyboard.press("Control+z")
    ada.until_held("/", ["Holiday", "carol.txt", "letter.txt"])


@pytest.mark.long
def test_deep_links_the_back_button_and_a_zip_of_a_folder(meet: Meet) -> None:
    eve = meet("eve", sign_in=False)
    for name in ("A/one.txt", "A/b/two.txt", "top.txt"):
        answer = eve.api.put("/api/filesystem/data", params={"path": f"/{name}", "parents": "1"}, content=name.encode())
        assert answer.status_code == 201
    eve.go("files/home/A/b")
    eve.page.get_by_label("Name").fill("eve")
    eve.page.get_by_label("Password").fill(eve.password)
    eve.page.get_by_role("button", name="Sign in").click()
    eve.entry("two.txt").wait_for()
    eve.page.get_by_role("navigation", name="Path").get_by_role("link", name="Files").click()
    eve.entry("top.txt").wait_for()
    eve.page.go_back()
    eve.entry("two.txt").wait_for()
    eve.go("files/home")
    eve.entry("A").click()
    with eve.page.expect_download() as begun:
        eve.page.get_by_role("toolbar").get_by_role("button", name="Download").click()
    assert begun.value.suggested_filename == "A.zip"
    with zipfile.ZipFile(io.BytesIO(begun.value.path().read_bytes())) as archive:
        assert archive.testzip() is None
        assert archive.read("A/b/two.txt") == b"A/b/two.txt"
    eve.entry("top.txt").click()
    with eve.page.expect_download() as begun:
        eve.page.get_by_role("toolbar").get_by_role("button", name="Download").click()
    assert begun.value.suggested_filename == "top.txt"
    assert begun.value.path().read_bytes() == b"top.txt"


@pytest.mark.long
def test_an_older_version_and_the_trash_bring_things_back(meet: Meet) -> None:
    tim = meet("tim", sign_in=False)
    tim.put("/letter.txt", b"the first words")
    tim.put("/letter.txt", b"overwritten by mistake")
    tim.put("/gone.txt", b"wanted after all")
    tim.sign_in()
    tim.entry("letter.txt").dblclick()
    tim.page.get_by_text("overwritten by mistake").wait_for()
    tim.no_violations("details")
    tim.shot("details")
    tim.page.get_by_role("button", name="Restore version 1").click()
    tim.page.get_by_text("the first words").wait_for()
    assert tim.content("/letter.txt") == b"the first words"
    tim.page.get_by_label("Details").get_by_role("button", name="Close").click()
    tim.entry("gone.txt").click()
    tim.page.keyboard.press("Delete")
    tim.until_held("/", ["letter.txt"])
    tim.go("trash/home")
    tim.entry("gone.txt").wait_for()
    tim.no_violations("trash")
    tim.shot("trash")
    tim.page.get_by_role("button", name="Restore gone.txt").click()
    tim.until_held("/", ["gone.txt", "letter.txt"])


def test_on_a_phone(meet: Meet) -> None:
    pia = meet("pia", viewport=PHONE, has_touch=True, is_mobile=True, sign_in=False)
    pia.put("/a rather long name of a file from a camera 20260704_183211.jpg", b"not really")
    pia.sign_in()
    entry = pia.page.locator("[data-entry]")
    entry.wait_for()
    assert pia.page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    pia.no_violations("files on a phone")
    pia.shot("phone-files")
    entry.tap()
    pia.page.get_by_label("Details").wait_for()
    pia.shot("phone-details")
    pia.no_violations("details on a phone")
    pia.page.get_by_label("Details").get_by_role("button", name="Close").tap()
    pia.page.get_by_role("button", name="Menu").tap()
    pia.page.get_by_role("link", name="Trash").tap()
    pia.page.get_by_text("The trash is empty").wait_for()
    pia.shot("phone-trash")
