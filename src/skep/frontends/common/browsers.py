"""What doors that speak with browsers share: where the hive is, cookies, redirects."""

from __future__ import annotations

from typing import Final

from skep.base.errors import BadInput
from skep.frontends.common.answers import send_bytes
from skep.frontends.common.request import Request

COOKIE_MAX: Final = 512


def base_url(request: Request, public_url: str) -> str:
    """Where browsers reach the hive: as the settings say, or as this caller did. Raises BadInput."""
    if public_url:
        return public_url.rstrip("/")
    host = request.headers.get("host") or ""
    if not host or not all(c.isalnum() or c in ".:-_[]" for c in host):
        raise BadInput("The request names no host: set server.public_url.")
    return f"{request.scope.get('scheme', 'http')}://{host}"


def cookie_of(request: Request, name: str) -> str:
    """A cookie's value; empty without one."""
    for part in (request.headers.get("cookie") or "").replace(",", ";").split(";"):
        key, _, value = part.strip().partition("=")
        if key == name:
            return value[:COOKIE_MAX]
    return ""


def set_cookie(name: str, value: str, *, path: str, lasts_s: int, base: str, strict: bool = False) -> tuple[str, str]:
    """The header that sets a cookie that scripts do not see; ``lasts_s`` 0 removes it."""
    secure = "; Secure" if base.startswith("https://") else ""
    site = "Strict" if strict else "Lax"
    return "set-cookie", f"{name}={value}; Max-Age={lasts_s}; Path={path}; HttpOnly; SameSite={site}{secure}"


async def redirect(request: Request, url: str, *headers: tuple[str, str]) -> None:
    """Send a browser elsewhere: 302, remembered and told to nobody."""
    quiet = [("cache-control", "no-store"), ("referrer-policy", "no-referrer")]
    await send_bytes(request.send, 302, b"", [("location", url), *quiet, *headers])
