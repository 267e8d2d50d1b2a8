"""A double of Box's API 2.0: https://developer.box.com/reference/"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from typing import Any, ClassVar

from starlette.requests import Request
from starlette.responses import Response

from skep.testing.clouds.base import CloudDouble, Stored, json_answer, ranged

SINGLE_MAX_BYTES = 50_000_000
SESSION_MIN_BYTES = 20_000_000


class BoxDouble(CloudDouble):
    """Files by id; names are unique in a folder."""

    name: ClassVar[str] = "box"
    rotates_refresh: ClassVar[bool] = True

    def __init__(
        self, *, part_bytes: int = 8 << 20, session_min_bytes: int = SESSION_MIN_BYTES, **options: Any
    ) -> None:
        super().__init__(**options)
        self.account_id = "11446498"
        self.part_bytes = part_bytes
        self.session_min_bytes = session_min_bytes
        self.sessions: dict[str, tuple[dict[str, Any], str, dict[int, bytes]]] = {}
        self.trash: dict[str, Stored] = {}
        self.markers: dict[str, list[Stored]] = {}
        self.downloads: dict[str, str] = {}
        self.commits_pending = 0
        """How many commits are answered with 202 first."""

    def used_bytes(self) -> int:
        """What is in the trash counts too."""
        return super().used_bytes() + sum(len(stored.content) for stored in self.trash.values())

    async def answer(self, request: Request, body: bytes) -> Response:
        path, method = request.url.path, request.method
        if path.startswith("/dl.boxcloud.com/"):
            stored = self.files.get(self.downloads.get(path.rpartition("/")[2], ""))
            return ranged(request, stored.content) if stored else Response(status_code=404)
        if not self.authorized(request):
            return Response(status_code=401, headers={"www-authenticate": 'Bearer realm="Service"'})
        if path.startswith("/upload.box.com/api/2.0/"):
            return self._upload(request, path.removeprefix("/upload.box.com/api/2.0/"), body)
        path = path.removeprefix("/api.box.com/2.0/")
        if path == "files/content" and method == "OPTIONS":
            return self._preflight(json.loads(body))
        if path == "users/me":
            return json_answer(self._me())
        if path == "folders" and method == "POST":
            return self._folder(json.loads(body))
        kind, _, rest = path.partition("/")
        item, _, verb = rest.partition("/")
        if kind == "folders" and verb == "items":
            return self._items(request, item)
        if kind == "files":
            return self._file(method, item, verb)
        return _error(404, "not_found", "Not Found")

    def _me(self) -> dict[str, Any]:
        return {
            "type": "user", "id": self.account_id, "name": "Ada L", "login": self.label,
            "space_amount": self.room_bytes, "space_used": self.used_bytes(), "max_upload_size": 5368709120,
        }  # fmt: skip

    def _taken(self, parent: str, name: str) -> Stored | None:
        return next((s for s in self.files.values() if s.parent == parent and s.name.lower() == name.lower()), None)

    def _preflight(self, about: dict[str, Any]) -> Response:
        parent = about["parent"]["id"]
        if parent != "0" and parent not in self.files:
            return _error(404, "not_found", "Not Found")
        taken = self._taken(parent, about["name"])
        if taken is not None:
            return _conflict(taken)
        return json_answer(
            {"upload_url": f"{self.base_url}/upload.box.com/api/2.0/files/content", "upload_token": None}
        )

    def _folder(self, about: dict[str, Any]) -> Response:
        taken = self._taken(about["parent"]["id"], about["name"])
        if taken is not None:
            return _conflict(taken)
        made = Stored(about["name"], b"", str(self.next_number() + 10_000), about["parent"]["id"], folder=True)
        self.files[made.id] = made
        return json_answer(_item(made), 201)

    def _items(self, request: Request, folder: str) -> Response:
        if folder != "0" and folder not in self.files:
            return _error(404, "not_found", "Not Found")
        marker = request.query_params.get("marker")
        rest = self.markers.pop(marker) if marker else self.listing(folder)
        size = min(self.page_max, int(request.query_params.get("limit", 100)))
        following = ""
        if rest[size:]:
            following = secrets.token_urlsafe(12)
            self.markers[following] = rest[size:]
        return json_answer({"entries": [_item(s) for s in rest[:size]], "limit": size, "next_marker": following})

    def _file(self, method: str, item: str, verb: str) -> Response:
        if verb == "trash" and method == "DELETE":
            return Response(status_code=204) if self.trash.pop(item, None) else _error(404, "not_found", "Not Found")
        stored = self.files.get(item)
        if stored is None or stored.folder:
            return _error(404, "trashed" if item in self.trash else "not_found", "Not Found")
        if verb == "content":
            ticket = secrets.token_urlsafe(12)
            self.downloads[ticket] = item
            return Response(status_code=302, headers={"location": f"{self.base_url}/dl.boxcloud.com/d/1/{ticket}"})
        if method == "DELETE":
            self.trash[item] = self.files.pop(item)
            self.gone(stored)
            return Response(status_code=204)
        return json_answer(_item(stored))

    def _upload(self, request: Request, path: str, body: bytes) -> Response:
        parts = path.split("/")
        match parts:
            case ["files", "content"]:
                return self._direct(request, "", body)
            case ["files", "upload_sessions"]:
                return self._begin(json.loads(body), "")
            case ["files", "upload_sessions", session]:
                return self._part(request, session, body)
            case ["files", "upload_sessions", session, "commit"]:
                return self._commit(request, session, json.loads(body))
            case ["files", file_id, "content"]:
                return self._direct(request, file_id, body)
            case ["files", file_id, "upload_sessions"]:
                return self._begin(json.loads(body), file_id)
        return _error(404, "not_found", "Not Found")

    def _direct(self, request: Request, file_id: str, body: bytes) -> Response:
        boundary = request.headers["content-type"].partition("boundary=")[2].encode()
        fields = body.split(b"--" + boundary)
        about, content = (field.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n") for field in fields[1:3])
        if len(content) > SINGLE_MAX_BYTES:
            return _error(413, "file_size_limit_exceeded", "File size exceeds the folder owner's file size limit")
        sent = request.headers.get("content-md5")
        if sent is not None and sent != hashlib.sha1(content, usedforsecurity=False).hexdigest():
            return _error(412, "sha1_mismatch", "The hash of the content is not the one that was sent")
        found = json.loads(about)
        return self._put(found["name"], found.get("parent", {}).get("id", ""), file_id, content)

    def _put(self, name: str, parent: str, file_id: str, content: bytes) -> Response:
        if file_id:
            stored = self.files.get(file_id)
            if stored is None:
                return _error(404, "not_found", "Not Found")
        elif parent != "0" and parent not in self.files:
            return _error(404, "not_found", "Not Found")
        elif (taken := self._taken(parent, name)) is not None:
            return _conflict(taken)
        if self.used_bytes() + len(content) > self.room_bytes:
            return _error(403, "storage_limit_exceeded", "Account storage limit reached")
        if file_id:
            stored = self.files[file_id]
            stored.content, stored.number = content, self.next_number()
        else:
            stored = Stored(name, content, str(self.next_number() + 10_000), parent)
            self.changed(stored)
            self.files[stored.id] = stored
        return json_answer({"total_count": 1, "entries": [_item(stored)]}, 201)

    def _begin(self, about: dict[str, Any], file_id: str) -> Response:
        if about["file_size"] < self.session_min_bytes:
            return _error(400, "file_size_too_small", "The file is too small for an upload session")
        if not file_id and (taken := self._taken(about["folder_id"], about["file_name"])) is not None:
            return _conflict(taken)
        session = secrets.token_hex(16).upper()
        self.sessions[session] = (about, file_id, {})
        total = -(-about["file_size"] // self.part_bytes)
        own = f"https://upload.box.com/api/2.0/files/upload_sessions/{session}"
        return json_answer(
            {
                "id": session, "type": "upload_session", "part_size": self.part_bytes, "total_parts": total,
                "num_parts_processed": 0, "session_expires_at": "2030-04-18T01:45:15Z",
                "session_endpoints": {"upload_part": own, "commit": f"{own}/commit", "abort": own},
            },
            201,
        )  # fmt: skip

    def _part(self, request: Request, session: str, body: bytes) -> Response:
        if session not in self.sessions:
            return _error(404, "not_found", "Not Found")
        about, _, parts = self.sessions[session]
        start = int(request.headers["content-range"].removeprefix("bytes ").partition("-")[0])
        digest = hashlib.sha1(body, usedforsecurity=False)
        if request.headers["digest"] != f"sha={base64.b64encode(digest.digest()).decode()}":
            return _error(412, "part_sha_mismatch", "The hash of the part is not the one that was sent")
        if start % self.part_bytes or (start + len(body) < about["file_size"] and len(body) != self.part_bytes):
            return _error(416, "range_mismatch", "The part does not begin or end where a part does")
        parts[start] = body
        made = {"part_id": secrets.token_hex(4).upper(), "offset": start, "size": len(body), "sha1": digest.hexdigest()}
        return json_answer({"part": made})

    def _commit(self, request: Request, session: str, about: dict[str, Any]) -> Response:
        if self.commits_pending > 0:
            self.commits_pending -= 1
            return Response(status_code=202, headers={"retry-after": "0"})
        begun, file_id, parts = self.sessions[session]
        content = b"".join(parts[start] for start in sorted(parts))
        digest = base64.b64encode(hashlib.sha1(content, usedforsecurity=False).digest()).decode()
        if len(content) != begun["file_size"] or request.headers["digest"] != f"sha={digest}":
            return _error(412, "sha1_mismatch", "The hash of the content is not the one that was sent")
        if len(about["parts"]) != len(parts):
            return _error(400, "parts_mismatch", "Parts are missing")
        del self.sessions[session]
        return self._put(begun.get("file_name", ""), begun.get("folder_id", ""), file_id, content)


def _item(stored: Stored) -> dict[str, Any]:
    when = f"2026-01-01T{stored.number // 3600 % 24:02d}:{stored.number // 60 % 60:02d}:{stored.number % 60:02d}-08:00"
    found: dict[str, Any] = {
        "type": "folder" if stored.folder else "file", "id": stored.id, "etag": "0", "name": stored.name,
        "size": len(stored.content), "modified_at": when,
    }  # fmt: skip
    if not stored.folder:
        found["sha1"] = hashlib.sha1(stored.content, usedforsecurity=False).hexdigest()
    return found


def _conflict(taken: Stored) -> Response:
    item = _item(taken)
    kept = {name: item[name] for name in ("type", "id", "etag", "name", "sha1") if name in item}
    context = {"conflicts": [kept] if taken.folder else kept}
    return _error(409, "item_name_in_use", "Item with the same name already exists", context)


def _error(status: int, code: str, message: str, context: object = None) -> Response:
    found = {
        "type": "error", "status": status, "code": code, "message": message, "request_id": "abcdef123456",
        "help_url": "http://developers.box.com/docs/#errors",
    }  # fmt: skip
    if context is not None:
        found["context_info"] = context
    return json_answer(found, status)
