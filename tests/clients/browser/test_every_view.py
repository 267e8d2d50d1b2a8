"""Every view at desktop and phone size, light and dark: nothing wider than the screen, nothing axe-core objects to.

The pictures are kept for people to look at (SKEP_SCREENSHOTS).
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from .conftest import DESKTOP, PHONE, Person

Meet = Callable[..., Person]
pytestmark = pytest.mark.long

VIEWS = {
    "files/home": "grid",
    "trash/home": "heading:Trash",
    "shared": "heading:Shared",
    "account": "heading:My account",
    "stores": "heading:Stores",
    "people": "heading:People",
    "upkeep": "heading:Upkeep",
    "log": "heading:Sign-ins",
}


@pytest.mark.parametrize("size", ["desktop", "phone"])
def test_every_view(meet: Meet, size: str) -> None:
    viewport = DESKTOP if size == "desktop" else PHONE
    owner = meet(viewport=viewport, reduced_motion="reduce")
    owner.put("/a letter.txt")
    owner.api.post(
        "/api/auth/users", json={"name": "a-person-with-a-long-name", "full_name": "Somebody With a Long Name"}
    )
    owner.api.post("/api/auth/groups", json={"name": "Household"})
    owner.api.post("/api/auth/invites", json={"uses": 3})
    for route, sign in VIEWS.items():
        owner.go(route)
        role, _, name = sign.partition(":")
        owner.page.get_by_role(role, name=name or None, exact=True).first.wait_for()  # type: ignore[arg-type]
        assert owner.page.evaluate("document.documentElement.scrollWidth") == viewport["width"], route
        for scheme in ("light", "dark"):
            owner.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            owner.no_violations(f"{route}, {size}, {scheme}")
            owner.shot(f"view-{route.partition('/')[0]}-{size}-{scheme}")
