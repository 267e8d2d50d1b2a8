"""PROPFIND: what clients read from it, and what must not be asked."""

from __future__ import annotations

import re
from urllib.parse import quote, unquote

import httpx
import pytest
from lxml import etree

from skep.testing.hive import TestHive, open_test_hive

D = "{DAV:}"


async def propfind(client: httpx.AsyncClient, path: str, depth: str, body: str = "", **headers: str) -> httpx.Response:
    return await client.request("PROPFIND", path, content=body.encode(), headers={"depth": depth, **headers})


def responses(answer: httpx.Response) -> list[etree._Element]:
    assert answer.status_code == 207, answer.text
    assert answer.headers["content-type"] == "application/xml; charset=utf-8"
    return list(etree.fromstring(answer.content).iter(f"{D}response"))


def shown(response: etree._Element) -> dict[str, dict[str, str | None]]:
    """Texts of properties by status and name."""
    return {
        str(stat.findtext(f"{D}status")): {str(one.tag): one.text for one in stat.iterfind(f"{D}prop/*")}
        for stat in response.iter(f"{D}propstat")
    }


async def test_only_what_is_asked_for_and_the_found_first(ada: httpx.AsyncClient) -> None:
    made = await ada.put("/dav/a.txt", content=b"hello")
    body = (
        '<D:propfind xmlns:D="DAV:"><D:prop><x:no xmlns:x="urn:x"/><D:getetag/><D:quota-used-bytes/>'
        "<D:getcontentlength/></D:prop></D:propfind>"
    )
    folder, file = responses(await propfind(ada, "/dav/", "1", body))
    assert [folder.findtext(f"{D}href"), file.findtext(f"{D}href")] == ["/dav/", "/dav/a.txt"]
    found = shown(file)
    assert list(found) == ["HTTP/1.1 200 OK", "HTTP/1.1 404 Not Found"]
    assert found["HTTP/1.1 200 OK"] == {f"{D}getetag": made.headers["etag"], f"{D}getcontentlength": "5"}
    assert set(found["HTTP/1.1 404 Not Found"]) == {"{urn:x}no", f"{D}quota-used-bytes"}
    assert shown(folder)["HTTP/1.1 200 OK"][f"{D}quota-used-bytes"] == "5"


async def test_all_and_names(ada: httpx.AsyncClient) -> None:
    await ada.put("/dav/a", content=b"hello", headers={"x-oc-mtime": "1234567890"})
    for body in ("", '<propfind xmlns="DAV:"><allprop/></propfind>'):
        (file,) = responses(await propfind(ada, "/dav/a", "0", body))
        every = shown(file)["HTTP/1.1 200 OK"]
        assert every[f"{D}getlastmodified"] == "Fri, 13 Feb 2009 23:31:30 GMT"
        assert f"{D}quota-used-bytes" not in every
    (file,) = responses(await propfind(ada, "/dav/a", "0", '<propfind xmlns="DAV:"><propname/></propfind>'))
    assert set(shown(file)["HTTP/1.1 200 OK"].values()) == {None}
    more = '<propfind xmlns="DAV:"><allprop/><include><getetag/><sync-token/><x xmlns="u:"/></include></propfind>'
    (folder,) = responses(await propfind(ada, "/dav/", "0", more))
    assert shown(folder)["HTTP/1.1 200 OK"][f"{D}sync-token"].startswith("urn:skep:sync:")
    assert "{u:}x" in shown(folder)["HTTP/1.1 404 Not Found"]


async def test_a_brief_answer_leaves_out_what_is_not_there(ada: httpx.AsyncClient) -> None:
    body = '<propfind xmlns="DAV:"><prop><getetag/><no/></prop></propfind>'
    for header in ({"prefer": "return=minimal"}, {"brief": "t"}):
        (folder,) = responses(await propfind(ada, "/dav/", "0", body, **header))
        assert list(shown(folder)) == ["HTTP/1.1 200 OK"]


async def test_a_large_collection_comes_whole(tmp_path) -> None:
    async with open_test_hive(tmp_path) as hive:
        ada = await hive.client("ada")
        from skep.client.framing import BATCH_TYPE, encode_batch

        names = [f"{number:04d} & more" for number in range(2_600)]
        body = encode_batch((f"/d/{name}", b"x", 1_700_000_000_000_000) for name in names)
        stored = await ada.post("/api/filesystem/batch", content=body, headers={"content-type": BATCH_TYPE})
        assert stored.json()["stored"] == len(names)
        wanted = '<propfind xmlns="DAV:"><prop><displayname/></prop></propfind>'
        found = responses(await propfind(ada, "/dav/d/", "1", wanted))
        assert [one.findtext(f".//{D}displayname") for one in found] == ["d", *names]
        deep = responses(await propfind(ada, "/dav/", "infinity", wanted))
        assert [one.findtext(f".//{D}displayname") for one in deep] == ["ada", "d", *names]


async def test_an_infinite_depth_has_a_limit(tmp_path) -> None:
    async with open_test_hive(tmp_path, limits__listing_items=4) as hive:
        ada = await hive.client("ada")
        for number in range(4):
            assert len(responses(await propfind(ada, "/dav/", "infinity"))) == number + 1
            await ada.put(f"/dav/{number}", content=b"")
        refused = await propfind(ada, "/dav/", "infinity")
        assert refused.status_code == 403
        assert etree.fromstring(refused.content)[0].tag == f"{D}propfind-finite-depth"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("<propfind", 400),
        ("<a/>", 400),
        ('<propfind xmlns="DAV:"/>', 400),
        ('<propfind xmlns="DAV:"><prop/><allprop/></propfind>', 400),
        ('<!DOCTYPE a [<!ENTITY b "c">]><propfind xmlns="DAV:"><prop>&b;</prop></propfind>', 400),
        ('<propfind xmlns="DAV:"><prop>' + "<a>" * 40 + "</a>" * 40 + "</prop></propfind>", 400),
        ('<propfind xmlns="DAV:"><prop>' + "".join(f"<p{n}/>" for n in range(10_000)) + "</prop></propfind>", 400),
        ("<a>" + "x" * (1 << 20) + "</a>", 413),
    ],
)
async def test_hostile_bodies(ada: httpx.AsyncClient, body: str, status: int) -> None:
    assert (await propfind(ada, "/dav/", "0", body)).status_code == status


async def test_depths_and_missing_things(ada: httpx.AsyncClient) -> None:
    assert (await propfind(ada, "/dav/", "2")).status_code == 400
    assert (await propfind(ada, "/dav/no", "0")).status_code == 404
    assert (await propfind(ada, "/dav-spaces/nobody/", "0")).status_code == 404
    assert (await propfind(ada, "/dav-spaces/", "infinity")).status_code == 403


async def test_quota_properties(hive: TestHive, ada: httpx.AsyncClient) -> None:
    admin = await hive.client("root", is_admin=True)
    await admin.patch("/api/auth/users/ada/space", json={"quota_bytes": 1000})
    await ada.put("/dav/a", content=b"x" * 300)
    await ada.put("/dav/a", content=b"x" * 100)
    body = '<propfind xmlns="DAV:"><prop><quota-used-bytes/><quota-available-bytes/></prop></propfind>'
    (root,) = responses(await propfind(ada, "/dav/", "0", body))
    assert shown(root)["HTTP/1.1 200 OK"] == {f"{D}quota-used-bytes": "400", f"{D}quota-available-bytes": "600"}


async def test_digests_under_ownclouds_name(ada: httpx.AsyncClient) -> None:
    await ada.put("/dav/a", content=b"hello")
    body = '<propfind xmlns="DAV:" xmlns:o="http://owncloud.org/ns"><prop><o:checksums/><o:size/></prop></propfind>'
    _, file = responses(await propfind(ada, "/dav/", "1", body))
    assert file.findtext(".//{http://owncloud.org/ns}checksum") == (
        "SHA1:aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d MD5:5d41402abc4b2a76b9719d911017c592"
    )


AWKWARD = ("100% & <more>", 'quo"te', "ünïcode ✓", "a b#c?d", "plain", "%41", "\x7f", "z.txt")
EVERYTHING = (
    '<d:propfind xmlns:d="DAV:" xmlns:o="http://owncloud.org/ns"><d:prop><d:displayname/><d:getetag/>'
    "<d:getcontentlength/><d:getcontenttype/><d:getlastmodified/><d:creationdate/><d:resourcetype/><d:supportedlock/>"
    "<d:lockdiscovery/><d:quota-used-bytes/><d:quota-available-bytes/><d:sync-token/><d:supported-report-set/>"
    '<o:checksums/><o:id/><o:size/><x:color xmlns:x="urn:100%25"/></d:prop></d:propfind>'
)
NAMED = EVERYTHING.replace("<o:checksums/>", "").replace("<d:lockdiscovery/>", "")
QUESTIONS = (
    EVERYTHING,
    NAMED,
    '<propfind xmlns="DAV:"><prop><getetag/></prop></propfind>',
    '<propfind xmlns="DAV:"><prop/></propfind>',
    '<propfind xmlns="DAV:"><allprop/><include><quota-used-bytes/><y xmlns="u:"/></include></propfind>',
    '<propfind xmlns="DAV:"><propname/></propfind>',
)

PATCH = (
    '<d:propertyupdate xmlns:d="DAV:"><d:set><d:prop><x:color xmlns:x="urn:100%25">5% red</x:color><z/></d:prop>'
    "</d:set></d:propertyupdate>"
)
LOCK = (
    '<d:lockinfo xmlns:d="DAV:"><d:lockscope><d:exclusive/></d:lockscope><d:locktype><d:write/></d:locktype>'
    "</d:lockinfo>"
)


async def _awkward_tree(ada: httpx.AsyncClient) -> list[str]:
    """A directory of awkwardly named files and directories; their URLs in order."""
    await ada.request("MKCOL", "/dav/d")
    urls = []
    for number, name in enumerate(AWKWARD):
        url = f"/dav/d/{quote(name)}"
        if number % 3:
            await ada.put(url, content=name.encode(), headers={"content-type": 'text/plain;a="<&>"'})
        else:
            await ada.request("MKCOL", url)
            await ada.put(f"{url}/inside", content=b"x" * number)
        urls.append(url)
    return [url for _, url in sorted(zip((name.encode() for name in AWKWARD), urls, strict=True))]


_VARYING = re.compile(rb"(?<=Second-)\d+|(?<=quota-available-bytes>)\d+")


def _canonical(response: etree._Element) -> dict[str, object]:
    """A response as values that compare: without the seconds that a lock, and the bytes that the disk, has left."""
    texts = {
        str(stat.findtext(f"{D}status")): sorted(
            _VARYING.sub(b"", etree.tostring(one)) for one in stat.iterfind(f"{D}prop/*")
        )
        for stat in response.iter(f"{D}propstat")
    }
    return {"href": response.findtext(f"{D}href"), **texts}


@pytest.mark.parametrize("described", [False, True])
async def test_members_are_told_like_the_resources_themselves(ada: httpx.AsyncClient, *, described: bool) -> None:
    urls = await _awkward_tree(ada)
    if described:
        for url in urls[::2]:
            assert (await ada.request("PROPPATCH", url, content=PATCH)).status_code == 207
        for url in urls[1::3]:
            assert (await ada.request("LOCK", url, content=LOCK)).status_code == 200
    for question in QUESTIONS:
        top, *members = responses(await propfind(ada, "/dav/d/", "1", question))
        alone = [responses(await propfind(ada, url, "0", question))[0] for url in ["/dav/d/", *urls]]
        assert [_canonical(one) for one in [top, *members]] == [_canonical(one) for one in alone], question
        assert [unquote(one.findtext(f"{D}href")).strip("/")[6:] for one in members] == sorted(AWKWARD, key=str.encode)
        deep = responses(await propfind(ada, "/dav/d/", "infinity", question))
        known = {one.findtext(f"{D}href"): _canonical(one) for one in deep}
        assert [known[one.findtext(f"{D}href")] for one in members] == [_canonical(one) for one in members], question
    _, *members = responses(await propfind(ada, "/dav/d/", "1"))
    found = [one.findtext(".//{urn:100%25}color") for one in members]
    assert found == [("5% red" if described and not number % 2 else None) for number in range(len(members))]
    locked = [one.find(f".//{D}activelock") is not None for one in members]
    assert locked == [described and number % 3 == 1 for number in range(len(members))]
