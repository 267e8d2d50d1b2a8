"""A double of OneDrive behind Microsoft Graph v1.0: https://learn.microsoft.com/graph/api/resources/onedrive"""

from __future__ import annotations

import json
import re
import secrets
from typing import Any, ClassVar
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response

from skep.stores.drivers.cloud.quickxor import quick_xor_hash
from skep.testing.clouds.base import CloudDouble, Stored, json_answer, ranged

_ITEM = re.compile(r"/me/drive/root:/(.+?)(?::/(content|createUploadSession|children))?/?")
_REFUSED = re.compile(
    r'["*:<>?/\\|]|^(con|prn|aux|nul|com\d|lpt\d|\.lock|desktop\.ini)$|^~\$|_vti_|\.$|^ | $', re.IGNORECASE
)
SINGLE_MAX_BYTES = 250 * 1000 * 1000


class OneDriveDouble(CloudDouble):
    """Files by lower-case path."""

    name: ClassVar[str] = "onedrive"
    rotates_refresh: ClassVar[bool] = True

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.account_id = "b!t18F8ybsHUq1z3LTz8xvZqP8zaSWjkFNhsME-Fepo75dTf9vQKfeRblBZjoSQrd7"
        self.sessions: dict[str, tuple[str, str, int | None, bytearray]] = {}
        """Upload sessions: path, conflict behaviour, announced size, what came."""
        self.pages: dict[str, list[Stored]] = {}
        self.downloads: dict[str, str] = {}

    def token_answer(self, access: str, refresh: str, *, first: bool) -> dict[str, Any]:
        """The v2.0 endpoint's form."""
        found = super().token_answer(access, refresh, first=first)
        return {
            **found,
            "token_type": "Bearer",
            "scope": " ".join(self.provider.scopes),
            "ext_expires_in": self.token_s,
        }

    async def answer(self, request: Request, body: bytes) -> Response:
        path, method = request.url.path, request.method
        if path.startswith("/up.1drv.com/"):
            return self._session(request, path.rpartition("/")[2], body)
        if path.startswith("/dl.1drv.com/"):
            return self._download(request, path.rpartition("/")[2])
        if not self.authorized(request):
            return _error(401, "InvalidAuthenticationToken", "Access token has expired or is not yet valid.")
        path = path.removeprefix("/graph.microsoft.com/v1.0")
        if path == "/me/drive":
            return json_answer(self._drive())
        if path == "/me/drive/root/children" and method == "POST":
            return self._folder("", json.loads(body))
        match = _ITEM.fullmatch(path)
        if match is None:
            return _error(400, "invalidRequest", "The request is malformed or incorrect.")
        item, verb = match[1], match[2]
        if verb == "children":
            return self._folder(item, json.loads(body)) if method == "POST" else self._list(request, item)
        if verb == "content" and method == "PUT":
            return self._put(item, request.query_params.get("@microsoft.graph.conflictBehavior", "replace"), body)
        if verb == "createUploadSession":
            return self._begin(item, json.loads(body or b"{}"))
        return self._one(method, item, verb)

    def _one(self, method: str, item: str, verb: str | None) -> Response:
        stored = self.files.get(item.lower())
        if stored is None:
            return _error(404, "itemNotFound", "The resource could not be found.")
        if method == "DELETE":
            del self.files[item.lower()]
            self.gone(stored)
            return Response(status_code=204)
        if verb == "content":
            ticket = secrets.token_urlsafe(12)
            self.downloads[ticket] = item.lower()
            return Response(status_code=302, headers={"location": f"{self.base_url}/dl.1drv.com/{ticket}"})
        return json_answer(_item(stored))

    def _drive(self) -> dict[str, Any]:
        used = self.used_bytes()
        return {
            "id": self.account_id, "driveType": "personal",
            "owner": {"user": {"id": "efee1b77-fb3b-4f65-99d6-274c11914d12", "displayName": "Ada L",
                               "email": self.label}},
            "quota": {"total": self.room_bytes, "used": used, "remaining": max(0, self.room_bytes - used), "deleted": 0,
                      "state": "normal"},
        }  # fmt: skip

    def _folder(self, parent: str, about: dict[str, Any]) -> Response:
        if parent and parent.lower() not in self.files:
            return _error(404, "itemNotFound", "The resource could not be found.")
        path = f"{parent}/{about['name']}".lstrip("/").lower()
        if path in self.files:
            return _error(409, "nameAlreadyExists", "The specified item name already exists.")
        self.files[path] = Stored(about["name"], b"", secrets.token_hex(8), parent.lower(), folder=True)
        return json_answer(_item(self.files[path]), 201)

    def _put(self, item: str, conflict: str, content: bytes) -> Response:
        parent, _, name = item.rpartition("/")
        old = self.files.get(item.lower())
        if _REFUSED.search(name):
            return _error(400, "invalidRequest", "The provided name contains characters that are not allowed.")
        if parent.lower() not in self.files:
            return _error(404, "itemNotFound", "The resource could not be found.")
        if old is not None and conflict == "fail":
            return _error(409, "nameAlreadyExists", "The specified item name already exists.")
        if self.used_bytes() + len(content) > self.room_bytes:
            return _error(507, "quotaLimitReached", "Insufficient Space Available")
        new = Stored(name, content, old.id if old else secrets.token_hex(8), parent.lower())
        self.changed(new)
        if old is not None:
            new.listed_from = 0
        self.files[item.lower()] = new
        return json_answer(_item(new), 200 if old else 201)

    def _begin(self, item: str, about: dict[str, Any]) -> Response:
        parent = item.rpartition("/")[0]
        if parent.lower() not in self.files:
            return _error(404, "itemNotFound", "The resource could not be found.")
        session = secrets.token_urlsafe(12)
        conflict = about.get("item", {}).get("@microsoft.graph.conflictBehavior", "replace")
        self.sessions[session] = (item, conflict, None, bytearray())
        url = f"{self.base_url}/up.1drv.com/{session}"
        return json_answer({"uploadUrl": url, "expirationDateTime": "2030-01-29T09:21:55.523Z"})

    def _session(self, request: Request, session: str, body: bytes) -> Response:
        if session not in self.sessions:
            return _error(404, "itemNotFound", "The upload session was not found.")
        item, conflict, _, received = self.sessions[session]
        if request.method == "PUT":
            span, _, total = request.headers["content-range"].removeprefix("bytes ").partition("/")
            start, size = int(span.partition("-")[0]), int(total)
            if "authorization" in request.headers:
                return _error(401, "unauthenticated", "No token is sent to an upload session.")
            if start != len(received) or (start + len(body) < size and len(body) % (320 << 10)):
                return _error(416, "invalidRange", "The specified byte range is invalid or unavailable.")
            received += body
            if len(received) == size:
                del self.sessions[session]
                return self._put(item, conflict, bytes(received))
        wanted = {"expirationDateTime": "2030-01-29T09:21:55.523Z", "nextExpectedRanges": [f"{len(received)}-"]}
        return json_answer(wanted, 202 if request.method == "PUT" else 200)

    def _download(self, request: Request, ticket: str) -> Response:
        stored = self.files.get(self.downloads.get(ticket, ""))
        if stored is None or "authorization" in request.headers:
            return _error(404, "itemNotFound", "The resource could not be found.")
        return ranged(request, stored.content)

    def _list(self, request: Request, item: str) -> Response:
        token = request.query_params.get("$skiptoken")
        if token is None and item.lower() not in self.files:
            return _error(404, "itemNotFound", "The resource could not be found.")
        rest = self.pages.pop(token) if token else self.listing(item.lower())
        size = min(self.page_max, int(request.query_params.get("$top", 200)))
        found: dict[str, Any] = {"value": [_item(stored) for stored in rest[:size]]}
        if rest[size:]:
            following = secrets.token_urlsafe(12)
            self.pages[following] = rest[size:]
            found["@odata.nextLink"] = (
                f"{self.provider.at(self.base_url).api_url}/me/drive/root:/{quote(item)}:/children?"
                f"$top={size}&$skiptoken={following}"
            )
        return json_answer(found)


def _item(stored: Stored) -> dict[str, Any]:
    when = f"2026-01-01T{stored.number // 3600 % 24:02d}:{stored.number // 60 % 60:02d}:{stored.number % 60:02d}Z"
    found: dict[str, Any] = {
        "id": stored.id, "name": stored.name, "size": len(stored.content), "eTag": f"{stored.id}.{stored.number}",
        "createdDateTime": when, "lastModifiedDateTime": when,
        "parentReference": {"driveId": "b4c57cff", "path": f"/drive/root:/{stored.parent}"},
    }  # fmt: skip
    if stored.folder:
        return {**found, "folder": {"childCount": 0}}
    hashes = {"quickXorHash": quick_xor_hash(stored.content)}
    return {**found, "file": {"mimeType": "application/octet-stream", "hashes": hashes}}


def _error(status: int, code: str, message: str) -> Response:
    inner = {
        "date": "2026-01-01T00:00:00",
        "request-id": "94fb3b52-452a-4535-a601-69e0a90e3aa2",
        "client-request-id": "x",
    }
    return json_answer({"error": {"code": code, "message": message, "innerError": inner}}, status)
