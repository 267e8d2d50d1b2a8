"""A hive of its own for each file of tests, a browser for all of them, and what a person does with the page."""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import httpx
import pytest

from skep.frontends.web.app import built_files
from skep.testing.browser import chromium
from skep.testing.process import RunningHive, made_hive

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Locator, Page

ROOT = Path(__file__).resolve().parents[3]
AXE = ROOT / "web" / "node_modules" / "axe-core" / "axe.min.js"
SHOTS = Path(os.environ.get("SKEP_SCREENSHOTS", "/tmp/skep-screenshots"))
DESKTOP = {"width": 1280, "height": 800}
PHONE = {"width": 360, "height": 740}
WAIT_MS = 20_000


def missing(what: str, install: str) -> NoReturn:
    """Skip a test for want of something; a machine that must have it makes a failure of that (conftest.py)."""
    pytest.skip(f"{what} is not installed: {install}")


@pytest.fixture(scope="module")
def chromium_path(program: Callable[[str, str], Path]) -> Path:
    """The browser's program, once everything is there that its tests need."""
    if importlib.util.find_spec("playwright") is None:
        missing("playwright", "pip install playwright")
    if not built_files():
        missing("the built page", "make page")
    return program("chromium", "apt-get install chromium")


@pytest.fixture(scope="module")
def hive(tmp_path_factory: pytest.TempPathFactory, chromium_path: Path) -> Iterator[RunningHive]:
    made = made_hive(tmp_path_factory.mktemp("hive"))
    made.start()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def browser(hive: RunningHive, chromium_path: Path) -> Iterator[Browser]:
    # Playwright keeps a loop running in this thread: nothing else may want one until the browser is closed.
    with chromium(str(chromium_path)) as opened:
        yield opened


@pytest.fixture(scope="module")
def origin(hive: RunningHive) -> str:
    """Where the browser reaches the hive."""
    return hive.url


@dataclass
class Person:
    """Somebody in front of the page."""

    hive: RunningHive
    name: str
    password: str
    page: Page
    api: httpx.Client
    origin: str
    wrong: list[str] = field(default_factory=list)
    """What the browser complained of: errors of scripts, refusals of the Content-Security-Policy."""

    def sign_in(self) -> None:
        self.page.goto(self.origin)
        self.page.get_by_label("Name").fill(self.name)
        self.page.get_by_label("Password").fill(self.password)
        self.page.get_by_role("button", name="Sign in").click()
        self.page.get_by_role("grid").wait_for()

    def go(self, route: str) -> None:
        self.page.goto(f"{self.origin}/#/{route}")

    def entry(self, name: str) -> Locator:
        return self.page.locator(f'[data-entry="{name}"]')

    def put(self, path: str, content: bytes = b"content") -> dict[str, Any]:
        answer = self.api.put("/api/filesystem/data", params={"path": path}, content=content)
        assert answer.status_code in (200, 201), answer.text
        node: dict[str, Any] = answer.json()["node"]
        return node

    def held(self, path: str = "/") -> list[str]:
        """The names that the hive has in a directory."""
        found = self.api.get("/api/filesystem/info", params={"path": path}).json()
        return sorted(node["name"] for node in found["dirs"] + found["files"])

    def content(self, path: str) -> bytes:
        answer = self.api.get("/api/filesystem/data", params={"path": path})
        assert answer.status_code == 200, answer.text
        return answer.content

    def until_held(self, path: str, wanted: list[str]) -> None:
        """Wait until the hive has exactly these names in a directory."""
        for _ in range(200):
            held = self.held(path)
            if held == sorted(wanted):
                return
            self.page.wait_for_timeout(50)  # the page is what it waits for, and its events are handled meanwhile
        assert held == sorted(wanted)

    def shot(self, name: str) -> None:
        """Keep a picture of the view."""
        SHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SHOTS / f"{name}.png")

    def no_violations(self, view: str) -> None:
        """What axe-core finds wrong for people with disabilities: nothing."""
        if not AXE.exists():
            missing("axe-core", "make page")
        self.page.evaluate(AXE.read_text())
        found = self.page.evaluate(
            "axe.run(document, {runOnly: ['wcag2a','wcag2aa','wcag21a','wcag21aa','wcag22aa','best-practice']})"
        )
        told = [
            f"{one['id']}: {one['help']}\n" + "\n".join(f"  {node['html'][:160]}" for node in one["nodes"][:4])
            for one in found["violations"]
        ]
        assert told == [], f"{view}:\n" + "\n".join(told)


def _watch(page: Page, wrong: list[str]) -> None:
    expected = re.compile(r"Failed to load resource|ERR_INTERNET_DISCONNECTED|WebSocket connection to")
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda m: wrong.append(m.text) if m.type == "error" and not expected.search(m.text) else None)


@pytest.fixture
def meet(hive: RunningHive, browser: Browser, origin: str) -> Iterator[Callable[..., Person]]:
    """``meet(name)``: a person with a browser profile of their own, signed in; ``viewport`` as DESKTOP or PHONE."""
    contexts: list[BrowserContext] = []
    people: list[Person] = []

    def one(name: str = "admin", *, viewport: dict[str, int] = DESKTOP, sign_in: bool = True, **options: Any) -> Person:
        password = hive.password if name == "admin" else "quiet meadow 41 lantern"
        with hive.client() as admin:
            if name != "admin":
                admin.post("/api/auth/users", json={"name": name, "password": password})
        options.setdefault("reduced_motion", "reduce")  # a colour on its way to another is neither
        context = browser.new_context(viewport=viewport, locale="en-GB", **options)
        context.set_default_timeout(WAIT_MS)
        contexts.append(context)
        login = httpx.post(f"{hive.url}/api/auth/login", json={"name": name, "password": password}).json()
        api = httpx.Client(base_url=hive.url, headers={"authorization": f"Bearer {login['access_token']}"}, timeout=30)
        person = Person(hive, name, password, context.new_page(), api, origin)
        _watch(person.page, person.wrong)
        people.append(person)
        if sign_in:
            person.sign_in()
        return person

    yield one
    for context in contexts:
        context.close()
    for person in people:
        person.api.close()
        assert person.wrong == []
