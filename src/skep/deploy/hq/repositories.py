"""Bare repositories, one for each stack, and what may come out of a push before anything is done with it.

git itself takes the pack into a quarantine that goes away when the push is refused. What is in it is only looked at:
how large the tree would be, whether it holds submodules, whether its links stay inside. What HQ means to run is copied
from the quarantine under ``refs/skep/pending`` first, so that a killed HQ, or a pusher who went away, loses nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import shutil
import sys
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path

import msgspec

from skep.base.errors import BadInput, CommandFailed, LimitReached, LocalFailure
from skep.base.sizes import format_size
from skep.deploy.hq.settings import GitSettings
from skep.deploy.hq.unpacking import unpack
from skep.deploy.shell.local import LocalRunner
from skep.deploy.shell.records import Command
from skep.deploy.stack.reader import checked_stack_name

NOTHING = "0" * 40
"""What git calls a branch that is not there."""
GIT_TIMEOUT_S = 120.0
PENDING = "refs/skep/pending"
_PIECE_BYTES = 1 << 16
_PROTOCOLS = "https:http:ssh:git"
# $1: the repository, $2: the commit. Read with the quarantine, written without it.
_KEEP = """{ echo "$2"; git -C "$1" for-each-ref --format='^%(objectname)'; } |
git -C "$1" pack-objects --revs --stdout -q |
env -u GIT_OBJECT_DIRECTORY -u GIT_ALTERNATE_OBJECT_DIRECTORIES git -C "$1" index-pack --stdin --fix-thin >/dev/null
"""


class Quarantine(msgspec.Struct, frozen=True):
    """Where git keeps the objects of a push until it is taken; empty: they are in the repository."""

    objects: str = ""
    alternates: str = ""

    @property
    def env(self) -> dict[str, str]:
        """What makes git look there, too."""
        if not self.objects:
            return {}
        return {"GIT_OBJECT_DIRECTORY": self.objects, "GIT_ALTERNATE_OBJECT_DIRECTORIES": self.alternates}


def git_env(home: Path) -> dict[str, str]:
    """An environment in which git reads no one's settings and asks nobody."""
    return {
        "HOME": str(home),
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "LC_ALL": "C.UTF-8",
    }


class Repositories:
    """The repositories below ``root``."""

    def __init__(self, root: Path, settings: GitSettings) -> None:
        self._root = root
        self._settings = settings
        self._runner = LocalRunner("HQ")

    @property
    def hooks(self) -> Path:
        """The folder with the hook that every repository runs."""
        return self._root / "hooks"

    def path(self, stack: str) -> Path:
        """Where the repository of a stack is, or would be. Raises BadInput for what is no name of a stack."""
        return self._root / f"{checked_stack_name(stack)}.git"

    async def open(self) -> None:
        """Write the hook; call it at each start, because it names this program. Raises LocalFailure."""
        hook = Path(__file__).with_name("hook.py")
        script = f"#!/bin/sh\nexec {shlex.quote(sys.executable)} -I -S {shlex.quote(str(hook))}\n"
        await asyncio.to_thread(self._root.mkdir, parents=True, exist_ok=True, mode=0o700)
        await self._runner.put(script.encode(), str(self.hooks / "pre-receive"), mode=0o700)

    def exists(self, stack: str) -> bool:
        """Whether anything was pushed there."""
        return (self.path(stack) / "HEAD").exists()

    async def make(self, stack: str) -> Path:
        """The repository of a stack, made when it is not there."""
        path = self.path(stack)
        if not self.exists(stack):
            beside = path.with_name(f".{path.name}")
            await asyncio.to_thread(shutil.rmtree, beside, ignore_errors=True)
            branch = self._settings.branches[0]
            await self._run("init", "--quiet", "--bare", f"--initial-branch={branch}", str(beside), where=self._root)
            with contextlib.suppress(OSError):  # somebody else made it meanwhile
                await asyncio.to_thread(beside.rename, path)
        return path

    async def remove(self, stack: str) -> None:
        """Forget all that was pushed there. Not there: fine."""
        await asyncio.to_thread(shutil.rmtree, self.path(stack), ignore_errors=True)

    def options(self) -> tuple[str, ...]:
        """What git is told when somebody pushes or fetches: our hook, limits, and nothing in the background."""
        given = {
            "core.hooksPath": str(self.hooks),
            "core.bigFileThreshold": "4m",  # larger ones are streamed, not held
            "receive.maxInputSize": str(self._settings.pack_max_bytes),
            "receive.unpackLimit": "1",
            "receive.autogc": "false",
            "receive.denyDeletes": "false",
            "transfer.fsckObjects": "true",
            "transfer.hideRefs": "refs/skep",
            "pack.windowMemory": "64m",
            "pack.threads": "1",
        }
        return tuple(word for key, value in given.items() for word in ("-c", f"{key}={value}"))

    # --- Looking ------------------------------------------------------------------------------

    async def branch(self, stack: str, ref: str) -> str:
        """The commit that a branch is at; NOTHING when there is none."""
        told = await self._git(stack, "rev-parse", "--verify", "--quiet", ref, check=False)
        return told.strip() or NOTHING

    async def follows(self, stack: str, old: str, new: str, quarantine: Quarantine) -> bool:
        """Whether ``new`` is made on top of ``old``; anything else is a forced push."""
        command = self._command(stack, ("merge-base", "--is-ancestor", old, new), quarantine)
        return (await self._runner.run(command, check=False)).ok

    async def subject(self, stack: str, commit: str, quarantine: Quarantine) -> str:
        """The first line of a commit's message, cut to a line."""
        told = await self._git(stack, "log", "-1", "--format=%s", commit, quarantine=quarantine, check=False)
        return told.strip()[:100]

    async def checkout(self, stack: str, commit: str, into: Path, quarantine: Quarantine) -> None:
        """Write the tree of a commit into a new directory, after a look at its size.

        Raises BadInput for a submodule, a link that leads out, or a commit without a tree; LimitReached for a tree that
        is larger than the settings allow.
        """
        await self._measure(stack, commit, quarantine)
        command = self._argv(stack, ("archive", "--format=tar", commit))
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=self._env(quarantine),
            start_new_session=True,
            limit=_PIECE_BYTES,
        )
        assert process.stdout is not None
        transport = process.stdout
        try:
            async with asyncio.timeout(GIT_TIMEOUT_S):
                await unpack(transport, into, size_max_bytes=self._settings.tree_max_bytes,
                             entries_max=2 * self._settings.tree_entries_max)  # fmt: skip
                if await process.wait() != 0:
                    raise BadInput(f"{commit[:12]} has no tree that can be unpacked: push a commit of a branch")
        except TimeoutError:
            raise LimitReached(f"the tree of {commit[:12]} took longer than {GIT_TIMEOUT_S:g} s to unpack") from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    async def _measure(self, stack: str, commit: str, quarantine: Quarantine) -> None:
        """Go through all entries of a tree, as far as the limits go: a few bytes can name a billion of them."""
        entries, size_bytes = 0, 0
        async with contextlib.aclosing(self._entries(stack, commit, quarantine)) as found:
            async for kind, size, name in found:
                entries += 1
                size_bytes += size
                if kind == "160000":
                    raise BadInput(
                        f"{name} is a submodule, whose files are not in the push: put them into the repository "
                        "itself (git subtree add), or take it out"
                    )
                if entries > self._settings.tree_entries_max:
                    raise LimitReached(f"the tree has more than {self._settings.tree_entries_max} files")
                if size_bytes > self._settings.tree_max_bytes:
                    limit = format_size(self._settings.tree_max_bytes)
                    raise LimitReached(f"the tree would unpack to more than {limit}: keep large files elsewhere")

    async def _entries(
        self, stack: str, commit: str, quarantine: Quarantine
    ) -> AsyncGenerator[tuple[str, int, str], None]:
        """Mode, size in bytes and path of each file of a tree."""
        process = await asyncio.create_subprocess_exec(
            *self._argv(stack, ("ls-tree", "-r", "-l", "-z", "--full-tree", commit)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=self._env(quarantine),
            start_new_session=True,
        )
        assert process.stdout is not None
        rest = b""
        try:
            while piece := await process.stdout.read(_PIECE_BYTES):
                *lines, rest = (rest + piece).split(b"\0")
                if len(rest) > 2 * _PIECE_BYTES:
                    raise BadInput("the tree has a path that is longer than any disk takes")
                for line in lines:
                    facts, _, name = line.partition(b"\t")
                    mode, _, _, size = facts.split()
                    yield mode.decode(), int(size) if size.isdigit() else 0, name.decode(errors="replace")
            if await process.wait() != 0:
                raise BadInput(f"{commit[:12]} is no commit: push a branch")
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    # --- Changing -----------------------------------------------------------------------------

    async def keep(self, stack: str, commit: str, quarantine: Quarantine) -> None:
        """Copy a commit out of the quarantine and hold it under ``PENDING``, whatever becomes of the push."""
        if quarantine.objects:
            command = Command(
                argv=("sh", "-c", _KEEP, "sh", str(self.path(stack)), commit),
                env=git_env(self._root) | quarantine.env,
                timeout_s=GIT_TIMEOUT_S,
            )
            await self._runner.run(command)
        await self._git(stack, "update-ref", f"{PENDING}/{commit}", commit)

    async def drop_kept(self, stack: str, commit: str) -> None:
        """Let go of what was held; what a branch holds stays."""
        await self._git(stack, "update-ref", "-d", f"{PENDING}/{commit}", check=False)

    async def move(self, stack: str, ref: str, new: str, old: str) -> None:
        """Let a branch be at a commit that is there. Raises CommandFailed when it is not at ``old`` any more."""
        await self._git(stack, "update-ref", ref, new, old)

    async def fetch(self, stack: str, url: str, branch: str) -> str:
        """Fetch one branch of another repository and hold it under ``PENDING``; its commit.

        Raises BadInput when the repository or its branch cannot be read, with git's words.
        """
        path = await self.make(stack)
        incoming = f"refs/skep/incoming/{branch}"
        blocks = self._settings.pack_max_bytes // 512 + 2
        words = ("-C", str(path), *self.options(), "fetch", "--quiet", "--no-tags", "--no-write-fetch-head",
                 "--end-of-options", url, f"+refs/heads/{branch}:{incoming}")  # fmt: skip
        protocols = "file" if url.startswith("/") else _PROTOCOLS
        command = Command(
            argv=("sh", "-c", 'ulimit -f "$1"; shift; exec git "$@"', "sh", str(blocks), *words),
            env=git_env(self._root)
            | {"GIT_ALLOW_PROTOCOL": protocols, "GIT_SSH_COMMAND": "ssh -oBatchMode=yes -oConnectTimeout=15"},
            timeout_s=self._settings.push_timeout_s,
            secret=True,
        )
        try:
            await self._runner.run(command)
        except CommandFailed as error:
            raise BadInput(f"{branch} of the repository of {stack} cannot be fetched: {error.message}") from None
        commit = await self.branch(stack, incoming)
        await self.keep(stack, commit, Quarantine())
        return commit

    async def tidy(self, stack: str) -> None:
        """Pack what has gathered, when it is time."""
        with contextlib.suppress(CommandFailed):
            await self._git(stack, "-c", "gc.autoDetach=false", "gc", "--auto", "--quiet")

    async def stacks(self) -> tuple[str, ...]:
        """Names of all stacks that have a repository."""
        try:
            names = await asyncio.to_thread(os.listdir, self._root)
        except FileNotFoundError:
            return ()
        return tuple(sorted(name[:-4] for name in names if name.endswith(".git") and not name.startswith(".")))

    # --- git ----------------------------------------------------------------------------------

    def _argv(self, stack: str, words: tuple[str, ...]) -> tuple[str, ...]:
        return ("git", "-C", str(self.path(stack)), *words)

    def _env(self, quarantine: Quarantine) -> Mapping[str, str]:
        return {"PATH": os.environ.get("PATH", os.defpath), **git_env(self._root), **quarantine.env}

    def _command(self, stack: str, words: tuple[str, ...], quarantine: Quarantine) -> Command:
        env = git_env(self._root) | quarantine.env
        return Command(argv=self._argv(stack, words), env=env, timeout_s=GIT_TIMEOUT_S)

    async def _git(self, stack: str, *words: str, quarantine: Quarantine | None = None, check: bool = True) -> str:
        command = self._command(stack, words, quarantine or Quarantine())
        return (await self._runner.run(command, check=check)).text

    async def _run(self, *words: str, where: Path) -> None:
        if shutil.which("git") is None:
            raise LocalFailure("HQ needs git: install it (apt-get install git)")
        command = Command(argv=("git", *words), env=git_env(where), cwd=str(where), timeout_s=GIT_TIMEOUT_S)
        await self._runner.run(command)
