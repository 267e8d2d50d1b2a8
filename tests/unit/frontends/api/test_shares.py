"""The routes of shares, and every other route with the id of a share for a space, as its holders see them."""

from __future__ import annotations

import httpx
import pytest

from skep.frontends.api.app import all_operations
from skep.testing.hive import open_test_hive

SHARES = "/api/filesystem/shares"
DATA = "/api/filesystem/data"
INFO = "/api/filesystem/info"


def good(answer: httpx.Response, status: int = 200):
    assert answer.status_code == status, answer.text
    return answer.json() if answer.content else None


@pytest.fixture
async def hive(tmp_path):
    async with open_test_hive(tmp_path) as opened:
        yield opened


@pytest.fixture
async def two(hive):
    ada, ben = await hive.client("ada"), await hive.client("ben")
    good(await ada.put(DATA, params={"path": "/attic/photos/a.txt"}, content=b"aaa"), 201)
    good(await ada.put(DATA, params={"path": "/attic/secret.txt"}, content=b"secret"), 201)
    return ada, ben


async def test_the_life_of_a_share(two):
    ada, ben = two
    assert good(await ben.get(f"{SHARES}/held")) == {"shares": [], "next": None}
    asked = {"path": "/attic/photos", "user": "ben", "rights": "read"}
    share = good(await ada.post(SHARES, json=asked), 201)
    assert (share["path"], share["state"], share["holder"]["name"]) == ("/attic/photos", "pending", "ben")
    (held,) = good(await ben.get(f"{SHARES}/held"))["shares"]
    assert (held["id"], held["name"], held["owner"], held["state"]) == (share["id"], "photos", "ada", "pending")
    assert "attic" not in str(held)
    place = {"space": share["id"], "path": "/a.txt"}
    assert (await ben.get(DATA, params=place)).status_code == 404
    good(await ben.post(f"{SHARES}/held/{share['id']}", json={"accept": True, "name": "Ada's"}))
    assert (await ben.get(DATA, params=place)).text == "aaa"
    assert (await ben.put(DATA, params=place, content=b"x")).status_code == 403
    good(await ada.post(SHARES, json={**asked, "rights": "write"}), 200)
    written = good(await ben.put(DATA, params=place, content=b"changed"))
    assert (written["node"]["space_id"], written["node"]["path"]) == (share["id"], "/a.txt")
    good(await ben.put(f"{DATA}/{written['node']['id']}", content=b"by id"))
    assert (await ada.get(DATA, params={"path": "/attic/photos/a.txt"})).text == "by id"
    spaces = good(await ben.get("/api/filesystem/spaces"))["spaces"]
    assert [(one["name"], one["kind"], one["rights"]) for one in spaces] == [
        ("ben", "personal", "write"),
        ("Ada's", "share", "write"),
    ]
    changed = good(await ada.patch(f"{SHARES}/{share['id']}", json={"rights": "upload"}))
    assert changed["rights"] == "upload"
    assert (await ben.get(DATA, params=place)).status_code == 403
    assert (await ben.get(f"{INFO}/{written['node']['id']}")).status_code == 404
    assert good(await ben.put(DATA, params=place, content=b"mine"), 201)["node"]["path"] == "/a (2).txt"
    good(await ada.delete(f"{SHARES}/{share['id']}"), 204)
    assert (await ben.put(DATA, params=place, content=b"late")).status_code == 404
    assert (await ada.get(f"{SHARES}/{share['id']}")).json()["code"] == "share-not-found"


async def test_info_says_whom_it_is_shared_with(two):
    ada, ben = two
    assert "shared_with" not in good(await ada.get(INFO, params={"path": "/attic/photos"}))
    share = good(await ada.post(SHARES, json={"path": "/attic/photos", "user": "ben"}), 201)
    good(await ben.post(f"{SHARES}/held/{share['id']}", json={"accept": True}))
    for path in ("/attic/photos", "/attic/photos/a.txt"):
        info = good(await ada.get(INFO, params={"path": path}))
        assert [(one["holder"]["name"], one["rights"]) for one in info["shared_with"]] == [("ben", "read")]
    assert "shared_with" not in good(await ada.get(INFO, params={"path": "/attic"}))
    assert "shared_with" not in good(await ben.get(INFO, params={"path": "/a.txt", "space": share["id"]}))


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"path": "/attic"}, 400, "malformed-request"),
        ({"path": "/attic", "user": "ben", "group": "x"}, 400, "malformed-request"),
        ({"user": "ben"}, 400, "malformed-request"),
        ({"path": "/attic", "user": "nobody"}, 404, "user-not-found"),
        ({"path": "/attic", "group": "nobody"}, 404, "group-not-found"),
        ({"path": "/nowhere", "user": "ben"}, 404, "node-not-found"),
        ({"path": "/attic", "user": "ada"}, 400, "bad-input"),
        ({"path": "/attic", "user": "ben", "rights": "all"}, 400, "malformed-request"),
        ({"path": "/attic/secret.txt", "user": "ben", "rights": "upload"}, 400, "bad-input"),
        ({"path": "/attic", "user": "ben", "surprise": 1}, 400, "malformed-request"),
    ],
)
async def test_what_cannot_be_shared(two, body, status, code):
    answer = await two[0].post(SHARES, json=body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_shares_come_in_pages(two):
    ada, ben = two
    ids = []
    for number in range(5):
        node = good(await ada.put(DATA, params={"path": f"/f{number}"}, content=b""), 201)["node"]
        ids.append(good(await ada.post(SHARES, json={"id": node["id"], "user": "ben"}), 201)["id"])
    for client, url in ((ada, SHARES), (ben, f"{SHARES}/held")):
        seen, after = [], None
        while True:
            page = good(await client.get(url, params={"limit": 2, **({"after": after} if after else {})}))
            seen += [one["id"] for one in page["shares"]]
            if (after := page["next"]) is None:
                break
        assert seen == ids
        assert (await client.get(url, params={"after": "x"})).json()["code"] == "invalid-cursor"


async def test_no_route_shows_an_outsider_anything(hive, two):
    """Every route that takes a node, a space or a share, asked by one who holds nothing: 404 or nothing."""
    ada, ben = two
    share = good(await ada.post(SHARES, json={"path": "/attic/photos", "user": "ben", "rights": "write"}), 201)
    good(await ben.post(f"{SHARES}/held/{share['id']}", json={"accept": True}))
    node = good(await ben.get(INFO, params={"path": "/a.txt", "space": share["id"]}))["info"]
    eve = await hive.client("eve")
    filled = {"node_id": node["id"], "space_id": share["id"], "share_id": share["id"], "number": "1", "name": "t"}
    bodies = {
        "/api/filesystem/move": {"id": node["id"], "to_path": "/x"},
        "/api/filesystem/copy": {"id": node["id"], "to_path": "/x"},
        "/api/filesystem/mkdir": {"path": "/x", "space": share["id"]},
        SHARES: {"id": node["id"], "user": "eve"},
        f"{SHARES}/held/{{share_id}}": {"accept": True},
        f"{INFO}/{{node_id}}/tags": {"tags": ["t"]},
        "/api/filesystem/tags/{name}": {"name": "u"},
        "/api/filesystem/spaces/{space_id}/options": {"scheme": None},
        "/api/filesystem/tickets": {"nodes": [node["id"]]},
    }
    skipped = {"/api/filesystem/spaces", f"{SHARES}/held", "/api/filesystem/tags", "/api/filesystem/batch"}
    asked = 0
    for operation in all_operations():
        if not operation.path.startswith("/api/filesystem/") or operation.path in skipped or operation.admin:
            continue
        if operation.path == "/api/filesystem/tags/{name}" and operation.method != "PUT":
            continue
        if (operation.method, operation.path) == ("POST", DATA):
            continue
        params = {"space": share["id"], "path": "/a.txt"} if "{" not in operation.path else {}
        if operation.path == "/api/filesystem/zip":
            params = {"nodes": node["id"]}
        answer = await eve.request(
            operation.method,
            operation.path.format(**filled),
            params=params,
            json=bodies.get(operation.path, {}) if operation.method in ("POST", "PUT", "PATCH") else None,
        )
        asked += 1
        assert answer.status_code == 404, (operation.method, operation.path, answer.text)
        assert "photos" not in answer.text
        assert "ada" not in answer.text
    assert asked > 25


async def test_a_tag_is_renamed_everywhere(two):
    ada, ben = two
    node = good(await ada.get(INFO, params={"path": "/attic/secret.txt"}))["info"]
    other = good(await ada.get(INFO, params={"path": "/attic/photos/a.txt"}))["info"]
    good(await ada.put(f"{INFO}/{node['id']}/tags", json={"tags": ["one", "two"]}))
    good(await ada.put(f"{INFO}/{other['id']}/tags", json={"tags": ["one"]}))
    tags = "/api/filesystem/tags"
    assert (await ben.put(f"{tags}/one", json={"name": "x"})).status_code == 404
    clash = await ada.put(f"{tags}/one", json={"name": "two"})
    assert (clash.status_code, clash.json()["code"]) == (409, "name-clash")
    assert (await ada.put(f"{tags}/one", json={"name": " "})).json()["code"] == "invalid-name"
    assert good(await ada.put(f"{tags}/one", json={"name": "uno"})) == {"renamed": 2}
    assert good(await ada.put(f"{tags}/uno", json={"name": "uno"})) == {"renamed": 0}
    assert good(await ada.put(f"{tags}/uno", json={"name": "two", "merge": True})) == {"renamed": 2}
    assert good(await ada.get(tags))["tags"] == [{"name": "two", "count": 2}]
