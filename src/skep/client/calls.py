"""Calls of the API: authentication, retries and errors are dealt with here, once.

    caller = Caller(Transport(parse_address("http://127.0.0.1:8080")), Session(keeper, refresh))
    caller.json("GET", "/api/filesystem/info", {"path": "/Pictures"})

Calls that change nothing, or that give the same result when made twice, are tried again after a
passing failure; others only when they cannot have been heard.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol
from urllib.parse import quote, urlencode

from skep.base.errors import InvalidToken, TokenExpired, Unavailable
from skep.client.retries import NO_RETRY, Cancel, RetryPolicy, retrying
from skep.client.transport import Body, Response, Transport

PAGES_MAX = 100_000


class Credential(Protocol):
    """Where the bearer token of a request comes from; see ``sessions.Session``."""

    def bearer(self) -> str: ...

    def reject(self, bearer: str) -> None: ...


def target_of(path: str, query: Mapping[str, object] | None = None) -> str:
    """A request target: ``path`` as it is, the query encoded; None values are left out, flags are 1 and 0."""
    fields = {name: _query_text(value) for name, value in (query or {}).items() if value is not None}
    return f"{path}?{urlencode(fields, safe='/', quote_via=quote)}" if fields else path


def _query_text(value: object) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


class Caller:
    """Makes requests of one hive, as somebody. Safe to use from many threads."""

    def __init__(
        self,
        transport: Transport,
        credential: Credential | None,
        *,
        policy: RetryPolicy | None = None,
        cancel: Cancel | None = None,
    ) -> None:
        self.transport = transport
        self._credential = credential
        self.policy = policy or RetryPolicy()
        self.cancel = cancel or Cancel()

    def open(
        self,
        method: str,
        path: str,
        query: Mapping[str, object] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        body: Body = None,
        repeatable: bool | None = None,
        before_try: Callable[[], None] | None = None,
        timeout_s: float | None = None,
    ) -> Response:
        """Send a request; the response's body is still to be read.

        ``repeatable``: whether it may be tried again when it is not known if the hive has done it
        (None: unless it is a POST). ``before_try`` is called before each try but the first.
        """
        again = method != "POST" if repeatable is None else repeatable
        tries = 0

        def once() -> Response:
            nonlocal tries
            tries += 1
            if tries > 1 and before_try is not None:
                before_try()
            return self._authenticated(method, target_of(path, query), headers or {}, body, timeout_s, before_try)

        return retrying(once, self.policy if again else NO_RETRY, self.cancel)

    def json(
        self,
        method: str,
        path: str,
        query: Mapping[str, object] | None = None,
        *,
        send: object = None,
        repeatable: bool | None = None,
        timeout_s: float | None = None,
    ) -> Any:
        """Send JSON (unless ``send`` is None) and give the JSON that comes back; None for an empty answer."""
        body = None if send is None else json.dumps(send, ensure_ascii=False, separators=(",", ":")).encode()
        headers = {"Accept": "application/json"} | ({"Content-Type": "application/json"} if body is not None else {})
        response = self.open(
            method, path, query, headers=headers, body=body, repeatable=repeatable, timeout_s=timeout_s
        )
        return read_json(response)

    def pages(self, path: str, query: Mapping[str, object], member: str) -> Iterator[Any]:
        """The items of a listing that comes in pages, each with ``next`` until the last."""
        after: object = None
        for _ in range(PAGES_MAX):
            page = self.json("GET", path, {**query, "after": after})
            yield from page[member]
            after = page.get("next")
            if not after:
                return
        raise Unavailable(f"{path} has more than {PAGES_MAX} pages")

    def _authenticated(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: Body,
        timeout_s: float | None,
        before_try: Callable[[], None] | None,
    ) -> Response:
        if self._credential is None:
            return self.transport.exchange(method, target, headers, body, timeout_s=timeout_s)
        bearer = self._credential.bearer()
        try:
            return self._as(bearer, method, target, headers, body, timeout_s)
        except (TokenExpired, InvalidToken):
            self._credential.reject(bearer)
        if before_try is not None:
            before_try()
        return self._as(self._credential.bearer(), method, target, headers, body, timeout_s)

    def _as(
        self, bearer: str, method: str, target: str, headers: Mapping[str, str], body: Body, timeout_s: float | None
    ) -> Response:
        sent = {**headers, "Authorization": f"Bearer {bearer}"}
        return self.transport.exchange(method, target, sent, body, timeout_s=timeout_s)


def read_json(response: Response) -> Any:
    """The JSON of a response; None when it has no body. Raises Unavailable when it is not JSON."""
    text = response.read()
    if not text:
        return None
    try:
        return json.loads(text)
    except ValueError:
        raise Unavailable("the answer is not JSON: is this the address of a hive?") from None
