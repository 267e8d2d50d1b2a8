"""A space against a plain model, a dict of paths: histories made by Hypothesis, every invariant after each step."""

from __future__ import annotations

import asyncio
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from skep.base.errors import Conflict, InvalidPath, NodeNotFound, SkepError
from skep.filesystem import BatchItem
from skep.testing.files import open_files

NAMES = st.sampled_from(["a", "b", "ü"])
PATHS = st.lists(NAMES, min_size=1, max_size=4).map(tuple)
BODIES = st.sampled_from([b"", b"1", b"22", b"333"])
DIR = None

Path_ = tuple[str, ...]


class Model:
    """What is where: None is a directory, a list of bodies a file with its versions, oldest first."""

    def __init__(self) -> None:
        self.tree: dict[Path_, list[bytes] | None] = {(): DIR}
        self.trash: list[tuple[bytes, dict[Path_, list[bytes] | None]]] = []
        self.ids: dict[Path_, bytes] = {}

    def below(self, path: Path_) -> dict[Path_, list[bytes] | None]:
        return {one: node for one, node in self.tree.items() if one[: len(path)] == path}

    def is_file(self, path: Path_) -> bool:
        return self.tree.get(path, DIR) is not DIR

    def can_hold(self, path: Path_) -> bool:
        """Whether the parents of a path are directories or nothing."""
        return not any(self.is_file(path[:depth]) for depth in range(1, len(path)))

    def make_parents(self, path: Path_) -> None:
        for depth in range(1, len(path)):
            self.tree.setdefault(path[:depth], DIR)

    def cut(self, path: Path_) -> dict[Path_, list[bytes] | None]:
        gone = self.below(path)
        for one in gone:
            del self.tree[one]
        return {one[len(path) :]: node for one, node in gone.items()}

    def paste(self, path: Path_, what: dict[Path_, list[bytes] | None]) -> None:
        for one, node in what.items():
            self.tree[path + one] = None if node is None else list(node)

    def used_bytes(self) -> int:
        trees = [self.tree, *[tree for _, tree in self.trash]]
        return sum(len(body) for tree in trees for node in tree.values() if node is not None for body in node)


class TreeMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.stack = AsyncExitStack()
        self.model = Model()

    def run(self, doing):
        return self.loop.run_until_complete(doing)

    @initialize()
    def open(self):
        directory = self.stack.enter_context(tempfile.TemporaryDirectory())
        self.bench = self.run(self.stack.enter_async_context(open_files(Path(directory))))
        self.ada = self.run(self.bench.user("ada"))
        self.files = self.bench.filesystem
        self.seen = self.look()

    def teardown(self):
        self.run(self.stack.aclose())
        self.loop.close()

    def path(self, segments: Path_) -> str:
        return "/" + "/".join(segments)

    def node(self, segments: Path_):
        return self.run(self.files.by_path(self.ada, None, self.path(segments)))

    def attempt(self, doing):
        """The result, or None if it was refused."""
        try:
            return self.run(doing)
        except (Conflict, NodeNotFound, InvalidPath):
            return None

    @rule(path=PATHS)
    def mkdir(self, path):
        model = self.model
        done = self.attempt(self.files.make_directory(self.ada, None, self.path(path)))
        assert (done is not None) == (model.can_hold(path) and not model.is_file(path))
        if done:
            model.make_parents((*path, ""))

    @rule(path=PATHS, body=BODIES, parents=st.booleans())
    def write(self, path, body, parents):
        model = self.model
        allowed = model.can_hold(path) and (path not in model.tree or model.is_file(path))
        allowed = allowed and (parents or path[:-1] in model.tree)
        done = self.attempt(self.bench.put(self.ada, self.path(path), body, parents=parents))
        assert (done is not None) == allowed
        if done:
            model.make_parents(path)
            versions = model.tree.setdefault(path, [])
            assert versions is not None
            versions.append(body)
            assert done.version.number >= len(versions)

    @rule(items=st.lists(st.tuples(PATHS, BODIES), min_size=1, max_size=6))
    def batch(self, items):
        model = self.model
        wanted = [BatchItem(self.path(path), body) for path, body in items]
        outcomes = self.run(self.files.write_batch(self.ada, None, wanted))
        for (path, body), outcome in zip(items, outcomes, strict=True):
            allowed = model.can_hold(path) and (path not in model.tree or model.is_file(path))
            assert isinstance(outcome, SkepError) != allowed
            if allowed:
                model.make_parents(path)
                model.tree.setdefault(path, []).append(body)

    def allows(self, source: Path_, target: Path_, overwrite: bool, replace_kind: bool) -> bool:
        model = self.model
        inside = target[: len(source)] == source and target != source
        if inside or not model.can_hold(target) or target[:-1] not in model.tree:
            return False
        if target not in model.tree:
            return True
        same = model.is_file(source) == model.is_file(target)
        holds_source = source[: len(target)] == target
        return overwrite and (same or replace_kind) and not holds_source

    @rule(source=PATHS, goal=PATHS, overwrite=st.booleans(), replace_kind=st.booleans())
    def move(self, source, goal, overwrite, replace_kind):
        model = self.model
        if source not in model.tree or source == goal:
            return
        allowed = self.allows(source, goal, overwrite, replace_kind)
        node = self.node(source)
        done = self.attempt(
            self.files.move(self.ada, node.id, None, self.path(goal), overwrite=overwrite, replace_kind=replace_kind)
        )
        assert (done is not None) == allowed
        if done:
            assert done.id == node.id
            assert node.is_directory or done.etag == node.etag
            if goal in model.tree:
                self.to_trash(goal)
            model.paste(goal, model.cut(source))

    @rule(source=PATHS, goal=PATHS, overwrite=st.booleans(), replace_kind=st.booleans())
    def copy(self, source, goal, overwrite, replace_kind):
        model = self.model
        if source not in model.tree:
            return
        allowed = self.allows(source, goal, overwrite, replace_kind) and source != goal
        node = self.node(source)
        done = self.attempt(
            self.files.copy(self.ada, node.id, None, self.path(goal), overwrite=overwrite, replace_kind=replace_kind)
        )
        assert (done is not None) == allowed
        if done:
            copied = {
                one[len(source) :]: None if body is None else body[-1:] for one, body in model.below(source).items()
            }
            if model.is_file(source) and model.is_file(goal):
                model.tree[goal].append(copied[()][0])
                return
            if goal in model.tree:
                self.to_trash(goal)
            model.paste(goal, copied)

    def to_trash(self, path: Path_) -> None:
        self.model.trash.append((self.ids[path], self.model.cut(path)))

    @rule(path=PATHS, permanently=st.booleans())
    def delete(self, path, permanently):
        if path not in self.model.tree:
            return
        node = self.node(path)
        self.run(self.files.delete(self.ada, node.id, permanently=permanently))
        gone = self.model.cut(path)
        if not permanently:
            self.model.trash.append((node.id, gone))

    @rule(data=st.data())
    def restore(self, data):
        if not self.model.trash:
            return
        at = data.draw(st.integers(0, len(self.model.trash) - 1))
        node_id, what = self.model.trash.pop(at)
        back = self.run(self.files.restore_from_trash(self.ada, node_id))
        assert back.id == node_id
        where = tuple(back.path.split("/")[1:])
        assert where not in self.model.tree
        self.model.make_parents(where)
        self.model.paste(where, what)

    @rule(data=st.data())
    def purge(self, data):
        if not self.model.trash:
            return
        at = data.draw(st.integers(0, len(self.model.trash) - 1))
        node_id, _ = self.model.trash.pop(at)
        self.run(self.files.purge(self.ada, node_id))

    @rule(path=PATHS, data=st.data())
    def restore_version(self, path, data):
        if not self.model.is_file(path):
            return
        node = self.node(path)
        kept = self.run(self.files.versions(self.ada, node.id))[::-1]
        versions = self.model.tree[path]
        assert versions is not None
        assert [one.size_bytes for one in kept] == [len(body) for body in versions]
        at = data.draw(st.integers(0, len(versions) - 1))
        self.run(self.files.restore_version(self.ada, node.id, kept[at].number))
        versions.append(versions[at])

    @rule(path=PATHS, data=st.data())
    def delete_version(self, path, data):
        versions = self.model.tree.get(path)
        if versions is None or len(versions) < 2:
            return
        node = self.node(path)
        kept = self.run(self.files.versions(self.ada, node.id))[::-1]
        at = data.draw(st.integers(0, len(versions) - 2))
        self.run(self.files.delete_version(self.ada, node.id, kept[at].number))
        del versions[at]

    def look(self):
        """All living nodes by path, the root included."""
        root = self.run(self.files.by_path(self.ada, None, "/"))
        below = self.run(self.files.listing(self.ada, root.id, depth=50))
        nodes = {tuple(node.path.split("/")[1:]): node for node in below}
        self.ids = {path: node.id for path, node in nodes.items()}
        return {(): root, **nodes}

    @invariant()
    def it_is_as_the_model(self):
        if not hasattr(self, "bench"):
            return
        nodes, model = self.look(), self.model
        assert nodes.keys() == model.tree.keys()
        for path, node in nodes.items():
            versions = model.tree[path]
            if versions is None:
                sizes = [len(body[-1]) for body in model.below(path).values() if body is not None]
                assert (node.kind, node.size_bytes) == ("directory", sum(sizes))
            else:
                assert (node.kind, node.size_bytes) == ("file", len(versions[-1]))
        home = self.run(self.files.home(self.ada))
        assert home.used_bytes == model.used_bytes()
        assert {entry.node_id for entry in self.run(self.files.trash(self.ada))} == {one for one, _ in model.trash}
        self.etags_tell_of_changes(nodes)
        assert self.run(self.bench.findings()) == []
        self.references_are_counted()
        self.seen = nodes

    def etags_tell_of_changes(self, nodes):
        """A directory whose ETag stayed has below it what it had; the root's changes with each change at all."""
        for path, node in nodes.items():
            before = self.seen.get(path)
            if before is None or before.id != node.id or before.etag != node.etag or not node.is_directory:
                continue
            was = {one: self.facts(other) for one, other in self.seen.items() if one[: len(path)] == path}
            now = {one: self.facts(other) for one, other in nodes.items() if one[: len(path)] == path}
            assert was == now

    @staticmethod
    def facts(node):
        return node.id, node.etag, node.size_bytes, node.version_number

    def references_are_counted(self):
        def work(tx):
            from collections import Counter

            import sqlalchemy as sa

            from skep.db import prepared
            from skep.db import schema as s
            from skep.filesystem import manifests

            wanted = Counter(ref.id for kept in manifests(tx, b"", 100_000) for ref in kept.manifest.chunks)
            refs = dict(tx.rows(prepared(sa.select(s.chunks.c.id, s.chunks.c.refs))))
            return wanted, refs

        wanted, refs = self.run(self.bench.read(work))
        assert {chunk: count for chunk, count in refs.items() if count} == dict(wanted)


TreeMachine.TestCase.settings = settings(
    max_examples=25,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
test_a_space_behaves_as_the_model = TreeMachine.TestCase
