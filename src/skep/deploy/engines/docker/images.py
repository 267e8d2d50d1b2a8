"""Images of the docker engine: built by the daemon, kept as archives, shipped without a registry and layer by layer.

An archive is what ``docker save`` writes. A daemon that is given an archive without the layers that it has takes the
rest; one that does not (a store other than the classic one) is given the whole.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import tarfile
from collections.abc import AsyncIterator, Collection, Iterator
from pathlib import Path
from typing import Any

from skep.base.errors import BadInput, BuildFailed, EngineUnavailable, ImageNotFound, Integrity, LocalFailure, SkepError
from skep.deploy.engines.docker.wire import Wire
from skep.deploy.engines.protocol import Progress
from skep.deploy.engines.records import Image, Shipped
from skep.deploy.engines.trees import pack_tree
from skep.deploy.stack.records import APP_DIRECTORY, Build

BUILD_TIMEOUT_S = 3600.0
DOCKERFILE = ".skep.Dockerfile"
_PIECE_BYTES = 1 << 18
_LAST_LINES = 20
_MANIFEST_MAX_BYTES = 16 << 20


# --- shipping --------------------------------------------------------------------------------------------


async def ship(wire: Wire, image: Image) -> Shipped:
    """As ``Engine.ship`` says."""
    found = await image_id(wire, image.ref)
    if found:
        return Shipped(ref=found, sent_bytes=0)
    if image.archive is None:
        await _pull(wire, image.ref)
    else:
        layers = await asyncio.to_thread(archive_layers, image.archive)
        known = await _known_layers(wire, [diff for diff, _ in layers])
        skip = frozenset(path for diff, path in layers if diff in known)
        sent_bytes = await _load(wire, image.archive, skip)
        if not await image_id(wire, image.ref) and skip:
            sent_bytes += await _load(wire, image.archive, frozenset())
    found = await image_id(wire, image.ref)
    if not found:
        if image.archive is None:
            raise ImageNotFound(f"{image.ref} was fetched by {wire.host} and is not there")
        raise Integrity(f"the archive {image.archive} does not hold {image.ref}: build it again")
    return Shipped(ref=found, sent_bytes=sent_bytes if image.archive is not None else 0)


async def image_id(wire: Wire, ref: str) -> str:
    """The id of an image that is on the host; empty when it is not."""
    try:
        shown = await wire.json("GET", f"images/{ref}/json")
    except (ImageNotFound, BadInput):
        return ""
    except SkepError as error:
        if error.code == "job-not-found":
            return ""
        raise
    return str(shown["Id"])


async def _pull(wire: Wire, ref: str) -> None:
    name = ref if ":" in ref.rpartition("/")[2] or "@" in ref else f"{ref}:latest"
    try:
        async for told in _stream(wire, "images/create", {"fromImage": name}):
            if "error" in told:
                raise ImageNotFound(f"{ref} cannot be fetched by {wire.host}: {told['error']}")
    except EngineUnavailable as error:
        raise ImageNotFound(f"{ref} cannot be fetched by {wire.host}: {error.message}") from None


def archive_layers(archive: Path) -> list[tuple[str, str]]:
    """The layers of an archive, lowest first: the digest of each, and where in the archive it lies."""
    try:
        with tarfile.open(archive, "r:") as tar:
            (manifest,) = json.loads(_member(tar, "manifest.json"))
            diffs = json.loads(_member(tar, manifest["Config"]))["rootfs"]["diff_ids"]
            return list(zip(diffs, manifest["Layers"], strict=True))
    except OSError as error:
        raise LocalFailure(f"{archive} cannot be read: {error.strerror}") from None
    except (tarfile.TarError, ValueError, KeyError, TypeError) as error:
        raise Integrity(f"{archive} is no whole archive of one image: {error}") from None


def _member(tar: tarfile.TarFile, name: str) -> bytes:
    file = tar.extractfile(name)
    if file is None:
        raise KeyError(name)
    return file.read(_MANIFEST_MAX_BYTES)


async def _known_layers(wire: Wire, diffs: list[str]) -> set[str]:
    """Which of these layers, from the lowest on, some image on the host has in the same place."""
    best = 0
    for listed in await wire.json("GET", "images/json"):
        shown = await wire.json("GET", f"images/{listed['Id']}/json")
        theirs = (shown.get("RootFS") or {}).get("Layers") or []
        same = 0
        while same < min(len(diffs), len(theirs)) and diffs[same] == theirs[same]:
            same += 1
        best = max(best, same)
    return set(diffs[:best])


async def _load(wire: Wire, archive: Path, skip: Collection[str]) -> int:
    """Give the daemon an archive but for some of its files; how many bytes that were."""
    sent = 0

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal sent
        source = archive_pieces(archive, skip)
        while piece := await asyncio.to_thread(next, source, b""):
            sent += len(piece)
            yield piece

    try:
        quiet = {"quiet": 1}
        async with wire.response(
            "POST", "images/load", params=quiet, body=pieces(), timeout_s=BUILD_TIMEOUT_S, kind="application/x-tar"
        ) as response:
            said = (await response.read()).decode(errors="replace")
    except SkepError:
        if skip:
            return sent  # the caller looks whether it is there, and gives the whole if it is not
        raise
    if "error" in said and not skip:
        raise EngineUnavailable(f"{wire.host} does not take {archive}: {said[-300:]}")
    return sent


def archive_pieces(archive: Path, skip: Collection[str]) -> Iterator[bytes]:
    """The bytes of a tar without some of its files."""
    with tarfile.open(archive, "r:") as tar, archive.open("rb") as raw:
        for entry in tar:
            if entry.name in skip and entry.isreg():
                continue
            end = entry.offset_data + (-(-entry.size // 512) * 512 if entry.isreg() else 0)
            raw.seek(entry.offset)
            left = end - entry.offset
            while left > 0:
                piece = raw.read(min(left, _PIECE_BYTES))
                if not piece:
                    raise LocalFailure(f"{archive} ends too early")
                left -= len(piece)
                yield piece
    yield bytes(1024)


async def _stream(wire: Wire, path: str, params: dict[str, Any], body: Any = None) -> AsyncIterator[dict[str, Any]]:
    """The messages of a request that tells of its progress."""
    async with wire.response(
        "POST", path, params=params, body=body, timeout_s=BUILD_TIMEOUT_S, kind="application/x-tar"
    ) as response:
        async for line in response.content:
            if line.strip():
                yield json.loads(line)


# --- building --------------------------------------------------------------------------------------------


async def build(wire: Wire, directory: Path, tree: Path, plan: Build, tag: str, progress: Progress) -> Image:
    """As ``Builder.build`` says; the archive goes to ``directory``."""
    text = await asyncio.to_thread(dockerfile, tree, plan, tag)
    await asyncio.to_thread(directory.mkdir, parents=True, exist_ok=True)
    context = directory / f".context-{secrets.token_hex(6)}"
    try:
        await asyncio.to_thread(_pack_context, tree, text, context)
        ref = await _build(wire, context, tag, progress)
    finally:
        await asyncio.to_thread(context.unlink, missing_ok=True)
    archive = directory / f"{ref.removeprefix('sha256:')}.tar"
    if not await asyncio.to_thread(archive.exists):
        await _save(wire, ref, archive)
    return Image(ref=ref, archive=archive)


def dockerfile(tree: Path, plan: Build, tag: str) -> str:
    """The Dockerfile of a build. Raises BadInput when there is nothing to stand on."""
    text = plan.dockerfile_text
    if plan.dockerfile_path:
        try:
            text = (tree / plan.dockerfile_path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            raise BadInput(f"{tag}: there is no Dockerfile {plan.dockerfile_path} in the repository") from None
    if not text:
        if not plan.base:
            raise BadInput(f"{tag} says no image to stand on, which the docker engine needs: say container")
        text = f"FROM {plan.base}\nWORKDIR {APP_DIRECTORY}\nCOPY . {APP_DIRECTORY}\nRUN rm -f {DOCKERFILE}\n"
    elif plan.install:
        text = f"{text.rstrip()}\nWORKDIR {APP_DIRECTORY}\nCOPY . {APP_DIRECTORY}\n"
    shell = [f"RUN {json.dumps(['sh', '-c', command])}" for command in plan.install]
    return "\n".join([text.rstrip(), *shell, ""])


def _pack_context(tree: Path, text: str, context: Path) -> None:
    pack_tree(tree, context)
    with tarfile.open(context, "a", format=tarfile.PAX_FORMAT) as tar:
        import io

        content = text.encode()
        entry = tarfile.TarInfo(DOCKERFILE)
        entry.size = len(content)
        tar.addfile(entry, io.BytesIO(content))


async def _build(wire: Wire, context: Path, tag: str, progress: Progress) -> str:
    last: list[str] = []
    ref = ""

    async def pieces() -> AsyncIterator[bytes]:
        file = await asyncio.to_thread(context.open, "rb")
        with file:
            while piece := await asyncio.to_thread(file.read, _PIECE_BYTES):
                yield piece

    params = {"t": tag, "dockerfile": DOCKERFILE, "rm": 1, "forcerm": 1}
    try:
        async for told in _stream(wire, "build", params, pieces()):
            for line in str(told.get("stream") or told.get("error") or "").splitlines():
                if line.strip():
                    last = [*last, line][-_LAST_LINES:]
                    await progress(line)
            if "error" in told:
                raise BuildFailed(f"building {tag} failed: {told['error']}", last_lines=tuple(last))
            ref = (told.get("aux") or {}).get("ID", ref)
    except BadInput as error:
        raise BuildFailed(f"building {tag} failed: {error.message}", last_lines=tuple(last)) from None
    return ref or await image_id(wire, tag)


async def _save(wire: Wire, ref: str, archive: Path) -> None:
    """Keep an image as an archive, whole or not at all."""
    new = archive.with_name(f".{archive.name}.{secrets.token_hex(6)}")
    try:
        async with wire.response("GET", f"images/{ref}/get", timeout_s=BUILD_TIMEOUT_S) as response:
            with await asyncio.to_thread(new.open, "wb") as file:
                async for piece in response.content.iter_chunked(_PIECE_BYTES):
                    await asyncio.to_thread(file.write, piece)
        await asyncio.to_thread(archive_layers, new)
        await asyncio.to_thread(new.replace, archive)
    finally:
        await asyncio.to_thread(new.unlink, missing_ok=True)
