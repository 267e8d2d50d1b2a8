"""The double of Dropbox answers as Dropbox's documentation shows."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from skep.stores.drivers.cloud.dropbox import BLOCK_BYTES, content_hash
from skep.testing.clouds import examples as shapes
from skep.testing.clouds.base import CLIENT_ID, CLIENT_SECRET
from skep.testing.clouds.dropbox import DropboxDouble

EXAMPLES = shapes.examples("dropbox")


class Caller:
    def __init__(self, double: DropboxDouble) -> None:
        self.double = double
        self.token = double.grant().access

    def __call__(self, route: str, argument: Any, content: bytes | None = None) -> httpx.Response:
        headers = {"authorization": f"Bearer {self.token}"}
        if content is None:
            url, body = f"{self.double.base_url}/api.dropboxapi.com/2/{route}", json.dumps(argument).encode()
        else:
            url, body = f"{self.double.base_url}/content.dropboxapi.com/2/{route}", content
            headers["dropbox-api-arg"] = json.dumps(argument)
        return httpx.post(url, headers=headers, content=body)


@pytest.fixture
def call() -> Iterator[Caller]:
    double = DropboxDouble(room_bytes=100)
    with double.served():
        yield Caller(double)


def test_files(call: Caller) -> None:
    path = {"path": "/Homework/math/Prime_Numbers.txt"}
    shapes.check(call("files/upload", {**path, "mode": "overwrite"}, b"2 3 5 7"), EXAMPLES["files/upload"])
    shapes.check(call("files/get_metadata", path), EXAMPLES["files/get_metadata"])
    shapes.check(call("files/list_folder", {"path": "/homework/math"}), EXAMPLES["files/list_folder"])
    conflict = call("files/upload", {**path, "mode": "add"}, b"other")
    shapes.check(conflict, EXAMPLES["files/upload in conflict"])
    shapes.check(call("files/upload", {"path": "/big"}, bytes(101)), EXAMPLES["files/upload without room"])
    part = call("files/download", path, b"")
    assert (part.content, json.loads(part.headers["dropbox-api-result"])["size"]) == (b"2 3 5 7", 7)
    shapes.check(call("files/delete_v2", path), EXAMPLES["files/delete_v2"])
    shapes.check(call("files/delete_v2", path), EXAMPLES["files/delete_v2 of a missing file"])
    shapes.check(call("files/get_metadata", path), EXAMPLES["files/get_metadata of a missing file"])


def test_deleting_batches(call: Caller) -> None:
    names = [f"/homework/{number}.txt" for number in range(4)]
    for name in names:
        call("files/upload", {"path": name}, b"x")
    shapes.check(
        call("files/delete_batch", {"entries": [{"path": names[0]}]}), EXAMPLES["files/delete_batch of a few files"]
    )
    started = call("files/delete_batch", {"entries": [{"path": name} for name in names]})
    shapes.check(started, EXAMPLES["files/delete_batch of many files"])
    job = {"async_job_id": started.json()["async_job_id"]}
    shapes.check(call("files/delete_batch/check", job), EXAMPLES["files/delete_batch/check"])
    done = call("files/delete_batch/check", job).json()
    assert [entry[".tag"] for entry in done["entries"]] == ["failure", "success", "success", "success"]
    assert done["entries"][0]["failure"] == {".tag": "path_lookup", "path_lookup": {".tag": "not_found"}}


def test_sessions(call: Caller) -> None:
    started = call("files/upload_session/start", {"close": False}, b"a")
    shapes.check(started, EXAMPLES["files/upload_session/start"])
    cursor = {"session_id": started.json()["session_id"], "offset": 0}
    wrong = call("files/upload_session/append_v2", {"cursor": cursor}, b"b")
    shapes.check(wrong, EXAMPLES["files/upload_session/append_v2 at a wrong offset"])
    cursor["offset"] = wrong.json()["error"]["correct_offset"]
    assert call("files/upload_session/append_v2", {"cursor": cursor}, b"b").json() is None
    done = call("files/upload_session/finish", {"cursor": {**cursor, "offset": 2}, "commit": {"path": "/s"}}, b"c")
    shapes.check(done, EXAMPLES["files/upload"])
    assert done.json()["content_hash"] == content_hash(b"abc")


def test_accounts_and_tokens(call: Caller) -> None:
    shapes.check(call("users/get_space_usage", None), EXAMPLES["users/get_space_usage"])
    shapes.check(call("users/get_current_account", None), EXAMPLES["users/get_current_account"])
    call.double.expire_tokens()
    shapes.check(call("users/get_space_usage", None), EXAMPLES["with an expired token"])


def test_oauth(call: Caller) -> None:
    base, verifier = call.double.base_url, "v" * 43
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    query = {
        "client_id": CLIENT_ID, "response_type": "code", "redirect_uri": "http://hive/back", "state": "s",
        "code_challenge": challenge, "code_challenge_method": "S256", "token_access_type": "offline",
        "scope": " ".join(call.double.provider.scopes),
    }  # fmt: skip
    back = httpx.get(f"{base}/www.dropbox.com/oauth2/authorize", params=query).headers["location"]
    found = parse_qs(urlsplit(back).query)
    assert found["state"] == ["s"]
    form = {
        "grant_type": "authorization_code", "code": found["code"][0], "redirect_uri": "http://hive/back",
        "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, "code_verifier": verifier,
    }  # fmt: skip
    url = f"{base}/api.dropboxapi.com/oauth2/token"
    first = httpx.post(url, data=form)
    shapes.check(first, EXAMPLES["oauth2/token for a code"])
    assert httpx.post(url, data=form).json()["error"] == "invalid_grant", "a code is good once"
    again = {"grant_type": "refresh_token", "refresh_token": first.json()["refresh_token"], "client_id": CLIENT_ID}
    shapes.check(httpx.post(url, data=again), EXAMPLES["oauth2/token for a refresh token"])


def test_the_hash_of_the_documentation() -> None:
    empty = json.loads((shapes.VECTORS / "dropbox.json").read_text())["content_hash"]["is"]
    assert content_hash(b"") == empty
    value = b"x" * (BLOCK_BYTES + 5)
    blocks = hashlib.sha256(value[:BLOCK_BYTES]).digest() + hashlib.sha256(value[BLOCK_BYTES:]).digest()
    assert content_hash(value) == hashlib.sha256(blocks).hexdigest()


def test_the_comparison_sees_what_differs() -> None:
    assert shapes.differences({"a": 1}, {"a": "1"}) == [".a: int instead of str"]
    assert shapes.differences({}, {"a": 1}) == [".a: missing"]
    assert shapes.differences({"error_summary": "x/y"}, {"error_summary": "path/y"})
    assert shapes.differences({"a": [{"b": 1, "c": 2}]}, {"a": [{"b": 5}]}) == []
