"""One request at the provider's door, and what it stands on."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl, unquote_plus

from skep.auth import Auth
from skep.auth.questions import PageSession
from skep.auth.vouching import OAuthRefusal
from skep.base.errors import MalformedRequest
from skep.frontends.common.answers import send_bytes
from skep.frontends.common.browsers import base_url, cookie_of
from skep.frontends.common.request import Request

PAGE_COOKIE: Final = "skep_page"
FORM_BYTES_MAX: Final = 64 * 1024
FIELDS_MAX: Final = 64
_QUIET: Final = (("cache-control", "no-store"), ("pragma", "no-cache"))
_OPEN: Final = (("access-control-allow-origin", "*"),)


@dataclass(frozen=True, slots=True, kw_only=True)
class OidcGround:
    """What the door stands on. ``public_url``: where the hive is reached; empty: as each caller reached it."""

    auth: Auth
    public_url: str
    head_bytes: int
    idle_timeout_s: float


@dataclass(slots=True, kw_only=True)
class Exchange(Request):
    """A request and what is needed to answer it."""

    ground: OidcGround

    @property
    def auth(self) -> Auth:
        """Who decides."""
        return self.ground.auth

    @property
    def base(self) -> str:
        """Where browsers reach the hive."""
        return base_url(self, self.ground.public_url)

    @property
    def cookie(self) -> str:
        """The cookie of the hive's own pages."""
        return cookie_of(self, PAGE_COOKIE)

    @property
    def page(self) -> PageSession | None:
        """Who sits before the page."""
        return self.auth.page_of(self.cookie)

    def query(self) -> dict[str, str]:
        """The fields of the URL's query. Raises MalformedRequest for one that comes twice."""
        return _fields(self.scope.get("query_string", b""))

    async def form(self) -> dict[str, str]:
        """The fields of the body. Raises MalformedRequest, BodyTooLarge."""
        kind = (self.headers.get("content-type") or "").partition(";")[0].strip().lower()
        if kind != "application/x-www-form-urlencoded":
            raise MalformedRequest("Send a form: application/x-www-form-urlencoded.")
        return _fields(await self.body.read(FORM_BYTES_MAX))

    async def json(self, value: Mapping[str, Any], status: int = 200, *headers: tuple[str, str]) -> None:
        """Answer a program."""
        body = json.dumps(value, ensure_ascii=False).encode()
        kind = ("content-type", "application/json")
        await send_bytes(self.send, status, body, [kind, *_QUIET, *_OPEN, *headers], head_only=self.head_only)

    async def refuse(self, error: OAuthRefusal) -> None:
        """Answer a program with an error of RFC 6749 section 5.2."""
        headers = [("www-authenticate", 'Basic realm="skep"')] if error.code == "invalid_client" else []
        status = 401 if error.code == "invalid_client" else 400
        await self.json({"error": error.code, "error_description": str(error)}, status, *headers)

    def credentials(self, form: Mapping[str, str]) -> tuple[str, str | None]:
        """The program's id and secret, in Basic or in the form (RFC 6749 section 2.3.1), not both.

        Raises OAuthRefusal.
        """
        value = self.headers.get("authorization")
        if value is None:
            return form.get("client_id", ""), form.get("client_secret") or None
        kind, _, given = value.partition(" ")
        try:
            client_id, colon, secret = base64.b64decode(given.strip(), validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            kind, client_id, colon, secret = "", "", "", ""
        same = form.get("client_id", unquote_plus(client_id)) == unquote_plus(client_id)
        if kind.lower() != "basic" or not colon or form.get("client_secret") or not same:
            raise OAuthRefusal("invalid_client", "the program's credentials do not parse, or come twice")
        return unquote_plus(client_id), unquote_plus(secret) or None


def _fields(raw: bytes) -> dict[str, str]:
    try:
        pairs = parse_qsl(raw.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=FIELDS_MAX)
    except ValueError:
        raise MalformedRequest("The fields do not parse: percent-encode them as UTF-8.") from None
    found = dict(pairs)
    if len(found) != len(pairs):
        raise MalformedRequest("A field comes twice.")
    return found
