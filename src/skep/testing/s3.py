"""Signed S3 requests that a test can bend, for a hive in the process."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import httpx

from skep.auth import Principal
from skep.base.clock import Clock
from skep.frontends.s3 import sigv4
from skep.frontends.s3.dates import iso_date
from skep.testing.hive import PASSWORD, TestHive

HOST = "hive.test"


@dataclass
class Signer:
    """Sends requests as an access key's bearer would."""

    client: httpx.AsyncClient
    access_key: str
    secret: str
    date: str
    base: str = "/s3"
    headers: dict[str, str] = field(default_factory=dict)

    def signed(
        self,
        method: str,
        path: str,
        query: str = "",
        headers: Mapping[str, str] | None = None,
        payload: str = sigv4.UNSIGNED,
    ) -> dict[str, str]:
        """The headers of a request with its signature."""
        sent = {"host": HOST, "x-amz-date": self.date, "x-amz-content-sha256": payload, **(headers or {})}
        scope = sigv4.CredentialScope(self.access_key, self.date[:8], "us-east-1")
        canonical = sigv4.canonical_request(
            method,
            sigv4.canonical_path((self.base + path).encode()),
            sigv4.canonical_query(sigv4.parse_query(query.encode())),
            sorted(sent.items()),
            payload,
        )
        key = sigv4.signing_key(self.secret, scope.date, scope.region)
        signature = sigv4.sign(key, sigv4.string_to_sign(self.date, scope, canonical))
        sent["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={self.access_key}/{scope.text}, SignedHeaders={';'.join(sorted(sent))},"
            f" Signature={signature}"
        )
        return sent

    async def send(
        self,
        method: str,
        path: str,
        query: str = "",
        *,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        payload: str | None = None,
        unsigned: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """Send a request; ``unsigned`` headers are added after it was signed."""
        payload = hashlib.sha256(body).hexdigest() if payload is None else payload
        signed = self.signed(method, path, query, headers, payload)
        url = f"http://{HOST}{self.base}{path}" + (f"?{query}" if query else "")
        return await self.client.request(method, url, headers={**signed, **(unsigned or {})}, content=body)

    def presigned(self, method: str, path: str, expires: str = "60", date: str = "") -> str:
        """A presigned URL."""
        date = date or self.date
        scope = sigv4.CredentialScope(self.access_key, date[:8], "us-east-1")
        query = (
            f"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={quote(self.access_key + '/' + scope.text, safe='')}"
            f"&X-Amz-Date={date}&X-Amz-Expires={expires}&X-Amz-SignedHeaders=host"
        )
        canonical = sigv4.canonical_request(
            method,
            sigv4.canonical_path((self.base + path).encode()),
            sigv4.canonical_query(sigv4.parse_query(query.encode())),
            [("host", HOST)],
            sigv4.UNSIGNED,
        )
        key = sigv4.signing_key(self.secret, scope.date, scope.region)
        signature = sigv4.sign(key, sigv4.string_to_sign(date, scope, canonical))
        return f"http://{HOST}{self.base}{path}?{query}&X-Amz-Signature={signature}"


def code_of(answer: httpx.Response) -> str:
    """The code in an error's XML; empty where there is none."""
    match = re.search(r"<Error><Code>(\w+)</Code>", answer.text)
    return match[1] if match else ""


async def principal_of(hive: TestHive, name: str) -> Principal:
    """The principal of a user that is there."""
    pair = await hive.hive.auth.login(name, PASSWORD)
    return await hive.hive.auth.authenticate_token(pair.access_token)


async def signer_of(hive: TestHive, clock: Clock, name: str, **bounds: Any) -> Signer:
    """A new access key of a user."""
    made = await hive.hive.auth.create_access_key(await principal_of(hive, name), "test", **bounds)
    date = sigv4_date(clock.now_us())
    return Signer(hive.anonymous, made.info.access_key, made.secret, date)


def sigv4_date(time_us: int) -> str:
    """A time as signatures have it."""
    return re.sub(r"[-:]|\.\d+", "", iso_date(time_us))
