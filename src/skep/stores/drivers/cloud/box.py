"""Box, API 2.0. Source: https://developer.box.com/reference/ and https://developer.box.com/guides/ (2025).

Its truth:
- files and folders have ids, names are unique in a folder: a second file of a name is 409 ``item_name_in_use``, and the
  conflict names the id of the first. The preflight check (OPTIONS) is thus a look-up by name;
- one request uploads up to 50 MB, an upload session more, in parts of the size that Box says, each with its SHA-1;
- SHA-1 is sent along (in ``Content-MD5``) and ``sha1`` and ``size`` compared afterwards;
- a download is a redirect; a file that is not ready says 202 with ``Retry-After``;
- a deleted file goes to the trash and is deleted from there too, where the account lets us;
- refreshing uses the refresh token up; an unused one ends after 60 days;
- listings by marker; nothing is promised of how soon they show a change.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

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
from skep.stores.protocol import Properties, Usage

SINGLE_MAX_BYTES = 50_000_000
PAGES_MAX = 10_000
_FIELDS = "id,type,name,size,sha1,modified_at"
_COMMITS_MAX = 20
_PART_MAX_BYTES = 128 << 20


def sha1_of(value: bytes) -> str:
    """As ``sha1`` writes it."""
    return hashlib.sha1(value, usedforsecurity=False).hexdigest()


class Box:
    """See ``Remote``."""

    def __init__(
        self,
        access: CloudAccess,
        clock: Clock,
        *,
        single_max_bytes: int = SINGLE_MAX_BYTES,
        timeout_s: float = 60.0,
    ) -> None:
        self.place = f"the Box folder {access.folder}"
        self.properties = Properties("box", True, OBJECT_SIZE_MAX_BYTES, listing_is_consistent=False, concurrency=8)
        self._access = access
        self._clock = clock
        self._http = Http(self.place, BearerTokens(access), clock, connections=8, timeout_s=timeout_s)
        self._single_max_bytes = single_max_bytes
        self._folder = FolderId(access.folder, "0", self._step)
        self._ids = FileIds()

    async def _api(self, method: str, path: str, **options: Any) -> Reply:
        return await self._http.call(method, f"{self._access.provider.api_url}/{path}", **options)

    async def _content(self, method: str, path: str, **options: Any) -> Reply:
        return await self._http.call(method, f"{self._access.provider.content_url}/{path}", **options)

    def _error(self, reply: Reply, doing: str) -> SkepError:
        """The one table from Box's errors to ours."""
        code = text_of(reply.json(), "code")
        if code == "rate_limit_exceeded" or (reply.status == 202 and "retry-after" in reply.headers):
            return self._http.slow_down(reply)
        if code == "storage_limit_exceeded":
            return StoreFull(f"{self.place}: the account has no room left: free some, or add a store")
        if code in ("access_denied_insufficient_permissions", "access_denied_item_locked"):
            return StoreReadOnly(f"{self.place} takes no writes ({code}): look at the account and the app's scopes")
        if reply.status == 403:
            return StoreRefused(f"{self.place}: Box refuses {doing} ({code[:60] or 403})")
        return self._http.unexpected(reply, doing, code)

    # --- names to ids -----------------------------------------------------------------------

    async def _step(self, name: str, parent: str, *, make: bool) -> str:
        return await (self._make_folder(name, parent) if make else self._find_folder(name, parent))

    async def _make_folder(self, name: str, parent: str) -> str:
        reply = await self._api("POST", "folders", json={"name": name, "parent": {"id": parent}})
        made = text_of(reply.json(), "id") if reply.status == 201 else _conflicting_id(reply)
        if not made:
            raise self._error(reply, "making a folder")
        return made

    async def _find_folder(self, name: str, parent: str) -> str:
        async for item in self._items(parent):
            if text_of(item, "type") == "folder" and text_of(item, "name") == name:
                return text_of(item, "id")
        return ""

    async def _items(self, folder: str) -> AsyncIterator[Any]:
        params = {"fields": _FIELDS, "limit": "1000", "usemarker": "true"}
        for number in range(PAGES_MAX):
            reply = await self._api("GET", f"folders/{folder}/items", params=params)
            if reply.status == 404 and number == 0:
                self._folder.forget()  # somebody deleted the folder: it is found or made anew
                return
            if reply.status != 200:
                raise self._error(reply, "listing a folder")
            for item in items_of(reply.json(), "entries"):
                yield item
            marker = text_of(reply.json(), "next_marker")
            if not marker:
                return
            params["marker"] = marker
        raise StoreUnavailable(f"{self.place}: the listing does not end")

    async def _id_of(self, name: str) -> str:
        """Known, or looked up by asking whether a file of the name might be uploaded; empty when there is none."""
        known = self._ids.get(name)
        if known:
            return known
        folder = await self._folder.get(make=False)
        if not folder:
            return ""
        reply = await self._api("OPTIONS", "files/content", json={"name": name, "parent": {"id": folder}, "size": 0})
        if reply.status in (200, 404):
            return ""
        found = _conflicting_id(reply)
        if not found:
            raise self._error(reply, "finding a file")
        self._ids.learn(name, found)
        return found

    # --- the verbs --------------------------------------------------------------------------

    async def write(self, name: str, value: bytes) -> Entry:
        digest = await digest_of(sha1_of, value)
        reply = await self._upload(name, value, digest, self._ids.get(name))
        if reply.status == 404:
            self._ids.forget(name)
            self._folder.forget()
            reply = await self._upload(name, value, digest, "")
        if reply.status == 409 and (taken := _conflicting_id(reply)):
            reply = await self._upload(name, value, digest, taken)
        entry = self._uploaded(reply, "taking a file")
        if text_of(entry, "sha1") != digest or number_of(entry, "size") not in (len(value), None):
            raise StoreUnavailable(f"{self.place} holds other bytes than were sent as {name}")
        self._ids.learn(name, text_of(entry, "id"))
        return Entry(name, len(value), text_of(entry, "id"))

    def _uploaded(self, reply: Reply, doing: str) -> Any:
        entries = items_of(reply.json(), "entries")
        if reply.status not in (200, 201) or not entries or not text_of(entries[0], "id"):
            raise self._error(reply, doing)
        return entries[0]

    async def _upload(self, name: str, value: bytes, digest: str, file_id: str) -> Reply:
        """A new file, or a new version of the file of that id."""
        folder = "" if file_id else await self._folder.get(make=True)
        if len(value) > self._single_max_bytes:
            return await self._in_session(name, value, digest, folder, file_id)
        about: dict[str, object] = {"name": name}
        if not file_id:
            about["parent"] = {"id": folder}
        kind, body = _form(about, value)
        path = f"files/{file_id}/content" if file_id else "files/content"
        headers = {"content-type": kind, "content-md5": digest}
        return await self._content("POST", path, params={"fields": _FIELDS}, content=body, headers=headers)

    async def _in_session(self, name: str, value: bytes, digest: str, folder: str, file_id: str) -> Reply:
        about: dict[str, object] = {"file_size": len(value)}
        path = f"files/{file_id}/upload_sessions"
        if not file_id:
            about |= {"folder_id": folder, "file_name": name}
            path = "files/upload_sessions"
        reply = await self._content("POST", path, json=about)
        session = text_of(reply.json(), "id")
        part_bytes = number_of(reply.json(), "part_size") or 0
        if reply.status != 201:
            return reply
        if not session or not 0 < part_bytes <= _PART_MAX_BYTES:
            raise self._error(reply, "beginning an upload")
        parts = []
        for at in range(0, len(value), part_bytes):
            part = value[at : at + part_bytes]
            headers = {
                "digest": _digest(await digest_of(sha1_of, part)),
                "content-range": f"bytes {at}-{at + len(part) - 1}/{len(value)}",
                "content-type": "application/octet-stream",
            }
            reply = await self._content("PUT", f"files/upload_sessions/{session}", content=part, headers=headers)
            made = reply.json().get("part") if reply.status in (200, 201) else None
            if not isinstance(made, dict):
                raise self._error(reply, "taking a part")
            parts.append(made)
        return await self._commit(session, parts, digest)

    async def _commit(self, session: str, parts: list[Any], digest: str) -> Reply:
        """Box says 202 while it is still putting the parts together."""
        for _ in range(_COMMITS_MAX):
            reply = await self._content(
                "POST",
                f"files/upload_sessions/{session}/commit",
                params={"fields": _FIELDS},
                json={"parts": parts},
                headers={"digest": _digest(digest)},
            )
            if reply.status != 202:
                return reply
            pause = reply.headers.get("retry-after", "1")
            await self._clock.sleep(min(10.0, float(pause) if pause.isdecimal() else 1.0))
        raise StoreUnavailable(f"{self.place} does not finish an upload")

    async def create(self, name: str, value: bytes) -> bool:
        reply = await self._upload(name, value, sha1_of(value), "")
        if reply.status == 409:
            return False
        self._ids.learn(name, text_of(self._uploaded(reply, "taking the marker"), "id"))
        return True

    async def read(self, name: str, offset: int, length: int | None) -> bytes:
        for _ in range(2):
            file_id = await self._id_of(name)
            if not file_id:
                break
            reply = await self._fetch(file_id, offset, length)
            if reply.status in (200, 206):
                return ranged_body(reply, offset, length, self.place)
            if reply.status == 416:
                return b""
            if reply.status != 404:
                raise self._error(reply, "giving a file")
            self._ids.forget(name)
        raise ObjectNotFound(f"there is no file {name}")

    async def _fetch(self, file_id: str, offset: int, length: int | None) -> Reply:
        reply = await self._api("GET", f"files/{file_id}/content", headers=range_header(offset, length))
        if reply.status != 302:
            return reply
        there, own = urlsplit(reply.headers.get("location", "")), urlsplit(self._access.provider.api_url)
        if there.scheme != "https" and there.netloc != own.netloc:
            raise StoreUnavailable(f"{self.place} named an address without encryption")
        return await self._http.call(
            "GET",
            there.geturl(),
            headers=range_header(offset, length),
            authorized=False,
            limit_bytes=OBJECT_SIZE_MAX_BYTES,
        )

    async def find(self, name: str) -> Entry | None:
        for _ in range(2):
            file_id = await self._id_of(name)
            if not file_id:
                return None
            reply = await self._api("GET", f"files/{file_id}", params={"fields": _FIELDS})
            if reply.status == 200:
                return _entry(reply.json())
            if reply.status != 404:
                raise self._error(reply, "finding a file")
            self._ids.forget(name)
        return None

    async def remove(self, name: str) -> None:
        file_id = await self._id_of(name)
        if not file_id:
            return
        reply = await self._api("DELETE", f"files/{file_id}")
        if reply.status not in (200, 204, 404):
            raise self._error(reply, "deleting a file")
        self._ids.forget(name)
        await self._api("DELETE", f"files/{file_id}/trash")  # not every account lets us: then it goes with time

    async def entries(self) -> AsyncIterator[Entry]:
        folder = await self._folder.get(make=False)
        if not folder:
            return
        async for item in self._items(folder):
            entry = _entry(item)
            if entry is not None:
                if entry.name not in self._ids:
                    self._ids.learn(entry.name, entry.id)
                yield entry

    async def usage(self) -> Usage:
        """The room that is left in the account; other files count too, so what is used is not told."""
        reply = await self._api("GET", "users/me", params={"fields": "space_amount,space_used"})
        if reply.status != 200:
            raise self._error(reply, "telling its room")
        amount, used = number_of(reply.json(), "space_amount"), number_of(reply.json(), "space_used")
        return Usage(None, None if amount is None or used is None else max(0, amount - used))

    async def account(self) -> Account:
        reply = await self._api("GET", "users/me", params={"fields": "id,login,name"})
        account = text_of(reply.json(), "id")
        if reply.status != 200 or not account:
            raise self._error(reply, "telling whose account it is")
        return Account(account, text_of(reply.json(), "login") or text_of(reply.json(), "name"))

    async def close(self) -> None:
        await self._http.close()


def _entry(item: Any) -> Entry | None:
    """A file's metadata; None for a folder or a link."""
    size_bytes = number_of(item, "size")
    if text_of(item, "type") != "file" or size_bytes is None:
        return None
    return Entry(text_of(item, "name"), size_bytes, text_of(item, "id"), text_of(item, "modified_at"))


def _conflicting_id(reply: Reply) -> str:
    """The id of what has the name already: one object for files, a list for folders."""
    if reply.status != 409:
        return ""
    context = reply.json().get("context_info")
    found = context.get("conflicts") if isinstance(context, dict) else None
    return text_of(found[0] if isinstance(found, list) and found else found, "id")


def _digest(sha1_hex: str) -> str:
    return f"sha={base64.b64encode(bytes.fromhex(sha1_hex)).decode()}"


def _form(about: object, value: bytes) -> tuple[str, bytes]:
    """A multipart/form-data body: ``attributes`` must come before ``file``."""
    boundary = f"skep-{secrets.token_hex(16)}"
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="attributes"\r\n\r\n'.encode()
        + msgspec.json.encode(about)
        + f'\r\n--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="content"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n".encode()
    )
    return f"multipart/form-data; boundary={boundary}", b"".join((head, value, f"\r\n--{boundary}--\r\n".encode()))
