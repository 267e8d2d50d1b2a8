"""Clients that work all at once until the hive is gone, each in a directory of its own.

Contents come from a pool that all share, so that the same chunks are uploaded, released, collected and
uploaded again by several at once. A client that is cut off keeps both states that may be there now.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator

from skep.client.framing import BATCH_TYPE, encode_batch

from .calls import Calls, HiveGone, Refused
from .model import Content, Seen, State, adopted, difference
from .nursery import Nursery

FILES_MAX = 20
CLIENT_BYTES_MAX = 16 << 20
TRASH_MAX = 4
VERSIONS_MAX = 4
DIRS_MAX = 4
POOL = [
    *(Content(seed, 37 * seed * seed) for seed in range(24)),
    *(Content(seed, seed * 13_001) for seed in range(24, 36)),
    *(Content(seed, (seed - 34) * 700_001) for seed in range(36, 42)),
]


class Client:
    """One client: what it knows to be there (``states``: one, or two after a cut), and its chances."""

    def __init__(self, number: int, seed: int) -> None:
        self.root = f"/client{number}"
        self.states: tuple[State, ...] = (State(),)
        self.acknowledged = 0
        self.unfinished = ""
        self.settled_on = 0
        """Which of the states was there at the last check: 1 is the one after an operation that was cut off."""
        self._chance = random.Random(f"{seed}/{number}")
        self._names = 0

    @property
    def state(self) -> State:
        [state] = self.states
        return state

    def work(self, calls: Calls, failures: list[str]) -> None:
        """Do one thing after another until the hive is gone. What it refuses is a failure of the test."""
        try:
            if "" not in self.state.tree.dirs:
                self._do(self.state.made(""), lambda: self._make(calls, ""))
            while True:
                self._step(calls)
        except HiveGone:
            pass
        except Refused as error:
            failures.append(f"{self.root}: {error}")
        finally:
            calls.close()

    def check(self, calls: Calls) -> None:
        """What was acknowledged is there, and what was not is there wholly or not at all."""
        seen = self._look(calls)
        differences = [difference(state, seen) for state in self.states]
        assert "" in differences, f"{self.root} after {self.unfinished}:\n" + "\n--- or ---\n".join(differences)
        self.settled_on = differences.index("")
        self.states = (adopted(self.states[self.settled_on], seen),)
        for path, file in self.state.tree.files.items():
            for number, content in file.versions:
                found = calls.raw("GET", f"/api/filesystem/data/{file.id}/{number}")
                assert found == content.bytes(), f"{self.root}{path} version {number} is not {content}"

    def _look(self, calls: Calls) -> Seen:
        dirs: dict[str, str] = {}
        nodes: list[dict] = []
        try:
            for page in calls.pages("/api/filesystem/info", {"path": self.root, "depth": 8}):
                dirs[""] = page["info"]["id"]
                dirs.update((node["path"].removeprefix(self.root), node["id"]) for node in page["dirs"])
                nodes += page["files"]
        except Refused as error:
            if error.status != 404:
                raise
        files = {}
        for node in nodes:
            versions = ((1, node["size_bytes"]),)
            if node["version_number"] > 1:
                answer = calls.json("GET", f"/api/filesystem/versions/{node['id']}")["versions"]
                versions = tuple((each["number"], each["size_bytes"]) for each in reversed(answer))
            files[node["path"].removeprefix(self.root)] = (node["id"], versions)
        trash = {
            item["id"]: item["size_bytes"]
            for page in calls.pages("/api/filesystem/trash", {})
            for item in page["items"]
            if item["path"].startswith(self.root + "/")
        }
        return Seen(dirs, files, trash)

    # One step: choose, and do.

    def _step(self, calls: Calls) -> None:
        steps: list[tuple[int, Callable[[Calls], None]]] = [
            (8, self._put_small),
            (3, self._put_batch),
            (3, self._put_large),
        ]
        tree = self.state.tree
        if tree.files:
            steps += [(5, self._overwrite), (3, self._relocate), (3, self._onto), (3, self._remove)]
            steps += [(2, self._older)]
        if len(tree.dirs) > 1:
            steps += [(2, self._relocate_directory), (1, self._remove_directory)]
        if self.state.trash:
            steps += [(2, self._restore), (2, self._purge)]
        if len(tree.dirs) < DIRS_MAX:
            steps += [(2, self._make_directory)]
        if len(tree.files) > FILES_MAX or tree.size_bytes > CLIENT_BYTES_MAX:
            steps = [(1, self._remove)]
        if len(self.state.trash) > TRASH_MAX:
            steps = [(2, self._purge), (1, self._restore)]
        [step] = self._chance.choices([step for _, step in steps], [weight for weight, _ in steps])
        step(calls)

    def _do(self, after: State, call: Callable[[], object]) -> None:
        before = self.state
        self.states = (before, after)
        try:
            call()
        except Refused:
            self.states = (before,)
            raise
        self.states = (after,)
        self.acknowledged += 1
        self.unfinished = ""

    def _name(self) -> str:
        self._names += 1
        return f"/n{self._names}"

    def _any_file(self) -> str:
        return self._chance.choice(sorted(self.state.tree.files))

    def _any_dir(self, *, below_root: bool = False) -> str:
        return self._chance.choice([path for path in sorted(self.state.tree.dirs) if path or not below_root])

    def _new_path(self) -> str:
        return self._any_dir() + self._name()

    def _content(self, size_max: int) -> Content:
        if self._chance.random() < 0.2:
            return Content(self._chance.randrange(1 << 40), self._chance.randrange(min(size_max, 300_000)))
        return self._chance.choice([content for content in POOL if content.size_bytes <= size_max])

    def _identified(self, calls: Calls, path: str) -> str:
        """The id of a node; asked for, if the client does not know it."""
        node_id = self.state.node_id(path)
        if node_id is None:
            self.unfinished = f"looking at {path}"
            node_id = calls.json("GET", "/api/filesystem/info", {"path": self.root + path, "depth": 0})["info"]["id"]
            files, dirs = dict(self.state.tree.files), dict(self.state.tree.dirs)
            if path in dirs:
                dirs[path] = node_id
            else:
                files[path] = type(files[path])(node_id, files[path].versions)
            self.states = (State(type(self.state.tree)(dirs, files), self.state.trash),)
        assert isinstance(node_id, str)
        return node_id

    def _make(self, calls: Calls, path: str) -> None:
        calls.json("POST", "/api/filesystem/mkdir", send={"path": self.root + path})

    def _make_directory(self, calls: Calls) -> None:
        path = self._new_path()
        self.unfinished = f"mkdir {path}"
        self._do(self.state.made(path), lambda: self._make(calls, path))

    def _put(self, calls: Calls, path: str, content: Content, *, streamed: bool = False) -> None:
        self.unfinished = f"put {path} {content}"
        body = _pieces(content.bytes()) if streamed else content.bytes()
        query: dict[str, object] = {"path": self.root + path}
        self._do(self.state.put(path, content), lambda: calls.raw("PUT", "/api/filesystem/data", query, body))

    def _put_small(self, calls: Calls) -> None:
        self._put(calls, self._new_path(), self._content(40_000))

    def _put_large(self, calls: Calls) -> None:
        self._put(calls, self._new_path(), self._content(8 << 20), streamed=self._chance.random() < 0.5)

    def _overwrite(self, calls: Calls) -> None:
        path = self._any_file()
        if len(self.state.tree.files[path].versions) < VERSIONS_MAX:
            self._put(calls, path, self._content(self._chance.choice([40_000, 40_000, 4 << 20])))

    def _put_batch(self, calls: Calls) -> None:
        after, items = self.state, []
        for _ in range(self._chance.randrange(2, 12)):
            path, content = self._new_path(), self._content(40_000)
            after = after.put(path, content)
            items.append((self.root + path, content.bytes(), 1))
        self.unfinished = f"batch of {len(items)}"
        headers = {"Content-Type": BATCH_TYPE}
        body = encode_batch(items)
        self._do(after, lambda: calls.raw("POST", "/api/filesystem/batch", None, body, **headers))

    def _send(self, calls: Calls, verb: str, path: str, to: str, after: State, *, overwrite: bool = False) -> None:
        self.unfinished = f"{verb} {path} to {to}"
        send = {"path": self.root + path, "to_path": self.root + to, "overwrite": overwrite}
        self._do(after, lambda: calls.json("POST", f"/api/filesystem/{verb}", send=send))

    def _relocate(self, calls: Calls) -> None:
        path, to = self._any_file(), self._new_path()
        if self._chance.random() < 0.5:
            self._send(calls, "move", path, to, self.state.moved(path, to))
        else:
            self._send(calls, "copy", path, to, self.state.copied(path, to))

    def _onto(self, calls: Calls) -> None:
        path, to = self._any_file(), self._any_file()
        if path == to or len(self.state.tree.files[to].versions) >= VERSIONS_MAX:
            return
        if self._chance.random() < 0.5:
            self._identified(calls, to)
            self._send(calls, "move", path, to, self.state.moved(path, to), overwrite=True)
        else:
            self._send(calls, "copy", path, to, self.state.copied(path, to), overwrite=True)

    def _relocate_directory(self, calls: Calls) -> None:
        path = self._any_dir(below_root=True)
        verb = self._chance.choice(["move", "copy"])
        if verb == "copy" and len(self.state.tree.dirs) >= DIRS_MAX:
            return
        targets = [each for each in sorted(self.state.tree.dirs) if each != path and not each.startswith(path + "/")]
        to = self._chance.choice(targets) + self._name()
        after = self.state.moved(path, to) if verb == "move" else self.state.copied(path, to)
        self._send(calls, verb, path, to, after)

    def _remove(self, calls: Calls) -> None:
        self._delete(calls, self._any_file())

    def _remove_directory(self, calls: Calls) -> None:
        self._delete(calls, self._any_dir(below_root=True))

    def _delete(self, calls: Calls, path: str) -> None:
        permanently = self._chance.random() < 0.4
        if not permanently:
            self._identified(calls, path)
        self.unfinished = f"delete {path} permanently={permanently}"
        query: dict[str, object] = {"path": self.root + path, "permanently": str(permanently).lower()}
        after = self.state.deleted(path) if permanently else self.state.trashed(path)
        self._do(after, lambda: calls.json("DELETE", "/api/filesystem/info", query))

    def _older(self, calls: Calls) -> None:
        many = [path for path, file in sorted(self.state.tree.files.items()) if len(file.versions) > 1]
        if not many:
            return
        path = self._chance.choice(many)
        number = self._chance.choice(self.state.tree.files[path].versions[:-1])[0]
        target = f"/api/filesystem/versions/{self._identified(calls, path)}/{number}"
        if self._chance.random() < 0.5 and len(self.state.tree.files[path].versions) < VERSIONS_MAX:
            self.unfinished = f"restore version {number} of {path}"
            self._do(self.state.version_restored(path, number), lambda: calls.json("POST", target + "/restore"))
        else:
            self.unfinished = f"delete version {number} of {path}"
            self._do(self.state.version_deleted(path, number), lambda: calls.json("DELETE", target))

    def _restore(self, calls: Calls) -> None:
        node_id, path = self._chance.choice(sorted(self.state.trash)), self._new_path()
        self.unfinished = f"restore {node_id} to {path}"
        send, target = {"path": self.root + path}, f"/api/filesystem/trash/{node_id}/restore"
        self._do(self.state.restored(node_id, path), lambda: calls.json("POST", target, send=send))

    def _purge(self, calls: Calls) -> None:
        node_id = self._chance.choice(sorted(self.state.trash))
        self.unfinished = f"purge {node_id}"
        self._do(self.state.purged(node_id), lambda: calls.json("DELETE", f"/api/filesystem/trash/{node_id}"))


class Keeper:
    """Collects, repacks, sweeps, scrubs, repairs and snapshots all the time, without any grace."""

    def __init__(self, seed: int) -> None:
        self.finished = 0
        self._chance = random.Random(f"{seed}/keeper")

    def work(self, calls: Calls, failures: list[str]) -> None:
        """One job after another until the hive is gone."""
        try:
            while True:
                [kind] = self._chance.choices(["gc", "snapshot", "scrub", "repair", "fsck"], [12, 1, 1, 1, 1])
                sweep = self._chance.random() < 0.4
                result = calls.job(kind, **({"grace_s": 0, "repack": True, "sweep": sweep} if kind == "gc" else {}))
                assert kind != "fsck" or result["clean"], f"fsck beside writers: {result}"
                self.finished += 1
        except HiveGone:
            pass
        except (Refused, AssertionError) as error:
            failures.append(f"keeper: {error}")
        finally:
            calls.close()


def all_at_once(nursery: Nursery, workers: list[Client | Keeper], failures: list[str]) -> list[threading.Thread]:
    """Start every worker in a thread of its own."""
    threads = [
        threading.Thread(target=worker.work, args=(nursery.calls(), failures), daemon=True) for worker in workers
    ]
    for thread in threads:
        thread.start()
    return threads


def _pieces(body: bytes) -> Iterator[bytes]:
    for start in range(0, len(body), 100_000):
        yield body[start : start + 100_000]
