"""Objects in a bucket of any S3-compatible server.

    s3://bucket/prefix  ->  prefix/skep-store.json            whose store this is
                            prefix/objects/shards.9f3c-2      the object shards/9f3c.2

What always holds:
- one key is one object of the bucket, put whole: S3 shows the old or the new value and never a part. Values above
  ``part_bytes`` go up in parts, which become the object in one request;
- names are flat (``name_of``) and sort as keys do, so that servers that keep directories behind their buckets list them
  in order and take ``a`` beside ``a/b``;
- what was sent is what was stored: a SHA-256 goes with each put and the server checks it, and the ETag that comes back
  is compared with the MD5 of what was sent. Where ETags are something else (encryption with keys of a KMS), the first
  that differs is settled by reading the value back.

Format page: docs/formats/s3-store.md.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError
from obstore.store import S3Store as Bucket

from skep.base.clock import Clock, SystemClock
from skep.base.errors import ObjectNotFound, SkepError, StoreUnavailable
from skep.base.ids import Id
from skep.stores.drivers.s3.chain import keys_of_chain
from skep.stores.drivers.s3.config import S3Config, S3Keys
from skep.stores.drivers.s3.failures import answer_of, is_range_past_end, store_error
from skep.stores.identity import StoreIdentity, settle_claim
from skep.stores.keys import check_key, check_list_bounds, check_size
from skep.stores.marker import MARKER_NAME, decode_marker, encode_marker
from skep.stores.protocol import Buffer, ObjectInfo, Properties, Usage

OBJECT_SIZE_MAX_BYTES = 5 << 30
"""What one request may put; also what MinIO, Ceph and the others take."""
PARTS_AT_ONCE = 4
DELETE_BATCH_MAX = 1_000
"""What one request deletes at most (DeleteObjects of the S3 API)."""
_LIST_PAGE = 1_000
_INLINE_BYTES = 64 << 10
_NO_BATCHES = (400, 404, 405, 411, 501)
"""How servers without DeleteObjects answer it."""
_FAILURES = (BaseError, FileNotFoundError, ValueError, OSError)
_FLAT = str.maketrans("-./", "!-.")
_UNFLAT = str.maketrans("!-.", "-./")


def name_of(key: str) -> str:
    """The object's name below ``objects/``: without slashes, and sorting as the key does."""
    return key.translate(_FLAT)


def key_of(name: str) -> str:
    """The way back."""
    return name.translate(_UNFLAT)


class S3Store:
    """See ``Store``."""

    def __init__(self, config: S3Config, clock: Clock | None = None) -> None:
        self._config = config
        self._clock = clock or SystemClock()
        self._top = f"{config.prefix}/" if config.prefix else ""
        self._opened: Bucket | None = None
        self._opened_batching: Bucket | None = None
        self._batches = True
        self._etag_is_md5 = True
        self._properties = Properties(
            kind="s3", durable=True, object_size_max_bytes=OBJECT_SIZE_MAX_BYTES, concurrency=32
        )

    @property
    def properties(self) -> Properties:
        return self._properties

    @property
    def _bucket(self) -> Bucket:
        """The library's client, made at the first call: opening touches nothing."""
        if self._opened is None:
            self._opened = open_bucket(self._config)
        return self._opened

    @property
    def _batching(self) -> Bucket:
        """The same, for deletes in batches."""
        if self._opened_batching is None:
            self._opened_batching = open_bucket(self._config, batches=True)
        return self._opened_batching

    def _path(self, key: str) -> str:
        return f"{self._top}objects/{name_of(key)}"

    def _error(self, error: Exception, key: str, *, writing: bool = False) -> SkepError:
        return store_error(error, self._config.place, key, writing=writing)

    async def put(self, key: str, parts: Sequence[Buffer]) -> None:
        check_key(key)
        size_bytes = check_size(key, parts, OBJECT_SIZE_MAX_BYTES)
        if size_bytes <= _INLINE_BYTES:
            value, etag = _joined(parts, self._config.part_bytes)
        else:
            value, etag = await asyncio.to_thread(_joined, parts, self._config.part_bytes)
        got = await self._put(self._path(key), value, key)
        if self._etag_is_md5 and got != etag:
            await self._settle_etag(key, value)

    async def _put(self, path: str, value: bytes, key: str, **options: Any) -> str:
        try:
            result = await obstore.put_async(
                self._bucket, path, value, use_multipart=len(value) > self._config.part_bytes,
                chunk_size=self._config.part_bytes, max_concurrency=PARTS_AT_ONCE, **options,
            )  # fmt: skip
        except (AlreadyExistsError, PreconditionError):
            raise
        except _FAILURES as error:
            raise self._error(error, key, writing=True) from error
        return (result["e_tag"] or "").strip('"')

    async def _settle_etag(self, key: str, value: bytes) -> None:
        """An ETag that is not the MD5: is it another kind of ETag, or are these other bytes?"""
        if await self.get(key) != value:
            raise StoreUnavailable(f"{self._config.place} stored other bytes than were sent under {key}")
        self._etag_is_md5 = False

    async def get(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        check_key(key)
        if length == 0:
            await self.stat(key)
            return b""
        try:
            return await self._read(self._path(key), offset, length)
        except _FAILURES as error:
            if not is_range_past_end(error):
                raise self._error(error, key) from error
        await self.stat(key)
        return b""

    async def _read(self, path: str, offset: int, length: int | None) -> bytes:
        options: Any = {}
        if length is not None:
            options["range"] = (offset, offset + length)
        elif offset:
            options["range"] = {"offset": offset}
        answer = await obstore.get_async(self._bucket, path, options=options)
        value = bytes(await answer.bytes_async())
        start, end = answer.range
        if len(value) != end - start or start != offset:
            raise StoreUnavailable(f"{self._config.place} sent {len(value)} bytes where it announced {end - start}")
        return value

    async def stat(self, key: str) -> ObjectInfo:
        check_key(key)
        path = self._path(key)
        try:
            return ObjectInfo(key, int((await obstore.head_async(self._bucket, path))["size"]))
        except FileNotFoundError:
            pass  # an answer to HEAD does not say whether the object or the bucket is missing
        except _FAILURES as error:
            raise self._error(error, key) from error
        try:
            answer = await obstore.get_async(self._bucket, path)
        except _FAILURES as error:
            raise self._error(error, key) from error
        return ObjectInfo(key, int(answer.meta["size"]))

    async def delete(self, key: str) -> None:
        check_key(key)
        try:
            await obstore.delete_async(self._bucket, self._path(key))
        except _FAILURES as error:
            mapped = self._error(error, key, writing=True)
            if not isinstance(mapped, ObjectNotFound):
                raise mapped from error

    @property
    def delete_batch_max(self) -> int:
        """How many objects one request deletes; 1 for a server that has shown that it cannot."""
        return DELETE_BATCH_MAX if self._batches else 1

    async def delete_many(self, keys: Sequence[str]) -> None:
        """One request (DeleteObjects). A server that does not know it is asked one by one from then on."""
        assert len(keys) <= DELETE_BATCH_MAX
        for key in keys:
            check_key(key)
        if not keys:
            return
        unable = False
        if self._batches:
            try:
                await obstore.delete_async(self._batching, [self._path(key) for key in keys])
                return
            except _FAILURES as error:
                mapped = self._error(error, keys[0], writing=True)
                unable = answer_of(error).status in _NO_BATCHES
                if not unable and not isinstance(mapped, ObjectNotFound):  # a server may mind what is missing
                    raise mapped from error
        for key in keys:
            await self.delete(key)
        self._batches = self._batches and not unable

    async def list(self, prefix: str = "", after: str = "") -> AsyncIterator[ObjectInfo]:
        check_list_bounds(prefix, after)
        top, last = f"{self._top}objects", ""
        begin = max(name_of(after), _just_before(name_of(prefix)))
        offset = f"{top}/{begin}" if begin else None
        try:
            async for page in obstore.list(self._bucket, top, offset=offset, chunk_size=_LIST_PAGE):
                for meta in page:
                    key = key_of(meta["path"][len(top) + 1 :])
                    if key <= last:
                        raise StoreUnavailable(f"{self._config.place} lists its objects out of order")
                    last = key
                    if key > after and key.startswith(prefix):
                        yield ObjectInfo(key, int(meta["size"]))
                    elif key > prefix and not key.startswith(prefix):
                        return
        except _FAILURES as error:
            raise self._error(error, prefix) from error

    async def usage(self) -> Usage:
        """S3 tells nobody how full a bucket is; asking for the marker shows that it answers."""
        await self.identity()
        return Usage(None, None)

    async def claim(self, hive_id: Id, store_id: Id) -> StoreIdentity:
        wanted = StoreIdentity(hive_id, store_id, self._clock.now_us())
        kept = settle_claim(await self.identity(), wanted, self._config.place)
        if kept is not None:
            return kept
        await self._put_marker(encode_marker(wanted))
        found = await self.identity()
        if found is None:
            raise StoreUnavailable(f"{self._config.place} does not have the marker that was just written to it")
        return settle_claim(found, wanted, self._config.place) or found

    async def _put_marker(self, record: bytes) -> None:
        """Of two hives that claim at once, one wins: the put is for a name that is not there yet."""
        path = f"{self._top}{MARKER_NAME}"
        try:
            await self._put(path, record, MARKER_NAME, mode="create")
        except (AlreadyExistsError, PreconditionError):
            return
        except StoreUnavailable as error:
            if error.__cause__ is None or answer_of(error.__cause__).status != 501:  # type: ignore[arg-type]
                raise
            await self._put(path, record, MARKER_NAME)  # a server without conditional puts

    async def identity(self) -> StoreIdentity | None:
        try:
            answer = await obstore.get_async(self._bucket, f"{self._top}{MARKER_NAME}")
            return decode_marker(bytes(await answer.bytes_async()))
        except _FAILURES as error:
            mapped = self._error(error, MARKER_NAME)
            if isinstance(mapped, ObjectNotFound):
                return None
            raise mapped from error

    async def close(self) -> None:
        self._opened = self._opened_batching = None


def open_bucket(config: S3Config, *, batches: bool = False) -> Bucket:
    """The library's client. It tries each request once: retrying is the wrapper's."""
    settings: dict[str, Any] = {
        "unsigned_payload": True,
        "disable_bulk_delete": not batches,
        "virtual_hosted_style_request": config.addressing == "virtual",
    }
    if config.region or config.endpoint:
        settings["region"] = config.region or "us-east-1"
    if config.checksum != "none":
        settings["checksum_algorithm"] = config.checksum
    if config.endpoint:
        settings["endpoint"] = _endpoint(config)
    keys = config.keys or keys_of_chain()
    options: dict[str, Any] = {} if keys is None else {"credential_provider": _provider(keys)}
    return Bucket(
        config.bucket,
        config=settings,  # type: ignore[arg-type]
        client_options={
            "allow_http": (config.endpoint or "").startswith("http://"),
            "connect_timeout": timedelta(seconds=10),
            "timeout": timedelta(seconds=config.timeout_s),
            **({} if config.proxy is None else {"proxy_url": config.proxy}),
        },
        retry_config={"max_retries": 0, "retry_timeout": timedelta(seconds=config.timeout_s)},
        **options,
    )


def _endpoint(config: S3Config) -> str:
    assert config.endpoint is not None
    if config.addressing == "path":
        return config.endpoint
    split = urlsplit(config.endpoint)
    return f"{split.scheme}://{config.bucket}.{split.netloc}"


def _provider(keys: S3Keys) -> Any:
    def give() -> dict[str, object]:
        return {
            "access_key_id": keys.access_key_id,
            "secret_access_key": keys.secret_access_key,
            "token": keys.session_token,
            "expires_at": None,
        }

    return give


def _joined(parts: Sequence[Buffer], part_bytes: int) -> tuple[bytes, str]:
    """The whole value, and the ETag that S3 gives it (that of an upload in parts is the MD5 of their MD5s)."""
    value = b"".join(parts)
    if len(value) <= part_bytes:
        return value, hashlib.md5(value, usedforsecurity=False).hexdigest()
    view = memoryview(value)
    starts = range(0, len(value), part_bytes)
    digests = [hashlib.md5(view[at : at + part_bytes], usedforsecurity=False).digest() for at in starts]
    return value, f"{hashlib.md5(b''.join(digests), usedforsecurity=False).hexdigest()}-{len(digests)}"


def _just_before(name: str) -> str:
    """A name that sorts before every one that starts with ``name`` and after all that sort before those."""
    return name[:-1] + chr(ord(name[-1]) - 1) + "~" if name else ""
