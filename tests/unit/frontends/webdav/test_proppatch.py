"""PROPPATCH: dead properties, times, all or nothing, limits."""

from __future__ import annotations

import httpx
import pytest
from lxml import etree

D = "{DAV:}"


async def patch(client: httpx.AsyncClient, path: str, inner: str, **headers: str) -> httpx.Response:
    body = f'<D:propertyupdate xmlns:D="DAV:" xmlns:x="urn:x">{inner}</D:propertyupdate>'
    return await client.request("PROPPATCH", path, content=body.encode(), headers=headers)


def statuses(answer: httpx.Response) -> dict[str, str]:
    assert answer.status_code == 207, answer.text
    return {
        str(one.tag): str(stat.findtext(f"{D}status")).split()[1]
        for stat in etree.fromstring(answer.content).iter(f"{D}propstat")
        for one in stat.iterfind(f"{D}prop/*")
    }


async def value(client: httpx.AsyncClient, path: str, name: str = "x:p") -> etree._Element | None:
    body = f'<D:propfind xmlns:D="DAV:" xmlns:x="urn:x"><D:prop><{name}/></D:prop></D:propfind>'
    answer = await client.request("PROPFIND", path, content=body.encode(), headers={"depth": "0"})
    stat = etree.fromstring(answer.content).find(f".//{D}propstat")
    assert stat is not None
    return stat.find(f"{D}prop")[0] if " 200 " in str(stat.findtext(f"{D}status")) else None  # type: ignore[index]


async def test_properties_are_kept_as_they_came(ada: httpx.AsyncClient) -> None:
    await ada.put("/dav/a", content=b"")
    inner = '<D:set xml:lang="de"><D:prop><x:p a="1">Grüße <y xmlns="urn:y">&lt;b&gt;</y> 🐝</x:p></D:prop></D:set>'
    assert statuses(await patch(ada, "/dav/a", inner)) == {"{urn:x}p": "200"}
    kept = await value(ada, "/dav/a")
    assert kept is not None
    assert (kept.text, kept.get("a"), kept[0].tag, kept[0].text, kept[0].tail) == (
        "Grüße ",
        "1",
        "{urn:y}y",
        "<b>",
        " 🐝",
    )
    assert kept.get("{http://www.w3.org/XML/1998/namespace}lang") == "de"
    assert statuses(await patch(ada, "/dav/a", "<D:remove><D:prop><x:p/></D:prop></D:remove>")) == {"{urn:x}p": "200"}
    assert await value(ada, "/dav/a") is None


async def test_they_go_along_with_copies_and_moves_and_end_with_the_node(ada: httpx.AsyncClient) -> None:
    await ada.request("MKCOL", "/dav/d")
    await ada.put("/dav/d/a", content=b"")
    await ada.put("/dav/b", content=b"")
    for path in ("/dav/d", "/dav/d/a"):
        await patch(ada, path, "<D:set><D:prop><x:p>1</x:p></D:prop></D:set>")
    await patch(ada, "/dav/b", "<D:set><D:prop><x:q>of b</x:q></D:prop></D:set>")
    await ada.request("COPY", "/dav/d", headers={"destination": "/dav/e"})
    await ada.request("MOVE", "/dav/d", headers={"destination": "/dav/f"})
    await ada.request("COPY", "/dav/e/a", headers={"destination": "/dav/b"})
    for path in ("/dav/e", "/dav/e/a", "/dav/f", "/dav/f/a", "/dav/b"):
        assert (await value(ada, path)) is not None, path
    assert await value(ada, "/dav/b", "x:q") is None
    await ada.delete("/dav/b")
    await ada.put("/dav/b", content=b"")
    assert await value(ada, "/dav/b") is None


async def test_all_or_nothing(ada: httpx.AsyncClient) -> None:
    await ada.put("/dav/a", content=b"")
    before = (await ada.get("/dav/a")).headers["last-modified"]
    inner = (
        "<D:set><D:prop><x:p>1</x:p><D:getlastmodified>Fri, 13 Feb 2009 23:31:30 GMT</D:getlastmodified></D:prop>"
        "</D:set>"
        '<D:remove><D:prop><x:q/></D:prop></D:remove><D:set><D:prop><D:getetag>"z"</D:getetag></D:prop></D:set>'
    )
    answer = await patch(ada, "/dav/a", inner)
    assert statuses(answer) == {
        "{urn:x}p": "424", "{urn:x}q": "424", f"{D}getlastmodified": "424", f"{D}getetag": "403",
    }  # fmt: skip
    assert "{DAV:}cannot-modify-protected-property" in [one.tag for one in etree.fromstring(answer.content).iter()]
    assert await value(ada, "/dav/a") is None
    assert (await ada.get("/dav/a")).headers["last-modified"] == before


@pytest.mark.parametrize(
    "element",
    [
        "<D:getlastmodified>Fri, 13 Feb 2009 23:31:30 GMT</D:getlastmodified>",
        "<D:lastmodified>1234567890</D:lastmodified>",
        '<m:Win32LastModifiedTime xmlns:m="urn:schemas-microsoft-com:">Fri, 13 Feb 2009 23:31:30 GMT'
        "</m:Win32LastModifiedTime>",
    ],
)
async def test_times_that_clients_set(ada: httpx.AsyncClient, element: str) -> None:
    await ada.put("/dav/a", content=b"")
    answer = await patch(ada, "/dav/a", f"<D:set><D:prop>{element}</D:prop></D:set>")
    assert set(statuses(answer).values()) == {"200"}
    assert (await ada.get("/dav/a")).headers["last-modified"] == "Fri, 13 Feb 2009 23:31:30 GMT"


async def test_windows_attributes_are_kept(ada: httpx.AsyncClient) -> None:
    await ada.put("/dav/a", content=b"")
    names = ("Win32CreationTime", "Win32LastAccessTime", "Win32FileAttributes")
    inner = "".join(f"<Z:{name}>00000020</Z:{name}>" for name in names)
    body = f'<D:set xmlns:Z="urn:schemas-microsoft-com:"><D:prop>{inner}</D:prop></D:set>'
    assert set(statuses(await patch(ada, "/dav/a", body)).values()) == {"200"}


async def test_a_time_that_is_none_is_refused(ada: httpx.AsyncClient) -> None:
    await ada.put("/dav/a", content=b"")
    answer = await patch(ada, "/dav/a", "<D:set><D:prop><D:lastmodified>soon</D:lastmodified></D:prop></D:set>")
    assert statuses(answer) == {f"{D}lastmodified": "409"}


async def test_ten_thousand_properties_are_refused_clearly(ada: httpx.AsyncClient) -> None:
    await ada.put("/dav/a", content=b"")
    many = "".join(f"<x:p{number}/>" for number in range(10_000))
    answer = await patch(ada, "/dav/a", f"<D:set><D:prop>{many}</D:prop></D:set>")
    assert set(statuses(answer).values()) == {"507"}
    assert "at most 1000" in answer.text
    assert await value(ada, "/dav/a", "x:p1") is None
    large = "<D:set><D:prop><x:p>" + "x" * (300 << 10) + "</x:p></D:prop></D:set>"
    assert set(statuses(await patch(ada, "/dav/a", large)).values()) == {"507"}
    long_name = f"<D:set><D:prop><x:{'n' * 300}/></D:prop></D:set>"
    assert set(statuses(await patch(ada, "/dav/a", long_name)).values()) == {"403"}


@pytest.mark.parametrize(
    "body", ["", "<a/>", '<propertyupdate xmlns="DAV:"/>', '<propertyupdate xmlns="DAV:"><set/></propertyupdate>']
)
async def test_what_asks_for_nothing_is_refused(ada: httpx.AsyncClient, body: str) -> None:
    await ada.put("/dav/a", content=b"")
    assert (await ada.request("PROPPATCH", "/dav/a", content=body.encode())).status_code == 400


async def test_a_change_of_properties_is_in_the_journal(ada: httpx.AsyncClient) -> None:
    await ada.put("/dav/a", content=b"")
    await patch(ada, "/dav/a", "<D:set><D:prop><x:p>1</x:p></D:prop></D:set>")
    changes = (await ada.get("/api/filesystem/changes")).json()["changes"]
    assert [change["kind"] for change in changes] == ["created", "metadata"]
