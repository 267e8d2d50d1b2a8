"""A double of Dropbox's API v2: https://www.dropbox.com/developers/documentation/http/documentation"""

from __future__ import annotations

import json
import secrets
from typing import Any, ClassVar

from starlette.requests import Request
from starlette.responses import Response

from skep.stores.drivers.cloud.dropbox import content_hash
from skep.testing.clouds.base import CloudDouble, Stored, json_answer, ranged

PAGE_MAX = 2_000
BATCH_MAX = 1_000
SMALL_BATCH = 3
"""Below this a batch is done at once."""
REQUEST_MAX_BYTES = 150 * 1000 * 1000


class DropboxDouble(CloudDouble):
    """Files by lower-case path. ``page_max`` makes listings of several pages."""

    name: ClassVar[str] = "dropbox"

    def __init__(self, *, page_max: int = PAGE_MAX, **options: Any) -> None:
        super().__init__(**options)
        self.account_id = "dbid:AAH4f99T0taONIb-OurWxbNQ6ywGRopQngc"
        self.page_max = page_max
        self.sessions: dict[str, bytearray] = {}
        self.jobs: dict[str, list[dict[str, Any]]] = {}
        """What each deletion of a batch answers when it is asked for, in order; the last again and again."""
        self.cursors: dict[str, list[dict[str, Any]]] = {}

    async def revoke(self, request: Request, body: bytes) -> Response:
        """``/2/auth/token/revoke`` ends the token that it is called with, and its refresh token."""
        if not self.authorized(request):
            return _error(401, "invalid_access_token/")
        self.withdraw()
        return json_answer(None)

    async def answer(self, request: Request, body: bytes) -> Response:
        if not self.authorized(request):
            return _error(401, "expired_access_token/")
        if request.method != "POST":
            return Response("Error in call: only POST", 400)
        host, _, route = request.url.path.lstrip("/").partition("/2/")
        try:
            raw = request.headers["dropbox-api-arg"].encode() if host.startswith("content.") else body
            argument = json.loads(raw)
        except (KeyError, ValueError):
            return Response(f'Error in call to API function "{route}": could not decode input as JSON', 400)
        match host, route:
            case "content.dropboxapi.com", "files/upload":
                return self._upload(argument, argument, body)
            case "content.dropboxapi.com", "files/download":
                return self._download(request, argument)
            case "content.dropboxapi.com", "files/upload_session/start":
                return self._start(argument, body)
            case "content.dropboxapi.com", "files/upload_session/append_v2":
                return self._append(argument, body) or json_answer(None)
            case "content.dropboxapi.com", "files/upload_session/finish":
                return self._finish(argument, body)
            case "api.dropboxapi.com", "files/get_metadata":
                found = self.files.get(argument["path"].lower())
                return json_answer(_metadata(found)) if found else _error(409, "path/not_found/", _path("not_found"))
            case "api.dropboxapi.com", "files/delete_v2":
                return self._delete(argument["path"].lower())
            case "api.dropboxapi.com", "files/delete_batch":
                return self._delete_batch(argument["entries"])
            case "api.dropboxapi.com", "files/delete_batch/check":
                return self._check_batch(argument["async_job_id"])
            case "api.dropboxapi.com", "files/list_folder":
                return self._list(argument)
            case "api.dropboxapi.com", "files/list_folder/continue":
                return self._page(argument["cursor"])
            case "api.dropboxapi.com", "users/get_space_usage":
                allocation = {".tag": "individual", "allocated": self.room_bytes}
                return json_answer({"used": self.used_bytes(), "allocation": allocation})
            case "api.dropboxapi.com", "users/get_current_account":
                return json_answer(self._account())
        return Response(f"Unknown API function: {route}", 404)

    def _account(self) -> dict[str, Any]:
        return {
            "account_id": self.account_id,
            "name": {"given_name": "Ada", "surname": "L", "familiar_name": "Ada", "display_name": "Ada L",
                     "abbreviated_name": "AL"},
            "email": self.label, "email_verified": True, "disabled": False, "locale": "en", "country": "GB",
            "referral_link": "https://db.tt/ZITNuhtI", "is_paired": False, "account_type": {".tag": "basic"},
        }  # fmt: skip

    def _upload(self, argument: Any, commit: Any, body: bytes) -> Response:
        if len(body) > REQUEST_MAX_BYTES:
            return _error(409, "payload_too_large/")
        if (sent := argument.get("content_hash")) and sent != content_hash(body):
            return _error(409, "content_hash_mismatch/")
        return self._commit(commit, body)

    def _commit(self, commit: Any, content: bytes) -> Response:
        path: str = commit["path"]
        old = self.files.get(path.lower())
        if old is not None and commit.get("mode", "add") == "add":
            if old.content == content and not commit.get("strict_conflict"):
                return json_answer(_metadata(old))
            return _error(409, "path/conflict/file/", _path("conflict"))
        if self.used_bytes() + len(content) > self.room_bytes:
            return _error(409, "path/insufficient_space/", _path("insufficient_space"))
        parent, _, name = path.rpartition("/")
        self._make_parents(parent)
        new = Stored(name, content, old.id if old else f"id:{secrets.token_urlsafe(16)}", parent.lower())
        self.changed(new)
        if old is not None:
            new.listed_from = 0
        self.files[path.lower()] = new
        return json_answer({k: v for k, v in _metadata(new).items() if k != ".tag"})

    def _make_parents(self, path: str) -> None:
        while path and path.lower() not in self.files:
            parent, _, name = path.rpartition("/")
            self.files[path.lower()] = Stored(name, b"", f"id:{secrets.token_urlsafe(16)}", parent.lower(), folder=True)
            path = parent

    def _download(self, request: Request, argument: Any) -> Response:
        found = self.files.get(argument["path"].lower())
        if found is None or found.folder:
            return _error(409, "path/not_found/", _path("not_found"))
        result = {k: v for k, v in _metadata(found).items() if k != ".tag"}
        return ranged(request, found.content, {"dropbox-api-result": json.dumps(result)})

    def _start(self, argument: Any, body: bytes) -> Response:
        session = f"pid_upload_session:{secrets.token_urlsafe(12)}"
        self.sessions[session] = bytearray(body)
        return json_answer({"session_id": session})

    def _append(self, argument: Any, body: bytes) -> Response | None:
        cursor = argument["cursor"]
        session = self.sessions.get(cursor["session_id"])
        if session is None:
            return _error(409, "not_found/", {".tag": "not_found"})
        if cursor["offset"] != len(session):
            return _error(409, "incorrect_offset/", {".tag": "incorrect_offset", "correct_offset": len(session)})
        if (sent := argument.get("content_hash")) and sent != content_hash(body):
            return _error(409, "content_hash_mismatch/")
        session += body
        return None

    def _finish(self, argument: Any, body: bytes) -> Response:
        failure = self._append(argument, body)
        if failure is not None:
            return failure
        return self._commit(argument["commit"], bytes(self.sessions.pop(argument["cursor"]["session_id"])))

    def _delete(self, path: str) -> Response:
        found = self.files.pop(path, None)
        if found is None:
            return _error(409, "path_lookup/not_found/", {".tag": "path_lookup", "path_lookup": {".tag": "not_found"}})
        self.gone(found)
        return json_answer({"metadata": _metadata(found)})

    def _delete_batch(self, entries: Any) -> Response:
        """It is done at the second question, as one that takes a while; small ones at once."""
        if len(entries) > BATCH_MAX:
            return Response('Error in call to API function "files/delete_batch": entries: too many items', 400)
        results = []
        for entry in entries:
            answer = json.loads(bytes(self._delete(entry["path"].lower()).body))
            if "error" in answer:
                results.append({".tag": "failure", "failure": answer["error"]})
            else:
                results.append({".tag": "success", "metadata": answer["metadata"]})
        complete = {".tag": "complete", "entries": results}
        if len(entries) < SMALL_BATCH:
            return json_answer(complete)
        job = f"dbjid:{secrets.token_urlsafe(12)}"
        self.jobs[job] = [{".tag": "in_progress"}, complete]
        return json_answer({".tag": "async_job_id", "async_job_id": job})

    def _check_batch(self, job: str) -> Response:
        answers = self.jobs.get(job)
        if answers is None:
            return _error(409, "invalid_async_job_id/", {".tag": "invalid_async_job_id"})
        return json_answer(answers.pop(0) if len(answers) > 1 else answers[0])

    def _list(self, argument: Any) -> Response:
        path = argument["path"].lower()
        if path and path not in self.files:
            return _error(409, "path/not_found/", _path("not_found"))
        cursor = secrets.token_urlsafe(20)
        self.cursors[cursor] = [_metadata(stored) for stored in self.listing(path)]
        return self._page(cursor, min(self.page_max, argument.get("limit", PAGE_MAX)))

    def _page(self, cursor: str, size: int | None = None) -> Response:
        if cursor not in self.cursors:
            return _error(409, "reset/", {".tag": "reset"})
        rest = self.cursors.pop(cursor)
        following = secrets.token_urlsafe(20)
        size = size or self.page_max
        self.cursors[following] = rest[size:]
        return json_answer({"entries": rest[:size], "cursor": following, "has_more": len(rest) > size})


def _metadata(stored: Stored) -> dict[str, Any]:
    path = f"{stored.parent}/{stored.name}"
    known = {"name": stored.name, "id": stored.id, "path_lower": path.lower(), "path_display": path}
    if stored.folder:
        return {".tag": "folder", **known}
    when = f"2026-01-01T{stored.number // 3600 % 24:02d}:{stored.number // 60 % 60:02d}:{stored.number % 60:02d}Z"
    return {
        ".tag": "file", **known, "client_modified": when, "server_modified": when, "rev": f"{stored.number:015x}",
        "size": len(stored.content), "is_downloadable": True, "content_hash": content_hash(stored.content),
    }  # fmt: skip


def _path(tag: str) -> dict[str, Any]:
    return {".tag": "path", "path": {".tag": tag}}


def _error(status: int, summary: str, error: object = None) -> Response:
    tag = summary.partition("/")[0]
    return json_answer({"error_summary": summary, "error": error or {".tag": tag}}, status)
