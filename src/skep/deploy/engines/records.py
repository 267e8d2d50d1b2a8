"""What engines are given and what they tell, as frozen records."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypeAlias

import msgspec

from skep.crypto.hashing import digest
from skep.deploy.stack.records import Health, Port

State: TypeAlias = Literal["starting", "running", "restarting", "stopping", "stopped", "exited"]
"""``stopped``: by order. ``exited``: by itself, and its policy does not start it again (or its host was restarted)."""
HealthState: TypeAlias = Literal["none", "starting", "healthy", "unhealthy"]
LAST_LINES_MAX = 20


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """What a kind of engine can do, as data."""

    heals: bool
    """Whether jobs are started again after a restart of the host without HQ."""
    limits: bool
    """Whether memory and processor limits are enforced here."""
    networks: bool
    """Whether each job has ports of its own, so that it need not look at ``$PORT``."""
    images: Literal["docker", "tree", "any"]
    """What ``ship`` takes."""
    places: bool = False
    """Whether it chooses hosts itself."""
    snapshots: bool = False
    """Whether volumes can be snapshot."""


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a host."""

    engine: str
    version: str
    hostname: str
    architecture: str
    cpu_millis: int
    memory_bytes: int
    disk_bytes: int
    disk_free_bytes: int
    capabilities: Capabilities
    address: str = "127.0.0.1"
    """Where its jobs' ports are."""


class Labels(msgspec.Struct, frozen=True, kw_only=True):
    """Whose a job is. ``slice`` is its id: unique in the fleet, never used again for another release."""

    stack: str
    job: str
    slice: str
    release: str = ""
    plan: str = ""
    """The launch that started it."""


class Mount(msgspec.Struct, frozen=True, kw_only=True):
    """A volume as a job sees it."""

    volume: str
    """The volume's name on the host; made when it is not there."""
    path: str


class Restart(msgspec.Struct, frozen=True, kw_only=True):
    """What happens when a job ends by itself."""

    policy: Literal["always", "on-failure", "never"] = "always"
    backoff_first_s: float = 0.5
    """The first wait; each next is twice as long, until it has run for ``steady_s``."""
    backoff_max_s: float = 30.0
    steady_s: float = 10.0
    attempts_max: int = 0
    """How many starts in a row may fail before it is left alone; 0: no limit."""


class JobSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What to run, and nothing about whose it is: equal specs have one digest, so what is unchanged is not touched."""

    image: str
    """The ``ref`` of an ``Image`` that was shipped."""
    argv: tuple[str, ...] = ()
    """What to run; empty: what the image says."""
    args: tuple[str, ...] = ()
    """Further arguments."""
    env: dict[str, str] = {}
    ports: tuple[Port, ...] = ()
    mounts: tuple[Mount, ...] = ()
    memory_limit_bytes: int = 0
    cpu_weight_millis: int = 100
    cpu_limit_millis: int = 0
    restart: Restart = Restart()
    health: Health | None = None
    stop_grace_s: float = 10.0

    @property
    def digest(self) -> str:
        """32 hex digits over every field, whatever the order of ``env``."""
        return digest(msgspec.json.encode(self, order="sorted")).hex()[:32]


class Image(msgspec.Struct, frozen=True, kw_only=True):
    """What jobs are started from."""

    ref: str
    """``tree:<digest>`` for the process engine, an image id or a name with a tag for docker."""
    archive: Path | None = None
    """The file at HQ that holds it; None: the engine fetches it by its name from its registry."""


class Shipped(msgspec.Struct, frozen=True, kw_only=True):
    """What ``ship`` did."""

    ref: str
    """What a JobSpec names it by on this host."""
    sent_bytes: int
    """0 when the host had it."""


class Binding(msgspec.Struct, frozen=True, kw_only=True):
    """Where a job's port is reached."""

    number: int
    address: str
    host_port: int


class Observed(msgspec.Struct, frozen=True, kw_only=True):
    """A job as it is found on a host."""

    labels: Labels
    spec_digest: str
    image: str
    state: State
    health: HealthState
    """``none`` when its spec has no health."""
    bindings: tuple[Binding, ...] = ()
    """The same as long as the job is there, over restarts and stops."""
    started_us: int = 0
    """Of the last start."""
    finished_us: int = 0
    """Of the last end; 0 while it has not ended yet."""
    exit_code: int | None = None
    """Of the last end; 128 + n for a signal; None: it has not ended, or nobody saw how."""
    restarts: int = 0
    """How often it was started again by its policy."""
    reason: str = ""
    """Why it is as it is, for people: a missing program, a memory limit, a health probe's words."""
    last_lines: tuple[str, ...] = ()
    """Of its output, oldest first, at most LAST_LINES_MAX; only from ``inspect``."""

    @property
    def id(self) -> str:
        """What the verbs name it by."""
        return self.labels.slice

    @property
    def is_ready(self) -> bool:
        """Whether it runs and is, as far as it can be known, well."""
        return self.state == "running" and self.health in ("none", "healthy")

    def address_of(self, number: int) -> Binding | None:
        """Where the job's port ``number`` is reached, if it has that port."""
        return next((binding for binding in self.bindings if binding.number == number), None)


class LogLine(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a job's output."""

    time_us: int
    stream: Literal["stdout", "stderr"]
    text: str
    """Without its line end; bytes that are no UTF-8 replaced; a longer line is cut in pieces."""


class ExecResult(msgspec.Struct, frozen=True, kw_only=True):
    """How a command beside a job ended."""

    exit_code: int
    stdout: bytes
    stderr: bytes


class VolumeInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A volume on a host."""

    name: str
    path: str
    """Where it lies on the host."""


class VolumeOrder(msgspec.Struct, frozen=True, kw_only=True):
    """What ``volume`` shall do."""

    verb: Literal["list", "create", "remove"]
    name: str = ""
    """Of the volume; for ``list`` the start of its name."""


class EngineEvent(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened to a job: its new state and health."""

    id: str
    labels: Labels
    state: State | Literal["removed"]
    health: HealthState
    time_us: int
