"""OneDrive, through Microsoft Graph v1.0. Source: https://learn.microsoft.com/graph/api/resources/onedrive and the
pages of the calls below it (2025).

Its truth:
- files are named by their path below the drive's root; names fold case, and some are refused (``names.py``);
- one request uploads up to 250 MB; above 10 MB Microsoft advises a session: parts of a multiple of 320 KiB, in order,
  to an address of its own that takes no token and tells which part it wants next;
- a download is a redirect to an address that is good for an hour and takes no token;
- ``file.hashes.quickXorHash`` and ``size`` are compared after an upload; where an account gives no hash, size alone;
- ``429`` and ``503`` say in ``Retry-After`` how long to wait, and calls before that count against us;
- a deleted file goes to the recycle bin and counts against the quota until that is emptied (30 days, at work 93);
- nothing is promised of how soon a listing shows a change.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote, urlsplit

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
from skep.stores.drivers.cloud.quickxor import quick_xor_hash
from skep.stores.protocol import Properties, Usage

SINGLE_MAX_BYTES = 10 << 20
PART_BYTES = 100 * (320 << 10)
PAGES_MAX = 10_000
_RESUMES_MAX = 8
_FULL = frozenset({"quotaLimitReached", "quotaExceeded", "insufficientStorage"})
_SLOW = frozenset({"activityLimitReached", "tooManyRequests", "throttledRequest"})


class OneDrive:
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
        self.place = f"the OneDrive folder {access.folder}"
        self.properties = Properties(
            "onedrive", True, OBJECT_SIZE_MAX_BYTES, listing_is_consistent=False, concurrency=8
        )
        self._access = access
        self._http = Http(self.place, BearerTokens(access), clock, connections=8, timeout_s=timeout_s)
        self._single_max_bytes = single_max_bytes
        self._part_bytes = part_bytes

    def _url(self, path: str, verb: str = "") -> str:
        """An item by its path below the root; ``verb`` as ``:/content``."""
        return f"{self._access.provider.api_url}/me/drive/root:/{quote(path)}{verb}"

    def _file(self, name: str, verb: str = "") -> str:
        return self._url(f"{self._access.folder}/{name}", verb)

    def _error(self, reply: Reply, doing: str) -> SkepError:
        """The one table from Graph's errors to ours."""
        code = text_of(reply.json(), "error", "code")
        if code in _SLOW or reply.status == 509:
            return self._http.slow_down(reply)
        if code in _FULL or reply.status == 507:
            return StoreFull(f"{self.place}: the account has no room left: free some, or add a store")
        if code == "notAllowed" or reply.status == 423:
            return StoreReadOnly(f"{self.place} takes no writes ({code[:60]}): look at the account")
        if reply.status == 403:
            return StoreRefused(f"{self.place}: Microsoft refuses {doing} ({code[:60] or 403})")
        return self._http.unexpected(reply, doing, code)

    async def write(self, name: str, value: bytes) -> Entry:
        digest = await digest_of(quick_xor_hash, value)
        reply = await self._upload(name, value, "replace")
        if reply.status == 404:
            await self._make_folder()
            reply = await self._upload(name, value, "replace")
        if reply.status not in (200, 201):
            raise self._error(reply, "taking a file")
        found = reply.json()
        shown = text_of(found, "file", "hashes", "quickXorHash")
        if number_of(found, "size") != len(value) or (shown and shown != digest):
            raise StoreUnavailable(f"{self.place} holds other bytes than were sent as {name}")
        return Entry(name, len(value), text_of(found, "id"))

    async def _upload(self, name: str, value: bytes, conflict: str) -> Reply:
        if len(value) <= self._single_max_bytes:
            return await self._http.call(
                "PUT",
                self._file(name, ":/content"),
                params={"@microsoft.graph.conflictBehavior": conflict},
                content=value,
                headers={"content-type": "application/octet-stream"},
            )
        body = {"item": {"@microsoft.graph.conflictBehavior": conflict}}
        reply = await self._http.call("POST", self._file(name, ":/createUploadSession"), json=body)
        if reply.status != 200:
            return reply
        return await self._in_session(self._outside(text_of(reply.json(), "uploadUrl")), value)

    async def _in_session(self, url: str, value: bytes) -> Reply:
        offset, resumes = 0, 0
        while True:
            end = min(offset + self._part_bytes, len(value))
            span = {"content-range": f"bytes {offset}-{end - 1}/{len(value)}"}
            try:
                reply = await self._http.call("PUT", url, content=value[offset:end], headers=span, authorized=False)
                if reply.status in (200, 201) or reply.status not in (202, 416, 500, 502, 503, 504):
                    return reply
            except StoreUnavailable as error:
                reply = None
                if "retry_after_s" in error.details:
                    raise
            if reply is None or reply.status != 202:
                resumes += 1
                if resumes > _RESUMES_MAX:
                    raise StoreUnavailable(f"{self.place} broke an upload off too often")
                reply = await self._http.call("GET", url, authorized=False)
                if reply.status != 200:
                    raise self._error(reply, "resuming an upload")
            offset = _next_offset(reply, len(value))

    def _outside(self, url: str) -> str:
        """An address that the provider named for one file. Without a token, hence any host; but not without TLS."""
        own = urlsplit(self._access.provider.api_url)
        there = urlsplit(url)
        if there.scheme != "https" and there.netloc != own.netloc:
            raise StoreUnavailable(f"{self.place} named an address without encryption")
        return url

    async def _make_folder(self) -> None:
        above = f"{self._access.provider.api_url}/me/drive/root/children"
        done = ""
        for name in self._access.folder.split("/"):
            body = {"name": name, "folder": {}, "@microsoft.graph.conflictBehavior": "fail"}
            reply = await self._http.call("POST", above, json=body)
            if reply.status not in (200, 201, 409):
                raise self._error(reply, "making a folder")
            done = f"{done}/{name}".lstrip("/")
            above = self._url(done, ":/children")

    async def create(self, name: str, value: bytes) -> bool:
        reply = await self._upload(name, value, "fail")
        if reply.status == 404:
            await self._make_folder()
            reply = await self._upload(name, value, "fail")
        if reply.status == 409:
            return False
        if reply.status not in (200, 201):
            raise self._error(reply, "taking the marker")
        return True

    async def read(self, name: str, offset: int, length: int | None) -> bytes:
        reply = await self._http.call("GET", self._file(name, ":/content"), headers=range_header(offset, length))
        if reply.status == 302:
            reply = await self._http.call(
                "GET",
                self._outside(reply.headers.get("location", "")),
                headers=range_header(offset, length),
                authorized=False,
                limit_bytes=OBJECT_SIZE_MAX_BYTES,
            )
        if reply.status in (200, 206):
            return ranged_body(reply, offset, length, self.place)
        if reply.status == 416:
            return b""
        if reply.status == 404:
            raise ObjectNotFound(f"there is no file {name}")
        raise self._error(reply, "giving a file")

    async def find(self, name: str) -> Entry | None:
        reply = await self._http.call("GET", self._file(name), params={"$select": "id,name,size,file"})
        if reply.status == 404:
            return None
        if reply.status != 200:
            raise self._error(reply, "finding a file")
        return _entry(reply.json())

    async def remove(self, name: str) -> None:
        reply = await self._http.call("DELETE", self._file(name))
        if reply.status not in (200, 204, 404):
            raise self._error(reply, "deleting a file")

    async def entries(self) -> AsyncIterator[Entry]:
        url = self._url(self._access.folder, ":/children?$top=1000&$select=id,name,size,file,lastModifiedDateTime")
        for number in range(PAGES_MAX):
            reply = await self._http.call("GET", url)
            if reply.status == 404 and number == 0:
                return
            if reply.status != 200:
                raise self._error(reply, "listing the folder")
            for item in items_of(reply.json(), "value"):
                entry = _entry(item)
                if entry is not None:
                    yield entry
            url = text_of(reply.json(), "@odata.nextLink")
            if not url:
                return
            if not url.startswith(f"{self._access.provider.api_url}/"):
                raise StoreUnavailable(f"{self.place} named another host for the rest of its listing")
        raise StoreUnavailable(f"{self.place}: the listing does not end")

    async def usage(self) -> Usage:
        """The room that is left in the drive; other files count too, so what is used is not told."""
        reply = await self._http.call("GET", f"{self._access.provider.api_url}/me/drive", params={"$select": "quota"})
        if reply.status != 200:
            raise self._error(reply, "telling its room")
        return Usage(None, number_of(reply.json(), "quota", "remaining"))

    async def account(self) -> Account:
        reply = await self._http.call(
            "GET", f"{self._access.provider.api_url}/me/drive", params={"$select": "id,owner"}
        )
        drive = text_of(reply.json(), "id")
        if reply.status != 200 or not drive:
            raise self._error(reply, "telling whose account it is")
        owner = reply.json().get("owner")
        return Account(drive, text_of(owner, "user", "email") or text_of(owner, "user", "displayName") or drive)

    async def close(self) -> None:
        await self._http.close()


def _entry(item: Any) -> Entry | None:
    """A file's metadata; None for a folder."""
    size_bytes = number_of(item, "size")
    if size_bytes is None or not isinstance(item.get("file"), dict):
        return None
    return Entry(text_of(item, "name"), size_bytes, text_of(item, "id"), text_of(item, "lastModifiedDateTime"))


def _next_offset(reply: Reply, size_bytes: int) -> int:
    """The first range that the session wants: ``["26-"]`` or ``["26-100"]``."""
    ranges = reply.json().get("nextExpectedRanges")
    first = ranges[0].partition("-")[0] if isinstance(ranges, list) and ranges and isinstance(ranges[0], str) else ""
    if not first.isdecimal() or int(first) >= size_bytes:
        raise StoreUnavailable("an upload session of OneDrive wants no part, and is not done")
    return int(first)
