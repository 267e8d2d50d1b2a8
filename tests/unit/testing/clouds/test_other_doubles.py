"""The doubles of Google Drive, OneDrive and Box answer as their providers' documentation shows."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from skep.testing.clouds.base import CLIENT_ID, CLIENT_SECRET, CloudDouble
from skep.testing.clouds.box import BoxDouble
from skep.testing.clouds.examples import check, examples
from skep.testing.clouds.gdrive import DriveDouble
from skep.testing.clouds.onedrive import OneDriveDouble


class Caller:
    """Calls below a double's API or content address, with a token."""

    def __init__(self, double: CloudDouble) -> None:
        self.double = double
        self.provider = double.provider.at(double.base_url)
        self.examples = examples(double.name)
        self.token = double.grant().access
        self.shown: set[str] = set()

    def __call__(self, method: str, path: str, *, content_host: bool = False, **options: Any) -> httpx.Response:
        headers = {"authorization": f"Bearer {self.token}", **options.pop("headers", {})}
        base = self.provider.content_url if content_host else self.provider.api_url
        return httpx.request(method, path if path.startswith("http") else base + path, headers=headers, **options)

    def like(self, example: str, answer: httpx.Response) -> httpx.Response:
        """The answer, which is as the example shows."""
        self.shown.add(example)
        check(answer, self.examples[example])
        return answer

    def log_in(self) -> None:
        """The OAuth endpoints, with PKCE."""
        verifier = "v" * 43
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        query = {
            "client_id": CLIENT_ID, "response_type": "code", "redirect_uri": "http://hive/back", "state": "s",
            "code_challenge": challenge, "code_challenge_method": "S256", "scope": " ".join(self.provider.scopes),
            **self.provider.extra,
        }  # fmt: skip
        back = httpx.get(self.provider.authorize_url, params=query).headers["location"]
        form = {
            "grant_type": "authorization_code", "code": parse_qs(urlsplit(back).query)["code"][0],
            "redirect_uri": "http://hive/back", "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET,
            "code_verifier": verifier,
        }  # fmt: skip
        wrong = httpx.post(self.provider.token_url, data={**form, "code_verifier": "w" * 43})
        assert (wrong.status_code, wrong.json()["error"]) == (400, "invalid_grant")
        back = httpx.get(self.provider.authorize_url, params=query).headers["location"]
        form["code"] = parse_qs(urlsplit(back).query)["code"][0]
        first = self.like("token for a code", httpx.post(self.provider.token_url, data=form))
        again = {"grant_type": "refresh_token", "refresh_token": first.json()["refresh_token"], "client_id": CLIENT_ID}
        self.like("token for a refresh token", httpx.post(self.provider.token_url, data=again))
        reused = httpx.post(self.provider.token_url, data=again).status_code
        assert reused == (400 if self.double.rotates_refresh else 200)

    def all_shown(self) -> None:
        """Every example of the file was compared with an answer."""
        assert self.shown == set(self.examples)


@pytest.fixture
def drive() -> Iterator[Caller]:
    double = DriveDouble(room_bytes=2 << 20)
    with double.served():
        yield Caller(double)


def related(about: Any, content: bytes) -> dict[str, Any]:
    body = (
        b"--b\r\nContent-Type: application/json\r\n\r\n" + json.dumps(about).encode()
        + b"\r\n--b\r\nContent-Type: application/octet-stream\r\n\r\n" + content + b"\r\n--b--\r\n"
    )  # fmt: skip
    return {"content": body, "headers": {"content-type": "multipart/related; boundary=b"}}


def test_google_drive(drive: Caller) -> None:
    params = {"uploadType": "multipart"}
    about = {"name": "report.bin", "parents": ["root"]}
    made = drive("POST", "/files", content_host=True, params=params, **related(about, b"2 3 5 7"))
    drive.like("files.create", made)
    twin = drive("POST", "/files", content_host=True, params=params, **related(about, b"twin"))
    assert twin.json()["id"] != made.json()["id"], "names are not unique"
    query = {"q": "name = 'report.bin' and 'root' in parents and trashed = false"}
    listed = drive.like("files.list", drive("GET", "/files", params=query))
    assert len(listed.json()["files"]) == 2
    drive.like("files.get of a missing file", drive("GET", "/files/nothing"))
    too_much = drive("POST", "/files", content_host=True, params=params, **related(about, bytes(3 << 20)))
    drive.like("files.create without room", too_much)
    begin = drive(
        "POST", "/files", content_host=True, params={"uploadType": "resumable"}, json=about,
        headers={"x-upload-content-length": str(600 << 10)},
    )  # fmt: skip
    session = drive.like("a resumable session begins", begin).headers["location"]
    span = {"content-range": f"bytes 0-{(512 << 10) - 1}/{600 << 10}"}
    drive.like("a part was taken", drive("PUT", session, content=bytes(512 << 10), headers=span))
    drive.like("about.get storageQuota", drive("GET", "/about", params={"fields": "storageQuota"}))
    drive.like("about.get user", drive("GET", "/about", params={"fields": "user"}))
    drive.log_in()
    drive.double.expire_tokens()
    drive.like("with an expired token", drive("GET", "/about", params={"fields": "user"}))
    drive.all_shown()


@pytest.fixture
def one() -> Iterator[Caller]:
    double = OneDriveDouble(room_bytes=2 << 20)
    with double.served():
        yield Caller(double)


def test_onedrive(one: Caller) -> None:
    one.like("make a folder", one("POST", "/me/drive/root/children", json={"name": "FolderA", "folder": {}}))
    file = "/me/drive/root:/FolderA/myfile.jpg"
    one.like("put content", one("PUT", f"{file}:/content", content=b"2 3 5 7"))
    fail = {"@microsoft.graph.conflictBehavior": "fail"}
    again = one("PUT", f"{file}:/content", content=b"x", params=fail)
    one.like("put content that is there, conflictBehavior fail", again)
    one.like("put content without room", one("PUT", f"{file}2:/content", content=bytes(3 << 20)))
    assert one("PUT", "/me/drive/root:/FolderA/con:/content", content=b"x").status_code == 400
    one.like("list children", one("GET", "/me/drive/root:/FolderA:/children"))
    one.like("get a missing item", one("GET", "/me/drive/root:/FolderA/nothing"))
    where = one.like("get content", one("GET", f"{file}:/content")).headers["location"]
    assert httpx.get(where, headers={"range": "bytes=2-2"}).content == b"3"
    begun = one.like("createUploadSession", one("POST", "/me/drive/root:/FolderA/large:/createUploadSession", json={}))
    url, size = begun.json()["uploadUrl"], 400 << 10
    first = httpx.put(url, content=bytes(320 << 10), headers={"content-range": f"bytes 0-{(320 << 10) - 1}/{size}"})
    one.like("a part was taken", first)
    span = {"content-range": f"bytes {320 << 10}-{size - 1}/{size}"}
    one.like("the last part was taken", httpx.put(url, content=bytes(80 << 10), headers=span))
    one.like("drive", one("GET", "/me/drive"))
    one.log_in()
    one.double.expire_tokens()
    one.like("with an expired token", one("GET", "/me/drive"))
    one.all_shown()


@pytest.fixture
def box() -> Iterator[Caller]:
    double = BoxDouble(room_bytes=2 << 20)
    double.part_bytes, double.session_min_bytes = 100, 150
    with double.served():
        yield Caller(double)


def form(name: str, content: bytes) -> dict[str, Any]:
    return {"files": [("attributes", (None, json.dumps({"name": name, "parent": {"id": "0"}}))), ("file", content)]}


def sha(content: bytes) -> str:
    return f"sha={base64.b64encode(hashlib.sha1(content).digest()).decode()}"


def test_box(box: Caller) -> None:
    up: dict[str, Any] = {"content_host": True}
    made = box.like("upload", box("POST", "/files/content", **up, **form("Contract.pdf", b"2 3 5 7")))
    file_id = made.json()["entries"][0]["id"]
    box.like("upload of a name that is there", box("POST", "/files/content", **up, **form("contract.PDF", b"x")))
    about = {"name": "Contract.pdf", "parent": {"id": "0"}, "size": 5}
    box.like("preflight of a name that is there", box("OPTIONS", "/files/content", json=about))
    box.like("preflight of a free name", box("OPTIONS", "/files/content", json={**about, "name": "free"}))
    folder = {"name": "Contracts", "parent": {"id": "0"}}
    box.like("make a folder", box("POST", "/folders", json=folder))
    box.like("make a folder that is there", box("POST", "/folders", json=folder))
    box.like("folder items", box("GET", "/folders/0/items", params={"usemarker": "true", "limit": "1000"}))
    box.like("get a missing file", box("GET", "/files/1"))
    box.like("upload without room", box("POST", "/files/content", **up, **form("big", bytes(3 << 20))))
    where = box.like("download", box("GET", f"/files/{file_id}/content")).headers["location"]
    assert httpx.get(where).content == b"2 3 5 7"
    box.like("delete", box("DELETE", f"/files/{file_id}"))
    begun = box("POST", "/files/upload_sessions", **up, json={"folder_id": "0", "file_name": "l", "file_size": 150})
    session = box.like("begin an upload session", begun).json()["id"]
    headers = {"digest": sha(bytes(100)), "content-range": "bytes 0-99/150"}
    box.like(
        "upload a part", box("PUT", f"/files/upload_sessions/{session}", **up, content=bytes(100), headers=headers)
    )
    box.like("user", box("GET", "/users/me"))
    box.log_in()
    box.all_shown()
