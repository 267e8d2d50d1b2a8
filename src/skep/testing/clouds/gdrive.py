"""A double of Google Drive's API v3: https://developers.google.com/drive/api/reference/rest/v3"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from typing import Any, ClassVar

from starlette.requests import Request
from starlette.responses import Response

from skep.testing.clouds.base import CloudDouble, Stored, json_answer, ranged

FOLDER_TYPE = "application/vnd.google-apps.folder"
_NAME = re.compile(r"name = '([^']*)'")
_PARENT = re.compile(r"'([^']*)' in parents")


class DriveDouble(CloudDouble):
    """Files by id; several may have one name. Searches lag as listings do."""

    name: ClassVar[str] = "gdrive"

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.account_id = "01234567890123456789"
        self.sessions: dict[str, tuple[dict[str, Any], str, int, bytearray]] = {}
        """Upload sessions: metadata, id of the file, announced size, what came."""
        self.tokens: dict[str, list[Stored]] = {}

    def token_answer(self, access: str, refresh: str, *, first: bool) -> dict[str, Any]:
        """Google gives a refresh token with the first answer alone."""
        found = super().token_answer(access, refresh, first=first)
        return {**found, "token_type": "Bearer", "scope": self.provider.scopes[0]}

    async def answer(self, request: Request, body: bytes) -> Response:
        path = request.url.path.removeprefix("/www.googleapis.com")
        if not self.authorized(request):
            return _error(401, "authError", "Invalid Credentials", location="Authorization")
        method, query = request.method, request.query_params
        file_id = path.rpartition("/files/")[2] if "/files/" in path else ""
        if path.startswith("/upload/drive/v3/files"):
            return self._upload(request, body, file_id)
        if path == "/drive/v3/about" and "fields" in query:
            return json_answer(self._about(query["fields"]))
        if path == "/drive/v3/files" and method == "GET":
            return self._list(query)
        if path == "/drive/v3/files" and method == "POST":
            return self._put(json.loads(body), "", b"")
        if file_id not in self.files:
            return _error(404, "notFound", f"File not found: {file_id}.", location="fileId")
        stored = self.files[file_id]
        if method == "DELETE":
            del self.files[file_id]
            self.gone(stored)
            return Response(status_code=204)
        if query.get("alt") == "media":
            return ranged(request, stored.content)
        return json_answer(_resource(stored))

    def _about(self, fields: str) -> dict[str, Any]:
        user = {
            "kind": "drive#user", "displayName": "Ada L", "me": True, "permissionId": self.account_id,
            "emailAddress": self.label,
        }  # fmt: skip
        used = str(self.used_bytes())
        quota = {"limit": str(self.room_bytes), "usage": used, "usageInDrive": used, "usageInDriveTrash": "0"}
        return {name: value for name, value in (("user", user), ("storageQuota", quota)) if name in fields}

    def _list(self, query: Any) -> Response:
        if token := query.get("pageToken"):
            rest = self.tokens.pop(token)
        else:
            parent, name = _PARENT.search(query["q"]), _NAME.search(query["q"])
            rest = [
                stored
                for stored in self.listing(parent[1] if parent else "root")
                if (name is None or stored.name == name[1]) and (FOLDER_TYPE not in query["q"] or stored.folder)
            ]
        size = min(self.page_max, int(query.get("pageSize", 100)))
        found: dict[str, Any] = {"files": [_resource(stored) for stored in rest[:size]]}
        if rest[size:]:
            found["nextPageToken"] = secrets.token_urlsafe(12)
            self.tokens[found["nextPageToken"]] = rest[size:]
        return json_answer(found)

    def _put(self, about: dict[str, Any], file_id: str, content: bytes) -> Response:
        if file_id and file_id not in self.files:
            return _error(404, "notFound", f"File not found: {file_id}.", location="fileId")
        if self.used_bytes() + len(content) > self.room_bytes:
            return _error(403, "storageQuotaExceeded", "The user's Drive storage quota has been exceeded.")
        if file_id:
            stored = self.files[file_id]
            stored.content, stored.name = content, about.get("name", stored.name)
            stored.number = self.next_number()
            return json_answer(_resource(stored))
        parent = (about.get("parents") or ["root"])[0]
        if parent != "root" and parent not in self.files:
            return _error(404, "notFound", f"File not found: {parent}.", location="fileId")
        folder = about.get("mimeType") == FOLDER_TYPE
        stored = Stored(about["name"], content, secrets.token_urlsafe(24), parent, folder)
        self.changed(stored)
        if folder:
            stored.listed_from = 0
        self.files[stored.id] = stored
        return json_answer(_resource(stored))

    def _upload(self, request: Request, body: bytes, file_id: str) -> Response:
        if session := request.query_params.get("upload_id"):
            return self._part(request, session, body)
        if request.query_params.get("uploadType") == "multipart":
            boundary = request.headers["content-type"].partition("boundary=")[2]
            parts = body.split(b"--" + boundary.encode())
            about, content = (part.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n") for part in parts[1:3])
            return self._put(json.loads(about), file_id, content)
        session = secrets.token_urlsafe(16)
        size = int(request.headers["x-upload-content-length"])
        self.sessions[session] = (json.loads(body), file_id, size, bytearray())
        where = f"{self.base_url}/www.googleapis.com/upload/drive/v3/files?uploadType=resumable&upload_id={session}"
        return Response(status_code=200, headers={"location": where})

    def _part(self, request: Request, session: str, body: bytes) -> Response:
        if session not in self.sessions:
            return _error(404, "notFound", "Upload session not found.")
        about, file_id, size, received = self.sessions[session]
        span = request.headers["content-range"].removeprefix("bytes ").partition("/")[0]
        if span != "*":
            start = int(span.partition("-")[0])
            if start > len(received) or (start + len(body) < size and len(body) % (256 << 10)):
                return _error(400, "badRequest", "Invalid part.")
            del received[start:]
            received += body
        if len(received) < size:
            headers = {"range": f"bytes=0-{len(received) - 1}"} if received else {}
            return Response(status_code=308, headers=headers)
        del self.sessions[session]
        return self._put(about, file_id, bytes(received))


def _resource(stored: Stored) -> dict[str, Any]:
    when = f"2026-01-01T{stored.number // 3600 % 24:02d}:{stored.number // 60 % 60:02d}:{stored.number % 60:02d}.000Z"
    found: dict[str, Any] = {
        "kind": "drive#file", "id": stored.id, "name": stored.name, "createdTime": when, "modifiedTime": when,
        "mimeType": FOLDER_TYPE if stored.folder else "application/octet-stream", "trashed": False,
    }  # fmt: skip
    if not stored.folder:
        found["md5Checksum"] = hashlib.md5(stored.content, usedforsecurity=False).hexdigest()
        found["size"] = str(len(stored.content))
    return found


def _error(status: int, reason: str, message: str, location: str = "") -> Response:
    item = {"domain": "usageLimits" if "Exceeded" in reason else "global", "reason": reason, "message": message}
    if location:
        item |= {"locationType": "header" if location == "Authorization" else "parameter", "location": location}
    return json_answer({"error": {"errors": [item], "code": status, "message": message}}, status)
