"""What ``skep`` may order, each with who may order it. The wire is ``control``; these are the verbs.

everybody    whoami
read         ps  grid  stack.ls  stack.ps  stack.logs  stack.releases  stack.explain  stack.env (names)
deploy       stack.scale  .rollback  .restart  .kill  .remove  .plan  stack.env (values, changes)
admin        servers.*  user.*  hook.*  hq.*  the global variables
"""

from __future__ import annotations

import asyncio
import secrets
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from skep.base.clock import Clock
from skep.base.errors import BadInput, NotFound, SkepError
from skep.deploy.grid import SliceGrid
from skep.deploy.grid.picture import picture
from skep.deploy.hq.control import Call
from skep.deploy.hq.export import export
from skep.deploy.hq.fleet import Fleet, server_view
from skep.deploy.hq.hooks import Hooks
from skep.deploy.hq.people import EVERY, ROLES, People, Role, check_admin, check_role
from skep.deploy.hq.pushes import Pushes, declared
from skep.deploy.hq.renting import Rented
from skep.deploy.hq.repositories import Repositories
from skep.deploy.hq.servers import LOCAL, Server, Ways, parse_target
from skep.deploy.hq.settings import HqSettings
from skep.deploy.hq.telling import lines_of, plan_lines, verdict_lines
from skep.deploy.hq.unpacking import unpack
from skep.deploy.hq.variables import GLOBAL, Variables, scope_of
from skep.deploy.launch.ground import Launches
from skep.deploy.launch.journal import Journal
from skep.deploy.launch.records import Event, Plan, Request, StackView, Verdict
from skep.deploy.shell.ssh import host_key_of
from skep.deploy.stack.reader import checked_stack_name

T = TypeVar("T")
LOG_LINES_MAX = 100_000
FOLLOWED_MAX = 64


class Desk(msgspec.Struct, frozen=True, kw_only=True):
    """What the orders work with: one HQ."""

    people: People
    hooks: Hooks
    variables: Variables
    ways: Ways
    fleet: Fleet
    machines: Rented | None
    grid: SliceGrid
    launches: Launches
    journal: Journal
    pushes: Pushes
    repositories: Repositories
    settings: HqSettings
    stacks: Path
    public_key: str
    clock: Clock
    changed: Callable[[str], Awaitable[None]]
    ports: dict[str, int]


async def carry_out(desk: Desk, call: Call) -> Any:
    """Carry one order out. Raises BadInput for one that HQ does not know, and what it itself raises."""
    if call.order.command == "hook":
        return await desk.pushes.hook(call)
    verb = VERBS.get(call.order.command)
    if verb is None:
        raise BadInput(f"this HQ knows no order {call.order.command[:40]!r}: is its version older than yours?")
    return await verb(desk, call)


# --- what an order says -------------------------------------------------------------------------


def _arg(call: Call, name: str, kind: type[T], default: T | None = None) -> T:
    value = call.args.get(name, default)
    if value is None and default is None:
        raise BadInput(f"the order {call.order.command} needs {name}")
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise BadInput(f"{name} of the order {call.order.command}: {error}") from None


def _stack(call: Call, role: Role) -> str:
    """The stack of the order, which the person may use so."""
    name = checked_stack_name(_arg(call, "stack", str))
    check_role(call.person, role, name)
    return name


def _teller(call: Call) -> Callable[[Event], Awaitable[None]]:
    async def say(event: Event) -> None:
        for line in lines_of(event):
            await call.say(line)

    return say


async def _verdict(desk: Desk, call: Call, verdict: Verdict) -> Any:
    for line in verdict_lines(verdict):
        await call.say(line)
    await desk.changed(verdict.stack)
    return msgspec.to_builtins(verdict)


# --- looking ------------------------------------------------------------------------------------


async def _whoami(desk: Desk, call: Call) -> Any:
    person = call.person
    return {"name": person.name, "roles": person.roles, "admin": person.is_admin}


async def _visible(desk: Desk, call: Call) -> list[str]:
    known = {*await desk.journal.stacks(), *await desk.repositories.stacks()}
    return sorted(name for name in known if call.person.may("read", name))


async def _stack_ls(desk: Desk, call: Call) -> Any:
    found = []
    for name in await _visible(desk, call):
        release = await desk.journal.current(name)
        slices = [one for one in await desk.journal.slices(name) if one.state == "live"]
        found.append(
            {
                "name": name,
                "state": "live" if slices else "stopped" if release else "pushed",
                "release": release.number if release else 0,
                "revision": release.revision if release else "",
                "by": release.by if release else "",
                "created_us": release.created_us if release else 0,
                "slices": len(slices),
            }
        )
    return found


def _told(view: StackView) -> Any:
    told = msgspec.to_builtins(view)
    told["release"] = view.release.number if view.release else 0
    told["revision"] = view.release.revision if view.release else ""
    return told


async def _stack_ps(desk: Desk, call: Call) -> Any:
    return _told(await desk.launches.observe(_stack(call, "read")))


async def _ps(desk: Desk, call: Call) -> Any:
    names = [name for name in await _visible(desk, call) if name in await desk.journal.stacks()]
    return [_told(view) for view in await asyncio.gather(*map(desk.launches.observe, names))]


async def _grid(desk: Desk, call: Call) -> Any:
    if not call.person.may("read", EVERY):
        check_admin(call.person)
    from rich.console import Console

    width = max(40, min(400, _arg(call, "width", int, 120)))
    colour = _arg(call, "colour", bool, False)
    console = Console(width=width, force_terminal=colour, color_system="standard" if colour else None)
    with console.capture() as drawn:
        console.print(picture(desk.grid, bar_cells=max(10, min(120, width - 62))))
    blocks = [
        {
            "id": block.facts.id,
            "state": desk.grid.block_state(block.facts.id),
            "address": block.facts.address,
            "memory_bytes": block.facts.size.memory_bytes,
            "memory_free_bytes": block.memory,
            "cpu_millis": block.facts.size.cpu_millis,
            "cpu_free_millis": block.cpu,
            "price": block.facts.price,
            "slices": sorted(block.slices),
        }
        for block in desk.grid.blocks
    ]
    return {"text": drawn.get(), "blocks": blocks}


async def _explain(desk: Desk, call: Call) -> Any:
    stack = _stack(call, "read")
    wanted = _arg(call, "job", str, "")
    found = []
    for record in await desk.journal.slices(stack):
        if wanted in ("", record.job, record.id):
            try:
                decisions = desk.grid.explain(record.id)
            except NotFound:
                continue
            found.append({"slice": record.id, "decisions": msgspec.to_builtins(decisions)})
    if not found:
        raise NotFound(f"nothing of {stack} is in the grid" + (f" under {wanted}" if wanted else ""))
    return found


async def _releases(desk: Desk, call: Call) -> Any:
    stack = _stack(call, "read")
    current = await desk.journal.current(stack)
    return {
        "current": current.number if current else 0,
        "releases": [
            {"number": one.number, "revision": one.revision, "by": one.by, "created_us": one.created_us}
            for one in await desk.journal.releases(stack)
        ],
        "verdicts": msgspec.to_builtins(await desk.journal.verdicts(stack)),
    }


async def _logs(desk: Desk, call: Call) -> Any:
    """Lines of all slices of a job, oldest first; with ``follow`` as they come, for as long as somebody listens."""
    stack, job = _stack(call, "read"), _arg(call, "job", str, "")
    records = [one for one in await desk.journal.slices(stack) if job in ("", one.job, one.id) and one.places]
    if not records:
        raise NotFound(f"nothing runs of {stack}" + (f" under {job}" if job else ""), stack=stack)
    follow = _arg(call, "follow", bool, False)
    tail = max(0, min(LOG_LINES_MAX, _arg(call, "tail", int, 200)))
    kept: list[tuple[int, str, str, str]] = []
    for record in records:
        engine = desk.ways.engine(next(reversed(record.places)))
        lines = []
        async for line in engine.logs(record.id):
            lines.append((line.time_us, record.id, line.stream, line.text))
            del lines[: -tail or len(lines)]
        kept += lines
    for time_us, name, stream, text in sorted(kept)[-tail:] if tail else ():
        await call.emit({"line": {"time_us": time_us, "slice": name, "stream": stream, "text": text}})
    if follow:
        since_us = max((line[0] for line in kept), default=desk.clock.now_us())
        tasks = [_follow(desk, call, record.id, next(reversed(record.places)), since_us) for record in records]
        await call.while_heard(_all(tasks[:FOLLOWED_MAX]))
    return {}


async def _follow(desk: Desk, call: Call, name: str, block: str, since_us: int) -> None:
    try:
        async for line in desk.ways.engine(block).logs(name, since_us=since_us + 1, follow=True):
            told = {"time_us": line.time_us, "slice": name, "stream": line.stream, "text": line.text}
            await call.emit({"line": told})
    except SkepError as error:
        await call.say(f"{name}: {error.message}")


async def _all(work: list[Any]) -> None:
    await asyncio.gather(*work)


# --- changing stacks ----------------------------------------------------------------------------


async def _scale(desk: Desk, call: Call) -> Any:
    stack = _stack(call, "deploy")
    return await _verdict(
        desk, call, await desk.launches.scale(stack, _arg(call, "jobs", dict[str, int]), _teller(call))
    )


async def _rollback(desk: Desk, call: Call) -> Any:
    stack = _stack(call, "deploy")
    number = _arg(call, "number", int, 0) or None
    return await _verdict(desk, call, await desk.launches.rollback(stack, number, _teller(call)))


async def _restart(desk: Desk, call: Call) -> Any:
    stack = _stack(call, "deploy")
    return await _verdict(
        desk, call, await desk.launches.restart(stack, _arg(call, "jobs", list[str], []), _teller(call))
    )


async def _kill(desk: Desk, call: Call) -> Any:
    stack = _stack(call, "deploy")
    return await _verdict(desk, call, await desk.launches.kill(stack, _teller(call)))


async def _remove(desk: Desk, call: Call) -> Any:
    """End a stack and forget all of it: releases, variables, hook, what was pushed. Its volumes stay on their hosts."""
    stack = _stack(call, "deploy")
    told: Any = {"ok": True, "stack": stack, "outcome": "removed"}
    if stack in await desk.journal.stacks():
        told = await _verdict(desk, call, await desk.launches.remove(stack, _teller(call)))
    elif not desk.repositories.exists(stack):
        raise NotFound(f"there is no stack {stack}", stack=stack)
    if told["ok"]:
        await desk.variables.forget(scope_of(stack))
        await desk.repositories.remove(stack)
        if any(hook.stack == stack for hook in await desk.hooks.all()):
            await desk.hooks.remove(stack)
        await asyncio.to_thread(shutil.rmtree, desk.stacks / stack, ignore_errors=True)
    return told


async def _plan(desk: Desk, call: Call) -> Any:
    """What a push of the tree that follows would do. It is built, and nothing else is touched."""
    stack = _stack(call, "deploy")
    limits = desk.settings.git
    tree = desk.stacks / stack / f".plan-{secrets.token_hex(6)}"
    try:
        await asyncio.to_thread(tree.parent.mkdir, parents=True, exist_ok=True, mode=0o700)
        await unpack(call.body, tree, size_max_bytes=limits.tree_max_bytes, entries_max=2 * limits.tree_entries_max)
        stated = await asyncio.to_thread(declared, tree, stack)
        request = Request(stack=stated, tree=tree, revision="", by=call.person.name)
        plan: Plan = await desk.launches.plan(request, _teller(call))
    finally:
        await asyncio.to_thread(shutil.rmtree, tree, ignore_errors=True)
    lines = plan_lines(plan)
    price = desk.fleet.price_a_month()
    return {"plan": msgspec.to_builtins(plan), "lines": [*lines, *([f"  servers: {price}"] if price else [])]}


async def _env(desk: Desk, call: Call) -> Any:
    """Variables: their names, with ``show`` their values; ``set`` and ``unset`` change them."""
    name = _arg(call, "stack", str, "")
    setting = _arg(call, "set", dict[str, str], {})
    unsetting = tuple(_arg(call, "unset", list[str], []))
    show = _arg(call, "show", bool, False)
    if name:
        _stack(call, "deploy" if setting or unsetting or show else "read")
    else:
        check_admin(call.person)
    scope = scope_of(name) if name else GLOBAL
    changed = False
    if setting or unsetting:
        changed = await desk.variables.change(scope, setting, unsetting)
        await desk.changed(name)
    values = await desk.variables.values(scope) if show else dict.fromkeys(await desk.variables.names(scope), "")
    running = bool(name) and await desk.journal.current(name) is not None
    return {"scope": scope, "variables": values, "shown": show, "changed": changed, "running": running}


# --- servers ------------------------------------------------------------------------------------


async def _servers_ls(desk: Desk, call: Call) -> Any:
    check_admin(call.person)
    blocks = {block.facts.id: block for block in desk.grid.blocks}
    return [
        server_view(
            one,
            state=desk.grid.block_state(one.id) if one.id in blocks else "unknown",
            silent_s=desk.fleet.silent_s(one.id),
            slices=list(blocks[one.id].slices) if one.id in blocks else [],
        )
        for one in desk.ways.servers
    ]


async def _servers_add(desk: Desk, call: Call) -> Any:
    check_admin(call.person)
    target = _arg(call, "target", str)
    engine = _arg(call, "engine", str, "") or desk.settings.deploy.engine
    if engine not in ("process", "docker"):
        raise BadInput(f"{engine!r} is no engine: process or docker")
    if target == LOCAL:
        user, address, port, host_key = "", _arg(call, "address", str, "") or "127.0.0.1", 22, ""
    else:
        user, address, port = parse_target(target)
        host_key = _arg(call, "host_key", str, "") or await host_key_of(address, port)
    wanted = Server(
        id="",
        address=address,
        ssh_port=port,
        user=user,
        host_key=host_key,
        local=target == LOCAL,
        engine="docker" if engine == "docker" else "process",
        router=_arg(call, "router", bool, False),
        tags=tuple(_arg(call, "tags", list[str], [])),
        public=tuple(_arg(call, "public", list[int], [])),
        price=_arg(call, "price", float, 0.0),
    )
    fence = _arg(call, "fence", bool, True)
    server = await desk.fleet.add(wanted, name=_arg(call, "name", str, ""), fence=fence, say=call.say)
    await desk.changed("")
    return server_view(server, state=desk.grid.block_state(server.id), silent_s=0.0, slices=[])


async def _servers_rm(desk: Desk, call: Call) -> Any:
    check_admin(call.person)
    await desk.fleet.remove(_arg(call, "id", str), force=_arg(call, "force", bool, False), say=call.say)
    await desk.changed("")
    return {}


async def _servers_facts(desk: Desk, call: Call) -> Any:
    check_admin(call.person)
    server = await desk.fleet.facts(_arg(call, "id", str))
    block = next((one for one in desk.grid.blocks if one.facts.id == server.id), None)
    return server_view(
        server,
        state=desk.grid.block_state(server.id) if block else "unknown",
        silent_s=desk.fleet.silent_s(server.id),
        slices=list(block.slices) if block else [],
    )


async def _servers_fence(desk: Desk, call: Call) -> Any:
    check_admin(call.person)
    await desk.fleet.fence(call.say)
    return {}


# --- people, hooks, HQ itself -------------------------------------------------------------------


async def _user_ls(desk: Desk, call: Call) -> Any:
    check_admin(call.person)
    return [msgspec.to_builtins(person) for person in await desk.people.all()]


async def _user_add(desk: Desk, call: Call) -> Any:
    check_admin(call.person)
    role = _arg(call, "role", str)
    if role not in ROLES:
        raise BadInput(f"{role!r} is no role: {', '.join(ROLES)}")
    stacks = [checked_stack_name(name) for name in _arg(call, "stacks", list[str], [])] or [EVERY]
    roles: dict[str, Role] = {name: ROLES[ROLES.index(role)] for name in stacks}
    person = await desk.people.put(_arg(call, "name", str), roles, _arg(call, "keys", list[str], []))
    return msgspec.to_builtins(person)


async def _user_rm(desk: Desk, call: Call) -> Any:
    check_admin(call.person)
    await desk.people.remove(_arg(call, "name", str))
    return {}


async def _hook_ls(desk: Desk, call: Call) -> Any:
    check_admin(call.person)
    return [{"stack": one.stack, "repository": one.repository, "branch": one.branch} for one in await desk.hooks.all()]


async def _hook_add(desk: Desk, call: Call) -> Any:
    check_admin(call.person)
    given = _arg(call, "secret", str, "")
    stack = _arg(call, "stack", str)
    secret = await desk.hooks.put(stack, _arg(call, "repository", str), _arg(call, "branch", str, "main"), given)
    port = desk.ports.get("webhook", 0)
    return {"secret": "" if given else secret, "path": f"/webhook/{stack}", "port": port}


async def _hook_rm(desk: Desk, call: Call) -> Any:
    check_admin(call.person)
    await desk.hooks.remove(_arg(call, "stack", str))
    return {}


async def _hq_status(desk: Desk, call: Call) -> Any:
    check_admin(call.person)
    return {
        "public_key": desk.public_key,
        "ports": desk.ports,
        "servers": len(desk.ways.servers),
        "stacks": len(await desk.journal.stacks()),
        "branches": list(desk.settings.git.branches),
        "machines": await desk.machines.told(desk.grid.options.types) if desk.machines is not None else {},
        "price": desk.fleet.price_a_month(),
    }


async def _hq_export(desk: Desk, call: Call) -> Any:
    check_admin(call.person)
    folder = Path(_arg(call, "folder", str))
    if not folder.is_absolute():
        raise BadInput(f"{folder} is no absolute path on HQ's machine")
    written = await export(folder, journal=desk.journal, grid=desk.grid, servers=desk.ways.servers,
                           variables=desk.variables)  # fmt: skip
    return {"folder": str(folder), "files": written}


VERBS: dict[str, Callable[[Desk, Call], Awaitable[Any]]] = {
    "whoami": _whoami,
    "ps": _ps,
    "grid": _grid,
    "stack.ls": _stack_ls,
    "stack.ps": _stack_ps,
    "stack.logs": _logs,
    "stack.releases": _releases,
    "stack.explain": _explain,
    "stack.scale": _scale,
    "stack.rollback": _rollback,
    "stack.restart": _restart,
    "stack.kill": _kill,
    "stack.remove": _remove,
    "stack.plan": _plan,
    "stack.env": _env,
    "servers.ls": _servers_ls,
    "servers.add": _servers_add,
    "servers.rm": _servers_rm,
    "servers.facts": _servers_facts,
    "servers.fence": _servers_fence,
    "user.ls": _user_ls,
    "user.add": _user_add,
    "user.rm": _user_rm,
    "hook.ls": _hook_ls,
    "hook.add": _hook_add,
    "hook.rm": _hook_rm,
    "hq.status": _hq_status,
    "hq.export": _hq_export,
}
