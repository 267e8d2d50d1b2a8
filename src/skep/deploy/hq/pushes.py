"""What becomes of a push: which branch it is for, whether its tree may be unpacked, and what the launch says of it.

What always holds:

- the branch moves only when the verdict is good, so that the branch is what runs;
- pushes to one stack come one after the other; a branch that has moved meanwhile refuses the next;
- a push whose verdict is being waited for is written down with its commit kept, so that after ``kill -9``, or when the
  pusher goes away, the branch follows what the launch became.
"""

from __future__ import annotations

import asyncio
import secrets
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import msgspec

from skep.base.errors import BadInput, Conflict, Forbidden, InvalidStack, NotFound, SkepError
from skep.base.logs import get_logger
from skep.deploy.hq.control import Call, Order
from skep.deploy.hq.endpoint import Push
from skep.deploy.hq.repositories import NOTHING, Quarantine, Repositories
from skep.deploy.hq.state import StateStore, load_all, save
from skep.deploy.hq.telling import lines_of, verdict_lines
from skep.deploy.hq.turns import Turns
from skep.deploy.launch.records import Event, Request, Verdict
from skep.deploy.stack.crossing import build_order, check_tree
from skep.deploy.stack.reader import FILE_NAME, read_stack
from skep.deploy.stack.records import Stack

log = get_logger("skep.hq")
_FILE_MAX_BYTES = 2 << 20
UPDATES_MAX = 1000
Tell: TypeAlias = Callable[[str], Awaitable[None]]


class Deploys(Protocol):
    """The part of a launcher that pushes need."""

    async def deploy(self, request: Request, say: Callable[[Event], Awaitable[None]]) -> Verdict:
        """As ``Launches.deploy``."""
        ...


class Pending(msgspec.Struct, frozen=True):
    """A push whose verdict its branch does not show yet."""

    stack: str
    ref: str
    old: str
    new: str


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """A commit that somebody wants to run."""

    stack: str
    ref: str
    old: str
    new: str
    by: str
    quarantine: Quarantine = Quarantine()


class _Open:
    """A push that git works on: the launch that it waits for, once there is one."""

    def __init__(self, push: Push) -> None:
        self.push = push
        self.wanted: Wanted | None = None
        self.launch: asyncio.Task[Verdict] | None = None


class Pushes:
    """The desk where all pushes come by. ``changed`` is told of a stack that was launched."""

    def __init__(
        self,
        *,
        repositories: Repositories,
        launches: Deploys,
        store: StateStore,
        stacks: Path,
        branches: tuple[str, ...],
        changed: Callable[[str], Awaitable[None]],
        price_a_month: Callable[[], str] = lambda: "",
    ) -> None:
        self._repositories = repositories
        self._launches = launches
        self._store = store
        self._stacks = stacks
        self._branches = branches
        self._changed = changed
        self._price = price_a_month
        self._open: dict[str, _Open] = {}
        self._turns = Turns()

    # --- git's side ---------------------------------------------------------------------------

    def opened(self, push: Push) -> None:
        """git begins to receive a push."""
        self._open[push.token] = _Open(push)

    async def closed(self, push: Push) -> None:
        """git has ended. Whatever the verdict was, or will be, the branch shows it after this."""
        one = self._open.pop(push.token)
        if one.wanted is None:
            return
        try:
            if one.launch is not None:
                verdict = await one.launch
                await self._settle(one.wanted, verdict)
        except SkepError as error:
            log.warning("push not settled", stack=push.stack, error=error.message)
        finally:
            self._turns.give(push.stack)

    async def hook(self, call: Call) -> dict[str, Any]:
        """What git's hook asks: ``{"ok": bool}``, after everything that was told. Raises Forbidden for a stranger."""
        order, tell = call.order, call.say
        one = self._open.get(order.token)
        if one is None:
            raise Forbidden("no push of that name is under way")
        try:
            wanted = await self._sorted(one.push, order, tell)
            if wanted is None:
                return {"ok": True}
            await self._turns.take(wanted.stack)
            if order.token not in self._open:  # git has ended meanwhile, and nobody else would give the turn back
                self._turns.give(wanted.stack)
                raise Conflict("this push went away while it waited for its turn")
            one.wanted = wanted
            await self._check_still(wanted)
            one.launch = asyncio.ensure_future(self._launch(wanted, tell))
            verdict = await asyncio.shield(one.launch)
        except SkepError as error:
            await _refuse(error, tell)
            return {"ok": False}
        return {"ok": verdict.ok}

    async def _sorted(self, push: Push, order: Order, tell: Tell) -> Wanted | None:
        """The one update that deploys, if any; others are kept, and the pusher is told. Raises BadInput."""
        if len(order.updates) > UPDATES_MAX or any(len(update) != 3 for update in order.updates):
            raise BadInput(f"one push moves at most {UPDATES_MAX} branches")
        quarantine = Quarantine(order.objects, order.alternates)
        found: list[Wanted] = []
        for old, new, ref in order.updates:
            branch = ref.removeprefix("refs/heads/")
            if branch == ref or branch not in self._branches:
                await tell(f"{ref.removeprefix('refs/heads/')} is kept; only {self._named()} is deployed")
            elif new == NOTHING:
                raise BadInput(
                    f"{branch} is what runs and cannot be deleted: `skep stack remove {push.stack}` ends the stack"
                )
            else:
                found.append(Wanted(stack=push.stack, ref=ref, old=old, new=new, by=push.person.name,
                                    quarantine=quarantine))  # fmt: skip
        if len(found) > 1:
            raise BadInput(f"{self._named()} are both deployed: push one of them")
        if found and found[0].old != NOTHING and not await self._follows(found[0]):
            await tell(f"forced: {found[0].old[:12]} is not below {found[0].new[:12]}, which takes its place")
        return found[0] if found else None

    async def _follows(self, wanted: Wanted) -> bool:
        return await self._repositories.follows(wanted.stack, wanted.old, wanted.new, wanted.quarantine)

    def _named(self) -> str:
        return " or ".join(self._branches)

    async def _check_still(self, wanted: Wanted) -> None:
        now = await self._repositories.branch(wanted.stack, wanted.ref)
        if now != wanted.old:
            raise Conflict(
                f"somebody else has pushed meanwhile: {wanted.ref.removeprefix('refs/heads/')} is at {now[:12]}; "
                "fetch it and push again"
            )

    # --- The webhook's side -------------------------------------------------------------------

    async def fetched(self, stack: str, url: str, branch: str, by: str, tell: Tell) -> Verdict | None:
        """Fetch a branch of another repository and deploy it as if it was pushed; None: it runs already."""
        ref = f"refs/heads/{self._branches[0]}"
        await self._turns.take(stack)
        try:
            new = await self._repositories.fetch(stack, url, branch)
            old = await self._repositories.branch(stack, ref)
            if new == old:
                await self._repositories.drop_kept(stack, new)
                await tell(f"{new[:12]} runs already")
                return None
            wanted = Wanted(stack=stack, ref=ref, old=old, new=new, by=by)
            verdict = await self._launch(wanted, tell)
            await self._settle(wanted, verdict)
            return verdict
        finally:
            self._turns.give(stack)

    # --- Launching ----------------------------------------------------------------------------

    async def _launch(self, wanted: Wanted, tell: Tell) -> Verdict:
        tree = self._stacks / wanted.stack / f".src-{secrets.token_hex(6)}"
        try:
            await asyncio.to_thread(tree.parent.mkdir, parents=True, exist_ok=True, mode=0o700)
            keeping = asyncio.ensure_future(self._repositories.keep(wanted.stack, wanted.new, wanted.quarantine))
            try:
                await self._repositories.checkout(wanted.stack, wanted.new, tree, wanted.quarantine)
                stack = await asyncio.to_thread(declared, tree, wanted.stack)
            finally:  # what is refused is let go of by whoever settles the push
                (kept,) = await asyncio.gather(keeping, return_exceptions=True)
            if isinstance(kept, BaseException):
                raise kept
            await save(self._store, f"pushes/{wanted.stack}", Pending(wanted.stack, wanted.ref, wanted.old, wanted.new))
            verdict = await self._launches.deploy(
                Request(stack=stack, tree=tree, revision=wanted.new, by=wanted.by), self._teller(tell)
            )
            for line in verdict_lines(verdict):
                await tell(line)
            if verdict.ok:
                await asyncio.to_thread(_take_place, tree, tree.with_name("src"))
            await self._changed(wanted.stack)
            return verdict
        except SkepError as error:
            await _refuse(error, tell)
            return Verdict(ok=False, stack=wanted.stack, outcome="failed", reason=error.message)
        finally:
            await asyncio.to_thread(shutil.rmtree, tree, ignore_errors=True)

    def _teller(self, tell: Tell) -> Callable[[Event], Awaitable[None]]:
        async def say(event: Event) -> None:
            for line in lines_of(event, price_a_month=self._price()):
                await tell(line)

        return say

    async def _settle(self, wanted: Wanted, verdict: Verdict) -> None:
        """Let the branch be where the verdict says, and forget that anything was pending."""
        if verdict.ok and await self._repositories.branch(wanted.stack, wanted.ref) != wanted.new:
            await self._repositories.move(wanted.stack, wanted.ref, wanted.new, wanted.old)
        await self._store.delete(f"pushes/{wanted.stack}")
        await self._repositories.drop_kept(wanted.stack, wanted.new)

    async def recover(self, current: Callable[[str], Awaitable[str]]) -> None:
        """After a crash, and after the launcher's own ``recover``: let each branch follow what runs.

        ``current`` gives the revision that a stack runs, empty for none.
        """
        for pending in await load_all(self._store, "pushes/", Pending):
            runs = await current(pending.stack)
            ok = runs == pending.new
            verdict = Verdict(ok=ok, stack=pending.stack, outcome="released" if ok else "failed")
            wanted = Wanted(stack=pending.stack, ref=pending.ref, old=pending.old, new=pending.new, by="")
            try:
                await self._settle(wanted, verdict)
            except SkepError as error:
                log.warning("branch not settled", stack=pending.stack, error=error.message)

    def is_busy(self, stack: str) -> bool:
        """Whether a push to it is under way."""
        return self._turns.is_busy(stack)


def declared(tree: Path, name: str) -> Stack:
    """The stack that a tree declares. Raises InvalidStack with every line that is wrong, NotFound without a file."""
    path = tree / FILE_NAME
    try:
        if not path.resolve().is_relative_to(tree.resolve()):
            raise BadInput(f"{FILE_NAME} is a link that leads out of the repository")
        with path.open("rb") as file:
            text = file.read(_FILE_MAX_BYTES).decode()
    except (FileNotFoundError, IsADirectoryError):
        raise NotFound(
            f"there is no {FILE_NAME} in the root of the repository: `skep stack example` prints one, and "
            "`skep stack import` makes one of a Procfile or a Compose file"
        ) from None
    except UnicodeDecodeError:
        raise InvalidStack(f"{FILE_NAME} is no UTF-8 text") from None
    stack = read_stack(text, name)
    build_order(stack, tree)
    complaints = check_tree(stack, tree)
    if complaints:
        raise InvalidStack("\n".join(f"{FILE_NAME}: {text}" for text in complaints))
    return stack


async def _refuse(error: SkepError, tell: Tell) -> None:
    for number, line in enumerate(error.message.splitlines()):
        await tell(line if number else f"refused: {line}")


def _take_place(tree: Path, target: Path) -> None:
    """Put a tree in the place of another."""
    beside = target.with_name(f".old-{secrets.token_hex(6)}")
    if target.exists():
        target.rename(beside)
    tree.rename(target)
    shutil.rmtree(beside, ignore_errors=True)
