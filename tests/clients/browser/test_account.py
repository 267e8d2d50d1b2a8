"""My account: passwords, passkeys, second factors, programs, sessions, room, language and look."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import httpx
import pyotp
import pytest

from skep.base.clock import SystemClock
from skep.testing.browser import chromium
from skep.testing.process import RunningHive, made_hive

from .conftest import Person

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Browser, Locator

Meet = Callable[..., Person]
pytestmark = pytest.mark.long
ORIGIN = "http://hive.localhost"
"""Passkeys are bound to a name; the browser finds this one at the port that the hive has."""


@pytest.fixture(scope="module")
def hive(tmp_path_factory: pytest.TempPathFactory, chromium_path: Path) -> Iterator[RunningHive]:
    made = made_hive(tmp_path_factory.mktemp("hive"), server__public_url=ORIGIN)
    made.start()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def browser(hive: RunningHive, chromium_path: Path) -> Iterator[Browser]:
    at = hive.url.removeprefix("http://")
    with chromium(str(chromium_path), f"--host-resolver-rules=MAP hive.localhost:80 {at}") as opened:
        yield opened


@pytest.fixture(scope="module")
def origin() -> str:
    return ORIGIN


def device(person: Person) -> None:
    """Give the page a device that makes passkeys and verifies its user."""
    tools = person.page.context.new_cdp_session(person.page)
    tools.send("WebAuthn.enable")
    options = {"protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True}
    options |= {"isUserVerified": True, "automaticPresenceSimulation": True}
    tools.send("WebAuthn.addVirtualAuthenticator", {"options": options})


def sign_out(person: Person) -> None:
    person.page.get_by_role("button", name="Sign out").click()
    person.page.get_by_role("button", name="Sign in").wait_for()


def confirmed(person: Person, button: str, *, name: str | None = None) -> Locator:
    """Say the password again in the dialog that a button opens; gives the dialog's locator."""
    person.page.get_by_role("button", name=button).click()
    dialog = person.page.get_by_role("dialog")
    if name is not None:
        dialog.get_by_label("What to call it").fill(name)
    dialog.get_by_label("Your password").fill(person.password)
    return dialog


def code_now(secret: str, later: int = 0) -> str:
    return pyotp.TOTP(secret).at(SystemClock().now_us() // 1_000_000 + 30 * later)


def wrong_code(secret: str) -> str:
    right = {code_now(secret, later) for later in range(-2, 10)}
    return next(code for code in map("{:06}".format, range(20)) if code not in right)


def test_a_passkey_is_added_signs_in_and_is_removed(meet: Meet) -> None:
    ann = meet("ann")
    device(ann)
    ann.go("account")
    dialog = confirmed(ann, "Add a passkey", name="my laptop")
    dialog.get_by_label("Your password").fill("not her password")
    dialog.get_by_role("button", name="Continue").click()
    dialog.get_by_text("That is not your password.").wait_for()
    ann.no_violations("adding a passkey")
    ann.shot("passkey-add")
    dialog.get_by_label("Your password").fill(ann.password)
    dialog.get_by_role("button", name="Continue").click()
    codes = ann.page.get_by_role("dialog", name="Recovery codes")
    codes.wait_for()
    ann.no_violations("recovery codes")
    ann.shot("recovery-codes")
    with ann.page.expect_download() as begun:
        codes.get_by_role("button", name="Save as a file").click()
    kept = begun.value.path().read_text().split()
    assert [code for code in codes.locator("li").all_inner_texts() if code in kept] != []
    codes.get_by_role("button", name="I have kept it").click()
    ann.page.locator('[data-factor="my laptop"]').wait_for()
    assert [one["name"] for one in ann.api.get("/api/auth/factors").json()["factors"]] == ["my laptop"]

    # in place of name and password
    sign_out(ann)
    ann.page.get_by_role("button", name="Use a passkey").click()
    ann.page.get_by_role("heading", name="My account").wait_for()

    # and as the second factor after them
    sign_out(ann)
    ann.page.get_by_label("Name").fill("ann")
    ann.page.get_by_label("Password").fill(ann.password)
    ann.page.get_by_role("button", name="Sign in").click()
    ann.page.get_by_label("Code").wait_for()
    ann.no_violations("a second factor")
    ann.shot("sign-in-second")
    ann.page.get_by_role("button", name="Use a passkey").click()
    ann.page.get_by_role("heading", name="My account").wait_for()

    dialog = confirmed(ann, "Remove my laptop")
    dialog.get_by_role("button", name="Remove").click()
    ann.page.locator('[data-factor="my laptop"]').wait_for(state="detached")
    assert ann.api.get("/api/auth/factors").json()["factors"] == []
    sign_out(ann)
    ann.page.get_by_role("button", name="Use a passkey").click()
    ann.page.get_by_text("This passkey is not known here.").wait_for()


def test_an_authenticator_app_and_a_recovery_code(meet: Meet) -> None:
    ben = meet("ben")
    ben.go("account")
    confirmed(ben, "Add an authenticator app", name="old phone").get_by_role("button", name="Continue").click()
    dialog = ben.page.get_by_role("dialog")
    dialog.get_by_role("img", name="QR code for the authenticator app").wait_for()
    secret = dialog.locator("code").inner_text()
    dialog.get_by_label("Code of the app").fill(wrong_code(secret))
    dialog.get_by_role("button", name="Confirm").click()
    dialog.get_by_text("That code is not right.").wait_for()
    ben.no_violations("an authenticator app")
    ben.shot("authenticator")
    dialog.get_by_label("Code of the app").fill(code_now(secret))
    dialog.get_by_role("button", name="Confirm").click()
    codes = ben.page.get_by_role("dialog", name="Recovery codes")
    recovery = codes.locator("li").first.inner_text()
    codes.get_by_role("button", name="I have kept it").click()
    ben.page.get_by_text("10 recovery codes left").wait_for()

    for answer in (code_now(secret, 1), recovery):
        sign_out(ben)
        ben.page.get_by_label("Name").fill("ben")
        ben.page.get_by_label("Password").fill(ben.password)
        ben.page.get_by_role("button", name="Sign in").click()
        ben.page.get_by_label("Code").fill(answer)
        ben.page.get_by_role("button", name="Sign in").click()
        ben.page.get_by_role("heading", name="My account").wait_for()
    ben.page.get_by_text("9 recovery codes left").wait_for()


def test_programs_sessions_and_a_new_password(meet: Meet) -> None:
    oda = meet("oda")
    oda.go("account")
    oda.page.get_by_label("Name of the program").fill("phone")
    oda.page.get_by_role("button", name="Make").click()
    dialog = oda.page.get_by_role("dialog", name="The password of phone")
    dialog.get_by_role("img", name="QR code of the password").wait_for()
    secret = dialog.locator("[data-secret]").inner_text()
    oda.no_violations("a program's password")
    oda.shot("program-password")
    dialog.get_by_role("button", name="I have kept it").click()
    assert httpx.get(f"{oda.hive.url}/api/filesystem/info", auth=("oda", secret)).status_code == 200
    oda.page.get_by_role("button", name="End phone").click()
    oda.page.get_by_role("button", name="End phone").wait_for(state="detached")
    assert httpx.get(f"{oda.hive.url}/api/filesystem/info", auth=("oda", secret)).status_code == 401

    # the session of the test's own client is another one
    assert oda.api.get("/api/auth/me").status_code == 200
    oda.page.get_by_role("button", name="End all others").click()
    oda.page.get_by_role("button", name="End all others").wait_for(state="detached")
    assert oda.api.get("/api/auth/me").status_code == 401

    fresh = "another meadow 52 candle"
    oda.page.get_by_label("Present password").fill("not her password")
    oda.page.get_by_label("New password").fill(fresh)
    oda.page.get_by_role("button", name="Change password").click()
    oda.page.get_by_text("That is not your password.").wait_for()
    oda.page.get_by_label("Present password").fill(oda.password)
    oda.page.get_by_role("button", name="Change password").click()
    oda.page.get_by_text("The password is changed").wait_for()
    login = {"name": "oda", "password": fresh}
    assert httpx.post(f"{oda.hive.url}/api/auth/login", json=login).status_code == 200
    oda.page.get_by_label("Full name").fill("Oda Nobleza")
    oda.page.get_by_role("button", name="Save").click()
    oda.page.get_by_role("link", name="Oda Nobleza").wait_for()


def test_room_over_time_look_and_language(meet: Meet) -> None:
    pat = meet("pat", sign_in=False)
    pat.put("/a.bin", bytes(50_000))
    pat.put("/a.bin", bytes(70_000))
    pat.sign_in()
    pat.go("account")
    pat.page.get_by_text("120 kB used, without a limit").wait_for()
    plot = pat.page.locator('[data-plot="How your space filled"]')
    plot.get_by_role("img", name="kept, with versions and trash: 120 kB").wait_for()
    pat.page.locator('[data-plot="Traffic by month"]').wait_for()
    pat.no_violations("the account")
    pat.shot("account")
    pat.page.get_by_role("combobox", name="Look").select_option("dark")
    pat.no_violations("the account, dark")
    pat.shot("account-dark")
    pat.page.get_by_role("combobox", name="Language").select_option("de")
    pat.page.get_by_role("heading", name="Mein Konto").wait_for()
    pat.go("files/home")
    pat.entry("a.bin").wait_for()
    pat.shot("files-dark-german")
    pat.no_violations("files, dark and in German")
