"""Specs as containers, and containers as what is observed.

All that must be known again stands in a container's labels. A container that was stopped by order is called
``skep.<id>.stopped``: the daemon itself does not tell an order from an end, and a label cannot be changed.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

import msgspec

from skep.deploy.engines.naming import full_argv, job_environment
from skep.deploy.engines.records import Binding, HealthState, JobSpec, Labels, Observed, State
from skep.deploy.stack.records import APP_DIRECTORY, Health

PREFIX = "skep."
STOPPED = ".stopped"
_LABELS = ("stack", "job", "slice", "release", "plan")
_STATES: dict[str, State] = {
    "created": "starting",
    "running": "running",
    "paused": "running",
    "restarting": "restarting",
    "removing": "stopping",
}
_FRACTION = re.compile(r"\.(\d+)")


def container_config(
    spec: JobSpec, labels: Labels, host_ports: dict[int, int], address: str, *, init: bool
) -> dict[str, Any]:
    """What the daemon is asked to create."""
    paths = {mount.volume: _inside(mount.path) for mount in spec.mounts}
    env = job_environment(spec, labels, {port.number: port.number for port in spec.ports}, paths)
    config: dict[str, Any] = {
        "Image": spec.image,
        "Env": [f"{name}={value}" for name, value in sorted(env.items())],
        "Labels": {
            **{f"skep.{name}": getattr(labels, name) for name in _LABELS},
            "skep.spec": spec.digest,
            "skep.image": spec.image,
            "skep.health": msgspec.json.encode(spec.health).decode(),
            "skep.grace": str(spec.stop_grace_s),
        },
        "ExposedPorts": {f"{port.number}/tcp": {} for port in spec.ports},
        "StopTimeout": max(0, round(spec.stop_grace_s)),
        "HostConfig": {
            "PortBindings": {
                f"{number}/tcp": [{"HostIp": address, "HostPort": str(port)}] for number, port in host_ports.items()
            },
            "Binds": [f"{mount.volume}:{_inside(mount.path)}" for mount in spec.mounts],
            "RestartPolicy": _restart(spec),
            "Memory": spec.memory_limit_bytes,
            "MemorySwap": spec.memory_limit_bytes,
            "CpuShares": max(2, spec.cpu_weight_millis * 1024 // 1000),
            "NanoCpus": spec.cpu_limit_millis * 1_000_000,
            "Init": init,
            "LogConfig": {"Type": "json-file", "Config": {"max-size": "8m", "max-file": "4"}},
        },
    }
    argv = full_argv(spec)
    if spec.argv:
        config |= {"Entrypoint": [argv[0]], "Cmd": list(argv[1:])}
    elif spec.args:
        config["Cmd"] = list(spec.args)
    if spec.health is not None and spec.health.kind == "command":
        config["Healthcheck"] = _healthcheck(spec.health)
    return config


def _inside(path: str) -> str:
    return path if path.startswith("/") else f"{APP_DIRECTORY}/{path}"


def _restart(spec: JobSpec) -> dict[str, Any]:
    restart = spec.restart
    if restart.policy == "never":
        return {"Name": "no"}
    if restart.policy == "always" and not restart.attempts_max:
        return {"Name": "unless-stopped"}
    return {"Name": "on-failure", "MaximumRetryCount": max(0, restart.attempts_max - 1)}


def _healthcheck(health: Health) -> dict[str, Any]:
    return {
        "Test": ["CMD", *health.command],
        "Interval": round(health.interval_s * 1e9),
        "Timeout": round(health.timeout_s * 1e9),
        "StartPeriod": round(health.grace_s * 1e9),
        "Retries": health.retries,
    }


def labels_of(found: dict[str, str]) -> Labels:
    """Whose a container is."""
    return Labels(**{name: found.get(f"skep.{name}", "") for name in _LABELS})


def health_of(found: dict[str, str]) -> Health | None:
    """How its spec says that it is probed."""
    return msgspec.json.decode(found.get("skep.health", "null"), type=Health | None)


def bindings_of(shown: dict[str, Any]) -> tuple[Binding, ...]:
    """Where its ports are, in the order of their numbers."""
    asked = shown["HostConfig"].get("PortBindings") or {}
    found = (
        Binding(number=int(port.partition("/")[0]), address=ways[0]["HostIp"], host_port=int(ways[0]["HostPort"]))
        for port, ways in asked.items()
        if ways
    )
    return tuple(sorted(found, key=lambda binding: binding.number))


def state_of(shown: dict[str, Any]) -> State:
    """The state of a container as ``GET /containers/<id>/json`` shows it."""
    state = shown["State"]
    if state["Status"] == "created" and (state.get("ExitCode") or state.get("Error")):
        return "exited"  # it could not be started
    if state["Status"] in _STATES:
        return _STATES[state["Status"]]
    return "stopped" if shown["Name"].endswith(STOPPED) else "exited"


def observed(shown: dict[str, Any], health: HealthState, last_lines: tuple[str, ...] = ()) -> Observed:
    """A container as the protocol tells it; ``health`` is what probes said where the daemon does not."""
    labels, state = shown["Config"]["Labels"], shown["State"]
    status = state_of(shown)
    native = (state.get("Health") or {}).get("Status")
    if native in ("starting", "healthy", "unhealthy") and status == "running":
        health = native
    started_us = time_us(state.get("StartedAt", ""))
    ended = status in ("exited", "stopped", "restarting")
    return Observed(
        labels=labels_of(labels),
        spec_digest=labels.get("skep.spec", ""),
        image=labels.get("skep.image", ""),
        state=status,
        health=health,
        bindings=bindings_of(shown),
        started_us=started_us,
        # the daemon notes a start late: what ends at once has ended before that
        finished_us=max(started_us, time_us(state.get("FinishedAt", ""))) if ended else 0,
        exit_code=int(state["ExitCode"]) if ended else None,
        restarts=int(shown.get("RestartCount", 0)),
        reason=_reason(shown, status),
        last_lines=last_lines,
    )


def _reason(shown: dict[str, Any], status: State) -> str:
    state = shown["State"]
    if state.get("OOMKilled"):
        limit_mb = shown["HostConfig"].get("Memory", 0) >> 20
        return f"it was killed because it took more than its {limit_mb} MB of memory"
    if state.get("Error"):
        return str(state["Error"])
    if status == "stopped":
        return "it was stopped by order"
    return f"it ended with {state['ExitCode']}" if status in ("exited", "restarting") else ""


def time_us(text: str) -> int:
    """Microseconds since 1970 of a time with up to nine decimals; 0 for none, which is written as the year 1."""
    if not text or text.startswith("0001-"):
        return 0
    cut = _FRACTION.sub(lambda match: f".{match[1][:6]:0<6}", text.replace("Z", "+00:00"))
    moment = datetime.fromisoformat(cut)
    return round(moment.timestamp() * 1_000_000)
