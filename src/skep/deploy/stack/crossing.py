"""What is wrong between the jobs of a stack: links and bases that are missing or go round, and what is claimed twice.

Also the order that follows: images before what stands on them, services and links before what needs them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from skep.base.errors import InvalidStack
from skep.deploy.stack.located import Located, Problems, nearest
from skep.deploy.stack.records import Job, Stack

_FROM = re.compile(r"^\s*FROM\s+(?:--\S+\s+)*(\S+)", re.IGNORECASE | re.MULTILINE)
_DOCKERFILE_MAX_BYTES = 1 << 20


def check_together(stack: Stack, places: Mapping[tuple[str, str], Located], problems: Problems) -> None:
    """Note what is wrong between jobs. ``places`` says where, by job and what."""
    _check_claims(stack, places, problems)
    names = {job.name for job in stack.jobs}
    for job in stack.jobs:
        for link in job.links:
            at = places[job.name, f"link:{link}"]
            other = stack.job(link)
            if link not in names:
                problems.add(at, f"{job.name} links to {link!r}, which is no job of this stack{nearest(link, names)}")
            elif other is not None and other.kind in ("image", "static", "cron"):
                problems.add(at, f"{job.name} links to {link}, a {other.kind} job, which does not run to be linked to")
        for base in _bases(stack, job):
            at = places.get((job.name, "source"), places[job.name, ""])
            other = stack.job(base)
            if other is None:
                problems.add(at, f"{job.name} stands on {stack.name}/{base}, which this stack does not have")
            elif other.build is None:
                problems.add(at, f"{job.name} stands on {stack.name}/{base}, which is not built")
    for what, needs in (("links", _links_of(stack)), ("FROM", _bases_of(stack))):
        cycle = _cycle(needs)
        if cycle:
            at = places[cycle[0], ""]
            problems.add(at, f"{what} goes round: {' -> '.join([*cycle, cycle[0]])}")


def _check_claims(stack: Stack, places: Mapping[tuple[str, str], Located], problems: Problems) -> None:
    domains: dict[str, str] = {}
    ports: dict[int, str] = {}
    volumes: dict[str, str] = {}
    for job in stack.jobs:
        seen: set[str] = set()
        for domain in job.domains:
            at = places[job.name, f"domain:{domain}"]
            owner = domains.setdefault(domain, job.name)
            if owner != job.name:
                problems.add(at, f"{domain} is a domain of {owner} already, in line {_line(places, owner, domain)}")
            elif domain in seen:
                problems.add(at, f"{domain} is said twice")
            seen.add(domain)
        for port in job.expose:
            if port.host_port and ports.setdefault(port.host_port, job.name) != job.name:
                owner = ports[port.host_port]
                problems.add(places[job.name, ""], f"port {port.host_port} of the host is taken by {owner} already")
        for volume in job.volumes:
            if volumes.setdefault(volume.name, job.name) != job.name:
                at = places[job.name, "volumes"]
                problems.add(at, f"the volume {volume.name} belongs to {volumes[volume.name]}: a volume is one job's")


def _line(places: Mapping[tuple[str, str], Located], job: str, domain: str) -> int:
    return places[job, f"domain:{domain}"].line


def _links_of(stack: Stack) -> dict[str, list[str]]:
    return {job.name: [link for link in job.links if stack.job(link)] for job in stack.jobs}


def _bases_of(stack: Stack) -> dict[str, list[str]]:
    return {job.name: [base for base in _bases(stack, job) if stack.job(base)] for job in stack.jobs}


def _bases(stack: Stack, job: Job, tree: Path | None = None) -> list[str]:
    """Jobs of this stack whose images this one stands on, as far as the file, or the tree, says."""
    named = [job.image]
    if job.build is not None:
        named = [job.build.base]
        text = job.build.dockerfile_text
        if job.build.dockerfile_path and tree is not None:
            text = _dockerfile(tree / job.build.dockerfile_path)
        named += _FROM.findall(text)
    prefix = f"{stack.name}/"
    return sorted({name.removeprefix(prefix).partition(":")[0] for name in named if name.startswith(prefix)})


def _dockerfile(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_DOCKERFILE_MAX_BYTES).decode(errors="replace")
    except OSError:
        return ""


def _cycle(needs: Mapping[str, Iterable[str]]) -> list[str]:
    """Names that need each other in a circle; empty when nothing does."""
    left = {name: set(others) for name, others in needs.items()}
    while ready := [name for name, others in left.items() if not others & left.keys()]:
        for name in ready:
            del left[name]
    if not left:
        return []
    path = [next(iter(left))]
    while True:
        following = min(left[path[-1]] & left.keys())
        if following in path:
            return path[path.index(following) :]
        path.append(following)


def build_order(stack: Stack, tree: Path | None = None) -> tuple[Job, ...]:
    """The jobs whose images are built, each after those that it stands on, else in the order of the file.

    With ``tree`` the Dockerfiles of the tree are read too. Raises InvalidStack when they go round.
    """
    needs = {job.name: _bases(stack, job, tree) for job in stack.jobs if job.is_built}
    if cycle := _cycle(needs):
        raise InvalidStack(f"the Dockerfiles of {' and '.join(cycle)} stand on each other", problems=[])
    return _ordered(stack, needs)


def start_order(stack: Stack) -> tuple[Job, ...]:
    """The jobs that stay running, services first, each after those that it links to, else in the order of the file."""
    services = [job.name for job in stack.of_kind("service")]
    needs = {}
    for job in stack.of_kind("service", "web", "worker"):
        needs[job.name] = [*job.links, *([] if job.kind == "service" else services)]
    if cycle := _cycle(needs):  # a service that links to a web job: the links say which goes first
        needs = {job.name: list(job.links) for job in stack.of_kind("service", "web", "worker")}
        assert not set(cycle) - needs.keys()
    return _ordered(stack, needs)


def _ordered(stack: Stack, needs: Mapping[str, Iterable[str]]) -> tuple[Job, ...]:
    left = {name: set(others) & needs.keys() for name, others in needs.items()}
    ordered: list[Job] = []
    while left:
        name = next(name for name, others in left.items() if not others & left.keys())
        del left[name]
        job = stack.job(name)
        assert job is not None
        ordered.append(job)
    return tuple(ordered)


def check_tree(stack: Stack, tree: Path) -> list[str]:
    """What the file names and the pushed tree does not have, as messages; and Dockerfiles that stand on nothing."""
    complaints = []
    for job in stack.jobs:
        wanted = [("ssl_cert", job.ssl_cert), ("ssl_key", job.ssl_key)]
        if job.build is not None:
            wanted.append(("dockerfile", job.build.dockerfile_path))
        for key, path in wanted:
            if path and not _inside(tree, path).is_file():
                complaints.append(f"line {job.line}: {job.name} says {key} {path}, and there is no such file")
        if job.document_root and not _inside(tree, job.document_root).is_dir():
            complaints.append(f"line {job.line}: {job.name} serves {job.document_root}, and there is no such directory")
        for base in _bases(stack, job, tree):
            other = stack.job(base)
            if other is None or other.build is None:
                complaints.append(f"line {job.line}: {job.name} stands on {stack.name}/{base}, which is not built here")
    return complaints


def _inside(tree: Path, path: str) -> Path:
    """The path below the tree; the tree's own name for one that a link leads out of it."""
    found = (tree / path).resolve()
    return found if found.is_relative_to(tree.resolve()) else tree / "\0"
