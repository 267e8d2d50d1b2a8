"""Uploads through the page when something comes in between: another page, no network, an ended session."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import Person

pytestmark = pytest.mark.long
Meet = Callable[..., Person]
SLOW = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 2_000_000}


def large(place: Path, size_bytes: int = 24_000_000) -> Path:
    path = place / "film.bin"
    path.write_bytes(os.urandom(size_bytes))
    return path


def slowly(person: Person) -> None:
    """From here on the browser sends no more than 2 MB a second."""
    wire = person.page.context.new_cdp_session(person.page)
    wire.send("Network.enable")
    wire.send("Network.emulateNetworkConditions", SLOW)


def begun(person: Person, path: Path) -> None:
    """An upload of which some has been sent."""
    person.page.locator('[data-pick="files"]').set_input_files([path])
    person.page.wait_for_function(
        "() => { const bar = document.querySelector('[data-state=sending] progress');"
        " return bar && bar.value > 3000000 && bar.value < bar.max }"
    )


def same(person: Person, path: Path) -> bool:
    return hashlib.sha256(person.content(f"/{path.name}")).digest() == hashlib.sha256(path.read_bytes()).digest()


def test_a_folder_comes_with_its_folders(meet: Meet, tmp_path: Path) -> None:
    fay = meet("fay")
    for name in ("a.txt", "sub/b.txt", "sub/deep/c.txt"):
        (tmp_path / "Tree" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "Tree" / name).write_text(name)
    fay.page.locator('[data-pick="folder"]').set_input_files(tmp_path / "Tree")
    fay.page.get_by_text("3 files uploaded").wait_for()
    assert fay.held("/Tree") == ["a.txt", "sub"]
    assert fay.content("/Tree/sub/deep/c.txt") == b"sub/deep/c.txt"


def test_an_upload_goes_on_in_the_next_page(meet: Meet, tmp_path: Path) -> None:
    gus = meet("gus")
    film = large(tmp_path)
    slowly(gus)
    begun(gus, film)
    gus.page.get_by_role("button", name="Pause all").click()
    gus.page.get_by_text("Paused").first.wait_for()
    gus.shot("upload-paused")
    assert "film.bin" not in gus.held()
    gus.page.on("dialog", lambda dialog: dialog.accept())
    gus.page.reload()
    gus.page.get_by_text("1 upload is unfinished").wait_for()
    gus.no_violations("an unfinished upload")
    gus.shot("upload-unfinished")
    with gus.page.expect_file_chooser() as chooser:
        gus.page.get_by_role("button", name="Choose the file").click()
    chooser.value.set_files(film)
    gus.page.get_by_text("1 file uploaded").wait_for()
    assert same(gus, film)
    methods = gus.page.evaluate("performance.getEntriesByType('resource').map((one) => new URL(one.name).pathname)")
    assert sum(path == "/tus/" for path in methods) == 0  # no second upload was opened: the first one went on


def test_a_lost_network_only_makes_it_wait(meet: Meet, tmp_path: Path) -> None:
    hal = meet("hal")
    film = large(tmp_path)
    slowly(hal)
    begun(hal, film)
    hal.page.context.set_offline(True)
    hal.page.get_by_text("No network: goes on when it is back").wait_for()
    hal.shot("upload-offline")
    hal.page.context.set_offline(False)
    hal.page.get_by_text("1 file uploaded").wait_for()
    assert same(hal, film)


def test_an_ended_session_asks_and_the_upload_goes_on(meet: Meet, tmp_path: Path) -> None:
    ida = meet("ida")
    film = large(tmp_path)
    slowly(ida)
    begun(ida, film)
    ida.page.get_by_role("button", name="Pause all").click()
    kept = json.loads(ida.page.evaluate("localStorage.getItem('skep.session')"))
    ended = ida.api.post("/api/auth/logout", headers={"authorization": f"Bearer {kept['access']}"})
    assert ended.status_code == 204
    ida.page.get_by_role("button", name="Go on with all").click()
    dialog = ida.page.get_by_role("dialog")
    dialog.get_by_label("Password").wait_for()
    ida.shot("session-ended")
    ida.no_violations("signing in again")
    dialog.get_by_label("Password").fill(ida.password)
    dialog.get_by_role("button", name="Sign in").click()
    ida.page.get_by_text("1 file uploaded").wait_for()
    assert same(ida, film)


def test_cancelling_leaves_nothing(meet: Meet, tmp_path: Path) -> None:
    jan = meet("jan")
    film = large(tmp_path)
    slowly(jan)
    begun(jan, film)
    jan.page.get_by_role("button", name="Cancel film.bin").click()
    jan.page.get_by_role("region", name="Uploads").wait_for(state="detached")
    assert jan.held() == []
    jan.page.wait_for_function("() => !Object.keys(localStorage).some((key) => key.startsWith('tus::'))")
