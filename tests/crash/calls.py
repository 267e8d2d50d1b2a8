"""Calls of the API over one connection, quick enough for hundreds of looks at everything."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import quote, urlencode

TIMEOUT_S = 60.0
JOB_LIMIT_S = 120.0
JOB_POLL_S = 0.01
PAGES_MAX = 100


class HiveGone(Exception):
    """The connection broke: what was asked for is done or not."""


class Refused(Exception):
    """The hive answered with a problem."""

    def __init__(self, method: str, target: str, status: int, body: bytes) -> None:
        super().__init__(f"{method} {target}: {status} {body[:2000].decode(errors='replace')}")
        self.status = status


class Calls:
    """One user's connection; for one thread."""

    def __init__(self, url: str, token: str) -> None:
        self._connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=TIMEOUT_S)
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def close(self) -> None:
        self._connection.close()

    def raw(
        self,
        method: str,
        path: str,
        query: dict[str, object] | None = None,
        body: bytes | Iterable[bytes] | None = None,
        **headers: str,
    ) -> bytes:
        """Send a request; the body of a good answer. An iterable is sent chunked, of unknown length."""
        target = quote(path) + (f"?{urlencode(query)}" if query else "")
        try:
            self._connection.request(method, target, body, {**self._headers, **headers})
            answer = self._connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise HiveGone(f"{method} {target}: {error!r}") from error
        if answer.status >= 300:
            raise Refused(method, target, answer.status, content)
        return content

    def json(self, method: str, path: str, query: dict[str, object] | None = None, send: object = None) -> Any:
        """Send JSON and get JSON."""
        body = None if send is None else json.dumps(send).encode()
        content = self.raw(method, path, query, body, **({"Content-Type": "application/json"} if body else {}))
        return json.loads(content) if content else None

    def pages(self, path: str, query: dict[str, object]) -> Iterator[Any]:
        """All pages of a listing."""
        after = None
        for _ in range(PAGES_MAX):
            page = self.json("GET", path, {**query, **({"after": after} if after else {})})
            yield page
            after = page.get("next")
            if not after:
                return
        raise AssertionError(f"{path} does not end")

    def job(self, kind: str, **options: object) -> Any:
        """Run a job to its end; its result."""
        job = self.json("POST", "/api/admin/jobs", send={"kind": kind, "options": options})
        deadline = time.monotonic() + JOB_LIMIT_S
        while job["state"] == "running":
            assert time.monotonic() < deadline, f"the job {kind} does not end: {job}"
            time.sleep(JOB_POLL_S)  # the API has no other way to wait for a job
            job = self.json("GET", f"/api/admin/jobs/{job['id']}")
        assert job["state"] == "done", job
        return job["result"]
