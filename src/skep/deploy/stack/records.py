"""The declared stack as frozen records: what is made of a `quarry.yml`, and all that later rooms know of it.

Everything is normalised here, so that no later room knows of old and new vocabulary: a worker with domains is a ``web``
job, a single port is a tuple of one, sizes are bytes and thousandths of a processor.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, TypeAlias

import msgspec

Kind: TypeAlias = Literal["service", "web", "worker", "cron", "static", "image"]
"""``service`` runs once and no push restarts it; ``web`` is routed by its domains; ``worker`` is neither; ``cron`` runs
by its schedule; ``static`` is files that the router serves; ``image`` is only built, for others to stand on."""

RUNNING_KINDS: frozenset[Kind] = frozenset({"service", "web", "worker"})
"""Kinds whose slices run all the time."""
APP_DIRECTORY = "/srv/app"
"""Where the pushed tree lies inside an image that was made of ``install`` and ``run``."""
MEMORY_STEP_BYTES = 64 << 20
CPU_STEP_MILLIS = 50


class Size(msgspec.Struct, frozen=True, kw_only=True):
    """What one slice of a job takes of a machine: the vector that the grid packs."""

    memory_bytes: int = 256 << 20
    cpu_millis: int = 100
    """Thousandths of a processor: reserved in the grid, and the weight when processors are short."""
    disk_bytes: int = 0

    def quantised(self) -> Size:
        """Rounded up to steps of 64 MiB and 50 thousandths, which makes packing close and cheap."""
        return Size(
            memory_bytes=-(-self.memory_bytes // MEMORY_STEP_BYTES) * MEMORY_STEP_BYTES,
            cpu_millis=-(-self.cpu_millis // CPU_STEP_MILLIS) * CPU_STEP_MILLIS,
            disk_bytes=-(-self.disk_bytes // MEMORY_STEP_BYTES) * MEMORY_STEP_BYTES,
        )


class Port(msgspec.Struct, frozen=True, kw_only=True):
    """A TCP port that a job listens on."""

    number: int
    """The job's own port; where it has no network of its own it listens on ``$PORT_<number>`` instead."""
    host_port: int = 0
    """The fixed port of the host that leads there; 0 takes a free one."""


class Volume(msgspec.Struct, frozen=True, kw_only=True):
    """A directory that outlives releases. A slice that has one stays on its machine."""

    path: str
    """Where the job sees it: absolute, or relative to the pushed tree."""
    name: str
    """Of the directory, unique in the stack: ``<job>.<path with dashes>`` unless the file names it."""


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """How it is known that a slice can do its work."""

    kind: Literal["http", "tcp", "command"]
    port: int = 0
    """The job's own port that is asked."""
    path: str = "/"
    """For ``http``: any answer from 200 to 399 is well."""
    command: tuple[str, ...] = ()
    """For ``command``: run beside the job; exit code 0 is well."""
    interval_s: float = 1.0
    timeout_s: float = 3.0
    grace_s: float = 30.0
    """How long after its start a slice may not be well yet."""
    retries: int = 3
    """How many times in a row it must fail to be called unhealthy, after the grace."""


class Build(msgspec.Struct, frozen=True, kw_only=True):
    """How an image is made of the pushed tree. At most one of the first three is given."""

    base: str = ""
    """The image to put the tree and ``install`` on top of."""
    dockerfile_path: str = ""
    """A Dockerfile of the tree, relative to its root; its directory is not the context: the root is."""
    dockerfile_text: str = ""
    """A Dockerfile that was written inside the stack file."""
    install: tuple[str, ...] = ()
    """Shell commands that run in the root of the tree."""


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of a stack file."""

    name: str
    kind: Kind
    image: str = ""
    """A ready image that is run as it is; empty when ``build`` makes one, or for ``static``."""
    build: Build | None = None
    run: tuple[str, ...] = ()
    """What to run; a text of the file is ``("sh", "-c", text)``. Empty: what the image says."""
    args: tuple[str, ...] = ()
    """Given to what runs, after its own arguments."""
    expose: tuple[Port, ...] = ()
    domains: tuple[str, ...] = ()
    """Lower case, without a final dot; the first label may be ``*``."""
    document_root: str = ""
    """For ``static``: a directory of the tree, relative to its root; ``.`` is the root itself."""
    volumes: tuple[Volume, ...] = ()
    env: dict[str, str] = {}
    links: tuple[str, ...] = ()
    """Jobs that are started, and healthy, before this one."""
    scale: int = 1
    """How many slices run."""
    size: Size = Size()
    memory_limit_bytes: int = 0
    """What the kernel enforces; 0: nothing, which is so unless the file says a size."""
    cpu_limit_millis: int = 0
    health: Health | None = None
    schedule: str = ""
    """For ``cron``: five fields, in UTC; see ``schedule.parse_schedule``."""
    hook: str = ""
    """A shell command on HQ after a slice runs, once for each port."""
    unhook: str = ""
    """The same, before a slice goes."""
    shares: bool = False
    """``global: yes``: this service's link variables go to every stack."""
    shared_from: str = ""
    """``global: NAME``: where a service of that name is shared already, this one is not started."""
    tags: tuple[str, ...] = ()
    """Only machines that have all of these take it."""
    ssl_cert: str = ""
    """PEM files of the tree, relative to its root."""
    ssl_key: str = ""
    stop_grace_s: float = 10.0
    """How long it may take to end after SIGTERM."""
    line: int = 0
    """Where the file begins to speak of it; 0 when no file does."""

    @property
    def is_pinned(self) -> bool:
        """Whether its slices must stay where they are: what they keep lies there."""
        return bool(self.volumes)

    @property
    def is_built(self) -> bool:
        """Whether its image is made of the pushed tree."""
        return self.build is not None


class Stack(msgspec.Struct, frozen=True, kw_only=True):
    """All that one stack file declares, in its order."""

    name: str
    jobs: tuple[Job, ...] = ()

    def job(self, name: str) -> Job | None:
        """The job of that name, if there is one."""
        return next((job for job in self.jobs if job.name == name), None)

    def of_kind(self, *kinds: Kind) -> Iterator[Job]:
        """Jobs of these kinds, in the order of the file."""
        return (job for job in self.jobs if job.kind in kinds)
