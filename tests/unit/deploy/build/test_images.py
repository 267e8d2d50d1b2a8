"""Images: made once, kept while a release needs them, and what is wrong in a tree is told."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from skep.base.clock import SystemClock
from skep.base.errors import BadInput, BuildFailed
from skep.deploy.build import Images
from skep.deploy.build.images import recipes
from skep.deploy.engines.process.building import UNKEPT_S, TreeBuilder
from skep.deploy.stack.reader import read_stack
from skep.deploy.stack.records import Build, Stack
from skep.testing.clock import FakeClock

TEXT = """
cache: {type: service, container: "redis:7"}
site: {type: web, run: ./serve, install: echo hello > made, domains: a.test, ssl_cert: tls/c.pem, ssl_key: tls/k.pem}
docs: {type: static, document_root: public, domains: b.test}
"""


class Told:
    def __init__(self) -> None:
        self.lines: list[str] = []

    async def __call__(self, job: str, line: str) -> None:
        self.lines.append(f"{job}: {line}")


def stack(text: str = TEXT) -> Stack:
    return read_stack(text, "shop")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    for path in ("serve", "public/index.html", "tls/c.pem", "tls/k.pem"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(path)
    return root


async def test_each_job_gets_its_image_and_the_same_again_is_no_work(tmp_path: Path, tree: Path) -> None:
    images, builder, told = Images(tmp_path / "images"), TreeBuilder(tmp_path / "builds"), Told()
    made = await images.build_all(stack(), tree, builder, told)
    assert set(made) == {"cache", "site", "site/tls", "docs"}
    assert made["cache"].ref == "redis:7"
    assert made["cache"].archive is None
    assert told.lines == ["site: $ echo hello > made"]
    assert await images.build_all(stack(), tree, builder, told) == made
    assert len(told.lines) == 1
    (tree / "serve").write_text("another")
    again = await images.build_all(stack(), tree, builder, told)
    assert again["site"].ref != made["site"].ref
    assert (again["docs"], again["site/tls"]) == (made["docs"], made["site/tls"])
    assert len(told.lines) == 2


async def test_archives_go_with_the_last_release_that_needs_them(tmp_path: Path, tree: Path) -> None:
    images, builder, told = Images(tmp_path / "images"), TreeBuilder(tmp_path / "builds"), Told()
    first = await images.build_all(stack(), tree, builder, told)
    (tree / "serve").write_text("another")
    second = await images.build_all(stack(), tree, builder, told)
    assert await images.collect({image.ref for image in second.values()}) == 1
    assert images.image(first["site"].ref).archive is None
    assert images.image(second["site"].ref) == second["site"]
    (tree / "serve").write_text("serve")
    assert (await images.build_all(stack(), tree, builder, told))["site"] == first["site"]
    assert await images.collect(()) == 4
    assert list((tmp_path / "images" / "archives").iterdir()) == []


async def test_builders_archives_go_when_nobody_keeps_them(tmp_path: Path, tree: Path) -> None:
    images, builds, told = Images(tmp_path / "images"), tmp_path / "builds", Told()
    await images.build_all(stack(), tree, TreeBuilder(builds), told)
    (tree / "serve").write_text("another")
    second = await images.build_all(stack(), tree, TreeBuilder(builds), told)
    await images.collect({image.ref for image in second.values()})
    assert (len(list(builds.glob("*.tar"))), len(list(builds.glob("built-*")))) == (2, 2)
    later = FakeClock(SystemClock().now_us() + int(2 * UNKEPT_S * 1e6))
    (tree / "serve").write_text("a third")
    await images.build_all(stack(), tree, TreeBuilder(builds, later), told)
    kept = {path.stat().st_nlink for path in builds.glob("*.tar")}
    assert (len(list(builds.glob("*.tar"))), kept) == (2, {2})
    assert await TreeBuilder(builds, later).build(tree, Build(install=("echo hello > made",)), "shop/site", _silent)
    assert len(list(builds.glob("built-*"))) == 2


async def _silent(line: str) -> None:
    """Nobody listens."""


async def test_what_is_wrong_in_a_tree_is_told(tmp_path: Path, tree: Path) -> None:
    images, builder, told = Images(tmp_path / "images"), TreeBuilder(tmp_path / "builds"), Told()
    with pytest.raises(BadInput, match="no directory"):
        await images.build_all(stack(TEXT.replace("public", "absent")), tree, builder, told)
    with pytest.raises(BadInput, match="no file"):
        await images.build_all(stack(TEXT.replace("k.pem", "x.pem")), tree, builder, told)
    with pytest.raises(BuildFailed) as failed:
        await images.build_all(stack(TEXT.replace("echo hello > made", "echo no; exit 3")), tree, builder, told)
    assert "no" in str(failed.value.details["last_lines"])
    (tree / "way").symlink_to("/")
    with pytest.raises(BadInput, match="out of the repository"):
        await images.build_all(stack(TEXT.replace("public", "way/etc")), tree, builder, told)
    assert not list((tmp_path / "images").rglob(".*"))


async def test_a_recipe_counts_the_dockerfile_and_not_the_tree(tree: Path) -> None:
    text = "db: {type: service, dockerfile: db/Dockerfile}"
    (tree / "db").mkdir()
    (tree / "db" / "Dockerfile").write_text("FROM postgres:16\n")
    first = await asyncio.to_thread(recipes, stack(text), tree)
    (tree / "serve").write_text("another")
    assert recipes(stack(text), tree) == first
    (tree / "db" / "Dockerfile").write_text("FROM postgres:17\n")
    assert recipes(stack(text), tree) != first
    with pytest.raises(BadInput, match="not there"):
        recipes(stack(text.replace("db/", "gone/")), tree)
