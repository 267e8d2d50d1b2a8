"""Links: what their makers do with them, and what whoever knows an address may do."""

from __future__ import annotations

import asyncio
import io
import zipfile

import httpx
import pytest

from skep.testing.clock import FakeClock
from skep.testing.hive import open_test_hive

LINKS = "/api/links"
PUBLIC = "/api/public"
DATA = "/api/filesystem/data"
GONE = "this link does not work"


def good(answer: httpx.Response, status: int = 200):
    assert answer.status_code == status, answer.text
    return answer.json() if answer.content else None


def refused(answer: httpx.Response, status: int, code: str) -> str:
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert "www-authenticate" not in answer.headers, "a browser would ask for a login"
    return answer.json()["detail"]


@pytest.fixture
async def hive(tmp_path):
    async with open_test_hive(tmp_path) as opened:
        yield opened


@pytest.fixture
async def ada(hive):
    client = await hive.client("ada")
    good(await client.put(DATA, params={"path": "/trip/day one/a.txt"}, content=b"0123456789"), 201)
    good(await client.put(DATA, params={"path": "/trip/b.txt"}, content=b"bbb"), 201)
    good(await client.put(DATA, params={"path": "/secret.txt"}, content=b"secret"), 201)
    return client


async def made(client: httpx.AsyncClient, **body) -> dict:
    return good(await client.post(LINKS, json={"path": "/trip", **body}), 201)


async def test_a_directory_is_read_without_an_account(hive, ada):
    link = await made(ada)
    assert (link["url"], link["rights"], link["path"]) == (f"/l/{link['token']}", "read", "/trip")
    guest, at = hive.anonymous, f"{PUBLIC}/{link['token']}"
    shown = good(await guest.get(at))
    assert (shown["name"], shown["kind"], shown["size_bytes"], shown["needs_password"]) == (
        "trip",
        "directory",
        13,
        False,
    )
    listed = good(await guest.get(f"{at}/entries"))
    assert [(one["path"], one["kind"]) for one in listed["entries"]] == [("/b.txt", "file"), ("/day one", "directory")]
    page = good(await guest.get(f"{at}/entries", params={"limit": 1}))
    rest = good(await guest.get(f"{at}/entries", params={"limit": 1, "after": page["next"]}))
    assert [one["name"] for one in page["entries"] + rest["entries"]] == ["b.txt", "day one"]
    part = await guest.get(f"{at}/data", params={"path": "/day one/a.txt"}, headers={"range": "bytes=2-4"})
    assert (part.status_code, part.content, part.headers["content-range"]) == (206, b"234", "bytes 2-4/10")
    whole = zipfile.ZipFile(io.BytesIO((await guest.get(f"{at}/zip")).content))
    assert sorted(whole.namelist()) == ["trip/", "trip/b.txt", "trip/day one/", "trip/day one/a.txt"]
    assert whole.read("trip/day one/a.txt") == b"0123456789"
    everything = str([shown, listed, page])
    assert "ada" not in everything
    assert "secret" not in everything
    for path in ("/../secret.txt", "/secret.txt", "/trip/b.txt"):
        assert (await guest.get(f"{at}/data", params={"path": path})).status_code in (400, 404)
    refused(await guest.put(f"{at}/data", params={"path": "/new"}, content=b"x"), 403, "forbidden")


async def test_a_link_opens_no_other_door(hive, ada):
    """Its token is no login, and its id stands for a space only for whoever opens it."""
    link = await made(ada)
    eve = await hive.client("eve")
    for client in (eve, hive.anonymous):
        answer = await client.get("/api/filesystem/info", params={"path": "/", "space": link["id"]})
        assert answer.status_code in (401, 404)
    bearer = {"authorization": f"Bearer {link['token']}"}
    assert (await hive.anonymous.get("/api/filesystem/info", headers=bearer)).status_code == 401
    assert good(await ada.get("/api/filesystem/shares"))["shares"] == []
    info = good(await ada.get("/api/filesystem/info", params={"path": "/trip"}))
    assert "shared_with" not in info
    assert (await ada.delete(f"/api/filesystem/shares/{link['id']}")).status_code == 404
    for method in ("GET", "PATCH", "DELETE"):
        answer = await eve.request(method, f"{LINKS}/{link['id']}", json={} if method == "PATCH" else None)
        refused(answer, 404, "share-not-found")
    assert good(await eve.get(LINKS)) == {"links": [], "next": None}
    assert (await eve.get(LINKS, params={"node": link["node_id"]})).status_code == 404


async def test_one_sentence_for_what_is_no_link_any_more(tmp_path):
    clock = FakeClock()
    async with open_test_hive(tmp_path, clock=clock) as hive:
        ada = await hive.client("ada")
        for name in ("a", "b", "c", "d", "e"):
            good(await ada.put(DATA, params={"path": f"/{name}"}, content=b"x"), 201)
        links = {name: await made(ada, path=f"/{name}") for name in "abcd"}
        links["e"] = await made(ada, path="/e", expires_in_s=60)
        guest = hive.anonymous
        good(await ada.delete(f"{LINKS}/{links['a']['id']}"), 204)
        node = good(await ada.get("/api/filesystem/info", params={"path": "/b"}))["info"]
        assert (await ada.delete(f"/api/filesystem/info/{node['id']}")).status_code in (200, 204)
        renewed = good(await ada.patch(f"{LINKS}/{links['c']['id']}", json={"renew": True}))
        assert good(await guest.get(f"{PUBLIC}/{renewed['token']}"))["name"] == "c"
        assert good(await guest.get(f"{PUBLIC}/{links['e']['token']}"))["name"] == "e"
        await clock.advance(61)
        said = set()
        for token in (*(links[name]["token"] for name in "abce"), "skn_" + "x" * 27, "x", "skn_"):
            for url in ("", "/entries", "/data", "/zip"):
                said.add(refused(await guest.get(f"{PUBLIC}/{token}{url}"), 404, "share-not-found"))
        assert len(said) == 1
        assert GONE in said.pop()
        assert good(await guest.get(f"{PUBLIC}/{links['d']['token']}"))["name"] == "d"
        ended = {one["name"]: one for one in good(await ada.get(LINKS))["links"]}
        assert sorted(ended) == ["b", "c", "d", "e"]
        assert ended["b"]["path"] is None
        assert all("token" not in one for one in ended.values())


async def test_a_password_keeps_even_the_name(hive, ada):
    link = await made(ada, password="open sesame")
    assert link["has_password"]
    guest, at = hive.anonymous, f"{PUBLIC}/{link['token']}"
    locked = good(await guest.get(at))
    assert locked.pop("needs_password")
    assert set(locked.values()) == {None}
    for url in ("/entries", "/data", "/zip"):
        refused(await guest.get(at + url), 403, "forbidden")
    refused(await guest.post(f"{at}/downloads", json={}), 403, "forbidden")
    wrong = await guest.post(f"{at}/unlock", json={"password": "open"})
    assert wrong.json()["details"]["reason"] == "link-password-wrong"
    passed = good(await guest.post(f"{at}/unlock", json={"password": "open sesame"}))["pass"]
    shown = {"skep-link-pass": passed}
    assert good(await guest.get(at, headers=shown))["name"] == "trip"
    assert (await guest.get(f"{at}/data", params={"path": "/b.txt", "pass": passed})).content == b"bbb"
    other = await made(ada, path="/secret.txt", password="open sesame")
    refused(await guest.get(f"{PUBLIC}/{other['token']}/data", headers=shown), 403, "forbidden")
    good(await ada.patch(f"{LINKS}/{link['id']}", json={"password": "changed"}))
    refused(await guest.get(f"{at}/entries", headers=shown), 403, "forbidden")
    good(await ada.patch(f"{LINKS}/{link['id']}", json={"password": None}))
    good(await guest.get(f"{at}/entries"))


@pytest.fixture
async def still(tmp_path):
    """A hive whose time stands still, for what is given back as time goes by."""
    (tmp_path / "still").mkdir()
    async with open_test_hive(tmp_path / "still", clock=FakeClock(), links__requests_burst=20) as opened:
        yield opened


async def test_guessing_a_password_ends_soon(still):
    hive, ada = still, await still.client("ada")
    link = await made(ada, path="/", password="open sesame")
    at = f"{PUBLIC}/{link['token']}/unlock"
    for number in range(10):
        refused(await hive.anonymous.post(at, json={"password": f"guess {number}"}), 403, "forbidden")
    refused(await hive.anonymous.post(at, json={"password": "open sesame"}), 429, "rate-limited")
    db = hive.hive.db
    import sqlalchemy as sa

    from skep.db import prepared
    from skep.db import schema as s

    kept = await db.read(lambda tx: tx.one(prepared(sa.select(s.links))))
    assert link["token"].encode() not in b"".join(part for part in kept if isinstance(part, bytes))
    assert "open sesame" not in str(kept)
    assert any(isinstance(part, str) and part.startswith("$argon2id$") for part in kept)


async def test_the_limit_of_downloads_is_exact(hive, ada):
    link = await made(ada, path="/trip/b.txt", downloads_max=3)
    guest, at = hive.anonymous, f"{PUBLIC}/{link['token']}"
    begun = good(await guest.post(f"{at}/downloads", json={}))
    assert begun["downloads_left"] == 2
    for _ in range(4):  # one download, however many requests it takes
        part = await guest.get(f"{at}/data", params={"ticket": begun["ticket"]}, headers={"range": "bytes=1-1"})
        assert (part.status_code, part.content) == (206, b"b")
    assert (await guest.head(f"{at}/data")).headers["content-length"] == "3"
    answers = await asyncio.gather(*(guest.get(f"{at}/data") for _ in range(12)))
    assert sorted(answer.status_code for answer in answers) == [200] * 2 + [429] * 10
    assert good(await ada.get(f"{LINKS}/{link['id']}"))["downloads"] == 3
    assert good(await guest.get(at))["downloads_left"] == 0
    refused(await guest.post(f"{at}/downloads", json={}), 429, "limit-reached")
    assert (await guest.get(f"{at}/data", params={"ticket": begun["ticket"]})).content == b"bbb"
    other = await made(ada)
    stolen = await guest.get(f"{PUBLIC}/{other['token']}/data", params={"path": "/b.txt", "ticket": begun["ticket"]})
    refused(stolen, 403, "forbidden")
    good(await ada.patch(f"{LINKS}/{link['id']}", json={"downloads_max": 4}))
    assert (await guest.get(f"{at}/data")).content == b"bbb"


async def test_a_drop_box_takes_and_shows_nothing(hive, ada):
    link = await made(ada, rights="upload", name="For Ada", file_bytes_max=10, bytes_max=25)
    guest, at = hive.anonymous, f"{PUBLIC}/{link['token']}"
    shown = good(await guest.get(at))
    assert (shown["name"], shown["rights"], shown["size_bytes"], shown["bytes_left"]) == ("For Ada", "upload", None, 25)
    for url in ("/entries", "/data", "/zip"):
        refused(await guest.get(at + url, params={"path": "/b.txt"} if url == "/data" else {}), 403, "forbidden")
    first = good(await guest.put(f"{at}/data", params={"path": "/b.txt"}, content=b"from a guest"[:10]), 201)
    assert first == {"name": "b (2).txt", "size_bytes": 10}
    assert (await ada.get(DATA, params={"path": "/trip/b.txt"})).content == b"bbb"
    assert (await ada.get(DATA, params={"path": "/trip/b (2).txt"})).content == b"from a gue"
    refused(await guest.put(f"{at}/data", params={"path": "/big"}, content=b"x" * 11), 413, "body-too-large")

    async def pieces():
        yield b"unknown length"

    refused(await guest.put(f"{at}/data", params={"path": "/big"}, content=pieces()), 400, "bad-input")
    wrong = {"content-md5": "AAAAAAAAAAAAAAAAAAAAAA=="}
    refused(
        await guest.put(f"{at}/data", params={"path": "/w"}, content=b"w" * 10, headers=wrong), 422, "checksum-mismatch"
    )
    good(await guest.put(f"{at}/data", params={"path": "/sub/c"}, content=b"c" * 10), 201)
    answers = await asyncio.gather(
        *(guest.put(f"{at}/data", params={"path": f"/r{number}"}, content=b"r" * 5) for number in range(4))
    )
    assert sorted(answer.status_code for answer in answers) == [201, 429, 429, 429]
    assert good(await ada.get(f"{LINKS}/{link['id']}"))["received_bytes"] == 25
    refused(await ada.post(LINKS, json={"path": "/secret.txt", "rights": "upload"}), 400, "bad-input")


async def test_resumable_uploads_into_a_drop_box(hive, ada):
    link = await made(ada, rights="upload", file_bytes_max=10)
    read = await made(ada)
    guest = hive.anonymous
    name = "Yi50eHQ="  # b.txt
    head = {
        "tus-resumable": "1.0.0",
        "upload-length": "6",
        "skep-link": link["token"],
        "upload-metadata": f"filename {name}",
    }
    for wrong, status in (
        ({"upload-length": "11"}, 413),
        ({"skep-link": read["token"]}, 403),
        ({"skep-link": "skn_" + "x" * 27}, 404),
        ({"upload-concat": "partial"}, 400),
    ):
        answer = await guest.post("/tus/", headers={**head, **wrong})
        assert answer.status_code == status, answer.text
    # the space of the metadata is not a way out of the link
    home = good(await ada.get("/api/filesystem/spaces"))["spaces"][0]["id"]
    import base64

    head["upload-metadata"] = f"filename {name},space {base64.b64encode(home.encode()).decode()}"
    opened = await guest.post("/tus/", headers=head)
    assert opened.status_code == 201, opened.text
    patch = {"tus-resumable": "1.0.0", "skep-link": link["token"], "content-type": "application/offset+octet-stream"}
    at = opened.headers["location"]
    for offset, part in ((0, b"abc"), (3, b"def")):
        answer = await guest.patch(at, headers={**patch, "upload-offset": str(offset)}, content=part)
        assert answer.status_code == 204, answer.text
    assert (await ada.get(DATA, params={"path": "/trip/b (2).txt"})).content == b"abcdef"
    del patch["skep-link"]
    assert (await guest.head(at, headers=patch)).status_code == 401
    assert (await ada.head(at, headers=patch)).status_code == 404


async def test_who_makes_links_and_what_ends_them(hive, ada):
    ben = await hive.client("ben")
    asked = {"path": "/trip", "user": "ben", "rights": "read", "may_share": True}
    share = good(await ada.post("/api/filesystem/shares", json=asked), 201)
    good(await ben.post(f"/api/filesystem/shares/held/{share['id']}", json={"accept": True}))
    refused(await ben.post(LINKS, json={"path": "/", "space": share["id"], "rights": "upload"}), 403, "forbidden")
    link = good(await ben.post(LINKS, json={"path": "/b.txt", "space": share["id"]}), 201)
    assert link["path"] == "/b.txt"
    own = await made(ada, path="/trip/b.txt")
    seen = good(await ada.get(LINKS, params={"node": link["node_id"]}))["links"]
    assert [one["id"] for one in seen] == [link["id"], own["id"]]
    assert [one["id"] for one in good(await ben.get(LINKS))["links"]] == [link["id"]]
    home = good(await ada.get("/api/filesystem/spaces"))["spaces"][0]["id"]
    assert len(good(await ada.get(LINKS, params={"space": home}))["links"]) == 2
    guest = hive.anonymous
    assert (await guest.get(f"{PUBLIC}/{link['token']}/data")).content == b"bbb"
    good(await ada.delete(f"/api/filesystem/shares/{share['id']}"), 204)
    refused(await guest.get(f"{PUBLIC}/{link['token']}/data"), 404, "share-not-found")
    assert good(await ben.get(LINKS))["links"] == []
    root = await hive.client("root", is_admin=True)
    noted = [entry["action"] for entry in good(await root.get("/api/admin/audit"))["entries"]]
    assert noted.count("link-made") == 2
    # whoever is suspended lets nobody in
    good(await root.patch("/api/auth/users/ada", json={"is_active": False}))
    refused(await guest.get(f"{PUBLIC}/{own['token']}"), 404, "share-not-found")
    good(await root.patch("/api/auth/users/ada", json={"is_active": True}))
    assert good(await guest.get(f"{PUBLIC}/{own['token']}"))["kind"] == "file"


async def test_the_links_of_somebody_who_goes_end(hive):
    root = await hive.client("root", is_admin=True)
    ada, ben = await hive.client("ada"), await hive.client("ben")
    good(await ada.put(DATA, params={"path": "/a"}, content=b"a"), 201)
    share = good(await ada.post("/api/filesystem/shares", json={"path": "/", "user": "ben", "may_share": True}), 201)
    good(await ben.post(f"/api/filesystem/shares/held/{share['id']}", json={"accept": True}))
    link = good(await ben.post(LINKS, json={"path": "/a", "space": share["id"]}), 201)
    whole = good(await ada.post(LINKS, json={"path": "/"}), 201)
    assert good(await hive.anonymous.get(f"{PUBLIC}/{whole['token']}"))["name"] == "Files"
    assert (await root.delete("/api/auth/users/ben")).status_code in (200, 204)
    refused(await hive.anonymous.get(f"{PUBLIC}/{link['token']}"), 404, "share-not-found")
    assert [one["id"] for one in good(await ada.get(LINKS))["links"]] == [whole["id"]]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({}, 400, "malformed-request"),
        ({"path": "/nowhere"}, 404, "node-not-found"),
        ({"path": "/trip", "rights": "write"}, 400, "malformed-request"),
        ({"path": "/trip", "password": ""}, 400, "bad-input"),
        ({"path": "/trip", "name": "a/b"}, 400, "invalid-name"),
        ({"path": "/trip", "expires_us": 1}, 400, "bad-input"),
        ({"path": "/trip", "expires_us": 1 << 61, "expires_in_s": 5}, 400, "malformed-request"),
        ({"path": "/trip", "downloads_max": 0}, 400, "malformed-request"),
        ({"path": "/trip", "surprise": 1}, 400, "malformed-request"),
    ],
)
async def test_what_no_link_can_be(ada, body, status, code):
    refused(await ada.post(LINKS, json=body), status, code)


async def test_a_hive_without_links_and_one_that_slows_guests_down(tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    async with open_test_hive(tmp_path / "one", links__allowed=False) as hive:
        ada = await hive.client("ada")
        refused(await ada.post(LINKS, json={"path": "/"}), 403, "forbidden")
        refused(await hive.anonymous.get(f"{PUBLIC}/skn_{'x' * 27}"), 404, "share-not-found")
    slow = {"links__requests_burst": 3, "links__of_one_max": 1, "clock": FakeClock()}
    async with open_test_hive(tmp_path / "two", **slow) as hive:
        ada = await hive.client("ada")
        good(await ada.post(LINKS, json={"path": "/"}), 201)
        refused(await ada.post(LINKS, json={"path": "/"}), 429, "limit-reached")
        answers = [await hive.anonymous.get(f"{PUBLIC}/skn_{'x' * 27}") for _ in range(4)]
        assert [answer.status_code for answer in answers] == [404, 404, 404, 429]
