"""Other people's clients of resumable uploads against a real hive: tuspy, tus-js-client, curl."""

from __future__ import annotations

import json
import random
import subprocess
from pathlib import Path

import pytest
from tusclient.client import TusClient
from tusclient.exceptions import TusCommunicationError

from skep.testing.process import made_hive

MIB = 1 << 20
NODE = Path(__file__).parent / "node"


@pytest.fixture(scope="module")
def hive(tmp_path_factory):
    made = made_hive(tmp_path_factory.mktemp("tus") / "hive")
    made.start()
    yield made
    assert made.stop() == 0


@pytest.fixture
def client(hive):
    return TusClient(f"{hive.url}/tus/", headers={"Authorization": f"Bearer {hive.token}"})


@pytest.fixture
def body(tmp_path):
    path = tmp_path / "body"
    path.write_bytes(random.Random(5).randbytes(9 * MIB + 12_345))
    return path


def stored(hive, path):
    with hive.client() as http:
        answer = http.get("/api/filesystem/data", params={"path": path})
        assert answer.status_code == 200, answer.text
        return answer.content


def is_there(hive, path):
    with hive.client() as http:
        return http.get("/api/filesystem/data", params={"path": path}).status_code == 200


@pytest.mark.parametrize(("name", "chunk"), [("whole", 1 << 40), ("chunks", MIB), ("odd", 777_777)])
def test_tuspy(hive, client, body, name, chunk):
    path = f"/tuspy/{name}"
    client.uploader(str(body), chunk_size=chunk, metadata={"path": path}).upload()
    assert stored(hive, path) == body.read_bytes()


def test_tuspy_checks_each_chunk(hive, client, body):
    uploader = client.uploader(str(body), chunk_size=2 * MIB, metadata={"path": "/tuspy/checked"}, upload_checksum=True)
    uploader.upload()
    assert stored(hive, "/tuspy/checked") == body.read_bytes()


def test_tuspy_goes_on_where_another_stopped(hive, client, body):
    first = client.uploader(str(body), chunk_size=MIB, metadata={"path": "/tuspy/resumed"})
    for _ in range(4):
        first.upload_chunk()
    assert not is_there(hive, "/tuspy/resumed")
    second = client.uploader(str(body), chunk_size=MIB, url=first.url)
    assert second.offset == 4 * MIB
    second.upload()
    assert stored(hive, "/tuspy/resumed") == body.read_bytes()


def test_tuspy_is_told_of_a_wrong_login(hive, body):
    stranger = TusClient(f"{hive.url}/tus/", headers={"Authorization": "Bearer nonsense"})
    with pytest.raises(TusCommunicationError):
        stranger.uploader(str(body), metadata={"path": "/tuspy/stranger"}).upload()


@pytest.fixture
def node(program, hive, body):
    """Runs tus-js-client; gives what it says at its end."""
    found = program("node", "apt-get install nodejs npm")
    if not (NODE / "node_modules" / "tus-js-client").exists():
        pytest.skip(f"tus-js-client is not there: npm ci --prefix {NODE}")

    def run(how, path, state=""):
        command = [str(found), str(NODE / "upload.mjs"), how, f"{hive.url}/tus/", hive.token, str(body), path]
        done = subprocess.run([*command, *([str(state)] if state else [])], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run


@pytest.mark.parametrize("how", ["whole", "chunks", "deferred", "parallel"])
def test_tus_js_client(hive, node, body, how):
    said = node(how, f"/node/{how}")
    assert "/tus/" in said["url"]
    assert stored(hive, f"/node/{how}") == body.read_bytes()


def test_tus_js_client_resumes(hive, node, body, tmp_path):
    stopped = node("stop", "/node/resumed", tmp_path / "urls.json")
    assert body.stat().st_size / 2 <= stopped["accepted"] < body.stat().st_size
    assert not is_there(hive, "/node/resumed")
    assert node("resume", "/node/resumed", tmp_path / "urls.json")["url"] == stopped["url"]
    assert stored(hive, "/node/resumed") == body.read_bytes()


@pytest.fixture
def curl(program, hive):
    """Runs curl; gives the last status and its headers."""
    found = program("curl", "apt-get install curl")

    def run(method, url, *headers, data=None):
        given = [item for header in headers for item in ("-H", header)]
        sent = ["--data-binary", f"@{data}"] if data else []
        command = [str(found), "-sS", "-D", "-", "-o", "/dev/null", "-m", "60"]
        command += ["-I"] if method == "HEAD" else ["-X", method]
        login = ["-H", f"Authorization: Bearer {hive.token}"]
        done = subprocess.run([*command, *login, *given, *sent, url], capture_output=True, text=True, check=True)
        lines = done.stdout.replace("\r", "").strip().split("\n\n")[-1].splitlines()
        return int(lines[0].split()[1]), dict(line.lower().split(": ", 1) for line in lines[1:])

    return run


def test_the_draft_with_curl(hive, curl, body, tmp_path):
    content = body.read_bytes()
    head, tail = tmp_path / "head", tmp_path / "tail"
    head.write_bytes(content[: 4 * MIB])
    tail.write_bytes(content[4 * MIB :])
    draft = "Upload-Draft-Interop-Version: 8"
    status, made = curl(
        "POST", f"{hive.url}/tus/?path=/curl", draft, "Upload-Complete: ?0", f"Upload-Length: {len(content)}",
        "Content-Type: application/x-curl", data=head,
    )  # fmt: skip
    assert (status, made["upload-complete"]) == (201, "?0")
    url = hive.url + made["location"]
    status, now = curl("HEAD", url, draft)
    assert (status, now["upload-offset"], now["upload-complete"]) == (204, str(4 * MIB), "?0")
    kind = "Content-Type: application/partial-upload"
    status, wrong = curl("PATCH", url, draft, kind, "Upload-Complete: ?1", "Upload-Offset: 7", data=tail)
    assert (status, wrong["upload-offset"]) == (409, str(4 * MIB))
    status, done = curl("PATCH", url, draft, kind, "Upload-Complete: ?1", f"Upload-Offset: {4 * MIB}", data=tail)
    assert (status, done["upload-complete"]) == (201, "?1")
    assert stored(hive, "/curl") == content
    assert curl("HEAD", url, draft)[1]["upload-complete"] == "?1"
    status, made = curl("PUT", f"{hive.url}/tus/?path=/curl2", draft, "Upload-Complete: ?1", data=body)
    assert (status, made["upload-complete"]) == (201, "?1")
    assert stored(hive, "/curl2") == content
