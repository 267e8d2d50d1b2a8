"""Serving the page (built by ``make page`` from ``web/``): a few static files, from memory.

What always holds: no answer depends on who asks. Names below ``assets/`` carry a hash of their content and are kept by
browsers for a year; all others are asked for again, with an ETag. Nothing may run in the page but what is in
these files (Content-Security-Policy without inline script), and the page loads nothing from elsewhere.

Where the page was not built, ``/`` says so, and how to get it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable

from skep.base.errors import NotFound
from skep.crypto.hashing import digest
from skep.frontends.common.answers import send_bytes, send_problem
from skep.frontends.common.asgi import App, Receive, Scope, Send
from skep.frontends.common.conditions import Verdict, judge_read, quoted
from skep.frontends.common.headers import Headers
from skep.frontends.common.problems import Problem

BUILT = "built"
"""Where the build puts the page, inside this package."""
SEGMENT = "assets"
"""The first segment of the files whose names carry a hash."""
LINK_SEGMENT = "l"
"""The first segment of the addresses of links: the page shows what they lead to."""
_LINK = re.compile(r"/l/([A-Za-z0-9_-]{1,64})/?")
TOTAL_BYTES_MAX = 16 << 20
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "media-src 'self'",
        "connect-src 'self'",
        "frame-src blob:",
        "manifest-src 'self'",
        "worker-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
LANDING_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src 'self'; base-uri 'none'; form-action 'none'"
_ALWAYS = (
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("permissions-policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
)
_TYPES = {
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "svg": "image/svg+xml",
    "png": "image/png",
    "webmanifest": "application/manifest+json",
    "json": "application/json",
}
_CODINGS = (("br", ".br"), ("gzip", ".gz"))


@dataclass(frozen=True, slots=True)
class Asset:
    """One file: its content, and the same compressed by the build, by content coding."""

    body: bytes
    mime: str
    etag: str
    for_ever: bool
    coded: Mapping[str, bytes]


def built_files(top: Traversable | None = None) -> dict[str, Asset]:
    """The page's files by path of the URL; empty where none was built. ``top``: another directory than the package's.

    Raises ValueError for more than TOTAL_BYTES_MAX: something else than the page lies there.
    """
    top = top or files("skep.frontends.web") / BUILT
    raw = dict(_walk(top, ""))
    if sum(map(len, raw.values())) > TOTAL_BYTES_MAX:
        raise ValueError("there is more in the directory of the built page than a page")
    assets = {}
    for path, body in raw.items():
        mime = _TYPES.get(path.rpartition(".")[2])
        if mime is None:
            continue
        coded = {coding: raw[path + suffix] for coding, suffix in _CODINGS if path + suffix in raw}
        for_ever = path.startswith(f"/{SEGMENT}/")
        assets[path] = Asset(body, mime, digest(body).hex()[:32], for_ever, coded)
    if "/index.html" not in assets:
        return {}
    assets["/"] = assets["/index.html"]
    return assets


def _walk(top: Traversable, prefix: str) -> list[tuple[str, bytes]]:
    if not top.is_dir():
        return []
    found = []
    for entry in top.iterdir():
        path = f"{prefix}/{entry.name}"
        found += _walk(entry, path) if entry.is_dir() else [(path, entry.read_bytes())]
    return found


def landing() -> bytes:
    """What ``/`` shows where no page was built."""
    return (files("skep.frontends.web") / "landing.html").read_bytes()


class WebApp:
    """The ASGI application of the page."""

    def __init__(self, assets: Mapping[str, Asset] | None = None) -> None:
        """``assets`` as of ``built_files``; None: what was built."""
        self._assets = dict(built_files() if assets is None else assets)

    @property
    def paths(self) -> dict[str, App]:
        """The single paths that this door answers; everything below ``/assets`` is its as well."""
        here = (path for path in self._assets if not path.startswith(f"/{SEGMENT}/"))
        return dict.fromkeys(("/", *here), self)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path, method = scope["path"], scope["method"]
        first = path.split("/", 2)[1]
        scope["state"]["route"] = f"/{first}" if first in (SEGMENT, LINK_SEGMENT) else path
        head_only = method == "HEAD"
        if method not in ("GET", "HEAD"):
            refusal = Problem(405, "method-not-allowed", "Method not allowed", f"{method[:20]} means nothing here.",
                              headers=(("allow", "GET, HEAD"),))  # fmt: skip
            await send_problem(send, refusal, scope["state"].get("request_id"), close=True)
            return
        link = _LINK.fullmatch(path)
        if link:  # into the part of an address that no server is told and no log has
            away = [
                ("location", f"/#/l/{link[1]}"),
                ("cache-control", "no-store"),
                ("x-robots-tag", "noindex"),
                *_ALWAYS,
            ]
            await send_bytes(send, 302, b"", away, head_only=head_only)
            return
        asset = self._assets.get(path)
        if asset is not None:
            await self._serve(scope["state"]["headers"], send, asset, head_only)
        elif path == "/":
            headers = [("content-type", _TYPES["html"]), ("cache-control", "no-store"), *_ALWAYS]
            headers.append(("content-security-policy", LANDING_POLICY))
            await send_bytes(send, 200, landing(), headers, head_only=head_only)
        else:
            raise NotFound(f"The page has no file at {path[:200]}.")

    async def _serve(self, headers: Headers, send: Send, asset: Asset, head_only: bool) -> None:
        coding = _coding(headers.get("accept-encoding") or "", asset)
        etag = asset.etag + (f"-{coding}" if coding else "")
        answer = [
            ("etag", quoted(etag)),
            ("cache-control", "public, max-age=31536000, immutable" if asset.for_ever else "no-cache"),
            ("vary", "accept-encoding"),
        ]
        if judge_read(headers, etag, 0) is Verdict.NOT_MODIFIED:
            await send_bytes(send, 304, b"", answer)
            return
        answer += [("content-type", asset.mime), ("content-security-policy", POLICY), *_ALWAYS]
        if coding:
            answer.append(("content-encoding", coding))
        body = asset.coded[coding] if coding else asset.body
        await send_bytes(send, 200, body, answer, head_only=head_only)


_TAKES = re.compile(r"^\s*([a-z*-]+)\s*(?:;\s*q=([0-9.]+)\s*)?$", re.ASCII)


def _coding(accepted: str, asset: Asset) -> str:
    """The best content coding of an asset that the client takes (RFC 9110 section 12.5.3); empty: none."""
    taken = set()
    for item in accepted.lower().split(","):
        match = _TAKES.match(item)
        if match and (match[2] is None or match[2].strip("0.") != ""):
            taken.add(match[1])
    return next((coding for coding, _ in _CODINGS if coding in taken and coding in asset.coded), "")
