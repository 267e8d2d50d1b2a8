"""Make the README's two pictures of the page: a real hive with sample content, in the distribution's Chromium.

    python docs/screenshots.py        # `make screenshots`

Writes docs/pictures/page-files.png (light) and page-stores.png (dark). The photographs are drawn,
the same at every run.
"""

from __future__ import annotations

import io
import math
import random
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
from PIL import Image, ImageDraw, ImageFilter

from skep.frontends.web.app import built_files
from skep.testing.browser import chromium
from skep.testing.process import RunningHive, made_hive

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

OUT = Path(__file__).resolve().parent / "pictures"
SIZE = {"width": 1180, "height": 720}
FILM_BYTES = 200_000_000
Colour = tuple[int, int, int]
SKIES: dict[str, tuple[Colour, Colour, Colour]] = {
    "Harbour at six.jpg": ((44, 62, 120), (250, 178, 120), (40, 46, 70)),
    "First light.jpg": ((120, 170, 220), (255, 226, 170), (70, 100, 90)),
    "Dunes.jpg": ((96, 160, 214), (222, 236, 240), (214, 176, 116)),
    "The long walk.jpg": ((150, 196, 226), (240, 244, 236), (88, 130, 70)),
    "Storm coming.jpg": ((60, 70, 84), (176, 184, 190), (50, 62, 60)),
    "Last evening.jpg": ((70, 40, 96), (246, 128, 96), (36, 26, 48)),
    "Moor.jpg": ((130, 150, 190), (236, 214, 224), (110, 74, 108)),
}
STORES = (("attic-disk", "attic", 0.8), ("office-nas", "office", 1.5), ("friend-jo", "jo", 0.4))
"""Name, zone, and capacity in GB of what is given to the hive beside its first store."""


def _mix(one: Colour, other: Colour, part: float) -> Colour:
    return tuple(round(a + (b - a) * part) for a, b in zip(one, other, strict=True))  # type: ignore[return-value]


def photograph(name: str, width: int = 960, height: int = 720) -> bytes:
    """A drawn landscape as JPEG: a sky, a sun, ranges of hills that get darker towards whoever looks."""
    high, low, ground = SKIES[name]
    chance = random.Random(name)  # noqa: S311 - a picture
    picture = Image.new("RGB", (width, height))
    draw = ImageDraw.Draw(picture)
    for y in range(height):
        draw.line([(0, y), (width, y)], fill=_mix(high, low, min(1.0, y / (height * 0.62))))
    sun_x, sun_y, radius = chance.uniform(0.2, 0.8) * width, chance.uniform(0.3, 0.5) * height, width * 0.05
    glow = Image.new("L", (width, height), 0)
    ImageDraw.Draw(glow).ellipse((sun_x - radius, sun_y - radius, sun_x + radius, sun_y + radius), fill=255)
    picture.paste((255, 250, 232), mask=glow.filter(ImageFilter.GaussianBlur(radius * 0.12)))
    picture.paste((255, 244, 214), mask=glow.filter(ImageFilter.GaussianBlur(radius * 1.6)).point(lambda v: v * 2 // 3))
    draw = ImageDraw.Draw(picture)
    for row in range(4):
        phase, waves, base = chance.uniform(0, 6), chance.uniform(1.2, 2.6), height * (0.56 + 0.12 * row)
        ridge = [
            (x, base + height * 0.07 * math.sin(phase + waves * x / width * 4) * math.cos(phase * 2 + x / width * 5))
            for x in range(0, width + 8, 8)
        ]
        draw.polygon([(0, height), *ridge, (width, height)], fill=_mix(low, ground, 0.45 + 0.18 * row))
    kept = io.BytesIO()
    picture.save(kept, "JPEG", quality=88)
    return kept.getvalue()


def fill(hive: RunningHive) -> None:
    """Put a small household's files into the hive, stores beside its first one, and a scheme over them."""
    with hive.client() as client:
        for name, zone, gigabytes in STORES:
            place = hive.place / "disks" / name
            place.mkdir(parents=True)
            body = {"name": name, "url": f"fs://{place}", "zone": zone, "capacity_bytes": round(gigabytes * 1e9)}
            client.post("/api/admin/stores", json=body).raise_for_status()
        client.patch("/api/admin/stores/local", json={"capacity_bytes": 10**9}).raise_for_status()
        client.put("/api/admin/scheme", json={"scheme": "ec(2,1)"}).raise_for_status()
        for path in ("Recipes", "Letters", "Summer by the sea/Video"):
            client.post("/api/filesystem/mkdir", json={"path": f"/{path}", "parents": True}).raise_for_status()
        written = {f"Summer by the sea/{name}": photograph(name) for name in SKIES}
        written["Summer by the sea/Packing list.md"] = b"# Packing\n\n- tent\n- the good lamp\n- film\n"
        written["Summer by the sea/Ferry tickets.pdf"] = b"%PDF-1.4\n%%EOF\n" * 6000
        written["Summer by the sea/Video/The crossing.mp4"] = random.Random(1).randbytes(FILM_BYTES)  # noqa: S311 - a film
        written["Letters/To Jo.txt"] = b"Dear Jo,\n\nyour disk has room for our photographs. Thank you!\n"
        for path, content in written.items():
            client.put("/api/filesystem/data", params={"path": f"/{path}"}, content=content).raise_for_status()


@contextmanager
def opened(browser: Browser, hive: RunningHive, scheme: str) -> Iterator[Page]:
    """The page, signed in, light or dark."""
    context = browser.new_context(viewport=SIZE, locale="en-GB", color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
    page = context.new_page()
    page.goto(hive.url)
    page.get_by_label("Name").fill("admin")
    page.get_by_label("Password").fill(hive.password)
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.get_by_role("grid").wait_for()
    yield page
    context.close()


def keep(page: Page, name: str) -> None:
    """Write what the page shows, packed as small as PNG goes."""
    OUT.mkdir(exist_ok=True)
    Image.open(io.BytesIO(page.screenshot())).convert("RGB").save(OUT / name, optimize=True)
    print(f"{OUT / name}: {(OUT / name).stat().st_size / 1000:.0f} kB")


def take(browser: Browser, hive: RunningHive) -> None:
    """Go to the two views and keep them."""
    with opened(browser, hive, "light") as page:
        page.goto(f"{hive.url}/#/files/home/Summer%20by%20the%20sea")
        page.get_by_role("button", name="Tiles").click()
        for name in SKIES:
            page.locator(f'[data-entry="{name}"] img').wait_for()
        page.locator('[data-entry="Dunes.jpg"]').dblclick()
        page.get_by_label("Details").get_by_role("heading", name="Where it lives").wait_for()
        page.get_by_label("Details").locator("img").wait_for()
        keep(page, "page-files.png")
    with opened(browser, hive, "dark") as page:
        page.goto(f"{hive.url}/#/stores")
        page.locator('[data-store="friend-jo"]').wait_for()
        keep(page, "page-stores.png")


def main() -> int:
    """Make both; 1 where a program or the built page is missing."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None or not built_files():
        print("needed: chromium (apt-get install chromium) and the built page (make page)", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="skep-pictures-") as place:
        hive = made_hive(Path(place) / "hive")
        hive.start()
        try:
            fill(hive)
            with chromium(program) as browser:
                take(browser, hive)
        except httpx.HTTPStatusError as error:
            print(error.response.text, file=sys.stderr)
            return 1
        finally:
            hive.stop()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
