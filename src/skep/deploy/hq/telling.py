"""What people read while a launch runs: events, plans and verdicts as plain lines that move no cursor."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from skep.deploy.grid import Step
from skep.deploy.launch.records import (
    Build,
    Deploy,
    Ensure,
    Event,
    Instruction,
    Kill,
    Plan,
    Route,
    Scale,
    Verdict,
)

LINE_MAX_CHARS = 500
HOURS_A_MONTH = 730
PLACED_SHOWN = 12
_DOWNTIME = {"none": "no downtime", "restart": "restarts: it is away for a moment"}


def plain(text: str) -> str:
    """A line of somebody's output as it is safe to show: no control characters, not endless."""
    cut = text if len(text) <= LINE_MAX_CHARS else text[:LINE_MAX_CHARS] + " …"
    return "".join(c if c.isprintable() else " " if c == "\t" else "\N{REPLACEMENT CHARACTER}" for c in cut)


def lines_of(event: Event, *, price_a_month: str = "") -> list[str]:
    """An event as lines; its verdict is told apart."""
    if event.kind == "verdict":
        return []
    if event.kind == "plan" and event.plan is not None:
        return [*plan_lines(event.plan), *([f"  servers: {price_a_month}"] if price_a_month else [])]
    sign = {"line": "     ", "begun": "---> ", "done": " ok  ", "failed": " !   ", "undoing": "<--- "}
    said = plain(event.text)
    if event.kind == "line" and event.job:
        said = f"{event.job} | {said}"
    return [sign.get(event.kind, "     ") + said]


def plan_lines(plan: Plan) -> list[str]:
    """A plan: what will be done, and how long each job is away."""
    lines = [f"plan {plan.id}: release {plan.before or '(none)'} becomes {plan.after or '(nothing)'}"]
    lines += [f"  {text}" for text in map(instruction_line, plan.instructions)]
    if plan.is_empty:
        lines.append("  nothing is started or ended")
    lines += [f"  {job}: {_DOWNTIME[kind]}" for job, kind in plan.downtime.items()]
    lines += _grid_lines(plan.placing)
    return lines + [f"  {plain(note)}" for note in plan.notes]


def _grid_lines(steps: Sequence[Step]) -> list[str]:
    """What the grid would do: where the new slices go, what moves for them, what is rented and what that costs."""
    placed = [f"{one.slice} on {one.block}" for one in steps if one.kind == "place"]
    lines = [f"  grid: {one.slice} moves from {one.source} to {one.block}" for one in steps if one.kind == "move"]
    lines += [
        f"  grid: rents {one.block} for {one.slice}, {one.price * HOURS_A_MONTH:.2f} a month"
        for one in steps
        if one.kind == "rent"
    ]
    lines += [f"  grid: no server takes {one.slice} now" for one in steps if one.kind == "full"]
    if placed:
        more = f" and {len(placed) - PLACED_SHOWN} more" if len(placed) > PLACED_SHOWN else ""
        lines.append(f"  grid: {', '.join(placed[:PLACED_SHOWN])}{more}")
    rented = sum(one.price for one in steps if one.kind == "rent")
    return lines + ([f"  rented in all: {rented * HOURS_A_MONTH:.2f} a month more"] if rented else [])


def instruction_line(one: Instruction) -> str:
    """One instruction: ``DEPLOY web (2)``."""
    return " ".join(_words(one))


def _words(one: Instruction) -> Iterator[str]:
    yield type(one).__name__.upper()
    if isinstance(one, Route):
        yield ", ".join(domain for domains in one.domains.values() for domain in domains) or "(no domain)"
        return
    yield one.job
    if isinstance(one, Build):
        yield f"({one.image[:24]})"
    elif isinstance(one, Ensure):
        yield f"replaces {one.replaces}" if one.replaces else ""
    elif isinstance(one, Deploy):
        yield f"({len(one.slices)})" + (" in place" if one.in_place else "")
    elif isinstance(one, Scale):
        yield f"to {one.count} (+{len(one.slices)} -{len(one.drops)})"
    elif isinstance(one, Kill):
        yield f"({len(one.slices)})"


def verdict_lines(verdict: Verdict) -> list[str]:
    """How it ended: where it is reached, or why not, with the last lines of the job that failed."""
    if verdict.ok:
        said = {"released": f"release {verdict.release} of {verdict.stack} runs",
                "unchanged": f"release {verdict.release} of {verdict.stack} runs already: nothing has changed",
                "killed": f"{verdict.stack} has ended", "removed": f"{verdict.stack} is gone"}  # fmt: skip
        return [said.get(verdict.outcome, verdict.outcome), *(f"  {url}" for url in verdict.urls)]
    lines = [f"{verdict.outcome}: {plain(part)}" if not number else f"  {plain(part)}"
             for number, part in enumerate((verdict.reason or "it does not say why").splitlines())]  # fmt: skip
    if verdict.last_lines:
        lines.append(f"the last lines of {verdict.job or 'the build'}:")
        lines += [f"  | {plain(line)}" for line in verdict.last_lines]
    if verdict.release:
        lines.append(f"release {verdict.release} serves as before")
    return lines
