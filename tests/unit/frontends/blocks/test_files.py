"""Files as programs of the block API store, read and delete them."""

from __future__ import annotations

import base64
import re

import httpx

from skep.testing.blocks import AT, Owner, owner_of
from skep.testing.hive import PASSWORD, TestHive


async def test_an_object_is_posted_read_by_anybody_and_deleted(ada: Owner, anyone: httpx.AsyncClient) -> None:
    made = await ada.client.post(ada.at("blocks/one"), content=b"sealed")
    assert (made.status_code, made.content) == (204, b"")
    got = await anyone.get(ada.at("blocks/one"))
    assert (got.status_code, got.content, got.headers["content-length"]) == (200, b"sealed", "6")
    assert got.headers["etag"] == made.headers["etag"]
    for _ in range(2):  # what is not there is gone
        gone = await ada.client.delete(ada.at("blocks/one"), headers={"if-match": '"other"'})
        assert (gone.status_code, gone.content) == (204, b"")
    missing = await anyone.get(ada.at("blocks/one"))
    assert (missing.status_code, "404: File not found" in missing.text) == (404, True)


async def test_an_empty_object_is_one(ada: Owner, anyone: httpx.AsyncClient) -> None:
    assert (await ada.client.post(ada.at("nothing"), content=b"")).status_code == 204
    got = await anyone.get(ada.at("nothing"))
    assert (got.status_code, got.content) == (200, b"")


async def test_etags_are_strong_and_of_the_content(ada: Owner) -> None:
    first = (await ada.client.post(ada.at("a"), content=b"same")).headers["etag"]
    assert re.fullmatch(r'"[^"]+"', first)
    assert (await ada.client.post(ada.at("b"), content=b"same")).headers["etag"] == first
    assert (await ada.client.post(ada.at("a"), content=b"other")).headers["etag"] != first
    assert (await ada.client.post(ada.at("a"), content=b"same")).headers["etag"] == first


async def test_what_is_known_is_not_sent_again(ada: Owner, anyone: httpx.AsyncClient) -> None:
    etag = (await ada.client.post(ada.at("a"), content=b"body")).headers["etag"]
    for known in (etag, etag.strip('"')):
        same = await anyone.get(ada.at("a"), headers={"if-none-match": known})
        assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", etag)
    assert (await anyone.get(ada.at("a"), headers={"if-none-match": '"old"'})).content == b"body"
    await ada.client.delete(ada.at("a"))
    assert (await anyone.get(ada.at("a"), headers={"if-none-match": etag})).status_code == 404


async def test_if_match_guards_an_overwrite(ada: Owner, anyone: httpx.AsyncClient) -> None:
    none = await ada.client.post(ada.at("dm"), content=b"1", headers={"if-match": '"any"'})
    assert (none.status_code, "etag" in none.headers) == (412, False)
    assert "If-Match ETag did not match: object does not exist." in none.text
    etag = (await ada.client.post(ada.at("dm"), content=b"1")).headers["etag"]
    stale = await ada.client.post(ada.at("dm"), content=b"2", headers={"if-match": '"old"'})
    assert (stale.status_code, stale.headers["etag"]) == (412, etag)
    assert "If-Match ETag did not match stored object" in stale.text
    assert (await anyone.get(ada.at("dm"))).content == b"1"
    assert (await ada.client.post(ada.at("dm"), content=b"2", headers={"if-match": etag})).status_code == 204
    await ada.client.delete(ada.at("dm"))
    assert (await ada.client.post(ada.at("dm"), content=b"3", headers={"if-match": etag})).status_code == 412


async def test_if_none_match_makes_only_what_is_not_there(ada: Owner, anyone: httpx.AsyncClient) -> None:
    only_new = {"if-none-match": "*"}
    assert (await ada.client.post(ada.at("dm"), content=b"1", headers=only_new)).status_code == 204
    assert (await ada.client.post(ada.at("dm"), content=b"2", headers=only_new)).status_code == 412
    assert (await anyone.get(ada.at("dm"))).content == b"1"


async def test_paths_have_letters_digits_dashes_and_slashes_alone(ada: Owner) -> None:
    for path in ("a.txt", "a%20b", "a~", "../x", "a%00"):
        assert (await ada.client.post(f"{AT}/files/{ada.prefix}/{path}", content=b"x")).status_code == 404, path


async def test_writing_is_for_the_owner(hive: TestHive, ada: Owner, anyone: httpx.AsyncClient) -> None:
    bob = await owner_of(hive, "bob")
    for method in ("POST", "DELETE"):
        nobody = await anyone.request(method, ada.at("a"))
        assert (nobody.status_code, "403: User not found" in nobody.text) == (403, True)
        unknown = await anyone.request(method, ada.at("a"), headers={"authorization": "Token wrong"})
        assert (unknown.status_code, "403: User not found" in unknown.text) == (403, True)
        for url in (ada.at("a"), f"{AT}/files/no-such-prefix/a"):
            other = await bob.client.request(method, url)
            assert (other.status_code, "403: Not authorized for this prefix" in other.text) == (403, True)
    assert (await anyone.get(f"{AT}/files/no-such-prefix/a")).status_code == 404


async def test_other_methods_are_refused_after_the_login(ada: Owner, anyone: httpx.AsyncClient) -> None:
    for method in ("PUT", "PATCH", "HEAD"):
        assert (await anyone.request(method, ada.at("a"))).status_code == 403
        answer = await ada.client.request(method, ada.at("a"))
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET, POST, DELETE")


async def test_every_kind_of_credential_opens_the_door(hive: TestHive, ada: Owner) -> None:
    pair = await hive.hive.auth.login("ada", PASSWORD)
    made = await ada.client.post("/api/auth/app-passwords", json={"name": "box", "scopes": ["files:write"]})
    basic = base64.b64encode(f"ada:{PASSWORD}".encode()).decode()
    for shown in (
        f"Token {pair.access_token}",
        f"Token {made.json()['secret']}",
        f"Bearer {pair.access_token}",
        f"Basic {basic}",
    ):
        answer = await hive.anonymous.post(ada.at("a"), content=b"x", headers={"authorization": shown})
        assert answer.status_code == 204, shown.split()[0]


async def test_a_suspended_user_neither_writes_nor_is_read(
    hive: TestHive, ada: Owner, anyone: httpx.AsyncClient
) -> None:
    root = await hive.client("root", is_admin=True)
    await ada.client.post(ada.at("a"), content=b"x")
    assert (await root.patch("/api/auth/users/ada", json={"is_active": False})).status_code == 200
    assert (await ada.client.post(ada.at("a"), content=b"y")).status_code == 403
    hive.hive.filesystem._known_prefixes.clear()  # a few seconds later
    assert (await anyone.get(ada.at("a"))).status_code == 403


async def test_a_path_below_an_object_is_refused(ada: Owner) -> None:
    await ada.client.post(ada.at("a"), content=b"x")
    assert (await ada.client.post(ada.at("a/b"), content=b"y")).status_code == 409
