"""What the API says of itself: ``/api``, ``/api/openapi.json`` and the page ``/api/docs``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib.resources import files

import msgspec

from skep import __version__
from skep.frontends.api.call import Call
from skep.frontends.api.openapi import openapi_document
from skep.frontends.api.operation import Operation
from skep.frontends.common.answers import send_bytes

TAG = "about"
PAGE_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'self'; connect-src 'self'; img-src 'self' data:"
)


class About(msgspec.Struct, frozen=True):
    """What answers here."""

    name: str
    version: str
    docs: str


async def about(call: Call) -> About:
    """Say what answers here."""
    return About("skep", __version__, "/api/docs")


def docs_operations(all_operations: Callable[[], Sequence[Operation]]) -> tuple[Operation, ...]:
    """The operations that describe the API; ``all_operations`` gives what to describe."""

    @lru_cache(1)
    def document() -> bytes:
        return msgspec.json.encode(openapi_document(all_operations()))

    async def openapi(call: Call) -> None:
        """The OpenAPI 3.1 document of this API."""
        await _send(call, "application/json", document())

    async def docs_page(call: Call) -> None:
        """This API as a page to read."""
        await _send(call, "text/html; charset=utf-8", _asset("docs.html"))

    async def docs_script(call: Call) -> None:
        """The script of the page."""
        await _send(call, "text/javascript; charset=utf-8", _asset("docs.js"))

    return (
        Operation("GET", "/api", about, None, TAG),
        Operation("GET", "/api/openapi.json", openapi, None, TAG, gives=("application/json",)),
        Operation("GET", "/api/docs", docs_page, None, TAG, gives=("text/html",)),
        Operation("GET", "/api/docs.js", docs_script, None, TAG, gives=("text/javascript",)),
    )


@lru_cache(8)
def _asset(name: str) -> bytes:
    return (files("skep.frontends.api") / name).read_bytes()


async def _send(call: Call, kind: str, body: bytes) -> None:
    headers = [
        ("content-type", kind),
        ("cache-control", "no-cache"),
        ("content-security-policy", PAGE_POLICY),
        ("x-content-type-options", "nosniff"),
    ]
    await send_bytes(call.send, 200, body, headers, head_only=call.head_only)
