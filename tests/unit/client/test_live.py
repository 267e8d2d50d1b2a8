"""The live stream's client against real hives: it reconnects, misses nothing and doubles nothing."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from skep.base.errors import NodeNotFound, SpaceNotFound
from skep.base.ids import id_text, new_id
from skep.cli.main import run
from skep.client.hive import Hive
from skep.client.live import LiveBatch
from skep.client.retries import Cancelled
from skep.client.sessions import MemoryKeeper
from skep.testing.process import RunningHive, made_hive


@pytest.fixture(scope="module", params=["granian", "uvicorn"])
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHive]:
    hive = made_hive(tmp_path_factory.mktemp("hive"), engine=request.param)
    hive.start()
    yield hive
    hive.stop()


def connected(running: RunningHive) -> Hive:
    with Hive.connect(running.url, None) as stranger:
        tokens = stranger.accounts.login("admin", running.password)
    return Hive.connect(running.url, MemoryKeeper(tokens))


def put(hive: Hive, path: str, content: bytes = b"x") -> str:
    return hive.files.write_file(path, content).id


def paths(batch: LiveBatch) -> list[str]:
    return [change["path"] for change in batch.changes]


def test_changes_come_as_they_happen_and_from_a_cursor(running: RunningHive) -> None:
    with connected(running) as hive:
        live = hive.live.follow(path="/a")
        begun = next(live)
        assert begun.changes == ()
        put(hive, "/b/no")
        put(hive, "/a/one")
        assert paths(next(live)) in (["/a", "/a/one"], ["/a"])
        live.close()
        again = hive.live.follow(path="/a", cursor=begun.cursor)
        assert paths(next(again)) == ["/a", "/a/one"]
        again.close()


def test_a_restarted_hive_is_found_again_and_nothing_is_missed(running: RunningHive) -> None:
    with connected(running) as hive:
        port = running.url.rpartition(":")[2]
        live = hive.live.follow(path="/restart")
        next(live)
        seen: list[str] = []
        enough = threading.Event()

        def follow() -> None:
            for batch in live:
                seen.extend(path for path in paths(batch) if path != "/restart")
                if len(seen) >= 3:
                    enough.set()
                    return

        thread = threading.Thread(target=follow)
        thread.start()
        put(hive, "/restart/1")
        running.stop()
        running.settings["server__port"] = port
        running.start()
        put(hive, "/restart/2")
        running.process.kill()
        running.process.wait()
        running.start()
        put(hive, "/restart/3")
        assert enough.wait(60)
        thread.join()
        assert seen == ["/restart/1", "/restart/2", "/restart/3"]


def test_what_cannot_pass_is_raised(running: RunningHive) -> None:
    with connected(running) as hive:
        with pytest.raises(SpaceNotFound):
            next(hive.live.follow(space=id_text(new_id())))
        with pytest.raises(NodeNotFound):
            next(hive.live.follow(node=id_text(new_id())))


def test_the_caller_can_stop_it(running: RunningHive) -> None:
    hive = connected(running)
    live = hive.live.follow()
    next(live)
    timer = threading.Timer(0.2, hive.cancel.set)
    timer.start()
    with pytest.raises(Cancelled):
        next(live)
    timer.join()


def test_the_command_shows_the_next_change(
    running: RunningHive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setattr("sys.stdin", (tmp_path / "password").open("w+"))
    (tmp_path / "password").write_text(running.password + "\n")
    assert run(["login", running.url, "--user", "admin", "--password-stdin"]) == 0
    with connected(running) as hive:
        cursor = hive.files.spaces()[0]["cursor"]
        node = put(hive, "/command/file")
    capsys.readouterr()
    assert run(["events", "/command", "--since", cursor]) == 0
    assert "/command/file" in capsys.readouterr().out
    assert run(["events", "--node", node, "--since", cursor, "--json"]) == 0
    change = json.loads(capsys.readouterr().out.splitlines()[0])
    assert (change["path"], change["kind"]) == ("/command/file", "created")
    assert httpx.get(f"{running.url}/healthz").status_code == 200
