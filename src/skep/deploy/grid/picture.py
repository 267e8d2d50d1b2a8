"""The grid as a picture in the terminal: a row for each block, a bar for each slice as wide as its share.

Stacks have colours, the same in every picture; what is free is dotted, what is on the move is hatched.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from skep.deploy.grid.layout import Block
from skep.deploy.grid.slicegrid import SliceGrid

_COLOURS = ("green", "cyan", "magenta", "yellow", "blue", "red", "bright_green", "bright_cyan", "bright_magenta")
_BAR_CELLS = 48


def picture(grid: SliceGrid, *, bar_cells: int = _BAR_CELLS) -> RenderableType:
    """Blocks oldest first, with what is used of each, and a legend of the stacks."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for head in ("block", "state", "address", "memory", "cpu", "slices"):
        table.add_column(head, no_wrap=True)
    for block in grid.blocks:
        table.add_row(
            block.facts.id,
            grid.block_state(block.facts.id),
            block.facts.address or "-",
            _share(block.memory, block.facts.size.memory_bytes),
            _share(block.cpu, block.facts.size.cpu_millis),
            bar(block, bar_cells),
        )
    if not grid.blocks:
        return Text("no servers yet: `skep servers add USER@HOST` adds one")
    return Group(table, Text(), _legend(grid.blocks))


def bar(block: Block, cells: int = _BAR_CELLS) -> Text:
    """The block's slices side by side; each is as wide as the larger of its shares of memory and processor."""
    text, left = Text(), cells
    for item in sorted(block.slices.values(), key=lambda one: one.id):
        share = max(
            item.size.memory_bytes / max(1, block.facts.size.memory_bytes),
            item.size.cpu_millis / max(1, block.facts.size.cpu_millis),
        )
        width = min(left, max(1, round(share * cells)))
        left -= width
        leaving = item.id.endswith(" (leaving)")
        text.append(_label(item.id, width, leaving), style=f"black on {colour(item.id)}")
    return text.append("·" * left, style="dim")


def colour(slice_id: str) -> str:
    """The stack's colour: what stands before the first dot of a slice's id decides."""
    return _COLOURS[zlib.crc32(slice_id.partition(".")[0].encode()) % len(_COLOURS)]


def _label(slice_id: str, width: int, leaving: bool) -> str:
    if leaving:
        return "/" * width
    name = slice_id if width >= len(slice_id) + 1 else slice_id.rpartition(".")[2] if width > 2 else ""
    return f"{name[: width - 1]:<{width - 1}}|" if width > 1 else "|"


def _share(free: int, size: int) -> str:
    return f"{100 * (size - free) / size:3.0f} %" if size else "-"


def _legend(blocks: Sequence[Block]) -> Text:
    stacks = sorted({slice_id.partition(".")[0] for block in blocks for slice_id in block.slices})
    text = Text()
    for stack in stacks:
        text.append("  ", style=f"on {colour(stack)}").append(f" {stack}   ")
    return text.append("· free   / leaving", style="dim")
