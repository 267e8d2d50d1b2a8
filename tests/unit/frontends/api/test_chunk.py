from __future__ import annotations

import httpx
import pytest

from skep.testing.hive import open_test_hive

CHUNK = "/api/chunk/"
SAMPLE = (
    b'--foo\r\nContent-Disposition: name="encryption"\r\n\r\naes256-md5\r\n'
    b'--foo\r\nContent-Disposition: name="durability"\r\n\r\nraid1(3)\r\n'
    b"--foo\r\n\r\n<<chunk data>>\r\n--foo\r\n"
)
SAMPLE_TYPE = {"content-type": 'multipart/form-data; boundary="--foo"'}


async def test_the_malformed_sample_of_the_first_specification_is_stored(tmp_path) -> None:  # type: ignore[no-untyped-def]
    async with open_test_hive(tmp_path, stores=3) as hive:
        ada = await hive.client("ada")
        answer = await ada.post(CHUNK, content=SAMPLE, headers=SAMPLE_TYPE)
        assert answer.status_code == 201
        record = answer.json()
        assert (record["size_bytes"], record["encryption"], record["durability"]) == (14, "aes256-md5", "raid1(3)")
        assert record["replicas"] == ["s0", "s1", "s2"]
        assert (await ada.get(answer.headers["location"])).content == b"<<chunk data>>"


async def test_a_form_a_plain_body_and_ranges(ada: httpx.AsyncClient) -> None:
    form = await ada.post(CHUNK, files={"durability": (None, "none"), "data": ("c", b"0123456789")})
    plain = await ada.put("/api/chunk", params={"durability": "none"}, content=b"0123456789")
    assert (form.status_code, plain.status_code) == (201, 201)
    assert form.json()["chunk_id"] != plain.json()["chunk_id"]
    assert form.json()["chunks"][0]["id"] == plain.json()["chunks"][0]["id"]
    url = f"{CHUNK}{plain.json()['chunk_id']}"
    assert (await ada.get(url, headers={"range": "bytes=2-4"})).content == b"234"
    assert (await ada.get(f"{url}/info")).json()["size_bytes"] == 10
    assert (await ada.delete(url)).status_code == 204
    assert (await ada.get(url)).json()["code"] == "chunk-not-found"
    assert (await ada.delete(url)).status_code == 404


async def test_chunks_of_others_do_not_exist(ada: httpx.AsyncClient, bob: httpx.AsyncClient) -> None:
    url = (await ada.put(CHUNK, content=b"mine")).headers["location"]
    assert [(await bob.request(verb, url)).status_code for verb in ("GET", "HEAD", "DELETE")] == [404, 404, 404]
    assert (await ada.get(url)).content == b"mine"


@pytest.mark.parametrize(
    ("durability", "words"),
    [("raid1(x)", "invalid raid count"), ("raid9(3)", "unsupported raid level"), ("paper", "unsupported durability")],
)
async def test_schemes_that_make_no_sense(ada: httpx.AsyncClient, durability: str, words: str) -> None:
    answer = await ada.put(CHUNK, params={"durability": durability}, content=b"x")
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid-scheme")
    assert words in answer.json()["detail"]


async def test_other_bad_input(ada: httpx.AsyncClient) -> None:
    unknown = await ada.put(CHUNK, params={"encryption": "rot13"}, content=b"x")
    assert (unknown.status_code, "aes256-gcm" in unknown.json()["detail"]) == (400, True)
    assert (await ada.post(CHUNK, files={"durability": (None, "none")})).status_code == 400
    assert (await ada.post(CHUNK, content=b"x")).status_code == 400
