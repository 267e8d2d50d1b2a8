"""Calls to a provider's JSON API: a bearer token, patience with limits, and a clear word on what is not known.

Answers are told apart by what may have happened at the other end:

- refused (4xx): nothing was done; ``MachineRefused`` with the provider's words
- too many requests (429): nothing was done; asked again after the time it names
- 5xx, a broken or late answer, an answer that is no JSON: not known. What can be repeated (GET, DELETE) is; an order
  is not, and raises ``Lost``, whose catcher must look what became of it.
"""

from __future__ import annotations

import json
from typing import Any

import httpx

from skep.base.clock import Clock
from skep.base.errors import BadInput, MachineRefused, MachinesUnavailable

ATTEMPTS_MAX = 6
RETRY_S = (0.5, 1.0, 2.0, 4.0, 8.0)
RETRY_AFTER_MAX_S = 60.0
ANSWER_MAX_BYTES = 16 << 20
TIMEOUT_S = 30.0
WORDS_MAX_CHARS = 300


class Lost(Exception):
    """It is not known whether an order was carried out."""


class Api:
    """One account at one provider. The token is in no message, log line or repr."""

    def __init__(self, provider: str, token: str, base_url: str, clock: Clock, timeout_s: float = TIMEOUT_S) -> None:
        self._provider = provider
        self._token = token
        self._clock = clock
        url = httpx.URL(base_url)
        if url.scheme != "https" and url.host not in ("127.0.0.1", "localhost", "::1"):
            raise BadInput(f"{provider} at {base_url}: a token is sent over https alone")
        self._client = httpx.AsyncClient(
            base_url=url,
            verify=url.scheme == "https",
            headers={"authorization": f"Bearer {token}", "accept": "application/json"},
            timeout=timeout_s,
            follow_redirects=False,
            limits=httpx.Limits(max_connections=8),
        )

    def __repr__(self) -> str:
        return f"Api({self._provider!r})"

    async def send(
        self, method: str, path: str, body: dict[str, Any] | None = None, *, missing_ok: bool = False
    ) -> dict[str, Any]:
        """One call, repeated where that is harmless; empty for 204, and for 404 with ``missing_ok``.

        Raises Lost for an order (POST) whose fate is not known, MachinesUnavailable when a harmless call keeps
        failing, or the provider keeps asking for patience; MachineRefused.
        """
        why = ""
        for attempt in range(ATTEMPTS_MAX):
            if attempt:
                await self._clock.sleep(RETRY_S[min(attempt - 1, len(RETRY_S) - 1)])
            try:
                status, headers, content = await self._exchange(method, path, body)
            except (httpx.HTTPError, httpx.StreamError) as error:
                why = f"{type(error).__name__} {self._shown(str(error))}".strip()
                if method == "POST" and not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
                    raise Lost(why) from None
                continue
            if status == 429:
                why = "it answers that there are too many requests"
                await self._clock.sleep(_patience_s(headers, self._clock))
                continue
            answer = _parsed(content)
            if status < 300 and (answer is not None or status == 204):
                return answer or {}
            if 400 <= status < 500:
                if status == 404 and missing_ok:
                    return {}
                raise MachineRefused(f"{self._provider} refuses {method} {path.partition('?')[0]}: "
                                     f"{self._words(status, answer)}", status=status)  # fmt: skip
            why = f"it answers {status}" if status >= 300 else "its answer is no JSON"
            if method == "POST":
                raise Lost(why)
        raise MachinesUnavailable(f"{self._provider} does not answer {method} {path.partition('?')[0]}: {why}")

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _exchange(self, method: str, path: str, body: dict[str, Any] | None) -> tuple[int, httpx.Headers, bytes]:
        async with self._client.stream(method, path, json=body) as answer:
            content = bytearray()
            async for piece in answer.aiter_bytes():
                content += piece
                if len(content) > ANSWER_MAX_BYTES:
                    raise httpx.DecodingError(f"an answer of more than {ANSWER_MAX_BYTES} bytes")
            return answer.status_code, answer.headers, bytes(content)

    def _words(self, status: int, answer: dict[str, Any] | None) -> str:
        said = self._shown(str((answer or {}).get("message", "")))
        if status in (401, 403):
            return f"the token is not taken, or may not do this ({status} {said})"
        return f"{said or 'no reason'} ({status})"

    def _shown(self, text: str) -> str:
        return text.replace(self._token, "(hidden)")[:WORDS_MAX_CHARS]


def _parsed(content: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(content)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _patience_s(headers: httpx.Headers, clock: Clock) -> float:
    """How long the provider asks to wait (Retry-After in seconds, or RateLimit-Reset in seconds since 1970)."""
    for name, offset_s in (("retry-after", 0.0), ("ratelimit-reset", clock.now_us() / 1e6)):
        said = headers.get(name, "")
        if said.isdigit():
            return min(RETRY_AFTER_MAX_S, max(0.0, float(said) - offset_s))
    return 5.0
