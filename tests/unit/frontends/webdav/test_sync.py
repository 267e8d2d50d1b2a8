"""REPORT with sync-collection: a client that follows it knows the same tree as one that lists."""

from __future__ import annotations

import httpx
import pytest
from lxml import etree

D = "{DAV:}"


async def sync(client: httpx.AsyncClient, path: str, token: str, level: str = "1", limit: str = "") -> httpx.Response:
    body = (
        f'<D:sync-collection xmlns:D="DAV:"><D:sync-token>{token}</D:sync-token><D:sync-level>{level}</D:sync-level>'
        f"{f'<D:limit><D:nresults>{limit}</D:nresults></D:limit>' if limit else ''}"
        "<D:prop><D:getetag/></D:prop></D:sync-collection>"
    )
    return await client.request("REPORT", path, content=body.encode())


def told(answer: httpx.Response) -> tuple[dict[str, str], str]:
    """What is said of each URL (an ETag, or a status), and the new token."""
    assert answer.status_code == 207, answer.text
    root = etree.fromstring(answer.content)
    found = {}
    for response in root.iter(f"{D}response"):
        status = response.findtext(f"{D}status")
        found[str(response.findtext(f"{D}href"))] = (
            status.split()[1] if status else str(response.findtext(f".//{D}getetag"))
        )
    return found, str(root.findtext(f"{D}sync-token"))


async def test_what_changed_since_a_token(ada: httpx.AsyncClient) -> None:
    await ada.request("MKCOL", "/dav/d")
    etag = (await ada.put("/dav/d/a", content=b"1")).headers["etag"]
    found, token = told(await sync(ada, "/dav/d/", ""))
    assert found == {"/dav/d/a": etag}
    assert told(await sync(ada, "/dav/d/", token))[0] == {}
    etag = (await ada.put("/dav/d/a", content=b"2")).headers["etag"]
    await ada.put("/dav/d/b", content=b"")
    await ada.delete("/dav/d/b")
    await ada.put("/dav/elsewhere", content=b"")
    await ada.request("MKCOL", "/dav/d/e")
    await ada.put("/dav/d/e/deep", content=b"")
    found, later = told(await sync(ada, "/dav/d/", token))
    assert found.keys() == {"/dav/d/a", "/dav/d/b", "/dav/d/e/"}
    assert (found["/dav/d/a"], found["/dav/d/b"]) == (etag, "404")
    assert "/dav/d/e/deep" in told(await sync(ada, "/dav/d/", token, "infinite"))[0]
    await ada.request("MOVE", "/dav/d/a", headers={"destination": "/dav/d/c"})
    assert told(await sync(ada, "/dav/d/", later))[0] == {"/dav/d/a": "404", "/dav/d/c": etag}


async def test_a_tree_that_comes_in_is_told_whole(ada: httpx.AsyncClient) -> None:
    for path in ("/dav/in", "/dav/in/sub", "/dav/d"):
        await ada.request("MKCOL", path)
    await ada.put("/dav/in/sub/a", content=b"")
    _, token = told(await sync(ada, "/dav/d/", "", "infinite"))
    await ada.request("MOVE", "/dav/in", headers={"destination": "/dav/d/in"})
    assert told(await sync(ada, "/dav/d/", token, "infinite"))[0].keys() == {
        "/dav/d/in/", "/dav/d/in/sub/", "/dav/d/in/sub/a",
    }  # fmt: skip


async def test_a_collection_that_moved_is_begun_anew(ada: httpx.AsyncClient) -> None:
    await ada.request("MKCOL", "/dav/d")
    _, token = told(await sync(ada, "/dav/d/", ""))
    await ada.request("MOVE", "/dav/d", headers={"destination": "/dav/e"})
    for path in ("/dav/e/",):
        refused = await sync(ada, path, token)
        assert (refused.status_code, "valid-sync-token" in refused.text) == (403, True)


async def test_a_limit_gives_part_and_a_token_to_go_on(ada: httpx.AsyncClient) -> None:
    _, token = told(await sync(ada, "/dav/", ""))
    for number in range(5):
        await ada.put(f"/dav/{number}", content=b"")
    seen: dict[str, str] = {}
    for _ in range(5):
        found, token = told(await sync(ada, "/dav/", token, limit="2"))
        seen |= found
        if found.get("/dav/") != "507":
            break
    assert {f"/dav/{number}" for number in range(5)} <= seen.keys()
    assert told(await sync(ada, "/dav/", token))[0] == {}
    refused = await sync(ada, "/dav/", "", limit="2")
    assert (refused.status_code, "number-of-matches-within-limits" in refused.text) == (507, True)


@pytest.mark.parametrize("token", ["urn:other", "urn:skep:sync:nonsense"])
async def test_tokens_of_others_are_refused(ada: httpx.AsyncClient, token: str) -> None:
    refused = await sync(ada, "/dav/", token)
    assert (refused.status_code, "valid-sync-token" in refused.text) == (403, True)


async def test_what_is_no_sync_is_refused(ada: httpx.AsyncClient) -> None:
    await ada.put("/dav/a", content=b"")
    assert (await ada.request("REPORT", "/dav/", content=b"<a/>")).status_code == 403
    assert (await sync(ada, "/dav/a", "")).status_code == 403
    assert (await sync(ada, "/dav/", "", "3")).status_code == 400
    assert (await sync(ada, "/dav/", "", limit="-1")).status_code == 400
    assert (await sync(ada, "/dav-spaces/", "")).status_code == 403
