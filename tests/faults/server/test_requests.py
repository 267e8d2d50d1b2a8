"""Bad requests to a real process: a problem with a stable code each, nothing lost, nothing half written."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator

import httpx
import pytest

from skep.testing.process import RunningHive, made_hive

DATA, INFO = "/api/filesystem/data", "/api/filesystem/info"
BATCH = {"content-type": "application/x-skep-batch"}
KEPT = b"what is there already\n" * 100
PASSWORD = "quiet meadow 41 lantern"
QUOTA_BYTES = 3 << 20


@pytest.fixture(scope="module")
def hive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHive]:
    """With a file /kept and a directory /directory of the administrator's, and a user ada who has a quota."""
    running = made_hive(tmp_path_factory.mktemp("hive"), limits__batch_bytes="1 MiB", limits__json_body_bytes="64 KiB")
    running.start()
    with running.client() as admin:
        good(admin.put(DATA, params={"path": "/kept"}, content=KEPT))
        good(admin.post("/api/filesystem/mkdir", json={"path": "/directory/inner"}))
        good(admin.post("/api/auth/users", json={"name": "ada", "password": PASSWORD}))
    with logged_in(running, "ada") as ada, running.client() as admin:
        [space] = good(ada.get("/api/filesystem/spaces")).json()["spaces"]
        good(admin.patch(f"/api/filesystem/spaces/{space['id']}", json={"quota_bytes": QUOTA_BYTES}))
        good(ada.put(DATA, params={"path": "/kept"}, content=KEPT))
    yield running
    running.stop()


def logged_in(hive: RunningHive, name: str) -> httpx.Client:
    answer = good(httpx.post(f"{hive.url}/api/auth/login", json={"name": name, "password": PASSWORD}))
    token = answer.json()["access_token"]
    return httpx.Client(base_url=hive.url, headers={"authorization": f"Bearer {token}"}, timeout=30)


def good(answer: httpx.Response) -> httpx.Response:
    assert answer.is_success, answer.text
    return answer


def problem(answer: httpx.Response, status: int, code: str) -> None:
    assert (answer.status_code, answer.json().get("code")) == (status, code), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"]


def put(path: str, content: bytes = b"new", **headers: str) -> Callable[[httpx.Client], httpx.Response]:
    return lambda client: client.put(DATA, params={"path": path}, content=content, headers=headers)


def post(path: str, /, **body: object) -> Callable[[httpx.Client], httpx.Response]:
    return lambda client: client.post(path, json=body)


def get(path: str, /, **query: str) -> Callable[[httpx.Client], httpx.Response]:
    return lambda client: client.get(path, params=query)


def md5(content: bytes) -> str:
    return base64.b64encode(hashlib.md5(content).digest()).decode()


NO_ID = "00000000-0000-7000-8000-000000000000"
BAD: dict[str, tuple[Callable[[httpx.Client], httpx.Response], int, str]] = {
    "forged token": (lambda c: c.get(INFO, headers={"authorization": "Bearer e30.e30.AAAA"}), 401, "invalid-token"),
    "no token": (lambda c: httpx.get(c.base_url.join(INFO)), 401, "unauthenticated"),
    "wrong password": (post("/api/auth/login", name="admin", password="wrong password"), 401, "bad-credentials"),
    "unknown user": (post("/api/auth/login", name="nobody", password="wrong password"), 401, "bad-credentials"),
    "unknown path": (get(DATA, path="/none"), 404, "node-not-found"),
    "unknown parent": (lambda c: c.put(DATA, params={"path": "/no/such/f", "parents": "false"}), 404, "node-not-found"),
    "unknown node": (get(f"{DATA}/{NO_ID}"), 404, "node-not-found"),
    "unknown space": (get(INFO, path="/", space=NO_ID), 404, "space-not-found"),
    "unknown store": (get("/api/admin/stores/none"), 404, "store-not-found"),
    "unknown route": (get("/api/none"), 404, "no-such-route"),
    "an id that is none": (get(f"{INFO}/7"), 404, "node-not-found"),
    "write onto a directory": (put("/directory"), 409, "name-clash"),
    "directory below a file": (post("/api/filesystem/mkdir", path="/kept/below"), 409, "name-clash"),
    "directory that is there": (post("/api/filesystem/mkdir", path="/directory", exist_ok=False), 409, "name-clash"),
    "move onto another": (post("/api/filesystem/move", path="/directory", to_path="/kept"), 409, "name-clash"),
    "move into itself": (
        post("/api/filesystem/move", path="/directory", to_path="/directory/inner/deeper"),
        400,
        "invalid-path",
    ),
    "name with NUL": (put("/a\0b"), 400, "invalid-name"),
    "name that is too long": (put("/" + "n" * 256), 400, "invalid-name"),
    "name that leads out": (put("/directory/../../etc"), 400, "invalid-name"),
    "relative path": (put("kept"), 400, "invalid-path"),
    "If-Match of another content": (put("/kept", **{"if-match": '"0123"'}), 412, "precondition-failed"),
    "If-None-Match: *": (put("/kept", **{"if-none-match": "*"}), 412, "precondition-failed"),
    "wrong Content-MD5": (put("/kept", b"x" * 700_000, **{"content-md5": md5(b"y")}), 422, "checksum-mismatch"),
    "digest that is none": (put("/kept", **{"content-md5": "?"}), 400, "malformed-request"),
    "range outside": (
        lambda c: c.get(DATA, params={"path": "/kept"}, headers={"range": "bytes=999999-"}),
        416,
        "invalid-range",
    ),
    "JSON that is torn": (lambda c: c.post("/api/filesystem/mkdir", content=b'{"path": "/x'), 400, "malformed-request"),
    "JSON over its limit": (post("/api/filesystem/mkdir", path="/" + "x" * 70_000), 413, "body-too-large"),
    "field that is none": (post("/api/filesystem/mkdir", path="/x", colour="red"), 400, "malformed-request"),
    "batch that is none": (
        lambda c: c.post("/api/filesystem/batch", content=b"SKB1", headers=BATCH),
        400,
        "malformed-request",
    ),
    "batch over its limit": (
        lambda c: c.post("/api/filesystem/batch", content=bytes(13 << 20), headers=BATCH),
        413,
        "body-too-large",
    ),
    "scheme without sense": (lambda c: c.put("/api/admin/scheme", json={"scheme": "ec(0,9)"}), 400, "invalid-scheme"),
    "store without sense": (post("/api/admin/stores", name="x", url="ftp://x/"), 400, "invalid-store-url"),
    "cursor of nowhere": (get("/api/filesystem/changes", cursor="zzz"), 400, "invalid-cursor"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_request_is_a_problem_and_changes_nothing(hive: RunningHive, what: str) -> None:
    ask, status, code = BAD[what]
    with hive.client() as admin:
        before = admin.get(INFO, params={"depth": 5}).json()
        problem(ask(admin), status, code)
        assert admin.get(INFO, params={"depth": 5}).json() == before
        assert admin.get(DATA, params={"path": "/kept"}).content == KEPT


def test_what_is_of_others_does_not_exist_and_what_is_for_administrators_is_refused(hive: RunningHive) -> None:
    with hive.client() as admin, logged_in(hive, "ada") as ada:
        [mine] = [node for node in admin.get(INFO).json()["files"] if node["name"] == "kept"]
        for answer in (
            ada.get(f"{DATA}/{mine['id']}"),
            ada.get(f"{INFO}/{mine['id']}"),
            ada.put(f"{DATA}/{mine['id']}", content=b"x"),
            ada.delete(f"{INFO}/{mine['id']}"),
            ada.post("/api/filesystem/move", json={"id": mine["id"], "to_path": "/stolen"}),
        ):
            problem(answer, 404, "node-not-found")
        problem(ada.get(INFO, params={"path": "/", "space": mine["space_id"]}), 404, "space-not-found")
        for path in ("/api/admin/status", "/api/auth/users", "/api/admin/stores", "/api/admin/jobs"):
            problem(ada.get(path), 403, "forbidden")
        assert admin.get(f"{DATA}/{mine['id']}").content == KEPT


def test_a_quota_stops_an_upload_before_and_in_the_middle(hive: RunningHive) -> None:
    def too_much() -> Iterator[bytes]:
        for number in range(64):
            yield bytes([number]) * (128 << 10)

    with logged_in(hive, "ada") as ada:
        before = ada.get("/api/filesystem/spaces").json()["spaces"][0]["used_bytes"]
        problem(ada.put(DATA, params={"path": "/kept"}, content=bytes(QUOTA_BYTES + 1)), 507, "quota-exceeded")
        # of a length that nobody knows before it has come
        problem(ada.put(DATA, params={"path": "/kept"}, content=too_much()), 507, "quota-exceeded")
        problem(ada.put(DATA, params={"path": "/new"}, content=too_much()), 507, "quota-exceeded")
        assert [node["name"] for node in ada.get(INFO).json()["files"]] == ["kept"]
        assert ada.get(DATA, params={"path": "/kept"}).content == KEPT
        assert ada.get("/api/filesystem/spaces").json()["spaces"][0]["used_bytes"] == before
        good(ada.put(DATA, params={"path": "/fits"}, content=bytes(1 << 20)))
        good(ada.delete(INFO, params={"path": "/fits", "permanently": "true"}))


def test_a_body_longer_than_declared_is_cut_at_its_length_and_the_rest_is_no_request(hive: RunningHive) -> None:
    head = f"PUT {DATA}?path=/longer HTTP/1.1"
    connection = hive.connect(head, b"Content-Length: 5\r\nConnection: close\r\n\r\nhello, and this is too much")
    connection.settimeout(10)
    received = b""
    while piece := connection.recv(65536):
        received += piece
    first = received.split(b"\r\n")[0]
    with hive.client() as admin:
        if first == b"HTTP/1.1 201 Created":
            assert admin.get(DATA, params={"path": "/longer"}).content == b"hello"
            good(admin.delete(INFO, params={"path": "/longer", "permanently": "true"}))
        else:
            assert first == b"HTTP/1.1 400 Bad Request"
            problem(admin.get(DATA, params={"path": "/longer"}), 404, "node-not-found")


def test_an_overwrite_whose_client_goes_away_leaves_the_old_version(hive: RunningHive) -> None:
    head = f"PUT {DATA}?path=/kept HTTP/1.1"
    connection = hive.connect(head, b"Content-Length: 9000000\r\n\r\n" + b"z" * 3_000_000)
    hive.until("skep_requests_in_flight", 2)
    connection.close()
    hive.until("skep_requests_in_flight", 1)
    with hive.client() as admin:
        found = admin.get(INFO, params={"path": "/kept"}).json()
        assert (found["info"]["version_number"], found["info"]["size_bytes"]) == (1, len(KEPT))
        assert admin.get(DATA, params={"path": "/kept"}).content == KEPT
