"""Plans of transfers."""

from __future__ import annotations

import pytest

from skep.client.records import Node
from skep.client.scan import LocalDirectory, LocalFile
from skep.client.trees import (
    LocalState,
    Sent,
    batches,
    join,
    parent,
    plan_download,
    plan_upload,
    relative_path,
)


def file(target: str, size_bytes: int = 5, mtime_ns: int = 1_000_000_999) -> LocalFile:
    return LocalFile(target, "local" + target, size_bytes, mtime_ns)


def directory(target: str) -> LocalDirectory:
    return LocalDirectory(target, "local" + target)


def node(path: str, kind: str = "file", size_bytes: int = 5, modified_us: int = 1_000_000, etag: str = "e1") -> Node:
    name = path.rpartition("/")[2]
    return Node(f"id-{path}", name, path, kind, size_bytes, etag, modified_us, 1, None, {})  # type: ignore[arg-type]


def there(*nodes: Node) -> dict[str, Node]:
    return {found.path: found for found in nodes}


def test_everything_is_sent_to_an_empty_hive_and_only_empty_directories_are_made() -> None:
    entries = [directory("/p"), directory("/p/empty"), directory("/p/full"), file("/p/full/a")]
    plan = plan_upload(entries, {}, {})
    assert plan.directories == ["/p/empty"]
    assert [sent.target for sent in plan.files] == ["/p/full/a"]
    assert plan.size_bytes == 5


def test_a_directory_that_is_there_is_not_made() -> None:
    plan = plan_upload([directory("/p")], there(node("/p", "directory")), {})
    assert plan.directories == []


def test_same_size_and_time_is_left_alone() -> None:
    assert plan_upload([file("/a")], there(node("/a")), {}).files == []


@pytest.mark.parametrize(("size_bytes", "modified_us"), [(6, 1_000_000), (5, 1_000_001)])
def test_another_size_or_time_is_sent(size_bytes: int, modified_us: int) -> None:
    remote = node("/a", size_bytes=size_bytes, modified_us=modified_us)
    assert len(plan_upload([file("/a")], there(remote), {}).files) == 1


def test_force_sends_what_is_the_same() -> None:
    assert len(plan_upload([file("/a")], there(node("/a")), {}, force=True).files) == 1


def test_the_journal_knows_content_whose_time_the_hive_tells_otherwise() -> None:
    remote = node("/a", modified_us=77)
    journal = {"/a": Sent(5, 1_000_000_999, "e1")}
    assert plan_upload([file("/a")], there(remote), journal).files == []


def test_content_that_somebody_replaced_on_the_hive_is_sent_though_size_and_time_agree() -> None:
    journal = {"/a": Sent(5, 1_000_000_999, "e0")}
    assert len(plan_upload([file("/a")], there(node("/a", etag="e1")), journal).files) == 1


def test_a_journal_of_another_local_state_does_not_count() -> None:
    journal = {"/a": Sent(5, 42, "e0")}
    assert plan_upload([file("/a")], there(node("/a", etag="e1")), journal).files == []


def test_kinds_that_clash_block_what_is_below() -> None:
    entries = [directory("/p"), directory("/p/d"), file("/p/d/x"), directory("/p/d/e"), file("/p/d/e/y"), file("/p/f")]
    remote = there(node("/p", "directory"), node("/p/d"), node("/p/f", "directory"))
    plan = plan_upload(entries, remote, {})
    assert [clash.path for clash in plan.clashes] == ["local/p/d", "local/p/f"]
    assert plan.files == []
    assert plan.directories == []


def test_batches_keep_both_limits() -> None:
    files = [file(f"/{i}", size_bytes=4) for i in range(10)]
    assert [len(group) for group in batches(files, items_max=3, bytes_max=100)] == [3, 3, 3, 1]
    assert [len(group) for group in batches(files, items_max=100, bytes_max=9)] == [2] * 5
    assert [len(group) for group in batches(files, items_max=100, bytes_max=1)] == [1] * 10
    assert list(batches([], items_max=3, bytes_max=1)) == []


def test_a_tree_is_fetched_below_the_root() -> None:
    nodes = [node("/p", "directory"), node("/p/d", "directory"), node("/p/a"), node("/p/d/b", size_bytes=7)]
    plan = plan_download("/p", nodes, {})
    assert [relative for _, relative in plan.directories] == ["", "d"]
    assert [fetch.local for fetch in plan.files] == ["a", "d/b"]
    assert plan.size_bytes == 12


def test_the_root_of_a_space_is_fetched_too() -> None:
    plan = plan_download("/", [node("/", "directory"), node("/a")], {})
    assert [fetch.local for fetch in plan.files] == ["a"]


def test_local_files_of_the_same_size_and_time_are_left_alone() -> None:
    state = LocalState(is_directory=False, is_file=True, size_bytes=5, mtime_ns=1_000_000_123)
    assert plan_download("/p", [node("/p/a")], {"a": state}).files == []
    assert len(plan_download("/p", [node("/p/a")], {"a": state}, force=True).files) == 1


@pytest.mark.parametrize("name", ["..", ".", "a\0b", "x" * 256, "é" * 128])
def test_names_that_cannot_be_here_are_refused_with_all_below_them(name: str) -> None:
    nodes = [node("/p", "directory"), node(f"/p/{name}", "directory"), node(f"/p/{name}/x")]
    plan = plan_download("/p", nodes, {})
    assert plan.files == []
    assert len(plan.clashes) == 1


@pytest.mark.parametrize("path", ["/q/a", "/pp", "/p/../a", "/p//a", "p/a", "/p/", "/"])
def test_paths_that_are_not_below_the_root_have_no_place_here(path: str) -> None:
    assert relative_path("/p", path) is None


def test_a_local_link_where_a_directory_should_be_is_a_clash_and_a_file_link_is_replaced() -> None:
    link = LocalState(is_directory=False, is_file=False, size_bytes=0, mtime_ns=0)
    nodes = [node("/p", "directory"), node("/p/d", "directory"), node("/p/d/x"), node("/p/f")]
    plan = plan_download("/p", nodes, {"d": link, "f": link})
    assert [clash.path for clash in plan.clashes] == ["/p/d"]
    assert [fetch.local for fetch in plan.files] == ["f"]


def test_a_local_directory_where_a_file_should_be_is_a_clash() -> None:
    here = LocalState(is_directory=True, is_file=False, size_bytes=0, mtime_ns=0)
    assert [clash.path for clash in plan_download("/p", [node("/p/f")], {"f": here}).clashes] == ["/p/f"]


def test_paths() -> None:
    assert parent("/a/b") == "/a"
    assert parent("/a") == "/"
    assert join("/", "a") == "/a"
    assert join("/a/", "b") == "/a/b"
