"""The first page of the README, with the real program and a real hive on a free port."""

from __future__ import annotations

import filecmp
import json
import os
import random
import signal
import socket
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from skep.testing.clouds.base import CLIENT_ID, CLIENT_SECRET
from skep.testing.clouds.dropbox import DropboxDouble

SOURCE = Path(__file__).resolve().parents[2] / "src"
LIBRARY = Path(sysconfig.get_path("stdlib"))
LIMIT_S = 120


@dataclass
class Program:
    """``skep`` as a user of this machine runs it, with a home of its own."""

    home: Path
    port: int
    extra: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def command(self) -> list[str]:
        return [sys.executable, "-P", "-m", "skep.cli.main"]

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("SKEP_", "XDG_"))}
        own = {"HOME": str(self.home), "PYTHONPATH": str(SOURCE), "SKEP_DATA_DIR": str(self.home / "hive")}
        return {**kept, **own, "SKEP_SERVER_PORT": str(self.port), "COLUMNS": "120", **self.extra}

    def __call__(self, *arguments: str | Path, exits: int = 0, typed: str | None = None) -> str:
        """Run a command; standard output, or standard error where it is to fail."""
        done = subprocess.run(
            [*self.command, *map(str, arguments)],
            env=self.environment,
            cwd=self.home,
            input=typed,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
        assert done.returncode == exits, f"skep {arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        return done.stderr if exits else done.stdout

    def json(self, *arguments: str | Path, typed: str | None = None) -> Any:
        return json.loads(self(*arguments, "--json", typed=typed))


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def skep(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """A hive made by ``skep up``, and its administrator logged in."""
    program = Program(tmp_path_factory.mktemp("home"), free_port(), {"SKEP_AUTH_REGISTRATION": "invite"})
    try:
        made = program.json("up")
        assert made["url"] == program.url
        assert made["started"]
        assert made["admin"] == "admin"
        program("login", program.url, "--user", "admin", "--password-stdin", typed=made["password"] + "\n")
        yield program
    finally:
        program("down")


def same(one: Path, other: Path) -> None:
    """Both trees have the same names, bytes and modification times of files (to the microsecond)."""
    compared = filecmp.dircmp(one, other, ignore=[])
    assert (compared.left_only, compared.right_only, compared.funny_files) == ([], [], [])
    _, mismatch, errors = filecmp.cmpfiles(one, other, compared.common_files, shallow=False)
    assert (mismatch, errors) == ([], [])
    for name in compared.common_files:
        assert (one / name).stat().st_mtime_ns // 1000 == (other / name).stat().st_mtime_ns // 1000
    for name in compared.common_dirs:
        same(one / name, other / name)


def test_up_is_safe_to_run_again(skep: Program) -> None:
    again = skep.json("up")
    assert (again["url"], again["started"], again["password"]) == (skep.url, False, None)
    assert skep("status").startswith(f"{skep.url}: ready")
    assert stat_mode(skep.home / ".config/skep/credentials.json") == 0o600


def stat_mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_a_real_tree_goes_in_and_comes_out_byte_for_byte(skep: Program) -> None:
    count = sum(path.is_file() for path in (LIBRARY / "email").rglob("*"))
    put = skep.json("put", LIBRARY / "email", "/Library/email")
    assert (put["files"], put["failed"]) == (count, [])
    assert skep.json("put", LIBRARY / "email", "/Library/email")["unchanged"] == count
    assert skep.json("get", "/Library/email", "copy")["files"] == count
    same(LIBRARY / "email", skep.home / "copy")
    assert skep.json("get", "/Library/email", "copy")["unchanged"] == count
    skep("get", "/Library", "into/")
    same(LIBRARY / "email", skep.home / "into/Library/email")


def test_sharing(skep: Program, tmp_path: Path) -> None:
    made = skep.json("user", "add", "benno", "--password-stdin", typed="quiet meadow 41 lantern\n")
    assert made["name"] == "benno"
    ben = Program(tmp_path, skep.port)
    ben("login", ben.url, "--user", "benno", "--password-stdin", typed="quiet meadow 41 lantern\n")
    (tmp_path / "letter").write_text("dear ben")
    skep("put", tmp_path / "letter", "/shared/letter")
    link = skep.json("link", "add", "/shared", "--expires", "1h", "--downloads", "1")
    opened = httpx.get(link["url"].replace("/l/", "/api/public/") + "/data", params={"path": "/letter"})
    assert opened.content == (tmp_path / "letter").read_bytes()
    assert "1 of 1" in skep("link", "ls", "--all")
    assert [one["id"] for one in skep.json("link", "rm", "/shared")] == [link["id"]]
    assert "say with whom" in skep("share", "add", "/shared", exits=2)
    given = skep.json("share", "add", "/shared", "--user", "benno", "--rights", "write")
    assert (given["path"], given["state"], given["holder"]["name"]) == ("/shared", "pending", "benno")
    assert "no space" in ben("ls", "--space", "shared", exits=3)
    assert ben.json("share", "accept", "shared", "--name", "From home")["state"] == "accepted"
    assert ben("ls", "--space", "From home") == "letter\n"
    assert ben("cat", "/letter", "--space", "from home") == "dear ben"
    (tmp_path / "tree/a").mkdir(parents=True)
    (tmp_path / "tree/a/b").write_text("from ben")
    ben("put", tmp_path / "tree", "/tree", "--space", "From home")
    assert skep("cat", "/shared/tree/a/b") == "from ben"
    assert "From home" in ben("share")
    assert "benno" in skep("share", "ls")
    assert skep.json("share", "ls")["given"][0]["state"] == "accepted"
    skep("tag", "add", "/shared/letter", "post")
    assert skep.json("tag", "rename", "post", "letters")["renamed"] == 1
    ben("share", "decline", "From home")
    assert skep.json("share", "ls")["given"][0]["state"] == "declined"
    assert skep.json("share", "rm", "/shared", "--user", "benno")[0]["id"] == given["id"]
    assert "not shared like that" in skep("share", "rm", "/shared", exits=3)


def test_what_a_tree_may_have(skep: Program) -> None:
    tree = skep.home / "odd"
    (tree / "empty/deeper").mkdir(parents=True)
    (tree / "none").touch()
    (tree / "big").write_bytes(os.urandom(3_000_000))
    (tree / "größe 東京\n'$(x)").write_bytes(b"x")
    (tree / ("n" * 255)).write_bytes(b"long")
    (tree / "link").symlink_to("big")
    os.mkfifo(tree / "pipe")
    bad = os.fsencode(tree) + b"/bad\xff"
    os.close(os.open(bad, os.O_CREAT | os.O_WRONLY))
    assert "not UTF-8" in skep("put", tree, "/odd", exits=1)
    os.unlink(bad)
    put = skep.json("put", tree, "/odd")
    assert sorted(Path(note["path"]).name for note in put["skipped"]) == ["link", "pipe"]
    skep("get", "/odd", "odd-copy")
    (tree / "link").unlink()
    (tree / "pipe").unlink()
    same(tree, skep.home / "odd-copy")
    assert "\n'$" not in skep("ls", "/odd"), "a name must not break a line"


def test_versions_and_the_trash(skep: Program) -> None:
    file = skep.home / "a.txt"
    for text in ("first", "second", "third one"):
        file.write_text(text)
        skep("put", file, "/a.txt")
    assert [version["number"] for version in skep.json("versions", "/a.txt")] == [3, 2, 1]
    assert skep("cat", "--version", "1", "/a.txt") == "first"
    skep("get", "/a.txt", "old.txt", "--version", "2")
    assert (skep.home / "old.txt").read_text() == "second"
    skep("restore", "/a.txt", "--version", "1")
    assert skep("cat", "/a.txt") == "first"
    skep("rm", "/a.txt")
    skep("cat", "/a.txt", exits=3)
    assert [entry["path"] for entry in skep.json("trash")] == ["/a.txt"]
    skep("restore", "/a.txt")
    assert skep("cat", "/a.txt") == "first"
    assert skep.json("trash") == []


def test_moving_copying_tagging(skep: Program) -> None:
    skep("put", skep.home / "hive/skep.db", "/m/file")
    assert skep("mv", "/m/file", "/m/other").strip() == "/m/other"
    assert skep("cp", "/m", "/n").strip() == "/n"
    assert "/n/other" in skep("cp", "/m/other", "/n/", exits=5)
    skep("cp", "--force", "/m/other", "/n/")
    skep("tag", "add", "/n", "keep", "two words")
    assert [node["path"] for node in skep.json("find", "two words")] == ["/n"]
    skep("tag", "rm", "/n", "keep")
    assert skep.json("tag", "ls", "/n") == ["two words"]


def test_errors_are_one_line_with_an_exit_code(skep: Program) -> None:
    assert "/nope" in skep("ls", "/nope", exits=3)
    assert "start with /" in skep("ls", "nope", exits=2)
    assert (
        skep("login", skep.url, "-u", "admin", "--password-stdin", exits=4, typed="wrong password\n").count("\n") == 1
    )
    with_json = skep("ls", "/nope", "--json", exits=3)
    assert json.loads(with_json)["error"]["code"] == "node-not-found"
    assert "is it running" in skep(
        "login", f"http://127.0.0.1:{free_port()}", "-u", "x", "--password-stdin", exits=6, typed="x\n"
    )


def test_people(skep: Program) -> None:
    skep("user", "add", "ann", "--password-stdin", typed="correct horse battery\n")
    skep("group", "add", "family")
    skep("group", "join", "family", "ann", "--manager")
    ann = Program(skep.home / "ann", skep.port)
    ann.home.mkdir()
    ann("login", skep.url, "-u", "ann", "--password-stdin", typed="correct horse battery\n")
    assert ann.json("whoami")["user"]["name"] == "ann"
    (ann.home / "x").write_text("shared")
    ann("put", "x", "/x", "--space", "family")
    assert ann("cat", "/x", "--space", "family") == "shared"
    assert ann.json("ls", "/") == []
    assert "admin" in ann("user", "ls", exits=4)
    secret = ann.json("app-password", "add", "camera")["secret"]
    assert secret
    ann("app-password", "rm", ann.json("app-password")[0]["id"])
    ann("logout")
    ann("ls", "/", exits=4)


def test_somebody_invited_registers_and_sets_a_password(skep: Program) -> None:
    token = skep.json("invite", "add")["token"]
    guest = Program(skep.home, skep.port, {"XDG_CONFIG_HOME": str(skep.home / "guest")})
    first, second = "quiet meadow 41 lantern\n", "another quiet meadow 77\n"
    assert "by invite" in guest("register", skep.url, "-u", "gil", "--password-stdin", typed=first, exits=4)
    made = guest.json("register", skep.url, "-u", "gil", "--invite", token, "--password-stdin", typed=first)
    assert made["user"]["name"] == "gil"
    assert guest("whoami").startswith("gil, at")
    assert "wrong" in guest("passwd", "--password-stdin", typed=second + second, exits=4)
    guest("passwd", "--password-stdin", typed=first + second)
    assert guest("whoami").startswith("gil, at")
    guest("login", skep.url, "-u", "gil", "--password-stdin", typed=second)
    skep("user", "quota", "gil", "1KB")
    guest("mkdir", "/d")
    (skep.home / "large").write_bytes(bytes(2000))
    assert "not fit" in guest("put", "large", "/d/large", exits=8)
    assert "no limit" in skep("user", "quota", "gil", "none")
    guest("put", "large", "/d/large")
    skep("group", "add", "quartet")
    skep("group", "rename", "quartet", "quintet")
    assert skep.json("group", "quota", "quintet")["name"] == "quintet"


def test_care_by_hand(skep: Program) -> None:
    assert skep.json("fsck", "--quick")["clean"]
    assert skep.json("fsck", "--quick", "--versions")["clean"]
    assert "goes with --quick" in skep("fsck", "--versions", exits=2)
    assert len(skep.json("key", "rotate")["key_id"]) == 43
    assert "to choose from: none" in skep("scheme", "mine")
    assert "does not let you choose" in skep("scheme", "mine", "raid1(2)", exits=4)


def test_several_shells_share_one_login(skep: Program) -> None:
    """Tokens at their end are refreshed by one program; the session of the others goes on."""
    path = skep.home / ".config/skep/credentials.json"
    document = json.loads(path.read_text())
    document["hives"][skep.url]["access_expires_s"] = 0
    path.write_text(json.dumps(document))
    results: list[str] = []
    shells = [threading.Thread(target=lambda: results.append(skep("whoami"))) for _ in range(4)]
    for shell in shells:
        shell.start()
    for shell in shells:
        shell.join()
    assert len(results) == 4
    skep("whoami")


def test_stores_scheme_and_care(skep: Program) -> None:
    for name in ("disk2", "disk3"):
        (skep.home / name).mkdir()
        assert skep.json("store", "check", f"fs://{skep.home / name}")["passed"]
        skep("store", "add", name, f"fs://{skep.home / name}", "--zone", name)
    assert {store["name"] for store in skep.json("store")} == {"local", "disk2", "disk3"}
    assert skep.json("scheme", "set", "ec(2,1)")["parity_shards"] == 1
    skep("put", LIBRARY / "json", "/json")
    assert any((skep.home / "disk2").rglob("shards/*"))
    assert skep.json("fsck", "--read-data")["clean"]
    assert skep.json("scrub")["corrupt"] == 0
    assert skep.json("repair")["left"] == 0
    skep("gc", "--grace", "0s")
    assert "gc" in {worker["name"] for worker in skep.json("workers")}
    skep("scheme", "set", "none")


def test_rebalancing_shows_a_plan_and_carries_it_out(skep: Program, tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(random.Random(8).randbytes(40 << 20))
    skep("put", str(tmp_path / "big"), "/rebalanced")
    (skep.home / "beside").mkdir()
    skep("store", "add", "beside", f"fs://{skep.home}/beside", "--zone", "beside")
    plan = skep.json("store", "rebalance", "--plan")
    assert plan["state"] == "proposed"
    assert plan["moves"] > 0
    assert "carry it out with" in skep("store", "rebalance", "--plan")
    done = skep.json("store", "rebalance", "--yes", "--wait")
    assert (done["state"], done["moved"]) == ("done", done["moves"])
    assert "moved" in skep("store", "rebalance", "--status")
    skep("get", "/rebalanced", tmp_path / "back")
    assert filecmp.cmp(tmp_path / "big", tmp_path / "back", shallow=False)
    skep("store", "set", "beside", "--price-stored", "0.006", "--down", "100MB", "--jurisdiction", "DE")
    skep("store", "set", "beside", "--price-up", "0.01")
    assert skep.json("store", "ls")[-1]["terms"] == {
        "price_stored": "0.006", "price_up": "0.01", "jurisdiction": "DE", "down_bytes_per_s": 100 << 20,
    }  # fmt: skip
    costs = skep.json("store", "cost")
    assert [each["name"] for each in costs["stores"] if each["so_far"] is not None] == ["beside"]
    assert "FORECAST" in skep("store", "cost")
    assert "no price" in skep("store", "set", "beside", "--price-up", "dear", exits=2)
    skep("store", "drain", "beside")
    skep("repair", "--progress")
    skep("store", "rm", "beside", "--yes")


def hear_ctrl_c() -> None:
    """A test run that a shell put into the background ignores SIGINT, and what it starts would inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_an_interrupted_upload_ends_quickly_and_goes_on(skep: Program) -> None:
    tree = skep.home / "interrupted"
    tree.mkdir()
    for number in range(4):
        with (tree / str(number)).open("wb") as file:
            file.truncate(200 << 20)
    process = subprocess.Popen(
        [*skep.command, "put", str(tree), "/large"],
        env=skep.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=hear_ctrl_c,
    )
    follower = subprocess.Popen(
        [*skep.command, "changes", "--follow", "--json"],
        env=skep.environment,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=hear_ctrl_c,
    )
    assert follower.stdout is not None
    for line in follower.stdout:
        if json.loads(line)["path"].startswith("/large"):
            break
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=LIMIT_S)
    assert process.returncode in (130, 0)
    assert "Traceback" not in err
    follower.send_signal(signal.SIGINT)
    assert follower.wait(LIMIT_S) == 130
    skep("put", tree, "/large")
    assert {node["size_bytes"] for node in skep.json("ls", "/large")} == {200 << 20}


def test_changes_tell_the_story_and_can_be_continued(skep: Program) -> None:
    lines = [json.loads(line) for line in skep("changes", "--json").splitlines()]
    assert [line["number"] for line in lines] == list(range(1, len(lines) + 1))
    skep("mkdir", "/later")
    [later] = [json.loads(line) for line in skep("changes", "--json", "--since", lines[-1]["cursor"]).splitlines()]
    assert (later["kind"], later["path"]) == ("created", "/later")


def test_down_and_up_again_keeps_everything(skep: Program) -> None:
    skep("mkdir", "/kept")
    assert skep.json("down")["stopped"]
    skep("status", exits=6)
    assert "is it running" in skep("ls", "/", exits=6)
    assert skep.json("up")["password"] is None
    assert "kept" in {node["name"] for node in skep.json("ls", "/")}


def test_a_second_hive_on_the_same_data_is_refused(skep: Program) -> None:
    said = skep("serve", "--port", str(free_port()), exits=1)
    assert str(skep.home / "hive") in said


FOLLOW = """#!{python} -I
import sys, urllib.request
opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
try:
    opener.open(sys.argv[1], timeout=20)
except OSError:
    pass
"""


def test_a_cloud_account_becomes_a_store(skep: Program) -> None:
    """As in docs/operate/clouds.md, with a browser that grants at once and a double of Dropbox."""
    double = DropboxDouble()
    browser = skep.home / "browser"
    browser.write_text(FOLLOW.format(python=sys.executable))
    browser.chmod(0o755)
    with double.served():
        missing = skep("store", "add", "dbx", "dropbox:", exits=5)
        assert "skep cloud provider set dropbox" in missing
        at = ("--client-id", CLIENT_ID, "--secret-stdin", "--at", double.base_url)
        made = skep.json("cloud", "provider", "set", "dropbox", *at, typed=CLIENT_SECRET + "\n")
        assert made["redirect_uri"] == f"{skep.url}/api/cloud/login/dropbox/complete"
        double.redirects = {made["redirect_uri"]}
        with_browser = Program(skep.home, skep.port, {"BROWSER": f"{browser} %s"})
        added = with_browser.json("store", "add", "dbx", "dropbox:", "--zone", "dropbox")
        assert (added["url"], added["healthy"]) == (f"dropbox:{double.account_id}", True)
        assert skep.json("cloud")[0]["label"] == "ada@example.com"
        assert "ada@example.com" in skep("cloud", "ls")
        again = with_browser("store", "add", "dbx2", "dropbox:", exits=5)
        assert "is a store of this hive already" in again
        assert skep.json("store", "check", "dbx")["passed"]
        skep("store", "rm", "dbx", "--yes")
        assert not double.refresh
        assert skep.json("cloud") == []
        written = b"".join(path.read_bytes() for path in (skep.home / "hive").rglob("*") if path.is_file())
        assert CLIENT_SECRET.encode() not in written, "neither a log nor the database has it in the clear"


def test_a_hive_comes_back_from_its_stores_and_its_key_alone(skep: Program) -> None:
    skep("user", "add", "keeper", "--password-stdin", typed="correct horse battery\n")
    skep("group", "add", "keepers")
    skep("group", "join", "keepers", "keeper")
    skep("group", "join", "keepers", "admin")
    skep("put", LIBRARY / "json", "/shared", "--space", "keepers")
    (skep.home / "note").write_text("one")
    skep("put", "note", "/note", "--space", "keepers")
    (skep.home / "note").write_text("two")
    skep("put", "note", "/note", "--space", "keepers")
    skep("snapshot")
    stores = [argument for store in skep.json("store") for argument in ("--store", store["url"])]
    skep("key", "backup", "--to", "hive.key")
    skep("down")
    (skep.home / "hive").rename(skep.home / "gone")
    stores = [argument.replace("/hive/", "/gone/") for argument in stores]
    other = Program(skep.home, free_port(), {"SKEP_DATA_DIR": str(skep.home / "hive")})
    assert "no hive's mark" in other("recover", "--master-key", "hive.key", "--store", f"fs://{skep.home}", exits=6)
    result = other.json("recover", "--master-key", "hive.key", *stores)
    assert (result["shards_missing"], result["stores_absent"], result["unreadable"]) == (0, [], [])
    assert "there already" in other("recover", "--master-key", "hive.key", *stores, exits=5)
    assert other.json("up")["password"] is None
    skep("user", "ls", exits=6)
    other.extra["XDG_CONFIG_HOME"] = str(skep.home / "new-config")
    other("login", other.url, "-u", "keeper", "--password-stdin", typed="correct horse battery\n")
    assert other("cat", "/note", "--version", "1", "--space", "keepers") == "one"
    other("get", "/shared", "back", "--space", "keepers")
    same(LIBRARY / "json", skep.home / "back")
    other("down")
