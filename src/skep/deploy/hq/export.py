"""The state as folders and files that people can read: the layout that the oldest text on HQ describes.

    stacks/<app>/env/<VARIABLE>      sealed, as HQ keeps it
    stacks/<app>/src/                what was pushed last and runs
    stacks/<app>/build/stack.json    what the stack file declares; release.json, plan.json
    servers/<id>/settings.json       everything that is known; id, ip, hostname: one value each
    servers/<id>/env/                variables for all that runs there: SKEP_SERVER, SKEP_ADDRESS
    grid/grid.json                   what lies where; grid/<server>.json for each

It is written, never read: the state itself is elsewhere. A file is whole, or as it was.
"""

from __future__ import annotations

import asyncio
import base64
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import msgspec

from skep.base.errors import LocalFailure
from skep.deploy.grid import SliceGrid
from skep.deploy.hq.servers import Server
from skep.deploy.hq.variables import Variables, scope_of
from skep.deploy.launch.journal import Journal


async def export(
    root: Path, *, journal: Journal, grid: SliceGrid, servers: Sequence[Server], variables: Variables, own: bool = False
) -> int:
    """Write everything below ``root``; how many files were not there, or not like this. Raises LocalFailure.

    In a folder of ours (``own``) what is nothing any more is taken away, too; elsewhere nothing is.
    """
    files: dict[str, bytes] = {}
    for server in servers:
        files |= _server_files(server)
    files |= _grid_files(grid)
    for stack in await journal.stacks():
        release = await journal.current(stack)
        build = f"stacks/{stack}/build"
        if release is not None:
            files[f"{build}/stack.json"] = _json(release.stack)
            files[f"{build}/release.json"] = _json(release)
        verdicts = await journal.verdicts(stack)
        if verdicts:
            files[f"{build}/verdict.json"] = _json(verdicts[-1])
        for name, sealed in (await variables.sealed(scope_of(stack))).items():
            files[f"stacks/{stack}/env/{name}"] = b"skep-sealed:2:" + base64.b64encode(sealed) + b"\n"
    return await asyncio.to_thread(_write, root, files, own)


def _server_files(server: Server) -> dict[str, bytes]:
    at = f"servers/{server.id}"
    hostname = server.report.hostname if server.report else server.id
    return {
        f"{at}/settings.json": _json(server),
        f"{at}/id": f"{server.id}\n".encode(),
        f"{at}/ip": f"{server.address}\n".encode(),
        f"{at}/hostname": f"{hostname}\n".encode(),
        f"{at}/env/SKEP_SERVER": f"{server.id}\n".encode(),
        f"{at}/env/SKEP_ADDRESS": f"{server.address}\n".encode(),
    }


def _grid_files(grid: SliceGrid) -> dict[str, bytes]:
    homes = {
        block.facts.id: {
            "block": msgspec.to_builtins(block.facts),
            "state": grid.block_state(block.facts.id),
            "slices": [msgspec.to_builtins(item) for _, item in sorted(block.slices.items())],
        }
        for block in grid.blocks
    }
    files = {f"grid/{name}.json": _json(home) for name, home in homes.items()}
    return {
        **files,
        "grid/grid.json": _json({name: [one["id"] for one in home["slices"]] for name, home in homes.items()}),
    }


def _json(value: object) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value, order="deterministic"), indent=2) + b"\n"


def _write(root: Path, files: dict[str, bytes], own: bool) -> int:
    """Write what differs."""
    changed = 0
    try:
        for name, content in files.items():
            path = root / name
            if path.is_file() and path.read_bytes() == content:
                continue
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            beside = path.with_name(f".{path.name}.new")
            descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with open(descriptor, "wb") as file:
                file.write(content)
            beside.replace(path)
            changed += 1
        if own:
            _forget(root, files)
    except OSError as error:
        raise LocalFailure(f"{root} cannot be written: {error.strerror}") from None
    return changed


def _forget(root: Path, files: dict[str, bytes]) -> None:
    for path in (*(root / "grid").glob("*.json"), *(root / "stacks").glob("*/env/*")):
        if str(path.relative_to(root)) not in files:
            path.unlink()
    for folder in (root / "servers").glob("*"):
        if f"servers/{folder.name}/id" not in files and (folder / "settings.json").is_file():
            shutil.rmtree(folder)
