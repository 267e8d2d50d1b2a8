"""A folder of any WebDAV server (RFC 4918): ``webdav+https://user@host/path``, the password as the secret.

Its truth:
- servers differ in how whole a PUT is that breaks off: a value is put under a name of its own and moved into place
  (``MOVE`` with ``Overwrite: T``). Some replace in two steps, so this process' readers of a name wait meanwhile
  (``turns.py``); a cut between the steps loses a value that was being replaced, and shards are never replaced;
- there is no hash that all servers know: after an upload its size is asked for; every read of a shard is checked by its
  blocks' hashes anyway;
- ``Depth: 1`` lists the folder, ``quota-available-bytes`` (RFC 4331) tells the room where the server knows it;
- folders are made with ``MKCOL``, level by level;
- what a broken upload leaves (``put-...``) is never listed, and swept when it is a day old.
"""

from __future__ import annotations

import base64
import re
import secrets
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import ClassVar
from urllib.parse import quote, unquote, urljoin, urlsplit

from lxml import etree

from skep.base.clock import Clock, SystemClock
from skep.base.errors import (
    InvalidStoreUrl,
    ObjectNotFound,
    SkepError,
    StoreFull,
    StoreReadOnly,
    StoreRefused,
    StoreUnavailable,
)
from skep.stores.drivers.cloud.base import OBJECT_SIZE_MAX_BYTES, Account, CloudStore, Entry
from skep.stores.drivers.cloud.http import Http, Reply, range_header, ranged_body
from skep.stores.drivers.cloud.turns import Turns
from skep.stores.protocol import Properties, Usage
from skep.stores.url import StoreUrl

LISTING_MAX_BYTES = 512 << 20
TEMP_AGE_S = 86_400.0
_TEMP = re.compile(r"put-[0-9a-f]{32}")
_HOST = re.compile(r"[A-Za-z0-9._\[\]:-]{1,255}")
_FORM = "webdav+https://user@host/path"
_PROPFIND = (
    b'<?xml version="1.0" encoding="utf-8"?><D:propfind xmlns:D="DAV:"><D:prop>'
    b"<D:getcontentlength/><D:resourcetype/><D:getlastmodified/></D:prop></D:propfind>"
)
_QUOTA = (
    b'<?xml version="1.0" encoding="utf-8"?><D:propfind xmlns:D="DAV:"><D:prop>'
    b"<D:quota-available-bytes/></D:prop></D:propfind>"
)
_XML = {"content-type": "application/xml; charset=utf-8"}
_BINARY = {"content-type": "application/octet-stream"}
_D = "{DAV:}"


@dataclass(frozen=True, slots=True)
class WebDavConfig:
    """Where the folder is and who logs in."""

    OPTIONS: ClassVar[tuple[str, ...]] = ()

    url: str
    """Of the folder, without a slash at its end."""
    user: str = ""
    password: str = field(default="", repr=False)

    @classmethod
    def from_url(cls, url: StoreUrl, secret: bytes | None) -> WebDavConfig:
        """Raises InvalidStoreUrl."""
        if _HOST.fullmatch(url.host) is None:
            raise InvalidStoreUrl(f"{url.text!r} names no host: write {_FORM}")
        path = url.path.rstrip("/")
        if not path or any(part in ("", ".", "..") for part in path.strip("/").split("/")):
            raise InvalidStoreUrl(f"{url.text!r} names no folder of its own: write {_FORM}")
        if bool(url.user) != (secret is not None):
            raise InvalidStoreUrl(f"{url.text!r} takes a user and a password, or neither: write {_FORM}")
        try:
            password = (secret or b"").decode()
        except UnicodeDecodeError:
            raise InvalidStoreUrl("the password of a WebDAV store is text in UTF-8") from None
        scheme = url.scheme.removeprefix("webdav+")
        return cls(f"{scheme}://{url.host}{quote(path)}", url.user, password)


class _Basic:
    """Basic authorization (RFC 7617)."""

    def __init__(self, user: str, password: str) -> None:
        self._value = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()

    async def header(self, refused: str | None = None) -> str:
        """See ``Authorizer``: there is no other."""
        if refused is not None:
            raise StoreRefused(
                "the WebDAV server does not take this user and password: add the store with the right ones"
            )
        return self._value


class WebDav:
    """See ``Remote``."""

    def __init__(
        self, config: WebDavConfig, clock: Clock, *, timeout_s: float = 60.0, proxy: str | None = None
    ) -> None:
        self.place = f"the WebDAV folder {config.url}"
        self.properties = Properties("webdav", True, OBJECT_SIZE_MAX_BYTES, listing_is_consistent=True, concurrency=8)
        self._config = config
        self._clock = clock
        self._turns = Turns()
        self._http = Http(
            self.place, _Basic(config.user, config.password), clock, connections=8, timeout_s=timeout_s, proxy=proxy
        )

    async def _call(
        self,
        method: str,
        name: str,
        *,
        content: bytes | None = None,
        limit_bytes: int = 16 << 20,
        headers: Mapping[str, str],
    ) -> Reply:
        return await self._http.call(
            method,
            f"{self._config.url}/{quote(name)}",
            content=content,
            headers=headers,
            authorized=bool(self._config.user),
            limit_bytes=limit_bytes,
        )

    def _error(self, reply: Reply, doing: str) -> SkepError:
        """The one table from HTTP's codes to ours."""
        if reply.status == 507 or reply.status == 413:
            return StoreFull(f"{self.place} has no room left: free some, or add a store")
        if reply.status in (403, 405, 423) and doing.startswith(("taking", "deleting", "making")):
            return StoreReadOnly(f"{self.place} takes no writes (status {reply.status}): look at the user's rights")
        if reply.status in (301, 302, 307, 308):
            return StoreRefused(f"{self.place} has moved (status {reply.status}): add the store with its new address")
        if reply.status in (401, 403, 405):
            return StoreRefused(f"{self.place} refuses {doing} (status {reply.status}): is this a WebDAV folder?")
        return self._http.unexpected(reply, doing)

    async def write(self, name: str, value: bytes) -> Entry:
        temp = f"put-{secrets.token_hex(16)}"
        try:
            await self._put_temp(temp, value)
            there = f"{self._config.url}/{quote(name)}"
            async with self._turns.writing(name):
                reply = await self._call("MOVE", temp, headers={"destination": there, "overwrite": "T"})
            if reply.status not in (200, 201, 204):
                raise self._error(reply, "taking a file into its place")
        except BaseException:
            await self._drop(temp)
            raise
        entry = await self.find(name)
        if entry is None or entry.size_bytes != len(value):
            raise StoreUnavailable(f"{self.place} holds other bytes than were sent as {name}")
        return entry

    async def _put_temp(self, temp: str, value: bytes) -> None:
        reply = await self._call("PUT", temp, content=value, headers=_BINARY)
        if reply.status in (404, 409):
            await self._make_folder()
            reply = await self._call("PUT", temp, content=value, headers=_BINARY)
        if reply.status not in (200, 201, 204):
            raise self._error(reply, "taking a file")

    async def _drop(self, temp: str) -> None:
        try:
            await self._call("DELETE", temp, headers={})
        except SkepError:
            pass  # it is swept later

    async def _make_folder(self) -> None:
        split = urlsplit(self._config.url)
        made = f"{split.scheme}://{split.netloc}"
        for part in split.path.strip("/").split("/"):
            made = f"{made}/{part}"
            reply = await self._http.call("MKCOL", f"{made}/", authorized=bool(self._config.user))
            if reply.status not in (200, 201, 301, 405, 409) and not (reply.status == 403 and made != self._config.url):
                raise self._error(reply, "making a folder")

    async def create(self, name: str, value: bytes) -> bool:
        """``MOVE`` with ``Overwrite: F`` fails where the name is taken."""
        temp = f"put-{secrets.token_hex(16)}"
        await self._put_temp(temp, value)
        there = f"{self._config.url}/{quote(name)}"
        reply = await self._call("MOVE", temp, headers={"destination": there, "overwrite": "F"})
        if reply.status in (200, 201, 204):
            return True
        await self._drop(temp)
        if reply.status == 412:
            return False
        raise self._error(reply, "taking the marker")

    async def read(self, name: str, offset: int, length: int | None) -> bytes:
        headers = range_header(offset, length)
        async with self._turns.reading(name):
            reply = await self._call("GET", name, limit_bytes=OBJECT_SIZE_MAX_BYTES, headers=headers)
        if reply.status in (200, 206):
            return ranged_body(reply, offset, length, self.place)
        if reply.status == 416:
            return b""
        if reply.status in (404, 409, 410):
            raise ObjectNotFound(f"there is no file {name}")
        raise self._error(reply, "giving a file")

    async def find(self, name: str) -> Entry | None:
        async with self._turns.reading(name):
            reply = await self._call("PROPFIND", name, content=_PROPFIND, headers={**_XML, "depth": "0"})
        if reply.status in (404, 409, 410):
            return None
        if reply.status != 207:
            raise self._error(reply, "finding a file")
        found = [entry for entry, _ in self._entries_of(reply, name)]
        return found[0] if found else None

    async def remove(self, name: str) -> None:
        reply = await self._call("DELETE", name, headers={})
        if reply.status not in (200, 204, 404, 409, 410):
            raise self._error(reply, "deleting a file")

    async def entries(self) -> AsyncIterator[Entry]:
        reply = await self._call(
            "PROPFIND", "", content=_PROPFIND, headers={**_XML, "depth": "1"}, limit_bytes=LISTING_MAX_BYTES
        )
        if reply.status in (404, 409, 410):
            return
        if reply.status != 207:
            raise self._error(reply, "listing the folder")
        for entry, age_s in self._entries_of(reply, None):
            if _TEMP.fullmatch(entry.name):
                if age_s > TEMP_AGE_S:
                    await self._drop(entry.name)
            else:
                yield entry

    def _entries_of(self, reply: Reply, only: str | None) -> list[tuple[Entry, float]]:
        """The files of a multistatus, and how old each is in seconds."""
        parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
        try:
            root = etree.fromstring(reply.body, parser)
        except etree.XMLSyntaxError:
            raise StoreUnavailable(f"{self.place} answered with something that is not WebDAV") from None
        base = urlsplit(self._config.url).path
        found = []
        for response in root.iterfind(f"{_D}response"):
            path = unquote(urlsplit(urljoin(self._config.url, response.findtext(f"{_D}href") or "")).path)
            prop = next((s.find(f"{_D}prop") for s in response.iterfind(f"{_D}propstat") if _is_ok(s)), None)
            if prop is None or prop.find(f"{_D}resourcetype/{_D}collection") is not None:
                continue
            parent, _, name = path.rpartition("/")
            size = prop.findtext(f"{_D}getcontentlength") or ""
            if parent == unquote(base) and size.isdecimal() and only in (None, name):
                found.append((Entry(name, int(size)), self._age_s(prop.findtext(f"{_D}getlastmodified"))))
        return found

    def _age_s(self, modified: str | None) -> float:
        try:
            return self._clock.now_us() / 1e6 - parsedate_to_datetime(modified or "").timestamp()
        except (ValueError, TypeError):
            return 0.0

    async def usage(self) -> Usage:
        """The room that the server says is left; asking shows that it answers and takes the login."""
        reply = await self._call("PROPFIND", "", content=_QUOTA, headers={**_XML, "depth": "0"})
        if reply.status in (404, 409):
            return Usage(None, None)
        if reply.status != 207:
            raise self._error(reply, "telling its room")
        match = re.search(rb"quota-available-bytes[^>]*>\s*(\d{1,18})\s*<", reply.body)
        return Usage(None, int(match[1]) if match else None)

    async def account(self) -> Account:
        return Account(self._config.url, self._config.user)

    async def close(self) -> None:
        await self._http.close()


def _is_ok(propstat: etree._Element) -> bool:
    return " 200 " in (propstat.findtext(f"{_D}status") or "") + " "


def open_webdav(url: StoreUrl, secret: bytes | None, proxy: str | None = None) -> CloudStore:
    """A store in a WebDAV folder, reached through ``proxy`` if one is given. Raises InvalidStoreUrl."""
    clock = SystemClock()
    return CloudStore(WebDav(WebDavConfig.from_url(url, secret), clock, proxy=proxy), clock)
