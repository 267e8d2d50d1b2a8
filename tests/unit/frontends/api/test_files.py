from __future__ import annotations

import asyncio

import httpx
import pytest

from skep.frontends.api.batch_frames import FrameHead, encode_batch
from skep.testing.hive import TestHive

FILES = "/api/filesystem"


async def put(client: httpx.AsyncClient, path: str, content: bytes = b"x") -> str:
    answer = await client.put(f"{FILES}/data", params={"path": path}, content=content)
    node_id: str = answer.json()["node"]["id"]
    return node_id


async def paths(client: httpx.AsyncClient, path: str = "/", **query: object) -> list[str]:
    answer = (await client.get(f"{FILES}/info", params={"path": path, **query})).json()
    return sorted(node["path"] for node in [*answer["dirs"], *answer["files"]])


async def test_a_listing_has_info_dirs_and_files_down_to_its_depth(ada: httpx.AsyncClient) -> None:
    await put(ada, "/a/b/c.txt")
    await put(ada, "/d.txt")
    one = (await ada.get(f"{FILES}/info", params={"path": "/", "depth": 1})).json()
    assert one["info"]["path"] == "/"
    assert one["info"]["mime"] == "application/x-directory"
    assert [node["path"] for node in one["dirs"]] == ["/a"]
    assert [(node["path"], node["extension"]) for node in one["files"]] == [("/d.txt", ".txt")]
    assert await paths(ada, depth=0) == []
    assert await paths(ada, depth=3) == ["/a", "/a/b", "/a/b/c.txt", "/d.txt"]
    assert await paths(ada, "/a", depth=9) == ["/a/b", "/a/b/c.txt"]


async def test_a_listing_comes_in_pages(ada: httpx.AsyncClient) -> None:
    for n in range(5):
        await put(ada, f"/p/f{n}")
    seen, after = [], None
    for _ in range(5):
        page = (
            await ada.get(f"{FILES}/info", params={"path": "/p", "limit": 2, **({"after": after} if after else {})})
        ).json()
        seen += [node["name"] for node in page["files"]]
        after = page.get("next")
        if after is None:
            break
    assert seen == [f"f{n}" for n in range(5)]


async def test_entries_are_told_like_the_nodes_themselves(hive: TestHive, ada: httpx.AsyncClient) -> None:
    names = ["a.tar.gz", ".hidden", "ünï ✓", 'quo"te\\', "\x7f\t", "plain", "dir"]
    for number, name in enumerate(names[:-1]):
        node_id = await put(ada, f"/d/{name}", b"x" * number)
        change = {"attributes": {"é\u2028": [number, None, '"']}, "tags": ["x", "a"]} if number % 2 else {}
        assert (await ada.post(f"{FILES}/info/{node_id}", json={"modified_us": 1, **change})).status_code == 200
    await put(ada, "/d/dir/inside")
    ben = await hive.client("ben")
    share = (await ada.post(f"{FILES}/shares", json={"path": "/d", "user": "ben", "rights": "read"})).json()
    await ben.post(f"{FILES}/shares/held/{share['id']}", json={"accept": True})
    for client, place in ((ada, {"path": "/d"}), (ben, {"space": share["id"], "path": "/"})):
        page = (await client.get(f"{FILES}/info", params=place)).json()
        entries = [*page["dirs"], *page["files"]]
        assert sorted(entry["name"] for entry in entries) == sorted(names)
        for entry in entries:
            alone = (await client.get(f"{FILES}/info", params={**place, "path": entry["path"], "depth": 0})).json()
            assert entry == {**alone["info"], "parent_id": page["info"]["id"]}
        deep = (await client.get(f"{FILES}/info", params={**place, "depth": 2})).json()
        assert [one for one in deep["dirs"] + deep["files"] if one["name"] in names] == entries
    assert (await ada.get(f"{FILES}/info", params={"path": "/d", "after": "/"})).json() == (
        await ada.get(f"{FILES}/info", params={"path": "/d"})
    ).json()


async def test_a_files_info_has_versions_and_places(ada: httpx.AsyncClient) -> None:
    node_id = await put(ada, "/f.txt", b"hello")
    info = (await ada.get(f"{FILES}/info/{node_id}")).json()
    assert info["info"]["md5"] == "5d41402abc4b2a76b9719d911017c592"
    assert info["version"]["sha1"] == "aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d"
    assert [version["number"] for version in info["versions"]] == [1]
    assert info["chunks"] == {"s0": 1}


async def test_metadata_is_saved(ada: httpx.AsyncClient) -> None:
    node_id = await put(ada, "/old.txt")
    change = {"name": "new.txt", "mime": "text/x-new", "modified_us": 5, "attributes": {"k": [1]}, "tags": ["red"]}
    node = (await ada.post(f"{FILES}/info/{node_id}", json=change)).json()
    assert (node["id"], node["path"], node["mime"], node["modified_us"]) == (node_id, "/new.txt", "text/x-new", 5)
    assert (node["attributes"], node["tags"]) == ({"k": [1]}, ["red"])
    assert (await ada.get(f"{FILES}/tags")).json()["tags"] == [{"name": "red", "count": 1}]
    assert [n["id"] for n in (await ada.get(f"{FILES}/tags/red")).json()["nodes"]] == [node_id]
    assert (await ada.put(f"{FILES}/info/{node_id}/tags", json={"tags": []})).json()["tags"] == []
    assert (await ada.post(f"{FILES}/info/{node_id}", json={"colour": "red"})).json()["code"] == "malformed-request"
    await put(ada, "/taken")
    assert (await ada.post(f"{FILES}/info/{node_id}", json={"name": "taken"})).json()["code"] == "name-clash"


async def test_directories_move_and_copy(ada: httpx.AsyncClient) -> None:
    made = await ada.post(f"{FILES}/mkdir", json={"path": "/a/b"})
    assert made.status_code == 201
    assert (await ada.post(f"{FILES}/mkdir", json={"path": "/a/b"})).status_code == 200
    assert (await ada.post(f"{FILES}/mkdir", json={"path": "/a/b", "exist_ok": False})).status_code == 409
    assert (await ada.post(f"{FILES}/mkdir", json={"path": "/x/y", "parents": False})).status_code == 404
    file_id = await put(ada, "/a/b/f", b"content")
    moved = await ada.post(f"{FILES}/move", json={"path": "/a/b", "to_path": "/c"})
    assert (moved.json()["id"], moved.json()["path"]) == (made.json()["id"], "/c")
    copied = await ada.post(f"{FILES}/copy", json={"id": file_id, "to_path": "/copy"})
    assert copied.status_code == 201
    assert (await ada.get(f"{FILES}/data/{copied.json()['id']}")).content == b"content"
    assert (await ada.post(f"{FILES}/move", json={"id": file_id, "to_path": "/copy"})).json()["code"] == "name-clash"
    assert (await ada.post(f"{FILES}/move", json={"path": "/c", "to_path": "/c/in/itself"})).status_code == 400
    assert (await ada.post(f"{FILES}/move", json={"to_path": "/z"})).json()["code"] == "malformed-request"
    assert (await ada.post(f"{FILES}/copy", json={"path": "/no", "to_path": "/z"})).status_code == 404
    assert await paths(ada, depth=9) == ["/a", "/c", "/c/f", "/copy"]


async def test_the_trash_takes_gives_back_and_forgets(ada: httpx.AsyncClient) -> None:
    node_id = await put(ada, "/d/f")
    assert (await ada.delete(f"{FILES}/info/{node_id}")).status_code == 204
    assert (await ada.get(f"{FILES}/info/{node_id}")).status_code == 404
    (entry,) = (await ada.get(f"{FILES}/trash")).json()["items"]
    assert (entry["id"], entry["path"]) == (node_id, "/d/f")
    assert (await ada.post(f"{FILES}/trash/{node_id}/restore", json={})).json()["path"] == "/d/f"
    await ada.delete(f"{FILES}/info", params={"path": "/d"})
    assert await paths(ada) == []
    assert (await ada.delete(f"{FILES}/trash")).json() == {"purged": 1}
    gone = await put(ada, "/g")
    assert (await ada.delete(f"{FILES}/info/{gone}", params={"permanently": "true"})).status_code == 204
    assert (await ada.get(f"{FILES}/trash")).json()["items"] == []
    assert (await ada.delete(f"{FILES}/info", params={"path": "/"})).status_code == 400


async def test_the_trash_comes_in_pages(ada: httpx.AsyncClient) -> None:
    ids = [await put(ada, f"/t{n}") for n in range(3)]
    for node_id in ids:
        await ada.delete(f"{FILES}/info/{node_id}")
    first = (await ada.get(f"{FILES}/trash", params={"limit": 2})).json()
    second = (await ada.get(f"{FILES}/trash", params={"limit": 2, "after": first["next"]})).json()
    assert [entry["id"] for entry in [*first["items"], *second["items"]]] == ids[::-1]
    assert second["next"] is None
    assert (await ada.get(f"{FILES}/trash", params={"after": "x"})).json()["code"] == "invalid-cursor"


async def test_changes_are_followed_from_a_cursor(ada: httpx.AsyncClient) -> None:
    cursor = (await ada.get(f"{FILES}/spaces")).json()["spaces"][0]["cursor"]
    waiting = asyncio.create_task(ada.get(f"{FILES}/changes", params={"cursor": cursor, "timeout_s": 30}))
    await asyncio.sleep(0)
    node_id = await put(ada, "/new")
    page = (await waiting).json()
    assert [(change["kind"], change["node_id"]) for change in page["changes"]] == [("created", node_id)]
    after = (await ada.get(f"{FILES}/changes", params={"cursor": page["cursor"]})).json()
    assert (after["changes"], after["more"]) == ([], False)
    assert (await ada.get(f"{FILES}/changes", params={"cursor": "nonsense"})).json()["code"] == "invalid-cursor"


async def test_what_is_anothers_does_not_exist(ada: httpx.AsyncClient, bob: httpx.AsyncClient) -> None:
    node_id = await put(ada, "/secret")
    space = (await ada.get(f"{FILES}/spaces")).json()["spaces"][0]["id"]
    for method, url in (
        ("GET", f"{FILES}/info/{node_id}"),
        ("GET", f"{FILES}/data/{node_id}"),
        ("PUT", f"{FILES}/data/{node_id}"),
        ("DELETE", f"{FILES}/info/{node_id}"),
        ("GET", f"{FILES}/versions/{node_id}"),
        ("GET", f"{FILES}/spaces/{space}"),
        ("GET", f"{FILES}/info?path=/secret&space={space}"),
        ("GET", f"{FILES}/trash?space={space}"),
        ("GET", f"{FILES}/changes?space={space}"),
        ("PUT", f"{FILES}/data?path=/x&space={space}"),
    ):
        answer = await bob.request(method, url)
        assert (answer.status_code, url) == (404, url)
    assert (await ada.get(f"{FILES}/data/{node_id}")).content == b"x"


@pytest.mark.parametrize("node_id", ["x", "0" * 31, "..", "%2e%2e", "01a1fc58-82d2-777c-97de-0f3d50cd2a4c"])
async def test_ids_that_name_nothing_are_404(ada: httpx.AsyncClient, node_id: str) -> None:
    answer = await ada.get(f"{FILES}/info/{node_id}")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("query", ["depth=-1", "depth=x", "limit=0", "path=/&path=/", "path=%ff"])
async def test_queries_that_do_not_fit_are_400(ada: httpx.AsyncClient, query: str) -> None:
    answer = await ada.get(f"{FILES}/info?{query}")
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed-request")


@pytest.mark.parametrize("time_us", [253_402_300_800_000_000, -62_135_596_800_000_001, 2**63, -(2**63)])
async def test_times_outside_the_calendar_are_refused_everywhere(ada: httpx.AsyncClient, time_us: int) -> None:
    query = {"path": "/f", "modified_us": time_us}
    refused = await ada.put(f"{FILES}/data", params=query, content=b"x")
    assert (refused.status_code, refused.json()["code"]) in [(400, "bad-input"), (400, "malformed-request")]
    node = (await ada.put(f"{FILES}/data", params={"path": "/f"}, content=b"x")).json()["node"]["id"]
    assert (await ada.post(f"{FILES}/info/{node}", json={"modified_us": time_us})).status_code == 400
    heads = [
        (FrameHead(path="/good", size_bytes=1), b"1"),
        (FrameHead(path="/bad", size_bytes=1, modified_us=time_us), b"2"),
    ]
    sent = await ada.post(
        f"{FILES}/batch", content=encode_batch(heads), headers={"content-type": "application/x-skep-batch"}
    )
    assert [result["status"] for result in sent.json()["results"]] == [201, 400]


@pytest.mark.parametrize("time_us", [253_402_300_799_999_999, -62_135_596_800_000_000])
async def test_the_first_and_last_times_come_back(ada: httpx.AsyncClient, time_us: int) -> None:
    await ada.put(f"{FILES}/data", params={"path": "/f", "modified_us": time_us}, content=b"x")
    answer = await ada.get(f"{FILES}/data", params={"path": "/f"})
    assert answer.status_code == 200
    assert answer.headers["last-modified"].endswith("GMT")


async def test_numbers_beyond_what_a_database_holds_are_refused(ada: httpx.AsyncClient) -> None:
    node = (await ada.put(f"{FILES}/data", params={"path": "/f"}, content=b"x")).json()["node"]["id"]
    assert (await ada.get(f"{FILES}/data/{node}", params={"version": 2**64})).status_code == 400
    assert (await ada.get(f"{FILES}/versions/{node}", params={"before": 2**64})).status_code == 400
    assert (await ada.get(f"{FILES}/info", params={"path": "/", "limit": 2**64})).status_code == 200


async def test_a_change_with_a_bad_tag_changes_nothing(ada: httpx.AsyncClient) -> None:
    node = (await ada.put(f"{FILES}/data", params={"path": "/f"}, content=b"x")).json()["node"]["id"]
    refused = await ada.post(f"{FILES}/info/{node}", json={"name": "g", "tags": [" "]})
    assert (refused.status_code, refused.json()["code"]) == (400, "invalid-name")
    assert (await ada.get(f"{FILES}/info/{node}")).json()["info"]["name"] == "f"


async def test_a_space_tells_by_day_what_came_and_a_share_of_it_does_not(
    hive: TestHive, ada: httpx.AsyncClient
) -> None:
    await put(ada, "/a.txt", b"12345")
    await put(ada, "/a.txt", b"123")
    own = (await ada.get(f"{FILES}/spaces")).json()["spaces"][0]
    days = (await ada.get(f"{FILES}/spaces/{own['id']}/days")).json()["days"]
    assert sum(day["added_bytes"] for day in days) == own["used_bytes"] == 8
    assert sum(day["versions"] for day in days) == 2
    assert all(day["day_us"] % 86_400_000_000 == 0 for day in days)
    assert (await ada.get(f"{FILES}/spaces/{'0' * 32}/days")).status_code == 404
