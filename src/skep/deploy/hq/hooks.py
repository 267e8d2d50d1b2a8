"""Webhooks: repositories elsewhere whose pushes deploy, as GitHub, Gitea and Forgejo tell them.

A delivery counts only with the HMAC-SHA256 of its whole body under the hook's secret, compared in constant time. Its
signature is remembered, so that what was seen on the way cannot be sent again; what the body says of its time must be
young. What is deployed is what the branch is *now*, not what the delivery says.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from skep.base.clock import Clock
from skep.base.errors import BadInput, Conflict, InvalidToken, MalformedRequest, NotFound
from skep.crypto.hashing import derive_key
from skep.crypto.sealing import open_record, seal_record
from skep.deploy.hq.state import StateStore, decoded, load, load_all, save
from skep.deploy.stack.reader import checked_stack_name

SECRET_LEAST_CHARS = 16
DELIVERIES_KEPT = 5000
_CONTEXT = "skep deploy hq 2026 webhook secrets v1"
_URL = re.compile(
    r"(?:https?|ssh|git)://[^\s\x00-\x1f]{1,2000}|[A-Za-z0-9_][A-Za-z0-9._-]*@[A-Za-z0-9][A-Za-z0-9.-]*:[^\s\x00-\x1f-][^\s]*|/[^\s\x00-\x1f]+"
)
_BRANCH = re.compile(r"(?!-)[A-Za-z0-9._/-]{1,200}")


class Hook(msgspec.Struct, frozen=True, kw_only=True):
    """A repository whose pushes to one branch deploy a stack. ``sealed``: its secret, as base64."""

    stack: str
    repository: str
    branch: str
    sealed: str


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """A delivery that was taken: what must not be taken again."""

    stack: str
    id: str
    seen_us: int


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What a good delivery says: ``deploy`` is whether it is a push to the hook's branch."""

    hook: Hook
    event: str
    id: str
    deploy: bool


class Hooks:
    """The webhooks of a state store. ``age_max_s``: how old a delivery may be."""

    def __init__(self, store: StateStore, seal_key: bytes, clock: Clock, *, age_max_s: float) -> None:
        self._store = store
        self._key = derive_key(_CONTEXT, seal_key)
        self._clock = clock
        self._age_max_s = age_max_s
        self._taking = asyncio.Lock()

    async def all(self) -> tuple[Hook, ...]:
        """All of them, by stack."""
        return await load_all(self._store, "hooks/", Hook)

    async def put(self, stack: str, repository: str, branch: str, secret: str = "") -> str:
        """Let pushes to a branch of a repository deploy a stack, in place of what did; the secret. Raises BadInput.

        An empty ``secret`` makes one. It is sealed at rest and not told again.
        """
        checked_stack_name(stack)
        if not _URL.fullmatch(repository):
            raise BadInput(f"{repository[:80]!r} is no repository: write https://HOST/PATH, ssh://… or user@host:path")
        if not _BRANCH.fullmatch(branch) or ".." in branch or branch.endswith((".lock", "/", ".")):
            raise BadInput(f"{branch[:80]!r} is no name of a branch")
        if secret and len(secret) < SECRET_LEAST_CHARS:
            raise BadInput(f"a secret has at least {SECRET_LEAST_CHARS} characters; leave it out and HQ makes one")
        secret = secret or secrets.token_urlsafe(32)
        sealed = base64.b64encode(seal_record(self._key, secret.encode(), stack.encode())).decode()
        await save(
            self._store, f"hooks/{stack}", Hook(stack=stack, repository=repository, branch=branch, sealed=sealed)
        )
        return secret

    async def remove(self, stack: str) -> None:
        """Take it away. Raises NotFound."""
        if not await self._store.delete(f"hooks/{stack}"):
            raise NotFound(f"stack {stack} has no webhook")

    async def take(self, stack: str, headers: Mapping[str, str], body: bytes) -> Told:
        """Judge a delivery (header names in lower case) and remember it.

        Raises InvalidToken for a wrong or missing signature, and for a stack without a hook alike; Conflict for what
        was taken before; BadInput for what is too old; MalformedRequest for a body that is no such event.
        """
        hook = await load(self._store, f"hooks/{stack}", Hook)
        secret = self._secret(hook) if hook is not None else secrets.token_bytes(32)
        signature = headers.get("x-hub-signature-256", "").removeprefix("sha256=") or headers.get(
            "x-gitea-signature", ""
        )
        expected = hmac.new(secret, body, hashlib.sha256).hexdigest()
        if not hmac.compare_digest(signature.encode(), expected.encode()) or hook is None:
            raise InvalidToken("this delivery is not signed with the secret of the webhook")
        event = headers.get("x-github-event") or headers.get("x-gitea-event") or headers.get("x-forgejo-event") or ""
        name = (headers.get("x-github-delivery") or headers.get("x-gitea-delivery") or "")[:100]
        payload = _payload(headers.get("content-type", ""), body)
        if event == "push":
            self._check_age(payload)
        await self._remember(stack, expected, name)
        deploy = event == "push" and payload.get("ref") == f"refs/heads/{hook.branch}" and not payload.get("deleted")
        return Told(hook=hook, event=event, id=name, deploy=deploy)

    def _secret(self, hook: Hook) -> bytes:
        return open_record(self._key, base64.b64decode(hook.sealed), hook.stack.encode())

    def _check_age(self, payload: Mapping[str, Any]) -> None:
        at_s = _pushed_at_s(payload)
        now_s = self._clock.now_us() / 1e6
        if at_s is not None and now_s - at_s > self._age_max_s:
            raise BadInput(f"this push was {now_s - at_s:.0f} s ago; {self._age_max_s:g} s are the most")

    async def _remember(self, stack: str, signature: str, id: str) -> None:
        """Note a delivery, or raise Conflict. Its id alone would not do: nothing signs it."""
        async with self._taking:
            known = [(entry.key, decoded(entry, Delivery)) for entry in await self._store.list(f"deliveries/{stack}/")]
            key = f"deliveries/{stack}/{signature}"
            if any(name == key or (id and one.id == id) for name, one in known):
                raise Conflict("this delivery was taken already: push again to deploy again")
            if len(known) >= DELIVERIES_KEPT:
                oldest = min(known, key=lambda pair: pair[1].seen_us)
                await self._store.delete(oldest[0])
            await save(self._store, key, Delivery(stack=stack, id=id, seen_us=self._clock.now_us()))


def _payload(content_type: str, body: bytes) -> Mapping[str, Any]:
    if not content_type.startswith("application/json"):
        raise MalformedRequest("set the content type of the webhook to application/json")
    try:
        payload = msgspec.json.decode(body)
    except msgspec.DecodeError:
        raise MalformedRequest("the body is no JSON") from None
    if not isinstance(payload, dict):
        raise MalformedRequest("the body is no JSON object")
    return payload


def _pushed_at_s(payload: Mapping[str, Any]) -> float | None:
    """When the push was, as the signed body says it: GitHub in seconds, others as text; None where it does not."""
    repository = payload.get("repository")
    at = repository.get("pushed_at") if isinstance(repository, dict) else None
    if isinstance(at, int):
        return float(at)
    if isinstance(at, str):
        try:
            return datetime.fromisoformat(at).timestamp()
        except ValueError:
            return None
    return None
