"""The images of releases: made once, kept as archives at HQ, forgotten with the releases that needed them.

    images = Images(Path("/var/lib/skep/images"))
    made = await images.build_all(stack, tree, builder, progress)     # {"web": Image(...), ...}

An image is known by what it was made of: the tree, the recipe, and the images of the stack that it may stand on. The
same again is no work. In the folder:

    made/KEY              the ref that this recipe of this tree made
    archives/DIGEST       the archive of a ref
    archives/DIGEST.ref   its ref
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
from collections.abc import Awaitable, Callable, Collection, Iterable
from pathlib import Path
from typing import TypeAlias

import msgspec

from skep.base.errors import BadInput, ImageNotFound, LocalFailure
from skep.crypto.hashing import digest
from skep.deploy.engines.protocol import Builder
from skep.deploy.engines.records import Image
from skep.deploy.engines.trees import pack_tree, tree_ref
from skep.deploy.stack.crossing import build_order
from skep.deploy.stack.records import Build, Job, Stack

Progress: TypeAlias = Callable[[str, str], Awaitable[None]]
"""Told the name of a job and one line of its build."""
TLS = "/tls"
"""Behind a job's name: the image that holds its certificate (``chain.pem``) and key (``key.pem``)."""
_FILE_MAX_BYTES = 1 << 20


class Images:
    """The images of one HQ below ``folder``, made when it is not there."""

    def __init__(self, folder: Path) -> None:
        self._made = folder / "made"
        self._archives = folder / "archives"

    async def build_all(self, stack: Stack, tree: Path, builder: Builder, progress: Progress) -> dict[str, Image]:
        """An image for each job that needs one, by the job's name; ``JOB/tls`` for certificates that a job brings.

        Raises BuildFailed, InvalidStack (Dockerfiles that stand on each other), BadInput (a file that the stack names
        is not in the tree), and what the builder raises: then the images that were made before stay made.
        """
        source = await asyncio.to_thread(tree_ref, tree)
        found: dict[str, Image] = {}
        for job in await asyncio.to_thread(_in_order, stack, tree):
            if job.kind == "static":
                found[job.name] = await asyncio.to_thread(self._files, tree, job)
            elif job.build is not None:
                below = sorted(f"{name}={image.ref}" for name, image in found.items() if _is_image_job(stack, name))
                found[job.name] = await self._built(
                    stack, job.name, job.build, tree, (source, *below), builder, progress
                )
            else:
                found[job.name] = _ready(stack, job, found)
            if job.ssl_cert:
                found[job.name + TLS] = await asyncio.to_thread(self._certificate, tree, job)
        return found

    async def _built(
        self,
        stack: Stack,
        name: str,
        build: Build,
        tree: Path,
        source: tuple[str, ...],
        builder: Builder,
        progress: Progress,
    ) -> Image:
        engine = type(builder).__qualname__
        key = digest(msgspec.json.encode((engine, stack.name, name, build, source))).hex()[:40]
        known = await asyncio.to_thread(self._known, key)
        if known is not None:
            return known

        async def told(line: str) -> None:
            await progress(name, line)

        image = await builder.build(tree, build, f"{stack.name}/{name}", told)
        if image.archive is None:
            raise ImageNotFound(f"the image {image.ref} of {name} was built and has no archive: hosts could not get it")
        return await asyncio.to_thread(self._kept, key, image.ref, image.archive)

    # --- reading --------------------------------------------------------------------------------

    def image(self, ref: str) -> Image:
        """The image of this ref: with its archive when it is kept here, else one that engines fetch by its name."""
        archive = self._archive(ref)
        return Image(ref=ref, archive=archive if archive.exists() else None)

    def _archive(self, ref: str) -> Path:
        return self._archives / digest(ref.encode()).hex()[:40]

    def _known(self, key: str) -> Image | None:
        try:
            ref = (self._made / key).read_text()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise LocalFailure(f"{self._made / key} cannot be read: {error.strerror}") from None
        image = self.image(ref)
        return image if image.archive is not None else None

    # --- keeping --------------------------------------------------------------------------------

    def _kept(self, key: str, ref: str, archive: Path) -> Image:
        """Take an archive over; the builder's own copy may go."""
        try:
            self._take(ref, lambda beside: _linked(archive, beside))
            self._made.mkdir(parents=True, exist_ok=True)
            beside = self._made / f".{secrets.token_hex(8)}"
            beside.write_text(ref)
            beside.replace(self._made / key)
        except OSError as error:
            raise LocalFailure(f"the image {ref} cannot be kept in {self._archives}: {error.strerror}") from None
        return self.image(ref)

    def _take(self, ref: str, write: Callable[[Path], object]) -> None:
        target = self._archive(ref)
        if target.exists():
            return
        self._archives.mkdir(parents=True, exist_ok=True, mode=0o700)
        beside = self._archives / f".{secrets.token_hex(8)}"
        try:
            write(beside)
            target.with_suffix(".ref").write_text(ref)
            beside.replace(target)
        finally:
            if beside.is_dir():
                shutil.rmtree(beside)
            else:
                beside.unlink(missing_ok=True)

    def _packed(self, tree: Path) -> Image:
        ref = tree_ref(tree)
        try:
            self._take(ref, lambda beside: pack_tree(tree, beside))
        except OSError as error:
            raise LocalFailure(f"the files {tree} cannot be kept in {self._archives}: {error.strerror}") from None
        return self.image(ref)

    def _files(self, tree: Path, job: Job) -> Image:
        """The files of a static job."""
        root = _inside(tree, job.document_root, job.name)
        if not root.is_dir():
            raise BadInput(f"{job.name} serves {job.document_root}, which is no directory of the repository")
        return self._packed(root)

    def _certificate(self, tree: Path, job: Job) -> Image:
        pair = self._archives / f".{secrets.token_hex(8)}"
        try:
            pair.mkdir(parents=True, mode=0o700)
            for name, path in (("chain.pem", job.ssl_cert), ("key.pem", job.ssl_key)):
                source = _inside(tree, path, job.name)
                if not source.is_file() or source.stat().st_size > _FILE_MAX_BYTES:
                    raise BadInput(f"{job.name} names {path}, which is no file of the repository, or too large a one")
                shutil.copyfile(source, pair / name)
            return self._packed(pair)
        finally:
            shutil.rmtree(pair, ignore_errors=True)

    async def collect(self, refs: Collection[str]) -> int:
        """Forget every archive but those of these refs; how many went. Builds must not run meanwhile."""
        return await asyncio.to_thread(self._collect, frozenset(refs))

    def _collect(self, refs: frozenset[str]) -> int:
        gone = 0
        if not self._archives.is_dir():
            return gone
        kept = {self._archive(ref).name for ref in refs}
        for entry in list(os.scandir(self._archives)):
            if entry.name.removesuffix(".ref") in kept:
                continue
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path, ignore_errors=True)
            else:
                Path(entry.path).unlink(missing_ok=True)
                gone += not entry.name.endswith(".ref")
        for made in list(os.scandir(self._made)) if self._made.is_dir() else ():
            if made.name.startswith(".") or Path(made.path).read_text() not in refs:
                Path(made.path).unlink(missing_ok=True)
        return gone


def recipes(stack: Stack, tree: Path) -> dict[str, str]:
    """Job -> digest of how its image is made apart from the tree: what tells one service from another.

    A Dockerfile of the tree counts with its content. Touches the disk: use a thread.
    """
    found = {}
    for job in stack.jobs:
        text = b""
        if job.build is not None and job.build.dockerfile_path:
            path = _inside(tree, job.build.dockerfile_path, job.name)
            try:
                text = path.read_bytes()[:_FILE_MAX_BYTES]
            except OSError:
                raise BadInput(f"{job.name} is built by {job.build.dockerfile_path}, which is not there") from None
        found[job.name] = digest(msgspec.json.encode((job.image, job.build)), text).hex()[:32]
    return found


def _in_order(stack: Stack, tree: Path) -> Iterable[Job]:
    """What is built, each after what it stands on, and then all others."""
    built = build_order(stack, tree)
    return (*built, *(job for job in stack.jobs if job not in built))


def _is_image_job(stack: Stack, name: str) -> bool:
    job = stack.job(name)
    return job is not None and job.kind == "image"


def _ready(stack: Stack, job: Job, found: dict[str, Image]) -> Image:
    """A ready image, or the one that an image job of this stack has made."""
    name = job.image.removeprefix(f"{stack.name}/")
    if name != job.image and name in found:
        return found[name]
    return Image(ref=job.image)


def _inside(tree: Path, path: str, job: str) -> Path:
    """A path of the tree, which no link leads out of."""
    target = (tree / path).resolve()
    if not target.is_relative_to(tree.resolve()):
        raise BadInput(f"{job} names {path}, which leads out of the repository")
    return target


def _linked(archive: Path, beside: Path) -> None:
    """A second name for the archive, or a copy of what is a directory or lies elsewhere."""
    if archive.is_dir():
        pack_tree(archive, beside)
        return
    try:
        os.link(archive, beside)
    except OSError:
        shutil.copyfile(archive, beside)
