"""One namespace behind all doors: what goes in by one is the same file behind the others, under the same rules.

A real hive; plain clients: httpx for the API, WebDAV and tus, boto3 for S3, asyncssh for SFTP.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import random
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import asyncssh
import boto3
import httpx
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from lxml import etree

from skep.testing.process import RunningHive, made_hive

BEN_PASSWORD = "a long password of ben's"
PROPFIND = (
    '<d:propfind xmlns:d="DAV:" xmlns:oc="http://owncloud.org/ns"><d:prop><oc:id/><d:getetag/>'
    "<d:getcontentlength/></d:prop></d:propfind>"
)
LOCK = (
    '<d:lockinfo xmlns:d="DAV:"><d:lockscope><d:exclusive/></d:lockscope>'
    "<d:locktype><d:write/></d:locktype></d:lockinfo>"
)


@dataclass
class Doors:
    """One user's clients at every door. What a door says no with is its own word: a status, a code, an exception.

    ``root`` is what paths are in: the user's own space, or a share, which S3 reaches by a key of its own.
    """

    url: str
    name: str
    password: str
    s3_port: int
    sftp_port: int
    share: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        said = httpx.post(f"{self.url}/api/auth/login", json={"name": self.name, "password": self.password}).json()
        self.http = httpx.Client(
            base_url=self.url, headers={"authorization": f"Bearer {said['access_token']}"}, timeout=60
        )
        space = {"space": self.share["id"]} if self.share else {}
        self.in_space = space
        key = self.http.post("/api/auth/access-keys", json={"name": f"of {self.name}", **space}).json()
        self.s3 = boto3.client(
            "s3", endpoint_url=f"http://127.0.0.1:{self.s3_port}", aws_access_key_id=key["access_key"],
            aws_secret_access_key=key["secret"], region_name="us-east-1",
            config=Config(retries={"max_attempts": 1, "mode": "standard"}, s3={"addressing_style": "path"}),
        )  # fmt: skip

    # each way to write, to read, to delete; the answer is "" or the door's word for no

    def dav_url(self, path: str) -> str:
        """The URL of a path at the WebDAV door."""
        top = f"/dav-spaces/{quote(self.share['name'])}" if self.share else "/dav"
        return top + quote(path)

    def sftp_path(self, path: str) -> str:
        """The path that SFTP has for it."""
        return (f"/.spaces/{self.share['name']}" if self.share else "") + path

    def api_put(self, path: str, body: bytes) -> str:
        answer = self.http.put("/api/filesystem/data", params={"path": path, **self.in_space}, content=body)
        return "" if answer.is_success else f"{answer.status_code} {answer.json()['code']}"

    def dav_put(self, path: str, body: bytes) -> str:
        answer = self.http.put(self.dav_url(path), content=body)
        return "" if answer.is_success else str(answer.status_code)

    def s3_put(self, path: str, body: bytes) -> str:
        bucket, _, key = path[1:].partition("/")
        return of_s3(lambda: self.s3.put_object(Bucket=bucket, Key=key, Body=body))

    def tus_put(self, path: str, body: bytes) -> str:
        answer = self.tus(path, body)
        return "" if answer.is_success else f"{answer.status_code}"

    def tus(self, path: str, body: bytes) -> httpx.Response:
        """Create an upload, send it in two requests; the last answer."""
        metadata = {"path": path, **self.in_space}
        said = ",".join(f"{name} {base64.b64encode(value.encode()).decode()}" for name, value in metadata.items())
        head = {"tus-resumable": "1.0.0"}
        made = self.http.post("/tus/", headers={**head, "upload-length": str(len(body)), "upload-metadata": said})
        if made.status_code != 201 or not body:
            return made
        where, middle = made.headers["location"], len(body) // 2
        for start, part in ((0, body[:middle]), (middle, body[middle:])):
            more = {"upload-offset": str(start), "content-type": "application/offset+octet-stream"}
            made = self.http.patch(where, headers={**head, **more}, content=part)
            if not made.is_success:
                break
        return made

    def sftp_put(self, path: str, body: bytes) -> str:
        async def put(sftp: asyncssh.SFTPClient) -> None:
            async with sftp.open(self.sftp_path(path), "wb") as file:
                await file.write(body)

        return self.sftp(put)

    def sftp(self, work: Callable[[asyncssh.SFTPClient], Any]) -> str:
        """Do something in a session; the answer."""

        async def session() -> str:
            async with (
                asyncssh.connect(
                    "127.0.0.1", self.sftp_port, username=self.name, password=self.password, known_hosts=None,
                    client_keys=[], config=None,
                ) as ssh,
                ssh.start_sftp_client() as client,
            ):  # fmt: skip
                try:
                    self.said = await work(client)
                except asyncssh.SFTPError as error:
                    return f"{type(error).__name__}: {error.reason}"
                return ""

        return asyncio.run(session())

    def put(self, door: str, path: str, body: bytes) -> str:
        """Write by a door; its answer."""
        answer: str = getattr(self, f"{door}_put")(path, body)
        return answer

    def read(self, door: str, path: str) -> bytes:
        """Read by a door."""
        if door == "api":
            return self.http.get("/api/filesystem/data", params={"path": path, **self.in_space}).content
        if door == "dav":
            return self.http.get(self.dav_url(path)).content
        if door == "s3":
            bucket, _, key = path[1:].partition("/")
            whole: bytes = self.s3.get_object(Bucket=bucket, Key=key)["Body"].read()
            return whole

        async def get(sftp: asyncssh.SFTPClient) -> bytes:
            async with sftp.open(self.sftp_path(path), "rb") as file:
                return bytes(await file.read())

        assert self.sftp(get) == ""
        return bytes(self.said)

    def delete(self, door: str, path: str) -> str:
        """Delete by a door; its answer."""
        if door == "api":
            answer = self.http.delete("/api/filesystem/info", params={"path": path, **self.in_space})
            return "" if answer.is_success else f"{answer.status_code} {answer.json()['code']}"
        if door == "dav":
            answer = self.http.delete(self.dav_url(path))
            return "" if answer.is_success else str(answer.status_code)
        if door == "s3":
            bucket, _, key = path[1:].partition("/")
            return of_s3(lambda: self.s3.delete_object(Bucket=bucket, Key=key))
        return self.sftp(lambda sftp: sftp.remove(self.sftp_path(path)))

    def info(self, path: str) -> dict[str, Any]:
        """What the API says of a node."""
        said = self.http.get("/api/filesystem/info", params={"path": path, **self.in_space})
        assert said.status_code == 200, said.text
        found: dict[str, Any] = said.json()["info"]
        return found

    def trash(self) -> list[dict[str, Any]]:
        """The trash."""
        found: list[dict[str, Any]] = self.http.get("/api/filesystem/trash", params=self.in_space).json()["items"]
        return found

    def props(self, path: str, depth: str = "0") -> dict[str, tuple[str, str, str]]:
        """WebDAV's id, ETag and length, by path."""
        said = self.http.request("PROPFIND", self.dav_url(path), headers={"depth": depth}, content=PROPFIND)
        assert said.status_code == 207, (said.status_code, said.text)
        names = ("{http://owncloud.org/ns}id", "{DAV:}getetag", "{DAV:}getcontentlength")
        found = {}
        for one in etree.fromstring(said.content).iterfind("{DAV:}response"):
            found[one.findtext("{DAV:}href") or ""] = tuple(one.findtext(f".//{name}") or "" for name in names)
        return found  # type: ignore[return-value]


def of_s3(call: Callable[[], Any]) -> str:
    """Nothing, or S3's code for no."""
    try:
        call()
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return ""


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on."""
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports


@pytest.fixture(scope="module")
def hive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHive]:
    s3_port, sftp_port = free_ports(2)
    made = made_hive(tmp_path_factory.mktemp("one"), server__s3_port=str(s3_port), server__sftp_port=str(sftp_port))
    made.start()
    try:
        yield made
    finally:
        made.stop()


def doors_of(hive: RunningHive, name: str, password: str, share: dict[str, str] | None = None) -> Doors:
    ports = int(hive.settings["server__s3_port"]), int(hive.settings["server__sftp_port"])
    return Doors(hive.url, name, password, *ports, share or {})


@pytest.fixture(scope="module")
def ada(hive: RunningHive) -> Doors:
    """The administrator."""
    found = doors_of(hive, "admin", hive.password)
    made = found.http.post("/api/auth/users", json={"name": "ben", "password": BEN_PASSWORD})
    assert made.status_code == 201, made.text
    return found


@pytest.fixture
def bucket(ada: Doors, request: pytest.FixtureRequest) -> Iterator[str]:
    """A directory of the test's own, which is a bucket too."""
    name = "b" + hashlib.md5(request.node.name.encode()).hexdigest()[:12]
    ada.s3.create_bucket(Bucket=name)
    yield f"/{name}"
    assert ada.http.delete("/api/filesystem/info", params={"path": f"/{name}"}).is_success


WRITERS = ("api", "dav", "s3", "sftp", "tus")
READERS = ("api", "dav", "s3", "sftp")


@pytest.mark.parametrize("door", WRITERS)
def test_what_goes_in_by_one_door_is_behind_all(ada: Doors, bucket: str, door: str) -> None:
    path = f"{bucket}/a b ü.bin"
    ids = set()
    for number, body in enumerate((b"small, and first", random.Random(3).randbytes(3_000_000)), 1):
        assert ada.put(door, path, body) == ""
        known = ada.info(path)
        ids.add(known["id"])
        assert (known["version_number"], known["size_bytes"]) == (number, len(body))
        props = ada.props(bucket, "1")[ada.dav_url(path)]
        assert props[1:] == (f'"{known["etag"]}"', str(len(body)))
        assert props[0].replace("-", "") == known["id"].replace("-", "")
        get = ada.http.get("/api/filesystem/data", params={"path": path})
        head = ada.http.head(ada.dav_url(path))
        assert get.headers["etag"] == head.headers["etag"] == f'"{known["etag"]}"'
        listed = ada.s3.list_objects_v2(Bucket=bucket[1:])["Contents"]
        assert [(one["Key"], one["Size"]) for one in listed] == [("a b ü.bin", len(body))]
        tag = ada.s3.head_object(Bucket=bucket[1:], Key="a b ü.bin")["ETag"].strip('"')
        assert tag == listed[0]["ETag"].strip('"')
        assert tag in (hashlib.md5(body).hexdigest(), f"{known['etag'][:32]}-0")
        if door == "s3":
            assert tag == hashlib.md5(body).hexdigest()
        assert ada.sftp(lambda sftp: sftp.stat(path)) == ""
        assert ada.said.size == len(body)
        assert {who: ada.read(who, path) == body for who in READERS} == dict.fromkeys(READERS, True)
    assert len(ids) == 1


def test_a_resumable_upload_names_the_file_that_others_see(ada: Doors, bucket: str) -> None:
    path = f"{bucket}/by-tus"
    assert ada.put("s3", path, b"the first version") == ""
    answer = ada.tus(path, b"the second version")
    known = ada.info(path)
    assert answer.headers["content-location"] == f"/api/filesystem/data/{known['id']}"
    assert answer.headers["etag"] == f'"{known["etag"]}"'
    assert known["version_number"] == 2


def test_s3_tells_the_ids_of_the_versions_that_all_doors_make(ada: Doors, bucket: str) -> None:
    ada.s3.put_bucket_versioning(Bucket=bucket[1:], VersioningConfiguration={"Status": "Enabled"})
    for door in WRITERS:
        assert ada.put(door, f"{bucket}/v", f"by {door}".encode()) == ""
    node = ada.info(f"{bucket}/v")["id"]
    known = ada.http.get(f"/api/filesystem/versions/{node}").json()["versions"]
    listed = ada.s3.list_object_versions(Bucket=bucket[1:])["Versions"]
    assert {one["VersionId"] for one in listed} == {one["id"] for one in known}
    assert len(listed) == len(WRITERS)
    current = next(one["id"] for one in known if one["number"] == len(WRITERS))
    assert ada.s3.head_object(Bucket=bucket[1:], Key="v")["VersionId"] == current


def test_each_overwrite_is_one_version(ada: Doors, bucket: str) -> None:
    path = f"{bucket}/again"
    for number, door in enumerate((*WRITERS, *WRITERS), 1):
        assert ada.put(door, path, f"by {door}, {number}".encode()) == ""
        assert ada.info(path)["version_number"] == number
    node = ada.info(path)["id"]
    versions = ada.http.get(f"/api/filesystem/versions/{node}").json()["versions"]
    assert sorted(one["number"] for one in versions) == list(range(1, 11))


@pytest.mark.parametrize("door", READERS)
def test_what_a_door_deletes_is_in_the_trash_and_comes_back(ada: Doors, bucket: str, door: str) -> None:
    path = f"{bucket}/gone"
    ada.put("api", path, b"kept")
    node = ada.info(path)["id"]
    assert ada.delete(door, path) == ""
    assert ada.http.get("/api/filesystem/info", params={"path": path}).status_code == 404
    assert ada.http.request("PROPFIND", ada.dav_url(path), headers={"depth": "0"}).status_code == 404
    assert of_s3(lambda: ada.s3.head_object(Bucket=bucket[1:], Key="gone")) == "404"
    assert ada.sftp(lambda sftp: sftp.stat(path)).startswith("SFTPNoSuchFile")
    assert [one["id"] for one in ada.trash() if one["id"] == node] == [node]
    assert ada.http.post(f"/api/filesystem/trash/{node}/restore", json={}).is_success
    assert ada.read("s3", path) == b"kept" if door != "s3" else ada.info(path)["id"] == node


def test_a_webdav_lock_holds_at_every_door(ada: Doors, bucket: str) -> None:
    path = f"{bucket}/locked"
    ada.put("api", path, b"mine")
    got = ada.http.request("LOCK", ada.dav_url(path), content=LOCK, headers={"timeout": "Second-600"})
    assert got.status_code == 200
    token = got.headers["lock-token"]
    written = {door: ada.put(door, path, b"not mine") for door in WRITERS}
    deleted = {door: ada.delete(door, path) for door in READERS}
    assert ada.http.request("UNLOCK", ada.dav_url(path), headers={"lock-token": token}).status_code == 204
    assert "lock" in written.pop("sftp").removeprefix("SFTPFailure: ")
    assert "lock" in deleted.pop("sftp").removeprefix("SFTPFailure: ")
    assert written == {"api": "423 locked", "dav": "423", "s3": "XSkepLocked", "tus": "423"}
    assert deleted == {"api": "423 locked", "dav": "423", "s3": "XSkepLocked"}
    assert (ada.info(path)["version_number"], ada.read("sftp", path)) == (1, b"mine")
    assert {door: ada.put(door, path, b"free again") for door in WRITERS} == dict.fromkeys(WRITERS, "")


def test_the_quota_is_reached_in_the_middle(hive: RunningHive, ada: Doors) -> None:
    ben = doors_of(hive, "ben", BEN_PASSWORD)
    ben.s3.create_bucket(Bucket="full")
    assert ben.put("api", "/full/old", b"the old version") == ""
    space = ben.http.get("/api/filesystem/spaces").json()["spaces"][0]
    url = f"/api/filesystem/spaces/{space['id']}"
    assert ada.http.patch(url, json={"quota_bytes": space["used_bytes"] + 500_000}).is_success
    try:
        large = random.Random(5).randbytes(2_000_000)

        def pieces() -> Iterator[bytes]:
            for start in range(0, len(large), 65_536):
                yield large[start : start + 65_536]

        streamed = ben.http.put("/api/filesystem/data", params={"path": "/full/old"}, content=pieces())
        said = {door: ben.put(door, "/full/old", large) for door in WRITERS}
        assert ben.http.put("/dav/full/old", content=pieces()).status_code == 507
        assert (streamed.status_code, streamed.json()["code"]) == (507, "quota-exceeded")
        assert said.pop("sftp").startswith("SFTPFailure: ")
        assert said == {"api": "507 quota-exceeded", "dav": "507", "s3": "QuotaExceeded", "tus": "507"}
        assert {door: ben.read(door, "/full/old") for door in READERS} == dict.fromkeys(READERS, b"the old version")
        assert ben.info("/full/old")["version_number"] == 1
    finally:
        ada.http.patch(url, json={"quota_bytes": None})
    assert ben.put("sftp", "/full/old", b"fits") == ""


def test_names_are_their_bytes_at_every_door(ada: Doors, bucket: str) -> None:
    composed, decomposed = f"{bucket}/\u00e9", f"{bucket}/e\u0301"
    for door in WRITERS:
        assert ada.put(door, composed, f"one by {door}".encode()) == ""
        assert ada.put(door, decomposed, f"two by {door}".encode()) == ""
        for reader in READERS:
            assert ada.read(reader, composed) == f"one by {door}".encode()
            assert ada.read(reader, decomposed) == f"two by {door}".encode()
    assert ada.info(composed)["id"] != ada.info(decomposed)["id"]
    assert len(ada.props(bucket, "1")) == 3


def test_no_path_escapes_at_any_door(ada: Doors, bucket: str) -> None:
    """HTTP clients take dots out of URLs by themselves: these go as they are, or encoded."""
    outside = "/escaped"
    path = f"{bucket}/../../escaped/../..{bucket}/../escaped"
    raw = quote(f"/dav{path}", safe="/").replace("..", "%2e%2e")
    with ada_connection(ada) as connection:
        dav = raw_put(connection, ada, raw)
    answers = {
        "api": ada.put("api", path, b"x"),
        "tus": ada.put("tus", path, b"x"),
        "s3": of_s3(lambda: ada.s3.put_object(Bucket=bucket[1:], Key="../escaped", Body=b"x")),
    }
    assert dav in (400, 403)
    assert answers == {"api": "400 invalid-name", "tus": "400", "s3": "XSkepKeyNotAPath"}
    assert ada.http.get("/api/filesystem/info", params={"path": outside}).status_code == 404
    assert ada.sftp(lambda sftp: sftp.stat("/../../../etc/passwd")).startswith("SFTPNoSuchFile")
    assert ada.put("sftp", f"{bucket}/sub/../../..{bucket}/inside", b"x") == ""  # SSH paths are walked from the root
    assert ada.info(f"{bucket}/inside")["size_bytes"] == 1
    for name in ("nul\0l", "n" * 256):
        said = {door: ada.put(door, f"{bucket}/{name}", b"x") for door in WRITERS}
        assert said.pop("sftp").startswith("SFTPFailure")
        assert said.pop("dav") in ("400", "403")
        assert said == {"api": "400 invalid-name", "tus": "400", "s3": "XSkepKeyNotAPath"}


def ada_connection(doors: Doors) -> socket.socket:
    at = httpx.URL(doors.url)
    return socket.create_connection((at.host, at.port or 80), timeout=10)


def raw_put(connection: socket.socket, doors: Doors, target: str) -> int:
    """The status of a PUT whose target no client has tidied."""
    token = doors.http.headers["authorization"]
    head = f"PUT {target} HTTP/1.1\r\nHost: hive\r\nAuthorization: {token}\r\nContent-Length: 1\r\n\r\nx"
    connection.sendall(head.encode())
    return int(connection.recv(4096).split(b" ", 2)[1])


@pytest.fixture(scope="module")
def shared(hive: RunningHive, ada: Doors) -> Callable[[str], Doors]:
    """Ben at a directory that ada shares with him, by rights."""

    def give(rights: str) -> Doors:
        path = f"/for ben to {rights}"
        ada.http.post("/api/filesystem/mkdir", json={"path": f"{path}/box"})
        ada.put("api", f"{path}/box/there", b"ada's")
        share = ada.http.post("/api/filesystem/shares", json={"path": path, "user": "ben", "rights": rights}).json()
        ben = doors_of(hive, "ben", BEN_PASSWORD)
        held = ben.http.post(f"/api/filesystem/shares/held/{share['id']}", json={"accept": True}).json()
        return doors_of(hive, "ben", BEN_PASSWORD, {"id": held["id"], "name": held["name"]})

    return give


def test_a_share_to_read_at_every_door(ada: Doors, shared: Callable[[str], Doors]) -> None:
    ben = shared("read")
    assert {door: ben.read(door, "/box/there") for door in ("api", "dav", "sftp")} == dict.fromkeys(
        ("api", "dav", "sftp"), b"ada's"
    )
    assert of_s3(lambda: ben.s3.get_object(Bucket="box", Key="there")) == "AccessDenied"  # docs/operate/s3.md
    for path in ("/box/there", "/box/new"):
        said = {door: ben.put(door, path, b"ben's") for door in WRITERS}
        assert said.pop("sftp").startswith("SFTPPermissionDenied")
        assert said == {"api": "403 forbidden", "dav": "403", "s3": "AccessDenied", "tus": "403"}
    said = {door: ben.delete(door, "/box/there") for door in READERS}
    assert said.pop("sftp").startswith("SFTPPermissionDenied")
    assert said == {"api": "403 forbidden", "dav": "403", "s3": "AccessDenied"}
    assert ada.info("/for ben to read/box/there")["version_number"] == 1


def test_a_share_to_write_at_every_door(ada: Doors, shared: Callable[[str], Doors]) -> None:
    ben = shared("write")
    assert ben.put("s3", "/box/there", b"ben's") == "AccessDenied"
    for number, door in enumerate(("api", "dav", "sftp", "tus"), 2):
        assert ben.put(door, "/box/there", b"ben's") == ""
        assert ada.info("/for ben to write/box/there")["version_number"] == number
    for door in ("api", "dav", "sftp"):
        assert ben.put("api", "/box/short", b"lived") == ""
        assert ben.delete(door, "/box/short") == ""


def test_a_share_to_upload_at_every_door(ada: Doors, shared: Callable[[str], Doors]) -> None:
    ben, top = shared("upload"), "/for ben to upload/box"
    doors = ("api", "dav", "sftp", "tus")
    assert ben.put("s3", "/box/by s3", b"new") == "AccessDenied"
    for door in doors:
        assert (door, ben.put(door, f"/box/by {door}", b"new")) == (door, "")
        assert ada.read("api", f"{top}/by {door}") == b"new"
        assert (door, ben.put(door, "/box/there", b"ben's")) == (door, "")
    assert ada.read("api", f"{top}/there") == b"ada's"
    names = [one["name"] for one in ada.http.get("/api/filesystem/info", params={"path": top}).json()["files"]]
    numbered = [f"there ({number})" for number in range(2, 6)]
    assert sorted(names) == sorted([*(f"by {door}" for door in doors), "there", *numbered])


def test_a_share_to_upload_shows_nothing(ada: Doors, shared: Callable[[str], Doors]) -> None:
    ben = shared("upload")
    spaces = ben.http.request("PROPFIND", "/dav-spaces/", headers={"depth": "1"}, content=PROPFIND)
    assert spaces.status_code == 207
    assert ben.dav_url("/") in spaces.text
    etree.fromstring(spaces.content)
    assert list(ben.props("/", "1")) == [ben.dav_url("/")]
    assert ben.http.get(ben.dav_url("/box/there")).status_code == 404
    assert of_s3(lambda: ben.s3.get_object(Bucket="box", Key="there")) == "AccessDenied"
    assert ben.sftp(lambda sftp: sftp.listdir(ben.sftp_path("/"))) == ""
    assert set(ben.said) == {".", ".."}
    assert ben.sftp(lambda sftp: sftp.stat(ben.sftp_path("/box/there"))).startswith("SFTPNoSuchFile")
    assert ben.sftp(lambda sftp: sftp.open(ben.sftp_path("/box/there"), "rb")).startswith("SFTPNoSuchFile")
    assert {door: bool(ben.delete(door, "/box/there")) for door in READERS} == dict.fromkeys(READERS, True)
    assert ada.read("api", "/for ben to upload/box/there") == b"ada's"
