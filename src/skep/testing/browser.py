"""The distribution's Chromium in front of a real hive, driven by Playwright. Traffic goes to the loopback alone.

with chromium("/usr/bin/chromium") as browser:
    page = browser.new_page()
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser

FLAGS = (
    "--no-sandbox",  # tests run as root in containers; the pages are our own
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-dev-shm-usage",
)


@contextmanager
def chromium(program: str, *flags: str) -> Iterator[Browser]:
    """A headless browser with a profile of its own, until the block is left; ``flags``: more of its own."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=[*FLAGS, *flags], headless=True)
        try:
            yield browser
        finally:
            browser.close()
