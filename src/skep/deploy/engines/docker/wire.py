"""Requests to a container daemon, with its errors as ours. aiodocker holds the connection: a socket, or SSH."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import asyncssh
from aiodocker import Docker
from aiodocker.exceptions import DockerError

from skep.base.errors import (
    BadInput,
    Conflict,
    EngineUnavailable,
    ImageNotFound,
    InUse,
    JobNotFound,
    PortInUse,
    SkepError,
    StoreFull,
    TimedOut,
)

TIMEOUT_S = 60.0
_NO_PORT = ("port is already allocated", "address already in use")
_NO_ROOM = ("no space left on device", "disk quota exceeded")


class Wire:
    """One daemon. ``url``: ``unix:///var/run/docker.sock``, ``ssh://root@host`` or ``tcp://host:port``."""

    def __init__(self, host: str, url: str) -> None:
        self.host = host
        self.url = url
        self._docker: Docker | None = None

    @property
    def docker(self) -> Docker:
        """The client; made when it is first needed, in the loop that needs it."""
        if self._docker is None:
            self._docker = Docker(url=self.url)
        return self._docker

    @asynccontextmanager
    async def response(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        body: Any = None,
        timeout_s: float | None = TIMEOUT_S,
        kind: str = "application/json",
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """A response to read from. ``timeout_s`` of None: it may take for ever, but not to begin."""
        timeout = aiohttp.ClientTimeout(total=timeout_s, sock_connect=15.0)
        data = json.dumps(body) if isinstance(body, dict) else body
        try:
            async with self.docker._query(
                path, method, params=dict(params or {}), data=data, timeout=timeout, headers={"Content-Type": kind}
            ) as response:
                try:
                    yield response
                finally:
                    response.close()
        except DockerError as error:
            raise self._translated(error) from None
        except TimeoutError:
            raise TimedOut(f"the engine on {self.host} did not answer {method} /{path} in {timeout_s} s") from None
        except (aiohttp.ClientError, OSError, asyncssh.Error) as error:
            raise EngineUnavailable(f"the engine on {self.host} ({self.url}) does not answer: {error}") from None

    async def json(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        body: Any = None,
        timeout_s: float | None = TIMEOUT_S,
    ) -> Any:
        """A whole answer as a value; None when there is none."""
        async with self.response(method, path, params=params, body=body, timeout_s=timeout_s) as response:
            content = await response.read()
        if not content.strip():
            return None
        try:
            return json.loads(content)
        except ValueError:
            raise EngineUnavailable(f"the engine on {self.host} answers {method} /{path} with no JSON") from None

    def _translated(self, error: DockerError) -> SkepError:
        said = str(error.message)
        low = said.lower()
        about = f"{self.host}: {said}"
        if error.status == 900:
            return EngineUnavailable(f"the engine on {self.host} cannot be reached: {said}")
        if any(words in low for words in _NO_PORT):
            return PortInUse(about)
        if any(words in low for words in _NO_ROOM):
            return StoreFull(about)
        if "no such image" in low or "manifest unknown" in low or "pull access denied" in low:
            return ImageNotFound(about)
        if error.status == 404:
            return JobNotFound(about)
        if error.status == 409:
            return InUse(about) if "in use" in low else Conflict(about)
        return BadInput(about) if error.status == 400 else EngineUnavailable(f"the engine on {about}")

    async def close(self) -> None:
        """Close the connection."""
        docker, self._docker = self._docker, None
        if docker is not None:
            await docker.close()
