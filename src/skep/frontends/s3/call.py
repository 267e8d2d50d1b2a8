"""One request of S3 as its operation sees it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from skep.auth.records import EVERY_SPACE
from skep.base.clock import Clock
from skep.base.errors import InvalidId
from skep.base.ids import Id, id_text, parse_id
from skep.base.limits import FairGate
from skep.filesystem.flat import Key
from skep.frontends.common.answers import send_bytes, send_stream
from skep.frontends.common.asgi import Message, Scope, Send
from skep.frontends.common.body import Body
from skep.frontends.common.headers import Headers
from skep.frontends.s3.errors import Refusal
from skep.frontends.s3.known_buckets import KnownBuckets
from skep.frontends.s3.xmltext import XML_TYPE, document

if TYPE_CHECKING:
    from skep.auth import Auth, Principal
    from skep.filesystem import Filesystem
    from skep.filesystem.keyed import Bucket
    from skep.frontends.s3.signing import Signed

KEY_BYTES_MAX = 1024
ID_LENGTH = 36


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What the door stands on, and its settings."""

    auth: Auth
    filesystem: Filesystem
    clock: Clock
    known: KnownBuckets
    uploads: FairGate
    """How many uploads run at once."""
    body_limit_bytes: int
    idle_timeout_s: float
    xml_limit_bytes: int
    region: str
    to_trash: bool
    """Whether what is deleted goes to the trash."""


@dataclass(slots=True)
class Call:
    """A request and what is needed to answer it.

    ``key`` is None for what concerns a bucket, ``bucket`` too for what concerns all. ``signed`` is set before an
    operation runs. ``started`` tells whether the head of an answer is out already.
    """

    services: Services
    scope: Scope
    headers: Headers
    body: Body
    query: Mapping[str, str]
    bucket_name: str | None
    key_text: str | None
    request_id: str
    send_raw: Send
    signer: Signed | None = None
    started: bool = False
    more_headers: list[tuple[str, str]] = field(default_factory=list)
    """Sent with any answer: those of CORS."""

    @property
    def method(self) -> str:
        """The HTTP method."""
        method: str = self.scope["method"]
        return method

    @property
    def filesystem(self) -> Filesystem:
        """The file service."""
        return self.services.filesystem

    @property
    def signed(self) -> Signed:
        """The facts of the signature."""
        assert self.signer is not None, "an operation runs for a signed request"
        return self.signer

    @property
    def principal(self) -> Principal:
        """Who asks."""
        return self.signed.grant.principal

    @property
    def space_id(self) -> Id | None:
        """The space of the bucket, or of the access key; None: the user's own."""
        return self.space_of(self.bucket_name)

    def space_of(self, bucket: str | None) -> Id | None:
        """The space in which the access key has a bucket of that name; None: the user's own."""
        bound = self.signed.grant.info.space_id
        return self.root_of(bucket) or (None if bound == EVERY_SPACE else bound)

    def root_of(self, bucket: str | None) -> Id | None:
        """The id of the space or share that is the bucket of that name, if the access key reaches it."""
        bound = self.signed.grant.info.space_id
        if bound is None or bucket is None or len(bucket) != ID_LENGTH:
            return None
        try:
            found = parse_id(bucket)
        except InvalidId:
            return None
        return found if bound in (found, EVERY_SPACE) and id_text(found) == bucket else None

    @property
    def place(self) -> tuple[Id | None, str | None]:
        """The bucket's space, and its name there: None where it is that space itself. Raises Refusal."""
        name = self.bucket
        return self.space_id, None if self.root_of(name) is not None else name

    async def bucket_facts(self) -> Bucket:
        """The bucket, as it was a moment ago. Raises BucketNotFound."""
        key = (self.principal.user_id, self.space_id, self.bucket)
        known = self.services.known.get(key)
        if known is None:
            known = await self.filesystem.bucket(self.principal, *self.place)
            self.services.known.put(key, known)
        return known

    async def home_id(self) -> Id:
        """The id of the space."""
        return self.space_id or (await self.filesystem.home(self.principal)).id

    @property
    def bucket(self) -> str:
        """The bucket's name, if the access key may use it. Raises Refusal."""
        name = self.bucket_name
        assert name is not None
        self.check_reach(name, None)
        return name

    @property
    def key(self) -> Key:
        """The key as a path, if it is one and the access key reaches it. Raises Refusal, InvalidPath, InvalidName."""
        assert self.bucket_name is not None
        assert self.key_text is not None
        return self.key_at(self.bucket_name, self.key_text)

    def key_at(self, bucket: str, text: str) -> Key:
        """The path of another key of the request. Raises Refusal, InvalidPath, InvalidName."""
        if len(text.encode("utf-8", "surrogateescape")) > KEY_BYTES_MAX:
            raise Refusal("KeyTooLongError", f"A key has at most {KEY_BYTES_MAX} bytes.")
        self.check_reach(bucket, text)
        return self.filesystem.key(None if self.root_of(bucket) is not None else bucket, text)

    def check_reach(self, bucket: str, key: str | None) -> None:
        """Raise Refusal unless the access key reaches a bucket, and the key in it.

        A key that is bound to a prefix may ask about its bucket; listing looks at the prefix itself.
        """
        info = self.signed.grant.info
        if info.bucket is not None and info.bucket != bucket:
            raise Refusal("AccessDenied", "Access Denied: this access key is for another bucket.")
        if key is not None and info.prefix is not None and not key.startswith(info.prefix):
            raise Refusal("AccessDenied", "Access Denied: this access key is for another prefix.")

    def check_whole_bucket(self) -> None:
        """Raise Refusal for an access key that is bound to a prefix: this concerns all of the bucket."""
        if self.signed.grant.info.prefix is not None:
            raise Refusal("AccessDenied", "Access Denied: this access key is for a prefix of the bucket.")

    def whole_number(self, name: str, default: int, most: int) -> int:
        """A number in the query, cut to ``most``. Raises Refusal."""
        text = self.query.get(name)
        if not text:
            return default
        if not text.isascii() or not text.isdecimal() or len(text) > 10:
            raise Refusal("InvalidArgument", f"{name} must be a number.", ArgumentName=name, ArgumentValue=text[:64])
        return min(int(text), most)

    def send(self, message: Message) -> Awaitable[None]:
        """ASGI's send, noting that the answer has begun."""
        self.started = True
        return self.send_raw(message)

    async def answer(
        self, status: int = 200, headers: Iterable[tuple[str, str]] = (), body: bytes = b"", *, size: int | None = None
    ) -> None:
        """A whole answer. ``size`` of a HEAD: what the body would have."""
        head = [*headers, *self.more_headers, ("x-amz-request-id", self.request_id)]
        if self.method == "HEAD" and size is not None:
            head.append(("content-length", str(size)))
            await self.stream(status, head, _nothing())
            return
        await send_bytes(self.send, status, body, head, head_only=self.method == "HEAD")

    async def stream(self, status: int, headers: list[tuple[str, str]], parts: AsyncIterator[bytes]) -> None:
        """A streamed answer, with its headers complete."""
        await send_stream(self.send, status, headers, parts, stall_timeout_s=self.services.idle_timeout_s)

    async def xml(self, root: str, body: str, status: int = 200, headers: Iterable[tuple[str, str]] = ()) -> None:
        """Answer with a document."""
        await self.answer(status, [("content-type", XML_TYPE), *headers], document(root, body))

    async def read_xml(self) -> bytes:
        """The whole body, checked against the hash that was signed. Raises Refusal, BodyTooLarge."""
        from skep.frontends.s3.payload import read_small

        return await read_small(self, self.services.xml_limit_bytes)


async def _nothing() -> AsyncIterator[bytes]:
    parts: tuple[bytes, ...] = ()
    for part in parts:
        yield part
