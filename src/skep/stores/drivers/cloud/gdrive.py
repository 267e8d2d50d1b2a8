"""Google Drive, API v3. Source: https://developers.google.com/drive/api/reference/rest/v3 and the guides beside it
(uploads, downloads, search, handling errors), 2025.

Its truth:
- files have ids; a name is a label, and one folder may have several files of one name. The newest counts, a deletion
  deletes all of them, and of two markers the oldest counts;
- an upload of up to 5 MB is one request (multipart/related), more goes through a resumable session in parts of a
  multiple of 256 KiB, which can be asked how far it is (308 with a Range header);
- ``md5Checksum`` and ``size`` are compared after an upload;
- a search may lag behind: ids that this process knows are used first, and learned from every listing;
- rate limits are status 403 (``userRateLimitExceeded``) or 429; Google asks for exponential pauses;
- the scope ``drive.file`` shows us our own files alone; a deletion is final and skips the trash.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import AsyncIterator, Mapping
from typing import Any

import msgspec

from skep.base.clock import Clock
from skep.base.errors import ObjectNotFound, SkepError, StoreFull, StoreReadOnly, StoreRefused, StoreUnavailable
from skep.stores.access import CloudAccess
from skep.stores.drivers.cloud.base import (
    OBJECT_SIZE_MAX_BYTES,
    Account,
    Entry,
    digest_of,
    items_of,
    number_of,
    text_of,
)
from skep.stores.drivers.cloud.config import BearerTokens
from skep.stores.drivers.cloud.http import Http, Reply, range_header, ranged_body
from skep.stores.drivers.cloud.ids import FileIds, FolderId
from skep.stores.marker import MARKER_NAME
from skep.stores.protocol import Properties, Usage

SINGLE_MAX_BYTES = 5_000_000
PART_BYTES = 32 << 20
FOLDER_TYPE = "application/vnd.google-apps.folder"
PAGES_MAX = 10_000
_FIELDS = "id,name,size,md5Checksum,modifiedTime,createdTime,trashed"
_SLOW = frozenset({"rateLimitExceeded", "userRateLimitExceeded", "sharingRateLimitExceeded", "dailyLimitExceeded"})
_FULL = frozenset(
    {"storageQuotaExceeded", "quotaExceeded", "teamDriveFileLimitExceeded", "numChildrenInNonRootLimitExceeded"}
)
_READ_ONLY = frozenset({"insufficientFilePermissions", "cannotAddParent"})
_RESUMES_MAX = 8


def md5_of(value: bytes) -> str:
    """As ``md5Checksum`` writes it."""
    return hashlib.md5(value, usedforsecurity=False).hexdigest()


class GoogleDrive:
    """See ``Remote``."""

    def __init__(
        self,
        access: CloudAccess,
        clock: Clock,
        *,
        single_max_bytes: int = SINGLE_MAX_BYTES,
        part_bytes: int = PART_BYTES,
        timeout_s: float = 60.0,
    ) -> None:
        self.place = f"the Google Drive folder {access.folder}"
        self.properties = Properties("gdrive", True, OBJECT_SIZE_MAX_BYTES, listing_is_consistent=False, concurrency=8)
        self._access = access
        self._http = Http(self.place, BearerTokens(access), clock, connections=8, timeout_s=timeout_s)
        self._single_max_bytes = single_max_bytes
        self._part_bytes = part_bytes
        self._folder = FolderId(access.folder, "root", self._step)
        self._ids = FileIds()

    async def _call(self, method: str, path: str, params: Mapping[str, str], **options: Any) -> Reply:
        return await self._http.call(method, f"{self._access.provider.api_url}/{path}", params=params, **options)

    def _error(self, reply: Reply, doing: str) -> SkepError:
        """The one table from Drive's errors to ours."""
        reasons = {text_of(item, "reason") for item in items_of(reply.json(), "error", "errors")}
        if reasons & _SLOW:
            return self._http.slow_down(reply)
        if reasons & _FULL:
            return StoreFull(f"{self.place}: the account has no room left: free some, or add a store")
        if reasons & _READ_ONLY:
            return StoreReadOnly(f"{self.place} takes no writes: look at the account")
        reason = next(iter(sorted(reasons)), "")
        if reply.status == 403:
            return StoreRefused(f"{self.place}: Google refuses {doing} ({reason[:60] or 403})")
        return self._http.unexpected(reply, doing, reason)

    # --- names to ids -----------------------------------------------------------------------

    async def _step(self, name: str, parent: str, *, make: bool) -> str:
        found = await self._search(f"name = '{name}' and mimeType = '{FOLDER_TYPE}'", parent)
        if found:
            return text_of(min(found, key=lambda item: (text_of(item, "createdTime"), text_of(item, "id"))), "id")
        return await self._make_folder(name, parent) if make else ""

    async def _make_folder(self, name: str, parent: str) -> str:
        body = {"name": name, "mimeType": FOLDER_TYPE, "parents": [parent]}
        reply = await self._call("POST", "files", {"fields": _FIELDS}, json=body)
        if reply.status != 200 or not text_of(reply.json(), "id"):
            raise self._error(reply, "making a folder")
        return text_of(reply.json(), "id")

    async def _search(self, terms: str, parent: str) -> list[Any]:
        """All files of a folder that fit."""
        return [item async for item in self._pages(f"{terms} and '{parent}' in parents and trashed = false")]

    async def _pages(self, query: str) -> AsyncIterator[Any]:
        params = {"q": query, "pageSize": "1000", "spaces": "drive", "fields": f"nextPageToken,files({_FIELDS})"}
        for _ in range(PAGES_MAX):
            reply = await self._call("GET", "files", params)
            if reply.status != 200:
                raise self._error(reply, "listing the folder")
            for item in items_of(reply.json(), "files"):
                yield item
            token = text_of(reply.json(), "nextPageToken")
            if not token:
                return
            params["pageToken"] = token
        raise StoreUnavailable(f"{self.place}: the listing does not end")

    async def _named(self, name: str) -> list[Entry]:
        """All files of a name as a search shows them, the one that counts first."""
        folder = await self._folder.get(make=False)
        if not folder:
            return []
        found = [entry for item in await self._search(f"name = '{name}'", folder) if (entry := _entry(item))]
        return sorted(found, key=lambda entry: entry.rank, reverse=name != MARKER_NAME)

    async def _id_of(self, name: str) -> str:
        """Known, or searched for; empty when there is none."""
        known = self._ids.get(name)
        if known:
            return known
        found = await self._named(name)
        if found:
            self._ids.learn(name, found[0].id)
        return found[0].id if found else ""

    # --- the verbs --------------------------------------------------------------------------

    async def write(self, name: str, value: bytes) -> Entry:
        digest = await digest_of(md5_of, value)
        file_id = await self._id_of(name)
        reply = await self._upload(name, value, file_id)
        if reply.status == 404 and file_id:
            self._ids.forget(name)
            reply = await self._upload(name, value, "")
        if reply.status == 404:
            self._folder.forget()  # somebody deleted the folder: it is made anew with the next try
        if reply.status not in (200, 201):
            raise self._error(reply, "taking a file")
        found = reply.json()
        if text_of(found, "md5Checksum") != digest or number_of(found, "size") != len(value):
            raise StoreUnavailable(f"{self.place} holds other bytes than were sent as {name}")
        self._ids.learn(name, text_of(found, "id"))
        return Entry(name, len(value), text_of(found, "id"), _rank(found))

    async def _upload(self, name: str, value: bytes, file_id: str) -> Reply:
        """A new file, or a new content for the file of that id."""
        method, url = ("PATCH", f"/files/{file_id}") if file_id else ("POST", "/files")
        url = self._access.provider.content_url + url
        about: dict[str, object] = {"name": name}
        if not file_id:
            about["parents"] = [await self._folder.get(make=True)]
        if len(value) <= self._single_max_bytes:
            kind, body = _related(about, value)
            params = {"uploadType": "multipart", "fields": _FIELDS}
            return await self._http.call(method, url, params=params, content=body, headers={"content-type": kind})
        return await self._resumable(method, url, about, value)

    async def _resumable(self, method: str, url: str, about: object, value: bytes) -> Reply:
        reply = await self._http.call(
            method,
            url,
            params={"uploadType": "resumable", "fields": _FIELDS},
            json=about,
            headers={
                "x-upload-content-length": str(len(value)),
                "x-upload-content-type": "application/octet-stream",
            },
        )
        session = reply.headers.get("location", "")
        if reply.status != 200:
            return reply
        if not session.startswith(self._access.provider.content_url.partition("/upload")[0]):
            raise StoreUnavailable(f"{self.place} named another host to upload to")
        offset, resumes = 0, 0
        while True:
            end = min(offset + self._part_bytes, len(value))
            try:
                reply = await self._send_part(session, value[offset:end], offset, len(value))
                if reply.status >= 500:
                    raise self._error(reply, "taking a part")
            except StoreUnavailable as error:
                resumes += 1
                if resumes > _RESUMES_MAX or "retry_after_s" in error.details:
                    raise
                reply = await self._send_part(session, b"", None, len(value))
            if reply.status != 308:
                return reply
            offset = _received(reply)

    async def _send_part(self, session: str, part: bytes, offset: int | None, total: int) -> Reply:
        """A part, or (without an offset) the question how far it is."""
        span = "*" if offset is None else f"{offset}-{offset + len(part) - 1}"
        headers = {"content-range": f"bytes {span}/{total}", "content-type": "application/octet-stream"}
        return await self._http.call("PUT", session, content=part, headers=headers)

    async def create(self, name: str, value: bytes) -> bool:
        """Names are not unique: who comes later finds the older file and takes its own away."""
        if await self._named(name):
            return False
        reply = await self._upload(name, value, "")
        if reply.status not in (200, 201):
            raise self._error(reply, "taking the marker")
        own = text_of(reply.json(), "id")
        found = await self._named(name)
        if found and found[0].id != own:
            await self._call("DELETE", f"files/{own}", {})
            return False
        self._ids.learn(name, own)
        return True

    async def read(self, name: str, offset: int, length: int | None) -> bytes:
        for _ in range(2):
            file_id = await self._id_of(name)
            if not file_id:
                break
            reply = await self._call(
                "GET", f"files/{file_id}", {"alt": "media"}, headers=range_header(offset, length),
                limit_bytes=OBJECT_SIZE_MAX_BYTES,
            )  # fmt: skip
            if reply.status in (200, 206):
                return ranged_body(reply, offset, length, self.place)
            if reply.status == 416:
                return b""
            if reply.status != 404:
                raise self._error(reply, "giving a file")
            self._ids.forget(name)
        raise ObjectNotFound(f"there is no file {name}")

    async def find(self, name: str) -> Entry | None:
        known = self._ids.get(name)
        if known and (entry := await self._look(known)) is not None:
            return entry
        self._ids.forget(name)
        for found in await self._named(name):
            if found.id != known and (entry := await self._look(found.id)) is not None:  # a search may show the past
                self._ids.learn(name, entry.id)
                return entry
        return None

    async def _look(self, file_id: str) -> Entry | None:
        """A file by its id, which never lags."""
        reply = await self._call("GET", f"files/{file_id}", {"fields": _FIELDS})
        if reply.status not in (200, 404):
            raise self._error(reply, "finding a file")
        return _entry(reply.json()) if reply.status == 200 else None

    async def remove(self, name: str) -> None:
        known = self._ids.forget(name)
        ids = {entry.id for entry in await self._named(name)} | ({known} if known else set())
        for file_id in sorted(ids):
            reply = await self._call("DELETE", f"files/{file_id}", {})
            if reply.status not in (200, 204, 404):
                raise self._error(reply, "deleting a file")

    async def entries(self) -> AsyncIterator[Entry]:
        folder = await self._folder.get(make=False)
        if not folder:
            return
        newest: dict[str, str] = {}
        async for item in self._pages(f"'{folder}' in parents and trashed = false"):
            entry = _entry(item)
            if entry is not None:
                if entry.rank >= newest.get(entry.name, "") and entry.name not in self._ids:
                    newest[entry.name] = entry.rank
                    self._ids.learn(entry.name, entry.id)
                yield entry

    async def usage(self) -> Usage:
        """The room that is left in the account; other files count too, so what is used is not told."""
        reply = await self._call("GET", "about", {"fields": "storageQuota"})
        if reply.status != 200:
            raise self._error(reply, "telling its room")
        limit = number_of(reply.json(), "storageQuota", "limit")
        used = number_of(reply.json(), "storageQuota", "usage")
        return Usage(None, None if limit is None or used is None else max(0, limit - used))

    async def account(self) -> Account:
        reply = await self._call("GET", "about", {"fields": "user"})
        account = text_of(reply.json(), "user", "permissionId")
        if reply.status != 200 or not account:
            raise self._error(reply, "telling whose account it is")
        return Account(account, text_of(reply.json(), "user", "emailAddress") or account)

    async def close(self) -> None:
        await self._http.close()


def _entry(item: Any) -> Entry | None:
    size_bytes = number_of(item, "size")
    if size_bytes is None or not text_of(item, "id") or item.get("trashed") is True:
        return None
    return Entry(text_of(item, "name"), size_bytes, text_of(item, "id"), _rank(item))


def _rank(item: Any) -> str:
    """The newer of two files ranks higher."""
    return f"{text_of(item, 'modifiedTime')} {text_of(item, 'createdTime')} {text_of(item, 'id')}"


def _received(reply: Reply) -> int:
    """How many bytes a session has: ``Range: bytes=0-524287``, or none."""
    last = reply.headers.get("range", "").removeprefix("bytes=0-")
    return int(last) + 1 if last.isdecimal() else 0


def _related(about: object, value: bytes) -> tuple[str, bytes]:
    """A multipart/related body (RFC 2387): metadata, then content."""
    boundary = f"skep-{secrets.token_hex(16)}"
    head = (
        f"--{boundary}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n".encode()
        + msgspec.json.encode(about)
        + f"\r\n--{boundary}\r\nContent-Type: application/octet-stream\r\n\r\n".encode()
    )
    return f"multipart/related; boundary={boundary}", b"".join((head, value, f"\r\n--{boundary}--\r\n".encode()))
