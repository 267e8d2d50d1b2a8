"""Dropbox, API v2. Source: https://www.dropbox.com/developers/documentation/http/documentation (2025), and the
specification at https://github.com/dropbox/dropbox-api-spec.

Its truth:
- files are named by their path; parent folders come by themselves; paths fold case;
- one request uploads up to 150 MB, a session more, in parts of a multiple of 4 MiB;
- ``content_hash`` is the SHA-256 of the SHA-256s of blocks of 4 MiB; it is sent along and compared afterwards;
- errors of an endpoint are status 409 with ``error_summary``; too many writes at once in one account are one of them
  (``too_many_write_operations``), so few connections are used;
- nothing is promised of how soon a listing shows a change; deleted files stay restorable for 30 days or more and do not
  count against the quota.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
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
from skep.stores.protocol import Properties, Usage

BLOCK_BYTES = 4 << 20
UPLOAD_MAX_BYTES = 144 << 20
"""Below the 150 MB that one request may carry; above, a session."""
PART_BYTES = 32 << 20
PAGES_MAX = 10_000
_PAGE = 2_000
_OFFSETS_MAX = 8
_POLL_S, _POLL_MAX_S, _POLLS_MAX = 0.2, 5.0, 60
"""How long to wait before a batch is asked for: twice as long each time; about four minutes in all."""


def content_hash(value: bytes) -> str:
    """https://www.dropbox.com/developers/reference/content-hash"""
    view = memoryview(value)
    blocks = (hashlib.sha256(view[at : at + BLOCK_BYTES]).digest() for at in range(0, len(value), BLOCK_BYTES))
    return hashlib.sha256(b"".join(blocks)).hexdigest()


class Dropbox:
    """See ``Remote``."""

    def __init__(
        self,
        access: CloudAccess,
        clock: Clock,
        *,
        upload_max_bytes: int = UPLOAD_MAX_BYTES,
        part_bytes: int = PART_BYTES,
        timeout_s: float = 60.0,
    ) -> None:
        self.place = f"the Dropbox folder {access.folder}"
        self.properties = Properties("dropbox", True, OBJECT_SIZE_MAX_BYTES, listing_is_consistent=False, concurrency=4)
        self._access = access
        self._clock = clock
        self._http = Http(self.place, BearerTokens(access), clock, connections=4, timeout_s=timeout_s)
        self._upload_max_bytes = upload_max_bytes
        self._part_bytes = part_bytes

    def _path(self, name: str) -> str:
        return f"/{self._access.folder}/{name}"

    async def _rpc(self, route: str, argument: object) -> Reply:
        content = b"null" if argument is None else msgspec.json.encode(argument)
        return await self._http.call(
            "POST",
            f"{self._access.provider.api_url}/{route}",
            content=content,
            headers={"content-type": "application/json"},
        )

    async def _content(
        self, route: str, argument: object, content: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Reply:
        """The content endpoints take their argument in a header, as ASCII."""
        sent = {"dropbox-api-arg": msgspec.json.encode(argument).decode("ascii"), **(headers or {})}
        if route != "files/download":
            sent["content-type"] = "application/octet-stream"
        return await self._http.call(
            "POST",
            f"{self._access.provider.content_url}/{route}",
            content=content,
            headers=sent,
            limit_bytes=OBJECT_SIZE_MAX_BYTES,
        )

    def _error(self, reply: Reply, doing: str) -> SkepError:
        """The one table from Dropbox's errors to ours."""
        found = reply.json()
        summary = text_of(found, "error_summary")
        if "too_many_write_operations" in summary or "too_many_requests" in summary:
            return self._http.slow_down(reply, number_of(found, "error", "retry_after") or 1.0)
        if "insufficient_space" in summary or "insufficient_quota" in summary or reply.status == 507:
            return StoreFull(f"{self.place}: the account has no room left: free some, or add a store")
        if "no_write_permission" in summary or "restricted_content" in summary:
            return StoreReadOnly(f"{self.place} takes no writes ({summary[:80]}): look at the account")
        if reply.status == 403 or "missing_scope" in summary or "user_suspended" in summary:
            return StoreRefused(f"{self.place}: Dropbox refuses {doing} ({summary[:80] or reply.status})")
        return self._http.unexpected(reply, doing, summary[:60])

    async def write(self, name: str, value: bytes) -> Entry:
        digest = await digest_of(content_hash, value)
        commit = {"path": self._path(name), "mode": "overwrite", "autorename": False, "mute": True}
        if len(value) <= self._upload_max_bytes:
            reply = await self._content("files/upload", {**commit, "content_hash": digest}, value)
        else:
            reply = await self._in_session(commit, value, digest)
        if reply.status != 200:
            raise self._error(reply, "taking a file")
        found = reply.json()
        if text_of(found, "content_hash") != digest or number_of(found, "size") != len(value):
            raise StoreUnavailable(f"{self.place} holds other bytes than were sent as {name}")
        return Entry(name, len(value), text_of(found, "id"))

    async def _in_session(self, commit: dict[str, object], value: bytes, digest: str) -> Reply:
        reply = await self._content("files/upload_session/start", {"close": False}, b"")
        session = text_of(reply.json(), "session_id")
        if reply.status != 200 or not session:
            raise self._error(reply, "beginning an upload")
        offset = corrections = 0
        last = max(0, len(value) - self._part_bytes)
        while offset < last:
            end = min(offset + self._part_bytes, len(value))
            reply = await self._append(session, offset, value[offset:end])
            corrected = _correct_offset(reply)
            if reply.status == 200:
                offset = end
            elif corrected is not None and corrected <= len(value) and corrections < _OFFSETS_MAX:
                offset, corrections = corrected, corrections + 1  # an answer was lost: the part is there
            else:
                raise self._error(reply, "taking a part")
        argument = {"cursor": {"session_id": session, "offset": offset}, "commit": commit}
        return await self._content(
            "files/upload_session/finish", {**argument, "content_hash": content_hash(value[offset:])}, value[offset:]
        )

    async def _append(self, session: str, offset: int, part: bytes) -> Reply:
        cursor = {"session_id": session, "offset": offset}
        return await self._content(
            "files/upload_session/append_v2",
            {"cursor": cursor, "close": False, "content_hash": await digest_of(content_hash, part)},
            part,
        )

    async def create(self, name: str, value: bytes) -> bool:
        argument = {"path": self._path(name), "mode": "add", "autorename": False, "mute": True, "strict_conflict": True}
        reply = await self._content("files/upload", argument, value)
        if reply.status == 409 and "path/conflict" in text_of(reply.json(), "error_summary"):
            return False
        if reply.status != 200:
            raise self._error(reply, "taking the marker")
        return True

    async def read(self, name: str, offset: int, length: int | None) -> bytes:
        reply = await self._content("files/download", {"path": self._path(name)}, headers=range_header(offset, length))
        if reply.status in (200, 206):
            return ranged_body(reply, offset, length, self.place)
        if reply.status == 416:
            return await self._past_the_end(name)
        if _is_missing(reply):
            raise ObjectNotFound(f"there is no file {name}")
        raise self._error(reply, "giving a file")

    async def _past_the_end(self, name: str) -> bytes:
        if await self.find(name) is None:
            raise ObjectNotFound(f"there is no file {name}")
        return b""

    async def find(self, name: str) -> Entry | None:
        reply = await self._rpc("files/get_metadata", {"path": self._path(name)})
        if reply.status == 200:
            return _entry(reply.json())
        if _is_missing(reply):
            return None
        raise self._error(reply, "finding a file")

    async def remove(self, name: str) -> None:
        reply = await self._rpc("files/delete_v2", {"path": self._path(name)})
        if reply.status != 200 and not _is_missing(reply):
            raise self._error(reply, "deleting a file")

    remove_batch_max = 1_000
    """What ``files/delete_batch`` takes."""

    async def remove_many(self, names: Sequence[str]) -> None:
        """One request, and a few that ask whether it is done: Dropbox deletes a batch when it likes."""
        assert len(names) <= self.remove_batch_max
        job, entries = "", [{"path": self._path(name)} for name in names]
        reply = await self._rpc("files/delete_batch", {"entries": entries})
        for round_number in range(_POLLS_MAX):
            found = reply.json()
            tag = text_of(found, ".tag")
            if reply.status != 200 or tag not in ("async_job_id", "in_progress", "complete"):
                raise self._error(reply, "deleting files") if reply.status != 200 else _batch_error(self.place, found)
            if tag == "complete":
                _check_deleted(self.place, items_of(found, "entries"))
                return
            job = text_of(found, "async_job_id") if tag == "async_job_id" else job
            await self._clock.sleep(min(_POLL_MAX_S, _POLL_S * 2.0**round_number))
            reply = await self._rpc("files/delete_batch/check", {"async_job_id": job})
        raise StoreUnavailable(f"{self.place}: Dropbox did not say in time that files are deleted")

    async def entries(self) -> AsyncIterator[Entry]:
        reply = await self._rpc("files/list_folder", {"path": f"/{self._access.folder}", "limit": _PAGE})
        if _is_missing(reply):
            return
        for _ in range(PAGES_MAX):
            if reply.status != 200:
                raise self._error(reply, "listing the folder")
            found = reply.json()
            for item in items_of(found, "entries"):
                entry = _entry(item)
                if entry is not None:
                    yield entry
            if found.get("has_more") is not True:
                return
            reply = await self._rpc("files/list_folder/continue", {"cursor": text_of(found, "cursor")})
        raise StoreUnavailable(f"{self.place}: the listing does not end")

    async def usage(self) -> Usage:
        """The room that is left, also of a team's. Other files count too, so what is used is not told."""
        reply = await self._rpc("users/get_space_usage", None)
        if reply.status != 200:
            raise self._error(reply, "telling its room")
        found = reply.json()
        allocation: Any = found.get("allocation")
        used = number_of(found, "used")
        if text_of(allocation, ".tag") == "team":
            used = number_of(allocation, "used")
            own = number_of(allocation, "user_within_team_space_allocated")
            if own:
                return Usage(None, max(0, own - (number_of(found, "used") or 0)))
        allocated = number_of(allocation, "allocated")
        return Usage(None, None if used is None or allocated is None else max(0, allocated - used))

    async def account(self) -> Account:
        reply = await self._rpc("users/get_current_account", None)
        found = reply.json()
        if reply.status != 200 or not text_of(found, "account_id"):
            raise self._error(reply, "telling whose account it is")
        return Account(text_of(found, "account_id"), text_of(found, "email") or text_of(found, "name", "display_name"))

    async def close(self) -> None:
        await self._http.close()


def _entry(found: Any) -> Entry | None:
    """A file's metadata; None for a folder."""
    size_bytes = number_of(found, "size")
    if text_of(found, ".tag") not in ("file", "") or size_bytes is None:
        return None
    return Entry(text_of(found, "name"), size_bytes, text_of(found, "id"), text_of(found, "server_modified"))


def _check_deleted(place: str, entries: Sequence[Any]) -> None:
    """Raises StoreUnavailable when one of a batch is neither deleted nor missing."""
    for entry in entries:
        failure = entry.get("failure") if isinstance(entry, dict) else None
        if text_of(entry, ".tag") == "success":
            continue
        if text_of(failure, ".tag") == "path_lookup" and text_of(failure, "path_lookup", ".tag") == "not_found":
            continue
        raise StoreUnavailable(
            f"{place}: a file could not be deleted ({text_of(failure, '.tag') or 'no reason given'})"
        )


def _batch_error(place: str, found: Any) -> SkepError:
    """Why a batch that was taken was not carried out."""
    reason = text_of(found, "failed", ".tag") or text_of(found, ".tag")
    if reason == "too_many_write_operations":
        return StoreUnavailable(f"{place}: Dropbox wants fewer writes at once", retry_after_s=_POLL_MAX_S)
    return StoreUnavailable(f"{place}: files could not be deleted ({reason[:60] or 'no reason given'})")


def _is_missing(reply: Reply) -> bool:
    summary = text_of(reply.json(), "error_summary") if reply.status == 409 else ""
    return summary.startswith(("path/not_found", "path_lookup/not_found"))


def _correct_offset(reply: Reply) -> int | None:
    found = reply.json() if reply.status == 409 else {}
    return number_of(found, "error", "correct_offset")
