"""``skep stack start``, ``ps`` and ``stop`` as they are typed, on the process engine and nginx where it is there."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from skep.cli.main import run
from skep.testing.hq import free_port

STACK = """web:
  type: web
  run: exec python3 -m http.server --bind 127.0.0.1 "$PORT"
  domains: hello.test
  health: /
"""


@pytest.mark.long
def test_a_stack_starts_is_seen_and_stops(
    tmp_path: Path,
    program: Callable[[str, str], Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    program("nginx", "apt-get install nginx-full")
    monkeypatch.setenv("SKEP_LOCAL_DIR", str(tmp_path / "local"))
    tree = tmp_path / "hello"
    tree.mkdir()
    (tree / "quarry.yml").write_text(STACK)
    (tree / "word").write_text("first")
    port = free_port()
    try:
        assert run(["stack", "start", str(tree), "--port", str(port)]) == 0
        said = capsys.readouterr().out
        assert "DEPLOY web (1)" in said
        assert f"http://hello.test:{port}/" in said
        asked = {"host": "hello.test"}
        assert httpx.get(f"http://127.0.0.1:{port}/word", headers=asked).text == "first"
        assert run(["stack", "ps", "--local", "--json"]) == 0
        (view,) = json.loads(capsys.readouterr().out)
        (one,) = view["slices"]
        assert one["state"] == "running"
        bound = one["bindings"][0]
        assert httpx.get(f"http://{bound['address']}:{bound['host_port']}/word").text == "first"

        assert run(["stack", "start", str(tree)]) == 0
        assert "nothing is started or ended" in capsys.readouterr().out
        (tree / "quarry.yml").write_text(STACK.replace("exec python3", "echo no luck; false"))
        assert run(["stack", "start", str(tree)]) == 1
        assert "no luck" in capsys.readouterr().out
        assert httpx.get(f"http://127.0.0.1:{port}/word", headers=asked).text == "first"
    finally:
        assert run(["stack", "stop", "hello"]) == 0
    assert run(["stack", "ps", "--local", "--json"]) == 0
    assert [view["slices"] for view in json.loads(capsys.readouterr().out.splitlines()[-1])] == [[]]
    assert run(["stack", "stop", "nothing"]) == 3
