"""Services that real processes serve alone: an array with two agents, a cloud whose owner is a user; over a restart."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import httpx

from skep.testing.agents import RunningAgent, wait_for
from skep.testing.hive import PASSWORD
from skep.testing.process import RunningHive, made_hive

BODY = bytes(range(256)) * 2000


def user(hive: RunningHive, name: str) -> httpx.Client:
    """A client of a new user."""
    with hive.client() as admin:
        made = admin.post("/api/auth/users", json={"name": name, "password": PASSWORD})
        assert made.status_code == 201, made.text
    return login(hive, name)


def login(hive: RunningHive, name: str) -> httpx.Client:
    token = httpx.post(f"{hive.url}/api/auth/login", json={"name": name, "password": PASSWORD}).json()["access_token"]
    return httpx.Client(base_url=hive.url, headers={"authorization": f"Bearer {token}"}, timeout=30)


def test_an_array_alone_with_a_users_own_agents_over_a_restart(tmp_path: Path) -> None:
    settings = {"server__only": "array", "agents__users_invite": "true"}
    hive = made_hive(tmp_path / "hive", **settings)
    hive.start()
    agents = []
    try:
        with user(hive, "ada") as ada:
            hive_token = hive.token
            hive.token = ada.headers["authorization"].removeprefix("Bearer ")
            for name in ("desk", "shed"):
                space = tmp_path / name
                space.mkdir()
                agent = RunningAgent(space)
                agents.append(agent)
                agent.join(hive, name, "--share", "1GB")
            hive.token = hive_token
            wait_for("two stores", lambda: len(ada.get("/api/stores").json()["stores"]) == 2)
            assert {each["owner"] for each in ada.get("/api/stores").json()["stores"]} == {"ada"}
            made = ada.post("/api/array/part-1", params={"replicas": 2}, content=BODY)
            assert (made.status_code, made.json()["members"]) == (201, ["desk", "shed"]), made.text
            assert ada.get("/api/filesystem/info").status_code == 404
            assert ada.get("/api/cloud/part-1").status_code == 404
            paths = ada.get("/api/openapi.json").json()["paths"]
            assert "/api/array/{chunk_id}" in paths
            assert not any(path.startswith("/api/filesystem") for path in paths)
            assert httpx.request("PROPFIND", f"{hive.url}/dav/").status_code == 404
        port = hive.url.rpartition(":")[2]
        assert hive.stop() == 0
        hive.settings["server.port"] = port
        hive.start()
        with login(hive, "ada") as ada:
            wait_for("an agent back", lambda: any(s["healthy"] for s in ada.get("/api/stores").json()["stores"]))
            assert ada.get("/api/array/part-1").content == BODY
            assert ada.post("/api/array/part-1", params={"replicas": 2}, content=BODY).status_code == 200
            agents[0].stop()
            assert ada.get("/api/array/part-1").content == BODY
            assert ada.delete("/api/array/part-1").status_code == 204
    finally:
        for agent in agents:
            agent.stop()
        hive.stop()


def test_a_user_brings_a_store_with_the_command_line(tmp_path: Path) -> None:
    """README and docs/operate/ownership.md, as a stranger follows them: add, place, look, lint, drain, remove."""
    disks = tmp_path / "disks"
    for name in ("a", "b"):
        (disks / name).mkdir(parents=True)
    hive = made_hive(tmp_path / "hive")
    hive.settings = {"ownership.drivers": "fs", "ownership.directories": str(disks)}
    hive.start()
    environment = {**os.environ, "HOME": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}

    def skep(*arguments: str, code: int = 0, text: str = "") -> str:
        command = [sys.executable, "-m", "skep.cli.main", *arguments]
        done = subprocess.run(command, env=environment, input=text, capture_output=True, text=True, timeout=60)
        assert done.returncode == code, (arguments, done.stdout, done.stderr)
        return done.stdout

    try:
        user(hive, "ada").close()
        skep("login", hive.url, "--user", "ada", "--password-stdin", text=PASSWORD)
        skep("store", "add", "a", f"fs://{disks}/a", "--mine")
        skep("store", "add", "b", f"fs://{disks}/b")
        assert [each["owner"] for each in json.loads(skep("store", "ls", "--json"))] == ["ada", "ada"]
        assert "on one's own stores alone" in skep("placement", "set", "own")
        (tmp_path / "file").write_bytes(BODY)
        skep("put", str(tmp_path / "file"), "/file")
        assert "nothing is wrong" in skep("store", "lint")
        skep("store", "set", "a", "--price-stored", "0.01", "--jurisdiction", "DE")
        skep("store", "cost", "--mine")
        skep("store", "drain", "a")
        with hive.client() as admin:
            wait_for("a drained store", lambda: _drained(admin))
        skep("store", "rm", "a", "--yes")
        skep("get", "/file", str(tmp_path / "copy"))
        assert (tmp_path / "copy").read_bytes() == BODY
        skep("store", "drain", "b", code=5)  # the last one of somebody whose content may lie nowhere else
        skep("store", "add", "etc", "fs:///etc", code=4)
    finally:
        hive.stop()


def _drained(admin: httpx.Client) -> bool:
    admin.post("/api/admin/jobs", json={"kind": "repair", "options": {}})
    stores = {each["name"]: each for each in admin.get("/api/stores").json()["stores"]}
    return bool(stores["a"]["used_bytes"] == 0)
