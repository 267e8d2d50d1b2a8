"""Images of the process engine: the pushed tree, after its ``install`` commands have run in a copy of it here."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
from pathlib import Path

import msgspec

from skep.base.clock import Clock, SystemClock
from skep.base.errors import BadInput, BuildFailed, CommandFailed
from skep.crypto.hashing import digest
from skep.deploy.engines.protocol import Progress
from skep.deploy.engines.records import Image
from skep.deploy.engines.trees import TREE_PREFIX, pack_tree, tree_ref
from skep.deploy.shell.local import LocalRunner
from skep.deploy.shell.records import Command
from skep.deploy.stack.records import Build

INSTALL_TIMEOUT_S = 1800.0
UNKEPT_S = 3600.0
"""How long an archive stays that nobody has given another name: whoever built it is about to."""
_LAST_LINES = 20


class TreeBuilder:
    """Makes images below ``directory`` of this machine; what was built lately is not built again.

    Whoever keeps an archive gives it a second name (a hard link); one that nobody keeps goes after an hour.
    """

    def __init__(self, directory: Path, clock: Clock | None = None) -> None:
        self._directory = directory
        self._clock = clock or SystemClock()

    async def build(self, tree: Path, build: Build, tag: str, progress: Progress) -> Image:
        """As ``Builder`` says. A Dockerfile is BadInput; ``base`` is passed over: there are no containers."""
        if build.dockerfile_path or build.dockerfile_text:
            raise BadInput(f"{tag} has a Dockerfile, which the process engine cannot build: say run and install")
        await asyncio.to_thread(self._prune)
        source = await asyncio.to_thread(tree_ref, tree)
        if not build.install:
            return await asyncio.to_thread(self._packed, tree, source)
        built = self._directory / f"built-{digest(source.encode(), msgspec.json.encode(build.install)).hex()[:40]}"
        known = await asyncio.to_thread(self._known, built)
        if known is not None:
            await progress(f"{tag} is built already")
            return known
        work = self._directory / f".build-{secrets.token_hex(6)}"
        try:
            await asyncio.to_thread(shutil.copytree, tree, work, symlinks=True, ignore=shutil.ignore_patterns(".git"))
            for command in build.install:
                await self._install(command, work, tag, progress)
            image = await asyncio.to_thread(self._packed, work, await asyncio.to_thread(tree_ref, work))
            await LocalRunner().put(image.ref.encode(), str(built))
            return image
        finally:
            await asyncio.to_thread(shutil.rmtree, work, ignore_errors=True)

    def _prune(self) -> None:
        """Make the directory, and forget there what nobody keeps any more."""
        self._directory.mkdir(parents=True, exist_ok=True)
        before_s = self._clock.now_us() / 1e6 - UNKEPT_S
        for entry in list(os.scandir(self._directory)):
            path = Path(entry.path)
            with contextlib.suppress(FileNotFoundError):  # another build has taken it away
                if path.name.startswith("built-"):
                    useless = not self._archive(path.read_text()).exists()
                else:
                    facts = path.stat()
                    useless = path.suffix == ".tar" and facts.st_nlink == 1 and facts.st_mtime < before_s
                if useless:
                    path.unlink()

    def _known(self, built: Path) -> Image | None:
        """What was made of the same tree and commands before, if its archive is still there."""
        try:
            ref = built.read_text()
        except OSError:
            return None
        archive = self._archive(ref)
        return Image(ref=ref, archive=archive) if _is_there(archive) else None

    def _archive(self, ref: str) -> Path:
        return self._directory / f"{ref.removeprefix(TREE_PREFIX)}.tar"

    def _packed(self, tree: Path, ref: str) -> Image:
        archive = self._archive(ref)
        if not _is_there(archive):
            new = archive.with_name(f".{archive.name}.{secrets.token_hex(6)}")
            try:
                pack_tree(tree, new)
                new.replace(archive)
            finally:
                new.unlink(missing_ok=True)
        return Image(ref=ref, archive=archive)

    async def _install(self, command: str, work: Path, tag: str, progress: Progress) -> None:
        await progress(f"$ {command}")
        last: list[str] = [f"$ {command}"]
        script = Command(argv=("sh", "-c", f"{{ {command}\n}} 2>&1"), cwd=str(work))
        try:
            async with asyncio.timeout(INSTALL_TIMEOUT_S), LocalRunner().lines(script) as lines:
                async for line in lines:
                    text = line.decode(errors="replace")
                    last = [*last, text][-_LAST_LINES:]
                    await progress(text)
        except CommandFailed as error:
            code = error.details.get("exit_code")
            raise BuildFailed(
                f"building {tag} failed: `{command}` ended with {code}: {last[-1]}", last_lines=tuple(last)
            ) from None
        except TimeoutError:
            raise BuildFailed(
                f"building {tag} failed: `{command}` took longer than {INSTALL_TIMEOUT_S:g} s", last_lines=tuple(last)
            ) from None


def _is_there(archive: Path) -> bool:
    """Whether it is, and then it stays for a while: it counts as new."""
    try:
        os.utime(archive)
    except FileNotFoundError:
        return False
    return True
